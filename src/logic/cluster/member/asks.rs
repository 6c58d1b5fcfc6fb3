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
