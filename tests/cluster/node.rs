//! One node: the threads of the program as turns in time. Seats, sources, marks, what the cluster means
//! for the seats and what is seen of the sources are the program's own; the rest of its I/O is told
//! after it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crossbeam::channel::{Receiver, unbounded};

use highlander::base::limits::{
    GOSSIP_TURN, LEAD_GIVEN_MAX, MARKS_EVERY, SETTLE_MAX, SOURCES_MAX, STANDSTILL,
};
use highlander::base::time::{Millis, Nanos, UnixMillis};
use highlander::io::clock::Clock;
use highlander::io::log::{Format, Level, Log};
use highlander::io::orders::Word;
use highlander::io::seating::Seating;
use highlander::io::watch::Watch;
use highlander::logic::cluster::group::Lead as Led;
use highlander::logic::cluster::member::{LeaseKind, Member, Outcome as Follows, Setting};
use highlander::logic::cluster::node::Node as Identity;
use highlander::logic::cluster::notice::Notice;
use highlander::logic::cluster::swim::Letter;
use highlander::logic::desk::Lens;
use highlander::logic::expiry::Expiry;
use highlander::logic::pressure::Pressure;
use highlander::logic::source::GroupName;
use highlander::logic::view::{Event, Fill, Lead};
use highlander::shared::memory::Memory;
use highlander::shared::state::{Seat, SeatId, Seats};
use highlander::shared::tuning::Tuning;
use highlander::wire::cluster::seal::Stamp;
use highlander::wire::remote_write::series::SeriesHasher;

use crate::conductor::Conductor;
use crate::mutation::Mutation;
use crate::order::Order;
use crate::passage::Passages;
use crate::plan::{Leased, Plan};

pub const EXPIRY: Expiry = Expiry { expiry: Millis(5_000), expiry_max: Millis(12_000) };
const TICK: u64 = 1000;

/// What a node does to the world.
#[derive(Debug)]
pub enum Out {
    Datagram(SocketAddr, Stamp, Vec<u8>),
    /// From one of its threads to another, on this channel.
    Order(usize, Order),
    /// A request goes to the endpoint; whether the node leads and may.
    Job(u64, bool),
    Answer(Who, u16),
    /// The try of this number relays this request to the node that takes requests here.
    Relay(u64, u64, SocketAddr, Link),
    RelayAnswer(Relayed, u16),
    /// A connection to another node is closed.
    Close(SocketAddr, Link),
    Violation(String),
}

/// The try of a source: its queue, its shard, and the number of the try.
pub type Who = (usize, usize, u64);

/// One connection from node to node: from which one, in which of its lives, and its number there.
pub type Link = (usize, u64, u64);

/// A request that another node relays: from which one, in which of its lives, and its number there.
pub type Relayed = (usize, u64, u64);

pub fn group() -> GroupName {
    GroupName { tenant: Box::default(), group: (*b"g").into() }
}

pub fn address(place: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, place as u8 + 1], 6746))
}

pub fn listen(place: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, place as u8 + 1], 9091))
}

pub fn place_of(address: SocketAddr) -> usize {
    match address.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]) - 1,
        std::net::IpAddr::V6(_) => unreachable!("the simulation has none"),
    }
}

/// Only what should never be said is written.
fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| Log::start(Level::Error, Format::Text).expect("a thread")).clone()
}

pub struct Node {
    pub place: usize,
    pub life: u64,
    pub mutation: Mutation,
    pub cores: usize,
    pub seats: Arc<Seats>,
    pub member: Member,
    pub passages: Passages,
    pub conductor: Conductor,
    pub lens: Lens,
    pub outs: Vec<Out>,
    pub inbox: Vec<(Stamp, Vec<u8>)>,
    /// The time of the world.
    pub world: u64,
    /// How often a series may have changed its voice.
    pub changes_max: usize,
    /// When the seat last changed hands.
    pub changed: u64,
    /// An operator wants another node to lead.
    is_to_give: bool,
    seating: Seating,
    words: Receiver<Word>,
    watches: BTreeMap<SeatId, Watch>,
    born: u64,
    drift: i64,
    skew: i64,
    window: Millis,
    sequence: u64,
    next_number: u64,
    next_look: Millis,
    next_release: Millis,
    next_tick: Millis,
    last_beat: Millis,
    distrust_until: Millis,
    /// The last word of each seat's stage that was counted.
    counted: BTreeMap<SeatId, u64>,
}

impl Node {
    pub fn new(plan: &Plan, place: usize, life: u64, born: u64, seed: u64) -> Node {
        let (conductor, words) = unbounded();
        let seats = Arc::new(Seats::new(plan.cores, SOURCES_MAX).unled());
        let window = Millis(plan.window);
        let now = Millis(1);
        let leases = match (plan.leased, plan.mutation) {
            (Leased::Not, _) | (_, Mutation::LeadWithoutLease) => LeaseKind::None,
            (Leased::ByMajority, _) => LeaseKind::Majority(plan.nodes),
        };
        let settle_max = match plan.mutation {
            Mutation::ClaimUnsettled => Millis(0),
            _ => SETTLE_MAX,
        };
        let me = Identity { address: address(place), generation: 1_700_000_000_000 + born };
        let setting = Setting { me, listen: listen(place), leases, settle_max, seed };
        let peers: Vec<SocketAddr> = (0..plan.nodes).map(address).collect();
        Node {
            place,
            life,
            mutation: plan.mutation,
            cores: plan.cores,
            member: Member::new(setting, &peers, now),
            passages: Passages::default(),
            conductor: Conductor::new(window),
            lens: Lens::new(SeriesHasher::new(seed), 1 << 20),
            outs: Vec::new(),
            inbox: Vec::new(),
            world: born,
            changes_max: 0,
            changed: born,
            is_to_give: false,
            seating: Seating {
                seats: seats.clone(),
                mode: plan.mode,
                tuned: Tuning { window, ..Tuning::default() }.tuned(),
                memory: Arc::new(Memory::new(usize::MAX)),
                cores: Vec::new(),
                conductor,
                // What is later than the world's time is not later than this.
                clock: Clock::start(),
                log: log(),
                counters: Arc::default(),
                seen: Default::default(),
                unknown: Vec::new(),
                orphans: Vec::new(),
            },
            seats,
            words,
            watches: BTreeMap::new(),
            born,
            drift: plan.drifts[place],
            skew: plan.skews[place],
            window,
            sequence: 0,
            next_number: 0,
            next_look: now,
            next_release: now,
            next_tick: Millis(TICK),
            last_beat: now,
            distrust_until: Millis(0),
            counted: BTreeMap::new(),
        }
    }

    /// The time since it began, as its own clock has it.
    pub fn now(&self) -> Millis {
        let past = (self.world - self.born) as i64;
        Millis(1 + (past + past * self.drift / 1000) as u64)
    }

    pub fn unix_now(&self) -> UnixMillis {
        UnixMillis(self.world as i64 + self.skew)
    }

    /// The order of arrival.
    pub fn nanos(&mut self) -> Nanos {
        Nanos(self.now().0 * 1_000_000 + self.number() % 1_000_000)
    }

    pub fn nanos_at(&self, at: UnixMillis) -> Nanos {
        let ahead = i128::from(at.0) - i128::from(self.unix_now().0);
        let nanos = (i128::from(self.now().0) + ahead) * 1_000_000;
        Nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn order(&mut self, way: usize, order: Order) {
        self.outs.push(Out::Order(way, order));
    }

    /// Whether it acts as the leader that its view says it is.
    pub fn leads(&self) -> bool {
        let seats = self.seats.all();
        let seat = seats.get(&group());
        seat.is_some_and(|seat| seat.may_send(|| self.now()))
    }

    /// An operator wants another node to lead, as soon as no hand-over is under way.
    pub fn give_away(&mut self) {
        self.is_to_give = true;
    }

    /// Whether it leads as far as the cluster is concerned: it may have no seat yet.
    pub fn has_lead(&self) -> bool {
        let now = self.now();
        self.member.led().any(|led| now < led.until)
    }

    /// A turn of the thread that speaks with the others.
    pub fn on_turn(&mut self) {
        let now = self.now();
        for (stamp, payload) in std::mem::take(&mut self.inbox) {
            self.promise_otherwise(&payload);
            // What has come before is dropped.
            let _ = self.member.on_datagram(stamp, &payload, now);
        }
        if now >= self.next_look {
            self.next_look = now.after(GOSSIP_TURN);
            self.seating.look(&mut self.member, now);
            if self.is_to_give && self.seating.is_steady_in(&group()) {
                self.is_to_give = false;
                self.member.hand_over(&group(), now.after(LEAD_GIVEN_MAX), now);
            }
        }
        self.member.on_time(now);
        for outcome in self.member.take_outcomes() {
            if let Follows::Led(group, lead, standing) = outcome {
                self.on_led(&group, lead, standing, now);
            }
        }
        self.seating.set_until(&self.member);
        if now >= self.next_release {
            self.next_release = now.after(MARKS_EVERY);
            self.seating.release(&self.member);
            self.release_alone();
        }
        let changes = self.member.take_changes();
        if !changes.is_empty() {
            self.seating.on_members(now);
        }
        for change in changes {
            if crate::world::is_traced() {
                println!("{}: node {} {change:?}", self.world, self.place);
            }
        }
        for Letter { to, payload } in self.member.take_letters() {
            self.say(to, payload);
        }
        self.pass_words();
    }

    fn on_led(
        &mut self,
        group: &GroupName,
        lead: Led,
        mut standing: Option<Box<highlander::logic::cluster::standing::Standing>>,
        now: Millis,
    ) {
        if let Some(standing) = &mut standing {
            match self.mutation {
                Mutation::SkipFloor => standing.low = None,
                Mutation::RaiseFloor => standing.low = Some(self.unix_now().after(Millis(10_000))),
                Mutation::ForgetSitting => standing.sitting = None,
                _ => {}
            }
        }
        if crate::world::is_traced() {
            println!("{}: node {} {lead:?} {standing:?}", self.world, self.place);
        }
        self.seating.on_led(&self.member, group, lead, standing, now);
        self.pass_words();
        self.wake();
    }

    fn say(&mut self, to: SocketAddr, payload: Vec<u8>) {
        self.sequence += 1;
        let stamp = Stamp { process: self.life << 8 | self.place as u64, sequence: self.sequence };
        self.outs.push(Out::Datagram(to, stamp, payload));
    }

    /// What the seats tell the conductor.
    pub fn pass_words(&mut self) {
        while let Ok(Word::Changed(seat)) = self.words.try_recv() {
            self.on_changed(&seat);
        }
    }

    /// A view was published: whoever did it tells the conductor.
    pub fn on_changed(&mut self, seat: &Arc<Seat>) {
        let view = **seat.view();
        if let Some(turn) = view.closed()
            && self.counted.insert(seat.id, turn.epoch.0) != Some(turn.epoch.0)
        {
            self.changed = self.world;
            // A chain of voices where all fill a hole, one change else.
            self.changes_max += match turn.fill {
                Fill::FromHeir => 1,
                Fill::FromAll => seat.sources().all.len().max(1),
            };
        }
        if crate::world::is_traced() {
            println!("{}: node {} {view:?}", self.world, self.place);
        }
        self.order(Order::CHANGES, Order::Changed(seat.clone()));
    }

    fn promise_otherwise(&mut self, payload: &[u8]) {
        let (now, me) = (self.now(), self.member.me());
        let Ok(Notice::LeaseAsk(from, round, wanted)) = Notice::decode(payload) else { return };
        let keys: Vec<_> = wanted.iter().map(|(key, _)| *key).collect();
        match self.mutation {
            Mutation::PromiseTwice => {
                self.say(from.address, Notice::LeaseGiven(me, round, keys).encode());
            }
            Mutation::ReleasePromises => {
                for place in 0..8 {
                    let other = Identity::at(address(place));
                    let round = highlander::logic::cluster::lease::Round(u64::MAX);
                    let back = Notice::LeaseBack(other, round, keys.clone());
                    self.sequence += 1;
                    let process = 1 << 40 | self.life << 8 | self.place as u64;
                    let stamp = Stamp { process, sequence: self.sequence };
                    let _ = self.member.on_datagram(stamp, &back.encode(), now);
                }
            }
            _ => {}
        }
    }

    fn release_alone(&mut self) {
        if self.mutation == Mutation::ReleaseAlone {
            let seats = self.seats.all();
            for seat in
                seats.values().filter(|it| matches!(it.view().lead, Lead::Mirror | Lead::Orphan))
            {
                seat.marks.raise_release(self.unix_now().before(Millis(1000)));
            }
        }
    }

    /// A turn of the control, and of the cores that it wakes.
    pub fn on_beat(&mut self) {
        let now = self.now();
        if now.since(self.last_beat) > STANDSTILL {
            self.distrust_until = now.after(Millis(2 * TICK));
        }
        self.last_beat = now;
        let is_tick = now >= self.next_tick;
        if is_tick {
            self.next_tick = now.after(Millis(TICK));
        }
        let seats: Vec<Arc<Seat>> = self.seats.all().values().cloned().collect();
        for seat in &seats {
            self.control(seat, now, is_tick);
        }
        if is_tick {
            self.watches.retain(|id, _| seats.iter().any(|seat| seat.id == *id));
            self.seats.forget_empty();
        }
        for seat in &seats {
            self.look_after(seat, now);
        }
        self.passages.forget(&seats);
        self.conduct();
        self.wake();
    }

    fn control(&mut self, seat: &Arc<Seat>, now: Millis, is_tick: bool) {
        let unix_now = self.unix_now();
        let watch = self.watches.entry(seat.id).or_default();
        watch.look(seat, now, unix_now);
        if is_tick {
            watch.tell_patience(seat, &EXPIRY);
        }
        if now >= self.distrust_until {
            let beat = watch.group(**seat.view(), None, now, unix_now).beat(&EXPIRY, None);
            self.publish(seat, beat);
            if is_tick {
                let watch = self.watches.entry(seat.id).or_default();
                let tick = watch.group(**seat.view(), None, now, unix_now).tick(&EXPIRY);
                self.publish(seat, tick);
            }
        }
        let watch = self.watches.entry(seat.id).or_default();
        let released = watch.release(**seat.view(), self.window, Pressure::Low, unix_now);
        if let Some((mark, _)) = released {
            seat.marks.raise_release(mark);
        }
        if is_tick {
            let promoted = seat.view().promoted.map(|promoted| promoted.source);
            let candidates = watch.candidates();
            seat.forget(|source| {
                let candidate = candidates.iter().find(|it| it.heard.source == source.id);
                Some(source.id) != promoted
                    && candidate.is_none_or(|it| it.silence(now) >= EXPIRY.expiry_max)
            });
        }
    }

    pub fn publish(&mut self, seat: &Arc<Seat>, event: Option<(Event, Millis)>) {
        let Some((event, silence)) = event else { return };
        if seat.on_event(event, silence).is_some() {
            if crate::world::is_traced() {
                println!("{}: node {} {event:?}", self.world, self.place);
            }
            self.on_changed(seat);
        }
    }

    /// What a core lets go of, and says of the low mark.
    fn look_after(&mut self, seat: &Arc<Seat>, now: Millis) {
        let (promoted, span) = (seat.view().promoted, seat.marks.span());
        let mark = self.nanos_at(seat.marks.release());
        for core in 0..self.cores {
            let shelves = self.passages.shelves(seat, core);
            if let Some(promoted) = promoted {
                seat.marks.set_core(core, shelves.low_mark(promoted.source, now, span));
            }
            shelves.release(mark, drop);
        }
    }
}
