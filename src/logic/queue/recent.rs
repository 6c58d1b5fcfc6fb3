//! Which bodies were stored lately, and for whom.
//!
//! A request goes to several endpoints, and is answered when all have it. If one of them has failed, its
//! source sends it again to all: what lies here already is not stored once more. It is remembered also
//! after it has been sent, for the same reason, until all endpoints have it; and forgotten with a restart.

use std::collections::{HashMap, VecDeque};

use crate::base::limits::QUEUE_RECENT_MAX;
use crate::wire::queue::sequence::{Sequence, SourceKey};

/// A body of a source.
type Key = (SourceKey, u128);

/// The bodies.
#[derive(Debug, Default)]
pub struct Recent {
    places: HashMap<Key, Sequence>,
    order: VecDeque<(Key, Sequence)>,
}

impl Recent {
    /// It has been stored there.
    pub fn on_stored(&mut self, source: SourceKey, hash: u128, sequence: Sequence) {
        self.places.insert((source, hash), sequence);
        self.order.push_back(((source, hash), sequence));
        while self.places.len() > QUEUE_RECENT_MAX
            && let Some((key, sequence)) = self.order.pop_front()
        {
            self.forget(key, sequence);
        }
        if self.order.len() > 2 * QUEUE_RECENT_MAX {
            let places = &self.places;
            self.order.retain(|(key, sequence)| places.get(key) == Some(sequence));
        }
    }

    /// All endpoints have it: what comes with the same body from now on is said once more on purpose, as
    /// metadata is every minute.
    pub fn on_settled(&mut self, source: SourceKey, hash: u128) {
        self.places.remove(&(source, hash));
    }

    /// All up to `sequence` are not there any more, and have not been sent.
    pub fn on_dropped(&mut self, sequence: Sequence) {
        while let Some((key, place)) = self.order.front().copied()
            && place <= sequence
        {
            self.order.pop_front();
            self.forget(key, place);
        }
    }

    /// What was stored from `sequence` on has not been stored after all.
    pub fn on_undone(&mut self, sequence: Sequence) {
        while let Some((key, place)) = self.order.back().copied()
            && place >= sequence
        {
            self.order.pop_back();
            self.forget(key, place);
        }
    }

    fn forget(&mut self, key: Key, sequence: Sequence) {
        // It may have been stored again since.
        if self.places.get(&key) == Some(&sequence) {
            self.places.remove(&key);
        }
    }

    /// Where it lies, or lay.
    pub fn place(&self, source: SourceKey, hash: u128) -> Option<Sequence> {
        self.places.get(&(source, hash)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceKey = SourceKey(1);

    #[test]
    fn a_body_is_known_for_its_source_only() {
        let mut recent = Recent::default();
        recent.on_stored(A, 7, Sequence(3));
        assert_eq!(recent.place(A, 7), Some(Sequence(3)));
        assert_eq!(recent.place(SourceKey(2), 7), None);
        assert_eq!(recent.place(A, 8), None);
    }

    #[test]
    fn what_was_dropped_or_not_stored_after_all_is_not_known() {
        let mut recent = Recent::default();
        for number in 1..=5 {
            recent.on_stored(A, u128::from(number), Sequence(number));
        }
        recent.on_dropped(Sequence(2));
        recent.on_undone(Sequence(5));
        let known: Vec<u128> = (1..=5).filter(|it| recent.place(A, *it).is_some()).collect();
        assert_eq!(known, [3, 4]);
    }

    #[test]
    fn what_all_have_is_forgotten_and_leaves_room_for_what_they_have_not() {
        let mut recent = Recent::default();
        recent.on_stored(A, 0, Sequence(1));
        for number in 2..=4 * QUEUE_RECENT_MAX as u64 {
            recent.on_stored(A, 7, Sequence(number));
            recent.on_settled(A, 7);
            assert_eq!(recent.place(A, 7), None);
        }
        assert_eq!(recent.place(A, 0), Some(Sequence(1)));
        assert!(recent.order.len() <= 2 * QUEUE_RECENT_MAX, "{}", recent.order.len());
        // An undone one leaves nothing behind either.
        recent.on_stored(A, 7, Sequence(1 << 40));
        recent.on_undone(Sequence(1 << 40));
        assert_eq!(recent.place(A, 7), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut recent = Recent::default();
        let count = QUEUE_RECENT_MAX as u64 + 10;
        for number in 1..=count {
            recent.on_stored(A, u128::from(number), Sequence(number));
        }
        assert_eq!((recent.places.len(), recent.order.len()), (QUEUE_RECENT_MAX, QUEUE_RECENT_MAX));
        assert_eq!(recent.place(A, 10), None);
        assert_eq!(recent.place(A, 11), Some(Sequence(11)));
    }
}
