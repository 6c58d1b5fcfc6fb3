//! Connections that come and go, each with one small request: memory must stay flat.
//!
//! A leak of a hundred bytes a connection is invisible in a load test and kills a proxy in a month
//! of scrapes. 100 000 connections make it 10 MB.

use std::fmt::Write;

use super::Settings;
use super::bench::{Bench, LoadPlan};
use super::candidate::Candidate;
use super::proc;
use super::scenario::Verdict;
use super::trial::{failures, path};
use crate::fault::Fault;

const CONNECTIONS_DEFAULT: u64 = 100_000;

/// Memory is read after each tenth, which with the default is every 10 000 connections.
const STEPS: u64 = 10;

/// Small: this is about connections.
const BODY_BYTES: usize = 2048;

/// Open at a time.
const OPEN: usize = 16;

/// Opens and closes connections to each candidate and adds its memory to `text`.
pub fn run(
    settings: &Settings,
    candidates: &[Candidate],
    text: &mut String,
) -> Result<Verdict, Fault> {
    let connections = settings.requests.unwrap_or(CONNECTIONS_DEFAULT);
    text.push_str(
        "\n## churn\n\nOne request of 2048 bytes on each connection, then the client closes it.\n\n\
         | candidate | connections so far | VmRSS KiB | connections/s | p99 µs | failures |\n\
         |---|--:|--:|--:|--:|--:|\n",
    );
    let mut verdict = Verdict::Clean;
    for &candidate in candidates {
        verdict = verdict.max(churn(settings, candidate, connections, text)?);
    }
    Ok(verdict)
}

fn churn(
    settings: &Settings,
    candidate: Candidate,
    connections: u64,
    text: &mut String,
) -> Result<Verdict, Fault> {
    let path = path(50);
    let mut bench = Bench::start(settings, candidate, 1, BODY_BYTES, &path)?;
    let pid = bench.candidate.pid();
    let _ = writeln!(text, "| {candidate} | 0 | {} | - | - | - |", proc::rss_kib(pid)?);
    let step = (connections / STEPS).max(1);
    let mut verdict = Verdict::Clean;
    let mut so_far = 0;
    while so_far < connections {
        settings.check_interrupted()?;
        let requests = step.min(connections - so_far);
        let plan = LoadPlan {
            path: &path,
            connections: OPEN,
            body_bytes: BODY_BYTES,
            warmup: 0,
            requests,
            requests_per_connection: Some(1),
        };
        let mut load = bench.load(settings, &plan)?;
        load.warm()?;
        let report = load.measure()?;
        bench.candidate.check()?;
        so_far += requests;
        let rss_kib = proc::rss_kib(pid)?;
        eprintln!("churn: {candidate}: {so_far} connections, {rss_kib} KiB");
        let failed = failures(&report);
        if failed > 0 {
            verdict = Verdict::Failures;
            eprintln!("    FAILED {failed}: {:?} {:?}", report.statuses, report.error_texts);
        }
        let _ = writeln!(
            text,
            "| {candidate} | {so_far} | {rss_kib} | {:.0} | {:.0} | {failed} |",
            report.per_second, report.p99_us
        );
    }
    Ok(verdict)
}
