//! One measurement: warm up, read the candidate's CPU time, push, read it again.
//!
//! CPU time per request is the figure, not requests a second: on two cores the load and the sink
//! take their share of the machine, but none of the candidate's time. That a run was what it claims
//! to be is checked with the sink's counts: forwarded requests have arrived, a standby's have not.

use std::time::Instant;

use super::Settings;
use super::bench::{Bench, LoadPlan};
use super::candidate::Candidate;
use super::http::Holder;
use super::proc;
use crate::fault::Fault;
use crate::load::Report;

/// The path that everything is pushed to.
const PATH: &str = "/api/v1/write";

/// Half a second of CPU time and more: the kernel counts in hundredths.
const REQUESTS_DEFAULT: u64 = 50_000;

/// What the load is to the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds the seat: its requests go on to the sink.
    Promoted,
    /// A heavier source holds the seat: the candidate answers by itself.
    Standby,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The proxy under test.
    pub candidate: Candidate,
    /// How many cores it may use.
    pub cores: usize,
    /// What the load is to it.
    pub role: Role,
    /// Size of a body.
    pub body_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
}

/// What came out of it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// CPU seconds of the candidate for 10 000 requests.
    pub cpu_s_per_10k: f64,
    /// Requests a second.
    pub per_second: f64,
    /// Half of the answers came within this.
    pub p50_us: f64,
    /// 99 of 100 answers came within this.
    pub p99_us: f64,
    /// Wrong or missing answers, requests gone astray, streams the sink could not read.
    pub failures: u64,
    /// How much of the candidate's cores others have taken meanwhile, in percent of one core.
    pub others_percent: f64,
}

impl Trial {
    /// Starts everything, measures once, ends everything.
    pub fn run(&self, settings: &Settings) -> Result<Sample, Fault> {
        let (seat_weight, load_weight) = match self.role {
            Role::Promoted => (50, 50),
            Role::Standby => (100, 1),
        };
        let seat = path(seat_weight);
        let mut bench = Bench::start(settings, self.candidate, self.cores, self.body_bytes, &seat)?;
        let holder = match self.role {
            // Only the proxy knows of seats; the peer answers everyone.
            Role::Standby if self.candidate.is_highlander() => {
                Some(Holder::start(bench.address, seat.clone())?)
            }
            _ => None,
        };
        let plan = LoadPlan {
            path: &path(load_weight),
            connections: self.connections,
            body_bytes: self.body_bytes,
            warmup: settings.warmup,
            requests: settings.requests.unwrap_or(REQUESTS_DEFAULT),
            requests_per_connection: None,
        };
        let mut load = bench.load(settings, &plan)?;
        load.warm()?;

        let pid = bench.candidate.pid();
        let sink_before = bench.sink_stats.stats()?;
        let others_before = settings.candidate_busy_s(self.cores)?;
        let cpu_before = proc::cpu_s(pid)?;
        let began = Instant::now();
        let report = load.measure()?;
        let cpu_s = proc::cpu_s(pid)? - cpu_before;
        let elapsed_s = began.elapsed().as_secs_f64();
        let others_s = settings.candidate_busy_s(self.cores)? - others_before - cpu_s;
        let sink_after = bench.sink_stats.stats()?;
        bench.candidate.check()?;

        let bad_stream = sink_after.slips + sink_after.truncated;
        let arrived = sink_after.requests - sink_before.requests;
        let astray = self.astray(arrived, &report, elapsed_s);
        let holder_refused = holder.as_ref().map_or(0, Holder::refused);
        let failures = failures(&report) + astray + bad_stream + holder_refused;
        if failures > 0 {
            eprintln!(
                "    FAILED {failures}: answers {:?}, errors {:?}, arrived at the sink {arrived}, \
                 bad streams there {bad_stream}, holder refused {holder_refused}",
                report.statuses, report.error_texts
            );
        }
        if report.connects > 0 {
            // Allowed, but it costs both sides, so it explains a figure.
            eprintln!("    closed by the candidate, opened anew: {}", report.connects);
        }
        let answers = report.ok + report.refused;
        if answers == 0 {
            return Err(bench.candidate.failure("has answered nothing"));
        }
        Ok(Sample {
            cpu_s_per_10k: cpu_s / answers as f64 * 1e4,
            per_second: report.per_second,
            p50_us: report.p50_us,
            p99_us: report.p99_us,
            failures,
            others_percent: (others_s / elapsed_s * 100.0).max(0.0),
        })
    }

    /// Requests that were acknowledged and have not arrived, or have arrived and should not.
    fn astray(&self, arrived: u64, report: &Report, elapsed_s: f64) -> u64 {
        match self.role {
            Role::Promoted => report.ok.abs_diff(arrived),
            // The holder's own pushes arrive, about one a second.
            Role::Standby => arrived.saturating_sub(elapsed_s as u64 + 2),
        }
    }
}

/// Answers other than 2xx, and requests without an answer.
pub fn failures(report: &Report) -> u64 {
    report.refused + report.errors
}

/// Where a source of this weight pushes to.
pub fn path(weight: u64) -> String {
    format!("{PATH}?highlander_weight={weight}")
}
