//! What the cluster's thread knows of the nodes, for whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

/// The nodes of the cluster, as this one sees them.
#[derive(Debug, Default)]
pub struct Nodes {
    settled: AtomicBool,
    others: ArcSwap<Vec<SocketAddr>>,
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
