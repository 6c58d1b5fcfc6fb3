//! The snappy block around a remote write request.
//!
//! Claims, for any bytes taken as a block, and for blocks made element by element:
//! * `decode` and `Decoder` do not panic and agree with each other, whatever a decoder has decoded
//!   before. They refuse a declared length over the limit as such, and otherwise accept what the
//!   crate `snap` accepts, with the same result.
//! * No more memory is taken than the limit allows and than the block could hold, and none for a
//!   declared length that is refused.
//! * What was decoded, encoded again, is decoded to the same; so are any bytes.
//! * A made block is decoded to what was put into it.
//! * The first time of a request is the same in its block and in the block that is encoded anew. No
//!   more of it is decoded than was declared, and than was allowed and an element. The points are
//!   those of the message.

#![no_main]

use highlander::wire::remote_write::error::BodyError;
use highlander::wire::remote_write::first::first_timestamp;
use highlander::wire::remote_write::points::Counts;
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::snappy::{self, Decoder, SnappyError};
use highlander_fuzz::blocks;
use highlander_fuzz::choices::Choices;
use highlander_fuzz::memory::Counting;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Counting = Counting::new();

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    if how % 2 == 0 {
        check_block(rest);
        check_encoded_again(rest);
        return;
    }
    let made = blocks::make(&mut Choices::of(rest));
    assert_eq!(snappy::decode(&made.bytes, usize::MAX), Ok(made.message.clone()));
    check_block(&made.bytes);
    // Not whole, and with a byte changed.
    let at = usize::from(*how) * made.bytes.len() / 256;
    check_block(&made.bytes[..at]);
    let mut changed = made.bytes;
    changed[at] = changed[at].wrapping_add(how / 2);
    check_block(&changed);
});

/// Nothing, what is met often, and no limit.
const LIMITS: [usize; 4] = [0, 100, 4096, usize::MAX];

/// As the decoder says of itself.
const GROWTH_MAX: usize = 22;

/// The longest declared length that `snap`, which has no limit, is asked about.
const ASKED_BYTES_MAX: usize = 1 << 20;

/// Beyond what was asked for, the rest of an element: a copy of 64 bytes.
const ELEMENT_BYTES_MAX: usize = 64;

fn check_block(block: &[u8]) {
    let whole = snappy::decode(block, usize::MAX);
    check_snap_agrees(block, &whole);
    let mut used = decoder_after_others();
    for limit in LIMITS {
        let expected = match (snappy::declared_bytes(block), &whole) {
            (Err(_), _) => Err(SnappyError::Malformed),
            (Ok(declared), _) if declared > limit => Err(SnappyError::TooLong(declared)),
            (Ok(_), whole) => whole.clone(),
        };
        let allowed = limit.min(block.len().saturating_mul(GROWTH_MAX));
        let (decoded, peak) = MEMORY.peak_of(|| snappy::decode(block, limit));
        assert_eq!(decoded, expected, "limit {limit}");
        assert!(peak <= allowed, "{peak} bytes taken, limit {limit}");
        if let Err(SnappyError::TooLong(_)) = decoded {
            assert_eq!(peak, 0, "limit {limit}");
        }
        let kept = used.bytes();
        let (decoded, peak) = MEMORY.peak_of(|| used.decode(block, limit).map(<[u8]>::len));
        assert_eq!(decoded, expected.as_ref().map(Vec::len).map_err(|error| *error));
        assert!(peak <= allowed && used.bytes() <= kept.max(allowed), "{peak} bytes taken");
        assert_eq!(used.decode(block, limit).map(<[u8]>::to_vec), expected);
    }
    if let Ok(message) = &whole {
        check_encoded_again(message);
    }
    for protocol in [Protocol::V1, Protocol::V2] {
        check_points(protocol, block, &whole);
    }
}

/// One that has decoded something longer than most, and then failed.
fn decoder_after_others() -> Decoder {
    let mut decoder = Decoder::default();
    // 200 bytes: a zero, and copies of it.
    let block = [200, 1, 0, 0, 0xfe, 1, 0, 0xfe, 1, 0, 0xfe, 1, 0, 0x1a, 1, 0];
    assert_eq!(decoder.decode(&block, 200), Ok(&[0; 200][..]));
    assert_eq!(decoder.decode(&block[..block.len() - 1], 200), Err(SnappyError::Malformed));
    decoder
}

fn check_snap_agrees(block: &[u8], ours: &Result<Vec<u8>, SnappyError>) {
    let declared = snap::raw::decompress_len(block);
    assert_eq!(snappy::declared_bytes(block).ok(), declared.as_ref().ok().copied());
    match declared {
        Ok(declared) if declared > ASKED_BYTES_MAX => {
            // Too much for a block as short as these.
            assert!(block.len() < ASKED_BYTES_MAX / GROWTH_MAX);
            assert_eq!(*ours, Err(SnappyError::Malformed));
        }
        _ => {
            let theirs = snap::raw::Decoder::new().decompress_vec(block);
            assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok());
        }
    }
}

fn check_encoded_again(message: &[u8]) {
    let block = snappy::encode(message).expect("it is short");
    assert_eq!(snappy::declared_bytes(&block), Ok(message.len()));
    assert_eq!(snappy::decode(&block, message.len()).as_deref(), Ok(message));
    if let Some(less) = message.len().checked_sub(1) {
        assert_eq!(snappy::decode(&block, less), Err(SnappyError::TooLong(message.len())));
    }
}

fn check_points(protocol: Protocol, block: &[u8], whole: &Result<Vec<u8>, SnappyError>) {
    let counted = Counts::of_block(protocol, block, usize::MAX, &mut Decoder::default());
    let expected = match whole {
        Ok(message) => Counts::of(protocol, message).map_err(BodyError::Protobuf),
        Err(error) => Err(BodyError::Snappy(*error)),
    };
    assert_eq!(counted, expected);
    for limit in LIMITS {
        let mut decoded = Vec::new();
        let first_ms = first_timestamp(protocol, block, limit, &mut decoded);
        assert!(decoded.len() < limit.saturating_add(ELEMENT_BYTES_MAX), "limit {limit}");
        assert!(decoded.len() <= snappy::declared_bytes(block).unwrap_or(0));
        if limit == usize::MAX
            && let Ok(message) = whole
        {
            let again = snappy::encode(message).expect("it is short");
            assert_eq!(first_timestamp(protocol, &again, limit, &mut decoded), first_ms);
        }
    }
}
