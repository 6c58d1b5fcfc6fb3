//! Time, the network between the parts, and what is done to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::check::{self, Acknowledged};
use crate::endpoint::{Endpoint, Mood};
use crate::message::Then;
use crate::plan::{Fault, Plan, SLOW_MAX};
use crate::proxy::Proxy;
use crate::sender::{Point, Replica, stamp};
use highlander::logic::ask::Outcome;
use highlander::wire::remote_write::push::Push;

#[derive(Clone, Debug)]
pub enum Happens {
    /// Replica, life, series.
    Scrape(usize, u64, usize),
    /// A scrape is over: replica, life, sample.
    Scraped(usize, u64, Point),
    Metadata(usize),
    Send(usize, usize, u64),
    /// A request of a source reaches its core.
    Arrive(usize, usize, u64, Push),
    /// Replica, shard, ticket, status, and when it was decided.
    Answer(usize, usize, u64, u16, u64),
    /// A request of the proxy reaches the endpoint.
    Reach(u64),
    /// The endpoint's answer reaches the proxy.
    Returned(u64, Outcome),
    Proxy(Then),
    Beat,
    Fault(usize),
}

pub struct World {
    pub plan: Plan,
    pub now: u64,
    happens: BinaryHeap<Reverse<(u64, u64, usize)>>,
    what: Vec<Option<Happens>>,
    order: u64,
    tickets: u64,
    replicas: Vec<Replica>,
    proxy: Proxy,
    endpoint: Endpoint,
    acknowledged: Vec<Acknowledged>,
    /// When each replica did not run, or did not reach the proxy.
    absent: Vec<Vec<(u64, u64)>>,
    violation: Option<String>,
    /// When the last message of each channel arrives.
    ways: BTreeMap<usize, u64>,
}

/// How long a sender waits for an answer, and the proxy for the endpoint's.
const SENDER_TIMEOUT: u64 = 30_000;
const REMOTE_TIMEOUT: u64 = 3_000;

/// Whether a run is told step by step.
pub fn is_traced() -> bool {
    static TRACED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TRACED.get_or_init(|| std::env::var("SIM_TRACE").is_ok())
}

impl World {
    pub fn new(plan: Plan) -> World {
        World {
            now: 0,
            happens: BinaryHeap::new(),
            what: Vec::new(),
            order: 0,
            tickets: 0,
            replicas: plan.sources.iter().map(Replica::new).collect(),
            proxy: Proxy::new(&plan),
            endpoint: Endpoint::new(),
            acknowledged: Vec::new(),
            absent: plan.sources.iter().map(|source| absent_at_first(source.joins)).collect(),
            violation: None,
            ways: BTreeMap::new(),
            plan,
        }
    }

    pub fn run(&mut self) -> Result<(), String> {
        for replica in 0..self.replicas.len() {
            let source = self.plan.sources[replica].clone();
            self.scrape_all(replica, 0, 1000 + source.phase, 0);
            self.at(5000 + source.phase, Happens::Metadata(replica));
            if source.joins > 0 {
                self.plan.faults.push((source.joins, Fault::Mend(replica)));
            }
        }
        for (number, (at, _)) in self.plan.faults.clone().into_iter().enumerate() {
            self.at(at, Happens::Fault(number));
        }
        self.at(100, Happens::Beat);
        while let Some(Reverse((at, _, place))) = self.happens.pop() {
            if at > self.plan.end {
                break;
            }
            self.now = at;
            self.proxy.control.now = at;
            if let Some(happens) = self.what[place].take() {
                self.happen(happens);
            }
            self.follow_up();
            self.look();
            if let Some(violation) = self.violation.take() {
                return Err(format!("at {at} ms: {violation}"));
            }
        }
        let record = check::Record {
            plan: &self.plan,
            endpoint: &self.endpoint,
            acknowledged: &self.acknowledged,
            absent: &self.absent,
            changes_max: self.proxy.changes_max,
            promoted: self.proxy.view.promoted.map(|promoted| promoted.source.0 as usize),
            changed: self.proxy.changed,
            thin: self.proxy.thin.0,
        };
        if is_traced() {
            println!("{:#?}", self.plan);
            record.print();
        }
        record.check_covered()?;
        record.check_whole()
    }

    /// What must be true at every step.
    fn look(&mut self) {
        let (taken, taken_max) = (self.proxy.taken(), self.proxy.taken_max());
        if taken > taken_max {
            let violation = format!("P5: {taken} bytes, {taken_max} allowed");
            self.violation.get_or_insert(violation);
        }
    }

    fn at(&mut self, at: u64, happens: Happens) {
        self.order += 1;
        self.what.push(Some(happens));
        self.happens.push(Reverse((at, self.order, self.what.len() - 1)));
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
            Happens::Scraped(replica, life, point) => self.scraped(replica, life, point),
            Happens::Metadata(replica) => self.metadata(replica),
            Happens::Send(replica, shard, life) => self.send(replica, shard, life),
            Happens::Arrive(replica, shard, ticket, push) => {
                // What a dead source had written is still read.
                self.proxy.on_request((replica, shard, ticket), push, self.now);
            }
            Happens::Answer(replica, shard, ticket, status, decided) => {
                self.answer((replica, shard, ticket), status, decided);
            }
            Happens::Reach(job) => self.reach(job),
            Happens::Returned(job, outcome) => self.proxy.on_returned(job, outcome, self.now),
            Happens::Proxy(then) => self.proxy.on_then(then, self.now),
            Happens::Beat => {
                let reaches: Vec<bool> = self.replicas.iter().map(|r| r.alive && !r.cut).collect();
                self.proxy.on_beat(self.now, &reaches);
                self.after(100, Happens::Beat);
            }
            Happens::Fault(number) => self.fault(self.plan.faults[number].1),
        }
    }

    /// What the proxy wants done.
    fn follow_up(&mut self) {
        for job in std::mem::take(&mut self.proxy.jobs_out) {
            let delay = self.delay();
            self.after(delay, Happens::Reach(job));
            // Whatever the endpoint does, the proxy does not wait for ever.
            self.after(REMOTE_TIMEOUT, Happens::Returned(job, Outcome::Doubtful));
        }
        for ((replica, shard, ticket), status) in std::mem::take(&mut self.proxy.answers_out) {
            let delay = self.delay();
            self.after(delay, Happens::Answer(replica, shard, ticket, status, self.now));
        }
        for then in std::mem::take(&mut self.proxy.thens_out) {
            // A channel keeps the order; two of them do not.
            let way = then.way();
            let at = self.now + self.plan.dice.between(0, 5);
            let last = self.ways.entry(way).or_default();
            *last = at.max(*last);
            let at = *last;
            self.at(at, Happens::Proxy(then));
        }
    }

    /// A Prometheus scrapes its targets one after the other, spread over the interval; after a
    /// restart it needs an interval to have them all.
    fn scrape_all(&mut self, replica: usize, life: u64, first: u64, late: u64) {
        let count = self.plan.series.len() as u64;
        for series in 0..self.plan.series.len() {
            let offset = (series as u64 * self.plan.interval) / count;
            let offset = offset + if series == 0 { late } else { 0 };
            self.at(first + offset, Happens::Scrape(replica, life, series));
        }
    }

    fn scrape(&mut self, replica: usize, life: u64, series: usize) {
        let (now, interval) = (self.now, self.plan.interval);
        if self.replicas[replica].life != life {
            return;
        }
        self.at(now + interval, Happens::Scrape(replica, life, series));
        let (from, to) = self.plan.series[series];
        if !self.replicas[replica].is_running() || now < from {
            return;
        }
        // One that was not there when a series ended does not know of it any more.
        if now >= to.saturating_add(interval) {
            return;
        }
        let is_stale = now >= to;
        let point = Point { series, at: stamp(now, replica), is_stale };
        let is_slow = self.plan.dice.chance(self.plan.sources[replica].slow_percent);
        let longest = SLOW_MAX.min(interval - 1);
        let slow = if is_slow { self.plan.dice.between(longest / 4, longest) } else { 0 };
        let delay = self.plan.sources[replica].lag + slow;
        self.after(delay, Happens::Scraped(replica, life, point));
    }

    fn scraped(&mut self, replica: usize, life: u64, point: Point) {
        let source = &mut self.replicas[replica];
        if source.life != life || !source.is_running() {
            return;
        }
        let shard = source.scrape(point);
        let delay = self.plan.dice.between(0, self.plan.sources[replica].batch_wait);
        self.after(delay, Happens::Send(replica, shard, life));
    }

    fn metadata(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        self.replicas[replica].shards[0].owes_metadata = true;
        self.after(1, Happens::Send(replica, 0, life));
        self.after(20_000, Happens::Metadata(replica));
    }

    fn send(&mut self, replica: usize, shard: usize, life: u64) {
        let source = &mut self.replicas[replica];
        if source.life != life || !source.is_running() || shard >= source.shards.len() {
            return;
        }
        if source.shards[shard].awaited.is_some() {
            return;
        }
        let Some(push) = source.load(shard).map(|batch| batch.push.clone()) else { return };
        if source.cut {
            return;
        }
        self.tickets += 1;
        source.shards[shard].awaited = Some(self.tickets);
        let (ticket, delay) = (self.tickets, self.delay());
        self.after(delay, Happens::Arrive(replica, shard, ticket, push));
        let late = self.now + SENDER_TIMEOUT;
        self.at(late, Happens::Answer(replica, shard, ticket, 504, late));
    }

    fn send_all(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        for shard in 0..self.replicas[replica].shards.len() {
            self.after(1, Happens::Send(replica, shard, life));
        }
    }

    fn answer(&mut self, who: (usize, usize, u64), status: u16, decided: u64) {
        let (replica, shard, ticket) = who;
        let source = &mut self.replicas[replica];
        let life = source.life;
        let awaited = source.shards.get(shard).and_then(|shard| shard.awaited);
        if !source.alive || awaited != Some(ticket) {
            return;
        }
        if source.frozen {
            // It lies in the socket until the source goes on.
            return self.after(200, Happens::Answer(replica, shard, ticket, status, decided));
        }
        let (points, delay) = source.shards[shard].on_answer(status);
        let points = points.into_iter();
        self.acknowledged.extend(points.map(|point| Acknowledged { point, decided }));
        self.after(delay, Happens::Send(replica, shard, life));
    }

    fn reach(&mut self, job: u64) {
        let Some(push) = self.proxy.push_of(job) else { return };
        let mood = self.endpoint.mood;
        if is_traced() {
            println!("{}: job {job} {mood:?} {}", self.now, self.proxy.describe(job));
        }
        if matches!(mood, Mood::Well | Mood::Mute | Mood::Slow) {
            let (changes_max, given_up) = (self.proxy.changes_max, self.given_up(job));
            let stored = self.endpoint.store(&push, self.now, changes_max, given_up);
            self.violation = stored.err();
        }
        if mood == Mood::Rejecting {
            self.endpoint.reject(&push);
        }
        let (outcome, delay) = match mood {
            Mood::Well => (Outcome::Acknowledged, self.delay()),
            Mood::Slow => (Outcome::Acknowledged, self.plan.dice.between(300, 2500)),
            Mood::Failing => (Outcome::Doubtful, self.delay()),
            Mood::Rejecting => (Outcome::Rejected, self.delay()),
            Mood::Mute | Mood::Gone => return,
        };
        self.after(delay, Happens::Returned(job, outcome));
    }

    /// The replica that has sent this live request and does not wait for it any more: with other shards
    /// it sends the same at once, and which of the two comes first is nobody's choice.
    fn given_up(&self, job: u64) -> Option<usize> {
        let (replica, shard, ticket) = self.proxy.who_of(job)?;
        let awaited = self.replicas[replica].shards.get(shard).and_then(|shard| shard.awaited);
        (awaited != Some(ticket)).then_some(replica)
    }

    fn fault(&mut self, fault: Fault) {
        if is_traced() {
            println!("{}: {fault:?}", self.now);
        }
        match fault {
            Fault::Crash(replica, queue) => {
                self.leave(replica);
                self.replicas[replica].crash(queue);
            }
            Fault::Restart(replica) => {
                self.come_back(replica);
                let source = &mut self.replicas[replica];
                source.alive = true;
                let life = source.life;
                let delay = self.plan.dice.between(0, self.plan.interval - 1);
                let late = self.plan.sources[replica].late;
                self.scrape_all(replica, life, self.now + delay, late);
                self.send_all(replica);
            }
            Fault::Freeze(replica) => {
                self.leave(replica);
                self.replicas[replica].frozen = true;
            }
            Fault::Thaw(replica) => {
                self.come_back(replica);
                self.replicas[replica].frozen = false;
                self.send_all(replica);
            }
            Fault::Cut(replica) => {
                self.leave(replica);
                self.replicas[replica].cut();
            }
            Fault::Mend(replica) => {
                self.come_back(replica);
                self.replicas[replica].cut = false;
                self.send_all(replica);
            }
            Fault::Reshard(replica, shards) => {
                self.replicas[replica].reshard(shards);
                self.send_all(replica);
            }
            Fault::Weigh(replica, weight) => self.proxy.traces[replica].weight = weight,
            Fault::Want(replica, grip) => self.proxy.on_wish(replica, grip, self.now),
            Fault::Endpoint(mood) => self.endpoint.mood = mood,
        }
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

fn absent_at_first(joins: u64) -> Vec<(u64, u64)> {
    if joins > 0 { vec![(0, u64::MAX)] } else { Vec::new() }
}
