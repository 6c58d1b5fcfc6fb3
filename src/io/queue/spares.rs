//! Segments that have been sent, to be written again as others.
//!
//! A file whose blocks are there and whose pages are in the cache takes a third of what a new one costs to
//! write. What was in it stays behind what is written, until that is written over. It is told apart by its
//! numbers, which are lower than any that the segment may have, see [`super::walk`]; and so that the end of
//! what was written is known to be one, an empty frame is written behind it, see [`super::writer`].

use std::io;

use crate::base::limits::QUEUE_SPARES_MAX;
use crate::logic::queue::chain::Link;
use crate::wire::queue::segment;

use super::disk::Disk;

/// They. None outlives the process: the next might give their numbers out once more.
#[derive(Debug, Default)]
pub struct Spares {
    /// After a power cut they might be segments again: what is in them is left alone.
    fresh: Vec<Link>,
    ready: Vec<Link>,
}

impl Spares {
    /// What they take.
    pub fn bytes(&self) -> u64 {
        self.all().map(|link| link.bytes).sum()
    }

    /// Takes a segment that is not needed any more, if there is room for it; else, or if that fails, it is
    /// removed.
    pub fn take<D: Disk>(&mut self, disk: &mut D, link: Link, has_room: bool) -> io::Result<()> {
        let name = segment::name(link.number);
        if has_room
            && self.all().count() < QUEUE_SPARES_MAX
            && disk.rename(&name, &segment::spare_name(link.number)).is_ok()
        {
            self.fresh.push(link);
            return Ok(());
        }
        disk.remove(&name)
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.fresh.iter().chain(&self.ready)
    }

    /// The directory has been synced: no power cut makes segments of them again.
    pub fn on_synced(&mut self) {
        self.ready.append(&mut self.fresh);
    }

    /// Makes one the file of this name; how long it is. `None`: there is none.
    pub fn give<D: Disk>(&mut self, disk: &mut D, name: &str) -> Option<u64> {
        let link = self.ready.pop()?;
        if disk.rename(&segment::spare_name(link.number), name).is_err() {
            self.fresh.push(link);
            return None;
        }
        Some(link.bytes)
    }

    /// Removes all; those that can't be, when this is called again, or at the next start.
    pub fn clear<D: Disk>(&mut self, disk: &mut D) {
        self.fresh.append(&mut self.ready);
        self.fresh.retain(|link| match disk.remove(&segment::spare_name(link.number)) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
    }
}

/// Removes those that a process has left behind.
pub fn remove_left<D: Disk>(disk: &mut D, files: &[(String, u64)]) -> io::Result<()> {
    let mut left = files.iter().filter(|(name, _)| segment::is_spare(name));
    left.try_for_each(|(name, _)| disk.remove(name))
}
