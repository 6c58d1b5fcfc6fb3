//! What a queue has to say.

use std::io;

use crate::logic::queue::trouble::Fault;

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The disk is full or has failed; the system's words.
    Fault(Fault, String),
    /// It does what it is told again.
    Mended,
    /// So many places were damaged; what was in them is lost.
    Damaged(u64),
    /// So many bytes were cut off behind the last whole record at the start.
    Cut(u64),
    /// How far the queue has been sent is not known: some of it is sent again.
    MarkLost,
    /// So many records made room for newer ones that are not known to have been sent.
    Dropped(u64),
}

/// What is wrong with a disk that says so.
pub fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        _ => Fault::Failed,
    }
}
