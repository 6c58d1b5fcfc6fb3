//! Files that are written again and again, as one segment after the other.
//!
//! A file whose blocks are there and whose pages are in the cache takes a third of what a new one costs to
//! write and to sync, if those pages are large. They are as large as what was first written there, which
//! for requests is small; so the first segments that have been sent are not kept, but new files are filled
//! in their place, in large pieces. A queue that keeps up needs two or three of them in its life.
//!
//! What was in a file stays behind what is written, until that is written over. It is told apart by its
//! numbers, which are lower than any that the segment may have, see [`super::walk`]; and so that the end of
//! what was written is known to be one, an empty frame is written behind it, see [`super::writer`].

use std::io;

use crate::base::limits::QUEUE_SPARES_MAX;
use crate::logic::queue::chain::Link;
use crate::wire::queue::segment;
use crate::wire::queue::sequence::Sequence;

use super::disk::Disk;

/// They. None outlives the process: the next might give their numbers out once more.
#[derive(Debug, Default)]
pub struct Spares {
    /// After a power cut they might be segments again: what is in them is left alone.
    fresh: Vec<Link>,
    ready: Vec<Link>,
    /// Segments whose files have been spares.
    given: Vec<Sequence>,
}

impl Spares {
    /// What they take.
    pub fn bytes(&self) -> u64 {
        self.all().map(|link| link.bytes).sum()
    }

    /// Takes a segment that is not needed any more, if there is room for a file of `length` bytes; else, or
    /// if that fails, it is removed.
    pub fn take<D: Disk>(
        &mut self,
        disk: &mut D,
        link: Link,
        length: Option<u64>,
    ) -> io::Result<()> {
        let name = segment::name(link.number);
        let place = self.given.iter().position(|number| *number == link.number);
        let was_spare = place.map(|place| self.given.swap_remove(place)).is_some();
        let Some(length) = length.filter(|_| self.all().count() < QUEUE_SPARES_MAX) else {
            return disk.remove_if_there(&name);
        };
        let spare_name = segment::spare_name(link.number);
        if was_spare && disk.rename(&name, &spare_name).is_ok() {
            self.fresh.push(link);
            return Ok(());
        }
        disk.remove_if_there(&name)?;
        if !was_spare {
            let spare = Link { bytes: length, ..link };
            match fill(disk, &spare_name, length) {
                Ok(()) => self.ready.push(spare),
                // If it can't be removed, that is tried again with the others.
                Err(_) if disk.remove_if_there(&spare_name).is_err() => self.fresh.push(spare),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.fresh.iter().chain(&self.ready)
    }

    /// The directory has been synced: no power cut makes segments of them again.
    pub fn on_synced(&mut self) {
        self.ready.append(&mut self.fresh);
    }

    /// Makes one the file of the segment of this number; how long it is. `None`: there is none.
    pub fn give<D: Disk>(&mut self, disk: &mut D, number: Sequence) -> Option<u64> {
        let link = self.ready.pop()?;
        let name = segment::name(number);
        if disk.rename(&segment::spare_name(link.number), &name).is_err() {
            self.fresh.push(link);
            return None;
        }
        self.given.push(number);
        Some(link.bytes)
    }

    /// All before this one are gone.
    pub fn on_dropped(&mut self, first: Sequence) {
        self.given.retain(|number| *number >= first);
    }

    /// Removes all; those that can't be, when this is called again, or at the next start.
    pub fn clear<D: Disk>(&mut self, disk: &mut D) {
        self.fresh.append(&mut self.ready);
        self.fresh.retain(|link| disk.remove_if_there(&segment::spare_name(link.number)).is_err());
    }
}

/// Makes a file of so many bytes, all zero, out of large pieces.
fn fill<D: Disk>(disk: &mut D, name: &str, length: u64) -> io::Result<()> {
    let file = disk.create(name)?;
    let mut filled = 0;
    while filled < length {
        let part = (length - filled).min(PIECE_BYTES as u64);
        disk.write(&file, filled, &ZEROS[..part as usize])?;
        filled += part;
    }
    Ok(())
}

/// The pages become as large. The kernel goes through all blocks of a page that is written to, and through
/// all pages that are synced: this is the cheapest for both, by a few per cent.
const PIECE_BYTES: usize = 128 * 1024;
/// A piece. Not from the heap, where one block of this size takes 2 MiB of a thread, with large pages.
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// Removes those that a process has left behind.
pub fn remove_left<D: Disk>(disk: &mut D, files: &[(String, u64)]) -> io::Result<()> {
    let mut left = files.iter().filter(|(name, _)| segment::is_spare(name));
    left.try_for_each(|(name, _)| disk.remove_if_there(name))
}
