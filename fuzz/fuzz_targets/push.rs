//! The body of a remote write request: the snappy block, and the write request in it.
//!
//! Claims, for any bytes, taken as a block and taken as a message:
//! * `snappy::decode` does not panic; what it decodes has the length the block declares, within the
//!   limit and 22 times the block, and more memory is not asked for; encoded again, it is decoded
//!   to the same.
//! * `v1::walk` does not panic, and what it shows is no more than the message can hold.
//! * What it accepts, the second parser accepts too and reads the same in it. What it refuses, the
//!   second parser refuses, unless there is a group in it.
//! * What it shows, built anew, is shown again.

#![no_main]

use highlander::wire::remote_write::protobuf::ProtobufError;
use highlander::wire::remote_write::snappy::{self, SnappyError};
use highlander::wire::remote_write::v1::{Sample, WriteRequestBuilder, walk};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    // Without a limit, a block that declares much is caught by the fuzzer's own bound on memory.
    if let Ok(message) = snappy::decode(bytes, usize::MAX) {
        assert_eq!(snappy::declared_bytes(bytes), Ok(message.len()));
        assert!(message.len() <= bytes.len() * 22);
        let limited = snappy::decode(bytes, DECODED_BYTES_MAX);
        match message.len() <= DECODED_BYTES_MAX {
            true => assert_eq!(limited.as_ref(), Ok(&message)),
            false => assert_eq!(limited, Err(SnappyError::TooLong(message.len()))),
        }
        check_encoded_again(&message);
        check_walk(&message);
    }
    check_encoded_again(bytes);
    check_walk(bytes);
});

/// Low enough to be met often.
const DECODED_BYTES_MAX: usize = 4 * 1024;

fn check_encoded_again(message: &[u8]) {
    let block = snappy::encode(message).expect("it is short");
    assert_eq!(snappy::decode(&block, message.len()).as_deref(), Ok(message));
}

fn check_walk(message: &[u8]) {
    let ours = shown(message);
    match (&ours, WriteRequest::decode(message)) {
        (Ok(ours), Ok(theirs)) => {
            assert_same(ours, &theirs.series);
            // The smallest series, label or sample takes two bytes.
            let parts = |series: &Series| 1 + series.labels.len() + series.samples.len();
            assert!(ours.iter().map(parts).sum::<usize>() * 2 <= message.len());
            check_built_again(ours);
        }
        // A group may stand in a field that the second parser does not know, and it skips it.
        (Err(ProtobufError::BadWireType), _) | (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("ours: {ours:?}, theirs: {theirs:?}"),
    }
}

fn shown(message: &[u8]) -> Result<Vec<Series>, ProtobufError> {
    let mut all = Vec::new();
    walk(message, &mut |series| {
        let label =
            |(name, value): (&[u8], &[u8])| Label { name: name.into(), value: value.into() };
        let sample = |sample: Sample| Point { value: sample.value, time_ms: sample.timestamp_ms };
        all.push(Series {
            labels: series.labels().map(label).collect(),
            samples: series.samples().map(sample).collect(),
        });
    })?;
    Ok(all)
}

fn assert_same(ours: &[Series], theirs: &[Series]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.labels, theirs.labels);
        // The bits of a value matter: a stale marker is one NaN of many.
        let bits = |series: &Series| -> Vec<(u64, i64)> {
            series.samples.iter().map(|point| (point.value.to_bits(), point.time_ms)).collect()
        };
        assert_eq!(bits(ours), bits(theirs));
    }
}

/// The builder takes labels as text and sorts them.
fn check_built_again(all: &[Series]) {
    let mut builder = WriteRequestBuilder::new();
    let mut sorted = Vec::new();
    for series in all {
        let Some(labels) = series.labels.iter().map(text_of).collect::<Option<Vec<_>>>() else {
            return;
        };
        let sample = |point: &Point| Sample { value: point.value, timestamp_ms: point.time_ms };
        let samples: Vec<Sample> = series.samples.iter().map(sample).collect();
        builder.push(&labels, &samples);
        let mut series = series.clone();
        series.labels.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
        sorted.push(series);
    }
    let again = shown(&builder.finish()).expect("ours is good");
    assert_same(&again, &sorted);
}

fn text_of(label: &Label) -> Option<(&str, &str)> {
    Some((std::str::from_utf8(&label.name).ok()?, std::str::from_utf8(&label.value).ok()?))
}

/// `prometheus.WriteRequest`, as far as it is read. Names and values are bytes here: that they are
/// text is not checked on the way.
#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    time_ms: i64,
}
