//! The watermark against a plain map.

use std::collections::BTreeMap;

use super::*;
use crate::wire::remote_write::bodies::{MadeSeries, Random, Style, make_series, write};
use crate::wire::remote_write::filter::Filtered;
use crate::wire::remote_write::points::Counts;
use crate::wire::remote_write::protocol::Point;
use crate::wire::remote_write::reference::{self, Labels};
use crate::wire::remote_write::series::SeriesHasher;

const PROTOCOLS: [Protocol; 2] = [Protocol::V1, Protocol::V2];

/// Of each series the newest time, and whether it was spoken for.
type Plain = BTreeMap<SeriesId, (i64, bool)>;

/// An identity out of a world in which many share their high bits, at both ends of the table too:
/// buckets overflow, and the last one into the first.
fn crowded(random: &mut Random) -> SeriesId {
    let ends = [0, 1, 1 << 40, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let high = random.one_of(&ends);
    SeriesId(u128::from(high) << 64 | u128::from(random.below(40)))
}

fn scattered(random: &mut Random) -> SeriesId {
    SeriesId(u128::from(random.draw()) << 64 | u128::from(random.draw()))
}

fn assert_same(watermark: &Watermark, plain: &Plain) {
    assert_eq!(watermark.len(), plain.len());
    assert_eq!(watermark.is_empty(), plain.is_empty());
    assert_eq!(watermark.unspoken(), plain.values().filter(|(_, spoken)| !spoken).count());
    for (id, (newest_ms, spoken)) in plain {
        assert_eq!(watermark.newest(*id), Some(*newest_ms));
        assert_eq!(watermark.is_spoken(*id), *spoken);
    }
}

fn note(watermark: &mut Watermark, plain: &mut Plain, id: SeriesId, timestamp_ms: i64) {
    watermark.note(id, timestamp_ms);
    let entry = plain.entry(id).or_insert((timestamp_ms, false));
    entry.0 = entry.0.max(timestamp_ms);
}

fn mark(watermark: &mut Watermark, plain: &mut Plain, id: SeriesId) {
    let is_first = plain.get_mut(&id).is_some_and(|(_, spoken)| !std::mem::replace(spoken, true));
    assert_eq!(watermark.mark_spoken(id), is_first);
}

#[test]
fn whatever_is_done_in_whatever_order_it_is_a_map() {
    for seed in 0..40 {
        let random = &mut Random(seed);
        let id: fn(&mut Random) -> SeriesId = if seed % 2 == 0 { crowded } else { scattered };
        let (mut watermark, mut plain) = (Watermark::new(), Plain::new());
        let known: Vec<SeriesId> = (0..300).map(|_| id(random)).collect();
        for _ in 0..1500 {
            let one = random.one_of(&known);
            let time = random.one_of(&[i64::MIN, -1, 0, 1, 2, 3, i64::MAX]);
            match random.below(100) {
                0..50 => note(&mut watermark, &mut plain, one, time),
                50..80 => mark(&mut watermark, &mut plain, one),
                80..98 => {
                    let expected = plain.get(&one).map(|(newest_ms, _)| *newest_ms);
                    assert_eq!(watermark.newest(one), expected);
                }
                98 => {
                    let (mut other, mut other_plain) = (Watermark::new(), Plain::new());
                    for _ in 0..random.below(100) {
                        let one = random.one_of(&known);
                        note(&mut other, &mut other_plain, one, random.below(5) as i64);
                        let one = random.one_of(&known);
                        mark(&mut other, &mut other_plain, one);
                    }
                    watermark.merge(&other);
                    for (id, (newest_ms, spoken)) in other_plain {
                        let entry = plain.entry(id).or_insert((newest_ms, false));
                        *entry = (entry.0.max(newest_ms), entry.1 | spoken);
                    }
                }
                _ if random.once_in(4) => {
                    watermark.forget_before(time);
                    plain.retain(|_, (newest_ms, _)| *newest_ms >= time);
                }
                _ => {}
            }
        }
        assert_same(&watermark, &plain);
        for _ in 0..1000 {
            let stranger = id(random);
            assert_eq!(watermark.newest(stranger).is_some(), plain.contains_key(&stranger));
        }
    }
}

#[test]
fn a_watermark_that_has_grown_knows_what_it_knew_and_takes_25_to_32_bytes_an_entry() {
    let random = &mut Random(1);
    let (mut watermark, mut plain) = (Watermark::new(), Plain::new());
    assert_eq!(watermark.bytes(), 0);
    for number in 0..60_000 {
        note(&mut watermark, &mut plain, scattered(random), number);
        if number > 1000 {
            let bytes = watermark.bytes() as f64 / watermark.len() as f64;
            assert!((25.0..32.0).contains(&bytes), "{bytes} bytes at {number}");
        }
    }
    assert_same(&watermark, &plain);
    watermark.forget_before(50_000);
    plain.retain(|_, (newest_ms, _)| *newest_ms >= 50_000);
    assert_same(&watermark, &plain);
    assert!(watermark.bytes() < 32 * watermark.len());
    watermark.forget_before(i64::MAX);
    assert_eq!((watermark.len(), watermark.bytes()), (0, 0));
}

#[test]
fn room_that_was_asked_for_is_enough() {
    let random = &mut Random(2);
    for series in [0, 1, 100, 10_000] {
        let mut watermark = Watermark::with_capacity(series);
        let bytes = watermark.bytes();
        (0..series).for_each(|_| watermark.note(scattered(random), 1));
        assert_eq!((watermark.len(), watermark.bytes()), (series, bytes));
    }
}

/// What bodies of these series deliver, as the reference sees it.
fn delivered(all: &[MadeSeries]) -> BTreeMap<Labels, i64> {
    let mut newest = BTreeMap::new();
    for series in all {
        let mut labels = series.labels.clone();
        labels.sort();
        for (point, timestamp_ms, _) in &series.points {
            if *point != Point::Exemplar {
                let entry = newest.entry(labels.clone()).or_insert(*timestamp_ms);
                *entry = (*entry).max(*timestamp_ms);
            }
        }
    }
    newest
}

#[test]
fn bodies_are_learned_and_filtered_as_the_reference_does_in_either_version() {
    let mut outcomes = [0; 3];
    for seed in 0..400 {
        let random = &mut Random(seed);
        let mut surveyor = Surveyor::new(SeriesHasher::new(1), 1 << 20);
        let mut newest_ms = Vec::new();
        for learned_in in PROTOCOLS {
            let old = make_series(random, 12);
            let mut watermark = Watermark::new();
            let body = write(learned_in, &old, Style::Strange, random);
            watermark.learn(learned_in, &body, &mut surveyor).expect("well-formed");
            let newest = delivered(&old);
            assert_eq!(watermark.len(), newest.len());
            for (labels, newest_ms) in &newest {
                let id = reference::identity(&SeriesHasher::new(1), labels);
                assert_eq!(watermark.newest(id), Some(*newest_ms), "SEED={seed}");
            }
            for protocol in PROTOCOLS {
                let new = [make_series(random, 6), old.clone()].concat();
                let body = write(protocol, &new[..new.len() / 2], Style::Strange, random);
                let expected =
                    reference::check(protocol, &body, |labels| newest.get(labels).copied());
                let outcome = watermark.filter(protocol, &body, &mut surveyor, &mut newest_ms);
                assert_eq!(outcome.as_ref().ok(), expected.as_ref(), "SEED={seed}");
                outcomes[match outcome.expect("well-formed").filtered {
                    Filtered::NothingNew => 0,
                    Filtered::AllNew => 1,
                    Filtered::New(_) => 2,
                }] += 1;
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 50), "{outcomes:?}");
}

/// Mentions as a survey gives them: of this body, a million at most.
fn mentions(all: &[MadeSeries]) -> Vec<Mention> {
    let body = write(Protocol::V1, all, Style::Plain, &mut Random(1));
    let mut surveyor = Surveyor::new(SeriesHasher::new(1), 1 << 20);
    let mut survey = surveyor.open(Protocol::V1, &body).expect("well-formed");
    survey.next_batch().expect("well-formed").to_vec()
}

#[test]
fn a_batch_is_looked_up_and_marked_as_its_series_are_one_by_one() {
    for seed in 0..100 {
        let random = &mut Random(seed);
        let batch = mentions(&make_series(random, 150));
        let mut watermark = Watermark::new();
        let learned = batch.iter().filter(|_| random.once_in(2));
        learned.for_each(|mention| watermark.note(mention.id, mention.newest_ms.saturating_sub(1)));
        let mut looked_up = vec![Some(7)];
        watermark.look_up(&batch, &mut looked_up);
        let one_by_one: Vec<_> = batch.iter().map(|it| watermark.newest(it.id)).collect();
        assert_eq!(looked_up, one_by_one);

        let mut marked = watermark.clone();
        marked.mark_all_spoken(&batch);
        for mention in batch.iter().filter(|mention| mention.counts.dated() > 0) {
            watermark.mark_spoken(mention.id);
        }
        assert_eq!(marked.unspoken(), watermark.unspoken());
        batch.iter().for_each(|it| assert_eq!(marked.is_spoken(it.id), watermark.is_spoken(it.id)));
    }
}

#[test]
fn exemplars_alone_are_not_noted_and_do_not_speak_for_a_series() {
    let labels: Labels = vec![(b"__name__".to_vec(), b"up".to_vec())];
    let exemplar = MadeSeries { labels: labels.clone(), points: vec![(Point::Exemplar, 1000, 1)] };
    let sample = MadeSeries { labels, points: vec![(Point::Sample, 5, 1)] };
    let mut watermark = Watermark::new();
    watermark.note_all(&mentions(std::slice::from_ref(&exemplar)));
    assert!(watermark.is_empty());
    let sample = mentions(&[sample]);
    watermark.note_all(&sample);
    assert_eq!(watermark.newest(sample[0].id), Some(5));
    watermark.mark_all_spoken(&mentions(&[exemplar]));
    assert_eq!(watermark.unspoken(), 1);
    watermark.mark_all_spoken(&sample);
    assert_eq!(watermark.unspoken(), 0);
}

#[test]
fn what_stands_before_a_fault_is_noted() {
    let series = |name: &[u8]| MadeSeries {
        labels: vec![(b"__name__".to_vec(), name.to_vec())],
        points: vec![(Point::Sample, 5, 1)],
    };
    let many: Vec<MadeSeries> =
        (0..1000).map(|number: u32| series(number.to_string().as_bytes())).collect();
    let body = write(Protocol::V1, &many, Style::Plain, &mut Random(3));
    let mut surveyor = Surveyor::new(SeriesHasher::new(1), 1 << 20);
    let mut watermark = Watermark::new();
    let cut = &body[..body.len() - 1];
    assert!(watermark.learn(Protocol::V1, cut, &mut surveyor).is_err());
    assert!((500..1000).contains(&watermark.len()), "{}", watermark.len());
    let outcome = watermark.filter(Protocol::V1, cut, &mut surveyor, &mut Vec::new());
    assert!(outcome.is_err(), "nothing of a malformed body is sent");
}

#[test]
fn without_a_series_everything_is_new() {
    let random = &mut Random(5);
    let body = write(Protocol::V2, &make_series(random, 20), Style::Strange, random);
    let mut surveyor = Surveyor::new(SeriesHasher::new(1), 1 << 20);
    let watermark = Watermark::new();
    let outcome = watermark.filter(Protocol::V2, &body, &mut surveyor, &mut Vec::new());
    let outcome = outcome.expect("well-formed");
    assert_eq!((outcome.filtered, outcome.skipped), (Filtered::AllNew, Counts::default()));
    assert_eq!(watermark.newest(SeriesId(1)), None);
}
