//! What is left of a request once the samples that a watermark covers are taken out.
//!
//! Claims, for requests made up of few series, so that they meet, some of them with bytes changed:
//! * A watermark that has learned bodies, at once or merged of several, knows of each series the
//!   newest time in them, and no other series. Of a malformed body the batches before the fault.
//! * No sample or histogram passes that is not newer than the watermark, none is taken out that is,
//!   and an exemplar goes the way of its series: judged here point by point, and by the reference.
//! * All else stays byte for byte and in order: metadata, unknown fields, series that lose nothing
//!   and series without points. What is left is decoded again, and is shorter.
//! * What is left passes whole through the same watermark; once it was noted, no sample or histogram
//!   passes, and nothing is left of a request that had nothing but those.
//! * A malformed body is refused, and memory is a small multiple of the body.

#![no_main]

use std::collections::BTreeMap;

use highlander::logic::watermark::Watermark;
use highlander::wire::remote_write::error::BodyError;
use highlander::wire::remote_write::filter::{Filtered, Outcome};
use highlander::wire::remote_write::points::Counts;
use highlander::wire::remote_write::protocol::{Point, Protocol};
use highlander::wire::remote_write::reference::{self, Dated, Labels, Part, Series};
use highlander::wire::remote_write::series::{SeriesHasher, SeriesId};
use highlander::wire::remote_write::survey::Surveyor;
use highlander_fuzz::choices::Choices;
use highlander_fuzz::made::{Body, World, spoil};
use highlander_fuzz::memory::Counting;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Counting = Counting::new();

fuzz_target!(|bytes: &[u8]| {
    let choices = &mut Choices::of(bytes);
    let world = World::make(choices);
    let mut delivered = Delivered::default();
    for _ in 0..choices.below(4) {
        let all = world.series(choices);
        let body = Body::make(choices, &all);
        delivered.learn(&body, choices.once_in(2));
    }
    let all = world.series(choices);
    let mut body = Body::make(choices, &all);
    check_request(&mut delivered.clone(), &body);
    spoil(choices, &mut body.bytes);
    check_learned_in_part(&body);
    check_request(&mut delivered, &body);
});

/// More than a made body has, its labels written out included.
const DECODED_BYTES_MAX: usize = 4 << 20;

/// What filtering takes of memory whatever the body: a batch, and labels written out and sorted.
const FIXED_BYTES: usize = 512 << 10;

/// What a watermark takes for a series at most. It makes room for a whole batch before it knows
/// which series of the batch are new.
const ENTRY_BYTES_MAX: usize = 32;
const BATCH_SERIES: usize = 256;

fn hasher() -> SeriesHasher {
    SeriesHasher::new(7)
}

fn surveyor() -> Surveyor {
    Surveyor::new(hasher(), DECODED_BYTES_MAX)
}

/// What was delivered: the watermark, and the plain map that it is held against.
#[derive(Clone, Default)]
struct Delivered {
    watermark: Watermark,
    newest: BTreeMap<Labels, i64>,
}

impl Delivered {
    /// Notes a well-formed body, by itself and then merged, or in place.
    fn learn(&mut self, body: &Body, merged: bool) {
        let mut own = Watermark::new();
        let into = if merged { &mut own } else { &mut self.watermark };
        into.learn(body.protocol, &body.bytes, &mut surveyor()).expect("well-formed");
        self.watermark.merge(&own);
        let parts = reference::decode(body.protocol, &body.bytes).expect("well-formed");
        for series in parts.iter().filter_map(|(_, series)| series.as_ref()) {
            for point in series.points.iter().filter(|it| it.point != Point::Exemplar) {
                let newest = self.newest.entry(series.labels.clone());
                let newest_ms = newest.or_insert(point.timestamp_ms);
                *newest_ms = point.timestamp_ms.max(*newest_ms);
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.watermark.len(), self.newest.len());
        for (labels, newest_ms) in &self.newest {
            let id = reference::identity(&hasher(), labels);
            assert_eq!(self.watermark.newest(id), Some(*newest_ms));
        }
        let bytes_max = ENTRY_BYTES_MAX * (self.newest.len() + BATCH_SERIES);
        assert!(self.watermark.bytes() <= bytes_max, "{} bytes", self.watermark.bytes());
    }

    fn passes(&self, labels: &Labels, timestamp_ms: i64) -> bool {
        self.newest.get(labels).is_none_or(|newest_ms| timestamp_ms > *newest_ms)
    }

    fn filter(&self, body: &Body) -> Result<Outcome, BodyError> {
        self.watermark.filter(body.protocol, &body.bytes, &mut surveyor(), &mut Vec::new())
    }
}

fn check_request(delivered: &mut Delivered, body: &Body) {
    let (outcome, peak) = MEMORY.peak_of(|| delivered.filter(body));
    assert!(peak <= 6 * body.bytes.len() + FIXED_BYTES, "{peak} bytes taken");
    let Some(parts) = reference::decode(body.protocol, &body.bytes) else {
        assert!(outcome.is_err(), "malformed, and yet filtered");
        return;
    };
    let outcome = outcome.expect("well-formed");
    let passes = |labels: &Labels, timestamp_ms| delivered.passes(labels, timestamp_ms);
    assert_eq!(outcome, reference::filtered(body.protocol, &parts, &passes));
    check_point_by_point(delivered, body.protocol, &parts, &outcome.filtered);
    if let Filtered::New(left) = &outcome.filtered {
        assert!(left.len() < body.bytes.len());
    }
    check_again(delivered, body, &outcome, has_metadata(body.protocol, &parts));
}

/// What a series should come to: its points that stay.
fn staying<'s>(delivered: &Delivered, protocol: Protocol, series: &'s Series) -> Vec<&'s Dated> {
    let passes = |it: &Dated| delivered.passes(&series.labels, it.timestamp_ms);
    let (exemplars, dated): (Vec<&Dated>, Vec<&Dated>) =
        series.points.iter().partition(|it| it.point == Point::Exemplar);
    let mut stays: Vec<&Dated> = dated.iter().copied().filter(|it| passes(it)).collect();
    let exemplar_stays = |it: &Dated| match (stays.is_empty(), dated.is_empty()) {
        (false, _) => true,
        (true, false) if protocol == Protocol::V2 => false,
        (true, _) => passes(it),
    };
    let exemplars: Vec<&Dated> = exemplars.into_iter().filter(|it| exemplar_stays(it)).collect();
    stays.extend(exemplars);
    stays.sort_by_key(|it| it.index);
    stays
}

fn check_point_by_point(
    delivered: &Delivered,
    protocol: Protocol,
    parts: &[Part],
    filtered: &Filtered,
) {
    let points = |parts: &[Part]| -> usize {
        parts.iter().filter_map(|(_, it)| it.as_ref()).map(|it| it.points.len()).sum()
    };
    let kept = kept(delivered, protocol, parts);
    let left = match filtered {
        Filtered::AllNew => return assert_eq!(kept, points(parts)),
        Filtered::NothingNew => {
            return assert!(kept == 0 && points(parts) > 0 && !has_metadata(protocol, parts));
        }
        Filtered::New(left) => reference::decode(protocol, left).expect("well-formed"),
    };
    assert!(points(&left) == kept && kept < points(parts));
    assert!(kept > 0 || has_metadata(protocol, parts));
    let mut left = left.iter();
    for (field, series) in parts {
        let Some(series) = series else {
            assert_eq!(left.next().map(|(left, _)| &left.raw), Some(&field.raw));
            continue;
        };
        let stays = staying(delivered, protocol, series);
        if stays.len() == series.points.len() {
            assert_eq!(left.next().map(|(left, _)| &left.raw), Some(&field.raw));
        } else if !stays.is_empty() {
            let (_, left) = left.next().expect("a part of the series stays");
            check_shortened(series, &stays, left.as_ref().expect("it is a series"));
        }
    }
    assert_eq!(left.next(), None);
}

/// The fields of a series are all there but for the points that should not be.
fn check_shortened(series: &Series, stays: &[&Dated], left: &Series) {
    let goes = |index| {
        let is_point = series.points.iter().any(|it| it.index == index);
        is_point && !stays.iter().any(|it| it.index == index)
    };
    let fields = series.fields.iter().enumerate();
    let expected = fields.filter(|(index, _)| !goes(*index)).map(|(_, field)| field);
    assert!(left.fields.iter().eq(expected));
    assert_eq!(left.labels, series.labels);
}

/// How many points should stay.
fn kept(delivered: &Delivered, protocol: Protocol, parts: &[Part]) -> usize {
    let series = parts.iter().filter_map(|(_, series)| series.as_ref());
    series.map(|series| staying(delivered, protocol, series).len()).sum()
}

/// Metadata that belongs to no series.
fn has_metadata(protocol: Protocol, parts: &[Part]) -> bool {
    protocol == Protocol::V1 && parts.iter().any(|(field, _)| field.number == 3)
}

/// Filters what is left, and the same request again once that was noted.
fn check_again(delivered: &mut Delivered, body: &Body, outcome: &Outcome, has_metadata: bool) {
    let left = match &outcome.filtered {
        Filtered::NothingNew => None,
        Filtered::AllNew => Some(body.bytes.clone()),
        Filtered::New(left) => Some(left.clone()),
    };
    if let Some(bytes) = left {
        let left = Body { protocol: body.protocol, bytes };
        let again = delivered.filter(&left).expect("well-formed");
        assert_eq!((again.kept.dated(), again.skipped.dated()), (outcome.kept.dated(), 0));
        if outcome.kept.exemplars == 0 {
            assert_eq!(again.filtered, Filtered::AllNew);
        }
        delivered.learn(&left, false);
    }
    let (all, last) = (sum(outcome), delivered.filter(body).expect("well-formed"));
    assert_eq!(last.kept.dated(), 0);
    assert_eq!(sum(&last), all);
    if all.exemplars == 0 && !has_metadata {
        let expected = if all.is_empty() { Filtered::AllNew } else { Filtered::NothingNew };
        assert_eq!(last.filtered, expected);
    }
}

fn sum(outcome: &Outcome) -> Counts {
    let Outcome { kept, skipped, .. } = outcome;
    Counts {
        samples: kept.samples + skipped.samples,
        histograms: kept.histograms + skipped.histograms,
        exemplars: kept.exemplars + skipped.exemplars,
    }
}

/// Learns a body that may be malformed: then what the batches before the fault say is noted.
fn check_learned_in_part(body: &Body) {
    let mut watermark = Watermark::new();
    let learned = watermark.learn(body.protocol, &body.bytes, &mut surveyor());
    let mut newest: BTreeMap<SeriesId, i64> = BTreeMap::new();
    let walked = walk(body, &mut newest);
    assert_eq!(learned, walked);
    assert_eq!(watermark.len(), newest.len());
    for (id, newest_ms) in newest {
        assert_eq!(watermark.newest(id), Some(newest_ms));
    }
}

fn walk(body: &Body, newest: &mut BTreeMap<SeriesId, i64>) -> Result<(), BodyError> {
    let mut surveyor = surveyor();
    let mut survey = surveyor.open(body.protocol, &body.bytes)?;
    loop {
        let batch = survey.next_batch()?;
        if batch.is_empty() {
            return Ok(());
        }
        for mention in batch.iter().filter(|mention| mention.counts.dated() > 0) {
            let newest_ms = newest.entry(mention.id).or_insert(mention.newest_ms);
            *newest_ms = mention.newest_ms.max(*newest_ms);
        }
    }
}
