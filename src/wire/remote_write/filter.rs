//! Takes out of a request what has been delivered already, and touches nothing else.
//!
//! A new body is made of slices of the old one: whatever stays is copied as it stands, with fields
//! that nobody here knows, every bit of a value, and the order. Only a series that keeps a part of
//! its points gets a new length. Where nothing has to go there is no new body at all.
//!
//! What passes is decided point by point, by the caller. On top of that an exemplar stays where a
//! sample or histogram of the same series stays, and goes, in version 2, where all of them go: a
//! series that has lost them is refused by receivers there.

use super::error::BodyError;
use super::points::{Counts, timestamp_ms};
use super::protobuf::{Fields, ProtobufError, put_bytes};
use super::protocol::{Point, Protocol};
use super::series::SeriesId;
use super::survey::{Mention, Surveyor};

/// What is left of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// No point and no metadata of version 1: it need not be sent.
    NothingNew,
    /// Everything: it goes as it was received. So does a request that had no points.
    AllNew,
    /// This, decoded: to be encoded again.
    New(Vec<u8>),
}

/// What a filter has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is left of the request.
    pub filtered: Filtered,
    /// The points that passed.
    pub kept: Counts,
    /// The points that did not.
    pub skipped: Counts,
}

/// Filters a decoded request with what `passes` says of each of its points, by series and time.
/// A series that is spoken of twice is asked for twice.
pub fn filter(
    protocol: Protocol,
    body: &[u8],
    surveyor: &mut Surveyor,
    mut passes: impl FnMut(SeriesId, i64) -> bool,
) -> Result<Outcome, BodyError> {
    let mut survey = surveyor.open(protocol, body)?;
    let mut filter = Filter::of(protocol, body);
    loop {
        let batch = survey.next_batch()?;
        if batch.is_empty() {
            return Ok(filter.finish(survey.has_metadata()));
        }
        for mention in batch {
            filter.take(mention, |timestamp_ms| passes(mention.id, timestamp_ms))?;
        }
    }
}

/// A request on its way through the filter, for callers that look up a batch of series at once.
#[derive(Debug)]
pub struct Filter<'b> {
    protocol: Protocol,
    body: &'b [u8],
    /// What stays of the body up to `done`, but for `body[copied..done]`, which is still to copy.
    new_body: Vec<u8>,
    copied: usize,
    done: usize,
    kept: Counts,
    skipped: Counts,
    /// Scratch: each point of a series and whether it passes, in the order of the body.
    verdicts: Vec<(Point, bool)>,
}

impl<'b> Filter<'b> {
    /// Of a decoded request.
    pub fn of(protocol: Protocol, body: &'b [u8]) -> Filter<'b> {
        Filter {
            protocol,
            body,
            new_body: Vec::new(),
            copied: 0,
            done: 0,
            kept: Counts::default(),
            skipped: Counts::default(),
            verdicts: Vec::new(),
        }
    }

    /// Takes the next mention of the request's survey, and asks `passes` for each of its points by
    /// its time. Mentions must come in order, each once; one that is left out stays.
    #[inline]
    pub fn take(
        &mut self,
        mention: &Mention,
        mut passes: impl FnMut(i64) -> bool,
    ) -> Result<(), BodyError> {
        assert!(mention.start >= self.done, "mentions are taken in the order of the body");
        if mention.counts.dated() == 1 && mention.counts.exemplars == 0 {
            // Nearly all series are like this, and need not be read again.
            match passes(mention.newest_ms) {
                true => self.keep(mention),
                false => self.skip(mention),
            }
            return Ok(());
        }
        self.take_many(mention, passes)
    }

    /// The result. `has_metadata` is what the survey says at its end.
    pub fn finish(mut self, has_metadata: bool) -> Outcome {
        let (kept, skipped) = (self.kept, self.skipped);
        let filtered = if skipped.is_empty() {
            Filtered::AllNew
        } else if kept.is_empty() && !has_metadata {
            Filtered::NothingNew
        } else {
            self.copy_until(self.body.len());
            Filtered::New(self.new_body)
        };
        Outcome { filtered, kept, skipped }
    }

    fn keep(&mut self, mention: &Mention) {
        self.kept.add(mention.counts);
        self.done = mention.end;
    }

    fn skip(&mut self, mention: &Mention) {
        self.skipped.add(mention.counts);
        self.copy_until(mention.start);
        self.copied = mention.end;
        self.done = mention.end;
    }

    fn take_many(
        &mut self,
        mention: &Mention,
        passes: impl FnMut(i64) -> bool,
    ) -> Result<(), BodyError> {
        let field = self.body.get(mention.start..mention.end).unwrap_or_default();
        let (number, series) = Fields::of(field).next().ok_or(ProtobufError::Truncated)??;
        let series = series.bytes()?;
        let kept = self.judge(series, passes)?;
        if kept == mention.counts {
            self.keep(mention);
        } else if kept.is_empty() {
            self.skip(mention);
        } else {
            let shortened = self.shorten(series)?;
            self.copy_until(mention.start);
            put_bytes(&mut self.new_body, number, &shortened);
            self.copied = mention.end;
            self.done = mention.end;
            self.kept.add(kept);
            self.skipped.add(mention.counts.without(kept));
        }
        Ok(())
    }

    /// Puts down of each point of a series whether it passes, and counts those that do.
    fn judge(
        &mut self,
        series: &[u8],
        mut passes: impl FnMut(i64) -> bool,
    ) -> Result<Counts, ProtobufError> {
        self.verdicts.clear();
        let (mut all, mut kept) = (Counts::default(), Counts::default());
        for field in Fields::of(series) {
            let (number, value) = field?;
            let Some(point) = self.protocol.point(number) else { continue };
            let verdict = passes(timestamp_ms(value.bytes()?, point)?);
            self.verdicts.push((point, verdict));
            all.add_some(point, 1);
            kept.add_some(point, u32::from(verdict));
        }
        let exemplars = match (kept.dated() > 0, all.dated() > 0) {
            (true, _) => Some(true),
            (false, true) if self.protocol == Protocol::V2 => Some(false),
            (false, _) => None,
        };
        if let Some(stay) = exemplars {
            kept.exemplars = if stay { all.exemplars } else { 0 };
            let of_exemplars = self.verdicts.iter_mut().filter(|it| it.0 == Point::Exemplar);
            of_exemplars.for_each(|it| it.1 = stay);
        }
        Ok(kept)
    }

    /// The series without the points that do not pass.
    fn shorten(&self, series: &[u8]) -> Result<Vec<u8>, ProtobufError> {
        let mut shortened = Vec::with_capacity(series.len());
        let mut verdicts = self.verdicts.iter();
        let mut fields = Fields::of(series);
        while let Some(field) = fields.next_whole() {
            let (number, bytes) = field?;
            let is_point = self.protocol.point(number).is_some();
            if !is_point || verdicts.next().is_none_or(|(_, verdict)| *verdict) {
                shortened.extend_from_slice(bytes);
            }
        }
        Ok(shortened)
    }

    fn copy_until(&mut self, end: usize) {
        if self.new_body.capacity() == 0 && end > self.copied {
            // The new body is never longer, and so is never moved.
            self.new_body.reserve_exact(self.body.len());
        }
        self.new_body.extend_from_slice(self.body.get(self.copied..end).unwrap_or_default());
        self.copied = end;
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::put_int64;
    use super::super::series::SeriesHasher;
    use super::*;

    /// A message with a time and nothing else.
    fn dated(number: u32, timestamp_ms: i64) -> Vec<u8> {
        let mut message = Vec::new();
        put_int64(&mut message, number, timestamp_ms);
        message
    }

    /// A request of one series with these fields.
    fn request(protocol: Protocol, fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let (mut series, mut body) = (Vec::new(), Vec::new());
        for (number, message) in fields {
            put_bytes(&mut series, *number, message);
        }
        put_bytes(&mut body, protocol.series_field(), &series);
        body
    }

    fn newer_than(protocol: Protocol, body: &[u8], newest_ms: i64) -> Filtered {
        let mut surveyor = Surveyor::new(SeriesHasher::new(1), 1 << 20);
        let outcome =
            filter(protocol, body, &mut surveyor, |_, timestamp_ms| timestamp_ms > newest_ms);
        outcome.expect("well-formed").filtered
    }

    #[test]
    fn a_sample_at_the_very_time_is_old_and_the_next_is_new() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let samples = |times: &[i64]| -> Vec<(u32, Vec<u8>)> {
                times.iter().map(|timestamp_ms| (2, dated(2, *timestamp_ms))).collect()
            };
            let body = request(protocol, &samples(&[5, 6, 7]));
            assert_eq!(newer_than(protocol, &body, 7), Filtered::NothingNew);
            assert_eq!(newer_than(protocol, &body, 4), Filtered::AllNew);
            let left = request(protocol, &samples(&[6, 7]));
            assert_eq!(newer_than(protocol, &body, 5), Filtered::New(left));
        }
    }

    #[test]
    fn an_exemplar_stays_with_a_sample_of_its_series() {
        for (protocol, exemplar) in [(Protocol::V1, 3), (Protocol::V2, 4)] {
            let body = request(
                protocol,
                &[(2, dated(2, 1)), (exemplar, dated(3, 1)), (2, dated(2, 9)), (77, vec![1])],
            );
            let left =
                request(protocol, &[(exemplar, dated(3, 1)), (2, dated(2, 9)), (77, vec![1])]);
            assert_eq!(newer_than(protocol, &body, 5), Filtered::New(left));
            assert_eq!(newer_than(protocol, &body, 9), Filtered::NothingNew);
        }
    }

    #[test]
    fn an_exemplar_alone_is_judged_by_its_own_time() {
        for (protocol, exemplar) in [(Protocol::V1, 3), (Protocol::V2, 4)] {
            let body = request(protocol, &[(exemplar, dated(3, 5)), (exemplar, dated(3, 6))]);
            let left = request(protocol, &[(exemplar, dated(3, 6))]);
            assert_eq!(newer_than(protocol, &body, 4), Filtered::AllNew);
            assert_eq!(newer_than(protocol, &body, 5), Filtered::New(left));
            assert_eq!(newer_than(protocol, &body, 6), Filtered::NothingNew);
        }
    }

    #[test]
    fn a_newer_exemplar_outlives_its_samples_only_where_receivers_take_it() {
        let one = request(Protocol::V1, &[(2, dated(2, 5)), (3, dated(3, 6))]);
        let left = request(Protocol::V1, &[(3, dated(3, 6))]);
        assert_eq!(newer_than(Protocol::V1, &one, 5), Filtered::New(left));
        let two = request(Protocol::V2, &[(2, dated(2, 5)), (4, dated(3, 6))]);
        assert_eq!(newer_than(Protocol::V2, &two, 5), Filtered::NothingNew);
    }

    #[test]
    fn metadata_of_version_1_goes_on_whatever_becomes_of_the_samples() {
        let mut metadata = Vec::new();
        put_bytes(&mut metadata, 3, b"\x08\x01\x12\x02up");
        assert_eq!(newer_than(Protocol::V1, &metadata, 5), Filtered::AllNew);
        let sample = request(Protocol::V1, &[(2, dated(2, 5))]);
        let both = [&sample[..], &metadata].concat();
        assert_eq!(newer_than(Protocol::V1, &both, 5), Filtered::New(metadata));
        assert_eq!(newer_than(Protocol::V1, &both, 4), Filtered::AllNew);
    }

    #[test]
    fn a_request_without_points_goes_as_it_is() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let empty_series = request(protocol, &[(77, vec![1])]);
            for body in [&[][..], &empty_series] {
                assert_eq!(newer_than(protocol, body, i64::MAX), Filtered::AllNew);
            }
        }
    }
}
