//! What the two sources of a hand-over push, and whether all of it has arrived.

use std::str::FromStr;

use crate::body::now_ms;
use crate::fault::Fault;
use crate::reading::Reader;
use crate::scrape::{SAMPLES, Sheet, value};

/// What the standby has pushed until the seat changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A newer sample of each series: bodies go on as they are.
    New,
    /// Of each series one that is covered and one that is newer, in the same body: all bodies are
    /// rewritten. Half as many series, so that there are as many samples.
    HalfOld,
}

/// What both sources push, and what of it is to arrive.
pub struct Plan {
    /// How many.
    pub series: usize,
    /// The bodies of the promoted source.
    pub promoted: Vec<Vec<u8>>,
    /// The bodies of the standby.
    pub standby: Vec<Vec<u8>>,
    /// The times of each series in the order in which they are to arrive.
    expected_ms: Vec<i64>,
    /// Samples of the standby that are to be sent on.
    pub newer: u64,
    /// And those that are not.
    pub covered: u64,
}

impl Held {
    /// Lays out the bodies.
    pub fn plan(self, samples: usize) -> Result<Plan, Fault> {
        let newest = now_ms()?.cast_signed() - 5_000;
        let (a_ms, b_ms, expected_ms): (&[i64], &[i64], _) = match self {
            Self::New => (&[newest], &[newest + 700], vec![newest, newest + 700]),
            Self::HalfOld => (
                &[newest - 1000, newest],
                &[newest - 300, newest + 700],
                vec![newest - 1000, newest, newest + 700],
            ),
        };
        let series = samples / a_ms.len();
        let of_body = SAMPLES / a_ms.len();
        let bodies = |times: &[i64]| {
            let firsts = (0..series).step_by(of_body);
            let sheet = |first| Sheet::new(first..series.min(first + of_body), times.len());
            firsts.map(|first| sheet(first).body(times)).collect::<Result<Vec<_>, _>>()
        };
        let (promoted, standby) = (bodies(a_ms)?, bodies(b_ms)?);
        let covered = (series * (b_ms.len() - 1)) as u64;
        Ok(Plan { series, promoted, standby, expected_ms, newer: series as u64, covered })
    }
}

impl FromStr for Held {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "new" => Ok(Self::New),
            "half-old" => Ok(Self::HalfOld),
            _ => Err(format!("{word}: neither new nor half-old")),
        }
    }
}

impl Plan {
    /// Samples that have not arrived, and those that have and should not: a second time, out of
    /// order, with another value.
    pub fn check(&self, reader: &Reader, bodies: &[Vec<u8>]) -> Result<(u64, u64), Fault> {
        let mut seen = vec![0; self.series];
        let mut wrong = 0;
        for body in bodies {
            reader.read(body, |arrived| {
                let is_next = self.expected_ms.get(seen[arrived.series]) == Some(&arrived.time_ms);
                let expected = value(arrived.series, arrived.time_ms);
                if is_next && arrived.value.to_bits() == expected.to_bits() {
                    seen[arrived.series] += 1;
                } else {
                    wrong += 1;
                }
            })?;
        }
        let missing = seen.iter().map(|seen| self.expected_ms.len() - seen).sum::<usize>();
        Ok((missing as u64, wrong))
    }

    /// What was pushed, in words.
    pub fn words(&self) -> String {
        let of = |bodies: &[Vec<u8>], samples: u64| {
            let bytes: usize = bodies.iter().map(Vec::len).sum();
            let (count, each) = (bodies.len(), bytes as f64 / samples as f64);
            format!("{samples} samples in {count} bodies of {bytes} bytes ({each:.1} a sample)")
        };
        let delivered = (self.expected_ms.len() - 1) * self.series;
        format!(
            "{} series. A has delivered {}; B has had held {}, {} of them covered.\n",
            self.series,
            of(&self.promoted, delivered as u64),
            of(&self.standby, self.newer + self.covered),
            self.covered,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(plan: &Plan, bodies: &[Vec<u8>]) -> (u64, u64) {
        plan.check(&Reader::new(plan.series), bodies).expect("readable")
    }

    #[test]
    fn a_sample_that_is_missing_doubled_or_covered_is_found() {
        let plan = Held::New.plan(4000).expect("a plan");
        let all = [plan.promoted.clone(), plan.standby.clone()].concat();
        assert_eq!(arrived(&plan, &all), (0, 0));
        assert_eq!(arrived(&plan, &all[..3]), (2000, 0));
        assert_eq!(arrived(&plan, &[all.clone(), plan.standby.clone()].concat()), (0, 4000));
        let plan = Held::HalfOld.plan(4000).expect("a plan");
        let unfiltered = [plan.promoted.clone(), plan.standby.clone()].concat();
        assert_eq!((plan.newer, plan.covered), (2000, 2000));
        assert_eq!(arrived(&plan, &unfiltered), (0, 2000), "the covered ones");
    }
}
