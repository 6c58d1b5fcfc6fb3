//! The only clock: milliseconds since it was made, the same on every core.

use std::time::Instant;

use crate::base::time::Millis;

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
}
