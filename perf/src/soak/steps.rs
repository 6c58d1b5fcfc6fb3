//! Whether the series that have arrived go on without a hole and without a step back.

use super::source::Rate;
use crate::fault::Fault;
use crate::reading::Reader;
use crate::scrape::value;

/// How the samples of each series follow each other.
#[derive(Debug, Default, PartialEq)]
pub struct Steps {
    /// All of them.
    pub samples: u64,
    /// Not newer than the one before.
    pub back: u64,
    /// With a longer step before them than from scrape to scrape.
    pub gaps: u64,
    /// The longest step.
    pub longest_ms: i64,
    /// With a value that nobody has scraped.
    pub wrong: u64,
}

impl Steps {
    /// Of the samples in these bodies.
    pub fn of(rate: Rate, bodies: &[Vec<u8>]) -> Result<Self, Fault> {
        let reader = Reader::new(rate.series);
        // A rounded millisecond at each end.
        let step_ms_max = rate.interval().as_millis() as i64 + 1;
        let mut last_ms = vec![None; rate.series];
        let mut steps = Self::default();
        for body in bodies {
            reader.read(body, |arrived| {
                let last = last_ms[arrived.series].replace(arrived.time_ms);
                let step_ms = last.map_or(1, |last| arrived.time_ms - last);
                let expected = value(arrived.series, arrived.time_ms);
                steps.samples += 1;
                steps.back += u64::from(step_ms <= 0);
                steps.gaps += u64::from(step_ms > step_ms_max);
                steps.longest_ms = steps.longest_ms.max(step_ms);
                steps.wrong += u64::from(expected.to_bits() != arrived.value.to_bits());
            })?;
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::Sheet;

    #[test]
    fn a_gap_and_a_step_back_are_found() {
        let rate = Rate { series: 2, body_samples: 2, samples_per_s: 2, connections: 1 };
        let mut sheet = Sheet::new(0..2, 1);
        let start = 1_770_000_000_000;
        let mut steps = |times: &[i64]| {
            let bodies: Result<Vec<_>, _> =
                times.iter().map(|time| sheet.body(&[start + time])).collect();
            Steps::of(rate, &bodies.expect("bodies")).expect("readable")
        };
        let whole = steps(&[0, 1000, 1500, 2500]);
        assert_eq!((whole.samples, whole.back, whole.gaps, whole.longest_ms), (8, 0, 0, 1000));
        let gap = steps(&[0, 1000, 2500]);
        assert_eq!((gap.back, gap.gaps, gap.longest_ms), (0, 2, 1500));
        assert_eq!(steps(&[0, 1000, 1000]).back, 2);
        assert_eq!(whole.wrong, 0);
    }
}
