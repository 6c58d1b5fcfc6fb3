//! What sources do: scrape, send to the node that they are led to, try again.

use highlander::io::seating::Mode;

use crate::check::Acknowledged;
use crate::node::Who;
use crate::passage::{Origin, Way};
use crate::sender::{Point, stamp};
use crate::world::{Happens, Place, ToNode, World, is_traced};

const SENDER_TIMEOUT: u64 = 12_000;
/// After this a balancer sees that a node stands still.
const CHECKED: u64 = 1_000;

impl World {
    pub fn replica_of(&self, queue: usize) -> usize {
        queue / self.per_replica
    }

    pub fn queues_of(&self, replica: usize) -> std::ops::Range<usize> {
        replica * self.per_replica..(replica + 1) * self.per_replica
    }

    pub fn scrape_all(&mut self, replica: usize, life: u64, first: u64) {
        let count = self.plan.series.len() as u64;
        for series in 0..self.plan.series.len() {
            let late = if series == 0 && life > 0 { self.plan.sources[replica].late } else { 0 };
            let offset = (series as u64 * self.plan.interval) / count + late;
            self.at(first + offset, Happens::Scrape(replica, life, series));
        }
    }

    pub fn scrape(&mut self, replica: usize, life: u64, series: usize) {
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

    pub fn send(&mut self, queue: usize, shard: usize, life: u64) {
        let source = &mut self.queues[queue];
        if source.life != life || !source.is_running() || source.cut {
            return;
        }
        if source.shards.get(shard).is_none_or(|shard| shard.awaited.is_some()) {
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
    pub fn connect(&mut self, queue: usize, shard: usize) -> Option<usize> {
        let known = self.conns.get(&(queue, shard)).copied();
        // A balancer keeps a connection where it is, as long as it lasts.
        if let Some(at) = known.filter(|at| self.is_running(*at)) {
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

    pub fn send_all(&mut self, replica: usize) {
        for queue in self.queues_of(replica) {
            let life = self.queues[queue].life;
            for shard in 0..self.queues[queue].shards.len() {
                self.after(1, Happens::Send(queue, shard, life));
            }
        }
    }

    pub fn answer(&mut self, who: Who, status: u16, decided: u64) {
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
        let (points, delay) = source.shards[shard].on_answer(status);
        if is_traced() && status >= 300 {
            println!("{}: queue {queue} shard {shard} is told {status}", self.now);
        }
        let points = points.into_iter();
        self.acknowledged.extend(points.map(|point| Acknowledged { point, decided }));
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
