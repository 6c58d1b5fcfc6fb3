//! Where bodies are read: the watermark of a hand-over, and what it lets pass.

use crate::base::limits::LOW_MARK_SPAN_MIN;
use crate::base::time::{Nanos, UnixMillis};
use crate::logic::view::Voice;
use crate::logic::watermark::Watermark;
use crate::wire::remote_write::error::BodyError;
use crate::wire::remote_write::filter::{self, Filter};
use crate::wire::remote_write::push::Push;
use crate::wire::remote_write::series::{SeriesHasher, SeriesId};
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

/// What is known to be delivered without the watermark saying so. All of it only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// What is older than this, of whatever series.
    pub floor: UnixMillis,
    /// Of what was held: what is older than this. Another node has delivered it, as far as it came in
    /// time; what comes live may have come late.
    pub held: UnixMillis,
    /// What is older than this, of a series that is not in the watermark: its requests may have been
    /// let go of, see `dropped`. A series that is there goes on from what is said of it.
    pub reach: UnixMillis,
    /// What was delivered before that may have been let go of on one core and still be kept on another.
    /// None of it may count: of a series that changed cores the older half would be known.
    pub dropped: Nanos,
}

impl Covered {
    /// Nothing is known.
    pub const NOTHING: Covered = Covered {
        floor: UnixMillis::MIN,
        held: UnixMillis::MIN,
        reach: UnixMillis::MIN,
        dropped: Nanos(0),
    };

    /// What is known of both together.
    pub fn max(self, other: Covered) -> Covered {
        Covered {
            floor: self.floor.max(other.floor),
            held: self.held.max(other.held),
            reach: self.reach.max(other.reach),
            dropped: self.dropped.max(other.dropped),
        }
    }

    /// The newest time of a series that is covered, if the watermark says this of it: of what was held,
    /// which is noted at once, or of what comes live.
    fn newest_ms(self, known_ms: Option<i64>, noting: Noting) -> i64 {
        let before = |mark: UnixMillis| mark.0.saturating_sub(1);
        let floor = match noting {
            Noting::AtOnce => self.floor.max(self.held),
            Noting::Later => self.floor,
        };
        before(floor).max(known_ms.unwrap_or_else(|| before(self.reach)))
    }
}

/// A new source that is no further behind than this has caught up: a batch waits for so long
/// (`batch_send_deadline`).
const NEAR_MS: i64 = LOW_MARK_SPAN_MIN.0 as i64;

/// Series → newest timestamp delivered, and who has spoken.
#[derive(Debug)]
pub struct Desk {
    watermark: Watermark,
    covered: Covered,
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
    near: Vec<SeriesId>,
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
            near: Vec::new(),
        }
    }

    /// From now on for bodies of up to so many bytes, or as many as before: what was delivered or held could
    /// not be read any more, and would go out twice.
    pub fn allow(&mut self, bytes: usize) {
        self.decoded_bytes_max = self.decoded_bytes_max.max(bytes);
        self.surveyor.set_decoded_bytes_max(self.decoded_bytes_max);
    }
}

impl Desk {
    /// Nothing is known.
    pub fn new() -> Desk {
        Desk { watermark: Watermark::new(), covered: Covered::NOTHING, newest: None }
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

    /// The endpoint may have this of the new source: nobody else may speak for its series any more. It
    /// is not noted as delivered, for its source tries again.
    pub fn leave_to_new(&mut self, lens: &mut Lens, push: &Push) -> Result<(), BodyError> {
        let body = lens.decoder.decode(push.body(), lens.decoded_bytes_max)?;
        let mut survey = lens.surveyor.open(push.protocol(), body)?;
        // Of a series that is not known only an entry can say whose it is: one that covers no more.
        let covered_ms = self.covered.newest_ms(None, Noting::Later);
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                return Ok(());
            }
            for mention in batch.iter().filter(|mention| mention.counts.dated() > 0) {
                self.watermark.note(mention.id, covered_ms);
            }
            self.watermark.mark_all_spoken(batch);
        }
    }

    /// What of a request may go out in the name of `voice`. What the new source says of a series
    /// that is not repeated counts as spoken. If what it says live is only a little older than what
    /// was delivered, the old voice falls silent for that series: else a source that is slower on its
    /// way than the other would always come too late.
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
        lens.near.clear();
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                break;
            }
            self.watermark.look_up(batch, &mut lens.newest_ms);
            for (mention, newest_ms) in batch.iter().zip(&lens.newest_ms) {
                let after = self.covered.newest_ms(*newest_ms, noting);
                let is_mute = voice == Voice::Old && self.watermark.is_near(mention.id);
                filter.take(mention, |timestamp_ms| !is_mute && timestamp_ms > after)?;
                if !is_mute && mention.newest_ms > after {
                    lens.passed.push(*mention);
                } else if voice == Voice::New && noting == Noting::Later {
                    let is_near = mention.newest_ms.saturating_add(NEAR_MS) > after;
                    if is_near && mention.counts.dated() > 0 {
                        lens.near.push(mention.id);
                    }
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
        lens.near.drain(..).for_each(|id| self.watermark.mark_near(id));
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

    /// So much has been covered. What the watermark knows from before something was let go of may
    /// not be the newest of its series.
    pub fn raise(&mut self, covered: Covered) {
        if covered.dropped > self.covered.dropped {
            self.watermark = Watermark::new();
        }
        self.covered = self.covered.max(covered);
    }

    /// What is known to be covered.
    pub fn covered(&self) -> Covered {
        self.covered
    }

    /// Forgets the series that the floor says as much of.
    pub fn forget_below_floor(&mut self) {
        if !self.watermark.is_empty() {
            self.watermark.forget_before(self.covered.floor.0);
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
    fn what_is_left_to_the_new_source_covers_nothing_and_silences_the_old_one() {
        let mut desk = Desk::new();
        desk.raise(Covered { reach: UnixMillis(5), ..Covered::NOTHING });
        desk.note(&mut lens(), Voice::Old, &push(Protocol::V1, &[("a", 10)])).expect("readable");
        let doubt = push(Protocol::V1, &[("a", 12), ("new", 12)]);
        desk.leave_to_new(&mut lens(), &doubt).expect("readable");
        assert_eq!(desk.unspoken(), 0);
        let old = push(Protocol::V1, &[("a", 13), ("new", 13), ("b", 13)]);
        assert_eq!(sift(&mut desk, Voice::Old, &old), ('½', 1, 2));
        let before = push(Protocol::V1, &[("a", 11), ("new", 6), ("other", 4)]);
        assert_eq!(sift(&mut desk, Voice::New, &before), ('½', 2, 1));
        assert_eq!(sift(&mut desk, Voice::New, &doubt), ('1', 2, 0));
    }

    #[test]
    fn what_was_known_before_something_was_let_go_of_is_not_trusted() {
        let mut desk = Desk::new();
        desk.note(&mut lens(), Voice::Old, &push(Protocol::V1, &[("a", 10)])).expect("readable");
        desk.raise(Covered { reach: UnixMillis(100), dropped: Nanos(1), ..Covered::NOTHING });
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("a", 99)])), ('0', 0, 1));
    }

    #[test]
    fn the_old_voice_makes_way_for_a_new_one_that_comes_a_little_later_each_time() {
        let mut desk = Desk::new();
        let live = |desk: &mut Desk, voice, samples: &[(&str, i64)]| {
            let push = push(Protocol::V1, samples);
            let sifted = desk.sift(&mut lens(), voice, Noting::Later, &push).expect("readable");
            if sifted.points > 0 {
                desk.note(&mut lens(), voice, &push).expect("readable");
            }
            sifted.points
        };
        assert_eq!(live(&mut desk, Voice::Old, &[("a", 100_000), ("b", 100_000)]), 2);
        // It is far behind with one series, and not with the other.
        let behind = [("a", 99_500), ("b", 100_000 - NEAR_MS)];
        assert_eq!(live(&mut desk, Voice::New, &behind), 0);
        assert_eq!(desk.unspoken(), 2);
        assert_eq!(live(&mut desk, Voice::Old, &[("a", 101_000)]), 0, "it would never be heard");
        assert_eq!(live(&mut desk, Voice::Old, &[("b", 101_000)]), 1);
        assert_eq!(live(&mut desk, Voice::New, &[("a", 100_500)]), 1);
        assert_eq!(desk.unspoken(), 1);
    }

    fn floor(floor: i64) -> Covered {
        Covered { floor: UnixMillis(floor), ..Covered::NOTHING }
    }

    #[test]
    fn of_a_series_that_is_not_known_what_is_older_than_the_floor_is_covered() {
        let mut desk = Desk::new();
        let delivered = push(Protocol::V1, &[("a", 10), ("b", 200)]);
        desk.note(&mut lens(), Voice::Old, &delivered).expect("it can be read");
        desk.raise(floor(100));
        desk.forget_below_floor();
        let held = push(Protocol::V1, &[("a", 99), ("b", 150), ("c", 100)]);
        assert_eq!(sift(&mut desk, Voice::New, &held), ('½', 1, 2));
        desk.raise(floor(50));
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("d", 60)])), ('0', 0, 1));
    }

    #[test]
    fn what_another_node_has_delivered_covers_what_was_held_and_not_what_comes_late() {
        let mut desk = Desk::new();
        desk.raise(Covered { held: UnixMillis(100), ..Covered::NOTHING });
        let late = push(Protocol::V1, &[("a", 99)]);
        assert_eq!(sift(&mut desk, Voice::New, &late), ('0', 0, 1));
        let live = desk.sift(&mut lens(), Voice::New, Noting::Later, &late).expect("readable");
        assert_eq!((live.points, live.skipped), (1, 0), "a slow scrape, never delivered");
    }

    #[test]
    fn what_the_floor_covers_does_not_pass_because_something_older_is_known_of_its_series() {
        // Requests are folded by age and let go of by age, on each core for itself: of a series the
        // newest that was delivered may be gone while an older one is still in the watermark.
        let mut desk = Desk::new();
        desk.note(&mut lens(), Voice::Old, &push(Protocol::V1, &[("a", 10)])).expect("readable");
        desk.raise(floor(100));
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("a", 99)])), ('0', 0, 1));
        assert_eq!(sift(&mut desk, Voice::New, &push(Protocol::V1, &[("a", 100)])), ('1', 1, 0));
    }

    #[test]
    fn a_series_that_lags_goes_on_where_it_is_however_far_the_reach_of_others_is() {
        let mut desk = Desk::new();
        desk.note(&mut lens(), Voice::Old, &push(Protocol::V1, &[("a", 10)])).expect("readable");
        desk.raise(Covered { reach: UnixMillis(100), ..Covered::NOTHING });
        desk.forget_below_floor();
        assert_eq!(desk.unspoken(), 1);
        let held = push(Protocol::V1, &[("a", 10), ("b", 99)]);
        assert_eq!(sift(&mut desk, Voice::New, &held), ('0', 0, 2));
        let held = push(Protocol::V1, &[("a", 11), ("b", 100)]);
        assert_eq!(sift(&mut desk, Voice::New, &held), ('1', 2, 0));
    }
}
