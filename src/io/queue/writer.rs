//! The writer of a queue: groups of records, appended to one segment after the other.
//!
//! A segment of which a write or a sync has failed is never written again. The kernel may have dropped
//! what it could not write and takes it for written: a second sync would say so and lie.
//!
//! What the endpoint has before its sync is due is not synced at all. While it keeps up, the same pages are
//! written over and over, and the disk sees little of that. So a segment that is full waits for its sync
//! as any record does, and a start syncs those that may have waited.
//!
//! A new segment is one that has been sent, if there is one, see [`super::spares`]. Behind each group an
//! empty frame is written, over which the next is written: whoever reads knows by it that what follows is
//! not damaged but old.

use std::io;

use crate::base::limits::QUEUE_UNSYNCED_SEGMENTS_MAX;
use crate::base::time::Millis;
use crate::logic::queue::chain::{Chain, Link, Room};
use crate::logic::queue::commit::Commit;
use crate::logic::queue::setting::Sync;
use crate::logic::queue::unsynced::Unsynced;
use crate::wire::queue::record::FRAME_BYTES;
use crate::wire::queue::segment::{self, HEAD_BYTES, SegmentHead};
use crate::wire::queue::sequence::{Salt, Sequence};

use super::disk::Disk;
use super::spares::Spares;

/// The writer.
#[derive(Debug)]
pub struct Writer<F> {
    sync: Sync,
    salt: Salt,
    /// The segment that is appended to, and how long its file is.
    live: Option<(F, u64)>,
    spares: Spares,
    /// Segments that nothing is appended to any more, and that may wait for their sync.
    left: Vec<Left<F>>,
    /// The last record that was written.
    last: Sequence,
    unsynced: Unsynced,
    /// What waits for a sync of the directory, although no record does.
    commit: Commit,
    /// A file has come or gone since the directory was synced.
    is_directory_dirty: bool,
    /// A segment that was begun in vain and is still there: it takes room, and nothing is in it.
    stray: Option<Sequence>,
}

/// A segment that nothing is appended to any more.
#[derive(Debug)]
struct Left<F> {
    file: F,
    number: Sequence,
    /// The last record in it.
    last: Sequence,
}

impl<F> Writer<F> {
    /// Nothing has been written. The first group gets a segment of its own.
    pub fn new(salt: Salt, sync: Sync) -> Writer<F> {
        Writer {
            sync,
            salt,
            live: None,
            spares: Spares::default(),
            left: Vec::new(),
            last: Sequence(0),
            unsynced: Unsynced::new(sync),
            commit: Commit::new(sync),
            is_directory_dirty: false,
            stray: None,
        }
    }

    /// Appends a group with the records from `first` to `last`, for which there is room. When it returns,
    /// they may be acknowledged; after an error, all of them are refused, and `first` must not be used again.
    pub fn append<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        (first, last): (Sequence, Sequence),
        parts: &[&[u8]],
        now: Millis,
    ) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        if chain.judge(length) == Room::Next {
            self.leave(disk, chain, now)?;
            if self.left.len() > QUEUE_UNSYNCED_SEGMENTS_MAX {
                self.sync_all(disk, chain, now)?;
            }
        }
        let end = chain.last_bytes();
        let fresh = self.live.is_none();
        let (file, room) = match self.live.take() {
            Some(live) => live,
            None => self.begin(disk, first, chain.room_bytes(HEAD_BYTES as u64 + length))?,
        };
        let head = SegmentHead { number: first, salt: self.salt }.encode();
        let start = if fresh { 0 } else { end };
        let head = if fresh { &head[..] } else { &[] };
        let left = room.saturating_sub(start + head.len() as u64 + length);
        let empty = &[0; FRAME_BYTES][..left.min(FRAME_BYTES as u64) as usize];
        let written = disk.write_all(&file, start, &[&[head], parts, &[empty]].concat());
        if let Err(error) = written.and_then(|()| self.commit_group(disk, &file)) {
            match fresh {
                true => drop(self.take_back(disk, first)),
                false => self.give_up(disk, chain, file, end, now),
            }
            return Err(error);
        }
        if fresh {
            chain.on_begun(first);
        }
        chain.on_appended(length, last);
        self.live = Some((file, room));
        self.last = last;
        self.unsynced.on_written(last, now);
        Ok(())
    }

    fn commit_group<D: Disk<File = F>>(&mut self, disk: &mut D, file: &F) -> io::Result<()> {
        if self.sync == Sync::Always {
            disk.sync(file)?;
            self.sync_directory(disk)?;
        }
        Ok(())
    }

    /// A new segment whose file has so many bytes.
    fn begin<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        number: Sequence,
        bytes: u64,
    ) -> io::Result<(F, u64)> {
        // No more than one: a disk on which nothing can be removed gets nothing new.
        if let Some(stray) = self.stray {
            self.take_back(disk, stray)?;
        }
        self.is_directory_dirty = true;
        let begun = self.try_begin(disk, number, bytes).or_else(|error| {
            self.take_back(disk, number)?;
            if self.spares.bytes() == 0 {
                return Err(error);
            }
            // They may be what fills the disk.
            self.spares.clear(disk);
            self.try_begin(disk, number, bytes)
        });
        let file = begun.inspect_err(|_| drop(self.take_back(disk, number)))?;
        Ok((file, bytes))
    }

    fn try_begin<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        number: Sequence,
        bytes: u64,
    ) -> io::Result<F> {
        let name = segment::name(number);
        let Some(length) = self.spares.give(disk, number) else {
            let file = disk.create(&name)?;
            disk.allocate(&file, bytes)?;
            return Ok(file);
        };
        let file = disk.open(&name)?;
        match length > bytes {
            true => disk.cut(&file, bytes)?,
            false => disk.allocate(&file, bytes)?,
        }
        Ok(file)
    }

    /// Removes a segment that was begun in vain, now or before the next is begun.
    fn take_back<D: Disk<File = F>>(&mut self, disk: &mut D, number: Sequence) -> io::Result<()> {
        self.stray = Some(number);
        disk.remove_if_there(&segment::name(number))?;
        self.stray = None;
        Ok(())
    }

    /// Appends no more to the segment whose write has failed. What was acknowledged of it still waits
    /// for its sync.
    fn give_up<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        file: F,
        end: u64,
        now: Millis,
    ) {
        chain.on_closed();
        // Whatever remains of the group is refused and sent again by its sources: if it is there after
        // a restart, it is sent twice.
        let _ = disk.cut(&file, end);
        if self.unsynced.due().is_some() {
            // Not here and now: it may be a core that writes.
            self.push_left(chain, file);
            self.unsynced.hurry(now);
        }
    }

    /// Appends no more to this segment, and gives back what was preallocated. After an error it is left all
    /// the same.
    pub fn leave<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        now: Millis,
    ) -> io::Result<()> {
        let Some((file, _)) = self.live.take() else { return Ok(()) };
        chain.on_closed();
        // Else it stays as long as the segment does.
        let _ = disk.cut(&file, chain.last_bytes());
        if self.sync != Sync::Never {
            // With what is written next.
            self.push_left(chain, file);
        }
        if self.sync == Sync::Always { self.sync_all(disk, chain, now) } else { Ok(()) }
    }

    fn push_left(&mut self, chain: &Chain, file: F) {
        let number = chain.last().map_or(self.last, |link| link.number);
        self.left.push(Left { file, number, last: self.last });
    }

    /// Appends no more, and syncs everything as the setting wants it.
    pub fn close<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        now: Millis,
    ) -> io::Result<()> {
        let left = self.leave(disk, chain, now);
        let synced = match self.sync {
            Sync::Never => Ok(()),
            Sync::Always | Sync::Every(_) => self.sync_all(disk, chain, now),
        };
        left.and(synced)
    }

    /// No power cut makes anything up to this record be sent again: it need not be synced.
    pub fn on_safe(&mut self, through: Sequence) {
        self.unsynced.on_safe(through);
        self.left.retain(|left| left.last > through);
    }

    /// See [`Unsynced::due_through`].
    pub fn due_through(&self, now: Millis) -> Option<Sequence> {
        self.unsynced.due_through(now)
    }

    /// A segment is needed no more: open, it would still take its room.
    pub fn forget(&mut self, number: Sequence) {
        self.left.retain(|left| left.number != number);
    }

    /// Syncs what is due. An error: what was acknowledged since the last sync may be lost with the next
    /// power cut.
    pub fn sync<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        now: Millis,
    ) -> io::Result<()> {
        if self.due_through(now).is_some() {
            return self.sync_all(disk, chain, now);
        }
        if self.commit.is_due(now) {
            self.sync_directory(disk).inspect_err(|_| self.commit.on_failed(now))?;
            self.commit.on_synced();
        }
        Ok(())
    }

    /// Syncs everything. What an error keeps from the disk is not tried again, but for the directory.
    fn sync_all<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        now: Millis,
    ) -> io::Result<()> {
        let mut synced = Ok(());
        for left in self.left.drain(..) {
            synced = synced.and(disk.sync(&left.file));
        }
        if let Some((file, _)) = &self.live
            && let Err(error) = disk.sync(file)
        {
            chain.on_closed();
            self.live = None;
            synced = Err(error);
        }
        self.unsynced.on_synced();
        match self.sync_directory(disk) {
            Ok(()) => self.commit.on_synced(),
            Err(error) => {
                self.commit.on_failed(now);
                synced = synced.and(Err(error));
            }
        }
        synced
    }

    fn sync_directory<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        if self.is_directory_dirty {
            disk.sync_directory()?;
            self.is_directory_dirty = false;
            self.spares.on_synced();
        }
        Ok(())
    }

    /// Lets go of a segment that is not needed any more: it is kept to be written again if all of it fits
    /// under the maximum of this chain, else removed.
    pub fn let_go<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &Chain,
        link: Link,
    ) -> io::Result<()> {
        self.is_directory_dirty = true;
        self.forget(link.number);
        self.spares.on_dropped(link.number);
        let length = chain.spare_bytes(self.spares.bytes());
        self.spares.take(disk, link, length)?;
        if self.sync == Sync::Never && length.is_some() {
            // One for a whole segment; without it none is written again, which costs more.
            let _ = self.sync_directory(disk);
        }
        Ok(())
    }

    /// Nothing is written any more.
    pub fn end<D: Disk<File = F>>(&mut self, disk: &mut D) {
        self.spares.clear(disk);
    }

    /// A file has been removed.
    pub fn on_removed(&mut self, now: Millis) {
        self.is_directory_dirty = true;
        self.commit.on_written(now);
    }

    /// When something is to be synced.
    pub fn due(&self) -> Option<Millis> {
        [self.commit.due(), self.unsynced.due()].into_iter().flatten().min()
    }
}
