//! How a group stands: who leads it since which change, and who sits in its seat. What nodes tell each
//! other, and what a node that takes the lead goes on from.

use std::net::SocketAddr;

use twox_hash::XxHash3_128;

use crate::base::time::{Millis, UnixMillis};
use crate::logic::cluster::node::Node;
use crate::logic::source::{GroupName, Payload, SourceName, Weight};
use crate::logic::view::Epoch;

/// Counts the changes of a group's leader. A higher term is a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// So many terms belong to one leader: the one in which it took the group, and those of its later lives.
const LIVES: u64 = 256;

impl Term {
    /// The term of whoever takes the group from the leader of this one: later than all in which that
    /// leader may go on, cut off as it may be, without hearing of it.
    pub fn next(self) -> Term {
        Term((self.0 / LIVES + 1) * LIVES)
    }

    /// The term in which the same leader goes on in another life, whom nobody may have replaced yet. The
    /// last one of them stays.
    pub fn renewed(self) -> Term {
        Term((self.0 + 1).min(self.0 / LIVES * LIVES + LIVES - 1))
    }
}

/// A group's name in eight bytes, the same on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub u64);

impl GroupKey {
    /// The key of a group.
    pub fn of(group: &GroupName) -> GroupKey {
        let length = (group.tenant.len() as u64).to_le_bytes();
        GroupKey(hash(&[&length[..], &group.tenant, &group.group].concat()))
    }

    /// How much a node is the one to lead this group, if nobody does: every node says the same of
    /// every other, and each is first for as many groups.
    pub fn score(self, node: SocketAddr) -> u64 {
        hash(format!("{:016x} {node}", self.0).as_bytes())
    }
}

/// The lower half: what is compared is chosen by our own side, and a collision costs no more than a
/// leader in common.
fn hash(bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot(bytes) as u64
}

/// Who sits in a seat, as far as another node can go on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sitting {
    /// By name: numbers of sources are a node's own.
    pub name: SourceName,
    /// Its weight when it took the seat.
    pub weight: Weight,
    /// Where it spoke from, for the log.
    pub address: SocketAddr,
    /// What it sends.
    pub payload: Payload,
    /// How long it may be silent before it is lost.
    pub patience: Millis,
}

/// How a group stands, as its leader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The group.
    pub group: GroupName,
    /// Since which change it is led so.
    pub term: Term,
    /// Who leads it.
    pub leader: Node,
    /// Where the leader takes requests.
    pub listen: SocketAddr,
    /// Since which change the seat is as it is.
    pub epoch: Epoch,
    /// Who sits in it, if anybody does.
    pub sitting: Option<Sitting>,
    /// The low mark: everything older has been delivered.
    pub low: Option<UnixMillis>,
}

impl Standing {
    /// The group's key.
    pub fn key(&self) -> GroupKey {
        GroupKey::of(&self.group)
    }

    /// Whether this one counts and `other` does not: it is of a later change. Two nodes may have claimed
    /// one term without knowing of each other: then all decide alike.
    pub fn overrules(&self, other: &Standing) -> bool {
        let key = self.key();
        let rank = |it: &Standing| (it.term, key.score(it.leader.address), it.leader);
        rank(self) > rank(other)
    }

    /// Whether both are of the same change.
    pub fn is_of_one_term(&self, other: &Standing) -> bool {
        (self.term, self.leader) == (other.term, other.leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(tenant: &str, group: &str) -> GroupName {
        GroupName { tenant: tenant.as_bytes().into(), group: group.as_bytes().into() }
    }

    fn node(last: u8) -> Node {
        Node::at(SocketAddr::from(([10, 0, 0, last], 6746)))
    }

    #[test]
    fn tenant_and_group_are_told_apart_and_a_key_never_changes() {
        assert_ne!(GroupKey::of(&group("ab", "c")), GroupKey::of(&group("a", "bc")));
        // Nodes of different versions must agree.
        assert_eq!(GroupKey::of(&group("", "")), GroupKey(KEY_OF_NOTHING));
    }

    const KEY_OF_NOTHING: u64 = 5_027_060_195_534_464_434;

    #[test]
    fn who_takes_a_group_counts_more_than_its_leader_in_whatever_life() {
        let first = Term::default().next();
        let mut renewed = first;
        for _ in 0..2 * LIVES {
            assert!(renewed.renewed() >= renewed && renewed.renewed() < first.next());
            renewed = renewed.renewed();
        }
        assert!(first < first.renewed() && renewed.next() == first.next());
    }

    #[test]
    fn every_node_is_first_for_about_as_many_groups() {
        let mut firsts = [0; 5];
        for number in 0..1000 {
            let key = GroupKey::of(&group("", &number.to_string()));
            let first = (0..5).max_by_key(|last| key.score(node(*last as u8).address));
            firsts[first.expect("there are five")] += 1;
        }
        assert!(firsts.iter().all(|first| (140..260).contains(first)), "{firsts:?}");
    }

    #[test]
    fn of_two_that_claim_one_term_exactly_one_counts() {
        let standing = |term, last| Standing {
            group: group("", ""),
            term: Term(term),
            leader: node(last),
            listen: node(last).address,
            epoch: Epoch(0),
            sitting: None,
            low: None,
        };
        let (one, two) = (standing(3, 1), standing(3, 2));
        assert!(one.overrules(&two) != two.overrules(&one));
        assert!(standing(4, 1).overrules(&two) && standing(4, 2).overrules(&one));
        assert!(!one.overrules(&one) && one.is_of_one_term(&one));
    }
}
