//! Requests made up out of the fuzzer's bytes.
//!
//! What is said, which series and when, follows from the bytes decision by decision. How it is
//! written, with unknown fields and in unusual order, is left to the writer of the proxy's own
//! tests, of whose many ways the bytes name one.

use highlander::wire::remote_write::bodies::{MadeSeries, Random, STALE_MARKER, Style, write};
use highlander::wire::remote_write::protocol::{Point, Protocol};
use highlander::wire::remote_write::reference::{self, Labels};

use crate::choices::Choices;

/// Where most times lie: few enough that those of two requests meet.
const NEAR_MS: i64 = 1_700_000_000_000;

/// Series that a request is made of, one by one, at most.
const SERIES_MAX: u8 = 12;

/// How many series a crowd has: more and fewer than a watermark fetches together, than it holds
/// before it grows, and than a batch of a survey has.
const CROWDS: [i64; 4] = [20, 70, 170, 260];

/// Sets of labels, which requests that are to meet are made of.
#[derive(Clone, Debug)]
pub struct World {
    sets: Vec<Labels>,
}

/// A request, and which version it is of.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its version.
    pub protocol: Protocol,
    /// Decoded.
    pub bytes: Vec<u8>,
}

impl World {
    /// One to eight sets of labels.
    pub fn make(choices: &mut Choices<'_>) -> World {
        let count = 1 + choices.below(8);
        World { sets: (0..count).map(|_| labels(choices)).collect() }
    }

    /// Series of this world.
    pub fn series(&self, choices: &mut Choices<'_>) -> Vec<MadeSeries> {
        let mut all: Vec<MadeSeries> = (0..choices.below(SERIES_MAX + 1))
            .map(|_| MadeSeries { labels: self.set(choices), points: points(choices) })
            .collect();
        if choices.once_in(64) {
            self.crowd(choices, &mut all);
        }
        all
    }

    fn set(&self, choices: &mut Choices<'_>) -> Labels {
        self.sets[usize::from(choices.byte()) % self.sets.len()].clone()
    }

    /// Many series alike, but for a number among the labels and the time. They are small: each
    /// that is looked at costs the fuzzer a new try.
    fn crowd(&self, choices: &mut Choices<'_>, all: &mut Vec<MadeSeries>) {
        let mut like = MadeSeries { labels: self.set(choices), points: points(choices) };
        like.labels.truncate(1);
        like.points.truncate(2);
        for number in 0..choices.one_of(&CROWDS) {
            let mut series = like.clone();
            series.labels.push((b"number".to_vec(), number.to_string().into_bytes()));
            series.labels.sort();
            for (_, timestamp_ms, _) in &mut series.points {
                *timestamp_ms = timestamp_ms.saturating_add(number % 3 - 1);
            }
            all.push(series);
        }
    }
}

impl Body {
    /// A request of one of the two versions that says this.
    pub fn make(choices: &mut Choices<'_>, all: &[MadeSeries]) -> Body {
        let protocol = choices.one_of(&[Protocol::V1, Protocol::V2]);
        Body { protocol, bytes: written(choices, protocol, all) }
    }
}

/// A request of this version that says this. One of version 1 may begin with any of its parts: the
/// writer puts its metadata last.
pub fn written(choices: &mut Choices<'_>, protocol: Protocol, all: &[MadeSeries]) -> Vec<u8> {
    let style = choices.one_of(&[Style::Plain, Style::Strange, Style::Strange]);
    // One byte: the fewer ways there are, the more that is learned of each is of use.
    let random = &mut Random(u64::from(choices.byte()));
    let body = write(protocol, all, style, random);
    if protocol == Protocol::V2 || !choices.once_in(3) {
        return body;
    }
    let mut parts = reference::fields(&body).expect("well-formed");
    let first = usize::from(choices.byte()) % parts.len().max(1);
    parts.rotate_left(first);
    parts.into_iter().flat_map(|field| field.raw).collect()
}

/// Changes one to four places: bytes are put in another's place, taken out or put in.
pub fn spoil(choices: &mut Choices<'_>, body: &mut Vec<u8>) {
    for _ in 0..=choices.below(4) {
        let at = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
        let at = at % (body.len() + 1);
        let end = body.len().min(at + choices.below(4));
        let new = choices.below(4);
        body.splice(at..end, choices.text(new).iter().copied());
    }
}

fn labels(choices: &mut Choices<'_>) -> Labels {
    const NAMES: [&[u8]; 8] =
        [b"__name__", b"a", b"a\0", b"instance", b"job", b"le", b"namespace", b"pod"];
    const VALUES: [&[u8]; 4] = [b"", b"up", b"10.0.0.7:9090", b"+Inf"];
    // Around the sizes that are copied as a whole, and that take a byte more for their length.
    const LENGTHS: [usize; 10] = [1, 7, 8, 31, 32, 33, 64, 65, 127, 128];
    let text = |choices: &mut Choices<'_>, usual: &[&[u8]]| -> Vec<u8> {
        match choices.below(6) {
            0 => {
                let length = choices.below(12);
                choices.text(length).to_vec()
            }
            1 => vec![b'a' + choices.byte() % 3; choices.one_of(&LENGTHS)],
            _ => choices.one_of(usual).to_vec(),
        }
    };
    let count = choices.below(7);
    let mut labels: Labels =
        (0..count).map(|_| (text(choices, &NAMES), text(choices, &VALUES))).collect();
    // As senders write them, more often than not.
    if !choices.once_in(4) {
        labels.sort();
        labels.dedup_by(|one, other| one.0 == other.0);
    }
    labels
}

fn points(choices: &mut Choices<'_>) -> Vec<(Point, i64, u64)> {
    let count = choices.one_of(&[1, 1, 1, 1, 0, 2, 3, 5]);
    (0..count).map(|_| point(choices)).collect()
}

fn point(choices: &mut Choices<'_>) -> (Point, i64, u64) {
    let point = choices.one_of(&[
        Point::Sample,
        Point::Sample,
        Point::Sample,
        Point::Histogram,
        Point::Exemplar,
    ]);
    let timestamp_ms = match choices.byte() {
        near @ 0..240 => NEAR_MS + i64::from(near % 8),
        240..250 => choices.one_of(&[0, 1, -1, i64::MIN, i64::MAX, 127, 128, 1 << 40]),
        _ => choices.word().cast_signed(),
    };
    let bits = choices.one_of(&[1.5_f64.to_bits(), STALE_MARKER, 0, 1 << 63, u64::MAX]);
    (point, timestamp_ms, bits)
}
