//! The world around the nodes: time, network, sources, endpoint, faults.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use highlander::io::seating::Mode;
use highlander::logic::ask::Outcome;
use highlander::logic::cluster::group::Lead;
use highlander::logic::source::SourceName;
use highlander::wire::cluster::seal::Stamp;
use highlander::wire::remote_write::push::Push;

use crate::check::{self, Acknowledged};
use crate::endpoint::{Endpoint, read};
use crate::node::{Link, Node, Out, Relayed, Who, group, listen, place_of};
use crate::order::Order;
use crate::passage::{Origin, Way};
use crate::plan::{Fault, Plan, Promise, Wants};
use crate::sender::Replica;

/// To a node: what it belongs to, and in which of its lives.
pub type At = (usize, u64);

#[derive(Clone, Debug)]
pub enum Happens {
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
pub enum ToNode {
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
pub struct Place {
    pub node: Option<Node>,
    pub lives: u64,
    pub stopped_until: u64,
    pub stopped_at: u64,
    /// When the thread that speaks with others has its next turn.
    pub turn: u64,
    /// Nobody is there who could say that nobody is there.
    pub has_vanished: bool,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Samples that reached the endpoint while two nodes led.
    pub doubled: usize,
    /// Requests with samples that came after newer ones of their series, while two nodes led.
    pub disordered: usize,
    /// Runs in which something acknowledged was lost by that.
    pub lossy: usize,
    /// Requests that came after what only the leader could know that had died with its source.
    pub unknowable: usize,
}

pub struct World {
    pub plan: Plan,
    pub now: u64,
    pub happens: BinaryHeap<Reverse<(u64, u64, usize)>>,
    pub what: Vec<Option<Happens>>,
    pub free: Vec<usize>,
    pub order: u64,
    pub tickets: u64,
    pub places: Vec<Place>,
    pub cuts: BTreeSet<(usize, usize)>,
    pub lost_percent: u64,
    /// The queues of all replicas, one after the other.
    pub queues: Vec<Replica>,
    pub per_replica: usize,
    /// To which node each shard of a queue speaks.
    pub conns: BTreeMap<(usize, usize), At>,
    /// The requests that nodes have relayed and wait for: to whom.
    pub relaying: BTreeMap<Relayed, usize>,
    /// The connections between nodes that were taken.
    pub links: BTreeSet<Link>,
    pub endpoint: Endpoint,
    pub acknowledged: Vec<Acknowledged>,
    pub absent: Vec<Vec<(u64, u64)>>,
    pub changes_before: usize,
    pub changed: u64,
    pub ways: BTreeMap<(At, usize), u64>,
    /// What has come to each node of each series before it led.
    pub come: Vec<BTreeSet<(usize, i64)>>,
    /// Who died when its leader did.
    pub victim: Option<usize>,
    /// What makes the next node stand still, and for how long.
    pub armed: Option<(Wants, u64)>,
    pub violation: Option<String>,
    pub cost: Cost,
}

const BEAT: u64 = 100;
/// The longest that a turn waits.
const TURN: u64 = 50;
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
            links: BTreeSet::new(),
            endpoint: Endpoint::new(),
            acknowledged: Vec::new(),
            absent: vec![Vec::new(); plan.sources.len()],
            changes_before: 0,
            changed: 0,
            ways: BTreeMap::new(),
            come: vec![BTreeSet::new(); plan.nodes],
            victim: None,
            armed: None,
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
            changed: self.nodes().map(|node| node.changed).fold(self.changed, u64::max),
            thin: i64::MIN,
        };
        if is_traced() {
            println!("{:#?}", self.plan);
            record.print();
        }
        let mut cost = self.cost;
        match self.plan.promise {
            Promise::All => {
                record.check_covered()?;
                record.check_whole()?;
            }
            Promise::Pair => record.check_covered()?,
            // What the side held that gave way may be what the other one did not send.
            Promise::None => cost.lossy = usize::from(record.check_covered().is_err()),
            Promise::Lead => {}
        }
        Ok(cost)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.places.iter().filter_map(|place| place.node.as_ref())
    }

    pub fn changes_max(&self) -> usize {
        match self.plan.promise {
            Promise::None | Promise::Lead => usize::MAX,
            Promise::All | Promise::Pair => {
                self.changes_before + self.nodes().map(|node| node.changes_max).sum::<usize>()
            }
        }
    }

    pub fn at(&mut self, at: u64, happens: Happens) {
        self.order += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.what.push(None);
            self.what.len() - 1
        });
        self.what[place] = Some(happens);
        self.happens.push(Reverse((at, self.order, place)));
    }

    pub fn after(&mut self, delay: u64, happens: Happens) {
        self.at(self.now + delay, happens);
    }

    pub fn delay(&mut self) -> u64 {
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
            Happens::ToNode(at, what) => self.on_node(at, what),
            Happens::Reach(at, job, push) => self.reach(at, job, &push),
            Happens::Fault(number) => self.fault(self.plan.faults[number].1),
        }
    }

    pub fn start(&mut self, place: usize) {
        let seed = self.plan.dice.next();
        if self.places[place].has_vanished {
            // Its kernel knows nothing of the connections that others still hold, and says so.
            self.reset(place, 2_000);
        }
        let it = &mut self.places[place];
        it.lives += 1;
        (it.has_vanished, it.stopped_until) = (false, 0);
        it.node = Some(Node::new(&self.plan, place, it.lives, self.now, seed));
        let at = (place, it.lives);
        let phase = self.plan.dice.between(1, BEAT);
        self.turn(at, self.now + 1);
        self.after(phase, Happens::ToNode(at, ToNode::Beat));
    }

    pub fn is_running(&self, (place, life): At) -> bool {
        self.places[place].node.as_ref().is_some_and(|node| node.life == life)
    }

    fn on_node(&mut self, at: At, what: ToNode) {
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
            ToNode::Request(_, _, _, push)
                if !self.places[place].node.as_ref().is_some_and(Node::has_lead) =>
            {
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
    pub fn turn(&mut self, at: At, due: u64) {
        self.places[at.0].turn = due;
        self.at(due, Happens::ToNode(at, ToNode::Turn));
    }

    /// What a node wants done.
    pub fn follow_up(&mut self, at: At) {
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
                self.stop_before(at.0, &order);
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

    /// One leader, and everybody says so.
    fn is_at_one(&mut self) {
        let now = self.now;
        let nodes = self.places.iter_mut().filter_map(|place| place.node.as_mut());
        nodes.for_each(|node| node.world = now);
        let leaders: Vec<usize> =
            self.nodes().filter(|node| node.has_lead()).map(|node| node.place).collect();
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
}

/// Who sits in the seat, as a node sees it.
pub fn sitting(node: &Node) -> Option<usize> {
    let seats = node.seats.all();
    let seat = seats.get(&group())?;
    match seat.name(seat.view().promoted?.source)? {
        SourceName::Named(name) => Some(usize::from(name[0] - b'a')),
        SourceName::Address(..) | SourceName::Connection(..) => None,
    }
}
