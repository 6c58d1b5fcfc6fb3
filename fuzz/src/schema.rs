//! The second opinion on remote write: both versions as their schemas say, read by `prost`.
//!
//! The reference that the proxy's own tests are held against was written beside the fast code and
//! may share its misunderstandings; this reading shares nothing. Only the fields that are read are
//! declared. Texts are bytes here: that they are UTF-8 is nobody's business on the way. References
//! are wider than in the schema, or one beyond 32 bits would come back as a small one.

use highlander::wire::remote_write::protocol::{Point, Protocol};
use highlander::wire::remote_write::reference::Labels;
use prost::Message;

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Its series, in the order of the body.
    pub series: Vec<Series>,
    /// Its symbols, none in version 1.
    pub symbols: Vec<Vec<u8>>,
}

/// A series.
#[derive(Debug)]
pub struct Series {
    labels: Written,
    /// The times of its samples.
    pub samples: Vec<i64>,
    /// The times of its histograms.
    pub histograms: Vec<i64>,
    /// The times of its exemplars.
    pub exemplars: Vec<i64>,
}

/// Labels as the two versions write them.
#[derive(Debug)]
enum Written {
    Out(Vec<Label>),
    AsReferences(Vec<u64>),
}

impl Request {
    /// Reads a decoded request; `None` if the second parser refuses it. References that lead
    /// nowhere are no reason to.
    pub fn read(protocol: Protocol, body: &[u8]) -> Option<Request> {
        match protocol {
            Protocol::V1 => {
                let request = RequestV1::decode(body).ok()?;
                let series = request.series.into_iter().map(SeriesV1::read).collect();
                Some(Request { series, symbols: Vec::new() })
            }
            Protocol::V2 => {
                let request = RequestV2::decode(body).ok()?;
                let series = request.series.into_iter().map(SeriesV2::read).collect();
                Some(Request { series, symbols: request.symbols })
            }
        }
    }

    /// The sorted labels of a series, `None` if a reference leads nowhere or a name has no value.
    /// They may be many times as long as the body.
    pub fn labels(&self, series: &Series) -> Option<Labels> {
        let mut labels: Labels = match &series.labels {
            Written::Out(labels) => {
                labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
            }
            Written::AsReferences(numbers) => {
                let texts: Option<Vec<&[u8]>> = numbers.iter().map(|it| self.symbol(*it)).collect();
                let texts = texts?;
                let (pairs, []) = texts.as_chunks::<2>() else { return None };
                pairs.iter().map(|[name, value]| (name.to_vec(), value.to_vec())).collect()
            }
        };
        labels.sort();
        Some(labels)
    }

    /// How long the names and values of a series are together. What a reference that leads nowhere
    /// stands for is empty.
    pub fn text_bytes(&self, series: &Series) -> usize {
        match &series.labels {
            Written::Out(labels) => labels.iter().map(|it| it.name.len() + it.value.len()).sum(),
            Written::AsReferences(numbers) => {
                numbers.iter().filter_map(|it| self.symbol(*it)).map(<[u8]>::len).sum()
            }
        }
    }

    fn symbol(&self, number: u64) -> Option<&[u8]> {
        self.symbols.get(usize::try_from(number).ok()?).map(Vec::as_slice)
    }
}

impl Series {
    /// How many pairs of labels it has, one without a value included.
    pub fn pairs(&self) -> usize {
        match &self.labels {
            Written::Out(labels) => labels.len(),
            Written::AsReferences(numbers) => numbers.len().div_ceil(2),
        }
    }

    /// The times of its points of a kind.
    pub fn times(&self, point: Point) -> &[i64] {
        match point {
            Point::Sample => &self.samples,
            Point::Histogram => &self.histograms,
            Point::Exemplar => &self.exemplars,
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        [Point::Sample, Point::Histogram, Point::Exemplar]
            .iter()
            .all(|it| self.times(*it).is_empty())
    }
}

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
struct RequestV1 {
    #[prost(message, repeated, tag = "1")]
    series: Vec<SeriesV1>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, Message)]
struct RequestV2 {
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<SeriesV2>,
}

/// `io.prometheus.write.v2.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
struct SeriesV2 {
    #[prost(uint64, repeated, tag = "1")]
    references: Vec<u64>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(int64, tag = "2")]
    timestamp_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(int64, tag = "15")]
    timestamp_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(int64, tag = "3")]
    timestamp_ms: i64,
}

impl SeriesV1 {
    fn read(self) -> Series {
        Series {
            labels: Written::Out(self.labels),
            samples: self.samples.iter().map(|it| it.timestamp_ms).collect(),
            histograms: self.histograms.iter().map(|it| it.timestamp_ms).collect(),
            exemplars: self.exemplars.iter().map(|it| it.timestamp_ms).collect(),
        }
    }
}

impl SeriesV2 {
    fn read(self) -> Series {
        Series {
            labels: Written::AsReferences(self.references),
            samples: self.samples.iter().map(|it| it.timestamp_ms).collect(),
            histograms: self.histograms.iter().map(|it| it.timestamp_ms).collect(),
            exemplars: self.exemplars.iter().map(|it| it.timestamp_ms).collect(),
        }
    }
}
