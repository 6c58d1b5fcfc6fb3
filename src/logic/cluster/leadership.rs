//! Who leads which group: the incumbent for as long as it lives, else the first in the group's order of
//! the living nodes.
//!
//! A leader claims a group with a term higher than any it has heard of, and tells everybody. Of two
//! claims all nodes count the same one, see [`Standing::overrules`]; so two sides of a partition that have
//! both led agree as soon as they hear of each other. That they do not both lead meanwhile is what leases
//! are for: where they are wanted, nobody claims a group or goes on leading it without one.

mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::base::limits::{
    ASK_EVERY, CLAIM_PATIENCE, GOSSIP_WHOLE, STANDING_FORGOTTEN, STANDINGS_MAX,
};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::cluster::group::{Group, Lead};
use crate::logic::cluster::node::Node;
use crate::logic::cluster::notice::Notice;
use crate::logic::cluster::standing::{GroupKey, Sitting, Standing, Term};
use crate::logic::source::GroupName;
use crate::logic::view::Epoch;

/// A group that this node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led<'a> {
    /// Which.
    pub group: &'a GroupName,
    /// Until when, without hearing more.
    pub until: Millis,
    /// Until when it may rely on what it does not hear: later, it may be cut off from all others, and from
    /// what they relay.
    pub sure_until: Millis,
}

/// Whether leases are needed to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leases {
    /// They are.
    Needed,
    /// They are not: a node leads until it hears of another.
    None,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A group is led by another, or by nobody, or by this node, which goes on from how it stood: from
    /// nothing, if the group is new.
    Led(GroupName, Lead, Option<Standing>),
    /// To one node.
    Tell(SocketAddr, Notice),
    /// To all others, at once.
    TellAll(Standing),
    /// This node does not lead the group any more, and its lease may go to others.
    Free(GroupKey),
}

/// The groups of the cluster, as one node knows them.
#[derive(Debug)]
pub struct Leadership {
    me: Node,
    listen: SocketAddr,
    leases: Leases,
    others: BTreeSet<Node>,
    groups: BTreeMap<GroupKey, Group>,
    /// Whether it knows how the groups stand.
    is_settled: bool,
    is_leaving: bool,
    next_forget: Millis,
    /// The group whose leader others have been asked for last.
    asked: GroupKey,
    effects: Vec<Effect>,
}

/// How often what nobody tells of is looked for.
const FORGET_EVERY: Millis = Millis(1000);

impl Leadership {
    /// A node that knows of no group and leads none. Requests reach it at `listen`.
    pub fn new(me: Node, listen: SocketAddr, leases: Leases) -> Leadership {
        Leadership {
            me,
            listen,
            leases,
            others: BTreeSet::new(),
            groups: BTreeMap::new(),
            is_settled: false,
            is_leaving: false,
            next_forget: Millis(0),
            asked: GroupKey(0),
            effects: Vec::new(),
        }
    }

    /// Who else is there, and which life this node is in.
    pub fn on_members(&mut self, me: Node, others: BTreeSet<Node>, now: Millis) {
        let new: Vec<Node> = others.difference(&self.others).copied().collect();
        self.others = others;
        let before = std::mem::replace(&mut self.me, me);
        if before != me && self.leases == Leases::Needed {
            self.go_on_from(before, now);
        }
        let led = self.groups.values().filter(|group| group.is_led_by(me));
        let led: Vec<Standing> = led.filter_map(|group| group.standing.clone()).collect();
        for node in new.iter().filter(|_| !led.is_empty()) {
            self.effects.push(Effect::Tell(node.address, Notice::Standings(led.clone())));
        }
        self.decide_all(now);
    }

    /// The others have been asked, or can't be: this node may lead.
    pub fn settle(&mut self, now: Millis) {
        self.is_settled = true;
        self.decide_all(now);
    }

    /// This node does not know any more whether others lead in its place.
    pub fn unsettle(&mut self, now: Millis) {
        self.is_settled = false;
        self.decide_all(now);
    }

    /// Whether it may lead.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// There is a seat of this group now, on this node or on one that asks this one to lead it. What was
    /// said of the group is said again. False: there is no room for one more group, now.
    pub fn on_wanted(&mut self, name: &GroupName, now: Millis) -> bool {
        let key = GroupKey::of(name);
        if !self.groups.contains_key(&key) && self.groups.len() >= STANDINGS_MAX {
            return false;
        }
        let group = self.groups.entry(key).or_insert_with(|| Group::new(name.clone(), now));
        group.is_wanted = true;
        if group.told != Lead::Nobody {
            let (lead, standing) = (group.told, group.standing.clone());
            self.effects.push(Effect::Led(name.clone(), lead, standing));
        }
        self.decide(key, now);
        true
    }

    /// Another node says how a group stands.
    pub fn on_standing(&mut self, standing: Standing, now: Millis) {
        let key = standing.key();
        if !self.groups.contains_key(&key) && self.groups.len() >= STANDINGS_MAX {
            return;
        }
        let new = || Group::new(standing.group.clone(), now);
        let group = self.groups.entry(key).or_insert_with(new);
        match &group.standing {
            Some(known) if standing.is_of_one_term(known) => {
                group.heard = now;
                if known.leader != self.me && standing.epoch >= known.epoch {
                    let low = standing.low.max(known.low);
                    group.standing = Some(Standing { low, ..standing });
                }
            }
            Some(known) if known.overrules(&standing) => {
                // Whoever says so has not heard of us.
                if known.leader == self.me && group.given.is_none() && now >= group.next_ask {
                    group.next_ask = now.after(ASK_EVERY);
                    let standings = vec![known.clone()];
                    let to = standing.leader.address;
                    self.effects.push(Effect::Tell(to, Notice::Standings(standings)));
                }
            }
            Some(_) | None => {
                group.heard = now;
                group.standing = Some(standing);
                group.given = None;
                (group.ours_until, group.goes_until) = (Millis(0), Millis(0));
            }
        }
        self.decide(key, now);
    }

    /// The leader of a group has come so far.
    pub fn on_mark(&mut self, from: Node, key: GroupKey, low: UnixMillis, now: Millis) {
        let Some(group) = self.groups.get_mut(&key).filter(|group| group.is_led_by(from)) else {
            return;
        };
        group.heard = now;
        if let Some(standing) = &mut group.standing {
            standing.low = standing.low.max(Some(low));
        }
    }

    /// The leader of a group goes, and this node is to follow it.
    pub fn on_given(&mut self, standing: Standing, now: Millis) {
        let (key, of) = (standing.key(), (standing.term, standing.leader));
        self.on_standing(standing, now);
        if let Some(group) = self.groups.get_mut(&key)
            && group.standing.as_ref().is_some_and(|known| (known.term, known.leader) == of)
            && of.1 != self.me
        {
            group.ours_until = now.after(CLAIM_PATIENCE);
            self.decide(key, now);
        }
    }

    /// Says how the seat of a group that this node leads is now.
    pub fn on_seat(
        &mut self,
        name: &GroupName,
        epoch: Epoch,
        sitting: Option<Sitting>,
        low: Option<UnixMillis>,
    ) {
        let me = self.me;
        let Some(group) = self.groups.get_mut(&GroupKey::of(name)) else { return };
        let Some(standing) = group.standing.as_mut().filter(|it| it.leader == me) else { return };
        standing.low = low.max(standing.low);
        // Somebody may still be expected who sat in it under the last leader.
        if epoch > standing.epoch || standing.sitting != sitting && epoch == standing.epoch {
            standing.epoch = epoch;
            standing.sitting = sitting;
            group.has_changed = true;
        }
    }

    /// The seat of a group has been forgotten on this node: nobody has come to it for long.
    pub fn on_forgotten(&mut self, name: &GroupName, now: Millis) {
        if let Some(group) = self.groups.get_mut(&GroupKey::of(name)) {
            group.is_wanted = false;
            group.heard = now;
        }
    }

    /// This node is about to go: it gives away what it leads.
    pub fn leave(&mut self, now: Millis) {
        self.is_leaving = true;
        self.decide_all(now);
    }

    /// An operator wants another node to lead a group: it is given away, until `until`; if nobody takes it
    /// by then, this node leads it again.
    pub fn hand_over(&mut self, name: &GroupName, until: Millis, now: Millis) {
        let key = GroupKey::of(name);
        if let Some(group) = self.groups.get_mut(&key).filter(|group| group.told == Lead::Us) {
            group.goes_until = until;
            self.decide(key, now);
        }
    }

    /// Whether nothing is left to be given away, or nobody is there to take it.
    pub fn has_left(&self) -> bool {
        let is_ours = |group: &Group| group.is_led_by(self.me);
        self.is_leaving && (self.others.is_empty() || !self.groups.values().any(is_ours))
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Millis) {
        if now >= self.next_forget {
            self.next_forget = now.after(FORGET_EVERY);
            let effects = &mut self.effects;
            self.groups.retain(|key, group| {
                let stays = group.is_wanted || now.since(group.heard) < STANDING_FORGOTTEN;
                if !stays && group.told == Lead::Us {
                    effects.push(Effect::Free(*key));
                }
                stays
            });
        }
        // Of the others nothing changes because time passes.
        let waits = |group: &Group| match group.told {
            Lead::Nobody => true,
            Lead::Us => self.leases == Leases::Needed,
            Lead::At(_) => false,
        };
        let waiting = self.groups.iter().filter(|(_, group)| waits(group));
        let waiting: Vec<GroupKey> = waiting.map(|(key, _)| *key).collect();
        waiting.into_iter().for_each(|key| self.decide(key, now));
    }

    /// The groups that this node leads, for as long as it has the lease of each.
    pub fn led(&self) -> impl Iterator<Item = Led<'_>> {
        let led = self.groups.values().filter(|group| group.told == Lead::Us);
        led.map(|group| Led { group: &group.name, until: group.lease, sure_until: group.sure })
    }

    /// All groups that it knows of, after this one.
    pub fn standings(&self, after: Option<GroupKey>) -> impl Iterator<Item = &Standing> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let groups = self.groups.range(GroupKey(from)..);
        groups.filter_map(|(_, group)| group.standing.as_ref())
    }

    /// A group that nobody leads as far as this node knows, the next one each time: whoever has claimed
    /// it may have said so in a datagram that was lost.
    pub fn next_vacant(&mut self, now: Millis) -> Option<GroupKey> {
        let is_vacant = |group: &Group| {
            group.is_wanted && group.vacant_since.is_some_and(|since| now.since(since) >= ASK_EVERY)
        };
        let after = GroupKey(self.asked.0.saturating_add(1));
        let mut groups = self.groups.range(after..).chain(&self.groups);
        self.asked = *groups.find(|(_, group)| is_vacant(group))?.0;
        Some(self.asked)
    }

    /// How one group stands.
    pub fn standing(&self, name: &GroupName) -> Option<&Standing> {
        self.groups.get(&GroupKey::of(name))?.standing.as_ref()
    }

    /// What it has said of a group last.
    pub fn lead(&self, name: &GroupName) -> Lead {
        self.groups.get(&GroupKey::of(name)).map_or(Lead::Nobody, |group| group.told)
    }

    /// The standings of the groups it leads that the others are to be told of: what has changed, and
    /// each now and then.
    pub fn take_news(&mut self, now: Millis) -> Vec<Standing> {
        let me = self.me;
        let is_due = |group: &Group| group.has_changed || now.since(group.told_at) >= GOSSIP_WHOLE;
        let mut news = Vec::new();
        for group in self.groups.values_mut().filter(|it| it.told == Lead::Us && it.is_led_by(me)) {
            if is_due(group) {
                group.has_changed = false;
                group.told_at = now;
                news.extend(group.standing.clone());
            }
        }
        news
    }

    /// The low marks of the groups that it leads.
    pub fn marks(&self) -> impl Iterator<Item = (GroupKey, UnixMillis)> {
        let led = self.groups.iter().filter(|(_, group)| group.told == Lead::Us);
        led.filter_map(|(key, group)| Some((*key, group.standing.as_ref()?.low?)))
    }

    /// What follows from all that has happened.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn decide_all(&mut self, now: Millis) {
        let keys: Vec<GroupKey> = self.groups.keys().copied().collect();
        for key in keys {
            self.decide(key, now);
        }
    }

    fn decide(&mut self, key: GroupKey, now: Millis) {
        let Some(group) = self.groups.get(&key) else { return };
        let leader = group.standing.as_ref().map(|standing| (standing.leader, standing.listen));
        let has_lease = self.leases == Leases::None || now < group.lease;
        let lead = match leader {
            _ if !self.is_settled => Lead::Nobody,
            Some((leader, _))
                if leader == self.me
                    && (self.is_leaving || now < group.goes_until)
                    && !self.others.is_empty() =>
            {
                return self.give(key, now);
            }
            Some((leader, _)) if leader == self.me && has_lease => Lead::Us,
            Some((leader, _)) if leader == self.me => {
                return self.decide_unleased(key, now);
            }
            Some((leader, listen)) if self.others.contains(&leader) && now >= group.ours_until => {
                Lead::At(listen)
            }
            _ => return self.decide_vacant(key, has_lease, now),
        };
        if let Some(group) = self.groups.get_mut(&key) {
            (group.vacant_since, group.claims_since) = (None, None);
            (group.unleased_since, group.given) = (None, None);
        }
        self.tell(key, lead);
    }

    /// A group that nobody leads.
    fn decide_vacant(&mut self, key: GroupKey, has_lease: bool, now: Millis) {
        self.tell(key, Lead::Nobody);
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.vacant_since.get_or_insert(now);
        let Some(group) = self.groups.get(&key) else { return };
        let is_to_claim = self.is_to_claim(key, group, now);
        if is_to_claim && has_lease {
            return self.claim(key, now);
        }
        let first = self.in_order(key).first().copied();
        let Some(group) = self.groups.get_mut(&key) else { return };
        if is_to_claim {
            group.claims_since.get_or_insert(now);
            return;
        }
        group.claims_since = None;
        if let Some(first) = first.filter(|_| group.is_wanted && now >= group.next_ask) {
            group.next_ask = now.after(ASK_EVERY);
            // It may never have heard of the group, or of who led it.
            let notice = match &group.standing {
                Some(standing) => Notice::Standings(vec![standing.clone()]),
                None => Notice::Wanted(group.name.clone()),
            };
            self.effects.push(Effect::Tell(first.address, notice));
        }
    }

    /// Whether it is this node's turn to claim a group that nobody leads.
    fn is_to_claim(&self, key: GroupKey, group: &Group, now: Millis) -> bool {
        let is_led = group.standing.as_ref().is_some_and(|it| self.others.contains(&it.leader));
        if self.is_leaving || is_led && now >= group.ours_until {
            return false;
        }
        let order = self.in_order(key);
        let place = order.iter().position(|node| *node == self.me).unwrap_or_default();
        let vacant_for = group.vacant_since.map_or(Millis(0), |since| now.since(since));
        let patience = CLAIM_PATIENCE.times(place as u64);
        now < group.ours_until || vacant_for >= patience && now >= group.yields_until
    }

    /// The living nodes, the one to lead this group first. A leader that began anew comes last: all that
    /// it held is gone, and the others may hold it still.
    fn in_order(&self, key: GroupKey) -> Vec<Node> {
        let leader = self.groups.get(&key).and_then(|it| it.standing.as_ref()).map(|it| it.leader);
        let began_anew = |node: &Node| leader.is_some_and(|leader| node.began_after(leader));
        let mut nodes: Vec<Node> =
            self.others.iter().copied().chain((!self.is_leaving).then_some(self.me)).collect();
        nodes.sort_by_key(|node| {
            let score = std::cmp::Reverse((key.score(node.address), node.address));
            (began_anew(node), score)
        });
        nodes
    }

    fn claim(&mut self, key: GroupKey, now: Millis) {
        let (me, listen) = (self.me, self.listen);
        let Some(group) = self.groups.get_mut(&key) else { return };
        let before = group.standing.clone();
        let term = before.as_ref().map_or(Term::default(), |before| before.term).next();
        let standing = match before.clone() {
            Some(before) => Standing { term, leader: me, listen, ..before },
            None => Standing {
                group: group.name.clone(),
                term,
                leader: me,
                listen,
                epoch: Epoch::default(),
                sitting: None,
                low: None,
            },
        };
        group.standing = Some(standing.clone());
        group.given = None;
        group.ours_until = Millis(0);
        (group.vacant_since, group.claims_since) = (None, None);
        (group.told_at, group.heard) = (now, now);
        group.told = Lead::Us;
        self.effects.push(Effect::Led(group.name.clone(), Lead::Us, before));
        self.effects.push(Effect::TellAll(standing));
    }

    /// Gives a group to the first of the others, and asks again until it leads.
    fn give(&mut self, key: GroupKey, now: Millis) {
        self.tell(key, Lead::Nobody);
        let mut order = self.in_order(key);
        order.retain(|node| *node != self.me);
        let Some(group) = self.groups.get_mut(&key) else { return };
        let to = group.given.filter(|to| order.iter().any(|node| node.address == *to));
        let Some(to) = to.or(order.first().map(|node| node.address)) else {
            group.given = None;
            return;
        };
        if group.given.is_none() {
            group.lease = Millis(0);
            self.effects.push(Effect::Free(key));
        }
        if group.given != Some(to) || now >= group.next_ask {
            group.given = Some(to);
            group.next_ask = now.after(ASK_EVERY);
            let standing = group.standing.clone();
            self.effects.extend(standing.map(|it| Effect::Tell(to, Notice::Give(to, it))));
        }
    }

    fn tell(&mut self, key: GroupKey, lead: Lead) {
        let Some(group) = self.groups.get_mut(&key).filter(|group| group.told != lead) else {
            return;
        };
        group.told = lead;
        let standing = group.standing.clone();
        self.effects.push(Effect::Led(group.name.clone(), lead, standing));
    }
}

#[cfg(test)]
#[path = "leadership_tests.rs"]
mod tests;
