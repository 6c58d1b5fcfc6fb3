//! How long a hand-over takes that has a million samples to send on.
//!
//! A, promoted, delivers samples of all series; B, a standby, has newer ones of the same series
//! held for it; A's connections close. The proxy is started anew for each round, and when its
//! hand-over is over every sample that has arrived is read: each must be there once, in order, and
//! no other.

mod plan;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use argh::FromArgs;

use crate::fault::{During, Fault};
use crate::reading::Reader;
use crate::rig::{self, Line, PROMOTED, Rig, STANDBY};
use crate::runner::http::Client;
use crate::runner::{machine, proc};
use plan::{Held, Plan};

/// From the close of A's connections; the seat changes after the expiry, some seconds.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(120);

/// What is still on its way when the hand-over is over arrives by then: nothing may.
const SETTLED: Duration = Duration::from_millis(500);

/// A refused push is tried again after this, as often as that.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES_MAX: usize = 100;

/// Tries of a push may take a whole hand-over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Measure hand-overs: one source delivers, a standby's pushes are held, the first one leaves.
#[derive(FromArgs)]
#[argh(subcommand, name = "replay")]
pub struct Options {
    /// what the standby holds: new, half-old; several with commas (default new,half-old)
    #[argh(option, default = "String::from(\"new,half-old\")")]
    held: String,

    /// samples of each source (default 1000000)
    #[argh(option, default = "1_000_000")]
    samples: usize,

    /// rounds (default 10)
    #[argh(option, default = "10")]
    rounds: usize,

    /// connections of each source (default 4)
    #[argh(option, default = "4")]
    connections: usize,

    /// milliseconds that the endpoint takes for an answer (default 0)
    #[argh(option, default = "0")]
    answer_ms: u64,

    /// flags for the proxy, separated by spaces (default --hold-memory 2GiB)
    #[argh(option, default = "String::from(\"--hold-memory 2GiB\")")]
    flags: String,

    /// the proxy's binary (default ../target/release/highlander, seen from this package)
    #[argh(option)]
    highlander: Option<PathBuf>,

    /// file for the results, which also go to stdout
    #[argh(option)]
    out: Option<PathBuf>,
}

/// One hand-over, and what has come of it.
struct Round {
    line: Line,
    /// Answers that both sources got.
    statuses: BTreeMap<u16, u64>,
    bodies: u64,
    bytes: u64,
    missing: u64,
    wrong: u64,
    seen_ms: f64,
    proxy_s: f64,
    others_s: f64,
    rss_kib: u64,
}

/// Measures and writes down all rounds of each variant.
pub fn run(options: &Options) -> Result<(), Fault> {
    let binary = rig::binary(options.highlander.as_deref())?;
    let mut text = machine::describe("Hand-over", &[("flags", options.flags.clone())])?;
    let mut is_clean = true;
    for held in options.held.split(',') {
        let held = held.parse::<Held>().map_err(Fault)?;
        let plan = held.plan(options.samples)?;
        let reader = Reader::new(plan.series);
        let _ = writeln!(text, "\n## replay, {held:?}\n\n{}", plan.words());
        text.push_str(
            "| round | duration ms | seen from outside ms | reason | bodies | replayed | skipped \
             | lost | peak MiB | VmRSS MiB | proxy CPU s | others CPU s | arrived bodies \
             | arrived MB | missing | wrong | answers |\n\
             |--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
        );
        let mut durations = Vec::new();
        for number in 1..=options.rounds {
            let round = measure(options, &binary, &plan, &reader)?;
            is_clean &= round.is_clean(&plan);
            eprintln!("replay: {held:?} {number}: {}", round.line.text);
            durations.push(round.line.duration_ms);
            let _ = writeln!(text, "| {number} | {} |", round.cells());
        }
        let _ = writeln!(text, "\n{}", summary(&durations));
        if let Some(path) = &options.out {
            fs::write(path, &text).during(path.display())?;
        }
    }
    println!("{text}");
    match is_clean {
        true => Ok(()),
        false => Err(Fault(String::from("not every sample has arrived exactly once"))),
    }
}

fn measure(options: &Options, binary: &Path, plan: &Plan, reader: &Reader) -> Result<Round, Fault> {
    let mut rig = Rig::start(binary, &options.flags, Duration::from_millis(options.answer_ms))?;
    rig.endpoint.keep();
    let (address, connections) = (rig.address, options.connections.max(1));
    // B is known before A delivers the most: of a source that is alone little is kept.
    let mut statuses = BTreeMap::new();
    let first = push_all(address, PROMOTED, &plan.promoted[..1], 1, &mut statuses)?;
    let second = push_all(address, STANDBY, &plan.standby[..1], 1, &mut statuses)?;
    let a = push_all(address, PROMOTED, &plan.promoted[1..], connections, &mut statuses)?;
    let b = push_all(address, STANDBY, &plan.standby[1..], connections, &mut statuses)?;
    drop((first, a));
    rig.wait_for("lost source :", HAND_OVER_TIMEOUT)?;
    let before = rig.busy()?;
    let line = rig.wait_for_hand_over(HAND_OVER_TIMEOUT)?;
    let after = rig.busy()?;
    thread::sleep(SETTLED);
    let (missing, wrong) = plan.check(reader, &rig.endpoint.take())?;
    let round = Round {
        line,
        statuses,
        bodies: rig.endpoint.bodies(),
        bytes: rig.endpoint.bytes(),
        missing,
        wrong,
        seen_ms: after.s_since(&before) * 1e3,
        proxy_s: after.proxy_s_since(&before),
        others_s: after.others_s_since(&before),
        rss_kib: proc::rss_kib(rig.proxy.pid())?,
    };
    drop((second, b));
    Ok(round)
}

/// Pushes the bodies side by side and gives back the connections, still open.
fn push_all(
    address: SocketAddr,
    path: &'static str,
    bodies: &[Vec<u8>],
    connections: usize,
    statuses: &mut BTreeMap<u16, u64>,
) -> Result<Vec<Client>, Fault> {
    let push = |first: usize| {
        let mut client = Client::open_patient(address, ANSWER_TIMEOUT)?;
        let mut answers = Vec::new();
        for body in bodies.iter().skip(first).step_by(connections) {
            for _ in 0..TRIES_MAX {
                let status = client.push_body(path, body)?;
                answers.push(status);
                if (200..300).contains(&status) {
                    break;
                }
                thread::sleep(PAUSE);
            }
        }
        Ok((client, answers))
    };
    let pushed: Vec<Result<(Client, Vec<u16>), Fault>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..connections).map(|first| scope.spawn(move || push(first))).collect();
        threads.into_iter().map(|it| it.join().expect("a push has no panics")).collect()
    });
    let mut clients = Vec::new();
    for pushed in pushed {
        let (client, answers) = pushed.during(path)?;
        clients.push(client);
        answers.into_iter().for_each(|status| *statuses.entry(status).or_default() += 1);
    }
    Ok(clients)
}

impl Round {
    fn is_clean(&self, plan: &Plan) -> bool {
        let counts = (self.line.replayed, self.line.skipped, self.line.lost);
        (self.missing, self.wrong) == (0, 0) && counts == (plan.newer, plan.covered, 0)
    }

    fn cells(&self) -> String {
        let Line { reason, bodies, replayed, skipped, lost, duration_ms, peak_bytes, .. } =
            &self.line;
        let peak = *peak_bytes as f64 / f64::from(1 << 20);
        format!(
            "{duration_ms} | {:.0} | {reason} | {bodies} | {replayed} | {skipped} | {lost} \
             | {peak:.1} | {} | {:.2} | {:.2} | {} | {:.1} | {} | {} | {:?}",
            self.seen_ms,
            self.rss_kib / 1024,
            self.proxy_s,
            self.others_s,
            self.bodies,
            self.bytes as f64 / 1e6,
            self.missing,
            self.wrong,
            self.statuses,
        )
    }
}

/// The median, and all of them.
fn summary(durations_ms: &[f64]) -> String {
    let mut sorted = durations_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => return String::from("nothing was measured"),
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    };
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    format!("duration: median {median} ms ({least}..{most}): {durations_ms:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert!(summary(&[4.0, 1.0, 3.0, 2.0]).starts_with("duration: median 2.5 ms (1..4)"));
        assert!(summary(&[3.0, 1.0, 2.0]).starts_with("duration: median 2 ms (1..3)"));
    }
}
