//! What becomes of a request on a node: forwarded, held, parked, filtered, relayed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use highlander::base::limits::PARK_MAX;
use highlander::base::time::{Millis, UnixMillis};
use highlander::logic::ask::{AskId, Outcome, Verdict};
use highlander::logic::lookout::{Glance, Lookout};
use highlander::logic::shelf::{Kept, Sent, Shelves};
use highlander::logic::source::{Payload, SourceName, Weight};
use highlander::logic::view::{Event, Fate, Heard, Lead, Voice};
use highlander::shared::presence::{Answered, Source};
use highlander::shared::state::{Seat, SeatId};
use highlander::wire::http::reply::MISDIRECTED;
use highlander::wire::remote_write::push::Push;

use crate::mutation::Mutation;
use crate::node::{Link, Node, Out, Relayed, Who, group};
use crate::order::Order;
use crate::relay::Relaying;
use crate::times::{first_of, span_of};

/// A connection: a source's queue and shard, or one from another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Direct(usize, usize),
    Node(Link),
}

/// Whom to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Direct(Who),
    Relayed(Relayed),
}

/// A request whose last byte has been read.
#[derive(Clone, Debug)]
pub struct Came {
    pub origin: Origin,
    pub replica: usize,
    pub weight: u64,
    pub push: Push,
    core: usize,
    seat: Arc<Seat>,
    source: Arc<Source>,
    first: Option<UnixMillis>,
    is_held: bool,
    /// When it waits no longer.
    due: Millis,
}

impl Came {
    /// The connection of its source.
    pub fn way(&self) -> Way {
        match self.origin {
            Origin::Direct((queue, shard, _)) => Way::Direct(queue, shard),
            Origin::Relayed(relayed) => Way::Node(relayed),
        }
    }
}

/// Why a request is at the endpoint.
#[derive(Clone, Debug)]
enum Why {
    Forward(u64),
    Filtered(u64, AskId, IsChanged),
    Replay(Arc<Seat>, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsChanged {
    Yes,
    No,
}

/// What is known of a connection.
struct Known {
    seat: Arc<Seat>,
    source: Arc<Source>,
    lookout: Lookout,
}

#[derive(Default)]
pub struct Passages {
    shelves: BTreeMap<(SeatId, usize), Shelves>,
    known: BTreeMap<Way, Known>,
    pub came: BTreeMap<u64, Came>,
    parked: Vec<u64>,
    asks: BTreeMap<AskId, u64>,
    jobs: BTreeMap<u64, (Why, Push)>,
    /// By the number of the try.
    pub relays: BTreeMap<u64, Relaying>,
    /// Idle connections to other nodes, by the connection of a source whose requests they take, and
    /// where they lead.
    pub idle: BTreeMap<(Way, SocketAddr), Vec<Link>>,
}

pub fn name(replica: usize) -> SourceName {
    SourceName::Named(vec![b'a' + replica as u8].into())
}

impl Passages {
    pub fn shelves(&mut self, seat: &Seat, core: usize) -> &mut Shelves {
        self.shelves.entry((seat.id, core)).or_default()
    }

    pub fn push_of(&self, job: u64) -> Option<Push> {
        self.jobs.get(&job).map(|(_, push)| push.clone())
    }

    pub fn came(&self, id: u64) -> Option<&Came> {
        self.came.get(&id)
    }

    /// Lets go of what is kept for seats that are forgotten.
    pub fn forget(&mut self, seats: &[Arc<Seat>]) {
        self.shelves.retain(|(id, _), shelves| {
            !shelves.is_empty() || seats.iter().any(|seat| seat.id == *id)
        });
    }
}

impl Node {
    /// Nothing comes on a connection any more; those over which it was relayed end with it.
    pub fn on_closed(&mut self, is_closed: impl Fn(&Way) -> bool) {
        self.passages.known.retain(|way, known| {
            let is_closed = is_closed(way);
            if is_closed {
                known.source.detach();
            }
            !is_closed
        });
        let outs = &mut self.outs;
        self.passages.idle.retain(|(way, to), links| {
            let is_closed = is_closed(way);
            if is_closed {
                outs.extend(links.iter().map(|link| Out::Close(*to, *link)));
            }
            !is_closed
        });
    }

    /// A whole request has been read on a connection.
    pub fn on_request(
        &mut self,
        way: Way,
        origin: Origin,
        (replica, weight): (usize, u64),
        push: Push,
    ) {
        let (now, id) = (self.now(), self.number());
        let core = match way {
            Way::Direct(queue, shard) => (queue * 7 + shard) % self.cores,
            Way::Node((from, _, link)) => (from + link as usize) % self.cores,
        };
        let name = name(replica);
        if self.passages.known.get(&way).is_some_and(|known| known.source.name != name) {
            self.on_closed(|other| *other == way);
        }
        if !self.passages.known.contains_key(&way) {
            let at = SocketAddr::from(([10, 1, 0, replica as u8], 1));
            let attached = self.seats.attach(&group(), &name, Weight(weight), at);
            let (seat, source) = attached.expect("there is room");
            let known = Known { seat, source, lookout: Lookout::default() };
            self.passages.known.insert(way, known);
        }
        let known = &self.passages.known[&way];
        let (seat, source) = (known.seat.clone(), known.source.clone());
        source.on_heard(core, now);
        source.on_write();
        let due = now.after(PARK_MAX);
        let is_held = false;
        let came =
            Came { origin, replica, weight, push, core, seat, source, first: None, is_held, due };
        self.passages.came.insert(id, came);
        match self.decide(id) {
            Some(Fate::Relay(to)) => self.relay(id, to, true),
            Some(fate) => self.pass(id, way, fate),
            None => {}
        }
    }

    /// The way of a request that stays here, at least for now.
    pub fn pass(&mut self, id: u64, way: Way, fate: Fate) {
        let first = self.look_at_first(id, way);
        let Some(came) = self.passages.came.get_mut(&id) else { return };
        came.first = first;
        let fate = match first {
            // A jump of its samples may just have put its source under suspicion.
            Some(_) => self.decide(id),
            None => Some(fate),
        };
        if let Some(fate) = fate {
            self.go(id, fate);
        }
    }

    fn look_at_first(&mut self, id: u64, way: Way) -> Option<UnixMillis> {
        let (now, unix_now) = (self.now(), self.unix_now());
        let Came { core, push, seat, source, .. } = self.passages.came.get(&id)?.clone();
        // Its connection may speak for another by now; then it is looked at as one of a new one.
        let known = self.passages.known.get_mut(&way).filter(|it| it.source.id == source.id);
        let mut fresh = Lookout::default();
        let lookout = known.map_or(&mut fresh, |known| &mut known.lookout);
        if !lookout.is_due(now) {
            return None;
        }
        let Some(first) = first_of(&push) else {
            lookout.on_none(now);
            return None;
        };
        let glance = lookout.on_first(first, source.behind_max(), now, unix_now);
        let span = span_of(&push).filter(|_| glance == Glance::Whole);
        let (ends, gap) = match span {
            None => ((first, first), None),
            Some(span) => {
                let gap = (Millis(span.gap_ms), UnixMillis(span.gap_to_ms));
                ((UnixMillis(span.oldest_ms), UnixMillis(span.newest_ms)), Some(gap))
            }
        };
        let is_jump = source.on_seen(core, ends, gap);
        if is_jump && seat.sources().all.len() > 1 && seat.view().has_voice(source.id) {
            self.publish(&seat, Some((Event::Suspected(source.id), Millis(0))));
        }
        Some(ends.0)
    }

    fn judge(&self, came: &Came) -> Fate {
        let weight = Weight(came.weight);
        let fate = came.seat.view().judge(came.source.id, weight, Payload::RemoteWrite);
        let may_lead = came.seat.leads(|| self.now()) || self.mutation == Mutation::IgnoreUntil;
        match fate {
            Fate::Forward | Fate::Filter(_) | Fate::Contend if !may_lead => Fate::Park,
            _ => fate,
        }
    }

    /// What becomes of it now; `None` if it has been refused.
    fn decide(&mut self, id: u64) -> Option<Fate> {
        let came = self.passages.came.get(&id)?.clone();
        let fate = match self.judge(&came) {
            Fate::Contend => {
                let (source, weight) = (came.source.id, Weight(came.weight));
                let address = SocketAddr::from(([10, 1, 0, came.replica as u8], 1));
                let payload = Payload::RemoteWrite;
                let heard = Heard { source, weight, address, payload };
                self.publish(&came.seat, Some((Event::Heard(heard), Millis(0))));
                self.judge(&came)
            }
            fate => fate,
        };
        let is_relayed = matches!(came.origin, Origin::Relayed(_));
        if matches!(fate, Fate::Relay(_)) && is_relayed && self.mutation != Mutation::RelayTwice {
            self.refuse(id, MISDIRECTED);
            return None;
        }
        Some(fate)
    }

    fn go(&mut self, id: u64, fate: Fate) {
        match fate {
            Fate::Forward => self.forward(id),
            Fate::Hold => {
                self.shelve(id);
                self.take(id);
            }
            Fate::Park => self.park(id),
            Fate::Filter(voice) => self.filter(id, voice),
            Fate::Relay(to) => self.relay(id, to, false),
            Fate::Contend | Fate::Take => self.refuse(id, 503),
        }
    }

    pub fn park(&mut self, id: u64) {
        let Some(came) = self.passages.came.get(&id) else { return };
        came.source.on_sent(came.core);
        self.passages.parked.push(id);
    }

    /// All cores are woken: what waits asks the view again.
    pub fn wake(&mut self) {
        let now = self.now();
        for id in std::mem::take(&mut self.passages.parked) {
            let Some(came) = self.passages.came.get(&id) else { continue };
            came.source.on_returned(came.core);
            if now >= came.due {
                self.refuse(id, 503);
            } else if let Some(fate) = self.decide(id) {
                self.go(id, fate);
            }
        }
        let tries = self.passages.relays.iter().map(|(serial, it)| (*serial, it.id, it.to));
        for (serial, id, to) in tries.collect::<Vec<_>>() {
            let Some(came) = self.passages.came.get(&id) else { continue };
            if came.seat.view().lead != Lead::Relay(to) {
                self.on_relay_failed(serial);
            }
        }
        let is_late = |id: &u64| self.passages.came.get(id).is_some_and(|it| now >= it.due);
        let late = self.passages.asks.iter().filter(|(_, id)| is_late(id));
        let late: Vec<(AskId, u64)> = late.map(|(ask, id)| (*ask, *id)).collect();
        for (ask, id) in late {
            self.passages.asks.remove(&ask);
            if let Some(came) = self.passages.came.get(&id) {
                came.source.on_returned(came.core);
            }
            self.refuse(id, 503);
        }
    }

    fn start(&mut self, seat: &Seat, why: Why, push: Push) {
        let job = self.number();
        self.passages.jobs.insert(job, (why, push));
        let leads = seat.may_send(|| self.now());
        self.outs.push(Out::Job(job, leads));
    }

    fn forward(&mut self, id: u64) {
        let Some(came) = self.passages.came.get(&id).cloned() else { return };
        self.passages.shelves(&came.seat, came.core).on_sent(came.source.id, came.first);
        came.source.on_sent(came.core);
        self.start(&came.seat, Why::Forward(id), came.push);
    }

    fn shelve(&mut self, id: u64) {
        let arrived = self.nanos();
        let Some(came) = self.passages.came.get_mut(&id) else { return };
        if came.is_held || self.mutation == Mutation::AcknowledgeBeforeHolding {
            return;
        }
        came.is_held = true;
        let (seat, core, source) = (came.seat.clone(), came.core, came.source.id);
        let kept = Kept { arrived, push: came.push.clone() };
        self.passages.shelves(&seat, core).hold(source, kept);
    }

    fn filter(&mut self, id: u64, voice: Voice) {
        if voice == Voice::Old {
            // All of it is held too: the new source may die before it has spoken.
            self.shelve(id);
        }
        let number = self.number();
        let Some(came) = self.passages.came.get(&id).cloned() else { return };
        came.source.on_sent(came.core);
        let ask = AskId { core: came.core, number };
        self.passages.asks.insert(ask, id);
        let order = Order::Asked(came.seat, ask, voice, came.push);
        self.order(Order::from_core(came.core), order);
    }

    /// The conductor's word.
    pub fn on_told(&mut self, seat: &Arc<Seat>, ask: AskId, verdict: Verdict) {
        let id = self.passages.asks.remove(&ask);
        let Some((id, came)) = id.and_then(|id| Some((id, self.passages.came.get(&id)?.clone())))
        else {
            // Nobody waits for it any more.
            let order = Order::Done(seat.clone(), ask, Outcome::Unsent);
            return self.order(Order::from_core(ask.core), order);
        };
        let leads = came.seat.may_send(|| self.now());
        let is_late = !leads && self.mutation != Mutation::LetOutLate;
        match verdict {
            Verdict::AsItIs | Verdict::Changed(_) if is_late => {
                let order = Order::Done(seat.clone(), ask, Outcome::Unsent);
                self.order(Order::from_core(ask.core), order);
                came.source.on_returned(came.core);
                if let Some(fate) = self.decide(id) {
                    self.go(id, fate);
                }
            }
            Verdict::Overtaken => {
                came.source.on_returned(came.core);
                if let Some(fate) = self.decide(id) {
                    self.go(id, fate);
                }
            }
            Verdict::Covered => {
                came.source.on_returned(came.core);
                self.take(id);
            }
            Verdict::AsItIs => {
                self.start(&came.seat, Why::Filtered(id, ask, IsChanged::No), came.push);
            }
            Verdict::Changed(push) => {
                self.start(&came.seat, Why::Filtered(id, ask, IsChanged::Yes), push);
            }
        }
    }

    /// What a hand-over sends on.
    pub fn send_on(&mut self, seat: &Arc<Seat>, core: usize, push: Push) {
        let leads = seat.may_send(|| self.now());
        let is_mutated = matches!(self.mutation, Mutation::SendOnLate | Mutation::KeepHandover);
        if !leads && !is_mutated {
            let order = Order::Sent(seat.clone(), Outcome::Unsent);
            return self.order(Order::from_core(core), order);
        }
        self.start(seat, Why::Replay(seat.clone(), core), push);
    }

    /// The endpoint's answer, or that there is none.
    pub fn on_returned(&mut self, job: u64, outcome: Outcome) {
        let Some((why, push)) = self.passages.jobs.remove(&job) else { return };
        let status = match outcome {
            Outcome::Acknowledged => 204,
            Outcome::Rejected => 400,
            Outcome::Doubtful | Outcome::Unsent => 503,
        };
        match why {
            Why::Forward(id) => {
                self.on_forwarded(id, push, outcome);
                self.answer(id, status);
            }
            Why::Filtered(id, ask, is_changed) => {
                let Some(came) = self.passages.came.get(&id).cloned() else { return };
                came.source.on_returned(came.core);
                let order = Order::Done(came.seat, ask, outcome);
                self.order(Order::from_core(came.core), order);
                match is_changed {
                    IsChanged::Yes if status < 300 => self.take(id),
                    IsChanged::Yes | IsChanged::No => self.answer(id, status),
                }
            }
            Why::Replay(seat, core) => {
                self.order(Order::from_core(core), Order::Sent(seat, outcome));
            }
        }
    }

    fn on_forwarded(&mut self, id: u64, push: Push, outcome: Outcome) {
        let (arrived, now) = (self.nanos(), self.now());
        let Some(came) = self.passages.came.get(&id).cloned() else { return };
        let Came { seat, core, source, first, .. } = came;
        source.on_returned(core);
        let sent = Sent { first, kept: Kept { arrived, push } };
        let shelves = self.passages.shelves(&seat, core);
        match outcome.is_certain() {
            true => shelves.on_acknowledged(sent, now),
            false => drop(shelves.on_doubtful(sent, now, first_of)),
        }
        let doubts = shelves.doubts();
        if !outcome.is_certain() || source.has_doubts() {
            source.set_doubts(core, doubts);
        }
        self.gather(&seat, core);
    }

    pub fn gather(&mut self, seat: &Arc<Seat>, core: usize) {
        if let Some((turn, gathered)) = self.passages.shelves(seat, core).poll_gathered() {
            let order = Order::Gathered(seat.clone(), turn, core, gathered);
            self.order(Order::from_core(core), order);
        }
    }

    fn take(&mut self, id: u64) {
        let Some(came) = self.passages.came.remove(&id) else { return };
        came.source.on_answered(came.core, self.now(), Answered::Settled);
        self.say_answer(&came, 204);
    }

    /// The answer of the endpoint, or of another node.
    pub fn answer(&mut self, id: u64, status: u16) {
        let Some(came) = self.passages.came.remove(&id) else { return };
        let answered = if status >= 500 { Answered::Refused } else { Answered::Settled };
        came.source.on_answered(came.core, self.now(), answered);
        self.say_answer(&came, status);
    }

    fn refuse(&mut self, id: u64, status: u16) {
        let Some(came) = self.passages.came.remove(&id) else { return };
        came.source.on_answered(came.core, self.now(), Answered::Refused);
        self.say_answer(&came, status);
    }

    fn say_answer(&mut self, came: &Came, status: u16) {
        self.outs.push(match came.origin {
            Origin::Direct(who) => Out::Answer(who, status),
            Origin::Relayed(relayed) => Out::RelayAnswer(relayed, status),
        });
    }
}
