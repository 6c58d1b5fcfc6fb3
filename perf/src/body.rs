//! The bodies that are pushed: true remote write of an exact size, with a seal at its end.
//!
//! True, because the proxy may look into the first bytes of a body; of an exact size, because cost
//! is compared by size. The snappy block is one literal, so no compressor is needed and the size is
//! known beforehand; names are random, so that no proxy profits from bytes that repeat. The last
//! eight bytes are a seal over the length: when a stream slips by a byte, the sink sees it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::fault::{During, Fault};

/// The bytes at the end of a body that seal it.
pub const SEAL_BYTES: usize = 8;

/// Mixed into the seal, so that zeroed memory is not a seal.
const SEAL_KEY: u64 = 0x9e37_79b9_7f4a_7c15;

/// A literal's tag with three bytes of length behind it.
const LITERAL_TAG: u8 = 62 << 2;
const LITERAL_HEAD_BYTES: usize = 4;

/// Field 15 of a write request means nothing to anyone, so it may be filled at will.
const FILLER_FIELD: u8 = 15;
/// Key, one byte of length, seal.
const FILLER_BYTES_MIN: usize = 2 + SEAL_BYTES;

/// A remote write 1.0 request of exactly `body_bytes`, every series with one sample at
/// `timestamp_ms`. A size that no block can have, as one below 20, is filled with noise instead.
pub fn write_request(body_bytes: usize, timestamp_ms: u64) -> Vec<u8> {
    let mut state = body_bytes as u64;
    let mut body = block(body_bytes, timestamp_ms, &mut state).unwrap_or_else(|| {
        let words = std::iter::repeat_with(|| next_random(&mut state).to_le_bytes());
        words.flatten().take(body_bytes).collect()
    });
    if let Some(end) = body.last_chunk_mut::<SEAL_BYTES>() {
        *end = seal(body_bytes as u64);
    }
    body
}

/// The time of a sample taken now.
pub fn now_ms() -> Result<u64, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).during("the clock")?;
    u64::try_from(now.as_millis()).during("the clock")
}

/// What the last eight bytes of a body of this length are.
pub fn seal(body_bytes: u64) -> [u8; SEAL_BYTES] {
    (body_bytes ^ SEAL_KEY).to_le_bytes()
}

fn block(body_bytes: usize, timestamp_ms: u64, state: &mut u64) -> Option<Vec<u8>> {
    // The length's own length depends on the length: the right one of the few is searched for.
    let content_bytes = (1..=4).find_map(|varint_bytes| {
        let content_bytes = body_bytes.checked_sub(LITERAL_HEAD_BYTES + varint_bytes)?;
        (varint(content_bytes as u64).len() == varint_bytes).then_some(content_bytes)
    })?;
    let room = content_bytes.checked_sub(FILLER_BYTES_MIN)?;
    let literal_bytes = u32::try_from(content_bytes - 1).ok().filter(|bytes| *bytes < 1 << 24)?;

    let mut body = varint(content_bytes as u64);
    body.push(LITERAL_TAG);
    body.extend(&literal_bytes.to_le_bytes()[..3]);
    let series_bytes = series(timestamp_ms, state).len();
    for _ in 0..room / series_bytes {
        body.extend(series(timestamp_ms, state));
    }
    let filler_bytes = body_bytes - body.len() - 2;
    // Its length takes one byte because a series is shorter than 118.
    body.extend(field(FILLER_FIELD, &vec![0; filler_bytes]));
    assert_eq!(body.len(), body_bytes, "every part has the length that was planned");
    Some(body)
}

/// How many series a request of so many bytes has.
pub fn series_count(body_bytes: usize) -> usize {
    let room = body_bytes.saturating_sub(2 * LITERAL_HEAD_BYTES + FILLER_BYTES_MIN);
    room / series(1_700_000_000_000, &mut 0).len()
}

/// A series with a random name and one sample, always of the same length.
fn series(timestamp_ms: u64, state: &mut u64) -> Vec<u8> {
    let mut label = |name: &str| {
        let value = format!("perf_{:016x}", next_random(state));
        field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
    };
    let labels = [label("__name__"), label("instance")].concat();
    let mut sample = vec![0x09];
    sample.extend(1f64.to_le_bytes());
    sample.push(0x10);
    sample.extend(varint(timestamp_ms));
    field(1, &[labels, field(2, &sample)].concat())
}

/// A length-delimited protobuf field.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// A number as protobuf writes it.
pub fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// SplitMix64: enough for bytes that do not repeat.
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(SEAL_KEY);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_770_000_000_000;

    #[test]
    fn every_size_is_exact_and_ends_in_its_seal() {
        for body_bytes in (0..3000).chain([32_768, 102_400]) {
            let body = write_request(body_bytes, NOW_MS);
            assert_eq!(body.len(), body_bytes);
            assert!(body_bytes < SEAL_BYTES || body.ends_with(&seal(body_bytes as u64)));
        }
    }

    #[test]
    fn the_usual_sizes_are_snappy_blocks_of_length_delimited_fields() {
        for (body_bytes, series_min) in [(256, 1), (2048, 15), (32_768, 300), (102_400, 1000)] {
            let body = write_request(body_bytes, NOW_MS);
            let content = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
            let mut rest: &[u8] = &content;
            let mut series = 0;
            while let [key, length, tail @ ..] = rest {
                assert!(*length < 0x80, "a length of one byte");
                series += usize::from(*key == 1 << 3 | 2);
                assert!(*key == 1 << 3 | 2 || *key == FILLER_FIELD << 3 | 2);
                rest = &tail[usize::from(*length)..];
            }
            assert!(rest.is_empty());
            assert!(series >= series_min, "{series} series in {body_bytes} bytes");
        }
    }
}
