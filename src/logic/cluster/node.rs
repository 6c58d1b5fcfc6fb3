//! One node of a cluster, as the others know it.

use std::net::SocketAddr;

/// A node: where it is reached, and which of its lives this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Where its datagrams come from and go to, `--cluster-advertise`.
    pub address: SocketAddr,
    /// Rises with each life: the milliseconds since 1970 when the process began, one more each time it
    /// was taken for dead and came back.
    pub generation: u64,
}

impl Node {
    /// A node of which only the address is known.
    pub fn at(address: SocketAddr) -> Node {
        Node { address, generation: 0 }
    }
}

impl foca::Identity for Node {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Node> {
        Some(Node { generation: self.generation + 1, ..*self })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Node) -> bool {
        self.generation > adversary.generation
    }
}
