//! How far a queue has been sent: what is out, and the mark.
//!
//! Whoever has the queue gives records out, and whoever sends them writes the mark, as soon as one has been
//! sent: the next must not begin before that, and need not wait for another thread.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::logic::queue::ahead::Ahead;
use crate::logic::queue::cursor::Cursor;
use crate::wire::queue::sequence::Sequence;

use super::disk::Disk;
use super::mark_file::MarkFile;

/// The progress, for those that share it. Each has it for no longer than a write to the page cache.
#[derive(Debug)]
pub struct Shared<D: Disk>(Arc<Mutex<Progress<D>>>);

impl<D: Disk> Clone for Shared<D> {
    fn clone(&self) -> Shared<D> {
        Shared(self.0.clone())
    }
}

impl<D: Disk> Shared<D> {
    /// Shares it.
    pub fn new(progress: Progress<D>) -> Shared<D> {
        // In a simulation the disk may be one of a single thread; then so is this.
        #[allow(clippy::arc_with_non_send_sync)]
        Shared(Arc::new(Mutex::new(progress)))
    }

    /// It, if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Progress<D>>> {
        match self.0.try_lock() {
            Ok(progress) => Some(progress),
            Err(TryLockError::Poisoned(progress)) => Some(progress.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whoever has it.
    pub fn lock(&self) -> MutexGuard<'_, Progress<D>> {
        // In here nothing panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress.
#[derive(Debug)]
pub struct Progress<D: Disk> {
    /// Until the directory is given back.
    disk: Option<D>,
    /// What is out in its turn.
    pub cursor: Cursor,
    /// What is out before its turn.
    pub ahead: Ahead,
    /// The file of the mark.
    pub mark: MarkFile<D::File>,
    fault: Option<io::Error>,
    /// The number of the next record that is stored.
    pub next: Sequence,
    /// Nothing was left when the queue was last read.
    pub is_drained: bool,
    wants_room: bool,
    wants_room_ahead: bool,
}

impl<D: Disk> Progress<D> {
    /// Before the record behind the last that was sent; the next that is stored is `next`.
    pub fn new(disk: D, cursor: Cursor, mark: MarkFile<D::File>, next: Sequence) -> Progress<D> {
        Progress {
            disk: Some(disk),
            cursor,
            ahead: Ahead::default(),
            mark,
            fault: None,
            next,
            is_drained: false,
            wants_room: false,
            wants_room_ahead: false,
        }
    }

    /// This one has been sent, or never will be: in any order, for any that was given. If all before it
    /// have been, the mark says so when this returns, unless the disk has failed. Returns whether there
    /// is room again that somebody waits for.
    pub fn on_sent(&mut self, sequence: Sequence) -> bool {
        if !self.ahead.on_sent(sequence) {
            self.cursor.on_sent(sequence);
        }
        self.write_mark();
        let has_room = self.wants_room && self.cursor.has_much_room();
        let has_room_ahead = self.wants_room_ahead && self.ahead.has_room();
        self.wants_room &= !has_room;
        self.wants_room_ahead &= !has_room_ahead;
        has_room || has_room_ahead
    }

    /// Writes the mark, if it has moved.
    pub fn write_mark(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let written = self.mark.write(disk, self.cursor.sent());
        if let Err(error) = written {
            self.fault = Some(error);
        }
    }

    /// The directory is given back: another process may have it from now on.
    pub fn end(&mut self) {
        self.disk = None;
    }

    /// Why the mark could not be written, since this was asked last.
    pub fn take_fault(&mut self) -> io::Result<()> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Whether one more may be given out in its turn. If not, it is wanted.
    pub fn has_room(&mut self) -> bool {
        self.wants_room = !self.cursor.has_room();
        !self.wants_room
    }

    /// The same for one that is given out before its turn.
    pub fn has_room_ahead(&mut self) -> bool {
        self.wants_room_ahead = !self.ahead.has_room();
        !self.wants_room_ahead
    }

    /// How many from `first` to `last` have not been sent: no fewer, and no more than numbers that were never
    /// given, and records that were sent before their turn and are not remembered.
    pub fn unsent_among(&self, first: Sequence, last: Sequence) -> u64 {
        let behind = first.max(self.cursor.last_given().next());
        let all_behind = last.next().0.saturating_sub(behind.0);
        let given = self.cursor.unsent_among(first, last);
        given + all_behind - self.ahead.sent_among(behind, last)
    }

    /// The records that have not been sent, no fewer: those that were sent before one of these are among them,
    /// and numbers that were never given.
    pub fn records(&self) -> u64 {
        if self.is_drained && self.cursor.segment().is_none() {
            return 0;
        }
        self.next.0.saturating_sub(self.cursor.sent().next().0)
    }
}
