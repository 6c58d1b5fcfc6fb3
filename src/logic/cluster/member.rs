//! One member of a cluster, whole: who else is there, who leads what, who promises whom. Datagrams come
//! in and go out as values, and so does what follows for the seats.

mod asks;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::base::limits::{
    ASK_EVERY, GOSSIP_EVERY, LEAD_UNSURE, LEASE_MARGIN, MARKS_EVERY, PROBE_REPLY_MAX, SUSPECT_MAX,
};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::cluster::group::Lead;
use crate::logic::cluster::leadership::{Effect, Leadership, Leases, Led};
use crate::logic::cluster::lease::{Majority, Promises, Round};
use crate::logic::cluster::node::Node;
use crate::logic::cluster::notice::{KEYS_MAX, Notice, take_fitting};
use crate::logic::cluster::replays::Replays;
use crate::logic::cluster::settle::Settle;
use crate::logic::cluster::standing::{GroupKey, Sitting, Standing};
use crate::logic::cluster::swim::{Change, Letter, Swim};
use crate::logic::source::GroupName;
use crate::logic::view::Epoch;
use crate::wire::cluster::seal::Stamp;

/// Where leases come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// There are none: availability first.
    None,
    /// From more than half of so many nodes.
    Majority(usize),
    /// From somewhere else, [`Member::on_lease`].
    Elsewhere,
}

/// What a member is made with.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The node.
    pub me: Node,
    /// Where it takes requests.
    pub listen: SocketAddr,
    /// Where leases come from.
    pub leases: LeaseKind,
    /// How long it waits for others when it begins.
    pub settle_max: Millis,
    /// What its choices come from.
    pub seed: u64,
}

/// A datagram that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It has come before.
    Replayed,
    /// It makes no sense: its sender runs something else.
    Unreadable,
}

/// What follows for the seats, and for whoever gives the leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// See [`Effect::Led`].
    Led(GroupName, Lead, Option<Box<Standing>>),
    /// See [`Effect::Free`].
    Free(GroupKey),
}

/// The member.
#[derive(Debug)]
pub struct Member {
    setting: Setting,
    swim: Swim,
    me: Node,
    others: BTreeSet<Node>,
    /// Who was asked for a leader last.
    asked: Node,
    peers: Vec<SocketAddr>,
    peers_unknown: usize,
    replays: Replays,
    leadership: Leadership,
    promises: Promises,
    majority: Option<Majority>,
    settle: Option<Settle>,
    last_time: Millis,
    next_lease: Millis,
    next_news: Millis,
    next_marks: Millis,
    letters: Vec<Letter>,
    outcomes: Vec<Outcome>,
    changes: Vec<Change>,
}

impl Member {
    /// A member that begins at `now`; these are the configured peers.
    pub fn new(setting: Setting, peers: &[SocketAddr], now: Millis) -> Member {
        let Setting { me, listen, leases, seed, .. } = setting;
        let of_leader = match leases {
            LeaseKind::None => Leases::None,
            LeaseKind::Majority(_) | LeaseKind::Elsewhere => Leases::Needed,
        };
        let majority = match leases {
            // Its lives are apart by more than it asks in one of them.
            LeaseKind::Majority(size) => Some(Majority::new(size, Round(me.generation << 16))),
            LeaseKind::None | LeaseKind::Elsewhere => None,
        };
        let mut member = Member {
            setting,
            swim: Swim::new(me, seed, now),
            me,
            others: BTreeSet::new(),
            asked: me,
            peers: Vec::new(),
            peers_unknown: 0,
            replays: Replays::default(),
            leadership: Leadership::new(me, listen, of_leader),
            promises: Promises::new(now),
            majority,
            settle: None,
            last_time: now,
            next_lease: now,
            next_news: now,
            next_marks: now,
            letters: Vec::new(),
            outcomes: Vec::new(),
            changes: Vec::new(),
        };
        member.set_peers(peers);
        member.begin_to_settle(now);
        member
    }

    /// Where the configured peers are now.
    pub fn set_peers(&mut self, peers: &[SocketAddr]) {
        let others = peers.iter().filter(|peer| **peer != self.me.address);
        self.peers = others.copied().collect();
        self.swim.set_peers(self.peers.clone());
        if let Some(settle) = &mut self.settle {
            self.peers.iter().for_each(|peer| settle.add(*peer));
        }
    }

    /// Of so many configured peers it is not known where they are: a name of theirs could not be looked
    /// up yet. They may lead all the same.
    pub fn set_peers_unknown(&mut self, peers: usize) {
        self.peers_unknown = peers;
        if let Some(settle) = &mut self.settle {
            settle.set_unknown(peers);
        }
    }

    /// A datagram has come, with a good seal.
    pub fn on_datagram(
        &mut self,
        stamp: Stamp,
        payload: &[u8],
        now: Millis,
    ) -> Result<(), Dropped> {
        if !self.replays.is_new(stamp) {
            return Err(Dropped::Replayed);
        }
        let notice = Notice::decode(payload).map_err(|_| Dropped::Unreadable)?;
        self.on_notice(notice, now)?;
        self.look_around(now);
        Ok(())
    }

    fn on_notice(&mut self, notice: Notice, now: Millis) -> Result<(), Dropped> {
        match notice {
            Notice::Membership(bytes) => {
                self.swim.on_letter(&bytes, now).map_err(|_| Dropped::Unreadable)?;
                for life in self.swim.take_outlived() {
                    self.tell(life.address, &Notice::Outlived(life));
                }
            }
            Notice::Standings(standings) => {
                standings.into_iter().for_each(|it| self.leadership.on_standing(it, now));
            }
            Notice::Marks(from, marks) => {
                for (key, low) in marks {
                    self.leadership.on_mark(from, key, low, now);
                }
            }
            // Whoever wants it asks again.
            Notice::Wanted(group) => _ = self.leadership.on_wanted(&group, now),
            // A configured peer may be this node itself, by another address: it knows nothing new.
            Notice::Ask(from, _) | Notice::Views(from, ..) if from.address == self.me.address => {}
            Notice::Ask(from, after) => self.answer(from, after),
            Notice::Views(from, after, standings, more) => {
                let last = standings.last().map(Standing::key);
                standings.into_iter().for_each(|it| self.leadership.on_standing(it, now));
                let settle = self.settle.as_mut();
                let next =
                    settle.and_then(|settle| settle.on_views(from.address, after, last, more, now));
                if let Some(after) = next {
                    self.tell(from.address, &Notice::Ask(self.me, after));
                }
            }
            // Of more nodes than were counted on, two might have a majority.
            Notice::LeaseAsk(..) if self.are_too_many() => {}
            // One that is not there in this life can't use it, and what it once said may be said again by
            // anybody who has kept it.
            Notice::LeaseAsk(from, ..) if !self.others.contains(&from) => {}
            Notice::LeaseAsk(from, round, wanted) => self.promise(from, round, wanted, now),
            Notice::LeaseGiven(from, round, keys) => self.on_given(from.address, round, &keys, now),
            Notice::LeaseBack(from, round, keys) => {
                keys.iter().for_each(|key| self.promises.take_back(*key, from.address, round));
            }
            Notice::Give(to, _) if to != self.me.address => {}
            Notice::Give(_, standing) => self.leadership.on_given(standing, now),
            Notice::Outlived(life) => self.swim.begin_after(life, now),
        }
        Ok(())
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Millis) {
        let stood = now.since(std::mem::replace(&mut self.last_time, now));
        self.swim.on_time(now);
        let is_alone = self.others.is_empty() && stood < self.setting.settle_max;
        if stood >= LEAD_UNSURE && !is_alone {
            self.begin_to_settle(now);
            self.hear_out_suspicions(now);
        }
        self.look_around(now);
        if let Some(settle) = &mut self.settle {
            let asks = settle.poll_asks(now);
            let is_alive = |node| self.others.iter().any(|other| other.address == node);
            let is_over = settle.is_over(is_alive, now);
            for (to, after) in asks {
                self.tell(to, &Notice::Ask(self.me, after));
            }
            if is_over {
                self.settle = None;
                self.leadership.settle(now);
            }
        }
        self.leadership.on_time(now);
        if now >= self.next_lease {
            self.next_lease = now.after(ASK_EVERY);
            self.ask_for_leases(now);
            self.ask_for_leader(now);
        }
        if now >= self.next_news {
            self.next_news = now.after(GOSSIP_EVERY);
            let news = self.leadership.take_news(now);
            self.tell_all(news);
        }
        if now >= self.next_marks {
            self.next_marks = now.after(MARKS_EVERY);
            let marks: Vec<(GroupKey, UnixMillis)> = self.leadership.marks().collect();
            for some in marks.chunks(KEYS_MAX) {
                self.tell_others(&Notice::Marks(self.me, some.to_vec()));
            }
        }
        self.follow();
    }

    /// When [`Member::on_time`] is to be called next, at the latest.
    pub fn due(&self) -> Millis {
        [self.next_lease, self.next_news, self.next_marks]
            .into_iter()
            .fold(self.swim.due(), Millis::min)
    }

    /// A source of this node belongs to this group. False: there is no room for one more, now.
    pub fn on_wanted(&mut self, group: &GroupName, now: Millis) -> bool {
        let is_known = self.leadership.on_wanted(group, now);
        self.follow();
        is_known
    }

    /// The seat of a group that this node leads.
    pub fn on_seat(
        &mut self,
        group: &GroupName,
        epoch: Epoch,
        sitting: Option<Sitting>,
        low: Option<UnixMillis>,
    ) {
        self.leadership.on_seat(group, epoch, sitting, low);
    }

    /// The seat of a group has been forgotten.
    pub fn on_forgotten(&mut self, group: &GroupName, now: Millis) {
        self.leadership.on_forgotten(group, now);
        self.follow();
    }

    /// This node has the lease of a group until then, if leases come from elsewhere.
    pub fn on_lease(&mut self, key: GroupKey, until: Millis, now: Millis) {
        self.leadership.on_lease(key, until, now);
        self.follow();
    }

    /// The groups for which leases are wanted.
    pub fn wanted(&self, now: Millis) -> Vec<GroupKey> {
        self.leadership.wanted(now).into_iter().map(|(key, _)| key).collect()
    }

    /// The groups that this node leads, and until when it may send for each.
    pub fn led(&self) -> impl Iterator<Item = Led<'_>> {
        let unsure = match self.is_alone() {
            true => Millis(u64::MAX),
            false => self.last_time.after(LEAD_UNSURE),
        };
        let has_leases = self.setting.leases != LeaseKind::None;
        let early = |until: Millis| Millis(until.0.saturating_sub(LEASE_MARGIN.0));
        self.leadership.led().map(move |led| match has_leases {
            true => Led { until: early(led.until), sure_until: early(led.sure_until), ..led },
            false => Led { until: unsure, sure_until: Millis(u64::MAX), ..led },
        })
    }

    /// Whether there is no other node, and none that could come without being seen.
    fn is_alone(&self) -> bool {
        self.peers.is_empty() && self.peers_unknown == 0 && self.others.is_empty()
    }

    /// How a group stands, as far as is known.
    pub fn standing(&self, group: &GroupName) -> Option<&Standing> {
        self.leadership.standing(group)
    }

    /// Who leads a group, as it was last said.
    pub fn lead(&self, group: &GroupName) -> Lead {
        self.leadership.lead(group)
    }

    /// Whether there are more nodes than `--cluster-size` says. Then nobody is promised anything.
    pub fn are_too_many(&self) -> bool {
        match self.setting.leases {
            LeaseKind::Majority(size) => self.others.len() >= size,
            LeaseKind::None | LeaseKind::Elsewhere => false,
        }
    }

    /// Whether it knows how the groups stand.
    pub fn is_settled(&self) -> bool {
        self.leadership.is_settled()
    }

    /// This node, in the life that it is in.
    pub fn me(&self) -> Node {
        self.me
    }

    /// The others that are there.
    pub fn others(&self) -> &BTreeSet<Node> {
        &self.others
    }

    /// Begins to give away what this node leads.
    pub fn leave(&mut self, now: Millis) {
        self.leadership.leave(now);
        self.follow();
    }

    /// Gives a group that this node leads to another, if any takes it by `until`.
    pub fn hand_over(&mut self, group: &GroupName, until: Millis, now: Millis) {
        self.leadership.hand_over(group, until, now);
        self.follow();
    }

    /// Whether nothing is left to be given away.
    pub fn has_left(&self) -> bool {
        self.leadership.has_left()
    }

    /// Tells the others that this node goes. The last thing that it says.
    pub fn say_farewell(&mut self, now: Millis) {
        self.swim.leave(now);
        self.take_membership();
    }

    /// The letters to be sent.
    pub fn take_letters(&mut self) -> Vec<Letter> {
        self.take_membership();
        std::mem::take(&mut self.letters)
    }

    /// What follows.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Who has come and gone.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn take_membership(&mut self) {
        for Letter { to, payload } in self.swim.take_letters() {
            tell(&mut self.letters, to, &Notice::Membership(payload));
        }
    }

    fn begin_to_settle(&mut self, now: Millis) {
        let mut settle = Settle::new(now, self.setting.settle_max);
        settle.set_unknown(self.peers_unknown);
        let others = self.others.iter().map(|node| node.address);
        others.chain(self.peers.iter().copied()).for_each(|node| settle.add(node));
        self.settle = Some(settle);
        self.leadership.unsettle(now);
    }

    /// One of the others may take this node for dead, or hear that another does, after it has answered
    /// all that it was asked. A lease rules that out.
    fn hear_out_suspicions(&mut self, now: Millis) {
        if self.setting.leases == LeaseKind::None {
            let not_before = now.after(SUSPECT_MAX).after(PROBE_REPLY_MAX);
            self.settle = self.settle.take().map(|settle| settle.not_before(not_before));
        }
    }

    /// Takes in who is there.
    fn look_around(&mut self, now: Millis) {
        let changes = self.swim.take_changes();
        let me = self.swim.me();
        if !changes.is_empty() || me != self.me {
            self.others = self.swim.members().collect();
            let was_taken_for_dead = me != self.me;
            self.me = me;
            if was_taken_for_dead && self.setting.leases == LeaseKind::None {
                self.begin_to_settle(now);
                self.hear_out_suspicions(now);
            }
            self.leadership.on_members(me, self.others.clone(), now);
            self.changes.extend(changes);
        }
        self.follow();
    }

    /// Does what follows from a change of who leads.
    fn follow(&mut self) {
        for effect in self.leadership.take_effects() {
            match effect {
                Effect::Led(group, lead, standing) => {
                    self.outcomes.push(Outcome::Led(group, lead, standing.map(Box::new)));
                }
                Effect::Tell(to, Notice::Standings(mut standings)) => {
                    while !standings.is_empty() {
                        let some = take_fitting(&mut standings);
                        self.tell(to, &Notice::Standings(some));
                    }
                }
                Effect::Tell(to, notice) => self.tell(to, &notice),
                Effect::TellAll(standing) => self.tell_all(vec![standing]),
                Effect::Free(key) => self.free(key),
            }
        }
    }

    fn free(&mut self, key: GroupKey) {
        self.outcomes.push(Outcome::Free(key));
        let Some(majority) = &mut self.majority else { return };
        let round = majority.let_go(key);
        self.promises.take_back(key, self.me.address, round);
        self.tell_others(&Notice::LeaseBack(self.me, round, vec![key]));
    }

    fn tell_all(&mut self, mut standings: Vec<Standing>) {
        while !standings.is_empty() {
            let some = take_fitting(&mut standings);
            self.tell_others(&Notice::Standings(some));
        }
    }

    fn tell_others(&mut self, notice: &Notice) {
        for node in &self.others {
            tell(&mut self.letters, node.address, notice);
        }
    }

    fn tell(&mut self, to: SocketAddr, notice: &Notice) {
        tell(&mut self.letters, to, notice);
    }
}

fn tell(letters: &mut Vec<Letter>, to: SocketAddr, notice: &Notice) {
    letters.push(Letter { to, payload: notice.encode() });
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
