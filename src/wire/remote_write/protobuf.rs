//! The wire format of protocol buffers: varints and fields, no schema.
//!
//! A message is read as a flat walk over its fields that borrows from the body, because a request
//! may carry thousands of series and is looked at once. Groups, given up by the format long ago,
//! are refused: no remote write message has one.

use std::fmt;

/// The largest field number the format allows.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// A varint of 64 bits takes ten bytes, the last of which carries one bit.
const VARINT_BYTES_MAX: usize = 10;

/// What is wrong with a message. All of these are its sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtobufError {
    /// The message ends within a field.
    Truncated,
    /// A varint of more than 64 bits.
    OverlongVarint,
    /// A field with the number 0 or one beyond the format's bound.
    BadFieldNumber,
    /// A group, or a wire type that does not exist.
    BadWireType,
    /// A field known by its number has another type than it should.
    UnexpectedType,
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProtobufError::Truncated => "the message ends within a field",
            ProtobufError::OverlongVarint => "a varint is longer than 64 bits",
            ProtobufError::BadFieldNumber => "a field number is out of bounds",
            ProtobufError::BadWireType => "a field has an unknown wire type",
            ProtobufError::UnexpectedType => "a known field has an unexpected type",
        })
    }
}

impl std::error::Error for ProtobufError {}

/// The value of a field as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0: integers, booleans, enums.
    Varint(u64),
    /// Wire type 1: doubles and fixed integers, eight bytes.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages and packed lists.
    Bytes(&'a [u8]),
    /// Wire type 5: floats and fixed integers, four bytes.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a string or message, [`ProtobufError::UnexpectedType`] if it is neither.
    pub fn bytes(self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::UnexpectedType),
        }
    }

    /// An `int64`, [`ProtobufError::UnexpectedType`] if it is no varint.
    pub fn int64(self) -> Result<i64, ProtobufError> {
        match self {
            Value::Varint(bits) => Ok(bits.cast_signed()),
            _ => Err(ProtobufError::UnexpectedType),
        }
    }

    /// A `double`, its bits untouched; [`ProtobufError::UnexpectedType`] if it is not eight bytes.
    pub fn double(self) -> Result<f64, ProtobufError> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(ProtobufError::UnexpectedType),
        }
    }
}

/// The fields of one message, in the order they lie in it. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Walks over `message`; its bytes are looked at as the iterator advances.
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    /// The number of the next field and all of its bytes as they stand.
    pub fn next_whole(&mut self) -> Option<Result<(u32, &'a [u8]), ProtobufError>> {
        let before = self.rest;
        let field = self.next()?;
        let bytes = before.get(..before.len() - self.rest.len()).unwrap_or_default();
        Some(field.map(|(number, _)| (number, bytes)))
    }

    /// What has not been walked over yet; nothing after an error.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), ProtobufError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = take_field(&mut self.rest);
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[inline]
fn take_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), ProtobufError> {
    let tag = take_varint(rest)?;
    let number = match tag >> 3 {
        number @ 1..=FIELD_NUMBER_MAX => number as u32,
        _ => return Err(ProtobufError::BadFieldNumber),
    };
    let value = match tag & 7 {
        0 => Value::Varint(take_varint(rest)?),
        1 => Value::Fixed64(u64::from_le_bytes(take_array(rest)?)),
        2 => {
            let length = take_varint(rest)?;
            Value::Bytes(take_bytes(rest, length)?)
        }
        5 => Value::Fixed32(u32::from_le_bytes(take_array(rest)?)),
        _ => return Err(ProtobufError::BadWireType),
    };
    Ok((number, value))
}

/// Takes a varint off the front of `rest`, which an error leaves as it was.
#[inline]
pub fn take_varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    // Tags and most lengths are one byte.
    if let [byte @ ..0x80, after @ ..] = rest {
        *rest = after;
        return Ok(u64::from(*byte));
    }
    take_long_varint(rest)
}

#[inline]
fn take_long_varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut value = 0;
    for (index, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        if index == VARINT_BYTES_MAX - 1 && *byte > 1 {
            return Err(ProtobufError::OverlongVarint);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(ProtobufError::Truncated)
}

/// Takes `length` bytes off the front of `rest`, which an error leaves as it was.
#[inline]
pub fn take_bytes<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], ProtobufError> {
    let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
    *rest = after;
    Ok(bytes)
}

#[inline]
fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ProtobufError> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(ProtobufError::Truncated)?;
    *rest = after;
    Ok(*bytes)
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends an `int64` field; zero, the default, is left out as Prometheus does.
pub fn put_int64(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_tag(out, number, 0);
        put_varint(out, value.cast_unsigned());
    }
}

/// Appends a `double` field, every bit kept (a stale marker is a NaN with a meaning); only the
/// default, positive zero, is left out.
pub fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    if value.to_bits() != 0 {
        put_tag(out, number, 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Appends a string or message field, an empty one too.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    put_varint(out, u64::from(number) << 3 | wire_type);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, ProtobufError> {
        Fields::of(message).collect()
    }

    #[test]
    fn every_varint_is_read_as_it_was_written() {
        let values = (0..64).flat_map(|shift| [1 << shift, (1 << shift) - 1, u64::MAX >> shift]);
        for value in values {
            let mut written = Vec::new();
            put_varint(&mut written, value);
            let mut rest = written.as_slice();
            assert_eq!(take_varint(&mut rest), Ok(value));
            assert!(rest.is_empty(), "{value}");
            for end in 0..written.len() {
                assert_eq!(take_varint(&mut &written[..end]), Err(ProtobufError::Truncated));
            }
        }
    }

    #[test]
    fn a_varint_beyond_64_bits_is_refused() {
        let mut bytes = [0xff; 11];
        assert_eq!(take_varint(&mut bytes.as_slice()), Err(ProtobufError::OverlongVarint));
        bytes[9] = 0x02;
        assert_eq!(take_varint(&mut bytes.as_slice()), Err(ProtobufError::OverlongVarint));
        bytes[9] = 0x01;
        assert_eq!(take_varint(&mut bytes.as_slice()), Ok(u64::MAX));
    }

    #[test]
    fn fields_are_read_as_they_were_written_and_cut_anywhere_they_are_truncated() {
        let mut message = Vec::new();
        let mut borders = vec![0];
        put_int64(&mut message, 1, -7);
        borders.push(message.len());
        put_double(&mut message, 2, -0.0);
        borders.push(message.len());
        put_bytes(&mut message, FIELD_NUMBER_MAX as u32, b"max");
        borders.push(message.len());
        message.extend_from_slice(&[4 << 3 | 5, 1, 0, 0, 0]);
        borders.push(message.len());

        let all = fields(&message).expect("well-formed");
        let expected = [
            (1, Value::Varint((-7_i64).cast_unsigned())),
            (2, Value::Fixed64((-0.0_f64).to_bits())),
            (FIELD_NUMBER_MAX as u32, Value::Bytes(b"max")),
            (4, Value::Fixed32(1)),
        ];
        assert_eq!(all, expected);
        for end in 0..=message.len() {
            match borders.iter().position(|border| *border == end) {
                Some(count) => assert_eq!(fields(&message[..end]).as_deref(), Ok(&all[..count])),
                None => assert_eq!(fields(&message[..end]), Err(ProtobufError::Truncated)),
            }
        }
    }

    #[test]
    fn defaults_are_left_out_and_a_stale_marker_keeps_its_bits() {
        let mut message = Vec::new();
        put_int64(&mut message, 1, 0);
        put_double(&mut message, 1, 0.0);
        assert!(message.is_empty());
        let stale = 0x7ff0_0000_0000_0002;
        put_double(&mut message, 1, f64::from_bits(stale));
        assert_eq!(fields(&message), Ok(vec![(1, Value::Fixed64(stale))]));
    }

    #[test]
    fn a_bad_tag_is_refused_and_ends_the_walk() {
        let cases: [(&[u8], ProtobufError); 6] = [
            (&[0x00, 0x01], ProtobufError::BadFieldNumber),
            (&[0x80, 0x80, 0x80, 0x80, 0x10, 0x01], ProtobufError::BadFieldNumber),
            (&[1 << 3 | 3, 1 << 3 | 4], ProtobufError::BadWireType),
            (&[1 << 3 | 6], ProtobufError::BadWireType),
            (&[1 << 3 | 7], ProtobufError::BadWireType),
            (&[1 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], ProtobufError::Truncated),
        ];
        for (message, error) in cases {
            let mut walk = Fields::of(message);
            assert_eq!(walk.next(), Some(Err(error)), "{message:?}");
            assert_eq!(walk.next(), None, "{message:?}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_named_as_such() {
        assert_eq!(Value::Varint(1).bytes(), Err(ProtobufError::UnexpectedType));
        assert_eq!(Value::Bytes(b"").int64(), Err(ProtobufError::UnexpectedType));
        assert_eq!(Value::Fixed32(1).double(), Err(ProtobufError::UnexpectedType));
    }
}
