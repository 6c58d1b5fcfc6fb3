//! Which records have been given out before their turn, because they were fresh.
//!
//! This is not written down. After a restart they are read in their turn and sent once more, which an
//! endpoint that takes samples out of order takes twice as once: the same sample of the same time. To
//! remember it would cost a write and a sync for each of them while a backlog drains.

use std::collections::BTreeMap;

use crate::base::limits::{QUEUE_FRESH_BYTES_MAX, QUEUE_FRESH_OUT_MAX, QUEUE_FRESH_RANGES_MAX};
use crate::wire::queue::sequence::Sequence;

/// What its turn means for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is to be given out.
    New,
    /// It is out, and will be sent.
    Out,
    /// It has been sent.
    Sent,
}

#[derive(Debug)]
struct Given {
    bytes: usize,
    /// Its turn has come since: the cursor knows of it.
    had_turn: bool,
}

/// The records whose turn is still to come.
#[derive(Debug, Default)]
pub struct Ahead {
    out: BTreeMap<Sequence, Given>,
    out_bytes: usize,
    /// From the first to the last of each row of them.
    sent: BTreeMap<Sequence, Sequence>,
}

impl Ahead {
    /// Whether one more may be given out.
    pub fn has_room(&self) -> bool {
        self.out.len() < QUEUE_FRESH_OUT_MAX && self.out_bytes < QUEUE_FRESH_BYTES_MAX
    }

    /// It has been given out.
    pub fn on_given(&mut self, sequence: Sequence, bytes: usize) {
        if self.out.insert(sequence, Given { bytes, had_turn: false }).is_none() {
            self.out_bytes += bytes;
        }
    }

    /// It has been sent. Whether it was one of these and its turn has not come: else it is the cursor
    /// that is to know.
    pub fn on_sent(&mut self, sequence: Sequence) -> bool {
        let Some(given) = self.out.remove(&sequence) else { return false };
        self.out_bytes -= given.bytes;
        if !given.had_turn {
            self.note(sequence);
        }
        !given.had_turn
    }

    fn note(&mut self, sequence: Sequence) {
        let end = self.sent.remove(&sequence.next()).unwrap_or(sequence);
        let before = self.sent.range(..sequence).next_back();
        let first = match before {
            Some((first, last)) if last.next() == sequence => *first,
            _ => sequence,
        };
        // One that is not remembered is sent once more.
        if first != sequence || self.sent.len() < QUEUE_FRESH_RANGES_MAX {
            self.sent.insert(first, end);
        }
    }

    /// How many from `first` to `last` have been sent, of those whose turn has not come.
    pub fn sent_among(&self, first: Sequence, last: Sequence) -> u64 {
        let rows = self.sent.range(..=last);
        rows.map(|(from, to)| (last.0.min(to.0) + 1).saturating_sub(first.0.max(from.0))).sum()
    }

    /// Its turn has come.
    pub fn on_turn(&mut self, sequence: Sequence) -> Turn {
        if let Some(given) = self.out.get_mut(&sequence) {
            given.had_turn = true;
            return Turn::Out;
        }
        self.forget(sequence);
        let row = self.sent.first_key_value();
        let is_sent = row.is_some_and(|(first, _)| *first <= sequence);
        if is_sent { Turn::Sent } else { Turn::New }
    }

    /// All before `sequence` need not be known of any more.
    pub fn forget(&mut self, sequence: Sequence) {
        while let Some(row) = self.sent.first_entry()
            && *row.get() < sequence
        {
            row.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(ahead: &mut Ahead, range: std::ops::Range<u64>) -> Vec<Turn> {
        range.map(|number| ahead.on_turn(Sequence(number))).collect()
    }

    #[test]
    fn what_was_sent_before_its_turn_is_known_then() {
        use Turn::*;
        let mut ahead = Ahead::default();
        for number in [7, 5, 6, 9, 8, 3, 12] {
            ahead.on_given(Sequence(number), 10);
        }
        for number in [7, 5, 6, 9, 3] {
            assert!(ahead.on_sent(Sequence(number)));
        }
        assert_eq!(ahead.sent.len(), 3);
        let among = |first, last| ahead.sent_among(Sequence(first), Sequence(last));
        assert_eq!([among(1, 12), among(4, 6), among(6, 6), among(8, 8)], [5, 2, 1, 0]);
        assert_eq!(turns(&mut ahead, 2..10), [New, Sent, New, Sent, Sent, Sent, Out, Sent]);
        assert!(!ahead.on_sent(Sequence(8)), "the cursor knows of it");
        assert!(!ahead.on_sent(Sequence(1)), "it never was one of these");
        assert_eq!(turns(&mut ahead, 10..13), [New, New, Out]);
        assert_eq!((ahead.sent.len(), ahead.out_bytes), (0, 10));
    }

    #[test]
    fn rows_grow_together_and_there_are_not_too_many() {
        let mut ahead = Ahead::default();
        let mut send = |number| {
            ahead.on_given(Sequence(number), 1);
            assert!(ahead.on_sent(Sequence(number)));
            ahead.sent.len()
        };
        assert_eq!([1, 3, 2, 5, 4].map(&mut send), [1, 2, 1, 2, 1]);
        for number in 0..QUEUE_FRESH_RANGES_MAX as u64 + 9 {
            assert!(send(10 + 2 * number) <= QUEUE_FRESH_RANGES_MAX);
        }
    }

    #[test]
    fn no_more_is_out_than_there_is_room_for() {
        let mut ahead = Ahead::default();
        for number in 0..QUEUE_FRESH_OUT_MAX as u64 {
            assert!(ahead.has_room());
            ahead.on_given(Sequence(number), 1);
        }
        assert!(!ahead.has_room() && ahead.on_sent(Sequence(0)) && ahead.has_room());
        ahead.on_given(Sequence(0), QUEUE_FRESH_BYTES_MAX);
        assert!(ahead.on_sent(Sequence(1)) && !ahead.has_room());
    }
}
