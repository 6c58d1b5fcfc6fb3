//! Keeps the mark: writes it once more if that has failed, and syncs it when that is due.

use std::io;

use crate::base::time::Millis;
use crate::logic::queue::trouble::Trouble;
use crate::wire::queue::sequence::Sequence;

use super::disk::Disk;
use super::mark_file::MarkSync;
use super::notice::{Notice, fault_of};
use super::progress::Shared;

/// Who keeps it: for the store, beside whoever sends and writes it.
#[derive(Debug)]
pub struct MarkKeeper<D: Disk> {
    progress: Shared<D>,
    sync: MarkSync<D::File>,
    /// The mark's own: what is appended does not wait for it.
    trouble: Trouble,
}

impl<D: Disk> MarkKeeper<D> {
    /// Of this progress, whose mark is synced by `sync`.
    pub fn new(progress: Shared<D>, sync: MarkSync<D::File>) -> MarkKeeper<D> {
        MarkKeeper { progress, sync, trouble: Trouble::default() }
    }

    /// Does what is due; after a fault it is tried again later, and what that costs is records that are
    /// sent twice. If there is something to say, that.
    pub fn turn(&mut self, disk: &mut D, now: Millis) -> Option<Notice> {
        let mut progress = self.progress.lock();
        if self.sync.may_try(now) {
            progress.mark.try_again();
            progress.write_mark();
        }
        let (written, is_unsynced) = (progress.take_fault(), progress.mark.is_unsynced());
        drop(progress);
        if is_unsynced {
            self.sync.on_written(now);
        }
        let is_due = is_unsynced && self.sync.is_due(now);
        if written.is_ok() && !is_due {
            return None;
        }
        let kept = written.and_then(|()| self.sync_now(disk));
        self.on_kept(kept, now)
    }

    /// Syncs it, if all up to `through` have been sent, as it says, and a power cut would make it forget
    /// that. If there is something to say, that.
    pub fn settle(&mut self, disk: &mut D, through: Sequence, now: Millis) -> Option<Notice> {
        let progress = self.progress.lock();
        let (written, synced) = (progress.mark.written(), progress.mark.synced());
        drop(progress);
        if synced >= through || written < through || !self.sync.may_try(now) {
            return None;
        }
        let kept = self.sync_now(disk);
        self.on_kept(kept, now)
    }

    /// Whether the disk does what it is told: the mark is written once more, and synced.
    pub fn is_disk_well(&mut self, disk: &mut D) -> bool {
        let mut progress = self.progress.lock();
        progress.mark.doubt();
        progress.write_mark();
        let is_written = !progress.mark.is_doubtful();
        drop(progress);
        is_written && self.sync_now(disk).is_ok()
    }

    /// Nothing is written after that.
    pub fn close(&mut self, disk: &mut D, now: Millis) -> Option<Notice> {
        let notice = self.turn(disk, now);
        if !self.progress.lock().mark.is_unsynced() || !self.sync.waits() {
            return notice;
        }
        let kept = self.sync_now(disk);
        notice.or(self.on_kept(kept, now))
    }

    /// All up to this one have been sent, and no power cut makes the mark forget that.
    pub fn safe(&self) -> Sequence {
        self.progress.lock().mark.synced()
    }

    /// Whether nothing is known to be wrong with it.
    pub fn is_well(&self) -> bool {
        self.trouble.is_none()
    }

    /// When [`MarkKeeper::turn`] has something to do.
    pub fn due(&self) -> Option<Millis> {
        self.sync.due()
    }

    fn sync_now(&mut self, disk: &mut D) -> io::Result<()> {
        // Whoever sends need not wait for it.
        self.progress.lock().mark.on_syncing();
        let synced = self.sync.sync(disk);
        self.progress.lock().mark.on_synced(synced.is_ok());
        synced
    }

    /// What was tried has been done, or not. A mark that is written only is not kept yet: after its sync has
    /// failed it is written each time, and each sync might fail like the first.
    fn on_kept(&mut self, kept: io::Result<()>, now: Millis) -> Option<Notice> {
        let Err(error) = kept else {
            return self.trouble.on_success().then_some(Notice::Mended);
        };
        self.sync.on_failed(now);
        let fault = fault_of(&error);
        let is_news = self.trouble.on_fault(fault, now);
        is_news.then(|| Notice::Fault(fault, error.to_string()))
    }
}
