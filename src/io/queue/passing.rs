//! Records that were stored while nothing lay before them: they are sent from memory, and never read.
//!
//! Which is what happens as long as the endpoint keeps up. When it does not, they wait on disk.

use std::collections::VecDeque;

use crate::base::limits::QUEUE_PASSING_BYTES_MAX;
use crate::wire::queue::sequence::Sequence;

use super::reader::Entry;

/// They, in order, each with the segment that it lies in.
#[derive(Debug, Default)]
pub struct Passing {
    line: VecDeque<(Entry, Sequence)>,
    bytes: usize,
}

impl Passing {
    /// Whether one more may wait in memory.
    pub fn has_room(&self) -> bool {
        self.bytes < QUEUE_PASSING_BYTES_MAX
    }

    /// One has been stored in this segment, and everything before it has been given out or is in here.
    pub fn on_stored(&mut self, entry: Entry, segment: Sequence) {
        self.bytes += entry.push.bytes_allocated();
        self.line.push_back((entry, segment));
    }

    /// The next.
    pub fn take(&mut self) -> Option<(Entry, Sequence)> {
        let (entry, segment) = self.line.pop_front()?;
        self.bytes -= entry.push.bytes_allocated();
        Some((entry, segment))
    }

    /// All up to `sequence` are dropped.
    pub fn on_dropped(&mut self, sequence: Sequence) {
        while self.line.front().is_some_and(|(entry, _)| entry.label.sequence <= sequence) {
            self.take();
        }
    }

    /// The segment of the first.
    pub fn segment(&self) -> Option<Sequence> {
        self.line.front().map(|(_, segment)| *segment)
    }
}
