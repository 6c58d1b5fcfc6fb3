//! The requests that a core keeps for a hand-over: delivered, in doubt, held.
//!
//! Bodies stay as received. Decoding every body to serve the one failover a week would cost a
//! core; what is in them is read only when a hand-over asks.

use std::collections::{BTreeMap, VecDeque};

use crate::base::limits::{ALONE_SPAN, BEAT, DOUBT_FORGOTTEN, DOUBTS_MAX};
use crate::base::time::{Millis, Nanos, UnixMillis};
use crate::logic::ask::Outcome;
use crate::logic::low_mark::LowMark;
use crate::logic::source::SourceId;
use crate::logic::view::Epoch;
use crate::wire::remote_write::push::Push;

/// A request that is kept, and when it came.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When its last byte was read.
    pub arrived: Nanos,
    /// The request.
    pub push: Push,
}

/// Kept requests in the order in which they came.
#[derive(Debug, Default)]
struct Shelf {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Shelf {
    fn keep(&mut self, kept: Kept) {
        self.bytes += bytes_of(&kept);
        self.kept.push_back(kept);
    }

    fn pop(&mut self) -> Option<Kept> {
        let kept = self.kept.pop_front()?;
        self.bytes -= bytes_of(&kept);
        Some(kept)
    }

    fn since(&self) -> Option<Nanos> {
        self.kept.front().map(|kept| kept.arrived)
    }

    fn release(&mut self, mark: Nanos, released: &mut impl FnMut(Kept)) {
        while self.kept.front().is_some_and(|kept| kept.arrived < mark) {
            self.pop().into_iter().for_each(&mut *released);
        }
        if self.kept.capacity() > 64 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}

fn bytes_of(kept: &Kept) -> usize {
    kept.push.bytes_allocated() + size_of::<Kept>()
}

/// A request that the endpoint may have stored without saying so.
#[derive(Clone, Debug)]
struct Doubt {
    kept: Kept,
    first: Option<UnixMillis>,
    tried: Millis,
    is_gathered: bool,
}

/// A request of the promoted source on its way to the endpoint.
#[derive(Debug)]
pub struct Sent {
    /// The request.
    pub kept: Kept,
    /// Its first sample, if it was looked at.
    pub first: Option<UnixMillis>,
}

/// Whose held requests a hand-over asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those of some.
    From(Vec<SourceId>),
    /// Those of everybody.
    FromAll,
}

/// What one core gives for a hand-over.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// What the endpoint has acknowledged, whoever sent it.
    pub delivered: Vec<Kept>,
    /// What the endpoint may have stored without saying so.
    pub doubts: Vec<Kept>,
    /// What was pushed by standbys.
    pub held: Vec<(SourceId, Vec<Kept>)>,
}

/// All that one core keeps for one group.
#[derive(Debug, Default)]
pub struct Shelves {
    delivered: Shelf,
    doubts: Vec<Doubt>,
    held: BTreeMap<SourceId, Shelf>,
    in_flight: usize,
    asked: Option<(Epoch, Wanted)>,
    /// Up to where the held requests of each source have been given.
    gathered: BTreeMap<SourceId, Nanos>,
    low: LowMark,
    low_of: Option<SourceId>,
    is_alone: bool,
    is_thin: bool,
    /// What was delivered and not kept since the last beat.
    unkept_bytes: usize,
}

impl Shelves {
    /// A request of the promoted source goes to the endpoint unfiltered.
    pub fn on_sent(&mut self, source: SourceId, first: Option<UnixMillis>) {
        if self.low_of != Some(source) {
            self.low_of = Some(source);
            self.low = LowMark::default();
        }
        self.in_flight += 1;
        if let Some(first) = first {
            self.low.on_sent(first);
        }
    }

    /// The endpoint has answered for good: stored, or never to be stored.
    pub fn on_acknowledged(&mut self, sent: Sent, now: Millis) {
        self.in_flight -= 1;
        if let Some(first) = sent.first {
            self.low.on_acknowledged(first, now);
        }
        // A source that is told to try again sends the same bytes again.
        if !self.doubts.is_empty() {
            self.doubts.retain(|doubt| !doubt.kept.push.is_same(&sent.kept.push));
        }
        self.delivered.keep(sent.kept);
    }

    /// The same of a request of so many bytes that is not kept: whoever calls this says so with the
    /// [`Covered`] of the group.
    ///
    /// [`Covered`]: crate::logic::desk::Covered
    pub fn on_unkept(&mut self, first: Option<UnixMillis>, bytes: usize, now: Millis) {
        self.in_flight -= 1;
        self.unkept_bytes += bytes;
        if let Some(first) = first {
            self.low.on_acknowledged(first, now);
        }
    }

    /// Whether a request that is not kept and ended so leaves nothing behind: one that the endpoint may
    /// have must be made certain, and one that others were mistaken for may have been just that.
    pub fn may_leave(&self, outcome: Outcome) -> bool {
        outcome.is_certain() && self.doubts.is_empty()
    }

    /// The endpoint has not answered, or with a 5xx: it may have stored the request. How far behind it
    /// holds the low mark must be known: if its first sample was not looked at before, `look` does. True
    /// if a doubt had to be forgotten for it.
    pub fn on_doubtful(
        &mut self,
        sent: Sent,
        now: Millis,
        look: impl FnOnce(&Push) -> Option<UnixMillis>,
    ) -> bool {
        self.in_flight -= 1;
        let Sent { kept, first } = sent;
        if let Some(first) = first {
            self.low.on_failed(first);
        }
        let first = first.or_else(|| look(&kept.push));
        if let Some(doubt) = self.doubts.iter_mut().find(|it| it.kept.push.is_same(&kept.push)) {
            doubt.tried = now;
            return false;
        }
        self.doubts.push(Doubt { kept, first, tried: now, is_gathered: false });
        let is_full = self.doubts.len() > DOUBTS_MAX;
        if is_full {
            let oldest = self.doubts.iter().enumerate().min_by_key(|(_, doubt)| doubt.tried);
            let place = oldest.map_or(0, |(place, _)| place);
            self.doubts.remove(place);
        }
        is_full
    }

    /// A standby's request is kept.
    pub fn hold(&mut self, source: SourceId, kept: Kept) {
        self.held.entry(source).or_default().keep(kept);
    }

    /// A hand-over asks for what is kept. A later one is asked instead of an earlier.
    pub fn on_asked(&mut self, turn: Epoch, wanted: Wanted) {
        if self.asked.as_ref().is_none_or(|(asked, _)| *asked < turn) {
            self.asked = Some((turn, wanted));
        }
    }

    /// The answer to a hand-over, when nothing is in flight any more.
    pub fn poll_gathered(&mut self) -> Option<(Epoch, Gathered)> {
        let (turn, wanted) = self.asked.take_if(|_| self.in_flight == 0)?;
        Some((turn, self.gather(&wanted)))
    }

    fn gather(&mut self, wanted: &Wanted) -> Gathered {
        let is_wanted = |source: &SourceId| match wanted {
            Wanted::FromAll => true,
            Wanted::From(sources) => sources.contains(source),
        };
        self.doubts.iter_mut().for_each(|doubt| doubt.is_gathered = true);
        let last = |shelf: &Shelf| shelf.kept.back().map_or(Nanos(0), |kept| kept.arrived);
        self.gathered = self.held.iter().map(|(source, shelf)| (*source, last(shelf))).collect();
        let held = self.held.iter().filter(|(source, _)| is_wanted(source));
        Gathered {
            delivered: self.delivered.kept.iter().cloned().collect(),
            doubts: self.doubts.iter().map(|doubt| doubt.kept.clone()).collect(),
            held: held.map(|(id, shelf)| (*id, shelf.kept.iter().cloned().collect())).collect(),
        }
    }

    /// What was gathered has been sent on: what was in doubt is certain, and what the new source
    /// had pushed as a standby has been sent or skipped. What has come since stays: the new source
    /// may have lost the seat again meanwhile.
    pub fn on_replayed(&mut self, to: Option<SourceId>) {
        self.doubts.retain(|doubt| !doubt.is_gathered);
        let gathered = std::mem::take(&mut self.gathered);
        let Some((source, until)) = to.and_then(|to| gathered.get_key_value(&to)) else { return };
        if let Some(shelf) = self.held.get_mut(source) {
            shelf.release(Nanos(until.0 + 1), &mut drop);
        }
        self.held.retain(|_, shelf| !shelf.kept.is_empty());
    }

    /// Whether something has to be tried again by its source.
    pub fn has_doubts(&self, now: Millis) -> bool {
        self.doubts.iter().any(|doubt| now.since(doubt.tried) < DOUBT_FORGOTTEN)
    }

    /// How many requests are in doubt.
    pub fn doubts(&self) -> usize {
        self.doubts.len()
    }

    /// The oldest first sample of `source` that this core has lately seen delivered, or that is not
    /// delivered yet. See [`LowMark::mark`].
    pub fn low_mark(&mut self, source: SourceId, now: Millis, span: Millis) -> Option<UnixMillis> {
        if self.low_of != Some(source) {
            return None;
        }
        // A source tries again within seconds. One that does not has made other requests of it.
        let is_alive = |doubt: &&Doubt| now.since(doubt.tried) < DOUBT_FORGOTTEN;
        let doubts = self.doubts.iter().filter(is_alive).filter_map(|doubt| doubt.first).min();
        [self.low.mark(now, span), doubts].into_iter().flatten().min()
    }

    /// Lets go of what came before `mark`, and gives it to `released`.
    pub fn release(&mut self, mark: Nanos, mut released: impl FnMut(Kept)) {
        self.delivered.release(mark, &mut released);
        for shelf in self.held.values_mut() {
            shelf.release(mark, &mut released);
        }
        self.held.retain(|_, shelf| !shelf.kept.is_empty());
    }

    /// Whether its group has one source only: then nobody holds anything that could be told from what
    /// it delivered. To be called at every beat.
    pub fn set_alone(&mut self, is_alone: bool, bytes_max: usize) {
        let beats = (ALONE_SPAN.0 / BEAT.0) as usize;
        let unkept_bytes = std::mem::take(&mut self.unkept_bytes);
        self.is_alone = is_alone;
        self.is_thin &= is_alone && unkept_bytes.saturating_mul(beats) > bytes_max;
    }

    /// Whether a source that is alone delivers more than can be kept for long enough to be of use. Then
    /// none of it is to be kept, see [`Shelves::on_unkept`].
    pub fn is_thin(&self) -> bool {
        self.is_thin
    }

    /// Of a source that is alone, lets go of delivered requests until they take no more than
    /// `bytes_max`, of all if what is left does not reach back [`ALONE_SPAN`]. If any are gone, says from
    /// when on all of them are there: what had been delivered before can't be said any more.
    pub fn drop_delivered(&mut self, bytes_max: usize, now: Nanos) -> Option<Nanos> {
        if !self.is_alone {
            return None;
        }
        let mut last = None;
        while self.delivered.bytes > bytes_max {
            last = self.delivered.pop().map(|kept| kept.arrived);
        }
        let last = last?;
        if now.0 < last.0 + Nanos::from(ALONE_SPAN).0 {
            self.is_thin = true;
            self.delivered = Shelf::default();
            return Some(now);
        }
        Some(Nanos(last.0 + 1))
    }

    /// Takes out the older half of the delivered requests, to be folded into the watermark.
    pub fn take_delivered(&mut self) -> Vec<Kept> {
        let half = self.delivered.kept.len().div_ceil(2);
        (0..half).filter_map(|_| self.delivered.pop()).collect()
    }

    /// What the delivered requests take, as allocated.
    pub fn delivered_bytes(&self) -> usize {
        self.delivered.bytes
    }

    /// When the oldest of the delivered requests came.
    pub fn delivered_since(&self) -> Option<Nanos> {
        self.delivered.since()
    }

    /// When the oldest of the held requests came.
    pub fn held_since(&self) -> Option<Nanos> {
        self.held.values().filter_map(Shelf::since).min()
    }

    /// What the held requests take, as allocated.
    pub fn held_bytes(&self) -> usize {
        self.held.values().map(|shelf| shelf.bytes).sum()
    }

    /// What all of it takes, as allocated.
    pub fn bytes(&self) -> usize {
        let doubts: usize = self.doubts.iter().map(|doubt| bytes_of(&doubt.kept)).sum();
        self.delivered.bytes + doubts + self.held_bytes()
    }

    /// Whether nothing is kept and nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0 && self.in_flight == 0 && self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;

    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);
    const NOW: Millis = Millis(1);

    fn kept(arrived: u64, body: &[u8]) -> Kept {
        Kept { arrived: Nanos(arrived), push: Push::new(body.to_vec(), 0, Protocol::V1) }
    }

    fn sent(arrived: u64, body: &[u8]) -> Sent {
        Sent { kept: kept(arrived, body), first: None }
    }

    #[test]
    fn a_hand_over_waits_for_what_is_in_flight_and_gets_what_came_of_it() {
        let mut shelves = Shelves::default();
        shelves.on_sent(A, None);
        shelves.on_sent(A, None);
        shelves.hold(B, kept(1, b"held"));
        shelves.on_asked(Epoch(2), Wanted::From(vec![B]));
        assert!(shelves.poll_gathered().is_none());
        shelves.on_acknowledged(sent(2, b"stored"), NOW);
        shelves.on_doubtful(sent(3, b"perhaps"), NOW, |_| None);
        let (turn, gathered) = shelves.poll_gathered().expect("nothing is in flight");
        assert_eq!(turn, Epoch(2));
        assert_eq!((gathered.delivered.len(), gathered.doubts.len()), (1, 1));
        assert_eq!(gathered.held.len(), 1);
        assert!(shelves.poll_gathered().is_none(), "it asked once");
        shelves.on_replayed(Some(B));
        assert_eq!(shelves.held_bytes(), 0);
    }

    #[test]
    fn what_came_after_it_was_gathered_is_not_taken_for_sent_on() {
        let mut shelves = Shelves::default();
        shelves.hold(B, kept(1, b"gathered"));
        shelves.on_asked(Epoch(2), Wanted::FromAll);
        assert!(shelves.poll_gathered().is_some());
        shelves.hold(B, kept(2, b"later"));
        shelves.on_sent(A, None);
        shelves.on_doubtful(sent(3, b"later, too"), NOW, |_| None);
        shelves.on_replayed(Some(B));
        let left = shelves.gather(&Wanted::FromAll);
        assert_eq!((left.held[0].1.len(), left.doubts.len()), (1, 1));
    }

    #[test]
    fn a_doubt_ends_when_the_same_body_is_acknowledged_and_they_are_bounded() {
        let mut shelves = Shelves::default();
        for _ in 0..3 {
            shelves.on_sent(A, None);
            shelves.on_doubtful(sent(1, b"again"), NOW, |_| None);
        }
        assert_eq!(shelves.gather(&Wanted::FromAll).doubts.len(), 1);
        shelves.on_sent(A, None);
        shelves.on_acknowledged(sent(1, b"again"), NOW);
        assert_eq!(shelves.gather(&Wanted::FromAll).doubts.len(), 0);
        for number in 0..=DOUBTS_MAX as u64 {
            shelves.on_sent(A, None);
            let is_full = shelves.on_doubtful(sent(1, &number.to_le_bytes()), NOW, |_| None);
            assert_eq!(is_full, number == DOUBTS_MAX as u64);
        }
    }

    #[test]
    fn a_doubt_holds_the_low_mark_while_its_source_tries_again() {
        let mut shelves = Shelves::default();
        let first = Some(UnixMillis(5));
        // Its first sample is looked at only when it has failed.
        shelves.on_sent(A, None);
        assert_eq!(shelves.low_mark(A, NOW, Millis(10)), None);
        shelves.on_doubtful(sent(1, b"x"), NOW, |_| first);
        assert_eq!(shelves.low_mark(A, NOW, Millis(10)), first);
        assert_eq!(shelves.low_mark(B, NOW, Millis(10)), None);
        assert_eq!(shelves.low_mark(A, NOW.after(DOUBT_FORGOTTEN), Millis(10)), None);
    }

    #[test]
    fn what_is_kept_is_released_by_arrival_and_every_byte_is_accounted_for() {
        let mut shelves = Shelves::default();
        for arrived in 0..100 {
            shelves.on_sent(A, None);
            shelves.on_acknowledged(sent(arrived, &[0; 1000]), NOW);
            shelves.hold(B, kept(arrived, &[0; 500]));
        }
        assert!(shelves.bytes() >= 150_000 && shelves.bytes() <= 175_000, "{}", shelves.bytes());
        shelves.release(Nanos(60), drop);
        assert_eq!(shelves.gather(&Wanted::FromAll).delivered.len(), 40);
        assert_eq!(shelves.take_delivered().len(), 20);
        shelves.release(Nanos(100), drop);
        assert!(shelves.is_empty());
    }

    #[test]
    fn of_a_source_that_is_alone_the_last_is_kept_and_nothing_if_that_is_too_little() {
        const BYTES_MAX: usize = 20_000;
        let span = ALONE_SPAN.0;
        // A thousand bytes and a little: so many fit.
        for (pause, is_thin) in [(span / 10, false), (span / 100, true)] {
            let mut shelves = Shelves::default();
            let mut dropped = None;
            for number in 0..200 {
                let now = Nanos::from(Millis(pause * number));
                shelves.on_sent(A, None);
                let kept = Kept { arrived: now, ..kept(0, &[0; 1000]) };
                shelves.on_acknowledged(Sent { kept, first: None }, NOW);
                assert_eq!(shelves.drop_delivered(BYTES_MAX, now), None, "it is not alone");
            }
            shelves.set_alone(true, BYTES_MAX);
            let now = Nanos::from(Millis(pause * 200));
            dropped = shelves.drop_delivered(BYTES_MAX, now).or(dropped);
            let from = shelves.gather(&Wanted::FromAll).delivered.first().map(|it| it.arrived);
            assert_eq!(shelves.is_thin(), is_thin);
            match is_thin {
                true => assert_eq!((dropped, from), (Some(now), None)),
                false => assert!(dropped <= from && dropped > Some(Nanos(0)), "{dropped:?}"),
            }
        }
    }

    #[test]
    fn it_is_kept_again_when_the_source_has_become_slower_or_is_not_alone_any_more() {
        const BYTES_MAX: usize = 120_000;
        let thin = || {
            let mut shelves = Shelves { is_thin: true, ..Shelves::default() };
            shelves.on_sent(A, None);
            shelves
        };
        let mut doubtful = thin();
        assert!(doubtful.may_leave(Outcome::Rejected) && !doubtful.may_leave(Outcome::Unsent));
        doubtful.on_doubtful(sent(1, b"perhaps"), NOW, |_| None);
        assert!(!doubtful.may_leave(Outcome::Acknowledged), "it may be the one in doubt");
        for (is_alone, bytes, is_thin) in
            [(true, 2_000, true), (true, 500, false), (false, 2_000, false)]
        {
            let mut shelves = thin();
            shelves.on_unkept(None, bytes, NOW);
            shelves.set_alone(is_alone, BYTES_MAX);
            assert_eq!(shelves.is_thin(), is_thin, "{is_alone} {bytes}");
        }
    }
}
