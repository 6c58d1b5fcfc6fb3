//! What came back: answers by status, errors by words, latencies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// Different error texts kept; more would only repeat what the first ones say.
const ERROR_TEXTS_MAX: usize = 8;

/// The counts of one phase.
pub struct Tally {
    statuses: BTreeMap<u16, u64>,
    errors: u64,
    error_texts: BTreeMap<String, u64>,
    connects: u64,
    latency: Histogram,
}

/// The line of JSON that a phase ends with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `warmup` or `measured`.
    pub phase: String,
    /// The event loop it ran on.
    pub driver: String,
    /// Connections at a time.
    pub connections: usize,
    /// Connections opened during this phase.
    pub connects: u64,
    /// Answers with a 2xx status.
    pub ok: u64,
    /// Answers with any other status.
    pub refused: u64,
    /// Requests without an answer, refused connections among them.
    pub errors: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// The first kinds of errors, and how many of each.
    pub error_texts: BTreeMap<String, u64>,
    /// How long the phase took.
    pub elapsed_s: f64,
    /// Answers a second.
    pub per_second: f64,
    /// Half of the answers came within this.
    pub p50_us: f64,
    /// 99 of 100 answers came within this.
    pub p99_us: f64,
    /// The slowest answer.
    pub max_us: f64,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            statuses: BTreeMap::new(),
            errors: 0,
            error_texts: BTreeMap::new(),
            connects: 0,
            latency: Histogram::new(),
        }
    }

    /// An answer came, so long after its request was begun.
    pub fn on_answer(&mut self, status: u16, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        self.latency.record(latency);
    }

    /// A request had no answer.
    pub fn on_error(&mut self, why: String) {
        self.errors += 1;
        if self.error_texts.len() < ERROR_TEXTS_MAX || self.error_texts.contains_key(&why) {
            *self.error_texts.entry(why).or_default() += 1;
        }
    }

    /// A connection is being opened.
    pub fn on_connect(&mut self) {
        self.connects += 1;
    }

    /// The phase is over.
    pub fn report(
        &self,
        phase: &str,
        driver: &str,
        connections: usize,
        elapsed: Duration,
    ) -> Report {
        let answers: u64 = self.statuses.values().sum();
        let ok: u64 = self.statuses.range(200..300).map(|(_, count)| count).sum();
        Report {
            phase: phase.to_owned(),
            driver: driver.to_owned(),
            connections,
            connects: self.connects,
            ok,
            refused: answers - ok,
            errors: self.errors,
            statuses: self.statuses.clone(),
            error_texts: self.error_texts.clone(),
            elapsed_s: elapsed.as_secs_f64(),
            per_second: answers as f64 / elapsed.as_secs_f64().max(1e-9),
            p50_us: self.latency.quantile_us(0.50),
            p99_us: self.latency.quantile_us(0.99),
            max_us: self.latency.max_us(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_counts_as_ok_and_the_line_reads_back() {
        let mut tally = Tally::new();
        for status in [200, 204, 204, 503] {
            tally.on_answer(status, Duration::from_micros(10));
        }
        tally.on_error(String::from("connect: refused"));
        let report = tally.report("measured", "epoll", 4, Duration::from_secs(2));
        assert_eq!((report.ok, report.refused, report.errors), (3, 1, 1));
        assert_eq!(report.per_second, 2.0);
        let line = serde_json::to_string(&report).expect("plain numbers and strings");
        let back: Report = serde_json::from_str(&line).expect("what was just written");
        assert_eq!(back.statuses, report.statuses);
    }
}
