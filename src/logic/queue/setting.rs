//! What an operator says of a queue.

use crate::base::limits::{
    QUEUE_BYTES_MAX, QUEUE_IN_FLIGHT_MAX, QUEUE_SEGMENT_BYTES, QUEUE_SEGMENTS_MIN, QUEUE_SYNC_EVERY,
};
use crate::base::time::Millis;

/// When what was written is synced, and so what a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged: nothing.
    Always,
    /// At the latest after so long, unless it has been sent by then: what was acknowledged since.
    Every(Millis),
    /// When the kernel likes to: anything. What `kill -9` does is survived all the same.
    Never,
}

/// What becomes of a record for which there is no room under `max_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused, and its source keeps it.
    Refuse,
    /// The oldest segment makes room for it, sent or not.
    DropOldest,
}

/// Whether an endpoint takes a sample that is older than the newest one of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfOrder {
    /// It does not: of each series, requests must come one after the other.
    Refused,
    /// It does: what is fresh need not wait behind a backlog.
    Allowed,
}

/// The settings of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `sync`.
    pub sync: Sync,
    /// `max_size`, in bytes of all segments together.
    pub bytes_max: u64,
    /// `on_full`.
    pub on_full: OnFull,
    /// Records that may be given out while an earlier one has not been sent. Which of them may be sent
    /// at once is decided by who sends, see [`crate::logic::queue::dispatch`].
    pub in_flight_max: usize,
    /// `out_of_order`: whether fresh records are given out before a backlog.
    pub out_of_order: OutOfOrder,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            sync: Sync::Every(QUEUE_SYNC_EVERY),
            bytes_max: QUEUE_BYTES_MAX,
            on_full: OnFull::Refuse,
            in_flight_max: QUEUE_IN_FLIGHT_MAX,
            out_of_order: OutOfOrder::Refused,
        }
    }
}

impl Setting {
    /// From here on a segment is full.
    pub fn segment_bytes(&self) -> u64 {
        QUEUE_SEGMENT_BYTES.min(self.bytes_max / QUEUE_SEGMENTS_MIN)
    }
}
