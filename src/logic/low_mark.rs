//! Up to where the promoted source has delivered everything, as one core sees it.
//!
//! A source's shards run side by side and not all are equally far, so the newest sample says
//! nothing: what counts is the oldest first sample among the requests in flight and lately
//! acknowledged. Each shard speaks at least once in a span of twice the source's longest pause, so
//! what is older than everything of that span has been delivered.

use std::collections::VecDeque;

use crate::base::limits::LOW_MARK_STEP;
use crate::base::time::{Millis, UnixMillis};

/// The low mark of one source on one core.
#[derive(Debug, Default)]
pub struct LowMark {
    /// When something was acknowledged, in steps, and the oldest first sample of that step.
    steps: VecDeque<(u64, UnixMillis)>,
    in_flight: Vec<UnixMillis>,
}

impl LowMark {
    /// A request whose first sample is of `first` is on its way.
    pub fn on_sent(&mut self, first: UnixMillis) {
        self.in_flight.push(first);
    }

    /// It has been acknowledged.
    pub fn on_acknowledged(&mut self, first: UnixMillis, now: Millis) {
        self.on_failed(first);
        let step = now.0 / LOW_MARK_STEP.0;
        match self.steps.back_mut() {
            Some((last, oldest)) if *last == step => *oldest = first.min(*oldest),
            Some(_) | None => self.steps.push_back((step, first)),
        }
    }

    /// It has not been; whoever keeps it keeps its first sample too.
    pub fn on_failed(&mut self, first: UnixMillis) {
        if let Some(place) = self.in_flight.iter().position(|other| *other == first) {
            self.in_flight.swap_remove(place);
        }
    }

    /// The oldest of all in the span before `now`. It is the mark of the source only if the source
    /// has been forwarded for as long, on all cores: else a shard may not have spoken yet.
    pub fn mark(&mut self, now: Millis, span: Millis) -> Option<UnixMillis> {
        let from = now.since(span).0 / LOW_MARK_STEP.0;
        while self.steps.front().is_some_and(|(step, _)| *step < from) {
            self.steps.pop_front();
        }
        let acknowledged = self.steps.iter().map(|(_, oldest)| *oldest);
        acknowledged.chain(self.in_flight.iter().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Millis = Millis(6_000);

    #[test]
    fn the_mark_is_the_oldest_of_all_shards_in_the_span() {
        let mut low = LowMark::default();
        for second in 0..20 {
            let now = Millis(second * 1000);
            // Two shards, one of them four seconds behind.
            for first in [second as i64 * 1000, second as i64 * 1000 - 4000].map(UnixMillis) {
                low.on_sent(first);
                low.on_acknowledged(first, now);
            }
            let oldest = second.saturating_sub(6) as i64 * 1000 - 4000;
            assert_eq!(low.mark(now, SPAN), Some(UnixMillis(oldest)));
        }
        assert_eq!(low.mark(Millis(40_000), SPAN), None, "nobody has spoken for a while");
    }

    #[test]
    fn a_request_in_flight_holds_the_mark_and_a_failed_one_is_kept_elsewhere() {
        let mut low = LowMark::default();
        let (old, new) = (UnixMillis(5), UnixMillis(9000));
        low.on_sent(old);
        low.on_sent(new);
        low.on_acknowledged(new, Millis(1000));
        assert_eq!(low.mark(Millis(7000), SPAN), Some(old));
        low.on_failed(old);
        assert_eq!(low.mark(Millis(7000), SPAN), Some(new));
    }
}
