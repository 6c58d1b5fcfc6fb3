//! What the cluster's thread knows of the nodes, for whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;

use crate::base::limits::LEADS_GIVEN_AT_ONCE;
use crate::logic::source::GroupName;

/// The nodes of the cluster, as this one sees them.
#[derive(Debug)]
pub struct Nodes {
    settled: AtomicBool,
    others: ArcSwap<Vec<SocketAddr>>,
    /// Groups that operators want other nodes to lead.
    going: ArrayQueue<GroupName>,
}

impl Default for Nodes {
    fn default() -> Nodes {
        let (settled, others) = Default::default();
        Nodes { settled, others, going: ArrayQueue::new(LEADS_GIVEN_AT_ONCE) }
    }
}

impl Nodes {
    /// Whether this node knows how the groups stand. Until then it takes no requests.
    pub fn is_settled(&self) -> bool {
        // Relaxed: it guards no other data.
        self.settled.load(Ordering::Relaxed)
    }

    /// The others that are there, by where their datagrams come from.
    pub fn others(&self) -> Arc<Vec<SocketAddr>> {
        self.others.load_full()
    }

    /// An operator wants another node to lead this group. False: too many are waiting.
    pub fn want_gone(&self, group: GroupName) -> bool {
        self.going.push(group).is_ok()
    }

    /// The next group that an operator wants another node to lead. For the cluster's thread.
    pub fn next_going(&self) -> Option<GroupName> {
        self.going.pop()
    }

    /// Says how it is now. By the cluster's thread only.
    pub fn publish(&self, settled: bool, others: impl Iterator<Item = SocketAddr>) {
        self.settled.store(settled, Ordering::Relaxed);
        let known = self.others.load();
        let others: Vec<SocketAddr> = others.collect();
        if **known != others {
            self.others.store(Arc::new(others));
        }
    }
}
