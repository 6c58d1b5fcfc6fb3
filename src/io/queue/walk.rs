//! A walk through a segment, from record to record, over whatever is damaged.

use std::io;

use crate::base::limits::QUEUE_SEARCH_BYTES;
use crate::wire::queue::record::{FRAME_BYTES, Frame, find};
use crate::wire::queue::segment::HEAD_BYTES;
use crate::wire::queue::sequence::{Salt, Sequence};
use crate::wire::remote_write::push::Push;

use super::disk::Disk;

/// The smallest part of a disk that can't be read.
const SECTOR_BYTES: u64 = 4096;

/// What is there.
#[derive(Debug)]
pub enum Step {
    /// A record whose frame is whole, and where it begins.
    Record(Frame, u64),
    /// Bytes that are no record. Behind them, one begins or the segment ends.
    Damage,
    /// The end of what may be read.
    End,
}

/// The place in a segment.
#[derive(Debug)]
pub struct Walk<F> {
    file: F,
    /// The segment's.
    pub number: Sequence,
    salt: Salt,
    /// The next byte.
    offset: u64,
    /// Before it lies a damaged record that has been spoken of.
    is_told: bool,
}

impl<F> Walk<F> {
    /// Before the first record.
    pub fn new(file: F, number: Sequence, salt: Salt) -> Walk<F> {
        Walk { file, number, salt, offset: HEAD_BYTES as u64, is_told: false }
    }

    /// Where it is.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to `offset`, where a record begins or begins next.
    pub fn go_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Goes past so many sectors that can't be read, no further than to `end`.
    pub fn pass_sectors(&mut self, count: u64, end: u64) {
        let behind = (self.offset / SECTOR_BYTES + count) * SECTOR_BYTES;
        self.offset = behind.min(end.max(self.offset));
    }

    /// The next, `end` being the first byte that may not be read. After an error it is where it was.
    pub fn step<D: Disk<File = F>>(&mut self, disk: &mut D, end: u64) -> io::Result<Step> {
        let is_told = std::mem::take(&mut self.is_told);
        if self.offset >= end {
            return Ok(Step::End);
        }
        if self.offset + FRAME_BYTES as u64 <= end {
            let mut bytes = [0; FRAME_BYTES];
            disk.read(&self.file, self.offset, &mut bytes)?;
            if let Some(frame) = Frame::decode(&bytes, self.salt)
                && self.offset + frame.record_bytes() as u64 <= end
            {
                let at = self.offset;
                self.offset += frame.record_bytes() as u64;
                return Ok(Step::Record(frame, at));
            }
        }
        match self.search(disk, end)? {
            Step::Damage if is_told => self.step(disk, end),
            found => Ok(found),
        }
    }

    /// The request of the record that was found at `at`. `None`: it is damaged. Then the next one is
    /// looked for right behind its frame: another may lie where its end should be.
    pub fn load<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        frame: &Frame,
        at: u64,
    ) -> io::Result<Option<Push>> {
        let mut payload = vec![0; frame.payload_bytes()];
        let behind_frame = at + FRAME_BYTES as u64;
        disk.read(&self.file, behind_frame, &mut payload)?;
        let push = frame.push(payload, self.salt);
        if push.is_none() {
            (self.offset, self.is_told) = (behind_frame, true);
        }
        Ok(push)
    }

    /// Looks for the next record behind one that is none.
    fn search<D: Disk<File = F>>(&mut self, disk: &mut D, end: u64) -> io::Result<Step> {
        let mut from = self.offset;
        let mut written = false;
        let mut window = vec![0; QUEUE_SEARCH_BYTES];
        let found = loop {
            let length = (end - from).min(QUEUE_SEARCH_BYTES as u64) as usize;
            let part = &mut window[..length];
            disk.read(&self.file, from, part)?;
            written |= part.iter().any(|byte| *byte != 0);
            // What is here has just been found to be no record that fits.
            let skipped = usize::from(from == self.offset).min(length);
            match find(&part[skipped..], self.salt) {
                Ok(at) => break from + (skipped + at) as u64,
                Err(_) if from + length as u64 == end => break end,
                Err(at) => from += (skipped + at) as u64,
            }
        };
        self.offset = found;
        // What was preallocated and never written is no damage.
        Ok(if found == end && !written { Step::End } else { Step::Damage })
    }
}
