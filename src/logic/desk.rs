//! Where bodies are read: the watermark of a hand-over, and what it lets pass.

use crate::base::time::UnixMillis;
use crate::logic::view::Voice;
use crate::logic::watermark::Watermark;
use crate::wire::remote_write::error::BodyError;
use crate::wire::remote_write::filter::{self, Filter};
use crate::wire::remote_write::push::Push;
use crate::wire::remote_write::series::SeriesHasher;
use crate::wire::remote_write::snappy::{self, Decoder};
use crate::wire::remote_write::survey::{Mention, Surveyor};

/// What is left of a request.
#[derive(Clone, Debug)]
pub enum Passed {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// This.
    Some(Push),
}

/// What a filter has done.
#[derive(Clone, Debug)]
pub struct Sifted {
    /// What is left of the request.
    pub passed: Passed,
    /// Its samples and histograms that passed.
    pub points: u64,
    /// Those that did not.
    pub skipped: u64,
}

/// Whether what passes is noted as delivered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noting {
    /// It is: it will be sent until it is.
    AtOnce,
    /// It is not: its source may have to try again.
    Later,
}

/// Series → newest timestamp delivered, and who has spoken.
#[derive(Debug)]
pub struct Desk {
    watermark: Watermark,
    /// Of a series that is not known, what is older than this has been covered.
    floor: UnixMillis,
    newest: Option<UnixMillis>,
}

/// The tools to read a body with, for all desks of a thread.
#[derive(Debug)]
pub struct Lens {
    decoded_bytes_max: usize,
    surveyor: Surveyor,
    decoder: Decoder,
    newest_ms: Vec<Option<i64>>,
    passed: Vec<Mention>,
}

impl Lens {
    /// For bodies of up to `decoded_bytes_max` bytes. Desks that are read with two lenses need one
    /// hasher for both.
    pub fn new(hasher: SeriesHasher, decoded_bytes_max: usize) -> Lens {
        Lens {
            decoded_bytes_max,
            surveyor: Surveyor::new(hasher, decoded_bytes_max),
            decoder: Decoder::default(),
            newest_ms: Vec::new(),
            passed: Vec::new(),
        }
    }
}

impl Desk {
    /// Nothing is known.
    pub fn new() -> Desk {
        Desk { watermark: Watermark::new(), floor: UnixMillis::MIN, newest: None }
    }

    /// A request has been delivered; in the name of the new source, if `voice` says so. After an
    /// error, what stands before the fault is noted.
    pub fn note(&mut self, lens: &mut Lens, voice: Voice, push: &Push) -> Result<(), BodyError> {
        let body = lens.decoder.decode(push.body(), lens.decoded_bytes_max)?;
        let mut survey = lens.surveyor.open(push.protocol(), body)?;
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                return Ok(());
            }
            self.watermark.note_all(batch);
            if voice == Voice::New {
                self.watermark.mark_all_spoken(batch);
            }
            self.newest = self.newest.max(newest_of(batch));
        }
    }

    /// What of a request may go out in the name of `voice`. What the new source says of a series
    /// that is not repeated counts as spoken.
    pub fn sift(
        &mut self,
        lens: &mut Lens,
        voice: Voice,
        noting: Noting,
        push: &Push,
    ) -> Result<Sifted, BodyError> {
        let body = lens.decoder.decode(push.body(), lens.decoded_bytes_max)?;
        let mut survey = lens.surveyor.open(push.protocol(), body)?;
        let mut filter = Filter::of(push.protocol(), body);
        lens.passed.clear();
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                break;
            }
            self.watermark.look_up(batch, &mut lens.newest_ms);
            for (mention, newest_ms) in batch.iter().zip(&lens.newest_ms) {
                let after = newest_ms.unwrap_or(self.floor.0.saturating_sub(1));
                let is_mute = voice == Voice::Old && self.watermark.is_spoken(mention.id);
                filter.take(mention, |timestamp_ms| !is_mute && timestamp_ms > after)?;
                if !is_mute && mention.newest_ms > after {
                    lens.passed.push(*mention);
                }
            }
        }
        let outcome = filter.finish(survey.has_metadata());
        if noting == Noting::AtOnce {
            self.watermark.note_all(&lens.passed);
            self.newest = self.newest.max(newest_of(&lens.passed));
        }
        if voice == Voice::New {
            self.watermark.mark_all_spoken(&lens.passed);
        }
        let passed = match outcome.filtered {
            filter::Filtered::NothingNew => Passed::Nothing,
            filter::Filtered::AllNew => Passed::All,
            filter::Filtered::New(body) => Passed::Some(push.with_body(&snappy::encode(&body)?)),
        };
        Ok(Sifted {
            passed,
            points: outcome.kept.dated().into(),
            skipped: outcome.skipped.dated().into(),
        })
    }

    /// A new hand-over begins: nobody has spoken yet.
    pub fn forget_who_spoke(&mut self) {
        self.watermark.forget_who_spoke();
    }

    /// Series that the new source has not spoken for.
    pub fn unspoken(&self) -> usize {
        self.watermark.unspoken()
    }

    /// The newest time of all that was noted.
    pub fn newest(&self) -> Option<UnixMillis> {
        self.newest
    }

    /// Everything older than `floor` has been covered.
    pub fn raise_floor(&mut self, floor: UnixMillis) {
        if floor > self.floor {
            self.floor = floor;
        }
    }

    /// Forgets the series that the floor says as much of.
    pub fn forget_below_floor(&mut self) {
        if !self.watermark.is_empty() {
            self.watermark.forget_before(self.floor.0);
        }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.watermark.is_empty()
    }

    /// What it takes, as allocated.
    pub fn bytes(&self) -> usize {
        self.watermark.bytes()
    }
}

impl Default for Desk {
    fn default() -> Desk {
        Desk::new()
    }
}

fn newest_of(mentions: &[Mention]) -> Option<UnixMillis> {
    let dated = mentions.iter().filter(|mention| mention.counts.dated() > 0);
    dated.map(|mention| UnixMillis(mention.newest_ms)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;
    use crate::wire::remote_write::v1::{Sample, WriteRequestBuilder};
    use crate::wire::remote_write::v2::RequestBuilder;

    fn lens() -> Lens {
        Lens::new(SeriesHasher::new(7), 1 << 20)
    }

    /// A request with one sample of each series.
    fn push(protocol: Protocol, samples: &[(&str, i64)]) -> Push {
        let (mut one, mut two) = (WriteRequestBuilder::new(), RequestBuilder::new());
        for (series, timestamp_ms) in samples {
            let sample = [Sample { value: 1.0, timestamp_ms: *timestamp_ms }];
            one.push(&[("__name__", series)], &sample);
            two.push(&[("__name__", series)], &sample);
        }
        let message = match protocol {
            Protocol::V1 => one.finish(),
            Protocol::V2 => two.finish(),
        };
        let body = snappy::encode(&message).expect("a small message");
        Push::new(body, 0, protocol)
    }

    /// What passes, and how much of it.
    fn sift(desk: &mut Desk, voice: Voice, push: &Push) -> (char, u64, u64) {
        let sifted = desk.sift(&mut lens(), voice, Noting::AtOnce, push).expect("it can be read");
        let passed = match sifted.passed {
            Passed::Nothing => '0',
            Passed::Some(_) => '½',
            Passed::All => '1',
        };
        (passed, sifted.points, sifted.skipped)
    }

    #[test]
    fn only_what_is_newer_passes_and_only_once_whichever_version_says_it() {
        for (one, other) in [(Protocol::V1, Protocol::V2), (Protocol::V2, Protocol::V1)] {
            let mut desk = Desk::new();
            let delivered = push(one, &[("a", 10), ("b", 20)]);
            desk.note(&mut lens(), Voice::Old, &delivered).expect("it can be read");
            let held = push(other, &[("a", 10), ("b", 21), ("c", 1)]);
            assert_eq!(sift(&mut desk, Voice::New, &held), ('½', 2, 1));
            assert_eq!(sift(&mut desk, Voice::New, &held), ('0', 0, 3));
            assert_eq!(sift(&mut desk, Voice::New, &push(other, &[("a", 11)])), ('1', 1, 0));
            assert_eq!(desk.newest(), Some(UnixMillis(21)));
        }
    }

    #[test]
    fn a_request_that_is_let_out_live_counts_as_delivered_only_when_it_is() {
        let mut desk = Desk::new();
        let live = push(Protocol::V1, &[("a", 10)]);
        for _ in 0..2 {
            let sifted = desk.sift(&mut lens(), Voice::New, Noting::Later, &live);
            assert_eq!(sifted.map(|sifted| sifted.points), Ok(1), "its source tries again");
        }
        desk.note(&mut lens(), Voice::New, &live).expect("it can be read");
        assert_eq!(sift(&mut desk, Voice::New, &live), ('0', 0, 1));
    }

    #[test]
    fn the_old_voice_goes_on_until_the_new_one_has_said_something_new() {
        let mut desk = Desk::new();
        let delivered = push(Protocol::V1, &[("a", 10), ("b", 10)]);
        desk.note(&mut lens(), Voice::Old, &delivered).expect("it can be read");
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("a", 9)])), ('0', 0, 1));
        assert_eq!(desk.unspoken(), 2, "to repeat is not to speak");
        assert_eq!(sift(&mut desk, Voice::Old, &push(Protocol::V1, &[("a", 11)])), ('1', 1, 0));
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("a", 12)])), ('1', 1, 0));
        let old = push(Protocol::V1, &[("a", 13), ("b", 13)]);
        assert_eq!(sift(&mut desk, Voice::Old, &old), ('½', 1, 1));
        assert_eq!(desk.unspoken(), 1);
        // What the old one was not let say is not taken for delivered.
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("a", 13)])), ('1', 1, 0));
        desk.forget_who_spoke();
        assert_eq!(desk.unspoken(), 2);
    }

    #[test]
    fn of_a_series_that_is_not_known_what_is_older_than_the_floor_is_covered() {
        let mut desk = Desk::new();
        let delivered = push(Protocol::V1, &[("a", 10), ("b", 200)]);
        desk.note(&mut lens(), Voice::Old, &delivered).expect("it can be read");
        desk.raise_floor(UnixMillis(100));
        desk.forget_below_floor();
        let held = push(Protocol::V1, &[("a", 99), ("b", 150), ("c", 100)]);
        assert_eq!(sift(&mut desk, Voice::New, &held), ('½', 1, 2));
        desk.raise_floor(UnixMillis(50));
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("d", 60)])), ('0', 0, 1));
    }
}
