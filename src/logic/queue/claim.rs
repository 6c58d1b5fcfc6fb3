//! Which series a record speaks of, as far as its order among others depends on it.
//!
//! A lane of its own for each connection of a source would not be right: the shards of a Prometheus take
//! their connections from one pool, so that one shard speaks on several and several speak on one. Nor
//! are the shards known, and they change. What is in a body is always right: two requests that have no
//! series in common may arrive either way round, whoever sent them and whenever. It costs reading the
//! body, and is asked only where several requests may be under way and the order counts.

use crate::base::limits::QUEUE_CLAIM_SERIES_MAX;
use crate::wire::remote_write::push::Push;
use crate::wire::remote_write::series::SeriesHasher;
use crate::wire::remote_write::snappy::Decoder;
use crate::wire::remote_write::survey::Surveyor;

/// What a record speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Perhaps anything: it goes alone.
    All,
    /// These series: halves of their identities, rising. Two that meet by chance cost a wait.
    Series(Box<[u64]>),
}

impl Claim {
    /// Of these series.
    pub fn of(mut series: Vec<u64>) -> Claim {
        series.sort_unstable();
        series.dedup();
        Claim::Series(series.into())
    }

    /// Whether both may speak of the same series.
    pub fn meets(&self, other: &Claim) -> bool {
        let (Claim::Series(one), Claim::Series(other)) = (self, other) else { return true };
        let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
        while let (Some(first), Some(second)) = (one.peek(), other.peek()) {
            match first.cmp(second) {
                std::cmp::Ordering::Less => drop(one.next()),
                std::cmp::Ordering::Greater => drop(other.next()),
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }
}

/// Reads claims. Its memory serves the next.
#[derive(Debug)]
pub struct ClaimReader {
    decoded_bytes_max: usize,
    surveyor: Surveyor,
    decoder: Decoder,
}

impl ClaimReader {
    /// It reads bodies that decode to no more than so many bytes.
    pub fn new(hasher: SeriesHasher, decoded_bytes_max: usize) -> ClaimReader {
        let surveyor = Surveyor::new(hasher, decoded_bytes_max);
        ClaimReader { decoded_bytes_max, surveyor, decoder: Decoder::default() }
    }

    /// What a request speaks of. All that can't be read, or speaks of no series or of very many, may
    /// speak of anything; so does the metadata of version 1, which belongs to no series.
    pub fn read(&mut self, push: &Push) -> Claim {
        self.series(push).map_or(Claim::All, Claim::of)
    }

    fn series(&mut self, push: &Push) -> Option<Vec<u64>> {
        let body = self.decoder.decode(push.body(), self.decoded_bytes_max).ok()?;
        let mut survey = self.surveyor.open(push.protocol(), body).ok()?;
        let mut series = Vec::new();
        loop {
            let batch = survey.next_batch().ok()?;
            if batch.is_empty() {
                break;
            }
            series.extend(batch.iter().map(|mention| mention.id.0 as u64));
            if series.len() > QUEUE_CLAIM_SERIES_MAX {
                return None;
            }
        }
        (!survey.has_metadata() && !series.is_empty()).then_some(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;
    use crate::wire::remote_write::{snappy, v1, v2};

    const SAMPLE: v1::Sample = v1::Sample { value: 1.0, timestamp_ms: 5 };

    fn push(message: &[u8], protocol: Protocol) -> Push {
        let head = b"POST /w HTTP/1.1\r\n\r\n".to_vec();
        let block = snappy::encode(message).expect("it is short");
        let head_bytes = head.len();
        Push::new([head, block].concat(), head_bytes, protocol)
    }

    fn of_v1(names: &[&str]) -> Push {
        let mut request = v1::WriteRequestBuilder::new();
        names.iter().for_each(|name| request.push(&[("__name__", name)], &[SAMPLE]));
        push(&request.finish(), Protocol::V1)
    }

    #[test]
    fn requests_meet_where_they_speak_of_the_same_series_in_either_version() {
        let mut reader = ClaimReader::new(SeriesHasher::new(3), 1 << 20);
        let mut other = v2::RequestBuilder::new();
        other.push(&[("__name__", "b")], &[SAMPLE]);
        let other = reader.read(&push(&other.finish(), Protocol::V2));
        let cases =
            [(&["a"][..], false), (&["b"], true), (&["a", "c"], false), (&["c", "b"], true)];
        for (names, expected) in cases {
            let claim = reader.read(&of_v1(names));
            assert_eq!(
                (claim.meets(&other), other.meets(&claim)),
                (expected, expected),
                "{names:?}"
            );
        }
    }

    #[test]
    fn what_says_nothing_that_can_be_read_goes_alone() {
        let mut reader = ClaimReader::new(SeriesHasher::new(3), 1 << 10);
        let metadata = push(&[3 << 3 | 2, 0], Protocol::V1);
        let garbage = Push::new(b"no snappy".to_vec(), 0, Protocol::V1);
        let long: Vec<String> = (0..200).map(|number| format!("series_{number}")).collect();
        let long = of_v1(&long.iter().map(String::as_str).collect::<Vec<_>>());
        for push in [metadata, garbage, long, push(&[], Protocol::V1), push(&[], Protocol::V2)] {
            let claim = reader.read(&push);
            assert_eq!(claim, Claim::All);
            assert!(claim.meets(&Claim::of(Vec::new())));
        }
    }
}
