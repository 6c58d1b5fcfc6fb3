//! The memory for hand-overs, `--hold-memory`: one number for all cores and the conductor.
//!
//! Each holder counts for itself and tells the others in steps, so that no request waits for the
//! line that all share.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::limits::GRANT_BYTES;
use crate::logic::pressure::Pressure;

/// What is taken of the budget, by everybody.
#[derive(Debug)]
pub struct Memory {
    taken: AtomicUsize,
    /// Beside what is taken: whoever looks at one looks at both.
    budget: AtomicUsize,
    /// What it is to come to, as soon as no more is taken.
    wanted: AtomicUsize,
}

/// The part of one holder, on one thread.
#[derive(Debug)]
pub struct Holding {
    memory: Arc<Memory>,
    bytes: Cell<usize>,
    told: Cell<usize>,
    step: usize,
}

impl Memory {
    /// A budget of so many bytes.
    pub fn new(budget: usize) -> Memory {
        let (budget, wanted) = (AtomicUsize::new(budget), AtomicUsize::new(budget));
        Memory { taken: AtomicUsize::new(0), budget, wanted }
    }

    /// The bytes that may be taken.
    pub fn budget(&self) -> usize {
        // Relaxed: a lone number.
        self.budget.load(Ordering::Relaxed)
    }

    /// From now on so many may be. A budget that is to be less than what is taken is full until that has been
    /// released, and never overdrawn: nobody would be let through then, by whom it could be.
    pub fn set_budget(&self, budget: usize) {
        // Relaxed: lone numbers.
        self.wanted.store(budget, Ordering::Relaxed);
        self.settle();
    }

    /// Comes nearer to the budget that was set, as what is taken is released. To be called now and then.
    pub fn settle(&self) {
        // Relaxed: lone numbers; whoever is late does it again.
        let wanted = self.wanted.load(Ordering::Relaxed);
        let budget = wanted.max(self.taken().min(self.budget()));
        self.budget.store(budget, Ordering::Relaxed);
    }

    /// How full it is.
    pub fn pressure(&self) -> Pressure {
        Pressure::of(self.taken(), self.budget())
    }

    /// The bytes taken, as far as the holders have told.
    pub fn taken(&self) -> usize {
        // Relaxed: a lone count that guards no other data.
        self.taken.load(Ordering::Relaxed)
    }
}

impl Holding {
    /// Nothing is held yet.
    pub fn new(memory: Arc<Memory>) -> Holding {
        // A small budget is not to be gone in steps that nobody has told of.
        let step = GRANT_BYTES.min(memory.budget() / 256);
        Holding { memory, bytes: Cell::new(0), told: Cell::new(0), step }
    }

    /// What is held has gone from `before` bytes to `after`.
    pub fn change(&self, before: usize, after: usize) {
        let bytes = self.bytes.get() + after - before;
        self.bytes.set(bytes);
        let told = self.told.get();
        if bytes.abs_diff(told) < self.step.max(1) {
            return;
        }
        self.told.set(bytes);
        // Relaxed: see `Memory::taken`.
        match bytes > told {
            true => self.memory.taken.fetch_add(bytes - told, Ordering::Relaxed),
            false => self.memory.taken.fetch_sub(told - bytes, Ordering::Relaxed),
        };
    }

    /// How full the budget is.
    pub fn pressure(&self) -> Pressure {
        self.memory.pressure()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // Relaxed: see `Memory::taken`.
        self.memory.taken.fetch_sub(self.told.get(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_shrinks_is_full_and_never_overdrawn_until_it_is_what_was_wanted() {
        let memory = Arc::new(Memory::new(100_000));
        let holding = Holding::new(memory.clone());
        holding.change(0, 90_000);
        memory.set_budget(30_000);
        assert_eq!((memory.budget(), memory.pressure()), (90_000, Pressure::Full));
        holding.change(90_000, 60_000);
        memory.settle();
        assert_eq!((memory.budget(), memory.pressure()), (60_000, Pressure::Full));
        // What is taken meanwhile does not make it larger again.
        holding.change(60_000, 61_000);
        memory.settle();
        assert_eq!(memory.budget(), 60_000);
        holding.change(61_000, 1000);
        memory.settle();
        assert_eq!(memory.budget(), 30_000);
        memory.set_budget(200_000);
        assert_eq!(memory.budget(), 200_000);
    }

    #[test]
    fn holders_tell_in_steps_and_give_everything_back() {
        let memory = Arc::new(Memory::new(256_000));
        let (one, two) = (Holding::new(memory.clone()), Holding::new(memory.clone()));
        one.change(0, 999);
        assert_eq!(memory.taken(), 0);
        one.change(0, 1);
        two.change(0, 50_000);
        assert_eq!(memory.taken(), 51_000);
        two.change(50_000, 10);
        assert_eq!(memory.taken(), 1_010);
        drop((one, two));
        assert_eq!(memory.taken(), 0);
    }
}
