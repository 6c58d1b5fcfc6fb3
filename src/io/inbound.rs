//! What a connection has read and not yet used up: heads, bodies, pipelined requests.
//!
//! Memory is taken as bytes arrive. A head is awaited in 4 KB; only a connection that has sent a
//! whole request before gets a pooled 64 KB buffer, and only small bodies get all of theirs at once.

use std::rc::Rc;

use monoio::buf::IoBufMut as _;

use crate::base::limits::{
    BODY_DEADLINE, BODY_PROGRESS_BYTES, BODY_PROGRESS_STEPS, BUFFER_BYTES, FIRST_READ_BYTES,
};
use crate::base::time::Millis;
use crate::io::buffers::Share;
use crate::io::channel::Channel;
use crate::io::core::Core;
use crate::io::deadline::{Elapsed, Patience, Slot};
use crate::wire::http::body::{ChunkError, Chunks};
use crate::wire::remote_write::push::piece_bytes;

/// Why nothing more could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The other end closed or reset the connection.
    Gone,
    /// It took too long.
    TimedOut,
    /// The body is larger than it may be.
    TooLarge,
    /// No memory is left for large bodies.
    NoRoom,
    /// The chunks are malformed.
    Chunks(ChunkError),
}

/// How large the buffer is in which the next request is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A head fits: for a connection that has not shown yet what it is, or may be idle for long.
    Small,
    /// A request fits.
    Large,
    /// A request of about so many bytes fits, and little more: it may stay where it was read.
    Like(usize),
}

/// A body in chunks, put together.
#[derive(Debug)]
pub struct Gathered {
    /// Headroom, then the data if it was to be kept.
    pub buffer: Vec<u8>,
    /// How many bytes of data there were.
    pub data_bytes: usize,
    /// What it takes of the budget, for as long as it is held.
    pub share: Option<Share>,
}

/// What becomes of a body's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// They are kept.
    Keep,
    /// They are counted and forgotten.
    Skip,
}

/// The bytes of one connection.
pub struct Inbound {
    core: Rc<Core>,
    /// Headroom, then what was used up, then from `start` on what was not.
    buffer: Vec<u8>,
    start: usize,
    share: Option<Share>,
}

impl Inbound {
    /// Nothing has been read. To be rewound before the first read.
    pub fn new(core: Rc<Core>) -> Inbound {
        Inbound { core, buffer: Vec::new(), start: 0, share: None }
    }

    /// What was read and not used up.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Counts `bytes` as used up. They stay in front of the rest until the next rewind or skip.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        assert!(self.start <= self.buffer.len(), "only what was read can be used up");
    }

    /// Prepares for the next request: what is left moves to the front of a buffer of `awaited`
    /// size.
    pub fn rewind(&mut self, awaited: Awaited) {
        self.share = None;
        let headroom = self.core.buffers.headroom();
        let bytes = match awaited {
            Awaited::Small => FIRST_READ_BYTES,
            Awaited::Large => BUFFER_BYTES,
            Awaited::Like(bytes) => piece_bytes(headroom + bytes) - headroom,
        };
        let is_piece = matches!(awaited, Awaited::Like(_)) && bytes >= self.bytes().len();
        if self.buffer.capacity() == headroom + bytes {
            self.move_to_front();
        } else if is_piece {
            let mut piece = self.core.store.piece(headroom + bytes);
            piece.resize(headroom, 0);
            self.go_on_in(piece);
        } else {
            self.exchange_buffer(0, bytes.max(self.bytes().len()));
        }
    }

    /// Makes room for a head that is longer than the buffer.
    pub fn grow_for_head(&mut self) {
        if self.buffer.len() == self.buffer.capacity() {
            self.exchange_buffer(0, BUFFER_BYTES);
        }
    }

    /// Reads once, behind what is there. There must be room.
    pub async fn read(
        &mut self,
        channel: &mut Channel,
        slot: &Slot,
        due: Millis,
        patience: Patience,
    ) -> Result<(), ReadError> {
        let buffer = std::mem::take(&mut self.buffer);
        let start = std::mem::take(&mut self.start);
        let (from, to) = (buffer.len(), buffer.capacity());
        assert!(from < to, "a read needs room");
        match slot.within(due, patience, channel.read(buffer.slice_mut(from..to))).await {
            Err(Elapsed) => Err(ReadError::TimedOut),
            Ok((read, slice)) => {
                self.buffer = slice.into_inner();
                self.start = start;
                match read {
                    Ok(0) | Err(_) => Err(ReadError::Gone),
                    Ok(_) => Ok(()),
                }
            }
        }
    }

    /// Reads until a body of `length` bytes is there whole. It begins where [`Inbound::bytes`]
    /// begins, with room for a head of `front` bytes before it. So much of what its own head
    /// promises is given memory `at_once`.
    pub async fn read_body(
        &mut self,
        channel: &mut Channel,
        slot: &Slot,
        (front, length): (usize, usize),
        at_once: usize,
    ) -> Result<(), ReadError> {
        let mut pace = Pace::new(&self.core, self.bytes().len(), length);
        while self.bytes().len() < length {
            self.make_room(front, length, at_once)?;
            self.read(channel, slot, pace.due, Patience::Busy).await?;
            pace.on_bytes(&self.core, self.bytes().len());
        }
        Ok(())
    }

    /// Reads a body of `length` bytes to the end of `piece`, which has room for it.
    pub async fn read_piece(
        &mut self,
        channel: &mut Channel,
        slot: &Slot,
        mut piece: Vec<u8>,
        length: usize,
    ) -> Result<(Vec<u8>, Option<Share>), ReadError> {
        let mut share = None;
        self.take_share(length, &mut share)?;
        let (start, end) = (piece.len(), piece.len() + length);
        let have = length.min(self.bytes().len());
        piece.extend_from_slice(&self.bytes()[..have]);
        self.consume(have);
        let mut pace = Pace::new(&self.core, have, length);
        while piece.len() < end {
            let from = piece.len();
            let read = channel.read(piece.slice_mut(from..end));
            let read = slot.within(pace.due, Patience::Busy, read).await;
            let (read, slice) = read.map_err(|Elapsed| ReadError::TimedOut)?;
            piece = slice.into_inner();
            match read {
                Ok(0) | Err(_) => return Err(ReadError::Gone),
                Ok(_) => pace.on_bytes(&self.core, piece.len() - start),
            }
        }
        Ok((piece, share))
    }

    /// Reads a body of `length` bytes and forgets it.
    pub async fn skip_body(
        &mut self,
        channel: &mut Channel,
        slot: &Slot,
        length: usize,
    ) -> Result<(), ReadError> {
        let mut pace = Pace::new(&self.core, 0, length);
        let mut left = length;
        loop {
            let have = self.bytes().len();
            if have >= left {
                self.consume(left);
                return Ok(());
            }
            left -= have;
            self.consume(have);
            self.move_to_front();
            if left > self.buffer.capacity() - self.buffer.len() {
                self.exchange_buffer(0, BUFFER_BYTES);
            }
            self.read(channel, slot, pace.due, Patience::Busy).await?;
            pace.on_bytes(&self.core, length - left + self.bytes().len());
        }
    }

    /// Reads a body in chunks to its end; it may hold `limit` bytes of data. There is room for a
    /// head of `front` bytes before it.
    pub async fn read_chunks(
        &mut self,
        channel: &mut Channel,
        slot: &Slot,
        (front, limit): (usize, usize),
        keeping: Keeping,
    ) -> Result<Gathered, ReadError> {
        let mut gathered =
            Gathered { buffer: self.core.buffers.make(front, 0), data_bytes: 0, share: None };
        let mut chunks = Chunks::default();
        let mut pace = Pace::new(&self.core, 0, 0);
        loop {
            let fed = chunks.feed(self.bytes(), |piece| {
                gathered.data_bytes += piece.len();
                if keeping == Keeping::Keep && gathered.data_bytes <= limit {
                    gathered.buffer.extend_from_slice(piece);
                }
            });
            self.consume(fed.map_err(ReadError::Chunks)?);
            if gathered.data_bytes > limit {
                return Err(ReadError::TooLarge);
            }
            self.take_share(gathered.buffer.capacity(), &mut gathered.share)?;
            if chunks.is_done() {
                return Ok(gathered);
            }
            self.move_to_front();
            self.read(channel, slot, pace.due, Patience::Busy).await?;
            pace.on_bytes(&self.core, gathered.data_bytes);
        }
    }

    /// Whether a body of `length` bytes fits into the buffer.
    pub fn has_room(&self, length: usize) -> bool {
        self.start + length <= self.buffer.capacity()
    }

    /// How many bytes there are before what was not used up.
    pub fn used_bytes(&self) -> usize {
        self.start
    }

    /// Gives the buffer away with the body of `length` bytes in it, if it is not larger than it has to
    /// be, and the place of the body. What is behind it goes to a new one.
    pub fn give_away(&mut self, length: usize) -> Option<(Vec<u8>, usize)> {
        let (start, end) = (self.start, self.start + length);
        if self.buffer.capacity() > piece_bytes(end) {
            return None;
        }
        let mut given = std::mem::take(&mut self.buffer);
        self.start = 0;
        if end < given.len() {
            self.replace(&given[end..]);
        }
        given.truncate(end);
        Some((given, start))
    }

    /// Lends the buffer for a request that is sent on, with the place of what was not used up.
    pub fn lend(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.buffer), std::mem::take(&mut self.start))
    }

    /// Takes the buffer back; `rest` are the bytes of it that have not been used up.
    pub fn restore(&mut self, buffer: Vec<u8>, rest: usize) {
        self.start = buffer.len() - rest;
        self.buffer = buffer;
    }

    /// Begins anew with `rest`, what had been read of the next request: the buffer was lost.
    pub fn replace(&mut self, rest: &[u8]) {
        let mut buffer = self.core.buffers.make(0, FIRST_READ_BYTES.max(rest.len()));
        self.start = buffer.len();
        buffer.extend_from_slice(rest);
        self.buffer = buffer;
    }

    /// Room for the next read of a body of `length` bytes: beyond what it gets at once, twice what
    /// has arrived.
    fn make_room(&mut self, front: usize, length: usize, at_once: usize) -> Result<(), ReadError> {
        let is_full = self.buffer.len() == self.buffer.capacity();
        let have = if is_full { self.bytes().len() * 2 } else { 0 };
        let wanted = length.min(have.max(at_once));
        if self.buffer.capacity() - self.start < wanted {
            let mut share = self.share.take();
            self.take_share(wanted, &mut share)?;
            self.share = share;
            self.exchange_buffer(front, wanted);
        }
        Ok(())
    }

    /// Sees to it that `share` covers a buffer of `bytes`.
    fn take_share(&self, bytes: usize, share: &mut Option<Share>) -> Result<(), ReadError> {
        if bytes <= BUFFER_BYTES || share.as_ref().is_some_and(|s| s.bytes() >= bytes) {
            return Ok(());
        }
        *share = None;
        *share = Some(self.core.terms().budget.take(bytes).ok_or(ReadError::NoRoom)?);
        Ok(())
    }

    /// Goes on in a buffer for `bytes`, with room for a head of `front` bytes before them.
    fn exchange_buffer(&mut self, front: usize, bytes: usize) {
        let buffers = &self.core.buffers;
        let is_usual =
            (FIRST_READ_BYTES + 1..=BUFFER_BYTES).contains(&bytes) && front <= buffers.headroom();
        let other = if is_usual { buffers.take() } else { buffers.make(front, bytes) };
        self.go_on_in(other);
    }

    fn go_on_in(&mut self, mut other: Vec<u8>) {
        let start = other.len();
        other.extend_from_slice(self.bytes());
        self.start = start;
        self.core.buffers.give(std::mem::replace(&mut self.buffer, other));
    }

    fn move_to_front(&mut self) {
        let headroom = self.core.buffers.headroom();
        let left = self.bytes().len();
        self.buffer.copy_within(self.start.., headroom);
        self.buffer.truncate(headroom + left);
        self.start = headroom;
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.core.buffers.give(std::mem::take(&mut self.buffer));
    }
}

/// Whether a body comes fast enough.
struct Pace {
    due: Millis,
    mark: usize,
    step: usize,
}

impl Pace {
    /// A body of `length` bytes, 0 if that is not known, has begun with `bytes`.
    fn new(core: &Core, bytes: usize, length: usize) -> Pace {
        let step = BODY_PROGRESS_BYTES.max(length / BODY_PROGRESS_STEPS);
        Pace { due: core.now().after(BODY_DEADLINE), mark: bytes + step, step }
    }

    fn on_bytes(&mut self, core: &Core, bytes: usize) {
        if bytes >= self.mark {
            *self = Pace { due: core.now().after(BODY_DEADLINE), mark: bytes + self.step, ..*self };
        }
    }
}
