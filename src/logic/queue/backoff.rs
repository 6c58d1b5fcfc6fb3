//! How long a request that was not taken waits before it is tried again.

use crate::base::time::Millis;

/// `min_backoff` and `max_backoff`, and dice for what lies between.
#[derive(Debug)]
pub struct Backoff {
    min: Millis,
    max: Millis,
    dice: u64,
}

impl Backoff {
    /// Pauses from `min` to `max`, which is not shorter. `seed` should differ between processes: those
    /// that an endpoint threw off together must not come back together.
    pub fn new(min: Millis, max: Millis, seed: u64) -> Backoff {
        Backoff { min, max, dice: seed }
    }

    /// The pause after so many tries of one request, 1 at least. It doubles from try to try, and lies
    /// anywhere in the upper half of that; never outside the two bounds.
    pub fn pause(&mut self, tries: u32) -> Millis {
        let doubled = self.min.times(1_u64.checked_shl(tries).unwrap_or(u64::MAX));
        let most = doubled.min(self.max);
        let least = Millis(most.0 / 2).max(self.min);
        least.after(self.jitter(most.since(least)))
    }

    /// Any time up to `most`.
    pub fn jitter(&mut self, most: Millis) -> Millis {
        // A multiplicative generator: good enough to spread some requests.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Millis((self.dice >> 33) % most.0.saturating_add(1).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let mut backoff = Backoff::new(Millis(30), Millis(5000), 7);
        let ranges = [(1, 30, 60), (2, 60, 120), (5, 480, 960), (8, 2500, 5000), (99, 2500, 5000)];
        for (tries, least, most) in ranges {
            let pauses: std::collections::BTreeSet<u64> =
                (0..200).map(|_| backoff.pause(tries).0).collect();
            let ends = (*pauses.first().expect("some"), *pauses.last().expect("some"));
            assert!(ends.0 >= least && ends.1 <= most, "{tries}: {ends:?}");
            assert!(pauses.len() > 15, "{tries}: {pauses:?}");
        }
        let mut fixed = Backoff::new(Millis(9), Millis(9), 7);
        assert_eq!([1, 2, 70].map(|tries| fixed.pause(tries)), [Millis(9); 3]);
        assert_eq!(Backoff::new(Millis(0), Millis(0), 1).pause(1), Millis(0));
    }
}
