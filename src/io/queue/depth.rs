//! How full a queue is, for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::Disk;
use super::progress::Progress;
use crate::wire::queue::sequence::Sequence;

/// How full a queue is.
#[derive(Debug, Default)]
pub struct Depth {
    bytes: AtomicU64,
    /// Of bodies on their way into it.
    incoming: AtomicU64,
    records: AtomicU64,
    sent: AtomicU64,
}

impl Depth {
    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        // Relaxed, as all of these: lone numbers that guard no other data.
        self.bytes.load(Ordering::Relaxed)
    }

    /// All up to this one have been sent, or were dropped to make room.
    pub fn sent(&self) -> Sequence {
        Sequence(self.sent.load(Ordering::Relaxed))
    }

    /// Whether nothing is left to be sent, nor on its way in.
    pub fn is_empty(&self) -> bool {
        self.records() == 0 && self.incoming() == 0
    }

    /// The records that have not been sent.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// The bytes on their way into it.
    pub fn incoming(&self) -> u64 {
        self.incoming.load(Ordering::Relaxed)
    }

    /// So many are on their way into it.
    pub fn on_coming(&self, bytes: u64) {
        self.incoming.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many are not any more.
    pub fn on_come(&self, bytes: u64) {
        self.incoming.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The segments take so much.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Says what there is now; up to where it has been sent.
    pub fn publish<D: Disk>(&self, progress: &Progress<D>) -> Sequence {
        let sent = progress.cursor.sent();
        self.records.store(progress.records(), Ordering::Relaxed);
        self.sent.store(sent.0, Ordering::Relaxed);
        sent
    }
}
