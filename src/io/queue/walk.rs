//! A walk through a segment, from record to record, over whatever is damaged.
//!
//! Behind the last record may lie what the file held when it was another segment: records with lower
//! numbers, which are none of this one, and parts of them. Right behind the last record lies an empty frame
//! then, so that whatever else is there is damage.

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
    /// What comes has a higher number than this.
    above: Sequence,
    /// The number of what came last, as long as nobody goes back to it.
    last: Sequence,
    /// Nobody has said how far it was written: an empty frame is the end of it.
    is_open: bool,
}

impl<F> Walk<F> {
    /// Before the first record.
    pub fn new(file: F, number: Sequence, salt: Salt) -> Walk<F> {
        let above = Sequence(number.0.saturating_sub(1));
        Walk {
            file,
            number,
            salt,
            offset: HEAD_BYTES as u64,
            is_told: false,
            above,
            last: above,
            is_open: false,
        }
    }

    /// The same of a segment that was being written when its process ended.
    pub fn of_open(file: F, number: Sequence, salt: Salt) -> Walk<F> {
        Walk { is_open: true, ..Walk::new(file, number, salt) }
    }

    /// Where it is.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to `offset`, where a record begins or begins next.
    pub fn go_to(&mut self, offset: u64) {
        self.offset = offset;
        self.last = self.above;
    }

    /// Goes past so many sectors that can't be read, no further than to `end`.
    pub fn pass_sectors(&mut self, count: u64, end: u64) {
        let behind = (self.offset / SECTOR_BYTES + count) * SECTOR_BYTES;
        self.offset = behind.min(end.max(self.offset));
    }

    /// The next, `end` being the first byte that may not be read. After an error it is where it was.
    pub fn step<D: Disk<File = F>>(&mut self, disk: &mut D, end: u64) -> io::Result<Step> {
        let is_told = std::mem::take(&mut self.is_told);
        self.above = self.last;
        if self.offset >= end {
            return Ok(Step::End);
        }
        if self.offset + FRAME_BYTES as u64 <= end {
            let mut bytes = [0; FRAME_BYTES];
            disk.read(&self.file, self.offset, &mut bytes)?;
            if let Some(frame) = self.own(&bytes)
                && self.offset + frame.record_bytes() as u64 <= end
            {
                let at = self.offset;
                self.last = frame.label.sequence;
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

    /// The frame with which `bytes` begin, if it is one of this segment.
    fn own(&self, bytes: &[u8]) -> Option<Frame> {
        Frame::decode(bytes, self.salt).filter(|frame| frame.label.sequence > self.above)
    }

    /// Looks for the next record behind one that is none.
    fn search<D: Disk<File = F>>(&mut self, disk: &mut D, end: u64) -> io::Result<Step> {
        let mut window = vec![0; QUEUE_SEARCH_BYTES];
        let mut from = self.offset;
        let (mut is_empty, mut all_empty, mut has_old) = (true, true, false);
        let found = 'found: loop {
            let length = (end - from).min(QUEUE_SEARCH_BYTES as u64) as usize;
            let part = &mut window[..length];
            disk.read(&self.file, from, part)?;
            all_empty &= part.iter().all(|byte| *byte == 0);
            let mut looked = 0;
            if from == self.offset {
                is_empty = part.iter().take(FRAME_BYTES).all(|byte| *byte == 0);
                // What is here has just been found to be no record that fits.
                looked = length.min(1);
            }
            let next = loop {
                match find(&part[looked..], self.salt) {
                    Ok(at) if self.own(&part[looked + at..]).is_some() => {
                        break 'found from + (looked + at) as u64;
                    }
                    Ok(at) => {
                        has_old = true;
                        looked += at + 1;
                    }
                    Err(at) => break looked + at,
                }
            };
            if from + length as u64 == end {
                break end;
            }
            from += next as u64;
        };
        self.offset = found;
        // What was never written is no damage, nor what was written before.
        let is_end = all_empty || is_empty && (self.is_open || has_old);
        Ok(if found == end && is_end { Step::End } else { Step::Damage })
    }
}
