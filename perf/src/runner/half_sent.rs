//! Clients that stop in the middle of a request and stay: what they cost in memory, and whether a
//! good client feels them.
//!
//! Half of them stop inside the head. The other half promise 30 MiB, send 10 KB and stop: a proxy
//! that reserves what is promised needs 6 GB for two hundred of them.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::Settings;
use super::bench::{Bench, LoadPlan};
use super::candidate::Candidate;
use super::proc;
use super::scenario::Verdict;
use super::trial::{failures, path};
use crate::body::{now_ms, write_request};
use crate::fault::{During, Fault};
use crate::load::Report;

/// Just under the proxy's default limit: a promise it must take seriously.
const PROMISED_BYTES: usize = 30 * 1024 * 1024;
const SENT_BYTES: usize = 10_000;

/// The good client's body.
const BODY_BYTES: usize = 2048;
const REQUESTS_DEFAULT: u64 = 10_000;

/// Until the candidate has read what was sent to it.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures a good client without and with the stalled ones, for each candidate.
pub fn run(
    settings: &Settings,
    stalled: usize,
    candidates: &[Candidate],
    text: &mut String,
) -> Result<Verdict, Fault> {
    let _ = write!(
        text,
        "\n## half-sent\n\n{stalled} clients: one half sends half a head, the other a head that \
         promises 30 MiB, and 10 KB of it. One good client pushes 2048 bytes at a time.\n\n\
         | candidate | stalled clients | VmRSS KiB | p50 µs | p99 µs | max µs | failures |\n\
         |---|--:|--:|--:|--:|--:|--:|\n"
    );
    let mut verdict = Verdict::Clean;
    for &candidate in candidates {
        settings.check_interrupted()?;
        verdict = verdict.max(compare(settings, stalled, candidate, text)?);
    }
    Ok(verdict)
}

fn compare(
    settings: &Settings,
    stalled: usize,
    candidate: Candidate,
    text: &mut String,
) -> Result<Verdict, Fault> {
    let path = path(50);
    let mut bench = Bench::start(settings, candidate, 1, BODY_BYTES, &path)?;
    let pid = bench.candidate.pid();
    let mut verdict = Verdict::Clean;
    let mut line = |clients: String, report: &Report| -> Result<(), Fault> {
        let rss_kib = proc::rss_kib(pid)?;
        let failed = failures(report);
        if failed > 0 {
            verdict = Verdict::Failures;
        }
        eprintln!("half-sent: {candidate}: {clients} stalled, {rss_kib} KiB, failures {failed}");
        let _ = writeln!(
            text,
            "| {candidate} | {clients} | {rss_kib} | {:.0} | {:.0} | {:.0} | {failed} |",
            report.p50_us, report.p99_us, report.max_us
        );
        Ok(())
    };
    let good = good_client(settings, &bench, &path)?;
    line(String::from("0"), &good)?;
    let clients = stall(bench.address, stalled, &path)?;
    thread::sleep(SETTLE);
    let good = good_client(settings, &bench, &path)?;
    line(stalled.to_string(), &good)?;
    drop(clients);
    thread::sleep(SETTLE);
    let good = good_client(settings, &bench, &path)?;
    line(String::from("0 again"), &good)?;
    bench.candidate.check()?;
    Ok(verdict)
}

fn good_client(settings: &Settings, bench: &Bench, path: &str) -> Result<Report, Fault> {
    let plan = LoadPlan {
        path,
        connections: 1,
        body_bytes: BODY_BYTES,
        warmup: settings.warmup,
        requests: settings.requests.unwrap_or(REQUESTS_DEFAULT),
        requests_per_connection: None,
    };
    let mut load = bench.load(settings, &plan)?;
    load.warm()?;
    load.measure()
}

/// Opens the clients and leaves them where they are, for as long as they are kept.
fn stall(address: SocketAddr, clients: usize, path: &str) -> Result<Vec<TcpStream>, Fault> {
    let half_head = format!("POST {path} HTTP/1.1\r\nHost: perf\r\nUser-Agent: Prom");
    let promise = format!(
        "POST {path} HTTP/1.1\r\nHost: perf\r\nUser-Agent: highlander-perf\r\n\
         Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
         Content-Length: {PROMISED_BYTES}\r\n\r\n"
    );
    let promise = [promise.as_bytes(), &write_request(SENT_BYTES, now_ms()?)].concat();
    let kinds = [half_head.as_bytes(), &promise];
    let open = |kind: &&[u8]| -> Result<TcpStream, Fault> {
        let mut client = TcpStream::connect(address).during("a half-sent client")?;
        client.write_all(kind).during("a half-sent client")?;
        Ok(client)
    };
    kinds.iter().cycle().take(clients).map(open).collect()
}
