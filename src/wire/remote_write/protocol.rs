//! Which remote write a request speaks, and where each of the two keeps its points.
//!
//! Only what says clearly that it is remote write counts as such: the type and the encoding must
//! both be there. OTLP comes as `application/x-protobuf` too, without snappy, and a body taken for
//! what it is not would be held for nothing.

/// A version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Remote write 1.0, `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

/// What a series carries: each has a time, and its own field in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A float sample.
    Sample,
    /// A native histogram.
    Histogram,
    /// An exemplar.
    Exemplar,
}

const MEDIA_TYPE: &[u8] = b"application/x-protobuf";
const ENCODING: &[u8] = b"snappy";
const MESSAGE_PARAMETER: &[u8] = b"proto";
const MESSAGE_V1: &[u8] = b"prometheus.WriteRequest";
const MESSAGE_V2: &[u8] = b"io.prometheus.write.v2.Request";

impl Protocol {
    /// What a request with these header values speaks, `None` if it is no remote write. A type
    /// without the parameter `proto` is version 1, which knew none; one that names another message
    /// is refused by every receiver.
    pub fn of(content_type: &[u8], content_encoding: &[u8]) -> Option<Protocol> {
        if !content_encoding.trim_ascii().eq_ignore_ascii_case(ENCODING) {
            return None;
        }
        let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        if !parts.next()?.eq_ignore_ascii_case(MEDIA_TYPE) {
            return None;
        }
        match parts.find_map(message) {
            None | Some(MESSAGE_V1) => Some(Protocol::V1),
            Some(MESSAGE_V2) => Some(Protocol::V2),
            Some(_) => None,
        }
    }

    /// The field of a request that holds a series.
    pub(super) fn series_field(self) -> u32 {
        match self {
            Protocol::V1 => 1,
            Protocol::V2 => 5,
        }
    }

    /// What the field of a series holds, if it is a point.
    #[inline]
    pub(super) fn point(self, series_field: u32) -> Option<Point> {
        match (self, series_field) {
            (_, 2) => Some(Point::Sample),
            (Protocol::V1, 3) | (Protocol::V2, 4) => Some(Point::Exemplar),
            (Protocol::V1, 4) | (Protocol::V2, 3) => Some(Point::Histogram),
            _ => None,
        }
    }
}

impl Point {
    /// The field of the point that holds its time, the same in both versions.
    #[inline]
    pub(super) fn timestamp_field(self) -> u32 {
        match self {
            Point::Sample => 2,
            Point::Exemplar => 3,
            Point::Histogram => 15,
        }
    }
}

/// The value of the parameter `proto`, if this is it.
fn message(parameter: &[u8]) -> Option<&[u8]> {
    let equals = memchr::memchr(b'=', parameter)?;
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    name.eq_ignore_ascii_case(MESSAGE_PARAMETER).then_some(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_senders_say_is_understood() {
        let cases = [
            ("application/x-protobuf", "snappy", Some(Protocol::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", Some(Protocol::V1)),
            (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "snappy",
                Some(Protocol::V2),
            ),
            (
                " Application/X-Protobuf ; Proto = \"io.prometheus.write.v2.Request\"; a=b",
                " Snappy ",
                Some(Protocol::V2),
            ),
            ("application/x-protobuf; charset=utf-8", "snappy", Some(Protocol::V1)),
        ];
        for (content_type, encoding, expected) in cases {
            let protocol = Protocol::of(content_type.as_bytes(), encoding.as_bytes());
            assert_eq!(protocol, expected, "{content_type}");
        }
    }

    #[test]
    fn what_is_anything_else_is_no_remote_write() {
        let cases = [
            ("", ""),
            ("application/x-protobuf", ""),
            ("", "snappy"),
            ("application/x-protobuf", "gzip"),
            ("application/x-protobuf", "zstd"),
            ("application/json", "snappy"),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy"),
            ("application/x-protobuf;proto=", "snappy"),
            ("text/plain;application/x-protobuf", "snappy"),
        ];
        for (content_type, encoding) in cases {
            let protocol = Protocol::of(content_type.as_bytes(), encoding.as_bytes());
            assert_eq!(protocol, None, "{content_type}, {encoding}");
        }
    }
}
