//! What a node that does not lead sends to the one that does, and what comes back.

use std::net::SocketAddr;

use highlander::logic::view::Fate;
use highlander::wire::http::reply::MISDIRECTED;

use crate::mutation::Mutation;
use crate::node::{Link, Node, Out};
use crate::passage::{Origin, Way};

/// A request that another node has, on this connection.
pub struct Relaying {
    pub id: u64,
    pub to: SocketAddr,
    pub link: Link,
    /// Whether it has not been looked at yet: it is when this comes to nothing.
    pub is_first: bool,
}

impl Node {
    pub fn relay(&mut self, id: u64, to: SocketAddr, is_first: bool) {
        let number = self.number();
        let Some(came) = self.passages.came.get(&id) else { return };
        if matches!(came.origin, Origin::Relayed(_)) {
            self.outs.push(Out::Violation("a relayed request is relayed again".into()));
        }
        let idle = self.passages.idle.entry((came.way(), to)).or_default();
        let link = idle.pop().unwrap_or((self.place, self.life, number));
        let serial = self.number();
        self.passages.relays.insert(serial, Relaying { id, to, link, is_first });
        self.outs.push(Out::Relay(serial, id, to, link));
        if self.mutation == Mutation::AnswerRelayed {
            let came = self.passages.came.get(&id).cloned();
            self.answer(id, 204);
            self.passages.came.extend(came.map(|came| (id, came)));
        }
    }

    /// The other node has answered.
    pub fn on_relay_answered(&mut self, serial: u64, status: u16) {
        let Some(Relaying { id, to, link, is_first }) = self.passages.relays.remove(&serial) else {
            return;
        };
        if let Some(came) = self.passages.came.get(&id) {
            self.passages.idle.entry((came.way(), to)).or_default().push(link);
        }
        match status {
            MISDIRECTED => self.relayed_in_vain(id, is_first),
            _ => self.answer(id, status),
        }
    }

    /// It has not, or it does not lead any more: what was sent to it may or may not be done.
    pub fn on_relay_failed(&mut self, serial: u64) {
        let Some(Relaying { id, to, link, is_first }) = self.passages.relays.remove(&serial) else {
            return;
        };
        self.outs.push(Out::Close(to, link));
        self.relayed_in_vain(id, is_first);
    }

    fn relayed_in_vain(&mut self, id: u64, is_first: bool) {
        let Some(came) = self.passages.came.get(&id) else { return };
        if let (true, Origin::Direct((queue, shard, _))) = (is_first, came.origin) {
            return self.pass(id, Way::Direct(queue, shard), Fate::Park);
        }
        self.park(id);
    }
}
