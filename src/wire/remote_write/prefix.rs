//! The beginning of a snappy block, decoded no further than asked for.
//!
//! The decoder of `snap` decodes a block or nothing. Who wants to know how old a request is needs
//! its first few hundred bytes, and must not pay for 200 KB on the way of a request. Everything is
//! checked as in a full decoding, so that what is given is what that would begin with; the block
//! itself may be a prefix too.

/// A block that is being decoded from its front, into memory lent by the caller.
#[derive(Debug)]
pub(super) struct Prefix<'b, 'm> {
    rest: &'b [u8],
    /// What the block says it comes to.
    declared: usize,
    /// What of the literal in front of `rest` has not been copied.
    literal_left: usize,
    decoded: &'m mut Vec<u8>,
}

impl<'b, 'm> Prefix<'b, 'm> {
    /// Of a block or the front of one; `None` if it does not begin with a length.
    pub fn of(block: &'b [u8], decoded: &'m mut Vec<u8>) -> Option<Prefix<'b, 'm>> {
        decoded.clear();
        let (mut declared, mut rest) = (0, block);
        for index in 0..5 {
            let byte;
            (byte, rest) = rest.split_first()?;
            declared |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                let declared = u32::try_from(declared).ok()? as usize;
                return Some(Prefix { rest, declared, literal_left: 0, decoded });
            }
        }
        None
    }

    /// What has been decoded.
    pub fn decoded(&self) -> &[u8] {
        self.decoded
    }

    /// Decodes on until there are `bytes_wanted` of it, or up to 63 more. Gives false if there are
    /// not, because the block ends or is malformed from here on.
    pub fn decode_until(&mut self, bytes_wanted: usize) -> bool {
        while self.decoded.len() < bytes_wanted {
            if self.literal_left == 0 && !self.element() {
                return false;
            }
            let room = bytes_wanted.saturating_sub(self.decoded.len());
            let now = self.literal_left.min(room).min(self.rest.len());
            let (literal, rest) = self.rest.split_at(now);
            self.decoded.extend_from_slice(literal);
            self.rest = rest;
            self.literal_left -= now;
            if self.literal_left > 0 && rest.is_empty() {
                return false;
            }
        }
        true
    }

    /// Begins the next element: makes a copy, or notes how long a literal is.
    fn element(&mut self) -> bool {
        let Some((tag, rest)) = self.rest.split_first() else { return false };
        let length = usize::from(tag >> 2);
        let (begun, rest) = match (tag & 3, rest) {
            (0, rest) => match literal_length(length, rest) {
                Some((length, rest)) => {
                    self.literal_left = length;
                    (self.fits(length), rest)
                }
                None => (false, rest),
            },
            (1, [low, rest @ ..]) => {
                let offset = usize::from(tag >> 5) << 8 | usize::from(*low);
                (self.copy(offset, 4 + (length & 7)), rest)
            }
            (2, [low, high, rest @ ..]) => {
                let offset = u16::from_le_bytes([*low, *high]);
                (self.copy(usize::from(offset), 1 + length), rest)
            }
            (3, [a, b, c, d, rest @ ..]) => {
                let offset = u32::from_le_bytes([*a, *b, *c, *d]);
                (self.copy(offset as usize, 1 + length), rest)
            }
            _ => (false, rest),
        };
        self.rest = rest;
        begun
    }

    /// Copies what was decoded `offset` bytes ago; the copy may run into itself.
    fn copy(&mut self, offset: usize, length: usize) -> bool {
        if offset == 0 || offset > self.decoded.len() || !self.fits(length) {
            return false;
        }
        let start = self.decoded.len() - offset;
        let end = self.decoded.len() + length;
        while self.decoded.len() < end {
            // The first time no more than `offset` bytes, then whole repetitions of them.
            let until = self.decoded.len().min(start + end - self.decoded.len());
            self.decoded.extend_from_within(start..until);
        }
        true
    }

    /// Whether there is room for this much in what was declared.
    fn fits(&self, length: usize) -> bool {
        length <= self.declared - self.decoded.len()
    }
}

/// How long a literal is, and what follows its length.
fn literal_length(tag: usize, rest: &[u8]) -> Option<(usize, &[u8])> {
    let bytes = match tag {
        0..60 => return Some((tag + 1, rest)),
        _ => tag - 59,
    };
    let (length, rest) = rest.split_at_checked(bytes)?;
    let length = length.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some((usize::try_from(length + 1).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::super::snappy;
    use super::*;

    /// Messages with long and short literals, copies near and far, and copies into themselves.
    fn messages() -> Vec<Vec<u8>> {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..70_000).map(|_| random()).collect();
        let words: Vec<u8> = (0..5000)
            .flat_map(|_| [b"pod", b"job", b"up_"][random() as usize % 3])
            .copied()
            .collect();
        let far = [&noise[..], &words[..300], &noise[..3000]].concat();
        vec![Vec::new(), vec![7], vec![7; 3000], b"abc".repeat(900), words, noise, far]
    }

    #[test]
    fn what_is_decoded_is_how_the_whole_begins() {
        for message in messages() {
            let block = snappy::encode(&message).expect("a small message");
            let mut memory = Vec::new();
            for wanted in [0, 1, 2, 60, 61, 500, 65_536, 65_537, message.len()] {
                let mut prefix = Prefix::of(&block, &mut memory).expect("it has a length");
                assert_eq!(prefix.decode_until(wanted), wanted <= message.len());
                let decoded = prefix.decoded();
                assert!(decoded.len() < wanted + 64);
                assert_eq!(decoded, &message[..decoded.len()]);
            }
        }
    }

    #[test]
    fn going_on_gives_the_same_as_going_at_once() {
        for message in messages() {
            let block = snappy::encode(&message).expect("a small message");
            let mut memory = Vec::new();
            let mut prefix = Prefix::of(&block, &mut memory).expect("it has a length");
            let mut wanted = 1;
            while prefix.decode_until(wanted) {
                assert!(prefix.decoded().len() >= wanted);
                wanted += 1 + wanted / 3;
            }
            assert_eq!(prefix.decoded(), message);
        }
    }

    #[test]
    fn a_block_cut_at_any_byte_gives_what_came_before() {
        for message in messages() {
            let block = snappy::encode(&message[..message.len().min(3000)]).expect("small");
            let mut memory = Vec::new();
            let mut longest = 0;
            for end in 0..block.len() {
                let Some(mut prefix) = Prefix::of(&block[..end], &mut memory) else { continue };
                assert!(!prefix.decode_until(message.len().min(3000)) || message.is_empty());
                let decoded = prefix.decoded();
                assert_eq!(decoded, &message[..decoded.len()], "cut at {end}");
                assert!(decoded.len() >= longest, "cut at {end}");
                longest = decoded.len();
            }
        }
    }

    #[test]
    fn what_no_block_may_say_is_the_end_of_it() {
        let cases: [(&[u8], &[u8]); 9] = [
            // A copy of nothing, from before the beginning, and from nowhere.
            (&[9, 1 << 2, b'a', b'b', 0b0000_0001, 0], b"ab"),
            (&[9, 1 << 2, b'a', b'b', 0b0000_0001, 3], b"ab"),
            (&[9, 0b0000_0010, 1, 0], b""),
            // A literal and a copy beyond what was declared.
            (&[1, 1 << 2, b'a', b'b'], b""),
            (&[5, 1 << 2, b'a', b'b', 0b0000_0001, 1], b"ab"),
            // Elements that end in their header.
            (&[9, 60 << 2], b""),
            (&[9, 63 << 2, 255, 255, 255], b""),
            (&[9, 63 << 2, 255, 255, 255, 255, b'a'], b""),
            (&[9, 0, b'a', 0b0000_0011, 1, 0, 0], b"a"),
        ];
        let mut memory = Vec::new();
        for (block, expected) in cases {
            let mut prefix = Prefix::of(block, &mut memory).expect("it has a length");
            assert!(!prefix.decode_until(9), "{block:?}");
            assert_eq!(prefix.decoded(), expected, "{block:?}");
        }
        for block in [&[][..], &[0x80], &[0x80; 5], &[0xff, 0xff, 0xff, 0xff, 0x1f, 0]] {
            assert!(Prefix::of(block, &mut memory).is_none(), "{block:?}");
        }
    }

    #[test]
    fn garbage_is_decoded_as_far_as_the_full_decoder_would_and_without_a_panic() {
        let mut state = 1_u32;
        let mut whole = 0;
        for length in 0..20_000 {
            let mut garbage: Vec<u8> = (0..length % 23)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            // A small declared length, so that some are well-formed.
            if let Some(first) = garbage.first_mut() {
                *first %= 16;
            }
            let mut memory = Vec::new();
            let Some(mut prefix) = Prefix::of(&garbage, &mut memory) else { continue };
            prefix.decode_until(1000);
            if let Ok(message) = snappy::decode(&garbage, 1000) {
                assert_eq!(prefix.decoded(), message, "{garbage:?}");
                whole += 1;
            }
        }
        assert!(whole > 20, "only {whole} were well-formed");
    }
}
