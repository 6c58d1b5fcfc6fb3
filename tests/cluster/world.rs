//! The world around the nodes: time, network, sources, endpoint, faults.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;

use highlander::io::seating::Mode;
use highlander::logic::ask::Outcome;
use highlander::logic::cluster::group::Lead;
use highlander::logic::source::SourceName;
use highlander::wire::cluster::seal::Stamp;
use highlander::wire::remote_write::push::Push;

use crate::check::{self, Acknowledged};
use crate::endpoint::{Endpoint, Mood, read};
use crate::node::{Link, Node, Out, Relayed, Who, group, listen, place_of};
use crate::order::Order;
use crate::passage::{Origin, Way};
use crate::plan::{Fault, Plan, Promise};
use crate::sender::{Point, Queue, Replica, stamp};

/// To a node: what it belongs to, and in which of its lives.
type At = (usize, u64);

#[derive(Clone, Debug)]
enum Happens {
    /// Replica, life, series.
    Scrape(usize, u64, usize),
    /// Queue, shard, life.
    Send(usize, usize, u64),
    /// Who, status, and when it was decided.
    Answer(Who, u16, u64),
    ToNode(At, ToNode),
    /// A request reaches the endpoint.
    Reach(At, u64, Push),
    Fault(usize),
}

#[derive(Clone, Debug)]
enum ToNode {
    Turn,
    Beat,
    Datagram(Stamp, Vec<u8>),
    Order(Order),
    Request(Way, Origin, (usize, u64), Push),
    Close(Way),
    CloseAll(At),
    Returned(u64, Outcome),
    RelayAnswered(u64, u16),
    RelayFailed(u64),
}

/// A place where a node runs, or does not.
struct Place {
    node: Option<Node>,
    lives: u64,
    stopped_until: u64,
    stopped_at: u64,
    /// When the thread that speaks with others has its next turn.
    turn: u64,
    /// Nobody is there who could say that nobody is there.
    has_vanished: bool,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Samples that reached the endpoint while two nodes led.
    pub doubled: usize,
    /// Samples that came after newer ones of their series.
    pub disordered: usize,
}

pub struct World {
    plan: Plan,
    now: u64,
    happens: BinaryHeap<Reverse<(u64, u64, usize)>>,
    what: Vec<Option<Happens>>,
    free: Vec<usize>,
    order: u64,
    tickets: u64,
    places: Vec<Place>,
    cuts: BTreeSet<(usize, usize)>,
    lost_percent: u64,
    /// The queues of all replicas, one after the other.
    queues: Vec<Replica>,
    per_replica: usize,
    /// To which node each shard of a queue speaks.
    conns: BTreeMap<(usize, usize), At>,
    /// The requests that nodes have relayed and wait for: to whom.
    relaying: BTreeMap<Relayed, usize>,
    endpoint: Endpoint,
    acknowledged: Vec<Acknowledged>,
    absent: Vec<Vec<(u64, u64)>>,
    changes_before: usize,
    changed: u64,
    ways: BTreeMap<(At, usize), u64>,
    /// What has come to each node of each series.
    come: Vec<BTreeSet<(usize, i64)>>,
    /// Who died when its leader did.
    victim: Option<usize>,
    violation: Option<String>,
    cost: Cost,
}

const SENDER_TIMEOUT: u64 = 12_000;
const REMOTE_TIMEOUT: u64 = 3_000;
const BEAT: u64 = 100;
/// The longest that a turn waits.
const TURN: u64 = 50;
/// After this a balancer sees that a node stands still.
const CHECKED: u64 = 1_000;
/// In this time after the last fault there is one leader.
const AT_ONE: u64 = 10_000;

/// Whether a run is told step by step.
pub fn is_traced() -> bool {
    static TRACED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TRACED.get_or_init(|| std::env::var("CLUSTER_TRACE").is_ok())
}

impl World {
    pub fn new(plan: Plan) -> World {
        let place = || Place {
            node: None,
            lives: 0,
            stopped_until: 0,
            stopped_at: 0,
            turn: 0,
            has_vanished: false,
        };
        let per_replica = if plan.mode == Mode::Mirror { plan.nodes } else { 1 };
        let of_one = |source| (0..per_replica).map(move |_| Replica::new(source));
        World {
            now: 0,
            happens: BinaryHeap::new(),
            what: Vec::new(),
            free: Vec::new(),
            order: 0,
            tickets: 0,
            places: (0..plan.nodes).map(|_| place()).collect(),
            cuts: BTreeSet::new(),
            lost_percent: plan.lost_percent,
            queues: plan.sources.iter().flat_map(of_one).collect(),
            per_replica,
            conns: BTreeMap::new(),
            relaying: BTreeMap::new(),
            endpoint: Endpoint::new(),
            acknowledged: Vec::new(),
            absent: vec![Vec::new(); plan.sources.len()],
            changes_before: 0,
            changed: 0,
            ways: BTreeMap::new(),
            come: vec![BTreeSet::new(); plan.nodes],
            victim: None,
            violation: None,
            cost: Cost::default(),
            plan,
        }
    }

    pub fn run(&mut self) -> Result<Cost, String> {
        for place in 0..self.plan.nodes {
            let begins = self.plan.dice.between(0, 300);
            self.plan.faults.push((begins, Fault::Start(place)));
        }
        for replica in 0..self.plan.sources.len() {
            self.scrape_all(replica, 0, 1000 + self.plan.sources[replica].phase);
        }
        for (number, (at, _)) in self.plan.faults.clone().into_iter().enumerate() {
            self.at(at, Happens::Fault(number));
        }
        while let Some(Reverse((at, _, place))) = self.happens.pop() {
            if at > self.plan.end {
                break;
            }
            self.now = at;
            self.free.push(place);
            if let Some(happens) = self.what[place].take() {
                self.happen(happens);
            }
            if let Some(violation) = self.violation.take() {
                return Err(format!("at {at} ms: {violation}"));
            }
        }
        self.judge()
    }

    fn judge(&self) -> Result<Cost, String> {
        let leader = self.nodes().find(|node| node.leads());
        let record = check::Record {
            plan: &self.plan,
            endpoint: &self.endpoint,
            acknowledged: &self.acknowledged,
            absent: &self.absent,
            changes_max: self.changes_max(),
            promoted: leader.and_then(sitting),
            changed: self.changed,
            thin: i64::MIN,
        };
        if is_traced() {
            println!("{:#?}", self.plan);
            record.print();
        }
        record.check_covered()?;
        if self.plan.promise == Promise::All {
            record.check_whole()?;
        }
        Ok(self.cost)
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.places.iter().filter_map(|place| place.node.as_ref())
    }

    fn changes_max(&self) -> usize {
        match self.plan.promise {
            Promise::None => usize::MAX,
            Promise::All | Promise::Pair => {
                self.changes_before + self.nodes().map(|node| node.changes_max).sum::<usize>()
            }
        }
    }

    fn at(&mut self, at: u64, happens: Happens) {
        self.order += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.what.push(None);
            self.what.len() - 1
        });
        self.what[place] = Some(happens);
        self.happens.push(Reverse((at, self.order, place)));
    }

    fn after(&mut self, delay: u64, happens: Happens) {
        self.at(self.now + delay, happens);
    }

    fn delay(&mut self) -> u64 {
        match self.plan.dice.chance(3) {
            true => self.plan.dice.between(100, 900),
            false => self.plan.dice.between(1, 15),
        }
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Scrape(replica, life, series) => self.scrape(replica, life, series),
            Happens::Send(queue, shard, life) => self.send(queue, shard, life),
            Happens::Answer(who, status, decided) => self.answer(who, status, decided),
            Happens::ToNode(at, what) => self.to_node(at, what),
            Happens::Reach(at, job, push) => self.reach(at, job, &push),
            Happens::Fault(number) => self.fault(self.plan.faults[number].1),
        }
    }

    // The nodes.

    fn start(&mut self, place: usize) {
        let seed = self.plan.dice.next();
        let it = &mut self.places[place];
        it.lives += 1;
        (it.has_vanished, it.stopped_until) = (false, 0);
        it.node = Some(Node::new(&self.plan, place, it.lives, self.now, seed));
        let at = (place, it.lives);
        let phase = self.plan.dice.between(1, BEAT);
        self.turn(at, self.now + 1);
        self.after(phase, Happens::ToNode(at, ToNode::Beat));
    }

    fn is_running(&self, (place, life): At) -> bool {
        self.places[place].node.as_ref().is_some_and(|node| node.life == life)
    }

    fn to_node(&mut self, at: At, what: ToNode) {
        let (place, _) = at;
        if !self.is_running(at) {
            return;
        }
        if self.now < self.places[place].stopped_until {
            // It waits in a socket, or in a queue between threads, which run on in any order.
            let until = self.places[place].stopped_until;
            let late = match what {
                ToNode::Turn | ToNode::Beat => self.plan.dice.between(0, 30),
                _ => 0,
            };
            if matches!(what, ToNode::Turn) {
                return self.turn(at, until + late);
            }
            return self.at(until + late, Happens::ToNode(at, what));
        }
        match &what {
            ToNode::Turn if self.places[place].turn != self.now => return,
            ToNode::Beat => self.after(BEAT, Happens::ToNode(at, ToNode::Beat)),
            ToNode::Request(_, _, _, push) => {
                self.come[place].extend(read(push).iter().map(|point| (point.series, point.at)));
            }
            _ => {}
        }
        let Some(node) = &mut self.places[place].node else { return };
        node.world = self.now;
        let is_turn = matches!(what, ToNode::Turn);
        let mut turn = None;
        match what {
            ToNode::Turn => {
                node.on_turn();
                let due = node.member.due().since(node.now()).0.clamp(1, TURN);
                turn = Some(self.now + due);
            }
            ToNode::Beat => node.on_beat(),
            ToNode::Datagram(stamp, payload) => {
                node.inbox.push((stamp, payload));
                turn = Some(self.now);
            }
            ToNode::Order(order) => node.on_order(order),
            ToNode::Request(way, origin, source, push) => {
                node.on_request(way, origin, source, push);
            }
            ToNode::Close(way) => node.on_closed(|other| *other == way),
            ToNode::CloseAll(of) => node.on_closed(|way| match way {
                Way::Node((from, life, _)) => (*from, *life) == of,
                Way::Direct(..) => false,
            }),
            ToNode::Returned(job, outcome) => node.on_returned(job, outcome),
            ToNode::RelayAnswered(serial, status) => node.on_relay_answered(serial, status),
            ToNode::RelayFailed(serial) => node.on_relay_failed(serial),
        }
        if let Some(due) = turn.filter(|due| is_turn || *due < self.places[place].turn) {
            // On waking the threads go on in any order.
            let just_woken = self.now <= self.places[place].stopped_until + 1;
            let late = if just_woken { self.plan.dice.between(0, 30) } else { 0 };
            self.turn(at, due + late);
        }
        self.follow_up(at);
        if self.now >= self.plan.calm + AT_ONE && is_turn {
            self.is_at_one();
        }
    }

    /// The next turn of a node's thread that speaks with others.
    fn turn(&mut self, at: At, due: u64) {
        self.places[at.0].turn = due;
        self.at(due, Happens::ToNode(at, ToNode::Turn));
    }

    /// What a node wants done.
    fn follow_up(&mut self, at: At) {
        loop {
            let Some(node) = &mut self.places[at.0].node else { return };
            let outs = std::mem::take(&mut node.outs);
            if outs.is_empty() {
                return;
            }
            for out in outs {
                self.carry_out(at, out);
            }
        }
    }

    fn carry_out(&mut self, at: At, out: Out) {
        match out {
            Out::Datagram(to, stamp, payload) => self.post(at.0, place_of(to), stamp, payload),
            Out::Order(way, order) => {
                // A channel keeps the order; two of them do not.
                let due = self.now + self.plan.dice.between(0, 5);
                let last = self.ways.entry((at, way)).or_default();
                *last = due.max(*last);
                let due = *last;
                self.at(due, Happens::ToNode(at, ToNode::Order(order)));
            }
            Out::Job(job, leads) => self.job(at, job, leads),
            Out::Answer(who, status) => {
                let delay = self.delay();
                self.after(delay, Happens::Answer(who, status, self.now));
            }
            Out::Relay(serial, id, to, link) => self.relay(at, (serial, id), to, link),
            Out::RelayAnswer((to, life, serial), status) => {
                if self.is_joined(at.0, to) {
                    let delay = self.delay();
                    let answer = ToNode::RelayAnswered(serial, status);
                    self.after(delay, Happens::ToNode((to, life), answer));
                }
            }
            Out::Close(to, link) => {
                let to = place_of(to);
                let life = self.places[to].lives;
                let delay = self.delay();
                let close = ToNode::Close(Way::Node(link));
                self.after(delay, Happens::ToNode((to, life), close));
            }
            Out::Violation(violation) => drop(self.violation.get_or_insert(violation)),
        }
    }

    fn post(&mut self, from: usize, to: usize, stamp: Stamp, payload: Vec<u8>) {
        let copies = if self.plan.dice.chance(2) { 2 } else { 1 };
        for _ in 0..copies {
            let is_lost = self.plan.dice.chance(self.lost_percent);
            let late = self.plan.dice.one_of(&[1, 1, 1, 2, 5, 5, 20, 60]);
            if is_traced() && std::env::var("CLUSTER_MAIL").is_ok() && payload[0] == 0 {
                println!(
                    "{}: mail {from} -> {to} lost {is_lost} late {late} {payload:?}",
                    self.now
                );
            }
            if !is_lost && !self.cuts.contains(&(from, to)) {
                let at = (to, self.places[to].lives);
                let datagram = ToNode::Datagram(stamp, payload.clone());
                self.after(late, Happens::ToNode(at, datagram));
            }
        }
    }

    /// A request goes to the endpoint: nobody else may lead.
    fn job(&mut self, at: At, job: u64, leads: bool) {
        if !leads {
            let violation = format!("P1: node {} sends and may not lead", at.0);
            self.violation.get_or_insert(violation);
        }
        let Some(push) = self.places[at.0].node.as_ref().and_then(|it| it.passages.push_of(job))
        else {
            return;
        };
        if is_traced() {
            let points: Vec<_> = read(&push).iter().map(|it| (it.series, it.at)).collect();
            println!("{}: node {} sends job {job} {points:?}", self.now, at.0);
        }
        if let Some(other) = self.other_leader(at.0) {
            match self.plan.promise {
                Promise::None => self.cost.doubled += read(&push).len(),
                Promise::All | Promise::Pair => {
                    let violation = format!("P1: node {} sends and {other} leads too", at.0);
                    self.violation.get_or_insert(violation);
                }
            }
        }
        // What has left a machine late arrives late: that is what the margin of a lease is for.
        let way = self.plan.dice.between(1, 30);
        self.after(way, Happens::Reach(at, job, push));
        let late = ToNode::Returned(job, Outcome::Doubtful);
        self.after(REMOTE_TIMEOUT, Happens::ToNode(at, late));
    }

    fn other_leader(&mut self, place: usize) -> Option<usize> {
        let now = self.now;
        let mut others = self.places.iter_mut().filter_map(|place| place.node.as_mut());
        others.find_map(|node| {
            node.world = now;
            (node.place != place && node.leads()).then_some(node.place)
        })
    }

    /// Whether two nodes can speak with each other over a connection.
    fn is_joined(&self, one: usize, other: usize) -> bool {
        !self.cuts.contains(&(one, other)) && !self.cuts.contains(&(other, one))
    }

    fn relay(&mut self, at: At, (serial, id): (u64, u64), to: SocketAddr, link: Link) {
        let to = place_of(to);
        let came = self.places[at.0].node.as_ref().and_then(|node| node.passages.came(id).cloned());
        let Some(came) = came else { return };
        let late = ToNode::RelayFailed(serial);
        self.after(REMOTE_TIMEOUT, Happens::ToNode(at, late.clone()));
        let it = &self.places[to];
        let (is_there, has_vanished, life) = (it.node.is_some(), it.has_vanished, it.lives);
        let delay = self.delay();
        if is_there && self.is_joined(at.0, to) {
            let relayed = (at.0, at.1, serial);
            self.relaying.insert(relayed, to);
            let source = (came.replica, came.weight);
            let (way, origin) = (Way::Node(link), Origin::Relayed(relayed));
            let request = ToNode::Request(way, origin, source, came.push);
            self.after(delay, Happens::ToNode((to, life), request));
        } else if !has_vanished && self.is_joined(at.0, to) {
            self.after(delay, Happens::ToNode(at, late));
        }
    }

    /// One leader, and everybody says so.
    fn is_at_one(&mut self) {
        let now = self.now;
        let nodes = self.places.iter_mut().filter_map(|place| place.node.as_mut());
        nodes.for_each(|node| node.world = now);
        let leaders: Vec<usize> =
            self.nodes().filter(|node| node.leads()).map(|node| node.place).collect();
        let said: Vec<(usize, Lead)> = self
            .nodes()
            .filter(|node| node.seats.all().contains_key(&group()))
            .map(|node| (node.place, node.member.lead(&group())))
            .collect();
        let is_said = |(place, lead): &(usize, Lead)| match lead {
            Lead::Us => leaders == [*place],
            Lead::At(at) => leaders.iter().all(|leader| *at == listen(*leader)),
            Lead::Nobody => false,
        };
        if leaders.len() != 1 || !said.iter().all(is_said) {
            let violation = format!("not at one: {leaders:?} lead, and they say {said:?}");
            self.violation.get_or_insert(violation);
        }
    }

    // The sources.

    fn replica_of(&self, queue: usize) -> usize {
        queue / self.per_replica
    }

    fn queues_of(&self, replica: usize) -> std::ops::Range<usize> {
        replica * self.per_replica..(replica + 1) * self.per_replica
    }

    fn scrape_all(&mut self, replica: usize, life: u64, first: u64) {
        let count = self.plan.series.len() as u64;
        for series in 0..self.plan.series.len() {
            let offset = (series as u64 * self.plan.interval) / count;
            self.at(first + offset, Happens::Scrape(replica, life, series));
        }
    }

    fn scrape(&mut self, replica: usize, life: u64, series: usize) {
        let queues = self.queues_of(replica);
        if self.queues[queues.start].life != life {
            return;
        }
        self.after(self.plan.interval, Happens::Scrape(replica, life, series));
        if !self.queues[queues.start].is_running() {
            return;
        }
        let point = Point { series, at: stamp(self.now, replica), is_stale: false };
        for queue in queues {
            let shard = self.queues[queue].scrape(point);
            let delay = self.plan.dice.between(0, self.plan.sources[replica].batch_wait);
            self.after(delay, Happens::Send(queue, shard, life));
        }
    }

    fn send(&mut self, queue: usize, shard: usize, life: u64) {
        let source = &mut self.queues[queue];
        if source.life != life || !source.is_running() || source.cut {
            return;
        }
        if source.shards[shard].awaited.is_some() {
            return;
        }
        let Some(push) = source.load(shard).map(|batch| batch.push.clone()) else { return };
        self.tickets += 1;
        source.shards[shard].awaited = Some(self.tickets);
        let ticket = self.tickets;
        let late = self.now + SENDER_TIMEOUT;
        self.at(late, Happens::Answer((queue, shard, ticket), 504, late));
        let delay = self.delay();
        let Some(place) = self.connect(queue, shard) else {
            return self.after(delay, Happens::Answer((queue, shard, ticket), 502, self.now));
        };
        let it = &self.places[place];
        let at = (place, it.lives);
        let replica = self.replica_of(queue);
        if it.node.is_some() {
            let origin = Origin::Direct((queue, shard, ticket));
            let source = (replica, self.plan.sources[replica].weight);
            let request = ToNode::Request(Way::Direct(queue, shard), origin, source, push);
            self.after(delay, Happens::ToNode(at, request));
        } else if !it.has_vanished {
            self.after(delay, Happens::Answer((queue, shard, ticket), 502, self.now));
        }
    }

    /// The node to which a shard speaks: its own, or the one that a balancer finds.
    fn connect(&mut self, queue: usize, shard: usize) -> Option<usize> {
        let known = self.conns.get(&(queue, shard)).copied();
        let stays = match self.plan.mode {
            Mode::Mirror => true,
            Mode::Relay => self.plan.dice.chance(90),
        };
        if let Some(at) = known.filter(|at| stays && self.is_running(*at)) {
            return Some(at.0);
        }
        let place = match self.plan.mode {
            Mode::Mirror => queue % self.plan.nodes,
            Mode::Relay => {
                let seems_well = |place: &Place| {
                    let stands = self.now < place.stopped_until;
                    place.node.is_some() && !(stands && self.now > place.stopped_at + CHECKED)
                };
                let all = self.places.iter().enumerate().filter(|(_, place)| seems_well(place));
                let all: Vec<usize> = all.map(|(number, _)| number).collect();
                if all.is_empty() {
                    return None;
                }
                self.plan.dice.one_of(&all)
            }
        };
        let at = (place, self.places[place].lives);
        self.conns.insert((queue, shard), at);
        if let Some(before) = known.filter(|before| *before != at) {
            let close = ToNode::Close(Way::Direct(queue, shard));
            self.after(1, Happens::ToNode(before, close));
        }
        Some(place)
    }

    fn send_all(&mut self, replica: usize) {
        for queue in self.queues_of(replica) {
            let life = self.queues[queue].life;
            for shard in 0..self.queues[queue].shards.len() {
                self.after(1, Happens::Send(queue, shard, life));
            }
        }
    }

    fn answer(&mut self, who: Who, status: u16, decided: u64) {
        let (queue, shard, ticket) = who;
        let source = &mut self.queues[queue];
        let life = source.life;
        let awaited = source.shards.get(shard).and_then(|shard| shard.awaited);
        if !source.alive || awaited != Some(ticket) {
            return;
        }
        if source.frozen {
            // It lies in the socket until the source goes on.
            return self.after(200, Happens::Answer(who, status, decided));
        }
        let shard_of = &mut source.shards[shard];
        shard_of.awaited = None;
        if is_traced() && status >= 300 {
            println!("{}: queue {queue} shard {shard} is told {status}", self.now);
        }
        if status < 500 {
            let batch = shard_of.out.take().expect("it was sent");
            shard_of.backoff = 0;
            if status < 300 {
                let points = batch.points.into_iter();
                self.acknowledged.extend(points.map(|point| Acknowledged { point, decided }));
            }
            self.after(0, Happens::Send(queue, shard, life));
        } else {
            shard_of.backoff = (shard_of.backoff * 2).clamp(30, 5000);
            let delay = shard_of.backoff;
            self.after(delay, Happens::Send(queue, shard, life));
            if matches!(status, 502 | 504) {
                // It connects anew.
                if let Some(at) = self.conns.remove(&(queue, shard)) {
                    let close = ToNode::Close(Way::Direct(queue, shard));
                    self.after(1, Happens::ToNode(at, close));
                }
            }
        }
    }

    // The endpoint.

    fn reach(&mut self, at: At, job: u64, push: &Push) {
        let mood = self.endpoint.mood;
        let changes_max = self.changes_max();
        if matches!(mood, Mood::Well | Mood::Mute | Mood::Slow)
            && let Err(violation) = self.endpoint.store(push, self.now, changes_max)
        {
            self.on_disorder(at.0, push, violation);
        }
        let (outcome, delay) = match mood {
            Mood::Well => (Outcome::Acknowledged, self.delay()),
            Mood::Slow => (Outcome::Acknowledged, self.plan.dice.between(300, 2500)),
            Mood::Failing => (Outcome::Doubtful, self.delay()),
            Mood::Rejecting => (Outcome::Rejected, self.delay()),
            Mood::Mute | Mood::Gone => return,
        };
        self.after(delay, Happens::ToNode(at, ToNode::Returned(job, outcome)));
    }

    /// Something came after what is newer. When a source and the leader die at once, it may be that
    /// the newer had come to the dead leader only: nobody else can know of it.
    fn on_disorder(&mut self, place: usize, push: &Push, violation: String) {
        let is_allowed = match self.plan.promise {
            Promise::All => false,
            Promise::None => true,
            Promise::Pair => read(push).iter().all(|point| {
                let stored = self.endpoint.series.get(&point.series);
                let newer = stored.iter().flat_map(|series| &series.stored);
                newer.filter(|stored| stored.at > point.at).all(|stored| {
                    Some(stored.replica()) == self.victim
                        && !self.come[place].contains(&(point.series, stored.at))
                })
            }),
        };
        match is_allowed {
            true => self.cost.disordered += 1,
            false => drop(self.violation.get_or_insert(violation)),
        }
    }

    // The faults.

    fn fault(&mut self, fault: Fault) {
        if is_traced() {
            println!("{}: {fault:?}", self.now);
        }
        match fault {
            Fault::Kill(place) => self.kill(place),
            Fault::Vanish(place) => {
                self.bury(place);
                self.places[place].has_vanished = true;
            }
            Fault::Start(place) => self.start(place),
            Fault::Stop(place, until) => {
                self.places[place].stopped_until = until;
                self.places[place].stopped_at = self.now;
            }
            Fault::Cut(from, to) => drop(self.cuts.insert((from, to))),
            Fault::Mend => self.mend(),
            Fault::Lose(percent) => self.lost_percent = percent,
            Fault::Crash(replica, queue) => self.crash(replica, queue),
            Fault::Restart(replica) => self.restart(replica),
            Fault::Freeze(replica) => {
                self.leave(replica);
                self.queues_of(replica).for_each(|queue| self.queues[queue].frozen = true);
            }
            Fault::Thaw(replica) => {
                self.come_back(replica);
                self.queues_of(replica).for_each(|queue| self.queues[queue].frozen = false);
                self.send_all(replica);
            }
            Fault::Isolate(replica) => {
                self.leave(replica);
                self.queues_of(replica).for_each(|queue| self.queues[queue].cut());
            }
            Fault::Reach(replica) => {
                self.come_back(replica);
                self.queues_of(replica).for_each(|queue| self.queues[queue].cut = false);
                self.send_all(replica);
            }
            Fault::Endpoint(mood) => self.endpoint.mood = mood,
            Fault::KillBoth => {
                let leader = self.nodes().find(|node| node.leads());
                let both = leader.and_then(|node| Some((node.place, sitting(node)?)));
                let Some((place, replica)) = both else { return };
                self.victim = Some(replica);
                self.kill(place);
                self.crash(replica, Queue::Lost);
            }
        }
    }

    /// A process is gone: whoever holds a connection to it notices.
    fn kill(&mut self, place: usize) {
        let at = (place, self.places[place].lives);
        self.bury(place);
        let spoken: Vec<_> = self.conns.iter().filter(|it| *it.1 == at).map(|it| *it.0).collect();
        for (queue, shard) in spoken {
            let awaited = self.queues[queue].shards.get(shard).and_then(|it| it.awaited);
            if let Some(ticket) = awaited {
                let delay = self.delay();
                self.after(delay, Happens::Answer((queue, shard, ticket), 502, self.now));
            }
        }
        let relayed: Vec<_> = self.relaying.iter().filter(|it| *it.1 == place).collect();
        let relayed: Vec<Relayed> = relayed.into_iter().map(|it| *it.0).collect();
        for (from, life, serial) in relayed {
            let delay = self.delay();
            let failed = ToNode::RelayFailed(serial);
            self.after(delay, Happens::ToNode((from, life), failed));
        }
        for other in 0..self.plan.nodes {
            let to = (other, self.places[other].lives);
            self.after(5, Happens::ToNode(to, ToNode::CloseAll(at)));
        }
    }

    fn bury(&mut self, place: usize) {
        if let Some(node) = self.places[place].node.take() {
            self.changes_before += node.changes_max;
            self.changed = self.changed.max(node.changed);
            self.come[place].clear();
        }
    }

    fn mend(&mut self) {
        self.cuts.clear();
        for place in 0..self.plan.nodes {
            if self.places[place].node.is_none() {
                self.start(place);
            }
        }
        for replica in 0..self.plan.sources.len() {
            if !self.queues[replica * self.per_replica].alive {
                self.restart(replica);
            }
        }
    }

    fn crash(&mut self, replica: usize, queue: Queue) {
        self.leave(replica);
        for number in self.queues_of(replica) {
            self.queues[number].crash(queue);
            let shards = self.queues[number].shards.len();
            for shard in 0..shards {
                if let Some(at) = self.conns.remove(&(number, shard)) {
                    let close = ToNode::Close(Way::Direct(number, shard));
                    self.after(5, Happens::ToNode(at, close));
                }
            }
        }
    }

    fn restart(&mut self, replica: usize) {
        self.come_back(replica);
        for queue in self.queues_of(replica) {
            self.queues[queue].alive = true;
        }
        let life = self.queues[replica * self.per_replica].life;
        let delay = self.plan.dice.between(0, self.plan.interval - 1);
        self.scrape_all(replica, life, self.now + delay);
        self.send_all(replica);
    }

    fn leave(&mut self, replica: usize) {
        self.absent[replica].push((self.now, u64::MAX));
    }

    fn come_back(&mut self, replica: usize) {
        if let Some((_, to)) = self.absent[replica].last_mut() {
            *to = self.now;
        }
    }
}

/// Who sits in the seat, as a node sees it.
fn sitting(node: &Node) -> Option<usize> {
    let seats = node.seats.all();
    let seat = seats.get(&group())?;
    match seat.name(seat.view().promoted?.source)? {
        SourceName::Named(name) => Some(usize::from(name[0] - b'a')),
        SourceName::Address(..) | SourceName::Connection(..) => None,
    }
}
