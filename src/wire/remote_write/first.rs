//! How old a request is, from its first few hundred bytes.
//!
//! This is asked of requests that are forwarded, so it must cost next to nothing: the block is
//! decoded a little at a time until the first sample is there. In version 1 that is after a few
//! hundred bytes; in version 2 the symbols of the whole request come first, some kilobytes.

use super::points::timestamp_ms;
use super::prefix::Prefix;
use super::protobuf::{Fields, take_varint};
use super::protocol::{Point, Protocol};

/// What is decoded at first: one series of version 1 with its labels.
const FIRST_BYTES: usize = 512;

/// How much more is decoded when that was not enough, as a factor. The search begins anew then,
/// which a factor of four makes cheap.
const MORE_TIMES: usize = 4;

/// The time of the first sample or histogram of a request, in milliseconds since 1970. `block` is
/// its snappy block or the front of one; of what it decodes to, no more than `decoded_bytes_max`
/// and a few more are looked at, in the memory lent as `decoded`. `None` if the first point is not
/// found there, if there is none, or if what comes before it is malformed.
pub fn first_timestamp(
    protocol: Protocol,
    block: &[u8],
    decoded_bytes_max: usize,
    decoded: &mut Vec<u8>,
) -> Option<i64> {
    let mut prefix = Prefix::of(block, decoded)?;
    let mut wanted = FIRST_BYTES.min(decoded_bytes_max);
    loop {
        let is_there = prefix.decode_until(wanted);
        if let Some(timestamp_ms) = first_in(protocol, prefix.decoded()) {
            return Some(timestamp_ms);
        }
        if !is_there || wanted == decoded_bytes_max {
            return None;
        }
        wanted = wanted.saturating_mul(MORE_TIMES).min(decoded_bytes_max);
    }
}

/// The time of the first sample or histogram in the front of a request.
fn first_in(protocol: Protocol, mut front: &[u8]) -> Option<i64> {
    let series_tag = u64::from(protocol.series_field()) << 3 | 2;
    loop {
        let mut inside = front;
        if take_varint(&mut inside).ok()? != series_tag {
            let mut fields = Fields::of(front);
            fields.next()?.ok()?;
            front = fields.rest();
            continue;
        }
        let length = usize::try_from(take_varint(&mut inside).ok()?).ok()?;
        // The series may go on behind the front; its first points are in sight nevertheless.
        let (series, after) = inside.split_at(length.min(inside.len()));
        if let Some(timestamp_ms) = first_of(protocol, series) {
            return Some(timestamp_ms);
        }
        front = after;
    }
}

fn first_of(protocol: Protocol, series: &[u8]) -> Option<i64> {
    for field in Fields::of(series) {
        let (number, value) = field.ok()?;
        match protocol.point(number) {
            None | Some(Point::Exemplar) => {}
            Some(point) => return timestamp_ms(value.bytes().ok()?, point).ok(),
        }
    }
    None
}
