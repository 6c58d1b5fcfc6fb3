//! Requests as a large installation sends them: 2000 samples, one a series, 12 labels each.
//!
//! What counts is that sizes are real. Measured at Prometheus servers: 374 bytes a sample decoded
//! in version 1, 35 compressed.

use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::v1::{Sample, WriteRequestBuilder};
use highlander::wire::remote_write::v2::RequestBuilder;
use highlander::wire::remote_write::{series::SeriesHasher, snappy, survey::Surveyor};

/// Samples of a request: what a Prometheus sends at most.
pub const SAMPLES: usize = 2000;

/// What a body may decode to.
pub const DECODED_BYTES_MAX: usize = 64 << 20;

/// Series of one target.
const TARGET_SERIES: usize = 500;

const SUBSYSTEMS: [&str; 5] = ["container_net", "go_memstats", "http_requests", "process", "grpc"];

/// Blocks with samples of so many distinct series, in either version, each series at the time that
/// `timestamp_ms` says for it.
pub fn blocks(
    protocol: Protocol,
    series: usize,
    timestamp_ms: impl Fn(usize) -> i64,
) -> Vec<Vec<u8>> {
    let body = |first: usize| {
        let series = first..first + SAMPLES;
        let sample = |number: usize| {
            // Values of counters: their bytes do not repeat.
            let value = (number as f64 * 1.37).sqrt();
            [Sample { value, timestamp_ms: timestamp_ms(number) }]
        };
        match protocol {
            Protocol::V1 => {
                let mut builder = WriteRequestBuilder::new();
                series
                    .for_each(|number| with_labels(number, |it| builder.push(it, &sample(number))));
                builder.finish()
            }
            Protocol::V2 => {
                let mut builder = RequestBuilder::new();
                series
                    .for_each(|number| with_labels(number, |it| builder.push(it, &sample(number))));
                builder.finish()
            }
        }
    };
    let block = |first| snappy::encode(&body(first)).expect("a body is far below 4 GiB");
    (0..series).step_by(SAMPLES).map(block).collect()
}

/// Names of targets are hashes in their greater part, and a target's series follow each other.
fn with_labels(number: usize, mut then: impl FnMut(&[(&str, &str)])) {
    let (target, metric) = (number / TARGET_SERIES, number % TARGET_SERIES);
    let name = format!("{}_metric_{metric:03}_total", SUBSYSTEMS[metric % SUBSYSTEMS.len()]);
    let instance = format!("10.{}.{}.7:9090", target / 256, target % 256);
    let namespace = format!("team-{:03}-production", target % 97);
    let node = format!("ip-10-0-{}-{}.eu-1.internal", target / 250, target % 250);
    let hash = target.wrapping_mul(2_654_435_761) & 0xffff_ffff;
    let pod = format!("application-server-{hash:08x}-{target:05x}");
    then(&[
        ("__name__", &name),
        ("cluster", "production-eu-1"),
        ("container", "server"),
        ("endpoint", "http-metrics"),
        ("instance", &instance),
        ("job", "kubernetes-pods"),
        ("namespace", &namespace),
        ("node", &node),
        ("pod", &pod),
        ("prometheus", "monitoring/main"),
        ("service", "server-metrics"),
        ("zone", "eu-1b"),
    ]);
}

/// A surveyor for these bodies.
pub fn surveyor() -> Surveyor {
    Surveyor::new(SeriesHasher::new(42), DECODED_BYTES_MAX)
}

/// The same of both versions, by the name it has in a report.
pub const PROTOCOLS: [(&str, Protocol); 2] = [("v1", Protocol::V1), ("v2", Protocol::V2)];
