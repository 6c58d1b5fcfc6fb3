//! What a hand-over costs: building a watermark of a million series from the bodies that were
//! delivered, and filtering the bodies that were held with it, each from the block as received.
//!
//! Throughput is in samples. One iteration is one request of 2000; they come in turn, so that each
//! series is met after a million others and no entry is still in a cache.

mod bodies;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use highlander::logic::watermark::Watermark;
use highlander::wire::remote_write::filter::{Filtered, Outcome};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::snappy::{self, Decoder};

use bodies::{DECODED_BYTES_MAX, PROTOCOLS, SAMPLES, blocks, surveyor};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERIES: usize = 1_000_000;
const TIME_MS: i64 = 1_700_000_000_000;

fn learn_all(watermark: &mut Watermark, protocol: Protocol, blocks: &[Vec<u8>]) {
    let (mut surveyor, mut decoder) = (surveyor(), Decoder::default());
    for block in blocks {
        let body = decoder.decode(block, DECODED_BYTES_MAX).expect("well-formed");
        watermark.learn(protocol, body, &mut surveyor).expect("well-formed");
    }
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark");
    for (version, protocol) in PROTOCOLS {
        let delivered = blocks(protocol, SERIES, |_| TIME_MS);
        group.sample_size(20).throughput(Throughput::Elements(SERIES as u64));
        group.bench_function(format!("build {version}, a million new series"), |bencher| {
            bencher.iter_batched(
                Watermark::new,
                |mut watermark| {
                    learn_all(&mut watermark, protocol, &delivered);
                    assert_eq!(watermark.len(), SERIES);
                    watermark
                },
                BatchSize::PerIteration,
            );
        });

        let mut watermark = Watermark::new();
        learn_all(&mut watermark, protocol, &delivered);
        let (mut surveyor, mut decoder) = (surveyor(), Decoder::default());
        let mut next = delivered.iter().cycle();
        group.sample_size(100).throughput(Throughput::Elements(SAMPLES as u64));
        group.bench_function(format!("build {version}, series that are known"), |bencher| {
            bencher.iter(|| {
                let block = next.next().expect("a cycle has no end");
                let body = decoder.decode(block, DECODED_BYTES_MAX).expect("well-formed");
                watermark.learn(protocol, body, &mut surveyor).expect("well-formed");
            });
        });
    }
    group.finish();
}

fn filter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watermark");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (version, protocol) in PROTOCOLS {
        let mut watermark = Watermark::new();
        learn_all(&mut watermark, protocol, &blocks(protocol, SERIES, |_| TIME_MS));
        let held = [
            ("all old", blocks(protocol, SERIES, |_| TIME_MS)),
            ("all new", blocks(protocol, SERIES, |_| TIME_MS + 1)),
            // Ten series of a target are older, ten are newer, and so on.
            ("half new", blocks(protocol, SERIES, |series| TIME_MS + series as i64 / 10 % 2)),
        ];
        let (mut surveyor, mut decoder) = (surveyor(), Decoder::default());
        let mut scratch = Vec::new();
        let mut filtered = |block: &[u8]| -> Outcome {
            let body = decoder.decode(block, DECODED_BYTES_MAX).expect("well-formed");
            watermark.filter(protocol, body, &mut surveyor, &mut scratch).expect("well-formed")
        };
        for (which, blocks) in &held {
            let mut next = blocks.iter().cycle();
            group.bench_function(format!("filter {version}, {which}"), |bencher| {
                bencher.iter(|| black_box(filtered(next.next().expect("a cycle has no end"))));
            });
        }
        let mut next = held[2].1.iter().cycle();
        group.bench_function(format!("filter {version}, half new, and encode"), |bencher| {
            bencher.iter(|| match filtered(next.next().expect("a cycle has no end")).filtered {
                Filtered::New(body) => black_box(snappy::encode(&body).expect("small").len()),
                Filtered::NothingNew | Filtered::AllNew => panic!("half of it is new"),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, build, filter);
criterion_main!(benches);
