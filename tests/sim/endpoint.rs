//! The storage: what it has, and what it thinks of it.

use std::collections::{BTreeMap, BTreeSet};

use highlander::wire::remote_write::protobuf::{Fields, take_varint};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;
use highlander::wire::remote_write::{snappy, v1};

use crate::sender::{Point, STALE, encode, replica_of, stamp};

/// How the endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// 503, nothing stored.
    Failing,
    /// Stores and does not answer.
    Mute,
    /// Neither.
    Gone,
    /// Answers late.
    Slow,
    /// 400, nothing stored, now or ever.
    Rejecting,
}

/// A sample and when the endpoint got it.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    pub at: i64,
    pub when: u64,
}

impl Stored {
    pub fn replica(&self) -> usize {
        replica_of(self.at)
    }
}

/// One series as the endpoint has it.
#[derive(Debug, Default)]
pub struct Series {
    /// In the order of arrival, without identical repeats.
    pub stored: Vec<Stored>,
    /// The times of all that was offered and not wanted.
    pub rejected: BTreeSet<i64>,
    times: BTreeSet<i64>,
    changes: usize,
}

#[derive(Debug)]
pub struct Endpoint {
    pub mood: Mood,
    pub series: BTreeMap<usize, Series>,
}

impl Endpoint {
    pub fn new() -> Endpoint {
        Endpoint { mood: Mood::Well, series: BTreeMap::new() }
    }

    /// Stores all of a request; an error is the first promise that this violates. The seat has changed
    /// hands so often that a series may have changed its voice `changes_max` times. A replica that has
    /// given the request up sends what is in it again: of that, what was not wanted may come late.
    pub fn store(
        &mut self,
        push: &Push,
        when: u64,
        changes_max: usize,
        given_up: Option<usize>,
    ) -> Result<(), String> {
        let mut violation = None;
        for point in read(push) {
            let series = self.series.entry(point.series).or_default();
            if !series.times.insert(point.at) {
                continue;
            }
            let new = Stored { at: point.at, when };
            if let Some(last) = series.stored.last() {
                if last.at > new.at {
                    let is_of_one = [last.replica(), new.replica()].map(Some) == [given_up; 2];
                    if is_of_one && series.rejected.contains(&new.at) {
                        continue;
                    }
                    let replica = new.replica();
                    violation
                        .get_or_insert(format!("P3/P4: {point:?} of {replica} after {last:?}"));
                }
                series.changes += usize::from(last.replica() != new.replica());
            }
            series.stored.push(new);
            if series.changes > changes_max {
                violation.get_or_insert(format!(
                    "P1: series {} changed its voice {} times, {changes_max} allowed",
                    point.series, series.changes
                ));
            }
        }
        violation.map_or(Ok(()), Err)
    }

    pub fn reject(&mut self, push: &Push) {
        for point in read(push) {
            self.series.entry(point.series).or_default().rejected.insert(point.at);
        }
    }
}

/// The samples of a request.
pub fn read(push: &Push) -> Vec<Point> {
    let body = snappy::decode(push.body(), 1 << 20).expect("the simulation writes it");
    match push.protocol() {
        Protocol::V1 => read_v1(&body),
        Protocol::V2 => read_v2(&body).expect("the simulation writes it"),
    }
}

fn read_v1(body: &[u8]) -> Vec<Point> {
    let mut all = Vec::new();
    v1::walk(body, &mut |series| {
        let number = series.labels().find(|(name, _)| *name == b"i").map(|(_, value)| value);
        let number = number.and_then(number_of).expect("the simulation writes it");
        all.extend(series.samples().map(|sample| point(number, sample.timestamp_ms, sample.value)));
    })
    .expect("the simulation writes it");
    all
}

fn read_v2(body: &[u8]) -> Option<Vec<Point>> {
    let fields: Vec<_> = Fields::of(body).collect::<Result<_, _>>().ok()?;
    let of = |wanted: u32| fields.iter().filter(move |(number, _)| *number == wanted);
    let symbols: Vec<&[u8]> = of(4).filter_map(|(_, value)| value.bytes().ok()).collect();
    let mut all = Vec::new();
    for (_, series) in of(5) {
        let mut labels = Vec::new();
        for field in Fields::of(series.bytes().ok()?) {
            let (number, value) = field.ok()?;
            let mut message = value.bytes().ok()?;
            if number == 1 {
                while !message.is_empty() {
                    labels.push(*symbols.get(take_varint(&mut message).ok()? as usize)?);
                }
                continue;
            }
            let sample: Vec<_> = Fields::of(message).collect::<Result<_, _>>().ok()?;
            let part = |wanted: u32| sample.iter().find(|it| it.0 == wanted).map(|it| it.1);
            let pair = labels.chunks(2).find(|pair| pair[0] == b"i")?;
            let value = part(1).map_or(Ok(0.0), |value| value.double()).ok()?;
            all.push(point(number_of(pair[1])?, part(2)?.int64().ok()?, value));
        }
    }
    Some(all)
}

fn number_of(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The value says whether the sample has come through unharmed.
fn point(series: usize, at: i64, value: f64) -> Point {
    let is_stale = value.to_bits() == STALE;
    assert!(is_stale || value as i64 == at, "a value was changed: {value} at {at}");
    Point { series, at, is_stale }
}

#[test]
fn only_what_a_replica_itself_has_overtaken_may_come_behind() {
    let point = |now, replica| Point { series: 0, at: stamp(now, replica), is_stale: false };
    let (early, late) = (point(1000, 1), point(2000, 1));
    let is_stored = |rejected: &[Point], last: Point, given_up| {
        let mut endpoint = Endpoint::new();
        endpoint.reject(&encode(rejected, Protocol::V1));
        endpoint.store(&encode(&[last], Protocol::V1), 2100, 9, None).expect("it is the first");
        endpoint.store(&encode(&[early], Protocol::V1), 2200, 9, given_up).is_ok()
    };
    assert!(is_stored(&[early], late, Some(1)), "it was told the end of the second try");
    assert!(!is_stored(&[early], late, None), "it waits for this one");
    assert!(!is_stored(&[], late, Some(1)), "no other try of it has come to an end");
    assert!(!is_stored(&[early], point(2000, 2), Some(1)), "another has spoken");
    assert!(!is_stored(&[early], late, Some(2)), "another has sent it");
}
