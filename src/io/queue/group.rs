//! A group of records, as it is written: frames of its own, and between them the requests where they lie.

use crate::wire::queue::record::{FRAME_BYTES, Frame};
use crate::wire::queue::sequence::Salt;

use super::append::Append;

/// The records, in order.
#[derive(Debug, Default)]
pub struct Group {
    /// Each with the place of its request.
    frames: Vec<([u8; FRAME_BYTES], usize)>,
    bytes: u64,
}

impl Group {
    /// What all of them take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts in the record with this frame, whose request has this place.
    pub fn push(&mut self, frame: &Frame, salt: Salt, place: usize) {
        self.frames.push((frame.encode(salt), place));
        self.bytes += frame.record_bytes() as u64;
    }

    /// Takes out the last one, which was put in with this frame.
    pub fn pop(&mut self, frame: &Frame) {
        self.frames.pop();
        self.bytes -= frame.record_bytes() as u64;
    }

    /// All of it, the requests being those of `appends`.
    pub fn parts<'g>(&'g self, appends: &'g [Append]) -> Vec<&'g [u8]> {
        let of_one = |(frame, place): &'g ([u8; FRAME_BYTES], usize)| {
            [&frame[..], appends[*place].push.whole()]
        };
        self.frames.iter().flat_map(of_one).collect()
    }

    /// Takes out all of them.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }
}
