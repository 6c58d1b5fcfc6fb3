//! What leases mean for who leads: who asks for them, who makes way, and what becomes of a group that has
//! none.

use crate::base::limits::{CLAIM_PATIENCE, LEASE, LEASE_OVERDUE};
use crate::base::time::Millis;
use crate::logic::cluster::group::{Group, Lead};
use crate::logic::cluster::leadership::{Effect, Leadership};
use crate::logic::cluster::node::Node;
use crate::logic::cluster::standing::{GroupKey, Standing, Term};

impl Leadership {
    /// This node has the lease of a group until then.
    pub fn on_lease(&mut self, key: GroupKey, until: Millis, now: Millis) {
        // What was given away is not led any more, whatever was still under way.
        if let Some(group) = self.groups.get_mut(&key).filter(|group| group.given.is_none()) {
            group.lease = until;
            // It may be promised for much longer than the time in which it is asked for anew.
            let renewed = until.min(now.after(LEASE));
            group.sure = Millis(renewed.0.saturating_sub(LEASE_OVERDUE.0));
            self.decide(key, now);
        }
    }

    /// The groups that this node needs the leases of, those that it leads or is to lead, and the last
    /// term of each that it knows of.
    pub fn wanted(&self, now: Millis) -> Vec<(GroupKey, Term)> {
        let is_wanted = |(key, group): &(&GroupKey, &Group)| {
            self.is_settled
                && group.given.is_none()
                && (group.is_led_by(self.me) || self.is_to_claim(**key, group, now))
        };
        let term = |group: &Group| group.standing.as_ref().map_or(Term(0), |it| it.term);
        self.groups.iter().filter(is_wanted).map(|(key, group)| (*key, term(group))).collect()
    }

    /// The groups that this node has asked the leases of for so long that it will not get them: perhaps no
    /// answer reaches it. It makes way, and has to give back what it was promised, for else the others
    /// could promise the group to nobody.
    pub fn give_up_claims(&mut self, now: Millis) -> Vec<GroupKey> {
        let is_hopeless = |group: &Group| {
            group.claims_since.is_some_and(|since| now.since(since) >= LEASE.times(2))
        };
        let hopeless = self.groups.iter_mut().filter(|(_, group)| is_hopeless(group));
        let given_up = hopeless.map(|(key, group)| {
            group.claims_since = None;
            // What could not be given back ends by itself, and then another has some time.
            group.yields_until = now.after(LEASE).after(CLAIM_PATIENCE);
            *key
        });
        given_up.collect()
    }

    /// Whether a node that knows of nothing later than `term` may be promised the lease of a group. If
    /// not, it is to hear of this first.
    pub fn objection(&self, key: GroupKey, asks: Node, term: Term) -> Option<&Standing> {
        let standing = self.groups.get(&key)?.standing.as_ref()?;
        (standing.term > term && standing.leader != asks).then_some(standing)
    }

    /// Another node asks for the lease of a group. If this one does too, has not got it yet, and comes
    /// later in the group's order, it makes way: of many that ask at once none would get enough. True
    /// if it has to give back what it was promised.
    pub fn makes_way(&mut self, key: GroupKey, asks: Node, now: Millis) -> bool {
        let Some(group) = self.groups.get(&key) else { return false };
        let order = self.in_order(key);
        let place = |node: Node| order.iter().position(|other| *other == node);
        let is_contending = group.standing.as_ref().is_none_or(|it| it.leader != self.me)
            && group.vacant_since.is_some()
            && self.is_to_claim(key, group, now)
            && now >= group.ours_until;
        if !is_contending || place(asks).is_none_or(|asks| place(self.me) <= Some(asks)) {
            return false;
        }
        if let Some(group) = self.groups.get_mut(&key) {
            group.yields_until = now.after(LEASE.times(2));
        }
        true
    }

    /// This node was taken for dead in the life before. What it has the leases of nobody else can lead
    /// now.
    pub(super) fn go_on_from(&mut self, before: Node, now: Millis) {
        let me = self.me;
        let led = self.groups.values_mut().filter(|it| it.is_led_by(before) && now < it.lease);
        for standing in led.filter_map(|group| group.standing.as_mut()) {
            standing.leader = me;
            standing.term = standing.term.renewed();
            self.effects.push(Effect::TellAll(standing.clone()));
        }
    }

    /// A group that this node leads, and has no lease of. Another may get it: it is given away, for the
    /// others would wait for this node as long as it lives.
    pub(super) fn decide_unleased(&mut self, key: GroupKey, now: Millis) {
        let Some(group) = self.groups.get_mut(&key) else { return };
        let since = *group.unleased_since.get_or_insert(now);
        let unleased_for = now.since(since);
        if unleased_for >= CLAIM_PATIENCE.times(3) {
            // The other one can get none either, it seems: this one tries again.
            (group.given, group.unleased_since) = (None, Some(now));
        }
        match group.unleased_since == Some(since) && unleased_for >= CLAIM_PATIENCE {
            true => self.give(key, now),
            false => self.tell(key, Lead::Nobody),
        }
    }
}
