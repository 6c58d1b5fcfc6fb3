//! Bodies as a large installation sends them: 2000 samples, one a series, 12 labels each.
//!
//! Labels and sizes follow Prometheus servers: about 370 bytes a sample decoded, 35 compressed. A
//! body's labels are laid out once; for each scrape only times and values are put in and the whole
//! is compressed anew, which is what a Prometheus does too and little enough for a shared core.

use std::ops::Range;

use crate::body::{field, next_random, varint};
use crate::fault::{During, Fault};

/// Samples of a request: what a Prometheus sends at most.
pub const SAMPLES: usize = 2000;

/// Series of one target: they follow each other and share all labels but one.
const TARGET_SERIES: usize = 500;

const SUBSYSTEMS: [&str; 5] = ["container_net", "go_memstats", "http_requests", "process", "grpc"];

// Field numbers of a write request, a series and a sample, with their wire types.
const SERIES: u8 = 1;
const LABEL: u8 = 1;
const SAMPLE: u8 = 2;
const VALUE_KEY: u8 = 1 << 3 | 1;
const TIME_KEY: u8 = 2 << 3;

/// A time between the years 1972 and 2108 takes six bytes, so that one can be put over another.
const TIME_BYTES: usize = 6;

/// The series of one request, laid out, for one scrape after the other.
pub struct Sheet {
    message: Vec<u8>,
    /// Where the value of each sample is, its series, and which of the request's times is its own.
    slots: Vec<(usize, usize, usize)>,
    encoder: snap::raw::Encoder,
}

impl Sheet {
    /// Of these series, each with `times` samples: first all of the first time, then all of the
    /// second, as scrapes follow each other.
    pub fn new(series: Range<usize>, times: usize) -> Self {
        let mut message = Vec::new();
        let mut slots = Vec::new();
        for turn in 0..times {
            for number in series.clone() {
                let mut sample = vec![VALUE_KEY];
                sample.extend([0; 8]);
                sample.push(TIME_KEY);
                sample.extend([0; TIME_BYTES]);
                let content = [labels(number), field(SAMPLE, &sample)].concat();
                message.extend(field(SERIES, &content));
                slots.push((message.len() - sample.len() + 1, number, turn));
            }
        }
        Self { message, slots, encoder: snap::raw::Encoder::new() }
    }

    /// The body of a request with these times, as many as the sheet was made for.
    pub fn body(&mut self, times_ms: &[i64]) -> Result<Vec<u8>, Fault> {
        for &(place, number, turn) in &self.slots {
            let time_ms = times_ms[turn];
            let time = varint(u64::try_from(time_ms).during("a time before 1970")?);
            assert_eq!(time.len(), TIME_BYTES, "a time of this century");
            let bytes = &mut self.message[place..place + 8 + 1 + TIME_BYTES];
            bytes[..8].copy_from_slice(&value(number, time_ms).to_le_bytes());
            bytes[9..].copy_from_slice(&time);
        }
        self.encoder.compress_vec(&self.message).during("snappy")
    }
}

/// The labels of a series, as they stand in a request: field after field, sorted by name.
pub fn labels(number: usize) -> Vec<u8> {
    let (target, metric) = (number / TARGET_SERIES, number % TARGET_SERIES);
    let name = format!("{}_metric_{metric:03}_total", SUBSYSTEMS[metric % SUBSYSTEMS.len()]);
    let instance = format!("10.{}.{}.7:9090", target / 256, target % 256);
    let namespace = format!("team-{:03}-production", target % 97);
    let node = format!("ip-10-0-{}-{}.eu-1.internal", target / 250, target % 250);
    let hash = next_random(&mut (target as u64)) as u32;
    let pod = format!("application-server-{hash:08x}-{target:05x}");
    let labels = [
        ("__name__", name.as_str()),
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
    ];
    let label = |(name, value): &(&str, &str)| {
        field(LABEL, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
    };
    labels.iter().flat_map(label).collect()
}

/// What a series says at a time: counters that rise, sums of seconds, gauges of bytes, and the many
/// that stay at 0 or 1.
pub fn value(number: usize, time_ms: i64) -> f64 {
    let random = next_random(&mut (number as u64));
    let (start, rate) = ((random >> 40) as f64, (random >> 8 & 0xff) as f64);
    let elapsed_s = (time_ms % 1_000_000_000 / 1000) as f64;
    match random & 7 {
        0 => 0.0,
        1 => 1.0,
        2..=4 => start + rate * elapsed_s,
        5 | 6 => (start + rate * elapsed_s) * 0.001_37,
        _ => 4096.0 * (start + rate * elapsed_s % 97.0).floor(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_770_000_000_000;

    #[test]
    fn a_body_has_the_size_of_a_real_one_and_each_scrape_another_content() {
        let mut sheet = Sheet::new(4000..4000 + SAMPLES, 1);
        let (one, two) = (sheet.body(&[NOW_MS]), sheet.body(&[NOW_MS + 1000]));
        let (one, two) = (one.expect("a body"), two.expect("a body"));
        assert_ne!(one, two);
        let decoded = snap::raw::decompress_len(&one).expect("a block");
        assert!((350..400).contains(&(decoded / SAMPLES)), "{decoded} bytes decoded");
        assert!((30..=40).contains(&(one.len() / SAMPLES)), "{} bytes", one.len());
    }

    #[test]
    fn series_differ_in_their_labels_and_there_are_twelve() {
        let all: std::collections::HashSet<_> = (0..10_000).map(labels).collect();
        assert_eq!(all.len(), 10_000);
        let mut rest: &[u8] = &labels(7);
        let mut count = 0;
        while let [key, length, tail @ ..] = rest {
            assert_eq!(*key, LABEL << 3 | 2);
            rest = &tail[usize::from(*length)..];
            count += 1;
        }
        assert_eq!(count, 12);
    }
}
