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

/// More lives than one process has between two leaders of a group.
const PROCESS_LIVES_MAX: u64 = 1000;

impl Node {
    /// A node of which only the address is known.
    pub fn at(address: SocketAddr) -> Node {
        Node { address, generation: 0 }
    }

    /// The first life of another process after this one.
    pub fn next_process(self) -> Node {
        Node { generation: self.generation.saturating_add(PROCESS_LIVES_MAX), ..self }
    }

    /// Whether this is a later process than `before` at the same address. One that was only taken for
    /// dead is a life or two further; a process is further by the milliseconds that the last one ran.
    pub fn began_after(&self, before: Node) -> bool {
        let lives = self.generation.saturating_sub(before.generation);
        self.address == before.address && lives >= PROCESS_LIVES_MAX
    }
}

impl foca::Identity for Node {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Node> {
        Some(Node { generation: self.generation.saturating_add(1), ..*self })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Node) -> bool {
        self.generation > adversary.generation
    }
}
