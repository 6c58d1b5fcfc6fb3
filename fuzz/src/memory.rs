//! How much memory is taken on the way: an allocator that counts.
//!
//! Whether a bound was kept cannot be read off a result. A block that declares 4 GiB and is refused
//! must be refused before memory is taken for it; the fuzzer itself only sees single requests of
//! many megabytes.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, and what is taken from it.
#[derive(Debug)]
pub struct Counting {
    // Relaxed: a target runs on one thread, and the numbers guard nothing.
    taken: AtomicUsize,
    peak: AtomicUsize,
}

impl Counting {
    /// For a static with `#[global_allocator]`.
    pub const fn new() -> Counting {
        Counting { taken: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// What `work` gives, and the most bytes it has taken at a time on top of what was taken before.
    /// A vector that grows holds its old memory and its new one for a moment; both count.
    pub fn peak_of<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let before = self.taken.load(Relaxed);
        self.peak.store(before, Relaxed);
        let given = work();
        (given, self.peak.load(Relaxed) - before)
    }
}

impl Default for Counting {
    fn default() -> Counting {
        Counting::new()
    }
}

// SAFETY: both functions hand their arguments to the system's allocator as they came and give back
// what it gives; counting touches no memory of theirs. Growing is left to the trait, which takes,
// copies and gives back by these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = self.taken.fetch_add(layout.size(), Relaxed) + layout.size();
        self.peak.fetch_max(taken, Relaxed);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.taken.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; all memory came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}
