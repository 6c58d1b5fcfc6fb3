//! A node that begins asks the others how the groups stand before it leads any: a seat that is led
//! elsewhere must not be led here too.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::base::limits::{ASK_EVERY, SETTLE_REST};
use crate::base::time::Millis;
use crate::logic::cluster::notice::More;
use crate::logic::cluster::standing::GroupKey;

/// One round of asking everybody.
#[derive(Debug)]
pub struct Settle {
    since: Millis,
    patience: Millis,
    not_before: Millis,
    asked: BTreeMap<SocketAddr, Progress>,
    /// So many more are to be asked, when it is known where they are.
    unknown: usize,
    next_ask: Millis,
    /// When the first of them had told everything.
    first_told: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Asked for the groups after this one.
    After(Option<GroupKey>),
    Told,
}

impl Settle {
    /// Begins at `now`, and gives up after `patience`.
    pub fn new(now: Millis, patience: Millis) -> Settle {
        Settle {
            since: now,
            patience,
            not_before: now,
            asked: BTreeMap::new(),
            unknown: 0,
            next_ask: now,
            first_told: None,
        }
    }

    /// The same, but it waits at least until then, whatever is answered.
    pub fn not_before(self, not_before: Millis) -> Settle {
        Settle { not_before, ..self }
    }

    /// There is somebody to be asked.
    pub fn add(&mut self, node: SocketAddr) {
        self.asked.entry(node).or_insert(Progress::After(None));
    }

    /// So many are to be asked of whom it is not known where they are.
    pub fn set_unknown(&mut self, unknown: usize) {
        self.unknown = unknown;
    }

    /// Whom to ask now, and from which group on.
    pub fn poll_asks(&mut self, now: Millis) -> Vec<(SocketAddr, Option<GroupKey>)> {
        if now < self.next_ask {
            return Vec::new();
        }
        self.next_ask = now.after(ASK_EVERY);
        let open = self.asked.iter().filter_map(|(node, progress)| match progress {
            Progress::After(after) => Some((*node, *after)),
            Progress::Told => None,
        });
        open.collect()
    }

    /// A node has told of the groups after one, up to `last`. What it is to be asked next, if there is
    /// more. A peer may answer from another address than the one it was asked at.
    pub fn on_views(
        &mut self,
        from: SocketAddr,
        after: Option<GroupKey>,
        last: Option<GroupKey>,
        more: More,
        now: Millis,
    ) -> Option<Option<GroupKey>> {
        let progress = self.asked.entry(from).or_insert(Progress::After(None));
        if *progress != Progress::After(after) {
            return None;
        }
        match (more, last) {
            (More::Yes, Some(last)) => {
                *progress = Progress::After(Some(last));
                Some(Some(last))
            }
            (More::Yes, None) | (More::No, _) => {
                *progress = Progress::Told;
                self.first_told.get_or_insert(now);
                None
            }
        }
    }

    /// Whether there is nothing more to wait for: all have told and are known to live, or one has and the
    /// others had the time to, or nobody answers. Of one that has told and is not known to live yet each
    /// would lead what the other one does.
    pub fn is_over(&self, is_alive: impl Fn(SocketAddr) -> bool, now: Millis) -> bool {
        let is_done = |(node, progress): (&SocketAddr, &Progress)| {
            *progress == Progress::Told && is_alive(*node)
        };
        let has_waited = now >= self.not_before;
        let is_answered = (self.unknown == 0 && self.asked.iter().all(is_done))
            || self.first_told.is_some_and(|told| now.since(told) >= SETTLE_REST)
            || now.since(self.since) >= self.patience;
        has_waited && is_answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6746))
    }

    const PATIENCE: Millis = Millis(5000);

    #[test]
    fn with_nobody_to_ask_there_is_nothing_to_wait_for() {
        assert!(Settle::new(Millis(1), PATIENCE).is_over(|_| true, Millis(1)));
    }

    #[test]
    fn each_is_asked_page_by_page_until_it_has_told_all() {
        let mut settle = Settle::new(Millis(1), PATIENCE);
        settle.add(node(1));
        settle.add(node(2));
        assert_eq!(settle.poll_asks(Millis(1)), [(node(1), None), (node(2), None)]);
        assert_eq!(settle.poll_asks(Millis(2)), []);
        let key = Some(GroupKey(7));
        let told = |settle: &mut Settle, last, after, to, more| {
            settle.on_views(node(last), after, to, more, Millis(10))
        };
        assert_eq!(told(&mut settle, 1, None, key, More::Yes), Some(key));
        assert_eq!(told(&mut settle, 1, None, key, More::Yes), None, "it comes twice");
        assert_eq!(told(&mut settle, 2, None, None, More::No), None);
        assert!(!settle.is_over(|_| true, Millis(10)));
        let later = Millis(1).after(ASK_EVERY);
        assert_eq!(settle.poll_asks(later), [(node(1), key)]);
        assert_eq!(told(&mut settle, 1, key, None, More::No), None);
        assert!(!settle.is_over(|it| it == node(1), Millis(10)), "one of them is not known yet");
        assert!(settle.is_over(|_| true, Millis(10)));
    }

    #[test]
    fn one_of_whom_nobody_knows_where_it_is_may_lead_and_is_waited_for() {
        let mut settle = Settle::new(Millis(1), PATIENCE);
        settle.set_unknown(1);
        assert!(!settle.is_over(|_| true, Millis(PATIENCE.0)));
        assert!(settle.is_over(|_| true, Millis(1).after(PATIENCE)), "it has no name for ever");
        settle.add(node(1));
        settle.set_unknown(0);
        assert!(!settle.is_over(|_| true, Millis(100)));
        settle.on_views(node(1), None, None, More::No, Millis(100));
        assert!(settle.is_over(|_| true, Millis(100)));
    }

    #[test]
    fn what_may_come_until_some_time_is_waited_for_whatever_is_told() {
        let mut settle = Settle::new(Millis(1), PATIENCE).not_before(Millis(901));
        settle.add(node(1));
        settle.on_views(node(1), None, None, More::No, Millis(10));
        assert!(!settle.is_over(|_| true, Millis(900)));
        assert!(settle.is_over(|_| true, Millis(901)));
    }

    #[test]
    fn one_that_is_down_is_waited_for_a_little_and_if_all_are_for_as_long_as_configured() {
        let mut settle = Settle::new(Millis(1), PATIENCE);
        settle.add(node(1));
        settle.add(node(2));
        assert!(!settle.is_over(|_| true, Millis(PATIENCE.0)));
        assert!(settle.is_over(|_| true, Millis(1).after(PATIENCE)));
        settle.on_views(node(1), None, None, More::No, Millis(100));
        assert!(!settle.is_over(|_| true, Millis(99).after(SETTLE_REST)));
        assert!(settle.is_over(|_| true, Millis(100).after(SETTLE_REST)));
    }
}
