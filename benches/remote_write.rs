//! What it costs to look into a body: to count a held one, to know how old a forwarded one is, and
//! the steps of which a hand-over is made.
//!
//! Throughput is in samples, but for the first timestamp, which is a question about a request.

mod bodies;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use highlander::wire::remote_write::first::first_timestamp;
use highlander::wire::remote_write::points::{Counts, newest_timestamp};
use highlander::wire::remote_write::snappy::Decoder;

use bodies::{DECODED_BYTES_MAX, PROTOCOLS, SAMPLES, blocks, surveyor};

/// Requests that are looked at in turn: enough that a body is not in the fastest caches any more.
const SERIES: usize = 100_000;

/// What is decoded at most in search of the first sample.
const FIRST_BYTES_MAX: usize = 64 << 10;

fn look_into(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("remote write");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (version, protocol) in PROTOCOLS {
        let blocks = blocks(protocol, SERIES, |_| 1_700_000_000_000);
        let mut decoder = Decoder::default();
        let mut next = blocks.iter().cycle();
        let mut next = || next.next().expect("a cycle has no end");
        group.bench_function(format!("snappy alone, {version}"), |bencher| {
            bencher.iter(|| {
                black_box(decoder.decode(next(), DECODED_BYTES_MAX).expect("well-formed").len())
            });
        });
        group.bench_function(format!("count, {version}"), |bencher| {
            bencher.iter(|| {
                let counts = Counts::of_block(protocol, next(), DECODED_BYTES_MAX, &mut decoder);
                black_box(counts.expect("well-formed"))
            });
        });
        group.bench_function(format!("newest timestamp, {version}"), |bencher| {
            bencher.iter(|| {
                let body = decoder.decode(next(), DECODED_BYTES_MAX).expect("well-formed");
                black_box(newest_timestamp(protocol, body).expect("well-formed"))
            });
        });
        let mut surveyor = surveyor();
        group.bench_function(format!("walk and hash, {version}"), |bencher| {
            bencher.iter(|| {
                let body = decoder.decode(next(), DECODED_BYTES_MAX).expect("well-formed");
                let mut survey = surveyor.open(protocol, body).expect("well-formed");
                while !black_box(survey.next_batch().expect("well-formed")).is_empty() {}
            });
        });
    }
    group.finish();
}

fn first(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first timestamp");
    group.throughput(Throughput::Elements(1));
    for (version, protocol) in PROTOCOLS {
        let blocks = blocks(protocol, SERIES, |_| 1_700_000_000_000);
        let mut next = blocks.iter().cycle();
        let mut memory = Vec::new();
        group.bench_function(version, |bencher| {
            bencher.iter(|| {
                let block = next.next().expect("a cycle has no end");
                let found = first_timestamp(protocol, block, FIRST_BYTES_MAX, &mut memory);
                black_box(found.expect("there is one"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, look_into, first);
criterion_main!(benches);
