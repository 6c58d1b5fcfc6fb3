//! A record of a segment: a frame, then a request's head and body as they are to be sent.
//!
//! ```text
//! marker 4 | checksum of the other 40 4 | protocol 2 | head bytes 2 | body bytes 4
//!          | sequence 8 | time 8 | source 8 | checksum of head and body 8
//! ```
//! Little-endian. The checksum of head and body is of a digest of the body, which is made once for all
//! queues; in segments of version 1 it is of the bytes themselves. The frame has a checksum of its own:
//! where it is whole, its lengths are. Where it is not, or what follows is damaged, the next record is looked
//! for by marker and checksum.

use memchr::memmem;

use super::segment::u64_at;
use super::sequence::{Salt, Sequence, SourceKey};
use crate::base::time::UnixMillis;
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::push::{Push, digest_of};

/// What a record begins with: no text, and no begin of a snappy block or a message.
pub const MARKER: [u8; 4] = [0xf7, b'H', b'Q', 0x9c];
/// The frame takes so many bytes: all that a record takes beside the request.
pub const FRAME_BYTES: usize = 48;

/// What a record says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its number.
    pub sequence: Sequence,
    /// When it came.
    pub time: UnixMillis,
    /// From whom.
    pub source: SourceKey,
}

/// The frame of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says of the request.
    pub label: Label,
    protocol: Protocol,
    head_bytes: u16,
    body_bytes: u32,
    check: u64,
}

/// Why it can't be a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Frame {
    /// The frame of a request whose body has this digest.
    pub fn of(label: Label, push: &Push, digest: u128, salt: Salt) -> Result<Frame, TooLong> {
        let bytes = push.whole();
        let body_bytes = push.body().len();
        Ok(Frame {
            label,
            protocol: push.protocol(),
            head_bytes: u16::try_from(bytes.len() - body_bytes).map_err(|_| TooLong)?,
            body_bytes: u32::try_from(body_bytes).map_err(|_| TooLong)?,
            check: salt.checksum_of_request(label.sequence.0, push.head(), digest),
        })
    }

    /// The bytes.
    pub fn encode(&self, salt: Salt) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        let protocol: u16 = match self.protocol {
            Protocol::V1 => 1,
            Protocol::V2 => 2,
        };
        bytes[..4].copy_from_slice(&MARKER);
        bytes[8..10].copy_from_slice(&protocol.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.head_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.label.sequence.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.label.time.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.label.source.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.check.to_le_bytes());
        let check = frame_check(&bytes, salt);
        bytes[4..8].copy_from_slice(&check);
        bytes
    }

    /// Reads them. `None`: no record begins here.
    pub fn decode(bytes: &[u8], salt: Salt) -> Option<Frame> {
        let bytes: &[u8; FRAME_BYTES] = bytes.first_chunk()?;
        if bytes[..4] != MARKER || bytes[4..8] != frame_check(bytes, salt) {
            return None;
        }
        let protocol = match u16::from_le_bytes([bytes[8], bytes[9]]) {
            1 => Protocol::V1,
            2 => Protocol::V2,
            _ => return None,
        };
        let label = Label {
            sequence: Sequence(u64_at(bytes, 16)),
            time: UnixMillis(u64_at(bytes, 24).cast_signed()),
            source: SourceKey(u64_at(bytes, 32)),
        };
        Some(Frame {
            label,
            protocol,
            head_bytes: u16::from_le_bytes([bytes[10], bytes[11]]),
            body_bytes: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
            check: u64_at(bytes, 40),
        })
    }

    /// What follows the frame: head and body.
    pub fn payload_bytes(&self) -> usize {
        usize::from(self.head_bytes) + self.body_bytes as usize
    }

    /// The whole record.
    pub fn record_bytes(&self) -> usize {
        FRAME_BYTES + self.payload_bytes()
    }

    /// Whether these are the bytes of head and body.
    pub fn is_of(&self, payload: &[u8], salt: Salt) -> bool {
        let number = self.label.sequence.0;
        let Some((head, body)) = payload.split_at_checked(self.head_bytes.into()) else {
            return false;
        };
        let is_of = || self.check == salt.checksum_of_request(number, head, digest_of(body));
        let is_of_version_1 = || self.check == salt.checksum(number, payload);
        payload.len() == self.payload_bytes() && (is_of() || is_of_version_1())
    }

    /// The request that they are. `None`: they are not what was written.
    pub fn push(&self, payload: Vec<u8>, salt: Salt) -> Option<Push> {
        let whole = self.is_of(&payload, salt);
        whole.then(|| Push::new(payload, usize::from(self.head_bytes), self.protocol))
    }
}

fn frame_check(bytes: &[u8; FRAME_BYTES], salt: Salt) -> [u8; 4] {
    // A half of it: a frame that passes by chance names a payload, which has 64 bits more to pass.
    let check = salt.checksum(0, &bytes[8..]).to_le_bytes();
    [check[0], check[1], check[2], check[3]]
}

/// Appends the record of a request to `out`; what it says of it, and how long it is.
pub fn append(label: Label, push: &Push, salt: Salt, out: &mut Vec<u8>) -> Result<usize, TooLong> {
    let frame = Frame::of(label, push, push.digest(), salt)?;
    out.extend_from_slice(&frame.encode(salt));
    out.extend_from_slice(push.whole());
    Ok(frame.record_bytes())
}

/// Where in `bytes` the next frame may begin: a whole one whose checksum is right, or a marker of which
/// the rest lies beyond. `Err`: from there on nothing is known of what follows.
pub fn find(bytes: &[u8], salt: Salt) -> Result<usize, usize> {
    for at in memmem::find_iter(bytes, &MARKER) {
        if bytes.len() - at < FRAME_BYTES {
            return Err(at);
        }
        if Frame::decode(&bytes[at..], salt).is_some() {
            return Ok(at);
        }
    }
    // A marker may have begun in the last bytes.
    Err(bytes.len().saturating_sub(MARKER.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(0x5a17);

    fn label(sequence: u64) -> Label {
        Label { sequence: Sequence(sequence), time: UnixMillis(-3), source: SourceKey(8) }
    }

    fn push(head: &str, body: &[u8]) -> Push {
        Push::new([head.as_bytes(), body].concat(), head.len(), Protocol::V2)
    }

    #[test]
    fn a_record_is_read_as_written() {
        let (mut bytes, push) = (Vec::new(), push("POST /w\r\n\r\n", b"body"));
        let length = append(label(7), &push, SALT, &mut bytes).expect("it is short");
        assert_eq!(length, bytes.len());
        let frame = Frame::decode(&bytes, SALT).expect("it is whole");
        assert_eq!((frame.label, frame.record_bytes()), (label(7), bytes.len()));
        let read = frame.push(bytes[FRAME_BYTES..].to_vec(), SALT).expect("it is whole");
        assert!(read.is_same(&push) && read.protocol() == Protocol::V2);
        assert_eq!(Frame::decode(&bytes, Salt(0)), None, "it is of another queue");
    }

    #[test]
    fn a_record_of_version_1_is_read() {
        let push = push("POST /w\r\n\r\n", b"body");
        let frame = Frame::of(label(7), &push, push.digest(), SALT).expect("it is short");
        let frame = Frame { check: SALT.checksum(7, push.whole()), ..frame };
        let frame = Frame::decode(&frame.encode(SALT), SALT).expect("it is whole");
        assert!(frame.is_of(push.whole(), SALT));
        assert!(!frame.is_of(b"POST /w\r\n\r\nbodx", SALT));
        assert!(!frame.is_of(b"POST", SALT), "it is short of a head");
    }

    #[test]
    fn what_is_checked_stays_as_it_is() {
        // Written down here, and in the queues that are there already.
        let push = push("POST /w\r\n\r\n", b"body");
        let check = SALT.checksum_of_request(7, push.head(), push.digest());
        assert_eq!(check, 15_368_615_161_088_390_681);
    }

    #[test]
    fn no_bit_of_a_record_can_change_unseen() {
        let mut bytes = Vec::new();
        append(label(7), &push("h", b"body"), SALT, &mut bytes).expect("it is short");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Frame::decode(&bytes, SALT)
                .and_then(|frame| frame.push(bytes[FRAME_BYTES..].to_vec(), SALT));
            assert!(read.is_none(), "bit {bit}");
        }
    }

    #[test]
    fn the_next_record_is_found_behind_anything() {
        let mut record = Vec::new();
        append(label(9), &push("h", b"body"), SALT, &mut record).expect("it is short");
        for before in [&b""[..], b"\xf7", b"\xf7HQ", b"\xf7HQ\x9c", &[0; 100]] {
            let bytes = [before, &record].concat();
            assert_eq!(find(&bytes, SALT), Ok(before.len()), "{before:?}");
            // Cut anywhere, it is found from where the search says that it may begin.
            for cut in 0..bytes.len() {
                let from = find(&bytes[..cut], SALT).unwrap_or_else(|from| from);
                assert!(from <= before.len(), "{before:?} cut at {cut}: {from}");
            }
        }
    }

    #[test]
    fn what_is_too_long_for_a_record_is_said_to_be() {
        let long = Push::new(vec![0; 70_000], 65_536, Protocol::V1);
        assert_eq!(append(label(1), &long, SALT, &mut Vec::new()), Err(TooLong));
    }
}
