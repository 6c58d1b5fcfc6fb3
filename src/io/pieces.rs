//! The pieces of memory in which requests are kept, used again when they are let go of.
//!
//! What is held for two minutes goes out of every cache, and an allocator that gets it back gives its
//! pages to the kernel, which clears them for whoever asks next: a tenth of what it takes to hold a
//! request. Here they wait for the next request of about their size, through the pauses between batches.

use std::cell::{Cell, RefCell};

use crate::base::limits::BEAT;
use crate::base::time::Millis;
use crate::wire::remote_write::push::{block_bytes, piece_bytes};

/// Pieces of other sizes than these are the allocator's.
const SMALLEST_BYTES: usize = 512;
const LARGEST_BYTES: usize = 512 * 1024;
/// From one power of two to the next there are four sizes.
const CLASSES: usize = 4 * (LARGEST_BYTES / SMALLEST_BYTES).ilog2() as usize + 1;
/// What was idle for so long is given back: longer than the rhythm in which senders batch, for what a
/// pause gives back the next batch has to have cleared again.
const TRIM_EVERY: Millis = Millis(10_000);

/// The idle pieces of one core.
#[derive(Debug)]
pub struct Pieces {
    classes: RefCell<[Class; CLASSES]>,
    bytes: Cell<usize>,
    bytes_max: usize,
    beats: Cell<u64>,
}

#[derive(Debug, Default)]
struct Class {
    idle: Vec<Vec<u8>>,
    /// The fewest that were idle at a time since the last trim.
    spare: usize,
}

impl Pieces {
    /// None is idle, and no more than `bytes_max` of them will be.
    pub fn new(bytes_max: usize) -> Pieces {
        Pieces {
            classes: RefCell::new(std::array::from_fn(|_| Class::default())),
            bytes: Cell::new(0),
            bytes_max,
            beats: Cell::new(0),
        }
    }

    /// An empty piece with room for `bytes`.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let size = piece_bytes(bytes);
        let idle = class_of(size).and_then(|class| {
            let class = &mut self.classes.borrow_mut()[class];
            let piece = class.idle.pop();
            class.spare = class.spare.min(class.idle.len());
            piece
        });
        match idle {
            Some(piece) => {
                self.bytes.set(self.bytes.get() - block_bytes(size));
                piece
            }
            None => Vec::with_capacity(size),
        }
    }

    /// Takes back a piece that nobody uses any more.
    pub fn give(&self, mut piece: Vec<u8>) {
        let size = piece.capacity();
        let Some(class) = class_of(size) else { return };
        let bytes = self.bytes.get() + block_bytes(size);
        if bytes <= self.bytes_max {
            piece.clear();
            self.classes.borrow_mut()[class].idle.push(piece);
            self.bytes.set(bytes);
        }
    }

    /// Gives back to the allocator what nobody has asked for lately.
    pub fn on_beat(&self) {
        self.beats.set(self.beats.get() + 1);
        if !self.beats.get().is_multiple_of(TRIM_EVERY.0 / BEAT.0) {
            return;
        }
        for class in self.classes.borrow_mut().iter_mut() {
            let left = class.idle.len() - class.spare;
            for piece in class.idle.drain(left..) {
                self.bytes.set(self.bytes.get() - block_bytes(piece.capacity()));
            }
            class.spare = class.idle.len();
            class.idle.shrink_to(2 * left);
        }
    }

    /// What the idle ones take, as the allocator gives it out.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

/// The class of pieces of exactly `size` bytes, `None` if there is none.
fn class_of(size: usize) -> Option<usize> {
    if !(SMALLEST_BYTES..=LARGEST_BYTES).contains(&size) || size != piece_bytes(size) {
        return None;
    }
    // The power of two below, and how many quarters of it come on top.
    let (power, smallest) = (size.ilog2(), SMALLEST_BYTES.ilog2());
    let quarters = (size - (1 << power)) >> (power - 2);
    Some(4 * (power - smallest) as usize + quarters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_has_a_class_of_its_own() {
        let mut sizes: Vec<usize> = (SMALLEST_BYTES..=LARGEST_BYTES).map(piece_bytes).collect();
        sizes.dedup();
        let classes: Vec<_> = sizes.iter().map(|size| class_of(*size)).collect();
        assert_eq!(classes, (0..CLASSES).map(Some).collect::<Vec<_>>());
        assert_eq!((class_of(511), class_of(513), class_of(600_000)), (None, None, None));
    }

    #[test]
    fn a_piece_comes_back_empty_for_a_request_of_about_its_size() {
        let pieces = Pieces::new(1 << 20);
        let mut piece = pieces.take(33_000);
        piece.extend_from_slice(b"abc");
        let at = piece.as_ptr();
        pieces.give(piece);
        assert_eq!(pieces.bytes(), 40_960);
        let (other, again) = (pieces.take(32_000), pieces.take(40_000));
        assert_ne!(other.as_ptr(), at);
        assert_eq!((again.as_ptr(), again.len(), pieces.bytes()), (at, 0, 0));
    }

    #[test]
    fn what_is_idle_is_bounded_and_what_nobody_asks_for_is_given_back() {
        let pieces = Pieces::new(100_000);
        let all: Vec<_> = (0..3).map(|_| pieces.take(40_960)).collect();
        all.into_iter().for_each(|piece| pieces.give(piece));
        assert_eq!(pieces.bytes(), 81_920);
        let trim = || (0..TRIM_EVERY.0 / BEAT.0).for_each(|_| pieces.on_beat());
        trim();
        pieces.give(pieces.take(40_960));
        trim();
        assert_eq!(pieces.bytes(), 40_960, "one was in use");
        trim();
        assert_eq!(pieces.bytes(), 0);
    }
}
