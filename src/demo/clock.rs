//! The one clock of the demo, read by senders, endpoint and script alike.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 that only move forward: the wall clock is read once, at the start, so
/// that setting it in the midst of the demo does not look like an overlap.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: i64,
}

impl Clock {
    /// Reads the wall clock.
    pub fn start() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = i64::try_from(since_1970.as_millis()).unwrap_or(0);
        Clock { started: Instant::now(), started_ms }
    }

    /// The time, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(0);
        self.started_ms.saturating_add(elapsed_ms)
    }

    /// How long it is until `at_ms`; nothing if that is past.
    pub fn until(&self, at_ms: i64) -> Duration {
        let left_ms = at_ms.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
    }

    /// Sleeps until `at_ms`.
    pub fn sleep_until(&self, at_ms: i64) {
        thread::sleep(self.until(at_ms));
    }
}
