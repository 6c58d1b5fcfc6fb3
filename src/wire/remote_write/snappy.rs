//! The snappy block format, bounded.
//!
//! A block declares its decoded length in its first bytes. That number is the sender's word only:
//! it is held against the limit, and against what the block could hold at best, before any memory
//! is taken for it.

use std::fmt;

use snap::raw::{Decoder as BlockDecoder, Encoder, decompress_len};

/// The densest element of the format is a copy of 64 bytes written in 3, so no block grows to
/// more than 22 times its size.
const GROWTH_MAX: usize = 22;

/// What a [`Decoder`] keeps from one block to the next: many times what a batch of 2000 samples
/// takes. One giant body must not pin its memory for good.
const DECODER_BYTES_KEPT_MAX: usize = 4 << 20;

/// Why a block cannot be decoded, or a message not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnappyError {
    /// The declared length, in bytes, is over the limit; nothing was allocated.
    TooLong(usize),
    /// Not a snappy block: truncated, inconsistent, or of another length than it declares.
    Malformed,
}

impl fmt::Display for SnappyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnappyError::TooLong(bytes) => write!(f, "the block is too long, {bytes} bytes"),
            SnappyError::Malformed => f.write_str("not a snappy block"),
        }
    }
}

impl std::error::Error for SnappyError {}

/// The decoded length a block declares, in bytes. Only its first bytes are needed.
pub fn declared_bytes(block: &[u8]) -> Result<usize, SnappyError> {
    decompress_len(block).map_err(|_| SnappyError::Malformed)
}

/// Decodes a block. Takes at most `decoded_bytes_max` bytes of memory, and never more than 22
/// times the block, whatever the block declares.
pub fn decode(block: &[u8], decoded_bytes_max: usize) -> Result<Vec<u8>, SnappyError> {
    check(block, decoded_bytes_max)?;
    BlockDecoder::new().decompress_vec(block).map_err(|_| SnappyError::Malformed)
}

/// Decodes blocks one after the other into the same memory.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Decodes a block, as [`decode`] does. What it gives lies in the decoder until the next one.
    pub fn decode(&mut self, block: &[u8], decoded_bytes_max: usize) -> Result<&[u8], SnappyError> {
        let declared = check(block, decoded_bytes_max)?;
        if declared <= DECODER_BYTES_KEPT_MAX && self.buffer.len() > DECODER_BYTES_KEPT_MAX {
            self.buffer = Vec::new();
        }
        if declared > self.buffer.len() {
            // What was there need not be copied.
            self.buffer = Vec::new();
            self.buffer.resize(declared, 0);
        }
        let written = BlockDecoder::new().decompress(block, &mut self.buffer);
        let written = written.map_err(|_| SnappyError::Malformed)?;
        self.buffer.get(..written).ok_or(SnappyError::Malformed)
    }

    /// The bytes allocated.
    pub fn bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// The declared length of a block, if it is allowed and possible.
fn check(block: &[u8], decoded_bytes_max: usize) -> Result<usize, SnappyError> {
    let declared = declared_bytes(block)?;
    if declared > decoded_bytes_max {
        return Err(SnappyError::TooLong(declared));
    }
    if declared > block.len().saturating_mul(GROWTH_MAX) {
        return Err(SnappyError::Malformed);
    }
    Ok(declared)
}

/// Encodes a message as one block. Fails only with [`SnappyError::TooLong`], for a message near
/// the format's own bound of 4 GiB.
pub fn encode(message: &[u8]) -> Result<Vec<u8>, SnappyError> {
    Encoder::new().compress_vec(message).map_err(|_| SnappyError::TooLong(message.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn sample_message() -> Vec<u8> {
        (0..600_u32).flat_map(|n| [(n % 7) as u8, (n / 50) as u8, 0xff]).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for message in [Vec::new(), vec![0; 100_000], sample_message()] {
            let block = encode(&message).expect("a small message");
            assert_eq!(declared_bytes(&block), Ok(message.len()));
            assert_eq!(decode(&block, LIMIT), Ok(message));
        }
    }

    #[test]
    fn a_decoder_gives_the_same_again_and_again_and_keeps_no_giant_memory() {
        let mut decoder = Decoder::default();
        let giant = vec![7; DECODER_BYTES_KEPT_MAX + 1];
        for message in [sample_message(), Vec::new(), giant.clone(), sample_message()] {
            let block = encode(&message).expect("a small message");
            assert_eq!(decoder.decode(&block, giant.len()), Ok(message.as_slice()));
            assert!(decoder.bytes() <= message.len().max(DECODER_BYTES_KEPT_MAX));
            for end in 0..block.len().min(300) {
                assert!(decoder.decode(&block[..end], giant.len()).is_err(), "cut at {end}");
            }
        }
        let block = encode(&sample_message()).expect("a small message");
        let limit = sample_message().len() - 1;
        assert_eq!(decoder.decode(&block, limit), Err(SnappyError::TooLong(limit + 1)));
    }

    #[test]
    fn a_block_cut_at_any_byte_is_malformed() {
        let block = encode(&sample_message()).expect("a small message");
        for end in 0..block.len() {
            assert_eq!(decode(&block[..end], LIMIT), Err(SnappyError::Malformed), "cut at {end}");
        }
    }

    #[test]
    fn the_limit_is_the_last_length_accepted() {
        let message = sample_message();
        let block = encode(&message).expect("a small message");
        assert!(decode(&block, message.len()).is_ok());
        assert_eq!(decode(&block, message.len() - 1), Err(SnappyError::TooLong(message.len())));
    }

    #[test]
    fn a_length_no_block_of_this_size_can_have_takes_no_memory() {
        // Declares 4 GiB - 1 in five bytes, which is within a limit this high.
        let block = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert_eq!(decode(&block, usize::MAX), Err(SnappyError::Malformed));
        assert_eq!(decode(&block, LIMIT), Err(SnappyError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn the_densest_block_is_within_the_growth_allowed() {
        let message = vec![7; LIMIT];
        let block = encode(&message).expect("a small message");
        assert!(message.len() <= block.len() * GROWTH_MAX);
        assert!(message.len() > block.len() * (GROWTH_MAX - 2), "the bound is near what happens");
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let mut state = 1_u32;
        for length in 0..2000 {
            let garbage: Vec<u8> = (0..length % 97)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            if let Ok(message) = decode(&garbage, LIMIT) {
                assert_eq!(Ok(message.len()), declared_bytes(&garbage));
            }
        }
    }
}
