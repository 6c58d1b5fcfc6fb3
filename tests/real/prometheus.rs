//! A real Prometheus: a replica that scrapes the target and writes through the proxy, or a storage
//! that takes remote writes. A vmagent can stand in for a replica: it reads the same configuration
//! of scrapes, and speaks the same protocol.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::http;
use crate::json::Json;
use crate::program::{Program, free_port};
use crate::series::{Sample, Series};
use crate::target::Target;

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edition {
    /// The machine's own release: 2.x on Debian 12.
    Old,
    /// 3.x, brought by `tests/peers`.
    New,
    /// No Prometheus, but the machine's own vmagent. It keeps no samples that could be asked for.
    Agent,
}

impl Edition {
    fn binary(self) -> PathBuf {
        match self {
            Edition::Old => PathBuf::from("/usr/bin/prometheus"),
            Edition::New => peer("prometheus"),
            Edition::Agent => PathBuf::from("/usr/bin/vmagent"),
        }
    }
}

/// A program that `tests/peers` has brought.
pub fn peer(name: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers");
    std::env::var_os("HIGHLANDER_PEERS").map_or_else(default, PathBuf::from).join(name)
}

/// How samples are batched for sending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Batches {
    /// As Prometheus comes: up to 2000 samples (500 in 2.x), or after five seconds.
    Default,
    /// So small that every shard sends at every scrape. Then what was stored before a cut does not
    /// depend on which shard's five seconds were just over, and a failover can be measured in
    /// scrapes.
    EachScrape,
}

impl Batches {
    /// How long a sample may take from its scrape into the storage, on a busy machine.
    pub fn arrival_max(self) -> Duration {
        match self {
            Batches::Default => Duration::from_secs(8),
            Batches::EachScrape => Duration::from_secs(4),
        }
    }
}

/// How a replica is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its number, which its values tell; above 0.
    pub replica: u64,
    /// Which program it is.
    pub edition: Edition,
    /// The parameters of its remote-write URL, e.g. `highlander_weight=50`.
    pub parameters: &'static str,
    /// How many shards send; fixed, so that a test knows what it tests.
    pub shards: u32,
    /// Seconds between scrapes.
    pub scrape_seconds: u32,
    /// How samples are batched.
    pub batches: Batches,
    /// Whether it speaks remote write 2.0.
    pub version_2: bool,
    /// Changes the phase of the scrapes, which Prometheus derives from the target's URL.
    pub salt: u32,
}

impl Setup {
    /// A replica of the machine's own release with one shard, a scrape a second, and everything
    /// else as it comes.
    pub fn new(replica: u64, parameters: &'static str) -> Setup {
        Setup {
            replica,
            edition: Edition::Old,
            parameters,
            shards: 1,
            scrape_seconds: 1,
            batches: Batches::Default,
            version_2: false,
            salt: 0,
        }
    }

    /// What it scrapes, as both programs read it.
    fn scrape_config(&self, target: u16) -> String {
        let Setup { replica, scrape_seconds, salt, .. } = self;
        format!(
            "global:\n  scrape_interval: {scrape_seconds}s\n  scrape_timeout: {scrape_seconds}s\n\
             scrape_configs:\n- job_name: load\n  metrics_path: /replica/{replica}\n  \
             params: {{salt: ['{salt}']}}\n  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        )
    }

    /// Where a Prometheus writes to, and how: to each of them all that it has.
    fn write_config(&self, writes: &[SocketAddr]) -> String {
        let entries = writes.iter().map(|write| self.write_entry(*write));
        format!("remote_write:\n{}", entries.collect::<String>())
    }

    fn write_entry(&self, write: SocketAddr) -> String {
        let mut config = format!("- url: '{}'\n", self.write_url(write));
        if self.version_2 {
            config.push_str("  protobuf_message: io.prometheus.write.v2.Request\n");
        }
        let shards = self.shards;
        write!(config, "  queue_config: {{min_shards: {shards}, max_shards: {shards}")
            .expect("a string");
        match self.batches {
            Batches::Default => {}
            Batches::EachScrape => {
                config.push_str(", max_samples_per_send: 100, batch_send_deadline: 1s")
            }
        }
        config.push_str("}\n");
        config
    }

    fn write_url(&self, write: SocketAddr) -> String {
        format!("http://{write}/api/v1/write?{}", self.parameters)
    }
}

/// A running Prometheus, or a vmagent in its place.
pub struct Prometheus {
    program: Program,
    edition: Edition,
    port: u16,
}

impl Prometheus {
    /// Starts a replica that scrapes `target` and writes to each of `writes`. Started a second time
    /// in the same directory, it finds the data of the first.
    pub fn start(dir: &Path, setup: &Setup, target: &Target, writes: &[SocketAddr]) -> Prometheus {
        let name = format!("replica-{}-salt-{}", setup.replica, setup.salt);
        let scrapes = setup.scrape_config(target.port());
        if setup.edition == Edition::Agent {
            let urls: Vec<String> = writes.iter().map(|write| setup.write_url(*write)).collect();
            return run_agent(dir, &name, &scrapes, &urls);
        }
        let config = scrapes + &setup.write_config(writes);
        run(dir, &name, setup.edition, free_port(), &config, &[])
    }

    /// Starts a replica whose scrapes are well apart from those of `others`, and notes in `setup`
    /// what made it so. Replicas that scrape in the same millisecond cannot be told to be in
    /// order; in life their phases are as far apart as their host names make them.
    pub fn start_apart(
        dir: &Path,
        setup: &mut Setup,
        others: &[u64],
        target: &Target,
        writes: &[SocketAddr],
    ) -> Prometheus {
        let interval_ms = i64::from(setup.scrape_seconds) * 1000;
        for salt in 0..20 {
            setup.salt = salt;
            let seen = target.scrapes_ms(setup.replica).len();
            let started = Prometheus::start(dir, setup, target, writes);
            let deadline = Instant::now() + Duration::from_millis(3 * interval_ms as u64 + 10_000);
            while target.scrapes_ms(setup.replica).len() == seen {
                assert!(Instant::now() < deadline, "replica {} does not scrape", setup.replica);
                thread::sleep(Duration::from_millis(10));
            }
            let phase = |replica| target.scrapes_ms(replica).last().map(|ms| ms % interval_ms);
            let own = phase(setup.replica);
            let apart = others.iter().all(|other| match (own, phase(*other)) {
                (Some(a), Some(b)) => {
                    let distance = (a - b).rem_euclid(interval_ms);
                    distance.min(interval_ms - distance) > interval_ms / 4
                }
                _ => panic!("a replica that has not scraped yet has no phase"),
            });
            if apart {
                return started;
            }
            started.kill();
        }
        panic!("no salt brings the scrapes apart");
    }

    /// Starts a storage that takes remote writes of both versions and scrapes nothing.
    pub fn start_storage(dir: &Path, port: u16) -> Prometheus {
        let config = "global: {scrape_interval: 15s}\n";
        let flags = ["--web.enable-remote-write-receiver"];
        run(dir, "prometheus-storage", Edition::New, port, config, &flags)
    }

    /// All samples that it has itself of the scraped job, not older than some seconds.
    pub fn samples(&self, seconds: u64) -> Series {
        let query = http::escape(&format!("{{job=\"load\"}}[{seconds}s]"));
        let answer =
            http::get(self.port, &format!("/api/v1/query?query={query}")).expect("a query");
        let mut series = Series::default();
        for one in Json::read(&answer).member("data").member("result").items() {
            let samples = one.member("values").items().iter().map(|pair| Sample {
                at_ms: (pair.items()[0].number() * 1000.0).round() as i64,
                value: pair.items()[1].number(),
            });
            series.add(one.member("metric"), samples);
        }
        series
    }

    /// The sum of one of its own metrics over all labels.
    pub fn metric(&self, name: &str) -> f64 {
        let page = http::get(self.port, "/metrics").expect("its own metrics");
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        values.sum()
    }

    /// Whether anything that it has sent was taken.
    pub fn has_sent(&self) -> bool {
        self.metric(match self.edition {
            Edition::Old | Edition::New => "prometheus_remote_storage_samples_total",
            Edition::Agent => "vmagent_remotewrite_blocks_sent_total",
        }) > 0.0
    }

    /// The claim of a sender that is content: nothing it had to send was refused or thrown away.
    pub fn assert_nothing_failed(&self) {
        if self.edition == Edition::Agent {
            let name = "vmagent_remotewrite_packets_dropped_total";
            assert_eq!(self.metric(name), 0.0, "{name}");
            return;
        }
        for kind in ["samples", "metadata", "exemplars", "histograms"] {
            for fate in ["failed", "dropped"] {
                let name = format!("prometheus_remote_storage_{kind}_{fate}_total");
                assert_eq!(self.metric(&name), 0.0, "{name}");
            }
        }
    }

    /// How many samples it had to send again.
    pub fn samples_retried(&self) -> f64 {
        self.metric("prometheus_remote_storage_samples_retried_total")
    }

    /// Kills it without a word of warning.
    pub fn kill(mut self) {
        self.program.kill();
    }

    /// Asks it to end and waits: it sends what it has left.
    pub fn stop(mut self) {
        // It flushes for up to a minute when the endpoint is away.
        self.program.stop(Duration::from_secs(70));
    }

    /// Stops it as an overloaded machine would: its connections stay, and nothing comes.
    pub fn freeze(&self) {
        self.program.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.program.signal("CONT");
    }
}

fn run(
    dir: &Path,
    name: &str,
    edition: Edition,
    port: u16,
    config: &str,
    flags: &[&str],
) -> Prometheus {
    let file = dir.join(format!("{name}.yml"));
    fs::write(&file, config).expect("a configuration file");
    let mut args = vec![
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", dir.join(format!("{name}.data")).display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=warn".to_owned(),
    ];
    args.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let mut program = Program::start(dir, name, &edition.binary(), &args);
    program.await_ready(|| http::get(port, "/-/ready").is_ok());
    Prometheus { program, edition, port }
}

fn run_agent(dir: &Path, name: &str, scrapes: &str, write_urls: &[String]) -> Prometheus {
    let file = dir.join(format!("{name}.yml"));
    fs::write(&file, scrapes).expect("a configuration file");
    let (edition, port) = (Edition::Agent, free_port());
    let mut args = vec![
        format!("-promscrape.config={}", file.display()),
        format!("-remoteWrite.tmpDataPath={}", dir.join(format!("{name}.data")).display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
        "-loggerLevel=WARN".to_owned(),
    ];
    args.extend(write_urls.iter().map(|url| format!("-remoteWrite.url={url}")));
    // A newer one would try an encoding of its own first; an old one does not know the word.
    let plain = "-remoteWrite.forcePromProto";
    let help = Command::new(edition.binary()).arg("-help").output().expect("vmagent");
    if String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).contains(plain) {
        args.push(plain.to_owned());
    }
    let mut program = Program::start(dir, name, &edition.binary(), &args);
    program.await_ready(|| http::get(port, "/health").is_ok());
    Prometheus { program, edition, port }
}
