//! The ways between nodes, and from a node to the endpoint.

use std::net::SocketAddr;

use highlander::base::limits::PARK_MAX;
use highlander::logic::ask::Outcome;
use highlander::wire::cluster::seal::Stamp;
use highlander::wire::remote_write::push::Push;

use crate::endpoint::{Mood, read};
use crate::node::{Link, place_of};
use crate::passage::{Origin, Way};
use crate::plan::{LOST_PERCENT_HEAVY, Leased, Promise};
use crate::world::{At, Happens, ToNode, World, is_traced};

const REMOTE_TIMEOUT: u64 = 3_000;
/// How long a node is waited for that has taken the connection, and one that has not.
const RELAY_TIMEOUT: u64 = 3 * REMOTE_TIMEOUT + PARK_MAX.0;
const CONNECT_TIMEOUT: u64 = 2_000;

impl World {
    pub fn post(&mut self, from: usize, to: usize, stamp: Stamp, payload: Vec<u8>) {
        let copies = if self.plan.dice.chance(2) { 2 } else { 1 };
        for _ in 0..copies {
            let is_lost = self.plan.dice.chance(self.lost_percent);
            let late = self.plan.dice.one_of(&[1, 1, 1, 2, 5, 5, 20, 60]);
            if !is_lost && !self.cuts.contains(&(from, to)) {
                let at = (to, self.places[to].lives);
                let datagram = ToNode::Datagram(stamp, payload.clone());
                self.after(late, Happens::ToNode(at, datagram));
            }
        }
    }

    /// A request goes to the endpoint: nobody else may lead.
    pub fn job(&mut self, at: At, job: u64, leads: bool) {
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
            if self.plan.leased == Leased::Not && self.lost_percent >= LOST_PERCENT_HEAVY {
                // Of so many lost datagrams all of a second may be: that is a cut, for who has no leases.
                self.plan.promise = Promise::None;
            }
            match self.plan.promise {
                Promise::None => self.cost.doubled += read(&push).len(),
                Promise::All | Promise::Pair | Promise::Lead => {
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

    pub fn other_leader(&mut self, place: usize) -> Option<usize> {
        let now = self.now;
        let mut others = self.places.iter_mut().filter_map(|place| place.node.as_mut());
        others.find_map(|node| {
            node.world = now;
            (node.place != place && node.leads()).then_some(node.place)
        })
    }

    /// Whether two nodes can speak with each other over a connection.
    pub fn is_joined(&self, one: usize, other: usize) -> bool {
        !self.cuts.contains(&(one, other)) && !self.cuts.contains(&(other, one))
    }

    pub fn relay(&mut self, at: At, (serial, id): (u64, u64), to: SocketAddr, link: Link) {
        let to = place_of(to);
        let came = self.places[at.0].node.as_ref().and_then(|node| node.passages.came(id).cloned());
        let Some(came) = came else { return };
        let late = ToNode::RelayFailed(serial);
        let is_new = !self.links.contains(&link);
        let timeout = if is_new { CONNECT_TIMEOUT } else { RELAY_TIMEOUT };
        let it = &self.places[to];
        let (is_there, has_vanished, life) = (it.node.is_some(), it.has_vanished, it.lives);
        let delay = self.delay();
        if is_there && self.is_joined(at.0, to) {
            self.links.insert(link);
            self.after(RELAY_TIMEOUT, Happens::ToNode(at, late));
            let relayed = (at.0, at.1, serial);
            self.relaying.insert(relayed, to);
            let source = (came.replica, came.weight);
            let (way, origin) = (Way::Node(link), Origin::Relayed(relayed));
            let request = ToNode::Request(way, origin, source, came.push);
            self.after(delay, Happens::ToNode((to, life), request));
        } else if !has_vanished && self.is_joined(at.0, to) {
            self.after(delay, Happens::ToNode(at, late));
        } else {
            self.after(timeout, Happens::ToNode(at, late));
        }
    }

    pub fn reach(&mut self, at: At, job: u64, push: &Push) {
        let mood = self.endpoint.mood;
        let changes_max = self.changes_max();
        if matches!(mood, Mood::Well | Mood::Mute | Mood::Slow)
            && let Err(violation) = self.endpoint.store(push, self.now, changes_max, None)
        {
            self.on_disorder(at.0, push, violation);
        }
        if mood == Mood::Rejecting {
            self.endpoint.reject(push);
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
    pub fn on_disorder(&mut self, place: usize, push: &Push, violation: String) {
        let is_allowed = match self.plan.promise {
            Promise::All => false,
            Promise::None | Promise::Lead => true,
            Promise::Pair => read(push).iter().all(|point| {
                let stored = self.endpoint.series.get(&point.series);
                let newer = stored.iter().flat_map(|series| &series.stored);
                newer.filter(|stored| stored.at > point.at).all(|stored| {
                    Some(stored.replica()) == self.victim
                        && !self.come[place].contains(&(point.series, stored.at))
                })
            }),
        };
        match (is_allowed, self.plan.promise) {
            (true, Promise::Pair) => self.cost.unknowable += 1,
            (true, _) => self.cost.disordered += 1,
            (false, _) => drop(self.violation.get_or_insert(violation)),
        }
    }
}
