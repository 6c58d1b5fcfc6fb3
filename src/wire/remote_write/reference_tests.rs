//! The fast reading of remote write agrees with the slow one.

use std::collections::BTreeMap;

use super::bodies::{MadeSeries, Random, Style, make_series, write};
use super::filter::Filtered;
use super::first::first_timestamp;
use super::protocol::{Point, Protocol};
use super::reference::{Labels, check, decode, identity};
use super::series::{SeriesHasher, SeriesId};
use super::snappy;
use super::survey::Surveyor;

const PROTOCOLS: [Protocol; 2] = [Protocol::V1, Protocol::V2];

/// The newest times of some of the series, near those that bodies are made with.
fn watermark(all: &[MadeSeries], random: &mut Random) -> BTreeMap<Labels, i64> {
    let mut watermark = BTreeMap::new();
    for series in all {
        let mut labels = series.labels.clone();
        labels.sort();
        let near = 1_700_000_000_000 + random.below(10) as i64 - 1;
        match random.below(12) {
            0..4 => {}
            4 => drop(watermark.insert(labels, random.one_of(&[i64::MIN, 0, i64::MAX]))),
            _ => drop(watermark.insert(labels, near)),
        }
    }
    watermark
}

#[test]
fn a_body_of_any_kind_is_filtered_counted_and_dated_as_the_reference_does() {
    let mut outcomes = [0; 3];
    for seed in 0..800 {
        let random = &mut Random(seed);
        let all = make_series(random, 8);
        let watermark = watermark(&all, random);
        for protocol in PROTOCOLS {
            let style = if seed % 3 == 0 { Style::Plain } else { Style::Strange };
            let body = write(protocol, &all, style, random);
            let outcome = check(protocol, &body, |labels| watermark.get(labels).copied());
            outcomes[match outcome.expect("well-formed").filtered {
                Filtered::NothingNew => 0,
                Filtered::AllNew => 1,
                Filtered::New(_) => 2,
            }] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 50), "{outcomes:?}");
}

#[test]
fn what_is_left_says_sample_by_sample_what_it_should() {
    for seed in 0..200 {
        let random = &mut Random(seed);
        let all = make_series(random, 8);
        let watermark = watermark(&all, random);
        for protocol in PROTOCOLS {
            let body = write(protocol, &all, Style::Strange, random);
            let newest = |labels: &Labels| watermark.get(labels).copied();
            let outcome = check(protocol, &body, newest).expect("well-formed");
            let left = match outcome.filtered {
                Filtered::NothingNew => Vec::new(),
                Filtered::AllNew => body.clone(),
                Filtered::New(left) => left,
            };
            let samples = |body: &[u8]| -> Vec<(Labels, i64, Vec<u8>)> {
                let parts = decode(protocol, body).expect("well-formed");
                let all = parts.into_iter().filter_map(|(_, series)| series);
                all.flat_map(|series| {
                    let samples = series.points.iter().filter(|it| it.point != Point::Exemplar);
                    let raw = |index: usize| series.fields[index].raw.clone();
                    samples
                        .map(|it| (series.labels.clone(), it.timestamp_ms, raw(it.index)))
                        .collect::<Vec<_>>()
                })
                .collect()
            };
            let mut expected = samples(&body);
            expected.retain(|(labels, ms, _)| newest(labels).is_none_or(|newest| *ms > newest));
            assert_eq!(samples(&left), expected, "SEED={seed}");
        }
    }
}

#[test]
fn what_is_left_is_all_new_when_it_is_filtered_again() {
    for seed in 0..200 {
        let random = &mut Random(seed);
        let all = make_series(random, 8);
        let watermark = watermark(&all, random);
        for protocol in PROTOCOLS {
            let body = write(protocol, &all, Style::Strange, random);
            let newest = |labels: &Labels| watermark.get(labels).copied();
            let outcome = check(protocol, &body, newest).expect("well-formed");
            if let Filtered::New(left) = outcome.filtered
                && outcome.kept.exemplars == 0
            {
                let again = check(protocol, &left, newest).expect("well-formed");
                assert_eq!(again.filtered, Filtered::AllNew, "SEED={seed}");
                assert_eq!(again.kept, outcome.kept, "SEED={seed}");
            }
        }
    }
}

#[test]
fn the_first_time_is_found_in_any_prefix_of_a_block_or_not_at_all() {
    for seed in 0..100 {
        let random = &mut Random(seed);
        let all = make_series(random, 8);
        for protocol in PROTOCOLS {
            let body = write(protocol, &all, Style::Strange, random);
            let parts = decode(protocol, &body).expect("well-formed");
            let points = parts.iter().filter_map(|(_, it)| it.as_ref()).flat_map(|it| &it.points);
            let mut dated = points.filter(|it| it.point != Point::Exemplar);
            let expected = dated.next().map(|it| it.timestamp_ms);
            let block = snappy::encode(&body).expect("a small message");
            let mut memory = Vec::new();
            let mut found_since = None;
            for end in 0..=block.len() {
                let found = first_timestamp(protocol, &block[..end], 1 << 16, &mut memory);
                match found {
                    Some(_) => assert_eq!(found, expected, "SEED={seed} cut at {end}"),
                    None => assert_eq!(found_since, None, "SEED={seed} cut at {end}"),
                }
                found_since = found_since.or(found.map(|_| end));
            }
            assert_eq!(found_since.is_some(), expected.is_some(), "SEED={seed}");
        }
    }
}

#[test]
fn a_body_cut_at_any_byte_is_read_as_the_reference_reads_it() {
    for seed in 0..30 {
        let random = &mut Random(seed);
        let all = make_series(random, 6);
        let watermark = watermark(&all, random);
        for protocol in PROTOCOLS {
            let body = write(protocol, &all, Style::Strange, random);
            for end in 0..body.len() {
                let newest = |labels: &Labels| watermark.get(labels).copied();
                check(protocol, &body[..end], newest);
            }
        }
    }
}

#[test]
fn a_body_with_bytes_changed_is_read_as_the_reference_reads_it() {
    let mut read = 0;
    for seed in 0..1200 {
        let random = &mut Random(seed);
        let all = make_series(random, 4);
        let watermark = watermark(&all, random);
        for protocol in PROTOCOLS {
            let mut body = write(protocol, &all, Style::Strange, random);
            for _ in 0..=random.below(3) {
                let at = random.below(body.len() as u64 + 1) as usize;
                if let Some(byte) = body.get_mut(at) {
                    *byte = random.draw() as u8;
                }
            }
            let newest = |labels: &Labels| watermark.get(labels).copied();
            read += usize::from(check(protocol, &body, newest).is_some());
        }
    }
    assert!((100..2300).contains(&read), "{read} of 2400 were well-formed");
}

#[test]
fn a_series_has_one_identity_in_both_versions_and_in_any_order_and_no_other_has_it() {
    let hasher = SeriesHasher::new(7);
    let mut surveyor = Surveyor::new(hasher.clone(), 1 << 20);
    let mut ids = |protocol, body: &[u8]| -> Vec<SeriesId> {
        let mut survey = surveyor.open(protocol, body).expect("well-formed");
        survey.next_batch().expect("well-formed").iter().map(|mention| mention.id).collect()
    };
    let mut owners: BTreeMap<SeriesId, Labels> = BTreeMap::new();
    for seed in 0..1000 {
        let random = &mut Random(seed);
        let mut all = make_series(random, 8);
        all.retain(|series| !series.points.is_empty());
        let sorted = |series: &MadeSeries| {
            let mut labels = series.labels.clone();
            labels.sort();
            labels
        };
        let expected: Vec<SeriesId> =
            all.iter().map(|series| identity(&hasher, &sorted(series))).collect();
        for (style, protocol) in [
            (Style::Plain, Protocol::V1),
            (Style::Plain, Protocol::V2),
            (Style::Strange, Protocol::V1),
            (Style::Strange, Protocol::V2),
        ] {
            let body = write(protocol, &all, style, random);
            assert_eq!(ids(protocol, &body), expected, "SEED={seed} {style:?} {protocol:?}");
        }
        for (series, id) in all.iter().zip(expected) {
            let owner = owners.entry(id).or_insert_with(|| sorted(series));
            assert_eq!(*owner, sorted(series));
        }
    }
    assert!(owners.len() > 500, "only {} series", owners.len());
}
