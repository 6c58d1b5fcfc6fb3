//! Records that have been written and not synced, and when that has to happen.
//!
//! What the endpoint has, and the mark says so for good, need not be synced any more. An endpoint that
//! keeps up has everything long before it is time.

use std::collections::VecDeque;

use crate::base::limits::{QUEUE_STRETCHES_MAX, QUEUE_STRETCHES_PER_SYNC};
use crate::base::time::Millis;
use crate::logic::queue::setting::Sync;
use crate::wire::queue::sequence::Sequence;

/// Those that wait for a sync, in stretches that were written at about the same time.
#[derive(Debug)]
pub struct Unsynced {
    sync: Sync,
    stretches: VecDeque<Stretch>,
}

#[derive(Debug)]
struct Stretch {
    /// When its first record was written.
    since: Millis,
    due: Millis,
    last: Sequence,
}

impl Unsynced {
    /// Nothing waits.
    pub fn new(sync: Sync) -> Unsynced {
        Unsynced { sync, stretches: VecDeque::new() }
    }

    /// All up to `last` have been written. What is synced before it is acknowledged, or never, waits for
    /// nothing.
    pub fn on_written(&mut self, last: Sequence, now: Millis) {
        let Sync::Every(span) = self.sync else { return };
        let is_last = self.stretches.len() >= QUEUE_STRETCHES_MAX;
        match self.stretches.back_mut() {
            Some(stretch)
                if is_last || now.since(stretch.since).times(QUEUE_STRETCHES_PER_SYNC) < span =>
            {
                stretch.last = last;
            }
            _ => self.stretches.push_back(Stretch { since: now, due: now.after(span), last }),
        }
    }

    /// No power cut makes anything up to this one be sent again.
    pub fn on_safe(&mut self, through: Sequence) {
        while self.stretches.front().is_some_and(|stretch| stretch.last <= through) {
            self.stretches.pop_front();
        }
    }

    /// What waits is to wait no longer.
    pub fn hurry(&mut self, now: Millis) {
        self.stretches.iter_mut().for_each(|stretch| stretch.due = stretch.due.min(now));
    }

    /// The last record for which something is to be done now. `None`: there is none.
    ///
    /// When it is time for one it is for half of all: with an endpoint that has just the first, it would be
    /// time for the next right after.
    pub fn due_through(&self, now: Millis) -> Option<Sequence> {
        let due = self.stretches.partition_point(|stretch| stretch.due <= now);
        let last_due = due.checked_sub(1)?;
        let half = (self.stretches.len() - 1) / 2;
        Some(self.stretches[last_due.max(half)].last)
    }

    /// When it will be time for one.
    pub fn due(&self) -> Option<Millis> {
        self.stretches.front().map(|stretch| stretch.due)
    }

    /// All that was written has been synced, or is given up.
    pub fn on_synced(&mut self) {
        self.stretches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(times: &[(u64, u64)]) -> Unsynced {
        let mut unsynced = Unsynced::new(Sync::Every(Millis(200)));
        for (last, at) in times {
            unsynced.on_written(Sequence(*last), Millis(*at));
        }
        unsynced
    }

    #[test]
    fn each_is_due_when_its_time_is_over() {
        let mut unsynced = written(&[(1, 1000), (2, 1150)]);
        let due = |unsynced: &Unsynced, now| unsynced.due_through(Millis(now));
        assert_eq!(unsynced.due(), Some(Millis(1200)));
        assert_eq!(due(&unsynced, 1199), None);
        assert_eq!(due(&unsynced, 1200), Some(Sequence(1)));
        assert_eq!(due(&unsynced, 1350), Some(Sequence(2)));
        for number in 3..10 {
            unsynced.on_written(Sequence(number), Millis(1150 + number));
        }
        assert_eq!(due(&unsynced, 1200), Some(Sequence(1)), "they are one stretch");
        for number in 10..16 {
            unsynced.on_written(Sequence(number), Millis(1200 + 25 * number));
        }
        assert_eq!(due(&unsynced, 1200), Some(Sequence(11)), "half of eight");
        unsynced.hurry(Millis(1160));
        assert_eq!(due(&unsynced, 1160), Some(Sequence(15)));
        unsynced.on_synced();
        assert_eq!(unsynced.due(), None);
    }

    #[test]
    fn what_is_safe_is_not_due() {
        let mut unsynced = written(&[(1, 1000), (2, 1010), (3, 1100), (4, 1190)]);
        unsynced.on_safe(Sequence(1));
        assert_eq!(unsynced.due(), Some(Millis(1200)), "the second belongs to the first");
        unsynced.on_safe(Sequence(3));
        assert_eq!(unsynced.due(), Some(Millis(1390)));
        unsynced.on_safe(Sequence(9));
        assert_eq!((unsynced.due(), unsynced.due_through(Millis(9000))), (None, None));
    }

    #[test]
    fn nobody_waits_longer_than_the_setting_says_however_many_there_are() {
        let mut unsynced = Unsynced::new(Sync::Every(Millis(200)));
        for number in 0..10_000 {
            unsynced.on_written(Sequence(number), Millis(1000 + number));
            assert!(unsynced.stretches.len() <= QUEUE_STRETCHES_MAX);
        }
        assert_eq!(unsynced.due(), Some(Millis(1200)));
        assert_eq!(unsynced.due_through(Millis(20_000)), Some(Sequence(9999)));
        for sync in [Sync::Always, Sync::Never] {
            let mut unsynced = Unsynced::new(sync);
            unsynced.on_written(Sequence(1), Millis(1000));
            assert_eq!(unsynced.due(), None);
        }
    }
}
