//! The only clocks: milliseconds and nanoseconds since it was made, the same on every core, and the
//! wall clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::{Millis, Nanos, UnixMillis};

/// A clock that all threads of one server share by copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now, at 1: zero stands for "never" in the shared timestamps.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        Millis::from(self.0.elapsed()).after(Millis(1))
    }

    /// The same in nanoseconds.
    pub fn nanos(&self) -> Nanos {
        Nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Both, read once.
    pub fn both(&self) -> (Millis, Nanos) {
        let nanos = self.nanos();
        (Millis(nanos.0 / 1_000_000).after(Millis(1)), nanos)
    }

    /// The wall clock.
    pub fn unix_now(&self) -> UnixMillis {
        // Before 1970 there are no samples.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// What the wall clock, as it goes now, said at `at`.
    pub fn unix_at(&self, at: Nanos) -> UnixMillis {
        let past_ms = self.nanos().0.saturating_sub(at.0) / 1_000_000;
        self.unix_now().before(Millis(past_ms))
    }

    /// When it was, or will be, `at` by the wall clock as it goes now.
    pub fn nanos_at(&self, at: UnixMillis) -> Nanos {
        let ahead_ms = i128::from(at.0) - i128::from(self.unix_now().0);
        let nanos = i128::from(self.nanos().0) + ahead_ms * 1_000_000;
        Nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}
