//! `prometheus.WriteRequest`, remote write 1.0: series with their labels and samples.
//!
//! Reading allocates nothing: a series is checked as a whole before the visitor gets it, so that
//! its labels and samples are plain iterators over the body without an error in their items.

use super::protobuf::{Fields, ProtobufError, Value, put_bytes, put_double, put_int64};

// Field numbers of prometheus.WriteRequest, TimeSeries, Label and Sample.
const REQUEST_SERIES: u32 = 1;
const SERIES_LABEL: u32 = 1;
const SERIES_SAMPLE: u32 = 2;
const LABEL_NAME: u32 = 1;
const LABEL_VALUE: u32 = 2;
const SAMPLE_VALUE: u32 = 1;
const SAMPLE_TIMESTAMP: u32 = 2;

/// One float sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// The value; a stale marker is a NaN whose bits matter.
    pub value: f64,
    /// Milliseconds since 1970, before it if negative.
    pub timestamp_ms: i64,
}

/// One series of a request, found well-formed.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    message: &'a [u8],
}

impl<'a> Series<'a> {
    /// The label pairs, name and value, in the order of the body; sorted by name if the sender
    /// keeps to the protocol. Their bytes are not checked to be UTF-8.
    pub fn labels(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        messages(self.message, SERIES_LABEL).filter_map(|message| label(message).ok())
    }

    /// The float samples in the order of the body. Histograms and exemplars are passed over.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        messages(self.message, SERIES_SAMPLE).filter_map(|message| sample(message).ok())
    }

    fn check(message: &'a [u8]) -> Result<Series<'a>, ProtobufError> {
        for field in Fields::of(message) {
            match field? {
                (SERIES_LABEL, value) => drop(label(value.bytes()?)?),
                (SERIES_SAMPLE, value) => drop(sample(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(Series { message })
    }
}

/// Shows each series of a decoded request to `visit`. Unknown fields are skipped. An error ends the
/// walk at the series it is in; those before it have been visited.
pub fn walk(body: &[u8], visit: &mut impl FnMut(Series<'_>)) -> Result<(), ProtobufError> {
    for field in Fields::of(body) {
        let (number, value) = field?;
        if number == REQUEST_SERIES {
            visit(Series::check(value.bytes()?)?);
        }
    }
    Ok(())
}

fn messages(message: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((number, Value::Bytes(bytes))) if number == wanted => Some(bytes),
        _ => None,
    })
}

fn label(message: &[u8]) -> Result<(&[u8], &[u8]), ProtobufError> {
    let (mut name, mut content): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::of(message) {
        match field? {
            (LABEL_NAME, value) => name = value.bytes()?,
            (LABEL_VALUE, value) => content = value.bytes()?,
            _ => {}
        }
    }
    Ok((name, content))
}

fn sample(message: &[u8]) -> Result<Sample, ProtobufError> {
    let mut sample = Sample::default();
    for field in Fields::of(message) {
        match field? {
            (SAMPLE_VALUE, value) => sample.value = value.double()?,
            (SAMPLE_TIMESTAMP, value) => sample.timestamp_ms = value.int64()?,
            _ => {}
        }
    }
    Ok(sample)
}

/// Builds the bytes of a request, series by series.
#[derive(Debug, Default)]
pub struct WriteRequestBuilder {
    body: Vec<u8>,
    /// Scratch for the message being built, whose length comes before it.
    series: Vec<u8>,
    part: Vec<u8>,
}

impl WriteRequestBuilder {
    /// A request without series.
    pub fn new() -> WriteRequestBuilder {
        WriteRequestBuilder::default()
    }

    /// Appends a series. The labels are sorted by name, as the protocol asks; the samples keep
    /// their order, which should be that of their time.
    pub fn push(&mut self, labels: &[(&str, &str)], samples: &[Sample]) {
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        self.series.clear();
        for (name, value) in sorted {
            self.part.clear();
            put_bytes(&mut self.part, LABEL_NAME, name.as_bytes());
            put_bytes(&mut self.part, LABEL_VALUE, value.as_bytes());
            put_bytes(&mut self.series, SERIES_LABEL, &self.part);
        }
        for sample in samples {
            self.part.clear();
            put_double(&mut self.part, SAMPLE_VALUE, sample.value);
            put_int64(&mut self.part, SAMPLE_TIMESTAMP, sample.timestamp_ms);
            put_bytes(&mut self.series, SERIES_SAMPLE, &self.part);
        }
        put_bytes(&mut self.body, REQUEST_SERIES, &self.series);
    }

    /// The request, not compressed yet.
    pub fn finish(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: u64 = 0x7ff0_0000_0000_0002;

    /// Labels as written, samples as the bits of the value and the time.
    type Seen = (Vec<(String, String)>, Vec<(u64, i64)>);

    fn seen(body: &[u8]) -> Result<Vec<Seen>, ProtobufError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = Vec::new();
        walk(body, &mut |series| {
            let labels = series.labels().map(|(name, value)| (text(name), text(value))).collect();
            let samples =
                series.samples().map(|it| (it.value.to_bits(), it.timestamp_ms)).collect();
            all.push((labels, samples));
        })?;
        Ok(all)
    }

    fn pairs(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A request of three series, and where in it each one ends.
    fn three_series() -> (Vec<u8>, [usize; 4]) {
        let stale = Sample { value: f64::from_bits(STALE), timestamp_ms: 1_700_000_001_000 };
        let mut builder = WriteRequestBuilder::new();
        let mut ends = [0; 4];
        builder.push(&[("job", "a"), ("__name__", "up")], &[Sample::default(), stale]);
        ends[1] = builder.body.len();
        builder.push(&[], &[Sample { value: -0.0, timestamp_ms: -1 }]);
        ends[2] = builder.body.len();
        builder.push(&[("__name__", "empty"), ("label", "")], &[]);
        ends[3] = builder.body.len();
        (builder.finish(), ends)
    }

    #[test]
    fn a_request_is_read_as_it_was_written_with_its_labels_sorted() {
        let (body, _) = three_series();
        let expected = vec![
            (pairs(&[("__name__", "up"), ("job", "a")]), vec![(0, 0), (STALE, 1_700_000_001_000)]),
            (vec![], vec![((-0.0_f64).to_bits(), -1)]),
            (pairs(&[("__name__", "empty"), ("label", "")]), vec![]),
        ];
        assert_eq!(seen(&body), Ok(expected));
    }

    #[test]
    fn the_bytes_are_those_of_a_prometheus() {
        let mut builder = WriteRequestBuilder::new();
        builder.push(&[("__name__", "up")], &[Sample { value: 1.0, timestamp_ms: 1000 }]);
        let expected = b"\x0a\x1e\
            \x0a\x0e\x0a\x08__name__\x12\x02up\
            \x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07";
        assert_eq!(builder.finish(), expected);
    }

    #[test]
    fn a_request_cut_at_any_byte_but_after_a_series_is_truncated() {
        let (body, ends) = three_series();
        let all = seen(&body).expect("well-formed");
        for end in 0..=body.len() {
            match ends.iter().position(|border| *border == end) {
                Some(count) => assert_eq!(seen(&body[..end]).as_deref(), Ok(&all[..count])),
                None => assert_eq!(seen(&body[..end]), Err(ProtobufError::Truncated), "{end}"),
            }
        }
    }

    #[test]
    fn unknown_fields_are_skipped_on_every_level() {
        let unknown = |out: &mut Vec<u8>| {
            put_int64(out, 77, 5);
            put_double(out, 78, 1.5);
            put_bytes(out, 79, b"later");
            out.extend_from_slice(&[5 << 3 | 5, 1, 2, 3, 4]);
        };
        let (mut label, mut sample, mut series, mut body) = (vec![], vec![], vec![], vec![]);
        unknown(&mut label);
        put_bytes(&mut label, LABEL_NAME, b"job");
        unknown(&mut label);
        put_int64(&mut sample, SAMPLE_TIMESTAMP, 9);
        unknown(&mut sample);
        unknown(&mut series);
        put_bytes(&mut series, SERIES_LABEL, &label);
        put_bytes(&mut series, SERIES_SAMPLE, &sample);
        unknown(&mut body);
        put_bytes(&mut body, REQUEST_SERIES, &series);
        unknown(&mut body);
        assert_eq!(seen(&body), Ok(vec![(pairs(&[("job", "")]), vec![(0, 9)])]));
    }

    #[test]
    fn a_known_field_of_another_type_is_an_error_on_every_level() {
        let wrap = |number, message: &[u8]| {
            let mut out = Vec::new();
            put_bytes(&mut out, number, message);
            out
        };
        let mut number = Vec::new();
        put_int64(&mut number, 1, 5);
        let in_label = wrap(REQUEST_SERIES, &wrap(SERIES_LABEL, &number));
        let in_sample = wrap(REQUEST_SERIES, &wrap(SERIES_SAMPLE, &number));
        let in_series = wrap(REQUEST_SERIES, &number);
        for body in [in_label, in_sample, in_series, number] {
            assert_eq!(seen(&body), Err(ProtobufError::UnexpectedType), "{body:?}");
        }
    }

    #[test]
    fn a_request_with_any_byte_changed_does_not_panic() {
        let (body, _) = three_series();
        let mut errors = 0;
        for index in 0..body.len() {
            for byte in 0..=255 {
                let mut changed = body.clone();
                changed[index] = byte;
                errors += usize::from(seen(&changed).is_err());
            }
        }
        assert!(errors > body.len(), "{errors} errors only");
    }
}
