//! The newest records, kept in memory while a backlog lies before them.

use std::collections::VecDeque;

use crate::base::limits::{QUEUE_FRESH_AGE_MAX, QUEUE_FRESH_BYTES_MAX};
use crate::wire::queue::sequence::Sequence;

use super::reader::Entry;

/// What of an endpoint that takes samples out of order need not wait behind its backlog. What of it is
/// out, or was sent, is known to [`crate::logic::queue::ahead`].
#[derive(Debug, Default)]
pub struct Fresh {
    /// The newest, the oldest of them first. Whatever falls out has its turn in the backlog.
    newest: VecDeque<Entry>,
    bytes: usize,
}

impl Fresh {
    /// Whether so many records lie before one, `last_given` being the last that had its turn, that it is
    /// not even read ahead. One that is will soon have its turn.
    pub fn is_behind(sequence: Sequence, last_given: Sequence, read_ahead_max: usize) -> bool {
        sequence.0.saturating_sub(last_given.0) > read_ahead_max as u64
    }

    /// One has been stored.
    pub fn on_stored(&mut self, entry: Entry) {
        let since = entry.label.time.before(QUEUE_FRESH_AGE_MAX);
        self.bytes += entry.push.bytes_allocated();
        self.newest.push_back(entry);
        while self.newest.len() > 1
            && let Some(front) = self.newest.front()
            && (self.bytes > QUEUE_FRESH_BYTES_MAX || front.label.time < since)
        {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.newest.pop_front()?;
        self.bytes -= entry.push.bytes_allocated();
        Some(entry)
    }

    /// The next to be sent before its turn.
    pub fn give(&mut self) -> Option<Entry> {
        self.pop()
    }

    /// Whether there is something to give.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// All before `sequence` have had their turn, or have been dropped.
    pub fn forget(&mut self, sequence: Sequence) {
        while self.newest.front().is_some_and(|entry| entry.label.sequence < sequence) {
            self.pop();
        }
    }
}
