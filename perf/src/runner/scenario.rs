//! The scenarios: which trials they are made of, and which candidates fit them.

use std::fmt::Write;
use std::str::FromStr;

use super::candidate::Candidate;
use super::report::{self, Row};
use super::trial::{Role, Trial};
use super::{Options, Settings, churn, half_sent};
use crate::fault::Fault;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The load's source is promoted.
    Forward,
    /// The same over TLS.
    Tls,
    /// A heavier source holds the seat.
    Standby,
    /// The same load on one core and on two.
    Cores,
    /// Connections that come and go: memory must stay flat.
    Churn,
    /// Clients that stop in the middle of a request.
    HalfSent,
}

/// Whether the figures may be trusted; the worse one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All answers were as they should be.
    Clean,
    /// Some were not; the table says where.
    Failures,
}

const NAMES: [(&str, Scenario); 6] = [
    ("forward", Scenario::Forward),
    ("tls", Scenario::Tls),
    ("standby", Scenario::Standby),
    ("cores", Scenario::Cores),
    ("churn", Scenario::Churn),
    ("half-sent", Scenario::HalfSent),
];

impl Scenario {
    /// What runs when nothing else is asked for.
    pub const USUAL: [Self; 3] = [Self::Forward, Self::Standby, Self::Cores];

    /// Runs it and adds its results to `text`, as far as they go when a fault ends it.
    pub fn run(
        self,
        settings: &Settings,
        options: &Options,
        text: &mut String,
    ) -> Result<Verdict, Fault> {
        let candidates = self.candidates(&options.candidates.0)?;
        match self {
            Self::Forward | Self::Tls | Self::Standby | Self::Cores => {
                self.compare(settings, options, &candidates, text)
            }
            Self::Churn => churn::run(settings, &candidates, text),
            Self::HalfSent => half_sent::run(settings, options.stalled, &candidates, text),
        }
    }

    /// The wanted candidates that fit; without a wish, those that the scenario is about.
    fn candidates(self, wanted: &[Candidate]) -> Result<Vec<Candidate>, Fault> {
        use Candidate::{
            Haproxy, Haproxy204, HaproxyTls, Highlander, HighlanderBefore, HighlanderEpoll,
            HighlanderPair, HighlanderTls, HighlanderTlsBefore, Nginx, Relay,
        };
        let (usual, fitting): (&[_], &[_]) = match self {
            Self::Forward => {
                let usual = &[Highlander, HighlanderEpoll, Haproxy, Nginx, Relay];
                let all = &[
                    Highlander,
                    HighlanderEpoll,
                    HighlanderBefore,
                    HighlanderPair,
                    Haproxy,
                    Nginx,
                    Relay,
                ];
                (usual, all)
            }
            Self::Tls => {
                (&[HighlanderTls, HaproxyTls], &[HighlanderTls, HighlanderTlsBefore, HaproxyTls])
            }
            Self::Standby => {
                let usual = &[Highlander, HighlanderEpoll, Haproxy204];
                (usual, &[Highlander, HighlanderEpoll, HighlanderBefore, Haproxy204])
            }
            Self::Cores => (&[Highlander], &[Highlander, HighlanderEpoll]),
            Self::Churn | Self::HalfSent => {
                (&[Highlander], &[Highlander, HighlanderEpoll, Haproxy, Haproxy204, Nginx, Relay])
            }
        };
        if wanted.is_empty() {
            return Ok(usual.to_vec());
        }
        let chosen: Vec<_> =
            fitting.iter().copied().filter(|candidate| wanted.contains(candidate)).collect();
        if chosen.is_empty() {
            return Err(Fault(format!("none of the candidates fits scenario {}", self.name())));
        }
        Ok(chosen)
    }

    fn compare(
        self,
        settings: &Settings,
        options: &Options,
        candidates: &[Candidate],
        text: &mut String,
    ) -> Result<Verdict, Fault> {
        let mut rows = Vec::new();
        let mut outcome = Ok(());
        'all: for &body_bytes in &options.bodies.0 {
            for &connections in &options.connections.0 {
                let mut group = self.rows(candidates, body_bytes, connections);
                outcome = measure(settings, options.rounds, &mut group);
                rows.append(&mut group);
                if outcome.is_err() {
                    break 'all;
                }
            }
        }
        let _ = write!(text, "\n## {}\n\n{}", self.name(), report::tables(self, &rows));
        outcome?;
        let failures = rows.iter().flat_map(|row| &row.samples).any(|sample| sample.failures > 0);
        Ok(if failures { Verdict::Failures } else { Verdict::Clean })
    }

    fn rows(self, candidates: &[Candidate], body_bytes: usize, connections: usize) -> Vec<Row> {
        let role = if self == Self::Standby { Role::Standby } else { Role::Promoted };
        let cores: &[usize] = if self == Self::Cores { &[1, 2] } else { &[1] };
        let mut rows = Vec::new();
        for &candidate in candidates {
            for &cores in cores {
                let trial = Trial { candidate, cores, role, body_bytes, connections };
                rows.push(Row { trial, samples: Vec::new() });
            }
        }
        rows
    }

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        let entry = NAMES.iter().find(|(_, scenario)| *scenario == self);
        entry.expect("every scenario has a name").0
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let entry = NAMES.iter().find(|(name, _)| *name == word);
        let known = || NAMES.map(|(name, _)| name).join(", ");
        entry.map(|(_, scenario)| *scenario).ok_or_else(|| format!("{word}: none of {}", known()))
    }
}

/// All rounds of one group, one candidate after the other in each.
fn measure(settings: &Settings, rounds: usize, group: &mut [Row]) -> Result<(), Fault> {
    for round in 1..=rounds {
        for row in &mut *group {
            let trial = &row.trial;
            let sample = trial.run(settings)?;
            eprintln!(
                "{} B x {} round {round}: {} on {}: {:.3} s per 10k, {:.0}/s",
                trial.body_bytes,
                trial.connections,
                trial.candidate,
                trial.cores,
                sample.cpu_s_per_10k,
                sample.per_second
            );
            row.samples.push(sample);
            settings.check_interrupted()?;
        }
    }
    Ok(())
}
