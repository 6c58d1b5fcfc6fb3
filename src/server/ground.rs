//! What a node of a cluster stands on: its socket, its seal, its peers.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use super::fault::StartError;
use crate::config::Config;
use crate::io::clock::Clock;
use crate::io::etcd::Etcd;
use crate::io::gossip::{self, Gossip};
use crate::io::leases::Leases;
use crate::io::log::Log;
use crate::io::resolver::Addresses;
use crate::io::seating::Seating;
use crate::io::settings::Relaying;
use crate::io::tls::Tls;
use crate::logic::cluster::member::{LeaseKind, Setting};
use crate::logic::cluster::node::Node;
use crate::shared::nodes::Nodes;
use crate::wire::cluster::seal::Seal;

/// What a node of a cluster stands on: its socket, its seal, its peers.
pub struct Ground {
    socket: UdpSocket,
    seal: Seal,
    setting: Setting,
    peers: Vec<(String, u16)>,
    leases: Option<Leases>,
}

/// What this node stands on; `None`: it is alone.
pub fn ground(
    config: &Config,
    listen: &[SocketAddr],
    clock: Clock,
    log: &Log,
) -> Result<Option<Ground>, StartError> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let fault = |error| StartError::Cluster(cluster.bind, error);
    let socket = UdpSocket::bind(cluster.bind).map_err(fault)?;
    let bound = socket.local_addr().map_err(fault)?;
    let mut advertise = cluster.advertise;
    if advertise.port() == 0 {
        advertise.set_port(bound.port());
    }
    // Where it takes requests: at the first address that others reach, or where it is reached for
    // datagrams.
    let is_reached = |at: &&SocketAddr| !at.ip().is_loopback() || advertise.ip().is_loopback();
    let Some(mut at) = listen.iter().find(is_reached).copied() else {
        let why = "the other nodes can't reach any --listen address: all are loopback";
        return Err(fault(io::Error::other(why)));
    };
    if at.ip().is_unspecified() {
        at.set_ip(advertise.ip());
    }
    let generation = u64::try_from(clock.unix_now().0).unwrap_or_default();
    let kind = match (&cluster.etcd, cluster.size) {
        (Some(_), _) => LeaseKind::Elsewhere,
        (None, Some(size)) => LeaseKind::Majority(size),
        (None, None) => LeaseKind::None,
    };
    let etcd = cluster.etcd.as_ref().map(|etcd| {
        Etcd::start(etcd, &cluster.name, &advertise.to_string(), clock, log).map(Leases::new)
    });
    let setting = Setting {
        me: Node { address: advertise, generation },
        listen: at,
        leases: kind,
        settle_max: cluster.settle_max,
        seed: RandomState::new().hash_one(0),
    };
    Ok(Some(Ground {
        socket,
        seal: cluster.seal(),
        setting,
        peers: cluster.peers.clone(),
        leases: etcd.transpose().map_err(StartError::Lease)?,
    }))
}

impl Ground {
    /// Where others reach this node.
    pub fn address(&self) -> SocketAddr {
        self.setting.me.address
    }

    /// How requests go to other nodes.
    pub fn relaying(&self, tls: Option<Tls>) -> Relaying {
        Relaying { seal: self.seal.of_passes(), node: self.setting.me.address, tls }
    }

    /// Begins to speak with them.
    pub fn start(
        self,
        seating: Seating,
        nodes: Arc<Nodes>,
        clock: Clock,
        log: &Log,
    ) -> io::Result<gossip::Running> {
        let peers = self.peers.iter();
        let peers = peers.map(|(host, port)| Addresses::start("peer", host, *port, log));
        let gossip = Gossip {
            socket: self.socket,
            seal: self.seal,
            setting: self.setting,
            peers: peers.collect::<io::Result<_>>()?,
            counters: seating.counters.clone(),
            seating,
            leases: self.leases,
            nodes,
            clock,
            log: log.clone(),
        };
        gossip.start()
    }
}
