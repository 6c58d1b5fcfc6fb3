//! A walk over a decoded request that tells, series by series, who is spoken of and until when.
//!
//! It goes in batches of bounded size. A map of a million series does not fit in a cache, so each
//! look-up is a miss; with a batch of identities at hand the misses overlap, one by one they do not.
//! And a body of nothing but tiny series takes no more memory than any other.

use super::error::BodyError;
use super::labels::{Front, LabelText, SERIES_LABELS, sorted_v1};
use super::points::{Counts, timestamp_ms};
use super::protobuf::{Fields, ProtobufError};
use super::protocol::{Point, Protocol};
use super::series::{SeriesHasher, SeriesId};
use super::symbols::Symbols;

/// Series of a batch: enough to overlap all misses, few enough to stay in the fastest cache.
const BATCH_SERIES: usize = 256;

/// The field of a version 1 request that holds the metadata of a metric.
const REQUEST_METADATA: u32 = 3;

/// What a request says of a series in one place; it may speak of the same series again.
#[derive(Clone, Copy, Debug)]
pub struct Mention {
    /// Which series.
    pub id: SeriesId,
    /// The newest time of its samples and histograms, in milliseconds since 1970; `i64::MIN` if
    /// there are none.
    pub newest_ms: i64,
    /// How much is said, never nothing.
    pub counts: Counts,
    /// Where the series' field begins in the body, and where it ends.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Surveys requests one after the other; the memory one has taken serves the next.
#[derive(Debug)]
pub struct Surveyor {
    hasher: SeriesHasher,
    decoded_bytes_max: usize,
    symbols: Symbols,
    text: LabelText,
    batch: Vec<Mention>,
}

impl Surveyor {
    /// A surveyor that gives the identities of `hasher`. It takes at most five times
    /// `decoded_bytes_max` bytes of memory, and refuses what would take more.
    pub fn new(hasher: SeriesHasher, decoded_bytes_max: usize) -> Surveyor {
        Surveyor {
            hasher,
            decoded_bytes_max,
            symbols: Symbols::default(),
            text: LabelText::default(),
            batch: Vec::with_capacity(BATCH_SERIES),
        }
    }

    /// From now on bodies may decode to so many bytes.
    pub fn set_decoded_bytes_max(&mut self, bytes: usize) {
        self.decoded_bytes_max = bytes;
    }

    /// Begins a walk over a decoded request.
    pub fn open<'s, 'b>(
        &'s mut self,
        protocol: Protocol,
        body: &'b [u8],
    ) -> Result<Survey<'s, 'b>, BodyError> {
        if protocol == Protocol::V2 {
            self.symbols.read(body, self.decoded_bytes_max)?;
            self.text.begin(self.decoded_bytes_max);
        }
        Ok(Survey { surveyor: self, protocol, body, fields: Fields::of(body), has_metadata: false })
    }

    /// The bytes allocated.
    pub fn bytes(&self) -> usize {
        let batch = self.batch.capacity() * size_of::<Mention>();
        batch + self.symbols.bytes() + self.text.bytes()
    }
}

/// The walk over one request.
#[derive(Debug)]
pub struct Survey<'s, 'b> {
    surveyor: &'s mut Surveyor,
    protocol: Protocol,
    body: &'b [u8],
    fields: Fields<'b>,
    has_metadata: bool,
}

impl<'b> Survey<'_, 'b> {
    /// The next series that carry a point, in the order of the body; none after the last. An error
    /// ends the walk; the batches before it stand.
    pub fn next_batch(&mut self) -> Result<&[Mention], BodyError> {
        self.surveyor.batch.clear();
        let mut start = self.position();
        while self.surveyor.batch.len() < BATCH_SERIES {
            let Some(field) = self.fields.next() else { break };
            let (number, value) = field?;
            let end = self.position();
            if number == self.protocol.series_field() {
                self.mention(value.bytes()?, start, end)?;
            }
            self.has_metadata |= self.protocol == Protocol::V1 && number == REQUEST_METADATA;
            start = end;
        }
        Ok(&self.surveyor.batch)
    }

    /// Whether metadata that belongs to no series was walked over: version 1 sends it that way.
    pub fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    fn position(&self) -> usize {
        self.body.len() - self.fields.rest().len()
    }

    #[inline]
    fn mention(&mut self, series: &'b [u8], start: usize, end: usize) -> Result<(), BodyError> {
        let front = match self.protocol {
            Protocol::V1 => Front::of_v1(series),
            Protocol::V2 => Front::of_v2(series),
        };
        let points = Points::of(self.protocol, front.rest)?;
        if points.counts.is_empty() {
            return Ok(());
        }
        let front = Some(front).filter(|front| front.is_whole && !points.have_labels);
        let Surveyor { hasher, symbols, text, batch, .. } = &mut *self.surveyor;
        let id = match (self.protocol, front) {
            (Protocol::V1, Some(front)) => front.id_v1(hasher),
            (Protocol::V1, None) => sorted_v1(series, hasher)?,
            (Protocol::V2, front) => text.id_v2(front, series, self.body, symbols, hasher)?,
        };
        batch.push(Mention { id, newest_ms: points.newest_ms, counts: points.counts, start, end });
        Ok(())
    }
}

/// What the fields of a series after its first labels come to.
struct Points {
    counts: Counts,
    newest_ms: i64,
    /// Whether there are labels among them.
    have_labels: bool,
}

impl Points {
    #[inline]
    fn of(protocol: Protocol, fields: &[u8]) -> Result<Points, ProtobufError> {
        let counts = Counts::default();
        let mut points = Points { counts, newest_ms: i64::MIN, have_labels: false };
        for field in Fields::of(fields) {
            let (number, value) = field?;
            let Some(point) = protocol.point(number) else {
                points.have_labels |= number == SERIES_LABELS;
                continue;
            };
            let timestamp_ms = timestamp_ms(value.bytes()?, point)?;
            points.counts.add_some(point, 1);
            if point != Point::Exemplar {
                points.newest_ms = points.newest_ms.max(timestamp_ms);
            }
        }
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::{put_bytes, put_varint};
    use super::super::v1::{Sample, WriteRequestBuilder};
    use super::super::v2::RequestBuilder;
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn surveyor() -> Surveyor {
        Surveyor::new(SeriesHasher::new(1), LIMIT)
    }

    fn survey(protocol: Protocol, body: &[u8]) -> Result<Vec<Mention>, BodyError> {
        let mut surveyor = surveyor();
        let mut survey = surveyor.open(protocol, body)?;
        let mut all = Vec::new();
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                assert!(surveyor.bytes() <= 5 * LIMIT);
                return Ok(all);
            }
            assert!(batch.len() <= BATCH_SERIES);
            all.extend_from_slice(batch);
        }
    }

    /// A version 2 series with these references and one sample.
    fn referring(body: &mut Vec<u8>, references: &[u64]) {
        let (mut packed, mut series) = (Vec::new(), Vec::new());
        references.iter().for_each(|number| put_varint(&mut packed, *number));
        put_bytes(&mut series, SERIES_LABELS, &packed);
        put_bytes(&mut series, 2, &[]);
        put_bytes(body, Protocol::V2.series_field(), &series);
    }

    #[test]
    fn all_series_are_told_in_order_however_many_batches_they_fill() {
        let count = 2 * BATCH_SERIES + 7;
        let (mut one, mut two) = (WriteRequestBuilder::new(), RequestBuilder::new());
        for number in 0..count {
            let name = format!("metric_{number}");
            let samples = [Sample { value: 1.0, timestamp_ms: number as i64 }];
            one.push(&[("__name__", &name)], &samples);
            two.push(&[("__name__", &name)], &samples);
        }
        let one = survey(Protocol::V1, &one.finish()).expect("well-formed");
        let two = survey(Protocol::V2, &two.finish()).expect("well-formed");
        assert_eq!(one.len(), count);
        assert_eq!(two.len(), count);
        for (number, (one, two)) in one.iter().zip(&two).enumerate() {
            let name = format!("metric_{number}");
            let id = SeriesHasher::new(1).of(&mut [(b"__name__", name.as_bytes())]);
            assert_eq!((one.id, two.id), (id, id));
            assert_eq!((one.newest_ms, two.newest_ms), (number as i64, number as i64));
        }
    }

    #[test]
    fn series_without_points_are_not_told_and_take_no_memory() {
        let body = [1 << 3 | 2, 0].repeat(300_000);
        assert_eq!(survey(Protocol::V1, &body).map(|all| all.len()), Ok(0));
        let body = [5 << 3 | 2, 0].repeat(300_000);
        assert_eq!(survey(Protocol::V2, &body).map(|all| all.len()), Ok(0));
    }

    #[test]
    fn tiny_series_take_no_more_memory_than_others() {
        // A series of four bytes: one sample, which says nothing.
        let body = [1 << 3 | 2, 2, 2 << 3 | 2, 0].repeat(50_000);
        let mut surveyor = surveyor();
        let before = surveyor.bytes();
        let mut survey = surveyor.open(Protocol::V1, &body).expect("version 1 opens");
        while !survey.next_batch().expect("well-formed").is_empty() {}
        assert_eq!(surveyor.bytes(), before);
    }

    #[test]
    fn metadata_of_version_1_is_noticed_when_it_was_walked_over() {
        let mut body = Vec::new();
        put_bytes(&mut body, REQUEST_METADATA, b"\x08\x01");
        for (protocol, expected) in [(Protocol::V1, true), (Protocol::V2, false)] {
            let mut surveyor = surveyor();
            let mut survey = surveyor.open(protocol, &body).expect("it opens");
            assert!(!survey.has_metadata());
            assert!(survey.next_batch().expect("well-formed").is_empty());
            assert_eq!(survey.has_metadata(), expected);
        }
    }

    #[test]
    fn more_symbols_than_memory_allows_are_refused() {
        let symbols = |count: usize| [4 << 3 | 2, 0].repeat(count);
        assert!(survey(Protocol::V2, &symbols(LIMIT / 8)).is_ok());
        let error = survey(Protocol::V2, &symbols(LIMIT / 8 + 1)).expect_err("too many");
        assert_eq!(error, BodyError::TooManySymbols);
    }

    #[test]
    fn one_long_symbol_referred_to_again_and_again_is_refused() {
        let mut body = Vec::new();
        put_bytes(&mut body, 4, b"a");
        put_bytes(&mut body, 4, &vec![b'x'; LIMIT / 4]);
        let short = body.len();
        (0..3).for_each(|_| referring(&mut body, &[0, 1]));
        assert_eq!(survey(Protocol::V2, &body).map(|all| all.len()), Ok(3));
        referring(&mut body, &[0, 1]);
        assert_eq!(survey(Protocol::V2, &body).expect_err("too long"), BodyError::LabelsTooLong);
        // The same within one series, and out of order.
        for references in [&[0, 1, 1, 1, 1, 1][..], &[1, 1, 1, 1, 0, 1]] {
            body.truncate(short);
            referring(&mut body, references);
            let error = survey(Protocol::V2, &body).expect_err("too long");
            assert_eq!(error, BodyError::LabelsTooLong);
        }
    }

    #[test]
    fn references_to_nothing_and_names_without_a_value_are_refused() {
        for (references, error) in [
            (&[0, 2][..], BodyError::NoSuchSymbol),
            (&[u64::MAX, 0], BodyError::NoSuchSymbol),
            (&[0], BodyError::OddReferences),
            (&[0, 1, 1], BodyError::OddReferences),
            (&[1, 1, 0], BodyError::OddReferences),
        ] {
            let mut body = Vec::new();
            put_bytes(&mut body, 4, b"a");
            put_bytes(&mut body, 4, b"b");
            referring(&mut body, references);
            assert_eq!(survey(Protocol::V2, &body).expect_err("no labels"), error);
        }
    }

    #[test]
    fn a_series_with_thousands_of_labels_out_of_order_is_refused() {
        let labels = |count: u64| {
            let mut series = Vec::new();
            (0..count).for_each(|_| put_bytes(&mut series, SERIES_LABELS, &[]));
            put_bytes(&mut series, 2, &[]);
            let mut body = Vec::new();
            put_bytes(&mut body, Protocol::V1.series_field(), &series);
            body
        };
        assert!(survey(Protocol::V1, &labels(4096)).is_ok());
        let error = survey(Protocol::V1, &labels(4097)).expect_err("too many");
        assert_eq!(error, BodyError::TooManyLabels);
    }
}
