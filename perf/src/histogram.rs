//! Latencies, counted in buckets that grow with the value.
//!
//! 64 buckets for each power of two: a quantile is off by less than 1.6 %, a record costs a shift
//! and an increment, and the size does not depend on the length of the run.

use std::time::Duration;

/// Each power of two is cut into 2^6 buckets.
const SUB_BITS: u32 = 6;
const SUB_BUCKETS: u64 = 1 << SUB_BITS;
/// Nanoseconds of any u64 fit.
const BUCKETS: usize = ((64 - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counted durations, with quantiles.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_ns: 0 }
    }

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The microseconds that the share `quantile` (0 to 1) of all durations stayed under; 0 when
    /// nothing was counted.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        let rank = (self.count as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_ns(index).min(self.max_ns) as f64 / 1e3;
            }
        }
        0.0
    }

    /// The longest duration, exactly.
    pub fn max_us(&self) -> f64 {
        self.max_ns as f64 / 1e3
    }
}

fn bucket(ns: u64) -> usize {
    if ns < SUB_BUCKETS {
        return ns as usize;
    }
    let shift = 63 - ns.leading_zeros() - SUB_BITS;
    // The top bit of the shifted value is always set, so each power of two fills its own row.
    ((u64::from(shift) << SUB_BITS) + (ns >> shift)) as usize
}

fn upper_ns(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB_BUCKETS {
        return index;
    }
    let shift = (index >> SUB_BITS) - 1;
    let lowest = (index - (shift << SUB_BITS)) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_off_by_less_than_two_percent() {
        let mut ns: u64 = 1;
        while ns < 1 << 62 {
            for value in [ns - 1, ns, ns + 1, ns + ns / 3] {
                let upper = upper_ns(bucket(value));
                assert!(upper >= value, "{value} above its bucket's {upper}");
                assert!(upper - value <= value / 60, "{value} far below its bucket's {upper}");
            }
            ns *= 2;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_hundred_are_their_ranks() {
        let mut histogram = Histogram::new();
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }
        assert!((histogram.quantile_us(0.5) - 50.0).abs() < 1.0);
        assert!((histogram.quantile_us(0.99) - 99.0).abs() < 1.6);
        assert_eq!(histogram.max_us(), 100.0);
        assert_eq!(histogram.quantile_us(1.0), 100.0);
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::new().quantile_us(0.99), 0.0);
    }
}
