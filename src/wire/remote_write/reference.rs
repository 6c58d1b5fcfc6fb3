//! The slow, obvious reading of remote write that the fast one is held against.
//!
//! It shares no parsing with the rest: it copies everything into plain values and looks at each of
//! them. [`check`] asserts that the fast code sees in a body, well-formed or not, what this sees.
//! Unit tests call it with made-up bodies, fuzz targets with anything.

use std::collections::BTreeMap;

use super::filter::{Filtered, Outcome, filter};
use super::first::first_timestamp;
use super::points::{Counts, newest_timestamp};
use super::protocol::{Point, Protocol};
use super::series::{SeriesHasher, SeriesId};
use super::snappy;
use super::survey::Surveyor;

/// Sorted label pairs: the identity of a series that no hash can confuse.
pub type Labels = Vec<(Vec<u8>, Vec<u8>)>;

/// The value of a field, as far as its type tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Varint(u64),
    /// Bytes, a string, a message or a packed list.
    Bytes(Vec<u8>),
    /// Four or eight bytes.
    Fixed,
}

/// A field: its number, its value, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its number.
    pub number: u64,
    /// Its value.
    pub value: Value,
    /// All of its bytes.
    pub raw: Vec<u8>,
}

/// A point of a series: what it is, its time, and which field of the series it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Dated {
    /// What it is.
    pub point: Point,
    /// Its time.
    pub timestamp_ms: i64,
    /// How many fields of the series come before it.
    pub index: usize,
}

/// A series of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels; none if it has no points, for then they do not matter.
    pub labels: Labels,
    /// Its points in the order of the body.
    pub points: Vec<Dated>,
    /// All of its fields.
    pub fields: Vec<Field>,
}

/// A field of a request, which may be a series.
pub type Part = (Field, Option<Series>);

/// All fields of a message, `None` if it is malformed.
pub fn fields(message: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < message.len() {
        let start = at;
        let tag = varint(message, &mut at)?;
        let number = tag >> 3;
        if number == 0 || number > (1 << 29) - 1 {
            return None;
        }
        let (is_bytes, length) = match tag & 7 {
            0 => {
                let value = Value::Varint(varint(message, &mut at)?);
                fields.push(Field { number, value, raw: message.get(start..at)?.to_vec() });
                continue;
            }
            1 => (false, 8),
            2 => (true, varint(message, &mut at)?),
            5 => (false, 4),
            _ => return None,
        };
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        let taken = message.get(at..end)?.to_vec();
        let value = if is_bytes { Value::Bytes(taken) } else { Value::Fixed };
        at = end;
        fields.push(Field { number, value, raw: message.get(start..at)?.to_vec() });
    }
    Some(fields)
}

fn varint(message: &[u8], at: &mut usize) -> Option<u64> {
    let mut value: u128 = 0;
    for index in 0..10 {
        let byte = *message.get(*at)?;
        *at += 1;
        value |= u128::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return u64::try_from(value).ok();
        }
    }
    None
}

fn bytes(field: &Field) -> Option<&[u8]> {
    match &field.value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Varint(_) | Value::Fixed => None,
    }
}

/// All parts of a decoded request in order, `None` if it is malformed.
pub fn decode(protocol: Protocol, body: &[u8]) -> Option<Vec<Part>> {
    let fields = fields(body)?;
    let mut symbols = Vec::new();
    if protocol == Protocol::V2 {
        for field in fields.iter().filter(|field| field.number == 4) {
            symbols.push(bytes(field)?.to_vec());
        }
    }
    let series_number = if protocol == Protocol::V1 { 1 } else { 5 };
    let part = |field: Field| {
        let series = match field.number == series_number {
            true => Some(series(protocol, bytes(&field)?, &symbols)?),
            false => None,
        };
        Some((field, series))
    };
    fields.into_iter().map(part).collect()
}

fn series(protocol: Protocol, message: &[u8], symbols: &[Vec<u8>]) -> Option<Series> {
    let all = fields(message)?;
    let mut points = Vec::new();
    for (index, field) in all.iter().enumerate() {
        let (point, time_number) = match (protocol, field.number) {
            (_, 2) => (Point::Sample, 2),
            (Protocol::V1, 4) | (Protocol::V2, 3) => (Point::Histogram, 15),
            (Protocol::V1, 3) | (Protocol::V2, 4) => (Point::Exemplar, 3),
            _ => continue,
        };
        let mut timestamp_ms = 0;
        for field in fields(bytes(field)?)? {
            match field.value {
                Value::Varint(bits) if field.number == time_number => timestamp_ms = bits as i64,
                _ if field.number == time_number => return None,
                _ => {}
            }
        }
        points.push(Dated { point, timestamp_ms, index });
    }
    let mut labels = match (points.is_empty(), protocol) {
        (true, _) => Labels::new(),
        (false, Protocol::V1) => labels_v1(&all)?,
        (false, Protocol::V2) => labels_v2(&all, symbols)?,
    };
    labels.sort();
    Some(Series { labels, points, fields: all })
}

fn labels_v1(series: &[Field]) -> Option<Labels> {
    let label = |field: &Field| {
        let mut label = (Vec::new(), Vec::new());
        for field in fields(bytes(field)?)? {
            match field.number {
                1 => label.0 = bytes(&field)?.to_vec(),
                2 => label.1 = bytes(&field)?.to_vec(),
                _ => {}
            }
        }
        Some(label)
    };
    series.iter().filter(|field| field.number == 1).map(label).collect()
}

fn labels_v2(series: &[Field], symbols: &[Vec<u8>]) -> Option<Labels> {
    let mut texts = Vec::new();
    for field in series.iter().filter(|field| field.number == 1) {
        let mut numbers = Vec::new();
        match &field.value {
            Value::Varint(number) => numbers.push(*number),
            Value::Bytes(packed) => {
                let mut at = 0;
                while at < packed.len() {
                    numbers.push(varint(packed, &mut at)?);
                }
            }
            Value::Fixed => return None,
        }
        for number in numbers {
            texts.push(symbols.get(usize::try_from(number).ok()?)?.clone());
        }
    }
    let pair = |pair: &[Vec<u8>]| Some((pair.first()?.clone(), pair.get(1)?.clone()));
    texts.chunks(2).map(pair).collect()
}

/// What must be left of a request, and how many points pass, by the rule of each point.
pub fn filtered(
    protocol: Protocol,
    parts: &[Part],
    passes: &dyn Fn(&Labels, i64) -> bool,
) -> Outcome {
    let mut body = Vec::new();
    let (mut kept, mut skipped) = (Counts::default(), Counts::default());
    let mut has_metadata = false;
    for (field, series) in parts {
        has_metadata |= protocol == Protocol::V1 && field.number == 3;
        let Some(series) = series else {
            body.extend_from_slice(&field.raw);
            continue;
        };
        let stays = staying(protocol, series, passes);
        for (point, stays) in series.points.iter().zip(&stays) {
            count(if *stays { &mut kept } else { &mut skipped }, point.point);
        }
        if stays.iter().all(|stays| *stays) {
            body.extend_from_slice(&field.raw);
        } else if stays.iter().any(|stays| *stays) {
            let goes = |index| {
                let points = series.points.iter().zip(&stays);
                points.clone().any(|(point, stays)| point.index == index && !stays)
            };
            let left = series.fields.iter().enumerate().filter(|(index, _)| !goes(*index));
            let left: Vec<u8> = left.flat_map(|(_, field)| field.raw.clone()).collect();
            super::protobuf::put_bytes(&mut body, field.number as u32, &left);
        }
    }
    let filtered = match (skipped == Counts::default(), kept == Counts::default()) {
        (true, _) => Filtered::AllNew,
        (false, true) if !has_metadata => Filtered::NothingNew,
        (false, _) => Filtered::New(body),
    };
    Outcome { filtered, kept, skipped }
}

/// Of each point of a series, whether it stays.
fn staying(
    protocol: Protocol,
    series: &Series,
    passes: &dyn Fn(&Labels, i64) -> bool,
) -> Vec<bool> {
    let pass = |it: &Dated| passes(&series.labels, it.timestamp_ms);
    let dated = || series.points.iter().filter(|it| it.point != Point::Exemplar);
    let one_stays = dated().any(pass);
    let all_went = dated().count() > 0 && !one_stays;
    let stays = |it: &Dated| match it.point {
        Point::Sample | Point::Histogram => pass(it),
        Point::Exemplar => one_stays || (pass(it) && !(all_went && protocol == Protocol::V2)),
    };
    series.points.iter().map(stays).collect()
}

fn count(counts: &mut Counts, point: Point) {
    match point {
        Point::Sample => counts.samples += 1,
        Point::Histogram => counts.histograms += 1,
        Point::Exemplar => counts.exemplars += 1,
    }
}

/// Asserts that the fast code agrees with this one about a body, well-formed or not. Of each
/// series, what is not newer than `newest_ms` says is to be filtered out. Gives what is left, or
/// `None` if the body is malformed.
pub fn check(
    protocol: Protocol,
    body: &[u8],
    newest_ms: impl Fn(&Labels) -> Option<i64>,
) -> Option<Outcome> {
    let hasher = SeriesHasher::new(1);
    let mut surveyor = Surveyor::new(hasher.clone(), 1 << 26);
    let parts = decode(protocol, body);
    let all_series = || parts.iter().flatten().filter_map(|(_, series)| series.as_ref());
    let identified: BTreeMap<SeriesId, &Labels> =
        all_series().map(|it| (identity(&hasher, &it.labels), &it.labels)).collect();

    let passes = |labels: &Labels, ms| newest_ms(labels).is_none_or(|newest_ms| ms > newest_ms);
    let outcome = filter(protocol, body, &mut surveyor, |id, ms| match identified.get(&id) {
        Some(labels) => passes(labels, ms),
        None => parts.is_none() || panic!("a series that is not in the body"),
    });
    let Some(parts) = &parts else {
        assert!(outcome.is_err(), "malformed, and yet filtered");
        return None;
    };
    let outcome = outcome.expect("well-formed");
    assert_eq!(outcome, filtered(protocol, parts, &passes));

    let points = || all_series().flat_map(|series| series.points.iter());
    let mut counts = Counts::default();
    points().for_each(|it| count(&mut counts, it.point));
    assert_eq!(Counts::of(protocol, body), Ok(counts));
    let dated: Vec<i64> =
        points().filter(|it| it.point != Point::Exemplar).map(|it| it.timestamp_ms).collect();
    assert_eq!(newest_timestamp(protocol, body), Ok(dated.iter().max().copied()));

    let block = snappy::encode(body).expect("a small message");
    assert_eq!(first(protocol, &block, body.len()), dated.first().copied());
    // Of a large body only some of the prefixes, or a body would take a second.
    for end in (0..block.len()).step_by(1 + block.len() / 64) {
        let found = first(protocol, &block[..end], body.len());
        assert!(found.is_none() || found == dated.first().copied(), "cut at {end}");
    }
    Some(outcome)
}

/// The identity of a series by its labels, for comparing with what a body gave.
pub fn identity(hasher: &SeriesHasher, labels: &Labels) -> SeriesId {
    let mut pairs: Vec<(&[u8], &[u8])> =
        labels.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    hasher.of(&mut pairs)
}

fn first(protocol: Protocol, block: &[u8], decoded_bytes_max: usize) -> Option<i64> {
    first_timestamp(protocol, block, decoded_bytes_max, &mut Vec::new())
}
