//! What goes wrong, and is mended.

use highlander::io::seating::Mode;
use highlander::logic::ask::Verdict;

use crate::node::{Node, Relayed, group};
use crate::order::Order;
use crate::passage::Way;
use crate::plan::{Fault, Promise, Wants};
use crate::sender::Queue;
use crate::world::{Happens, ToNode, World, is_traced, sitting};

impl World {
    pub fn fault(&mut self, fault: Fault) {
        if is_traced() {
            println!("{}: {fault:?}", self.now);
        }
        if let Fault::Kill(place) | Fault::Vanish(place) | Fault::Stop(place, _) = fault {
            self.expect_in_handover(place);
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
            Fault::Revive => self.revive(),
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
            Fault::Reshard(replica, shards) => {
                self.queues_of(replica).for_each(|queue| self.queues[queue].reshard(shards));
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
            Fault::StopBefore(wants, length) => self.armed = Some((wants, length)),
            Fault::GiveAway => {
                let leader = self.nodes().find(|node| node.leads()).map(|node| node.place);
                let node = leader.and_then(|place| self.places[place].node.as_mut());
                node.into_iter().for_each(Node::give_away);
            }
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

    /// By chance the endpoint, or a way to it, was slow just before, and a source was taken for lost: then
    /// the leader goes in a hand-over, and what it has not sent on yet of what was held is held nowhere
    /// else, unless all nodes hold.
    fn expect_in_handover(&mut self, place: usize) {
        let is_under_way = self.places[place].node.as_ref().is_some_and(|node| {
            let seats = node.seats.all();
            node.leads() && seats.get(&group()).is_some_and(|seat| seat.view().closed().is_some())
        });
        if is_under_way && self.plan.mode == Mode::Relay && self.plan.promise == Promise::All {
            self.plan.promise = Promise::Lead;
        }
    }

    /// A node stands still before it does what its conductor has just ordered.
    pub fn stop_before(&mut self, place: usize, order: &Order) {
        let is_wanted = |wants: Wants| match (wants, order) {
            (Wants::SentOn, Order::Send(..)) => true,
            (Wants::LetOut, Order::Tell(_, _, verdict)) => {
                matches!(verdict, Verdict::AsItIs | Verdict::Changed(_))
            }
            _ => false,
        };
        if let Some((_, length)) = self.armed.take_if(|(wants, _)| is_wanted(*wants)) {
            self.fault(Fault::Stop(place, self.now + length));
        }
    }

    /// A process is gone: whoever holds a connection to it notices.
    pub fn kill(&mut self, place: usize) {
        self.bury(place);
        self.reset(place, 15);
    }

    /// All connections to a place are reset.
    pub fn reset(&mut self, place: usize, late_max: u64) {
        let at = (place, self.places[place].lives);
        let spoken: Vec<_> = self.conns.iter().filter(|it| *it.1 == at).map(|it| *it.0).collect();
        for (queue, shard) in spoken {
            let awaited = self.queues[queue].shards.get(shard).and_then(|it| it.awaited);
            if let Some(ticket) = awaited {
                let delay = self.plan.dice.between(1, late_max);
                self.after(delay, Happens::Answer((queue, shard, ticket), 502, self.now));
            }
        }
        let relayed = self.relaying.iter().filter(|it| *it.1 == place).map(|it| *it.0);
        for (from, life, serial) in relayed.collect::<Vec<Relayed>>() {
            let delay = self.plan.dice.between(1, late_max);
            let failed = ToNode::RelayFailed(serial);
            self.after(delay, Happens::ToNode((from, life), failed));
        }
        for other in 0..self.plan.nodes {
            let to = (other, self.places[other].lives);
            self.after(5, Happens::ToNode(to, ToNode::CloseAll(at)));
        }
    }

    pub fn bury(&mut self, place: usize) {
        if let Some(node) = self.places[place].node.take() {
            self.changes_before += node.changes_max;
            self.changed = self.changed.max(node.changed);
            self.come[place].clear();
        }
    }

    pub fn mend(&mut self) {
        self.cuts.clear();
        self.revive();
        for replica in 0..self.plan.sources.len() {
            if !self.queues[replica * self.per_replica].alive {
                self.restart(replica);
            }
        }
    }

    pub fn revive(&mut self) {
        for place in 0..self.plan.nodes {
            if self.places[place].node.is_none() {
                self.start(place);
            }
        }
    }

    pub fn crash(&mut self, replica: usize, queue: Queue) {
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

    pub fn restart(&mut self, replica: usize) {
        self.come_back(replica);
        for queue in self.queues_of(replica) {
            self.queues[queue].alive = true;
        }
        let life = self.queues[replica * self.per_replica].life;
        let delay = self.plan.dice.between(0, self.plan.interval - 1);
        self.scrape_all(replica, life, self.now + delay);
        self.send_all(replica);
    }

    pub fn leave(&mut self, replica: usize) {
        self.absent[replica].push((self.now, u64::MAX));
    }

    pub fn come_back(&mut self, replica: usize) {
        if let Some((_, to)) = self.absent[replica].last_mut() {
            *to = self.now;
        }
    }
}
