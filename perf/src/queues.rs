//! What two endpoints with disk queues cost: Highlander beside vmagent, which does the same job, and
//! beside itself without queues.
//!
//! Each candidate gets the same load on a core of its own. Its CPU time is read when everything has
//! arrived at both endpoints: vmagent answers first and works afterwards. Then the endpoints refuse
//! everything, the candidate is ended, and what lies on its disk is counted.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;

use crate::body;
use crate::fault::{During, Fault};
use crate::ring;
use crate::runner::bench::{Folder, free_ports, wait_until_ready};
use crate::runner::child::{Child, Pipes, Recipe};
use crate::runner::http::Client;
use crate::runner::{machine, proc};
use crate::scrape::{SAMPLES, Sheet};

/// Compare what two endpoints with disk queues cost.
#[derive(FromArgs)]
#[argh(subcommand, name = "queues")]
pub struct Options {
    /// measured rounds (default 3)
    #[argh(option, default = "3")]
    rounds: usize,
    /// requests in a round (default 20000)
    #[argh(option, default = "20000")]
    requests: u64,
    /// size of a body with random names, which nobody can compress (default: 2000 samples as a
    /// Prometheus sends them, some 70 KB)
    #[argh(option)]
    body_bytes: Option<usize>,
    /// connections at a time (default 16)
    #[argh(option, default = "16")]
    connections: usize,
    /// requests a second (default 1000): more than an endpoint takes one by one is a burst, 0 is as many
    /// as there may be
    #[argh(option, default = "1000")]
    rate: u64,
    /// only these, of direct, queued and vmagent, with commas between them (default: all)
    #[argh(option)]
    only: Option<String>,
    /// always, 200ms or never (default 200ms)
    #[argh(option, default = "String::from(\"200ms\")")]
    sync: String,
    /// the core of the candidate (default 0); load and endpoints take core 1
    #[argh(option, default = "0")]
    candidate_core: usize,
    /// where queues lie (default: the folder for temporary files)
    #[argh(option)]
    disk: Option<PathBuf>,
    /// the proxy's binary (default ../target/release/highlander, seen from this package)
    #[argh(option)]
    highlander: Option<PathBuf>,
    /// file for the results, which also go to stdout
    #[argh(option)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    Direct,
    Queued,
    Vmagent,
}

impl Candidate {
    const ALL: [Candidate; 3] = [Candidate::Direct, Candidate::Queued, Candidate::Vmagent];

    /// Those that were asked for.
    fn chosen(options: &Options) -> Vec<Candidate> {
        let is_chosen = |candidate: &Candidate| {
            let only = options.only.as_deref();
            only.is_none_or(|only| only.split(',').any(|word| candidate.name().ends_with(word)))
        };
        Candidate::ALL.into_iter().filter(is_chosen).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Candidate::Direct => "highlander, direct",
            Candidate::Queued => "highlander, queued",
            Candidate::Vmagent => "vmagent",
        }
    }
}

/// What one round of one candidate has shown.
#[derive(Clone, Copy, Debug)]
struct Sample {
    cpu_s_per_10k: f64,
    peak_kib: u64,
    /// What lay on disk, divided by what was sent to both endpoints.
    disk_ratio: f64,
}

/// Without anything new for so long, everything has arrived.
const QUIET: Duration = Duration::from_millis(1500);
/// The load and the endpoints.
const LOAD_CORE: usize = 1;
const PATH: &str = "/api/v1/write";

/// Runs the rounds, one candidate after the other in each, and prints the table.
pub fn run(options: &Options) -> Result<(), Fault> {
    ring::pin(Some(LOAD_CORE))?;
    let mut samples: Vec<(Candidate, Vec<Sample>)> =
        Candidate::chosen(options).into_iter().map(|candidate| (candidate, Vec::new())).collect();
    if samples.is_empty() {
        return Err(Fault("--only names none of direct, queued, vmagent".into()));
    }
    for round in 1..=options.rounds {
        for (candidate, samples) in &mut samples {
            let sample = measure(options, *candidate)?;
            eprintln!("round {round}: {}: {sample:?}", candidate.name());
            samples.push(sample);
        }
    }
    let mut text = machine::describe(
        "Two endpoints with disk queues",
        &[
            ("candidate", format!("core {}", options.candidate_core)),
            ("load and endpoints", format!("core {LOAD_CORE}")),
            ("vmagent", package_version("victoria-metrics")),
        ],
    )?;
    text.push_str(&table(options, &samples));
    println!("{text}");
    if let Some(out) = &options.out {
        fs::write(out, &text).during("writing the result")?;
    }
    Ok(())
}

/// Debian's vmagent does not say its own.
fn package_version(package: &str) -> String {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    output.map_or("unknown".to_owned(), |it| String::from_utf8_lossy(&it.stdout).into_owned())
}

fn measure(options: &Options, candidate: Candidate) -> Result<Sample, Fault> {
    let folder = Folder::create()?;
    let base = options.disk.as_deref().unwrap_or(&folder.0);
    let disk = Folder(base.join("queues"));
    fs::create_dir_all(&disk.0).during("the folder of the queues")?;
    let endpoints = [Endpoint::start()?, Endpoint::start()?];
    let (port, _) = free_ports()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let recipe = recipe(options, candidate, port, &endpoints, (&folder.0, &disk.0))?;
    let mut child = Child::start(&recipe, &folder.0, Pipes::None)?;
    wait_until_ready(&mut child, || match Client::open(address)?.push(PATH)? {
        200..300 => Ok(()),
        status => Err(Fault(format!("answered {status}"))),
    })?;

    push(options, address, options.requests / 10)?;
    settle(&endpoints);
    let before = proc::cpu_s(child.pid())?;
    push(options, address, options.requests)?;
    settle(&endpoints);
    let cpu_s = proc::cpu_s(child.pid())? - before;
    endpoints[0].check(options)?;
    endpoints[1].check(options)?;

    let peak_kib = proc::peak_kib(child.pid())?;
    let mut disk_ratio = 0.0;
    if candidate != Candidate::Direct {
        endpoints.iter().for_each(|endpoint| endpoint.refuses.store(true, Ordering::Relaxed));
        // A segment is as long as it may become, and files wait to be written again, which go when it
        // ends: what was sent of the last segment counts, up to 16 MiB of each queue too much.
        let at_first = match candidate {
            Candidate::Vmagent => bytes_below(&disk.0)?,
            Candidate::Direct | Candidate::Queued => 0,
        };
        let sent = push(options, address, options.requests)?;
        // It keeps in memory what it may, and writes that when it is ended.
        drop(child);
        disk_ratio = bytes_below(&disk.0)?.saturating_sub(at_first) as f64 / (2 * sent) as f64;
    }
    Ok(Sample { cpu_s_per_10k: cpu_s / options.requests as f64 * 1e4, peak_kib, disk_ratio })
}

fn recipe(
    options: &Options,
    candidate: Candidate,
    port: u16,
    endpoints: &[Endpoint; 2],
    (folder, disk): (&Path, &Path),
) -> Result<Recipe, Fault> {
    let listen = format!("127.0.0.1:{port}");
    let argv = match candidate {
        Candidate::Vmagent => vec![
            "vmagent".to_owned(),
            format!("-httpListenAddr={listen}"),
            format!("-remoteWrite.url=http://{}{PATH}", endpoints[0].address),
            format!("-remoteWrite.url=http://{}{PATH}", endpoints[1].address),
            format!("-remoteWrite.tmpDataPath={}", disk.display()),
            "-loggerLevel=ERROR".to_owned(),
        ],
        Candidate::Direct | Candidate::Queued => {
            let mut config = format!("listen: [\"{listen}\"]\ncores: 1\nremote_write:\n");
            for (number, endpoint) in endpoints.iter().enumerate() {
                let _ = writeln!(config, "  - url: http://{}{PATH}", endpoint.address);
                if candidate == Candidate::Queued {
                    let dir = disk.join(number.to_string());
                    let _ = write!(
                        config,
                        "    delivery: queued\n    queue:\n      dir: {}\n      sync: {}\n      \
                         max_size: 8GiB\n",
                        dir.display(),
                        options.sync
                    );
                }
            }
            let path = folder.join("highlander.yml");
            fs::write(&path, config).during("highlander.yml")?;
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            let default = || package.join("../target/release/highlander");
            let binary = options.highlander.clone().unwrap_or_else(default);
            let binary = std::path::absolute(&binary).during(binary.display())?;
            let word = |path: &Path| path.to_string_lossy().into_owned();
            vec![word(&binary), "--config".to_owned(), word(&path), "-i".into(), "perf".into()]
        }
    };
    let cores = options.candidate_core.to_string();
    Ok(Recipe { name: candidate.name().replace([',', ' '], ""), argv, cores })
}

/// Pushes as one Prometheus with many shards, and waits for all answers; how many bytes that were. No two
/// bodies that are under way at once are the same: a queue would keep one of them.
fn push(options: &Options, address: SocketAddr, requests: u64) -> Result<u64, Fault> {
    let (left, start) = (AtomicU64::new(requests), Instant::now());
    let shard = |number: usize| -> Result<u64, Fault> {
        let mut client = Client::open(address)?;
        let mut bodies = Bodies::of(options, number)?;
        // Relaxed: a lone count.
        let take =
            || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let mut sent = 0;
        while let Ok(ticket) = take() {
            let body = bodies.next(ticket)?;
            if let Some(since) = (requests - ticket)
                .checked_mul(1_000_000)
                .and_then(|it| it.checked_div(options.rate))
            {
                thread::sleep(
                    (start + Duration::from_micros(since))
                        .saturating_duration_since(Instant::now()),
                );
            }
            match client.push_body(PATH, &body)? {
                200..300 => sent += body.len() as u64,
                status => return Err(Fault(format!("answered {status}"))),
            }
        }
        Ok(sent)
    };
    thread::scope(|scope| {
        let shards: Vec<_> =
            (0..options.connections).map(|number| scope.spawn(move || shard(number))).collect();
        let joined = shards.into_iter().map(|it| it.join().map_err(|_| Fault("a panic".into()))?);
        joined.sum()
    })
}

/// What one shard sends.
enum Bodies {
    /// Scrape after scrape of the same series.
    Scrapes(Box<Sheet>, i64),
    /// A body in which a place is for something that differs, and the number of the shard.
    Random(Vec<u8>, usize, usize),
}

impl Bodies {
    fn of(options: &Options, shard: usize) -> Result<Bodies, Fault> {
        let now_ms = body::now_ms()?;
        let Some(body_bytes) = options.body_bytes else {
            let series = shard * SAMPLES..(shard + 1) * SAMPLES;
            let now_ms = i64::try_from(now_ms).during("the clock")?;
            return Ok(Bodies::Scrapes(Box::new(Sheet::new(series, 1)), now_ms));
        };
        let body = body::write_request(body_bytes, now_ms);
        let middle = body.len() / 2;
        let label = memchr::memmem::find(&body[middle..], b"perf_");
        let at = middle + 5 + label.ok_or_else(|| Fault("a body without a label".into()))?;
        Ok(Bodies::Random(body, at, shard))
    }

    fn next(&mut self, ticket: u64) -> Result<Vec<u8>, Fault> {
        match self {
            Bodies::Scrapes(sheet, time_ms) => {
                *time_ms += 15_000;
                sheet.body(&[*time_ms])
            }
            Bodies::Random(body, at, shard) => {
                // In the random value of a label.
                body[*at..*at + 8]
                    .copy_from_slice(format!("{:02x}{ticket:06x}", *shard % 256).as_bytes());
                Ok(body.clone())
            }
        }
    }
}

fn series_per_body(options: &Options) -> u64 {
    options.body_bytes.map_or(SAMPLES, body::series_count) as u64
}

/// Waits until nothing arrives any more.
fn settle(endpoints: &[Endpoint; 2]) {
    let sum = || endpoints.iter().map(|it| it.bytes.load(Ordering::Relaxed)).sum::<u64>();
    let (mut known, mut since) = (sum(), Instant::now());
    while since.elapsed() < QUIET {
        thread::sleep(Duration::from_millis(50));
        let now = sum();
        if now != known {
            (known, since) = (now, Instant::now());
        }
    }
}

/// Takes every request, whatever is in it, or refuses each.
struct Endpoint {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    refuses: Arc<AtomicBool>,
}

impl Endpoint {
    fn start() -> Result<Endpoint, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("a free port")?;
        let endpoint = Endpoint {
            address: listener.local_addr().during("a free port")?,
            requests: Arc::default(),
            bytes: Arc::default(),
            refuses: Arc::default(),
        };
        let (requests, bytes) = (endpoint.requests.clone(), endpoint.bytes.clone());
        let refuses = endpoint.refuses.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = (requests.clone(), bytes.clone(), refuses.clone());
                // It ends when the candidate closes the connection.
                thread::spawn(move || take(stream, &counts));
            }
        });
        Ok(endpoint)
    }

    /// Whether something has arrived at all; how much vmagent makes of it is its own affair.
    fn check(&self, options: &Options) -> Result<(), Fault> {
        match self.requests.load(Ordering::Relaxed) {
            0 => Err(Fault(format!("nothing of {} requests has arrived", options.requests))),
            _ => Ok(()),
        }
    }
}

type Counts = (Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>);

fn take(stream: TcpStream, (requests, bytes, refuses): &Counts) -> std::io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        if refuses.load(Ordering::Relaxed) {
            answers.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
        } else {
            requests.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(length, Ordering::Relaxed);
            answers.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
    }
}

/// What the files below a folder take on disk, as they are long: preallocated room does not count.
fn bytes_below(folder: &Path) -> Result<u64, Fault> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).during(folder.display())? {
        let entry = entry.during(folder.display())?;
        let about = entry.metadata().during(entry.path().display())?;
        sum += if about.is_dir() { bytes_below(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

fn table(options: &Options, samples: &[(Candidate, Vec<Sample>)]) -> String {
    let mut text = format!(
        "\n{} requests of {} ({} samples each) on {} connections, {}, sync {}, {} rounds.\n\n\
         | candidate | CPU s per 10k (min..max) | CPU s per million samples | peak MiB \
         | disk / (sent to both) |\n|---|--:|--:|--:|--:|\n",
        options.requests,
        options.body_bytes.map_or("true scrapes".into(), |bytes| format!("{bytes} bytes")),
        series_per_body(options),
        options.connections,
        match options.rate {
            0 => "as fast as they are taken".to_owned(),
            rate => format!("{rate} a second"),
        },
        options.sync,
        options.rounds,
    );
    for (candidate, samples) in samples {
        let cpu: Vec<f64> = samples.iter().map(|it| it.cpu_s_per_10k).collect();
        let least = cpu.iter().copied().fold(f64::INFINITY, f64::min);
        let most = cpu.iter().copied().fold(0.0, f64::max);
        let middle = median(cpu);
        let per_million = middle * 100.0 / series_per_body(options) as f64;
        let peak = median(samples.iter().map(|it| it.peak_kib as f64 / 1024.0).collect());
        let disk = median(samples.iter().map(|it| it.disk_ratio).collect());
        let _ = writeln!(
            text,
            "| {} | {middle:.3} ({least:.3}..{most:.3}) | {per_million:.3} | {peak:.0} | {disk:.3} |",
            candidate.name()
        );
    }
    text
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
