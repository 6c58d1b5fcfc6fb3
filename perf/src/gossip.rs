//! What the talk of a cluster's nodes costs: ten nodes in this process, a thousand groups, each pushed
//! to now and then by one source; the CPU time of the threads that talk, and what they send.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;
use highlander::cli::Cli;
use highlander::config::Config;
use highlander::server::{self, Running};
use highlander::shared::metrics::Counter;

use crate::fault::{During, Fault};

/// Measure what the talk of a cluster's nodes costs.
#[derive(FromArgs)]
#[argh(subcommand, name = "gossip")]
pub struct Options {
    /// how many nodes
    #[argh(option, default = "10")]
    nodes: usize,
    /// how many groups
    #[argh(option, default = "1000")]
    groups: usize,
    /// how long it is measured, in seconds
    #[argh(option, default = "30")]
    seconds: u64,
    /// relay or mirror
    #[argh(option, default = "String::from(\"relay\")")]
    mode: String,
    /// where to write what came of it
    #[argh(option)]
    out: Option<PathBuf>,
}

/// Each source pushes so often: none may be lost meanwhile.
const PUSH_EVERY: Duration = Duration::from_secs(3);

/// `/proc` counts CPU time in hundredths of a second on every Linux of today (USER_HZ).
const TICKS_PER_S: f64 = 100.0;

/// Starts the nodes, pushes, measures.
pub fn run(options: &Options) -> Result<(), Fault> {
    let sink = sink()?;
    let nodes = start(options, sink)?;
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.addresses()[0]).collect();
    let mut sources = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        let groups: Vec<usize> =
            (0..options.groups).filter(|group| group % options.nodes == place).collect();
        let address = *address;
        sources.push(thread::spawn(move || push(address, &groups)));
    }
    // All have pushed twice, and everything has been told once.
    thread::sleep(Duration::from_secs(15));
    let before = (ticks()?, sent(&nodes));
    let began = Instant::now();
    thread::sleep(Duration::from_secs(options.seconds));
    let elapsed_s = began.elapsed().as_secs_f64();
    let after = (ticks()?, sent(&nodes));
    if let Some(broken) = sources.iter().find(|source| source.is_finished()) {
        return Err(Fault(format!("a source has ended: {:?}", broken.thread().id())));
    }
    let text = table(options, elapsed_s, &before, &after);
    println!("{text}");
    if let Some(out) = &options.out {
        fs::write(out, &text).during("writing the result")?;
    }
    // The sources end with the process, and so do the nodes.
    Ok(())
}

fn start(options: &Options, sink: SocketAddr) -> Result<Vec<Running>, Fault> {
    let bind = || UdpSocket::bind("127.0.0.1:0").and_then(|it| Ok((it.local_addr()?, it)));
    let sockets: Result<Vec<_>, _> = (0..options.nodes).map(|_| bind()).collect();
    let sockets = sockets.during("free ports")?;
    let binds: Vec<String> = sockets.iter().map(|(address, _)| address.to_string()).collect();
    drop(sockets);
    let mut nodes = Vec::new();
    for bind in &binds {
        let cli = Cli {
            listen: vec!["127.0.0.1:0".into()],
            remote: Some(format!("http://{sink}")),
            cores: Some("1".into()),
            log_level: Some("warn".into()),
            cluster_bind: Some(bind.clone()),
            cluster_connect: Some(binds.join(",")),
            cluster_mode: Some(options.mode.clone()),
            ..Cli::default()
        };
        let config = Config::from_cli(&cli).map_err(|faults| Fault(faults.join(", ")))?;
        nodes.push(server::start(config).map_err(|error| Fault(error.to_string()))?);
    }
    Ok(nodes)
}

/// Answers 204 to whatever comes in one piece.
fn sink() -> Result<SocketAddr, Fault> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").during("a free port")?;
    let address = listener.local_addr().during("a free port")?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                    if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// One source for each group, over one connection, for ever. 503 is the answer of a node that begins.
fn push(address: SocketAddr, groups: &[usize]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut bytes = [0; 4096];
    loop {
        let round = Instant::now();
        for group in groups {
            let head = format!(
                "POST /api/v1/write?highlander_group=group-{group}&highlander_source=a HTTP/1.1\r\n\
                 Host: a\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            if stream.read(&mut bytes)? == 0 {
                stream = TcpStream::connect(address)?;
            }
        }
        thread::sleep(PUSH_EVERY.saturating_sub(round.elapsed()));
    }
}

/// The CPU time of all threads that talk, in ticks.
fn ticks() -> Result<u64, Fault> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc/self/task").during("/proc/self/task")? {
        let path = entry.during("/proc/self/task")?.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("comm").trim() == "gossip" {
            let stat = read("stat");
            let words: Vec<&str> =
                stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            // State is word 0 here and field 3 in proc(5): utime and stime are fields 14 and 15.
            let times = words.get(11..13).unwrap_or_default();
            sum += times.iter().filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(sum)
}

/// Datagrams and their bytes, of the node that has sent the most, and of all.
fn sent(nodes: &[Running]) -> Vec<(u64, u64)> {
    let of = |node: &Running| {
        (node.count(Counter::DatagramsSent), node.count(Counter::DatagramBytesSent))
    };
    nodes.iter().map(of).collect()
}

fn table(
    options: &Options,
    elapsed_s: f64,
    before: &(u64, Vec<(u64, u64)>),
    after: &(u64, Vec<(u64, u64)>),
) -> String {
    let Options { nodes, groups, mode, .. } = options;
    let rate = |of: fn(&(u64, u64)) -> u64| -> Vec<f64> {
        let pairs = after.1.iter().zip(&before.1);
        pairs.map(|(after, before)| (of(after) - of(before)) as f64 / elapsed_s).collect()
    };
    let (datagrams, bytes) = (rate(|it| it.0), rate(|it| it.1));
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let most = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    let cpu = (after.0 - before.0) as f64 / TICKS_PER_S / elapsed_s / *nodes as f64 * 100.0;
    let mut text = format!("{nodes} nodes, {groups} groups, {mode}, {elapsed_s:.0} s\n\n");
    text.push_str("| of each node | mean | most |\n|---|---|---|\n");
    let _ = writeln!(text, "| CPU of its thread, % of a core | {cpu:.2} | |");
    let rows = [("datagrams/s", &datagrams, 1.0), ("KB/s sent", &bytes, 1000.0)];
    for (name, all, unit) in rows {
        let _ = writeln!(text, "| {name} | {:.1} | {:.1} |", mean(all) / unit, most(all) / unit);
    }
    text
}
