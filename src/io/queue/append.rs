//! What is to be stored in a queue, and what becomes of it.

use crate::base::time::UnixMillis;
use crate::logic::queue::trouble::Fault;
use crate::wire::queue::record::Label;
use crate::wire::queue::sequence::{Sequence, SourceKey};
use crate::wire::remote_write::push::Push;

/// A request that is to be stored.
#[derive(Debug)]
pub struct Append {
    /// Head and body as they are to be sent.
    pub push: Push,
    /// Whose it is.
    pub source: SourceKey,
    /// When it came.
    pub time: UnixMillis,
    /// The digest of its body, see [`Push::digest`]: of all queues that get it, one has to make it.
    pub digest: u128,
    /// A hash of the request: what was stored for this source lately, and is not
    /// [settled](super::store::Store::on_settled), is not stored again.
    pub hash: Option<u128>,
}

impl Append {
    /// A request of which nobody has made the digest.
    pub fn of(push: Push, source: SourceKey, time: UnixMillis, hash: Option<u128>) -> Append {
        Append { digest: push.digest(), push, source, time, hash }
    }

    /// What its record says of it.
    pub fn label(&self, sequence: Sequence) -> Label {
        Label { sequence, time: self.time, source: self.source }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where the setting of `sync` wants it: its source may be answered.
    Stored(Sequence),
    /// It was stored before, or stands in this group already: the same.
    Known(Sequence),
    /// It is not stored, as far as we know: its source must keep it.
    Refused(Refusal),
}

/// Why something is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `max_size` is reached.
    Full,
    /// The disk is full.
    DiskFull,
    /// The disk has failed.
    DiskFailed,
    /// No record can be so long, or none in a queue of this `max_size`.
    TooLong,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        match fault {
            Fault::Full => Refusal::DiskFull,
            Fault::Failed => Refusal::DiskFailed,
        }
    }
}
