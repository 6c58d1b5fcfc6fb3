//! What threads other than the cores are told of what was configured, and are told anew by a reload.
//! They look when they turn; no request does.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::limits::{CONNECTIONS_MAX, DECODED_BYTES_MAX, HOLD_WINDOW};
use crate::base::time::Millis;
use crate::logic::expiry::Expiry;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How often silence is looked at, `--health-tick`.
    pub tick: Millis,
    /// When a source is lost.
    pub expiry: Expiry,
    /// A promoted source that is further behind gives the seat away, `--max-lag`.
    pub lag_max: Option<Millis>,
    /// How far back from the low mark requests are kept, `--hold-window`.
    pub window: Millis,
    /// The largest message that a body may decode to, `--max-decoded`.
    pub decoded_bytes_max: usize,
    /// The most connections at a time: `--max-connections`, or what there are descriptors for.
    pub connections_max: usize,
    /// The longest wait at the end, `--shutdown-timeout`.
    pub shutdown_timeout: Millis,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            tick: Millis(1000),
            expiry: Expiry { expiry: Millis(5000), expiry_max: Millis(90_000) },
            lag_max: None,
            window: HOLD_WINDOW,
            decoded_bytes_max: DECODED_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
            shutdown_timeout: Millis(30_000),
        }
    }
}

impl Tuning {
    /// These numbers, for threads to look at.
    pub fn tuned(self) -> Tuned {
        Arc::new(ArcSwap::from_pointee(self))
    }
}

/// The numbers as they are now, for all threads.
pub type Tuned = Arc<ArcSwap<Tuning>>;
