//! Membership: who of the cluster is alive, by SWIM as foca speaks it.
//!
//! A dead node is noticed within two seconds: half a probe's period until somebody probes it, one until
//! the probe has failed directly and through others, and the time it has to object. One that stood
//! still for longer is taken for dead, hears of it when it wakes, and comes back in its next life.
//!
//! foca falls silent when it knows of no living member; after a partition each side has taken the other
//! for dead; and a member that is known in a life that is over does not answer. So the configured peers
//! are told of this node for ever, whatever is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{
    Codec as _, Config, Foca, Header, Member, NoCustomBroadcast, Notification, PeriodicParams,
    Runtime, State, Timer,
};
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use crate::base::limits::{ANNOUNCE_EVERY, PROBE_PERIOD, PROBE_REPLY_MAX, SUSPECT_MAX};
use crate::base::time::Millis;
use crate::logic::cluster::codec::Codec;
use crate::logic::cluster::node::Node;
use crate::logic::cluster::notice::TAG_BYTES;
use crate::wire::cluster::seal::PAYLOAD_BYTES_MAX;

/// What has changed in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node is there.
    Up(Node),
    /// A node has left, or is taken for dead.
    Down(Node),
}

/// A datagram's content, before it is sealed, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where to.
    pub to: SocketAddr,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Vec<u8>,
}

/// A letter that can't be understood. It came with a good seal: the sender runs something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The members of one cluster, as one node knows them.
pub struct Swim {
    foca: Foca<Node, Codec, Xoshiro256PlusPlus, NoCustomBroadcast>,
    outbox: Outbox,
    peers: Vec<SocketAddr>,
    announce_due: Millis,
    /// The members that have been told of.
    told: BTreeSet<Node>,
    /// Who is suspected, in which incarnation, since when, as of the last probe.
    suspects: BTreeMap<(Node, u16), Millis>,
    /// Nodes that speak in a life before one that is known of them, which is this.
    outlived: Vec<Node>,
}

impl fmt::Debug for Swim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swim").field("me", &self.me()).finish_non_exhaustive()
    }
}

/// What foca wants done.
#[derive(Debug, Default)]
struct Outbox {
    now: Millis,
    timers: BTreeMap<(Millis, u64), Timer<Node>>,
    next_timer: u64,
    /// Who will be taken for dead, in which incarnation, for whom no time to object was set before.
    suspected: Vec<(Node, u16)>,
    letters: Vec<Letter>,
}

impl Runtime<Node> for &mut Outbox {
    fn notify(&mut self, _: Notification<'_, Node>) {
        // Who is there is asked for when it is wanted.
    }

    fn send_to(&mut self, to: Node, data: &[u8]) {
        self.letters.push(Letter { to: to.address, payload: data.to_vec() });
    }

    fn submit_after(&mut self, event: Timer<Node>, after: Duration) {
        let due = self.now.after(Millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)));
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &event
            && !self.timers.values().any(|other| *other == event)
        {
            self.suspected.push((*member_id, *incarnation));
        }
        self.next_timer += 1;
        self.timers.insert((due, self.next_timer), event);
    }
}

fn config() -> Config {
    let some = |number| NonZeroUsize::new(number).expect("not zero");
    let every = |span: Millis, number| {
        Some(PeriodicParams { frequency: span.into(), num_members: some(number) })
    };
    Config {
        probe_period: PROBE_PERIOD.into(),
        probe_rtt: PROBE_REPLY_MAX.into(),
        num_indirect_probes: some(3),
        max_transmissions: NonZeroU8::new(10).expect("not zero"),
        suspect_to_down_after: SUSPECT_MAX.into(),
        // Who comes back has another generation: the one that died stays dead.
        remove_down_after: Some(Duration::from_secs(3600)),
        max_packet_size: some(PAYLOAD_BYTES_MAX - TAG_BYTES),
        notify_down_members: true,
        periodic_announce: every(Millis(10_000), 1),
        periodic_announce_to_down_members: every(Millis(10_000), 1),
        periodic_gossip: every(Millis(200), 3),
    }
}

impl Swim {
    /// A node that knows nobody yet; `seed` makes its choices.
    pub fn new(me: Node, seed: u64, now: Millis) -> Swim {
        Swim {
            foca: Foca::new(me, config(), Xoshiro256PlusPlus::seed_from_u64(seed), Codec),
            outbox: Outbox { now, ..Outbox::default() },
            peers: Vec::new(),
            announce_due: now,
            told: BTreeSet::new(),
            suspects: BTreeMap::new(),
            outlived: Vec::new(),
        }
    }

    /// This node, in the life that it is in.
    pub fn me(&self) -> Node {
        *self.foca.identity()
    }

    /// Who is told of us for ever: the addresses of the configured peers, as they were last resolved.
    pub fn set_peers(&mut self, peers: Vec<SocketAddr>) {
        let me = self.me().address;
        self.peers = peers;
        self.peers.retain(|peer| *peer != me);
    }

    /// A letter has come. One from this node in an earlier life may have been on its way for long.
    pub fn on_letter(&mut self, payload: &[u8], now: Millis) -> Result<(), Unreadable> {
        self.outbox.now = now;
        self.look_at_sender(payload);
        match self.foca.handle_data(payload, &mut self.outbox) {
            Ok(()) | Err(foca::Error::DataFromOurselves) => Ok(()),
            Err(_) => Err(Unreadable),
        }
    }

    /// Whether its sender has begun with a clock that has gone back since its last life: foca takes it
    /// for dead for as long as it remembers that, and each life it begins then is one further.
    fn look_at_sender(&mut self, mut payload: &[u8]) {
        let Ok(Header { src, .. }) = Codec.decode_header(&mut payload) else { return };
        let known = self.foca.iter_membership_state().map(|member| *member.id());
        let later = known.filter(|it| it.address == src.address && it.generation > src.generation);
        self.outlived.extend(later);
    }

    /// The lives that are known of nodes that speak in an earlier one.
    pub fn take_outlived(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.outlived)
    }

    /// This node was here before, in this life or a later one: it goes on in one that comes after it.
    pub fn begin_after(&mut self, life: Node, now: Millis) {
        let me = self.me();
        if life.address == me.address && life.generation > me.generation {
            self.outbox.now = now;
            // Of another life than its own, and of itself it has room to tell.
            let _ = self.foca.change_identity(life.next_process(), &mut self.outbox);
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Millis) {
        self.outbox.now = now;
        // A timer may set the next one; those that are due now are not due again at once.
        while let Some(entry) = self.outbox.timers.first_entry().filter(|it| it.key().0 <= now) {
            let timer = entry.remove();
            if self.has_objected(&timer) {
                continue;
            }
            if matches!(timer, Timer::ProbeRandomMember(_)) {
                self.look_at_suspects(now);
            }
            // What is late says so, and is set again.
            let _ = self.foca.handle_timer(timer, &mut self.outbox);
            self.tell_suspected_again(now);
        }
        if now >= self.announce_due {
            self.announce_due = now.after(ANNOUNCE_EVERY);
            for peer in &self.peers {
                // A letter of a fixed size always has room.
                let _ = self.foca.announce(Node::at(*peer), &mut self.outbox);
            }
        }
    }

    /// Whether this would take a member for dead that has objected to it. foca 2.0.0 leaves such a member
    /// as it is, but tells it that it is dead all the same, and the member begins another life: a letter
    /// that is lost would cost a leader its lead.
    fn has_objected(&self, timer: &Timer<Node>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else { return false };
        let mut members = self.foca.iter_members().filter(|member| member.id() == member_id);
        members.any(|member| member.incarnation() > *incarnation)
    }

    /// Takes in who is suspected, in which incarnation.
    fn look_at_suspects(&mut self, now: Millis) {
        let before = std::mem::take(&mut self.suspects);
        let suspects = self.foca.iter_members().filter(|it| it.state() == State::Suspect);
        let keys = suspects.map(|member| (*member.id(), member.incarnation()));
        self.suspects = keys.map(|key| (key, *before.get(&key).unwrap_or(&now))).collect();
    }

    /// A suspicion that is neither objected to nor followed by a death is one that foca has forgotten: it
    /// lets go of the time that it had set when this node begins another life. When such a member misses
    /// a probe later, foca says nothing of it, because nothing has changed, and the member can't object.
    /// To suspect it in an incarnation that it has not reached is news, which it hears of. If it is dead,
    /// it misses the next probe, too.
    fn tell_suspected_again(&mut self, now: Millis) {
        for key in std::mem::take(&mut self.outbox.suspected) {
            let since = self.suspects.get(&key).copied().unwrap_or(now);
            if now.since(since) >= SUSPECT_MAX.times(2) {
                let (node, incarnation) = key;
                let next = Member::new(node, incarnation.saturating_add(1), State::Suspect);
                // It is news of a member, which always has room.
                let _ = self.foca.apply_many(std::iter::once(next), true, &mut self.outbox);
            }
        }
    }

    /// When [`Swim::on_time`] is to be called next, at the latest.
    pub fn due(&self) -> Millis {
        let timer = self.outbox.timers.first_key_value().map(|((due, _), _)| *due);
        timer.map_or(self.announce_due, |due| due.min(self.announce_due))
    }

    /// Tells the others that this node goes.
    pub fn leave(&mut self, now: Millis) {
        self.outbox.now = now;
        // With nobody there it has left already.
        let _ = self.foca.leave_cluster(&mut self.outbox);
    }

    /// The letters to be sent.
    pub fn take_letters(&mut self) -> Vec<Letter> {
        let me = self.me().address;
        let mut letters = std::mem::take(&mut self.outbox.letters);
        // An earlier life of this node is a dead member, and those are tried now and then.
        letters.retain(|letter| letter.to != me);
        letters
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let members: BTreeSet<Node> = self.members().collect();
        let told = std::mem::replace(&mut self.told, members);
        let down = told.difference(&self.told).map(|node| Change::Down(*node));
        down.chain(self.told.difference(&told).map(|node| Change::Up(*node))).collect()
    }

    /// The others that are there, in no order.
    pub fn members(&self) -> impl Iterator<Item = Node> {
        self.foca.iter_members().map(|member| *member.id())
    }
}

#[cfg(test)]
#[path = "swim_tests.rs"]
mod tests;
