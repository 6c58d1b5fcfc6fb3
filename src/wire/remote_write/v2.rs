//! `io.prometheus.write.v2.Request`, remote write 2.0, as a sender builds it.
//!
//! Strings are symbols here: each is written once, and a series refers to its labels by number.
//! Reading it is the work of [`survey`](super::survey).

use std::collections::HashMap;

use super::protobuf::{put_bytes, put_double, put_int64, put_varint};
use super::v1::Sample;

// Field numbers of io.prometheus.write.v2.Request, TimeSeries and Sample.
const REQUEST_SYMBOL: u32 = 4;
const REQUEST_SERIES: u32 = 5;
const SERIES_LABELS: u32 = 1;
const SERIES_SAMPLE: u32 = 2;
const SAMPLE_VALUE: u32 = 1;
const SAMPLE_TIMESTAMP: u32 = 2;

/// Builds the bytes of a request, series by series.
#[derive(Debug)]
pub struct RequestBuilder {
    numbers: HashMap<String, u64>,
    symbols: Vec<u8>,
    series: Vec<u8>,
    /// Scratch for the message being built, whose length comes before it.
    one: Vec<u8>,
    part: Vec<u8>,
}

impl RequestBuilder {
    /// A request without series. The first symbol is the empty one, as the protocol asks.
    pub fn new() -> RequestBuilder {
        let mut builder = RequestBuilder {
            numbers: HashMap::new(),
            symbols: Vec::new(),
            series: Vec::new(),
            one: Vec::new(),
            part: Vec::new(),
        };
        builder.symbol("");
        builder
    }

    /// Appends a series. The labels are sorted by name, as the protocol asks; the samples keep
    /// their order, which should be that of their time.
    pub fn push(&mut self, labels: &[(&str, &str)], samples: &[Sample]) {
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        let numbers: Vec<u64> = sorted
            .iter()
            .flat_map(|(name, value)| [self.symbol(name), self.symbol(value)])
            .collect();
        self.one.clear();
        self.part.clear();
        for number in numbers {
            put_varint(&mut self.part, number);
        }
        put_bytes(&mut self.one, SERIES_LABELS, &self.part);
        for sample in samples {
            self.part.clear();
            put_double(&mut self.part, SAMPLE_VALUE, sample.value);
            put_int64(&mut self.part, SAMPLE_TIMESTAMP, sample.timestamp_ms);
            put_bytes(&mut self.one, SERIES_SAMPLE, &self.part);
        }
        put_bytes(&mut self.series, REQUEST_SERIES, &self.one);
    }

    /// The request, not compressed yet.
    pub fn finish(self) -> Vec<u8> {
        [self.symbols, self.series].concat()
    }

    /// The number of a symbol, which is appended if it is new.
    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u64;
        self.numbers.insert(text.to_owned(), number);
        put_bytes(&mut self.symbols, REQUEST_SYMBOL, text.as_bytes());
        number
    }
}

impl Default for RequestBuilder {
    fn default() -> RequestBuilder {
        RequestBuilder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_a_prometheus() {
        let mut builder = RequestBuilder::new();
        let sample = |timestamp_ms| Sample { value: 1.0, timestamp_ms };
        builder.push(&[("job", "a"), ("__name__", "up")], &[sample(1000)]);
        builder.push(&[("__name__", "up"), ("job", "up")], &[sample(0), sample(1)]);
        let expected = b"\x22\x00\x22\x08__name__\x22\x02up\x22\x03job\x22\x01a\
            \x2a\x14\x0a\x04\x01\x02\x03\x04\
            \x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07\
            \x2a\x1e\x0a\x04\x01\x02\x03\x02\
            \x12\x09\x09\0\0\0\0\0\0\xf0\x3f\
            \x12\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x01";
        assert_eq!(builder.finish(), expected);
    }
}
