//! How long things took: classic buckets, with one writer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::time::Nanos;

/// The upper ends of all buckets but the last, which has none, in seconds: half a millisecond is what an
/// endpoint beside us takes, thirty seconds are what a Prometheus waits.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0];

/// The same as the clock counts.
const BOUNDS_NANOS: [u64; BOUNDS.len()] = in_nanos();

const fn in_nanos() -> [u64; BOUNDS.len()] {
    let mut nanos = [0; BOUNDS.len()];
    let mut place = 0;
    while place < BOUNDS.len() {
        // Half a nanosecond more: the product may be a hair too small.
        nanos[place] = (BOUNDS[place] * 1e9 + 0.5) as u64;
        place += 1;
    }
    nanos
}

/// So many spans fell into each bucket, and they took so long together.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// The sum of some histograms, as it was when they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// By bucket, the shortest first.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All spans together.
    pub nanos: Nanos,
}

impl Histogram {
    /// Adds a span. To be called by the owning thread only.
    pub fn add(&self, span: Nanos) {
        let place = BOUNDS_NANOS.iter().position(|end| span.0 <= *end).unwrap_or(BOUNDS.len());
        // Plain moves in place of locked adds, as in `Counters`.
        for (cell, amount) in [(&self.buckets[place], 1), (&self.nanos, span.0)] {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        }
    }

    /// Adds all that is in it to `sum`; any thread may ask.
    pub fn add_to(&self, sum: &mut Spans) {
        for (bucket, cell) in sum.buckets.iter_mut().zip(&self.buckets) {
            *bucket += cell.load(Ordering::Relaxed);
        }
        sum.nanos.0 = sum.nanos.0.wrapping_add(self.nanos.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(all: &[&Histogram]) -> Spans {
        let mut sum = Spans::default();
        all.iter().for_each(|histogram| histogram.add_to(&mut sum));
        sum
    }

    #[test]
    fn a_span_falls_into_the_first_bucket_that_does_not_end_before_it() {
        for (place, end) in BOUNDS_NANOS.iter().enumerate() {
            let histogram = Histogram::default();
            histogram.add(Nanos(*end));
            histogram.add(Nanos(end + 1));
            let mut expected = Spans { nanos: Nanos(2 * end + 1), ..Spans::default() };
            expected.buckets[place] = 1;
            expected.buckets[place + 1] = 1;
            assert_eq!(sum(&[&histogram]), expected, "{end}");
        }
        assert_eq!((BOUNDS_NANOS[0], BOUNDS_NANOS[2]), (500_000, 2_500_000));
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn the_histograms_of_several_threads_are_added_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.add(Nanos(1));
        other.add(Nanos(2));
        other.add(Nanos(u64::MAX / 2));
        let spans = sum(&[&one, &other]);
        assert_eq!((spans.buckets[0], spans.buckets[BOUNDS.len()]), (2, 1));
        assert_eq!(spans.nanos, Nanos(u64::MAX / 2 + 3));
    }
}
