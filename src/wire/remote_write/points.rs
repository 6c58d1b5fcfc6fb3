//! The points of a series, what they have in common: they can be counted, and each has a time.
//!
//! Counting and dating look at no label: a request that is held must be answered with exact counts,
//! and that is most of what is ever done to a standby's request.

use super::error::BodyError;
use super::protobuf::{Fields, ProtobufError};
use super::protocol::{Point, Protocol};
use super::snappy::Decoder;

/// How many points of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Float samples.
    pub samples: u32,
    /// Native histograms.
    pub histograms: u32,
    /// Exemplars.
    pub exemplars: u32,
}

impl Counts {
    /// What a decoded request carries.
    pub fn of(protocol: Protocol, body: &[u8]) -> Result<Counts, ProtobufError> {
        let mut counts = Counts::default();
        for series in all_series(protocol, body) {
            for field in Fields::of(after_labels(series?)) {
                if let Some(point) = protocol.point(field?.0) {
                    counts.add_some(point, 1);
                }
            }
        }
        Ok(counts)
    }

    /// What a request carries, as it was received. It is decoded into the memory of `decoder`.
    pub fn of_block(
        protocol: Protocol,
        block: &[u8],
        decoded_bytes_max: usize,
        decoder: &mut Decoder,
    ) -> Result<Counts, BodyError> {
        let body = decoder.decode(block, decoded_bytes_max)?;
        Ok(Counts::of(protocol, body)?)
    }

    /// Samples and histograms: what makes a series go on.
    pub fn dated(&self) -> u32 {
        self.samples + self.histograms
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }

    // A body is shorter than 4 GiB and no point takes less than two bytes, so nothing overflows
    // within one.

    #[inline]
    pub(super) fn add_some(&mut self, point: Point, count: u32) {
        match point {
            Point::Sample => self.samples += count,
            Point::Histogram => self.histograms += count,
            Point::Exemplar => self.exemplars += count,
        }
    }

    pub(super) fn add(&mut self, more: Counts) {
        self.samples += more.samples;
        self.histograms += more.histograms;
        self.exemplars += more.exemplars;
    }

    pub(super) fn without(self, part: Counts) -> Counts {
        Counts {
            samples: self.samples - part.samples,
            histograms: self.histograms - part.histograms,
            exemplars: self.exemplars - part.exemplars,
        }
    }
}

/// The newest time of all samples and histograms of a decoded request, in milliseconds since 1970;
/// `None` if there are none.
pub fn newest_timestamp(protocol: Protocol, body: &[u8]) -> Result<Option<i64>, ProtobufError> {
    let mut newest_ms = None;
    for_each_time(protocol, body, |timestamp_ms| newest_ms = newest_ms.max(Some(timestamp_ms)))?;
    Ok(newest_ms)
}

/// What times a request spans, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its oldest sample or histogram.
    pub oldest_ms: i64,
    /// Its newest.
    pub newest_ms: i64,
    /// The longest time in which it has none.
    pub gap_ms: u64,
    /// When that was over.
    pub gap_to_ms: i64,
}

impl Span {
    /// Of a request as it was received, which is decoded into the memory of `decoder`; `None` if it
    /// has no samples and no histograms. `times` is scratch.
    pub fn of_block(
        protocol: Protocol,
        block: &[u8],
        decoded_bytes_max: usize,
        decoder: &mut Decoder,
        times: &mut Vec<i64>,
    ) -> Result<Option<Span>, BodyError> {
        let body = decoder.decode(block, decoded_bytes_max)?;
        times.clear();
        for_each_time(protocol, body, |timestamp_ms| times.push(timestamp_ms))?;
        times.sort_unstable();
        let ends = times.first().copied().zip(times.last().copied());
        Ok(ends.map(|(oldest_ms, newest_ms)| {
            let gaps = times.windows(2).map(|pair| (pair[1].abs_diff(pair[0]), pair[1]));
            let (gap_ms, gap_to_ms) = gaps.max().unwrap_or((0, oldest_ms));
            Span { oldest_ms, newest_ms, gap_ms, gap_to_ms }
        }))
    }
}

fn for_each_time(
    protocol: Protocol,
    body: &[u8],
    mut visit: impl FnMut(i64),
) -> Result<(), ProtobufError> {
    for series in all_series(protocol, body) {
        for field in Fields::of(after_labels(series?)) {
            let (number, value) = field?;
            match protocol.point(number) {
                None | Some(Point::Exemplar) => {}
                Some(point) => visit(timestamp_ms(value.bytes()?, point)?),
            }
        }
    }
    Ok(())
}

fn all_series(
    protocol: Protocol,
    body: &[u8],
) -> impl Iterator<Item = Result<&[u8], ProtobufError>> {
    Fields::of(body).filter_map(move |field| match field {
        Ok((number, value)) if number == protocol.series_field() => Some(value.bytes()),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// What follows the labels at the front of a series: they are most of a version 1 request, and all
/// that must be known of one here is its length.
#[inline]
fn after_labels(series: &[u8]) -> &[u8] {
    const LABEL: u8 = 1 << 3 | 2;
    let mut rest = series;
    while let [LABEL, length @ ..0x80, label @ ..] = rest
        && let Some(after) = label.get(usize::from(*length)..)
    {
        rest = after;
    }
    rest
}

/// The time of a point, 0 if it says none.
#[inline]
pub(super) fn timestamp_ms(message: &[u8], point: Point) -> Result<i64, ProtobufError> {
    if let (Point::Sample, Some(timestamp_ms)) = (point, plain_timestamp_ms(message)) {
        return Ok(timestamp_ms);
    }
    let mut timestamp_ms = 0;
    for field in Fields::of(message) {
        let (number, value) = field?;
        if number == point.timestamp_field() {
            timestamp_ms = value.int64()?;
        }
    }
    Ok(timestamp_ms)
}

/// The time of a sample that is written as senders write it: the value, the time, nothing else.
/// That is nearly every sample, and the time's six bytes are read at once instead of one by one.
#[inline]
fn plain_timestamp_ms(message: &[u8]) -> Option<i64> {
    const VALUE: u8 = 1 << 3 | 1;
    const TIME: u8 = 2 << 3;
    let [VALUE, _, _, _, _, _, _, _, _, TIME, time @ ..] = message else { return None };
    let beyond_bits = match time.len() {
        bytes @ 1..=8 => 64 - 8 * bytes,
        _ => return None,
    };
    let varint = u64::from_le_bytes(*message.last_chunk()?) >> beyond_bits;
    // Each byte but the last says that another one follows.
    if varint & 0x8080_8080_8080_8080 != 0x0080_8080_8080_8080 >> beyond_bits {
        return None;
    }
    // Seven bits of each byte; neighbours move together, then pairs, then fours.
    let sevens = varint & 0x7f7f_7f7f_7f7f_7f7f;
    let pairs = (sevens & 0x007f_007f_007f_007f) | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let whole = (fours & 0x0000_0000_0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4;
    Some(whole.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::{put_bytes, put_double, put_int64, put_varint};
    use super::*;

    fn sample(value: f64, timestamp_ms: i64) -> Vec<u8> {
        let mut message = Vec::new();
        put_double(&mut message, 1, value);
        put_int64(&mut message, 2, timestamp_ms);
        message
    }

    #[test]
    fn a_time_of_any_size_is_read_as_it_was_written() {
        let near = |bit: u32| [(1_i64 << bit) - 1, 1 << bit, -(1 << bit)];
        let times = (0..63).flat_map(near).chain([i64::MIN, i64::MAX, 1_700_000_000_000]);
        for timestamp_ms in times {
            for value in [0.0, 1.5] {
                let message = sample(value, timestamp_ms);
                let read = super::timestamp_ms(&message, Point::Sample);
                assert_eq!(read, Ok(timestamp_ms), "{message:?}");
            }
        }
    }

    #[test]
    fn the_last_time_counts_and_one_in_more_bytes_than_it_needs_is_read_too() {
        let mut twice = sample(1.5, 77);
        put_int64(&mut twice, 2, 1_700_000_000_000);
        assert_eq!(timestamp_ms(&twice, Point::Sample), Ok(1_700_000_000_000));
        let mut padded = sample(1.5, 0);
        padded.extend_from_slice(&[2 << 3, 0x85, 0x80, 0x80, 0x00]);
        assert_eq!(timestamp_ms(&padded, Point::Sample), Ok(5));
        let mut more = sample(1.5, 5);
        put_int64(&mut more, 3, 1_700_000_000_000);
        assert_eq!(timestamp_ms(&more, Point::Sample), Ok(5));
    }

    #[test]
    fn a_point_cut_at_any_byte_is_truncated_or_without_its_time() {
        let message = sample(1.5, 1_700_000_000_000);
        for end in 0..message.len() {
            let expected = match end {
                0 | 9 => Ok(0),
                _ => Err(ProtobufError::Truncated),
            };
            assert_eq!(timestamp_ms(&message[..end], Point::Sample), expected, "{end}");
        }
    }

    #[test]
    fn points_are_counted_by_kind_and_dated_without_exemplars() {
        for (protocol, histogram, exemplar) in [(Protocol::V1, 4, 3), (Protocol::V2, 3, 4)] {
            let dated = |field, timestamp_ms| {
                let mut message = Vec::new();
                put_int64(&mut message, field, timestamp_ms);
                message
            };
            let mut series = Vec::new();
            put_bytes(&mut series, 2, &dated(2, 5));
            put_bytes(&mut series, 2, &dated(2, -5));
            put_bytes(&mut series, histogram, &dated(15, 9));
            put_bytes(&mut series, exemplar, &dated(3, 100));
            put_bytes(&mut series, 77, b"later");
            let mut body = Vec::new();
            put_bytes(&mut body, protocol.series_field(), &[]);
            put_bytes(&mut body, protocol.series_field(), &series);
            put_varint(&mut body, 77 << 3);
            put_varint(&mut body, 1);

            let counts = Counts { samples: 2, histograms: 1, exemplars: 1 };
            assert_eq!(Counts::of(protocol, &body), Ok(counts));
            assert_eq!(newest_timestamp(protocol, &body), Ok(Some(9)));
            assert_eq!(newest_timestamp(protocol, &[]), Ok(None));
            let block = super::super::snappy::encode(&body).expect("a small message");
            let mut decoder = Decoder::default();
            let counted = Counts::of_block(protocol, &block, body.len(), &mut decoder);
            assert_eq!(counted, Ok(counts));
            let times = &mut Vec::new();
            let span = Span::of_block(protocol, &block, body.len(), &mut decoder, times);
            let expected = Span { oldest_ms: -5, newest_ms: 9, gap_ms: 10, gap_to_ms: 5 };
            assert_eq!(span, Ok(Some(expected)));
            let refused = Counts::of_block(protocol, &block, body.len() - 1, &mut decoder);
            assert!(refused.is_err());
        }
    }
}
