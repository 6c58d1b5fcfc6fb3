//! The head of a segment, and its name.
//!
//! ```text
//! magic "HLQUEUE\n" 8 | version 4 | nothing 4 | number 8 | salt 8 | checksum of all that 8
//! ```
//! Little-endian. The number is that of the first record that may follow, and the file's name says it
//! too; the salt is the whole queue's. So a segment whose head is damaged is read all the same.

use std::fmt;

use super::sequence::{Salt, Sequence};

/// What a segment begins with.
const MAGIC: [u8; 8] = *b"HLQUEUE\n";
/// The version that is written.
pub const VERSION: u32 = 2;
/// The oldest that is read, see [`super::record`].
const VERSION_MIN: u32 = 1;
/// The head takes so many bytes.
pub const HEAD_BYTES: usize = 40;
/// What the names of segments end with.
const SUFFIX: &str = ".segment";
/// Of one that is not needed any more.
const SPARE_SUFFIX: &str = ".spare";

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// The sequence of its first record.
    pub number: Sequence,
    /// The queue's.
    pub salt: Salt,
}

/// Why it is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is whole, and of this version, which is newer: nobody but its own program may touch it.
    Version(u32),
    /// It is not as it was written, or was not written at all.
    Damaged,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Version(version) => write!(f, "is of version {version}, not {VERSION}"),
            HeadError::Damaged => f.write_str("is damaged"),
        }
    }
}

impl std::error::Error for HeadError {}

impl SegmentHead {
    /// The bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        self.encode_version(VERSION)
    }

    fn encode_version(&self, version: u32) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.0.to_le_bytes());
        let check = Salt(0).checksum(0, &bytes[..32]);
        bytes[32..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHead, HeadError> {
        let bytes: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or(HeadError::Damaged)?;
        let number = |at: usize| u64_at(bytes, at);
        if bytes[..8] != MAGIC || number(32) != Salt(0).checksum(0, &bytes[..32]) {
            return Err(HeadError::Damaged);
        }
        match number(8) {
            version if (VERSION_MIN.into()..=VERSION.into()).contains(&version) => {
                Ok(SegmentHead { number: Sequence(number(16)), salt: Salt(number(24)) })
            }
            other => Err(HeadError::Version(other as u32)),
        }
    }
}

/// The eight bytes at `at`, as a number. For places that lie within `bytes`; elsewhere it is 0.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_le_bytes(*part.unwrap_or(&[0; 8]))
}

/// The name of the segment of this number. Names sort as numbers do.
pub fn name(number: Sequence) -> String {
    format!("{:016x}{SUFFIX}", number.0)
}

/// The name of one whose number was this, and which is to become another.
pub fn spare_name(number: Sequence) -> String {
    format!("{:016x}{SPARE_SUFFIX}", number.0)
}

/// Whether it is that of such a one.
pub fn is_spare(name: &str) -> bool {
    name.ends_with(SPARE_SUFFIX)
}

/// The number that a name says. `None`: it is not the name of a segment.
pub fn parse_name(text: &str) -> Option<Sequence> {
    let digits = text.strip_suffix(SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok().map(Sequence)?;
    (name(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: SegmentHead = SegmentHead { number: Sequence(77), salt: Salt(9) };

    #[test]
    fn a_head_is_read_as_written_and_not_with_any_bit_changed() {
        let bytes = HEAD.encode();
        assert_eq!(SegmentHead::decode(&bytes), Ok(HEAD));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHead::decode(&bytes), Err(HeadError::Damaged), "bit {bit}");
        }
        for short in 0..bytes.len() {
            assert_eq!(SegmentHead::decode(&bytes[..short]), Err(HeadError::Damaged));
        }
    }

    #[test]
    fn a_head_of_another_version_is_known_as_such() {
        assert_eq!(SegmentHead::decode(&HEAD.encode_version(1)), Ok(HEAD));
        assert_eq!(SegmentHead::decode(&HEAD.encode_version(3)), Err(HeadError::Version(3)));
        assert_eq!(SegmentHead::decode(&HEAD.encode_version(0)), Err(HeadError::Version(0)));
    }

    #[test]
    fn a_name_says_its_number_and_nothing_else_does() {
        for number in [1, 255, u64::MAX].map(Sequence) {
            assert_eq!(parse_name(&name(number)), Some(number));
            assert_eq!(parse_name(&spare_name(number)), None);
            assert!(is_spare(&spare_name(number)) && !is_spare(&name(number)));
        }
        for text in ["", "lock", "sent", "1.segment", "+000000000000001.segment", "é.segment"] {
            assert_eq!(parse_name(text), None, "{text}");
        }
        assert_eq!(parse_name("00000000000000FF.segment"), None);
    }
}
