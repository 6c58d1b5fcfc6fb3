//! Leases from a majority of the nodes: a node leads a group only as long as more than half of them
//! have promised it to nobody else.
//!
//! A promise is never taken back before its time, whatever is heard meanwhile: the one that holds it may
//! just not be heard. It counts from the moment it was given at the one that gives, and from the moment
//! it was asked for at the one that holds, which is earlier; clocks that drift apart by less than two in
//! a hundred change nothing. A node that has just begun does not know what it promised in its last life,
//! so it promises nothing for as long as that could still hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::base::limits::{LEASE, LEASE_DRIFT};
use crate::base::time::Millis;
use crate::logic::cluster::standing::GroupKey;

/// What one node has promised.
#[derive(Debug)]
pub struct Promises {
    given: BTreeMap<GroupKey, Promise>,
    /// Before this, earlier lives may have promised otherwise.
    silent_until: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    holder: SocketAddr,
    /// The question that was answered with it.
    round: Round,
    until: Millis,
}

/// The number of a question. Those of one node only rise, also from one process to the next as long as its
/// wall clock does not go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

impl Promises {
    /// Those of a node that begins at `now`.
    pub fn new(now: Millis) -> Promises {
        Promises { given: BTreeMap::new(), silent_until: now.after(LEASE) }
    }

    /// Promises a group to `holder`, which asks for it, unless it is still promised to another.
    pub fn give(&mut self, key: GroupKey, holder: SocketAddr, round: Round, now: Millis) -> bool {
        let is_another = |given: &Promise| {
            given.holder != holder && now < given.until
                || given.round > round && given.holder == holder
        };
        if now < self.silent_until || self.given.get(&key).is_some_and(is_another) {
            return false;
        }
        self.given.insert(key, Promise { holder, round, until: now.after(LEASE) });
        true
    }

    /// The holder gives back what it was promised up to this question, and does not use any more. It
    /// may have asked anew meanwhile: that stands.
    pub fn take_back(&mut self, key: GroupKey, holder: SocketAddr, round: Round) {
        let is_it = |given: &Promise| given.holder == holder && given.round <= round;
        if self.given.get(&key).is_some_and(is_it) {
            self.given.remove(&key);
        }
    }

    /// Forgets what is over. To be called now and then.
    pub fn forget(&mut self, now: Millis) {
        self.given.retain(|_, given| now < given.until);
    }
}

/// What one node holds: the promises of all to it.
#[derive(Debug)]
pub struct Majority {
    needed: usize,
    held: BTreeMap<GroupKey, BTreeMap<SocketAddr, Millis>>,
    asked: BTreeMap<Round, Millis>,
    last_round: Round,
}

impl Majority {
    /// Nothing, in a cluster of `size` nodes. Questions are numbered from `first` on.
    pub fn new(size: usize, first: Round) -> Majority {
        Majority {
            needed: size / 2 + 1,
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_round: first,
        }
    }

    /// The number of a question that is asked now.
    pub fn ask(&mut self, now: Millis) -> Round {
        let round = Round(self.last_round.0 + 1);
        self.last_round = round;
        self.asked.insert(round, now);
        self.asked.retain(|_, asked| now.since(*asked) < LEASE);
        round
    }

    /// A node has answered a question: these groups are promised.
    pub fn on_given(&mut self, from: SocketAddr, round: Round, keys: &[GroupKey]) {
        let Some(asked) = self.asked.get(&round) else { return };
        let until = Millis(asked.after(LEASE).0.saturating_sub(LEASE_DRIFT.0));
        for key in keys {
            let of = self.held.entry(*key).or_default();
            let known = of.entry(from).or_default();
            *known = until.max(*known);
        }
    }

    /// Until when a group may be led.
    pub fn until(&self, key: GroupKey) -> Millis {
        let Some(of) = self.held.get(&key) else { return Millis(0) };
        let mut untils: Vec<Millis> = of.values().copied().collect();
        untils.sort_unstable_by(|a, b| b.cmp(a));
        untils.get(self.needed - 1).copied().unwrap_or_default()
    }

    /// Lets go of a group: it must not be led any more. What was promised up to the question that is
    /// given back may be promised to others.
    pub fn let_go(&mut self, key: GroupKey) -> Round {
        self.held.remove(&key);
        // An answer that is still under way is not to count.
        self.asked.clear();
        self.last_round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: GroupKey = GroupKey(7);
    const START: Millis = Millis(10_000);

    fn node(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6746))
    }

    fn later(span: u64) -> Millis {
        START.after(LEASE).after(Millis(span))
    }

    #[test]
    fn a_group_is_promised_to_one_at_a_time_and_never_released_early() {
        let mut promises = Promises::new(START);
        let one = Round(1);
        assert!(!promises.give(KEY, node(1), one, Millis(later(0).0 - 1)));
        assert!(promises.give(KEY, node(1), one, later(0)));
        assert!(!promises.give(KEY, node(2), one, later(LEASE.0 - 1)));
        assert!(promises.give(KEY, node(1), Round(2), later(LEASE.0 - 1)), "it holds it");
        assert!(!promises.give(KEY, node(2), one, later(2 * LEASE.0 - 2)));
        promises.take_back(KEY, node(2), one);
        promises.take_back(KEY, node(1), one);
        promises.forget(later(2 * LEASE.0 - 2));
        assert!(!promises.give(KEY, node(2), one, later(2 * LEASE.0 - 2)));
        assert!(promises.give(KEY, node(2), one, later(2 * LEASE.0 - 1)));
        promises.take_back(KEY, node(2), one);
        assert!(promises.give(KEY, node(3), one, later(2 * LEASE.0)));
    }

    #[test]
    fn what_is_given_back_late_is_not_what_was_promised_since() {
        let mut promises = Promises::new(START);
        assert!(promises.give(KEY, node(1), Round(5), later(0)));
        assert!(promises.give(KEY, node(1), Round(6), later(1)));
        promises.take_back(KEY, node(1), Round(5));
        assert!(!promises.give(KEY, node(2), Round(1), later(2)));
        assert!(!promises.give(KEY, node(1), Round(4), later(2)), "an old question");
        promises.take_back(KEY, node(1), Round(6));
        assert!(promises.give(KEY, node(2), Round(1), later(2)));
    }

    #[test]
    fn a_majority_holds_as_long_as_its_weakest_promise() {
        let mut majority = Majority::new(3, Round(5));
        let first = majority.ask(START);
        majority.on_given(node(1), first, &[KEY]);
        assert_eq!(majority.until(KEY), Millis(0));
        let second = majority.ask(START.after(Millis(500)));
        majority.on_given(node(2), second, &[KEY]);
        let of_first = Millis(START.after(LEASE).0 - LEASE_DRIFT.0);
        assert_eq!(majority.until(KEY), of_first);
        majority.on_given(node(1), second, &[KEY]);
        assert_eq!(majority.until(KEY), of_first.after(Millis(500)));
        majority.on_given(node(3), Round(99), &[KEY]);
        majority.let_go(KEY);
        majority.on_given(node(1), second, &[KEY]);
        majority.on_given(node(2), second, &[KEY]);
        assert_eq!(majority.until(KEY), Millis(0), "what was let go of is not held again");
    }
}
