//! What a member asks the others, and what it answers: who leads, and who may.

use std::net::SocketAddr;
use std::ops::Bound;

use crate::base::limits::STANDINGS_MAX;
use crate::base::time::Millis;
use crate::logic::cluster::lease::Round;
use crate::logic::cluster::member::{Member, tell};
use crate::logic::cluster::node::Node;
use crate::logic::cluster::notice::{KEYS_MAX, More, Notice, take_fitting};
use crate::logic::cluster::standing::{GroupKey, Standing, Term};

impl Member {
    /// How the groups after this one stand.
    pub(super) fn answer(&mut self, from: Node, after: Option<GroupKey>) {
        let standings = self.leadership.standings(after).take(STANDINGS_MAX);
        // No more than may fit: the shortest takes more than thirty bytes.
        let mut standings: Vec<Standing> = standings.take(KEYS_MAX).cloned().collect();
        let is_full = standings.len() == KEYS_MAX;
        let some = take_fitting(&mut standings);
        let more = if standings.is_empty() && !is_full { More::No } else { More::Yes };
        self.tell(from.address, &Notice::Views(self.me, after, some, more));
    }

    /// Asks one of the others, each in turn, for a group without a leader and those behind it.
    pub(super) fn ask_for_leader(&mut self, now: Millis) {
        let Some(vacant) = self.leadership.next_vacant(now) else { return };
        let next = self.others.range((Bound::Excluded(self.asked), Bound::Unbounded)).next();
        let Some(node) = next.or(self.others.first()).copied() else { return };
        self.asked = node;
        let before = vacant.0.checked_sub(1).map(GroupKey);
        self.tell(node.address, &Notice::Ask(self.me, before));
    }

    /// Asks all others for the leases that this node needs.
    pub(super) fn ask_for_leases(&mut self, now: Millis) {
        self.promises.forget(now);
        if self.majority.is_some() {
            self.leadership.give_up_claims(now).into_iter().for_each(|key| self.free(key));
        }
        let Some(majority) = &mut self.majority else { return };
        let wanted = self.leadership.wanted(now);
        for some in wanted.chunks(KEYS_MAX) {
            let round = majority.ask(now);
            let own = some
                .iter()
                .filter(|(key, _)| self.promises.give(*key, self.me.address, round, now));
            let own: Vec<GroupKey> = own.map(|(key, _)| *key).collect();
            majority.on_given(self.me.address, round, &own);
            let ask = Notice::LeaseAsk(self.me, round, some.to_vec());
            for node in &self.others {
                tell(&mut self.letters, node.address, &ask);
            }
        }
    }

    /// Another node asks for the leases of these groups.
    pub(super) fn promise(
        &mut self,
        from: Node,
        round: Round,
        wanted: Vec<(GroupKey, Term)>,
        now: Millis,
    ) {
        for (key, _) in &wanted {
            if self.leadership.makes_way(*key, from, now) {
                self.free(*key);
            }
        }
        let given = wanted.into_iter().filter(|(key, term)| {
            let objection = self.leadership.objection(*key, from, *term).cloned();
            match objection {
                Some(standing) => {
                    tell(&mut self.letters, from.address, &Notice::Standings(vec![standing]));
                    false
                }
                None => self.promises.give(*key, from.address, round, now),
            }
        });
        let given: Vec<GroupKey> = given.map(|(key, _)| key).collect();
        if !given.is_empty() {
            self.tell(from.address, &Notice::LeaseGiven(self.me, round, given));
        }
    }

    /// Another node has promised the leases of these groups.
    pub(super) fn on_given(
        &mut self,
        from: SocketAddr,
        round: Round,
        keys: &[GroupKey],
        now: Millis,
    ) {
        let Some(majority) = &mut self.majority else { return };
        majority.on_given(from, round, keys);
        for key in keys {
            self.leadership.on_lease(*key, majority.until(*key), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::LEASE;
    use crate::logic::cluster::member::{LeaseKind, Setting};
    use crate::logic::source::GroupName;
    use crate::logic::view::Epoch;
    use crate::wire::cluster::seal::Stamp;

    fn node(last: u8) -> Node {
        Node { address: SocketAddr::from(([10, 0, 0, last], 1)), generation: 1000 }
    }

    fn member(me: Node, peer: Node, leases: LeaseKind) -> Member {
        let setting = Setting { me, listen: me.address, leases, settle_max: Millis(0), seed: 1 };
        Member::new(setting, &[peer.address], Millis(0))
    }

    /// The first of three nodes, which has heard of the second long enough for its promises to count.
    fn acquainted(leases: LeaseKind) -> (Member, u64) {
        let (mut one, mut two) =
            (member(node(1), node(2), leases), member(node(2), node(1), leases));
        let mut sequence = 0;
        let mut carry = |from: &mut Member, to: &mut Member, now| {
            for letter in from.take_letters() {
                sequence += 1;
                let stamp = Stamp { process: 1, sequence };
                to.on_datagram(stamp, &letter.payload, now).expect("it is new and can be read");
            }
        };
        for now in (0..2 * LEASE.0).step_by(50).map(Millis) {
            one.on_time(now);
            two.on_time(now);
            carry(&mut one, &mut two, now);
            carry(&mut two, &mut one, now);
        }
        assert!(one.others.contains(&node(2)));
        (one, sequence)
    }

    /// Whether it answers this with what such a notice is.
    fn answers(
        one: &mut Member,
        notice: &Notice,
        sequence: u64,
        is_it: fn(&Notice) -> bool,
    ) -> bool {
        one.take_letters();
        let now = one.last_time;
        let stamp = Stamp { process: 9, sequence };
        one.on_datagram(stamp, &notice.encode(), now).expect("it is new and can be read");
        let letters = one.take_letters();
        letters.iter().any(|it| Notice::decode(&it.payload).is_ok_and(|it| is_it(&it)))
    }

    #[test]
    fn only_a_life_that_is_there_is_promised_a_lease() {
        let earlier = Node { generation: 1, ..node(2) };
        for (asks, is_promised) in [(node(2), true), (earlier, false), (node(3), false)] {
            let (mut one, sequence) = acquainted(LeaseKind::Majority(3));
            let wanted = vec![(GroupKey(7), Term(0))];
            let ask = Notice::LeaseAsk(asks, Round(1 << 40), wanted);
            let is_given = |it: &Notice| matches!(it, Notice::LeaseGiven(..));
            assert_eq!(answers(&mut one, &ask, sequence + 1, is_given), is_promised, "{asks:?}");
        }
    }

    #[test]
    fn what_is_given_to_one_node_is_not_taken_by_another() {
        for (to, is_taken) in [(node(1), true), (node(3), false)] {
            let (mut one, sequence) = acquainted(LeaseKind::None);
            let group = GroupName { tenant: Box::default(), group: (*b"g").into() };
            let standing = Standing {
                group,
                term: Term(5),
                leader: node(2),
                listen: node(2).address,
                epoch: Epoch::default(),
                sitting: None,
                low: None,
            };
            let give = Notice::Give(to.address, standing);
            let claims = |it: &Notice| match it {
                Notice::Standings(all) => all.iter().any(|it| it.leader == node(1)),
                _ => false,
            };
            assert_eq!(answers(&mut one, &give, sequence + 1, claims), is_taken, "{to:?}");
        }
    }
}
