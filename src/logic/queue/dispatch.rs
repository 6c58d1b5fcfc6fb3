//! Which of the records that were read may be sent now.
//!
//! In order (`out_of_order: refused`), a record begins only when none before it may have to be sent
//! again that has a series in common with it, or is of another source. "May have to be sent again"
//! means: until the mark of the queue covers it, not until it is answered. What a crash repeats are
//! then records that have begun and are not covered; no two of them share a series, and there are
//! `max_in_flight` at most. So a repetition never brings an older sample behind a newer one.
//!
//! A change of the source is a barrier, whatever the bodies say: what a hand-over has put in order stays
//! in order.
//!
//! Where the endpoint takes samples out of order, anything may begin, and what is fresh does first.

use std::collections::VecDeque;

use crate::base::limits::RETRY_AFTER_MAX;
use crate::base::time::{Millis, UnixMillis};
use crate::logic::queue::backoff::Backoff;
use crate::logic::queue::claim::Claim;
use crate::logic::queue::setting::OutOfOrder;
use crate::wire::queue::record::Label;
use crate::wire::queue::sequence::{Sequence, SourceKey};
use crate::wire::remote_write::push::Push;

/// What an operator says of sending.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `out_of_order`.
    pub out_of_order: OutOfOrder,
    /// `max_in_flight`: requests that may be under way at once, and be repeated after a crash.
    pub in_flight_max: usize,
    /// `min_backoff`.
    pub backoff_min: Millis,
    /// `max_backoff`.
    pub backoff_max: Millis,
}

/// How far a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    UnderWay,
    Paused(Millis),
    /// Sent, or dropped; the mark does not cover it yet.
    Ended,
}

/// A record that was read.
#[derive(Debug)]
struct Item {
    sequence: Sequence,
    source: SourceKey,
    time: UnixMillis,
    claim: Claim,
    /// It may not begin before the mark covers this one.
    behind: Sequence,
    stage: Stage,
    tries: u32,
    /// `None`: it is not needed any more.
    push: Option<Push>,
}

/// The records that were read and are not covered by the mark.
#[derive(Debug)]
pub struct Dispatch {
    rule: Rule,
    backoff: Backoff,
    /// In order.
    line: VecDeque<Item>,
    /// Given before their turn; only where the endpoint takes samples out of order.
    fresh: VecDeque<Item>,
    /// The mark.
    covered: Sequence,
    /// The endpoint wants nothing before.
    closed_until: Millis,
}

impl Dispatch {
    /// Nothing has been read. `seed` is for the jitter.
    pub fn new(rule: Rule, seed: u64) -> Dispatch {
        Dispatch {
            backoff: Backoff::new(rule.backoff_min, rule.backoff_max, seed),
            rule: Rule { in_flight_max: rule.in_flight_max.max(1), ..rule },
            line: VecDeque::new(),
            fresh: VecDeque::new(),
            covered: Sequence(0),
            closed_until: Millis(0),
        }
    }

    /// Whether something that is read now could begin at once.
    pub fn has_slot(&self) -> bool {
        self.rule.out_of_order == OutOfOrder::Allowed || self.started() < self.rule.in_flight_max
    }

    /// Whether it makes a difference what a record claims: else [`Claim::All`] will do.
    pub fn needs_claims(&self) -> bool {
        self.rule.out_of_order == OutOfOrder::Refused && self.rule.in_flight_max > 1
    }

    /// The next record of the queue has been read. They come in order.
    pub fn on_read(&mut self, label: Label, push: Push, claim: Claim) {
        let last = self.line.back().map_or(Sequence(0), |item| item.sequence);
        assert!(label.sequence > last, "records are read in order");
        let meets = |item: &&Item| item.source != label.source || item.claim.meets(&claim);
        let behind = match self.rule.out_of_order {
            OutOfOrder::Refused => self.line.iter().rev().find(meets).map(|item| item.sequence),
            OutOfOrder::Allowed => None,
        };
        self.line.push_back(Item::new(label, push, claim, behind.unwrap_or_default()));
    }

    /// A record has been given before its turn. Only where samples may go out of order.
    pub fn on_fresh(&mut self, label: Label, push: Push) {
        assert!(self.rule.out_of_order == OutOfOrder::Allowed, "the order counts");
        self.fresh.push_back(Item::new(label, push, Claim::All, Sequence(0)));
    }

    /// The next request to be sent, if one may be now. It is under way then, until it is told how it
    /// ended.
    pub fn poll_start(&mut self, now: Millis) -> Option<(Sequence, Push)> {
        if now < self.closed_until {
            return None;
        }
        let has_slot = self.started() < self.rule.in_flight_max;
        let first = self.line.front().map_or(Sequence(u64::MAX), |item| item.sequence);
        let may_start = |item: &&mut Item| match item.stage {
            Stage::New => has_slot && item.behind < first,
            Stage::Paused(until) => until <= now,
            Stage::UnderWay | Stage::Ended => false,
        };
        let item = self.fresh.iter_mut().chain(&mut self.line).find(may_start)?;
        item.stage = Stage::UnderWay;
        item.tries = item.tries.saturating_add(1);
        Some((item.sequence, item.push.clone()?))
    }

    /// It has been sent, or is dropped for good.
    pub fn on_ended(&mut self, sequence: Sequence) {
        if let Some(item) = self.item(sequence) {
            (item.stage, item.push) = (Stage::Ended, None);
        }
        self.forget();
    }

    /// It was not taken, and is sent again: after a pause of its own, and `retry_after` if the
    /// endpoint has said so, which then holds for all others, too.
    pub fn on_failed(&mut self, sequence: Sequence, retry_after: Option<Millis>, now: Millis) {
        let tries = self.item(sequence).map_or(1, |item| item.tries);
        let mut until = now.after(self.backoff.pause(tries));
        if let Some(asked) = retry_after {
            let asked = now.after(asked.min(RETRY_AFTER_MAX));
            self.closed_until = self.closed_until.max(asked);
            // Not all of those that were told the same come at the same time.
            until = until.max(asked.after(self.backoff.jitter(self.rule.backoff_min)));
        }
        if let Some(item) = self.item(sequence) {
            item.stage = Stage::Paused(until);
        }
        self.forget();
    }

    /// The endpoint is somewhere else from now on: whatever waits is due at once there, for what the old one
    /// has asked for, or how often it has failed, says nothing of the new one. What has begun stays begun.
    pub fn on_moved(&mut self) {
        self.closed_until = Millis(0);
        for item in self.fresh.iter_mut().chain(&mut self.line) {
            if let Stage::Paused(until) = &mut item.stage {
                (*until, item.tries) = (Millis(0), 0);
            }
        }
    }

    /// The mark says that all up to `sequence` have been sent, or were dropped to make room. Whether that is
    /// news.
    pub fn on_covered(&mut self, sequence: Sequence) -> bool {
        let is_news = sequence > self.covered;
        self.covered = self.covered.max(sequence);
        self.forget();
        is_news
    }

    /// Whether something has ended that the mark does not cover yet.
    pub fn waits_for_mark(&self) -> bool {
        self.line.iter().any(|item| item.stage == Stage::Ended)
    }

    fn forget(&mut self) {
        let covered = self.covered;
        // What is under way is waited for, also if it is not wanted any more: what comes behind it must
        // not overtake it.
        self.line.retain(|item| item.sequence > covered || item.stage == Stage::UnderWay);
        if self.rule.out_of_order == OutOfOrder::Allowed {
            self.line.retain(|item| item.stage != Stage::Ended);
            self.fresh.retain(|item| item.stage != Stage::Ended);
        }
    }

    /// When [`Dispatch::poll_start`] may have something after `now`, if nothing happens before.
    pub fn due(&self, now: Millis) -> Option<Millis> {
        let due = self.items().filter_map(|item| match item.stage {
            Stage::New => Some(self.closed_until),
            Stage::Paused(until) => Some(until.max(self.closed_until)),
            Stage::UnderWay | Stage::Ended => None,
        });
        due.filter(|due| *due > now).min()
    }

    /// Requests that are under way.
    pub fn in_flight(&self) -> usize {
        self.items().filter(|item| item.stage == Stage::UnderWay).count()
    }

    /// When the oldest record came that has not been sent, of those that were read in their turn.
    pub fn oldest(&self) -> Option<UnixMillis> {
        let unsent = self.line.iter().filter(|item| item.stage != Stage::Ended);
        unsent.map(|item| item.time).min()
    }

    /// Records that have begun, and so may be repeated.
    fn started(&self) -> usize {
        self.items().filter(|item| item.stage != Stage::New).count()
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.fresh.iter().chain(&self.line)
    }

    fn item(&mut self, sequence: Sequence) -> Option<&mut Item> {
        self.fresh.iter_mut().chain(&mut self.line).find(|item| item.sequence == sequence)
    }
}

impl Item {
    fn new(label: Label, push: Push, claim: Claim, behind: Sequence) -> Item {
        let Label { sequence, time, source } = label;
        let (stage, tries, push) = (Stage::New, 0, Some(push));
        Item { sequence, source, time, claim, behind, stage, tries, push }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;

    const RULE: Rule = Rule {
        out_of_order: OutOfOrder::Refused,
        in_flight_max: 4,
        backoff_min: Millis(30),
        backoff_max: Millis(5000),
    };

    fn label(sequence: u64, source: u64) -> Label {
        let (sequence, time) = (Sequence(sequence), UnixMillis(sequence as i64));
        Label { sequence, time, source: SourceKey(source) }
    }

    fn push() -> Push {
        Push::new(Vec::new(), 0, Protocol::V1)
    }

    fn dispatch(rule: Rule, records: &[(u64, &[u64])]) -> Dispatch {
        let mut dispatch = Dispatch::new(rule, 1);
        for (number, (source, series)) in (1..).zip(records) {
            dispatch.on_read(label(number, *source), push(), Claim::of(series.to_vec()));
        }
        dispatch
    }

    fn started(dispatch: &mut Dispatch, now: u64) -> Vec<u64> {
        let next = || dispatch.poll_start(Millis(now)).map(|(sequence, _)| sequence.0);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_has_no_series_in_common_goes_at_once_and_the_rest_when_it_is_covered() {
        let mut all = dispatch(RULE, &[(1, &[1, 2]), (1, &[3]), (1, &[2, 4]), (1, &[5])]);
        assert_eq!(started(&mut all, 0), [1, 2, 4]);
        all.on_ended(Sequence(1));
        assert_eq!(started(&mut all, 0), [0_u64; 0], "after a crash it would be repeated");
        all.on_covered(Sequence(1));
        assert_eq!(started(&mut all, 0), [3]);
    }

    #[test]
    fn a_change_of_the_source_is_a_barrier() {
        let mut all = dispatch(RULE, &[(1, &[1]), (2, &[2]), (2, &[3]), (1, &[4])]);
        for expected in [&[1][..], &[2, 3], &[4]] {
            assert_eq!(started(&mut all, 0), expected);
            expected.iter().for_each(|number| all.on_ended(Sequence(*number)));
            all.on_covered(Sequence(expected[expected.len() - 1]));
        }
        assert_eq!((all.oldest(), all.due(Millis(0))), (None, None));
    }

    #[test]
    fn no_more_go_than_may_be_repeated() {
        let rule = Rule { in_flight_max: 2, ..RULE };
        let mut all = dispatch(rule, &[(1, &[1]), (1, &[2]), (1, &[3]), (1, &[4])]);
        assert_eq!(started(&mut all, 0), [1, 2]);
        all.on_ended(Sequence(2));
        assert_eq!(started(&mut all, 0), [0_u64; 0], "the first holds the mark");
        all.on_failed(Sequence(1), None, Millis(100));
        assert_eq!(started(&mut all, 129), [0_u64; 0]);
        let due = all.due(Millis(129)).expect("it is tried again");
        assert!((130..=160).contains(&due.0), "{due:?}");
        assert_eq!(started(&mut all, due.0), [1]);
        all.on_ended(Sequence(1));
        all.on_covered(Sequence(2));
        assert_eq!(started(&mut all, 200), [3, 4]);
    }

    #[test]
    fn the_endpoint_says_when_it_wants_more_but_not_next_week() {
        let mut all = dispatch(RULE, &[(1, &[1]), (1, &[2])]);
        assert_eq!(all.poll_start(Millis(0)).map(|it| it.0), Some(Sequence(1)));
        all.on_failed(Sequence(1), Some(Millis(20_000)), Millis(0));
        assert_eq!(started(&mut all, 19_999), [0_u64; 0]);
        assert_eq!(started(&mut all, 20_030), [1, 2]);
        all.on_failed(Sequence(1), Some(Millis(u64::MAX)), Millis(20_100));
        assert_eq!(started(&mut all, 20_100 + RETRY_AFTER_MAX.0 + 30), [1]);
    }

    #[test]
    fn an_endpoint_in_another_place_gets_all_at_once_and_in_order() {
        let mut all = dispatch(RULE, &[(1, &[1]), (1, &[2]), (1, &[1]), (1, &[3])]);
        assert_eq!(started(&mut all, 0), [1, 2, 4]);
        all.on_failed(Sequence(1), Some(Millis(20_000)), Millis(0));
        all.on_failed(Sequence(4), None, Millis(0));
        assert_eq!(started(&mut all, 10), [0_u64; 0]);
        all.on_moved();
        assert_eq!(started(&mut all, 10), [1, 4], "and 2 is under way to where it was");
        all.on_failed(Sequence(1), None, Millis(10));
        assert!(all.due(Millis(10)) <= Some(Millis(10 + 30 + 30)), "as after a first failure");
        assert_eq!(started(&mut all, 100), [1]);
        all.on_ended(Sequence(1));
        all.on_covered(Sequence(1));
        assert_eq!(started(&mut all, 100), [3]);
    }

    #[test]
    fn what_was_dropped_is_not_begun_and_what_is_under_way_is_waited_for() {
        let mut all =
            dispatch(Rule { in_flight_max: 1, ..RULE }, &[(1, &[1]), (1, &[1]), (1, &[1])]);
        assert_eq!(started(&mut all, 0), [1]);
        all.on_covered(Sequence(2));
        assert_eq!(started(&mut all, 0), [0_u64; 0]);
        all.on_ended(Sequence(1));
        assert_eq!(started(&mut all, 0), [3]);
    }

    #[test]
    fn where_the_order_is_free_what_is_fresh_goes_first() {
        let rule = Rule { out_of_order: OutOfOrder::Allowed, in_flight_max: 2, ..RULE };
        let mut all = dispatch(rule, &[(1, &[1]), (2, &[1]), (1, &[1])]);
        assert!(!all.needs_claims());
        assert_eq!(started(&mut all, 0), [1, 2]);
        all.on_fresh(label(90, 1), push());
        all.on_ended(Sequence(2));
        assert_eq!(started(&mut all, 0), [90]);
        all.on_ended(Sequence(90));
        assert_eq!(started(&mut all, 0), [3]);
        assert_eq!((all.in_flight(), all.oldest()), (2, Some(UnixMillis(1))));
    }
}
