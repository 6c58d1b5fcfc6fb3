//! Whether the disk of a queue has been quick lately: a core waits for no other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::base::limits::{QUEUE_SLOW_FOR, QUEUE_SLOW_WRITE};
use crate::base::time::Millis;

/// The pace of a disk.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    slow_until: AtomicU64,
}

impl Pace {
    /// It has not been slow.
    pub fn start() -> Pace {
        Pace { began: Instant::now(), slow_until: AtomicU64::new(0) }
    }

    /// Since this was started.
    pub fn now(&self) -> Millis {
        self.began.elapsed().into()
    }

    /// Whether something has taken long, lately.
    pub fn is_slow(&self, now: Millis) -> bool {
        // Relaxed: a lone number.
        now.0 < self.slow_until.load(Ordering::Relaxed)
    }

    /// Does something that has `begun` now, and sees how long it takes.
    pub fn watch<T>(&self, begun: Millis, work: impl FnOnce() -> T) -> T {
        let done = work();
        let now = self.now();
        if now.since(begun) >= QUEUE_SLOW_WRITE {
            // Relaxed: a lone number.
            self.slow_until.store(now.after(QUEUE_SLOW_FOR).0, Ordering::Relaxed);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_makes_it_slow_and_what_does_not_does_not() {
        let pace = Pace::start();
        assert_eq!((pace.watch(pace.now(), || 7), pace.is_slow(pace.now())), (7, false));
        pace.watch(pace.now(), || std::thread::sleep(QUEUE_SLOW_WRITE.into()));
        assert!(pace.is_slow(pace.now()));
        pace.slow_until.store(pace.now().0, Ordering::Relaxed);
        assert!(!pace.is_slow(pace.now()));
    }
}
