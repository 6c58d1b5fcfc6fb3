//! The reader of a queue: record after record, through all segments.

use std::io;

use rustix::io::Errno;

use crate::base::limits::QUEUE_READ_TRIES_MAX;
use crate::logic::queue::chain::Chain;
use crate::wire::queue::record::Label;
use crate::wire::queue::segment;
use crate::wire::queue::sequence::{Salt, Sequence};
use crate::wire::remote_write::push::Push;

use super::disk::Disk;
use super::walk::{Step, Walk};

/// A request as it was stored.
#[derive(Debug)]
pub struct Entry {
    /// What its record says of it.
    pub label: Label,
    /// The request.
    pub push: Push,
}

/// What a look at the next record gives.
#[derive(Debug)]
pub enum Read {
    /// It is to be sent.
    Entry(Entry),
    /// It was given out before its turn. There may be more behind it.
    Passed,
    /// There is none, or as many are out as may be.
    Nothing,
}

/// Whether it says something of the data. Else something is short, or somebody has taken us the right to read.
fn is_of_data(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    let rights = [Errno::ACCESS, Errno::PERM];
    let mut others = shortages.iter().chain(&rights);
    !others.any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Places that are no record, since the last that is one.
#[derive(Debug, Default)]
struct Holes(u64);

impl Holes {
    /// The next record has the number `next`, or none below it; in how many of them something was lost. All up
    /// to `passed` need no sending: if what comes is no more than the next of them, what lay before it was
    /// sent, and never synced.
    fn close(&mut self, next: Option<Sequence>, passed: Sequence) -> u64 {
        let count = std::mem::take(&mut self.0);
        let is_lost = next.is_none_or(|next| next > passed.next());
        if is_lost { count } else { 0 }
    }
}

/// The reader.
#[derive(Debug)]
pub struct Reader<F> {
    salt: Salt,
    walk: Option<Walk<F>>,
    /// The segment that was left last: what comes is in those behind it.
    left: Sequence,
    /// Where to begin in the segment of this number.
    entry: Option<(Sequence, u64)>,
    /// The last record that was given, or need not be.
    passed: Sequence,
    /// Tries in a row that have failed although the disk works, in one segment.
    tries: u32,
    /// How often something has been passed since a try has not.
    passes: u32,
    /// Where the record ends that could not be read, if its frame could.
    unread: Option<u64>,
    holes: Holes,
    damaged: u64,
}

impl<F> Reader<F> {
    /// Before the record behind `passed`, which lies in the segment `start` if it lies in any.
    pub fn new(salt: Salt, passed: Sequence, start: Option<Sequence>) -> Reader<F> {
        let left = start.map_or(Sequence(0), |start| Sequence(start.0.saturating_sub(1)));
        Reader {
            salt,
            walk: None,
            left,
            entry: None,
            passed,
            tries: 0,
            passes: 0,
            unread: None,
            holes: Holes::default(),
            damaged: 0,
        }
    }

    /// The next record and the segment that it lies in. `None`: nothing more is acknowledged. An error
    /// leaves the place as it was; if it says something of the data, [`Reader::on_unreadable`] is to be told.
    pub fn next<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &Chain,
    ) -> io::Result<Option<(Entry, Sequence)>> {
        self.unread = None;
        let read = self.read(disk, chain);
        if read.is_ok() {
            (self.tries, self.passes) = (0, 0);
        }
        read
    }

    fn read<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        chain: &Chain,
    ) -> io::Result<Option<(Entry, Sequence)>> {
        loop {
            let Some(walk) = &mut self.walk else {
                match self.enter(disk, chain)? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let Some(link) = chain.link(walk.number) else {
                self.leave();
                continue;
            };
            match walk.step(disk, link.bytes)? {
                Step::Damage => self.holes.0 += 1,
                Step::End => {
                    let next = chain.after(link.number).map(|link| link.number);
                    self.damaged += self.holes.close(next, self.passed);
                    if next.is_none() {
                        return Ok(None);
                    }
                    self.leave();
                }
                Step::Record(frame, at) => {
                    let end = walk.offset();
                    let number = frame.label.sequence;
                    self.damaged += self.holes.close(Some(number), self.passed);
                    // Sent before a restart.
                    if number <= self.passed {
                        continue;
                    }
                    let loaded = walk.load(disk, &frame, at).inspect_err(|_| {
                        walk.go_to(at);
                        self.unread = Some(end);
                    })?;
                    let Some(push) = loaded else {
                        self.damaged += 1;
                        continue;
                    };
                    self.passed = number;
                    return Ok(Some((Entry { label: frame.label, push }, link.number)));
                }
            }
        }
    }

    /// Opens the next segment, if there is one.
    fn enter<D: Disk<File = F>>(&mut self, disk: &mut D, chain: &Chain) -> io::Result<bool> {
        let Some(link) = chain.after(self.left) else { return Ok(false) };
        match disk.open(&segment::name(link.number)) {
            Ok(file) => {
                let mut walk = Walk::new(file, link.number, self.salt);
                if let Some((_, offset)) = self.entry.take_if(|it| it.0 == link.number) {
                    walk.go_to(offset);
                }
                self.walk = Some(walk);
                (self.tries, self.passes) = (0, 0);
            }
            // Somebody has taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.damaged += 1;
                self.left = link.number;
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn leave(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.left = walk.number;
        }
    }

    /// A place could not be read. Where that stays so on a disk that works, it is passed: a record, if it is
    /// known where it ends; else a sector, then two, then four; or a whole segment, if it can't be opened. A
    /// disk that is gone for good in one place must not keep what lies behind it, and one that is away for a
    /// while has lost nothing.
    pub fn on_unreadable(
        &mut self,
        error: &io::Error,
        chain: &Chain,
        is_disk_well: impl FnOnce() -> bool,
    ) {
        if !is_of_data(error) || !is_disk_well() {
            self.tries = 0;
            return;
        }
        self.tries = self.tries.saturating_add(1);
        if self.tries >= QUEUE_READ_TRIES_MAX {
            self.pass(chain);
        }
    }

    fn pass(&mut self, chain: &Chain) {
        match (&mut self.walk, self.unread.take()) {
            (Some(walk), Some(end)) => walk.go_to(end),
            (Some(walk), None) => {
                // Nothing behind that has been written yet.
                let end = chain.link(walk.number).map_or(0, |link| link.bytes);
                walk.pass_sectors(1 << self.passes.min(12), end);
                self.passes += 1;
            }
            (None, _) => {
                self.left = chain.after(self.left).map_or(self.left, |link| link.number);
                self.tries = 0;
            }
        }
        self.damaged += 1;
    }

    /// Whether nothing more of this segment will be read.
    pub fn has_left(&self, number: Sequence) -> bool {
        self.walk.is_none() && self.left >= number
    }

    /// All up to `sequence`, the last record of the segment `number`, are gone.
    pub fn on_dropped(&mut self, number: Sequence, sequence: Sequence) {
        self.passed = self.passed.max(sequence);
        self.left = self.left.max(number);
        self.walk.take_if(|walk| walk.number <= number);
        self.entry.take_if(|it| it.0 <= number);
    }

    /// Whether everything that there is has been read, or need not be.
    pub fn is_at_end(&self, chain: &Chain) -> bool {
        let Some(last) = chain.last() else { return true };
        match (&self.walk, self.entry) {
            (Some(walk), _) => walk.number == last.number && walk.offset() == last.bytes,
            (None, Some(entry)) => entry == (last.number, last.bytes),
            (None, None) => self.left == last.number,
        }
    }

    /// Goes on at this place of the segment `number`, behind the record `sequence`: all before it were
    /// given out without being read.
    pub fn pass_to(&mut self, number: Sequence, offset: u64, sequence: Sequence) {
        self.passed = sequence;
        match self.walk.as_mut().filter(|walk| walk.number == number) {
            Some(walk) => walk.go_to(offset),
            None => {
                self.walk = None;
                self.left = Sequence(number.0.saturating_sub(1));
                self.entry = Some((number, offset));
            }
        }
    }

    /// The segment that it reads, or will read next: those before it are not needed.
    pub fn segment(&self) -> Sequence {
        self.walk.as_ref().map_or(self.left.next(), |walk| walk.number)
    }

    /// Places that could not be read, since this was asked last. Each is a record or more.
    pub fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }
}
