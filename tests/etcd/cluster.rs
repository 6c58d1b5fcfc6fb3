//! Two nodes of a cluster that take their leases from an etcd: which of them lets a source through.

use std::net::{SocketAddr as Address, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use highlander::base::limits::{CLAIM_PATIENCE, LEASE_TTL};
use highlander::base::time::Millis;
use highlander::io::clock::Clock;
use highlander::io::etcd::Etcd;
use highlander::io::leases::Leases;
use highlander::io::log::{Format, Level, Log};
use highlander::logic::cluster::member::{LeaseKind, Member, Setting};
use highlander::logic::cluster::node::Node as Identity;
use highlander::logic::cluster::standing::GroupKey;
use highlander::logic::source::GroupName;
use highlander::shared::metrics::Counter;
use highlander::wire::cluster::etcd::Key;

use crate::node::{Node, config};
use crate::relay::Relay;
use crate::server::Server;
use crate::support::{Endpoint, Proxy, push};

/// Two nodes; each reaches the etcd by a relay of its own, which can be cut.
struct Two {
    endpoint: Endpoint,
    nodes: Vec<Proxy>,
    relays: Vec<Relay>,
}

impl Two {
    fn start(server: &Server) -> Two {
        let endpoint = Endpoint::storage();
        let bind = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let sockets = [bind(), bind()];
        let addresses: Vec<String> = sockets
            .iter()
            .map(|socket| socket.local_addr().expect("a bound socket").to_string())
            .collect();
        drop(sockets);
        let relays: Vec<Relay> = (0..2).map(|_| Relay::start(&server.host())).collect();
        let nodes = addresses.iter().zip(&relays).map(|(address, relay)| {
            Proxy::with("epoll", endpoint.address, |cli| {
                cli.cores = Some("1".into());
                cli.cluster_bind = Some(address.clone());
                cli.cluster_connect = Some(addresses.join(","));
                cli.cluster_lease = Some(format!("etcd://{}", relay.host()));
                cli.log_level = Some("info".into());
            })
        });
        let nodes = nodes.collect();
        Two { endpoint, nodes, relays }
    }

    /// Pushes to a node until it takes it.
    fn await_taken(&self, node: usize, wait_max: Duration) -> Duration {
        let start = Instant::now();
        while self.nodes[node].connect().ask(&push(1, b"x")).status != 204 {
            assert!(start.elapsed() < wait_max, "node {node} takes nothing");
            sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }

    fn relayed(&self, node: usize) -> u64 {
        self.nodes[node].running.count(Counter::Relayed)
    }

    fn forwarded(&self, node: usize) -> u64 {
        self.nodes[node].running.count(Counter::Forwarded)
    }

    /// Who leads: pushed to directly, it forwards.
    fn leader(&self) -> usize {
        let before = [self.forwarded(0), self.forwarded(1)];
        self.await_taken(0, Duration::from_secs(20));
        (0..2).find(|node| self.forwarded(*node) > before[*node]).expect("one of them forwards")
    }
}

const WAIT: Duration = Duration::from_secs(20);

#[test]
fn a_leader_that_is_cut_off_from_the_etcd_gives_the_lead_to_the_other() {
    let server = Server::start("cluster-cut");
    let two = Two::start(&server);
    let leader = two.leader();
    let other = 1 - leader;
    two.await_taken(other, WAIT);
    assert!(two.relayed(other) > 0, "it relays");
    two.relays[leader].cut();
    let before = two.forwarded(leader);
    sleep(Duration::from(LEASE_TTL) + Duration::from(CLAIM_PATIENCE));
    let alone = two.forwarded(other);
    two.await_taken(other, WAIT);
    assert!(two.forwarded(other) > alone, "it leads now");
    let after = two.forwarded(leader);
    assert_eq!(after, before, "what it has no lease for it does not send");
    two.await_taken(leader, WAIT);
    assert!(two.relayed(leader) > 0, "and it relays to the new one");
}

#[test]
fn without_an_etcd_nobody_leads_and_nothing_is_sent() {
    let mut server = Server::start("cluster-dead");
    let two = Two::start(&server);
    two.leader();
    two.await_taken(0, WAIT);
    two.await_taken(1, WAIT);
    server.kill();
    sleep(Duration::from(LEASE_TTL));
    let sent = two.endpoint.got().len();
    for node in &two.nodes {
        assert_eq!(node.connect().ask(&push(1, b"x")).status, 503);
    }
    assert_eq!(two.endpoint.got().len(), sent);
    server.start_again();
    two.await_taken(0, WAIT);
    two.await_taken(1, WAIT);
}

#[test]
fn a_leader_that_stops_gives_its_lease_back_at_once() {
    let server = Server::start("cluster-stop");
    let mut two = Two::start(&server);
    let leader = two.leader();
    two.await_taken(1 - leader, WAIT);
    let stopped = two.nodes.remove(leader);
    stopped.running.stop();
    let waited = two.await_taken(0, WAIT);
    assert!(waited < Duration::from(LEASE_TTL), "{waited:?}");
}

/// Long enough for the other to try for the key meanwhile, and not for a lease to end.
const STILL: Millis = Millis(1_200);

#[test]
fn a_node_that_stood_still_does_not_lead_on_a_lease_that_it_has_given_back() {
    let server = Server::start("stood-still");
    let (clock, config) = (Clock::start(), config(&[server.host()]));
    let me = Address::from(([127, 0, 0, 1], 1));
    let setting = Setting {
        me: Identity { address: me, generation: 1 },
        listen: me,
        leases: LeaseKind::Elsewhere,
        settle_max: STILL,
        seed: 1,
    };
    // Somebody is configured who never comes.
    let peers = [Address::from(([127, 0, 0, 1], 2))];
    let mut member = Member::new(setting, &peers, clock.now());
    let group = GroupName::default();
    let log = Log::start(Level::Info, Format::Text).expect("a log thread");
    let etcd = Etcd::start(&config, "cluster", "a", clock, &log).expect("a good configuration");
    let mut leases = Leases::new(etcd);
    let key = Key(GroupKey::of(&group).0);
    member.on_wanted(&group, clock.now());
    let mut turn = |member: &mut Member| {
        sleep(Duration::from_millis(20));
        member.on_time(clock.now());
        leases.exchange(member, clock.now());
        member.led().any(|led| clock.now() < led.until)
    };
    let deadline = Instant::now() + WAIT;
    while !turn(&mut member) {
        assert!(Instant::now() < deadline, "it never leads");
    }
    let mut other = Node::start(&config, "b", clock);
    other.want(&[key]);
    other.wait("the holder", |other| other.knows_holder(key, "a"));
    sleep(STILL.into());
    let mut was_unsettled = false;
    for _ in 0..100 {
        let leads = turn(&mut member);
        was_unsettled |= !member.is_settled();
        other.take_in();
        let is_anothers = other.until(key).is_some_and(|until| clock.now() < until);
        assert!(!(leads && is_anothers), "two lead");
    }
    assert!(was_unsettled && other.until(key).is_some());
    leases.stop();
}
