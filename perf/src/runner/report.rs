//! The tables: medians, spread, and how the proxy stands to its peers.

use std::fmt::Write;

use super::candidate::Candidate;
use super::scenario::Scenario;
use super::trial::{Sample, Trial};

/// One line of a table.
pub struct Row {
    /// What was measured.
    pub trial: Trial,
    /// Once for each round.
    pub samples: Vec<Sample>,
}

impl Row {
    fn median(&self, figure: fn(&Sample) -> f64) -> Option<f64> {
        let mut figures: Vec<f64> = self.samples.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(figures[middle]),
            _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
        }
    }

    fn is_beside(&self, other: &Row) -> bool {
        let (mine, its) = (&self.trial, &other.trial);
        (mine.body_bytes, mine.connections) == (its.body_bytes, its.connections)
    }
}

/// All tables of a scenario.
pub fn tables(scenario: Scenario, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.samples.is_empty()).collect();
    format!("{}\n{}", figures(&rows), ratios(scenario, &rows))
}

fn figures(rows: &[&Row]) -> String {
    let mut text = String::from(
        "| body | connections | candidate | cores | CPU s per 10k (min..max) | requests/s \
         | p50 µs | p99 µs | failures | others on its cores, max % |\n\
         |--:|--:|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let trial = &row.trial;
        let cpu = row.samples.iter().map(|sample| sample.cpu_s_per_10k);
        let least = cpu.clone().fold(f64::INFINITY, f64::min);
        let most = cpu.fold(0.0, f64::max);
        let failures: u64 = row.samples.iter().map(|sample| sample.failures).sum();
        let others = row.samples.iter().map(|sample| sample.others_percent).fold(0.0, f64::max);
        let median = |figure| row.median(figure).unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.3} ({least:.3}..{most:.3}) | {:.0} | {:.0} | {:.0} \
             | {failures} | {others:.0} |",
            trial.body_bytes,
            trial.connections,
            trial.candidate,
            trial.cores,
            median(|sample| sample.cpu_s_per_10k),
            median(|sample| sample.per_second),
            median(|sample| sample.p50_us),
            median(|sample| sample.p99_us),
        );
    }
    text
}

/// What each of the proxy's rows is divided by, and what that is called.
fn yardsticks(scenario: Scenario) -> &'static [(&'static str, &'static [Candidate])] {
    match scenario {
        Scenario::Forward => &[
            ("best of haproxy and nginx", &[Candidate::Haproxy, Candidate::Nginx]),
            ("relay", &[Candidate::Relay]),
        ],
        Scenario::Standby => &[("haproxy-204", &[Candidate::Haproxy204])],
        Scenario::Tls => &[("haproxy-tls", &[Candidate::HaproxyTls])],
        Scenario::Cores | Scenario::Churn | Scenario::HalfSent => &[],
    }
}

fn ratios(scenario: Scenario, rows: &[&Row]) -> String {
    let proxies = || rows.iter().filter(|row| row.trial.candidate.is_highlander());
    if proxies().next().is_none() {
        return String::new();
    }
    let mut text = String::from(
        "CPU per request, the median divided by another's (below 1: cheaper):\n\n\
         | body | connections | candidate | divided by | ratio |\n|--:|--:|---|---|--:|\n",
    );
    let mut line = |row: &Row, divisor: &str, ratio: Option<f64>| {
        let ratio = ratio.map_or_else(|| String::from("-"), |ratio| format!("{ratio:.2}"));
        let Trial { candidate, body_bytes, connections, .. } = row.trial;
        let _ =
            writeln!(text, "| {body_bytes} | {connections} | {candidate} | {divisor} | {ratio} |");
    };
    for row in proxies() {
        for (name, divisors) in yardsticks(scenario) {
            let peers = rows.iter().filter(|peer| divisors.contains(&peer.trial.candidate));
            let least = peers
                .filter(|peer| peer.is_beside(row))
                .filter_map(|peer| peer.median(cpu))
                .min_by(f64::total_cmp);
            line(row, name, quotient(row, least));
        }
        if scenario == Scenario::Cores && row.trial.cores > 1 {
            let single = proxies().find(|peer| {
                let same = peer.trial.candidate == row.trial.candidate;
                same && peer.trial.cores == 1 && peer.is_beside(row)
            });
            let name = format!("itself on 1 core ({} here)", row.trial.cores);
            line(row, &name, quotient(row, single.and_then(|peer| peer.median(cpu))));
        }
    }
    text
}

fn cpu(sample: &Sample) -> f64 {
    sample.cpu_s_per_10k
}

/// None where there is nothing to divide by, or where the row's own answers were wrong: refusing is
/// cheap.
fn quotient(row: &Row, divisor: Option<f64>) -> Option<f64> {
    if row.samples.iter().any(|sample| sample.failures > 0) {
        return None;
    }
    Some(row.median(cpu)? / divisor.filter(|divisor| *divisor > 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::super::trial::Role;
    use super::*;

    fn row(candidate: Candidate, cpu: &[f64]) -> Row {
        let trial =
            Trial { candidate, cores: 1, role: Role::Promoted, body_bytes: 2048, connections: 16 };
        let sample = |&cpu_s_per_10k: &f64| Sample {
            cpu_s_per_10k,
            per_second: 1e4,
            p50_us: 100.0,
            p99_us: 200.0,
            failures: 0,
            others_percent: 0.0,
        };
        Row { trial, samples: cpu.iter().map(sample).collect() }
    }

    #[test]
    fn ratios_are_of_medians_and_to_the_better_peer() {
        let rows = [
            row(Candidate::Highlander, &[0.5, 0.1, 0.2]),
            row(Candidate::Haproxy, &[0.8, 0.8]),
            row(Candidate::Nginx, &[0.3, 0.5]),
            row(Candidate::Relay, &[]),
        ];
        let text = tables(Scenario::Forward, &rows);
        assert!(text.contains("| highlander | 1 | 0.200 (0.100..0.500) |"), "{text}");
        assert!(text.contains("| highlander | best of haproxy and nginx | 0.50 |"), "{text}");
        assert!(text.contains("| highlander | relay | - |"), "{text}");
    }

    #[test]
    fn a_row_with_failures_has_no_ratio() {
        let mut rows = [row(Candidate::Highlander, &[0.1]), row(Candidate::Relay, &[0.1])];
        assert!(tables(Scenario::Forward, &rows).contains("| highlander | relay | 1.00 |"));
        rows[0].samples[0].failures = 1;
        assert!(tables(Scenario::Forward, &rows).contains("| highlander | relay | - |"));
    }
}
