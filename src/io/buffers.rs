//! Request buffers: pooled per core, with room in front for a rewritten head, and a budget for
//! the large ones over all cores.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::limits::{BUFFER_BYTES, BUFFERS_POOLED_MAX, LARGE_BODIES_BYTES_MAX};

/// What all bodies beyond the pooled size may take, over all cores.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<AtomicUsize>);

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Takes `bytes`, or nothing if there are not so many.
    pub fn take(&self, bytes: usize) -> Option<Share> {
        // Relaxed: a lone count that guards no other data.
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(bytes).filter(|sum| *sum <= LARGE_BODIES_BYTES_MAX)
        });
        taken.is_ok().then(|| Share { budget: self.clone(), bytes })
    }
}

impl Share {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Relaxed: see `take`.
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The idle buffers of one core. Each has `headroom` bytes of zeros at its start, and
/// [`BUFFER_BYTES`] behind them.
#[derive(Debug)]
pub struct Buffers {
    idle: RefCell<Vec<Vec<u8>>>,
    headroom: usize,
}

impl Buffers {
    /// A pool of buffers with `headroom` bytes in front.
    pub fn new(headroom: usize) -> Buffers {
        Buffers { idle: RefCell::default(), headroom }
    }

    /// Bytes in front of what is read.
    pub fn headroom(&self) -> usize {
        self.headroom
    }

    /// A buffer of the pooled size; its length is the headroom.
    pub fn take(&self) -> Vec<u8> {
        self.idle.borrow_mut().pop().unwrap_or_else(|| self.make(self.headroom, BUFFER_BYTES))
    }

    /// A buffer of another size with `front` bytes of zeros at its start, the headroom at least;
    /// they are its length.
    pub fn make(&self, front: usize, bytes: usize) -> Vec<u8> {
        let front = front.max(self.headroom);
        let mut buffer = Vec::with_capacity(front + bytes);
        buffer.resize(front, 0);
        buffer
    }

    /// Gives a buffer back. Those of another than the pooled size are freed.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut idle = self.idle.borrow_mut();
        if buffer.capacity() == self.headroom + BUFFER_BYTES && idle.len() < BUFFERS_POOLED_MAX {
            buffer.truncate(self.headroom);
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_odd_sizes_are_freed() {
        let buffers = Buffers::new(100);
        let mut buffer = buffers.take();
        assert_eq!((buffer.len(), buffer.capacity()), (100, 100 + BUFFER_BYTES));
        buffer.extend_from_slice(b"abc");
        buffers.give(buffer);
        buffers.give(buffers.make(0, 7));
        assert_eq!(buffers.idle.borrow().len(), 1);
        assert_eq!(buffers.take().len(), 100);
        assert_eq!(buffers.make(500, 7).len(), 500);
    }

    #[test]
    fn the_budget_is_given_back_with_the_share() {
        let budget = Budget::default();
        let share = budget.take(LARGE_BODIES_BYTES_MAX).expect("all of it is there");
        assert!(budget.take(1).is_none());
        drop(share);
        assert!(budget.take(1).is_some());
    }
}
