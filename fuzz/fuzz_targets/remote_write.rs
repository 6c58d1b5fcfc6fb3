//! A decoded remote write request, of either version: who is spoken of and when.
//!
//! Claims, for any bytes, for requests that were made up, and for those with bytes changed:
//! * Nothing panics, and a survey takes no more memory than its limit allows, whatever the body
//!   refers to. It refuses for a bound only what is beyond it, and nothing that is within.
//! * The survey tells what the slow reference finds: the series that carry a point, in order, each
//!   with its identity, its counts and its newest time. A surveyor that was used before tells the
//!   same. Counts, newest time, first time and filter agree too, and so do refusals.
//! * The schemas read it alike. Only groups, references to nothing, and what is wrong with labels of
//!   series without a point divide the two.
//! * A made request tells the series that it was made of, the same in both versions.

#![no_main]

use std::collections::BTreeMap;

use highlander::wire::remote_write::error::BodyError;
use highlander::wire::remote_write::first::first_timestamp;
use highlander::wire::remote_write::points::{Counts, newest_timestamp};
use highlander::wire::remote_write::protobuf::ProtobufError;
use highlander::wire::remote_write::protocol::{Point, Protocol};
use highlander::wire::remote_write::reference::{self, Labels};
use highlander::wire::remote_write::series::{SeriesHasher, SeriesId};
use highlander::wire::remote_write::snappy;
use highlander::wire::remote_write::survey::{Mention, Surveyor};
use highlander_fuzz::choices::Choices;
use highlander_fuzz::cuts;
use highlander_fuzz::made::{Body, World, spoil, written};
use highlander_fuzz::memory::Counting;
use highlander_fuzz::schema::{self, Request};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Counting = Counting::new();

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let turn = usize::from(how / 4);
    let choices = &mut Choices::of(rest);
    match how % 4 {
        0 => drop(check_body(Protocol::V1, rest, turn)),
        1 => drop(check_body(Protocol::V2, rest, turn)),
        2 => check_made(choices, turn),
        _ => {
            let all = World::make(choices).series(choices);
            let mut body = Body::make(choices, &all);
            spoil(choices, &mut body.bytes);
            check_body(body.protocol, &body.bytes, turn);
        }
    }
});

/// Bodies that take more than this are only held against the bounds: the slow readings have none.
const DECODED_BYTES_MAX: usize = 1 << 20;

/// Low enough to be met often.
const LOW_BYTES_MAX: usize = 1 << 14;

/// What a survey takes whatever its limit.
const BATCH_BYTES: usize = 256 * size_of::<Mention>();

/// As the survey says of itself: labels out of order, and what a label takes beyond its text.
const LABELS_MAX: usize = 4096;
const LABEL_OVERHEAD_BYTES: usize = 18;
const SYMBOL_BYTES: usize = 8;

fn hasher() -> SeriesHasher {
    SeriesHasher::new(7)
}

/// All mentions of a body.
fn survey(
    surveyor: &mut Surveyor,
    protocol: Protocol,
    body: &[u8],
) -> Result<Vec<Mention>, BodyError> {
    let mut survey = surveyor.open(protocol, body)?;
    let mut all = Vec::new();
    loop {
        let batch = survey.next_batch()?;
        if batch.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(batch);
    }
}

fn is_bound(error: BodyError) -> bool {
    use BodyError::{LabelsTooLong, TooManyLabels, TooManySymbols};
    matches!(error, TooManySymbols | TooManyLabels | LabelsTooLong)
}

/// What a mention says, for comparing.
fn said(all: &[Mention]) -> Vec<(SeriesId, Counts, i64)> {
    all.iter().map(|it| (it.id, it.counts, it.newest_ms)).collect()
}

/// Gives the mentions of a body that is well-formed and within the bounds.
fn check_body(protocol: Protocol, body: &[u8], turn: usize) -> Option<Vec<Mention>> {
    let request = Request::read(protocol, body);
    let mut surveyor = Surveyor::new(hasher(), DECODED_BYTES_MAX);
    let surveyed = survey(&mut surveyor, protocol, body);
    check_bounds(protocol, DECODED_BYTES_MAX, request.as_ref(), surveyed.as_deref());
    check_low_limit(protocol, body, request.as_ref(), surveyed.as_deref());
    check_anything(protocol, body);
    if let Err(error) = surveyed
        && is_bound(error)
    {
        return None;
    }
    let again = survey(&mut surveyor, protocol, body);
    if again.as_ref().err() != Some(&BodyError::LabelsTooLong) {
        assert_eq!(again.as_deref().map(said), surveyed.as_deref().map(said));
    }
    check_reference_agrees(protocol, body, surveyed.as_deref(), turn);
    check_schema_agrees(protocol, body, request.as_ref(), surveyed.as_deref());
    surveyed.ok()
}

/// Whether a survey went wrong for a bound if, and only if, the bound was met. Between what the
/// labels have in text and what they may take written out, either is right.
fn check_bounds(
    protocol: Protocol,
    limit: usize,
    request: Option<&Request>,
    surveyed: Result<&[Mention], &BodyError>,
) {
    let Some(request) = request else { return };
    let series = || request.series.iter().filter(|series| !series.is_empty());
    let text_bytes: usize = series().map(|series| request.text_bytes(series)).sum();
    let pairs: usize = series().map(schema::Series::pairs).sum();
    let has_many_symbols = request.symbols.len() > limit / SYMBOL_BYTES;
    let is_v2 = protocol == Protocol::V2;
    match surveyed {
        Ok(_) if is_v2 => assert!(!has_many_symbols && text_bytes <= limit, "{text_bytes} bytes"),
        Err(BodyError::TooManySymbols) => assert!(is_v2 && has_many_symbols),
        Err(BodyError::LabelsTooLong) => {
            let bytes = text_bytes + pairs * LABEL_OVERHEAD_BYTES;
            assert!(is_v2 && bytes > limit, "{bytes} bytes");
        }
        Err(BodyError::TooManyLabels) => assert!(series().any(|it| it.pairs() > LABELS_MAX)),
        _ => {}
    }
}

fn check_low_limit(
    protocol: Protocol,
    body: &[u8],
    request: Option<&Request>,
    surveyed: Result<&[Mention], &BodyError>,
) {
    let (kept, peak) = MEMORY.peak_of(|| {
        let mut surveyor = Surveyor::new(hasher(), LOW_BYTES_MAX);
        // Only what is given back counts.
        if let Ok(mut survey) = surveyor.open(protocol, body) {
            while survey.next_batch().is_ok_and(|batch| !batch.is_empty()) {}
        }
        surveyor.bytes()
    });
    assert!(kept <= 5 * LOW_BYTES_MAX + BATCH_BYTES, "{kept} bytes kept");
    // Symbols, text, a label and the text of labels out of order, all but the label in vectors that
    // grow; and those labels themselves, of which each takes two bytes in the body.
    let texts = match protocol {
        Protocol::V1 => 3 * body.len(),
        Protocol::V2 => 9 * LOW_BYTES_MAX,
    };
    let labels = 3 * size_of::<(&[u8], &[u8])>() * LABELS_MAX.min(body.len() / 2);
    assert!(peak <= texts + labels + BATCH_BYTES, "{peak} bytes taken");
    let low = survey(&mut Surveyor::new(hasher(), LOW_BYTES_MAX), protocol, body);
    check_bounds(protocol, LOW_BYTES_MAX, request, low.as_deref());
    if !low.as_ref().is_err_and(|error| is_bound(*error)) {
        assert_eq!(low.as_deref().map(said), surveyed.map(said));
    }
}

/// What may be asked of any bytes, and whose answers mean nothing if they are malformed.
fn check_anything(protocol: Protocol, body: &[u8]) {
    let counts = Counts::of(protocol, body);
    let newest_ms = newest_timestamp(protocol, body);
    if let (Ok(counts), Ok(newest_ms)) = (counts, newest_ms) {
        assert_eq!(counts.dated() > 0, newest_ms.is_some());
    }
    let block = snappy::encode(body).expect("it is short");
    let mut decoded = Vec::new();
    let mut shown = |block| first_timestamp(protocol, block, usize::MAX, &mut decoded);
    let whole = shown(&block);
    for cut in cuts::of(&block) {
        let part = shown(&block[..cut]);
        assert!(part.is_none() || part == whole, "cut at {cut}");
    }
}

fn check_reference_agrees(
    protocol: Protocol,
    body: &[u8],
    surveyed: Result<&[Mention], &BodyError>,
    turn: usize,
) {
    let parts = reference::decode(protocol, body);
    let series: Vec<&reference::Series> =
        parts.iter().flatten().filter_map(|(_, series)| series.as_ref()).collect();
    // Of some series one of its own times, or the one before, so that some of it is newer.
    let mut newest: BTreeMap<&Labels, i64> = BTreeMap::new();
    for (number, series) in series.iter().enumerate() {
        let place = (number + turn) % 5;
        if let Some(point) = series.points.get(place / 2) {
            newest.insert(&series.labels, point.timestamp_ms.saturating_sub((place % 2) as i64));
        }
    }
    let outcome = reference::check(protocol, body, |labels| newest.get(labels).copied());
    assert_eq!(outcome.is_some(), surveyed.is_ok());
    let Ok(mentions) = surveyed else { return };
    let series: Vec<_> = series.into_iter().filter(|it| !it.points.is_empty()).collect();
    assert_eq!(mentions.len(), series.len());
    for (mention, series) in mentions.iter().zip(series) {
        assert_eq!(mention.id, reference::identity(&hasher(), &series.labels));
        let times = |point| {
            let points = series.points.iter().filter(move |it| it.point == point);
            points.map(|it| it.timestamp_ms).collect::<Vec<_>>()
        };
        check_mention(mention, &times);
    }
}

fn check_mention(mention: &Mention, times: &dyn Fn(Point) -> Vec<i64>) {
    let [samples, histograms, exemplars] =
        [Point::Sample, Point::Histogram, Point::Exemplar].map(times);
    let newest_ms = samples.iter().chain(&histograms).max();
    assert_eq!(mention.newest_ms, newest_ms.copied().unwrap_or(i64::MIN));
    let counts = Counts {
        samples: samples.len() as u32,
        histograms: histograms.len() as u32,
        exemplars: exemplars.len() as u32,
    };
    assert_eq!(mention.counts, counts);
}

fn check_schema_agrees(
    protocol: Protocol,
    body: &[u8],
    request: Option<&Request>,
    surveyed: Result<&[Mention], &BodyError>,
) {
    match (surveyed, request) {
        (Ok(mentions), Some(request)) => {
            let series: Vec<_> = request.series.iter().filter(|it| !it.is_empty()).collect();
            assert_eq!(mentions.len(), series.len());
            for (mention, series) in mentions.iter().zip(series) {
                let labels = request.labels(series).expect("the references are good");
                assert_eq!(mention.id, reference::identity(&hasher(), &labels));
                check_mention(mention, &|point| series.times(point).to_vec());
            }
        }
        (Ok(_), None) => {
            let parts = reference::decode(protocol, body).expect("it is well-formed");
            let mut series = parts.iter().filter_map(|(_, series)| series.as_ref());
            assert!(series.any(|it| it.points.is_empty() && it.fields.iter().any(is_label)));
        }
        // The second parser skips groups.
        (Err(BodyError::Protobuf(ProtobufError::BadWireType)), _) => {}
        (Err(BodyError::Protobuf(error)), Some(_)) => panic!("{error}, for ours only"),
        (Err(_), _) => {}
    }
}

fn is_label(field: &reference::Field) -> bool {
    field.number == 1
}

fn check_made(choices: &mut Choices<'_>, turn: usize) {
    let all = World::make(choices).series(choices);
    let told = all.iter().filter(|series| !series.points.is_empty());
    let mut ids: Vec<SeriesId> = told
        .map(|series| {
            let mut labels = series.labels.clone();
            labels.sort();
            reference::identity(&hasher(), &labels)
        })
        .collect();
    ids.sort();
    let [checked, other] = match turn % 2 {
        0 => [Protocol::V1, Protocol::V2],
        _ => [Protocol::V2, Protocol::V1],
    };
    let mentions = check_body(checked, &written(choices, checked, &all), turn);
    let mut surveyor = Surveyor::new(hasher(), DECODED_BYTES_MAX);
    let others = survey(&mut surveyor, other, &written(choices, other, &all));
    for mentions in [mentions.expect("ours is good"), others.expect("ours is good")] {
        // The order is that of the body, which need not be the one it was made in.
        let mut told: Vec<SeriesId> = mentions.iter().map(|it| it.id).collect();
        told.sort();
        assert_eq!(told, ids);
    }
}
