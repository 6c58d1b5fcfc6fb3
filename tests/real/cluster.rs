//! Nodes of one cluster before one storage, two replicas that write to them, and what must be true of
//! the storage whatever happens to the nodes.
//!
//! Who gets no answer sends again: where a node ends or is cut off, a sample may be stored twice with
//! the same value. Everything else that the judge knows is a fault here too.

use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use highlander::logic::cluster::standing::GroupKey;
use highlander::logic::source::GroupName;

use crate::judge::{ADDED, Expected, Verdict, Voices};
use crate::pair::{FIRST_PUSH_MAX, HEAVY, LIGHT, SETTLED};
use crate::program::{LOCAL, free_port, fresh_dir};
use crate::prometheus::{Batches, Prometheus, Setup};
use crate::proxy::{Place, Proxy};
use crate::stage::{SERIES, note};
use crate::storage::{Kind, Storage};
use crate::tap::Tap;
use crate::target::{Target, now_ms};

/// How long a group may be without a leader when that has died: it is noticed within two seconds.
pub const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// How long a sender waits at most until it tries again, and then to catch up.
pub const CAUGHT_UP: Duration = Duration::from_secs(10);

const ELECTED: &str = "isLeader changed to ";

/// Where a node is put.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its address.
    pub ip: IpAddr,
    /// What puts it there, see [`Place::by`].
    pub by: Vec<String>,
}

impl Site {
    /// So many on the loopback.
    pub fn local(count: usize) -> Vec<Site> {
        vec![Site { ip: LOCAL, by: Vec::new() }; count]
    }
}

/// A node, and the tap between it and the storage.
pub struct Node {
    pub proxy: Proxy,
    pub tap: Tap,
    peer: SocketAddr,
}

/// A replica, and what is needed to start it again.
struct Source {
    setup: Setup,
    running: Option<Prometheus>,
}

/// A cluster's surroundings, and the cluster.
pub struct Cluster {
    name: &'static str,
    dir: PathBuf,
    target: Target,
    storage: Storage,
    /// Its nodes, by their numbers.
    pub nodes: Vec<Node>,
    sources: Vec<Source>,
    /// When the first source was promoted.
    promoted_ms: i64,
}

impl Cluster {
    /// Starts a node at each site, with these flags more; they reach the storage at `storage_ip`.
    pub fn start(
        name: &'static str,
        sites: &[Site],
        storage_ip: IpAddr,
        flags: &[&str],
    ) -> Cluster {
        Cluster::start_with_key(name, sites, storage_ip, flags, "")
    }

    /// The same, with this in a file `cluster.key` where they run.
    pub fn start_with_key(
        name: &'static str,
        sites: &[Site],
        storage_ip: IpAddr,
        flags: &[&str],
        key: &str,
    ) -> Cluster {
        let dir = fresh_dir(name);
        fs::write(dir.join("cluster.key"), key).expect("a file for the key");
        let target = Target::start(SERIES);
        let storage = Storage::start(&dir, Kind::OldVictoria);
        let stored_at = SocketAddr::new(LOCAL, storage.port());
        let address = |site: &Site| SocketAddr::new(site.ip, free_port());
        let peers: Vec<SocketAddr> = sites.iter().map(address).collect();
        let connect: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
        let node = |(number, (site, peer)): (usize, (&Site, &SocketAddr))| {
            let tap = Tap::start(storage_ip, stored_at);
            let address = SocketAddr::new(site.ip, free_port());
            let args = [
                ["--listen", &address.to_string()],
                ["--remote", &format!("http://{}", tap.address())],
                ["--cluster-bind", &peer.to_string()],
                ["--cluster-connect", &connect.join(",")],
            ];
            let args = args.as_flattened().iter().chain(flags).map(|arg| (*arg).to_owned());
            let (name, args, by) = (format!("node-{number}"), args.collect(), site.by.clone());
            let proxy = Proxy::start_at(Place { dir: dir.clone(), name, address, by, args });
            Node { proxy, tap, peer: *peer }
        };
        let nodes = sites.iter().zip(&peers).enumerate().map(node).collect();
        Cluster { name, dir, target, storage, nodes, sources: Vec::new(), promoted_ms: 0 }
    }

    /// The node that leads the replicas' group first, as long as all live.
    pub fn first(&self) -> usize {
        let group = GroupName { tenant: (*b"").into(), group: (*b"").into() };
        let score = |number: &usize| {
            let peer = self.nodes[*number].peer;
            (GroupKey::of(&group).score(peer), peer)
        };
        (0..self.nodes.len()).max_by_key(score).expect("a node")
    }

    /// Where its nodes take requests.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.proxy.address()).collect()
    }

    /// Where its files are.
    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Starts two replicas, the heavier of which is promoted, each with four shards and writing to all
    /// of its addresses, and lets them run for a while.
    pub fn start_sources(&mut self, writes: [&[SocketAddr]; 2]) {
        self.start_sources_every(1, writes);
        thread::sleep(SETTLED);
        assert!(self.source(LIGHT).has_sent(), "the standby has sent nothing: it proves nothing");
    }

    /// The same with so many seconds between scrapes; returns when both have begun.
    pub fn start_sources_every(&mut self, scrape_seconds: u32, writes: [&[SocketAddr]; 2]) {
        // A node refuses until it knows the others.
        self.await_members();
        let setup = |replica, parameters| Setup {
            shards: 4,
            scrape_seconds,
            batches: Batches::EachScrape,
            ..Setup::new(replica, parameters)
        };
        let heavy = setup(HEAVY, "highlander_weight=50&highlander_source=heavy");
        let mut light = setup(LIGHT, "highlander_source=light");
        let running = Prometheus::start(&self.dir, &heavy, &self.target, writes[0]);
        let deadline = Instant::now() + FIRST_PUSH_MAX + self.scrape(&heavy);
        while self.seats_taken() == 0 {
            assert!(Instant::now() < deadline, "nobody is promoted");
            thread::sleep(Duration::from_millis(10));
        }
        self.promoted_ms = now_ms();
        self.sources.push(Source { setup: heavy, running: Some(running) });
        let running =
            Prometheus::start_apart(&self.dir, &mut light, &[HEAVY], &self.target, writes[1]);
        self.sources.push(Source { setup: light, running: Some(running) });
    }

    fn scrape(&self, setup: &Setup) -> Duration {
        Duration::from_secs(setup.scrape_seconds.into())
    }

    /// A replica that runs.
    pub fn source(&self, replica: u64) -> &Prometheus {
        let source = self.sources.iter().find(|source| source.setup.replica == replica);
        source.and_then(|source| source.running.as_ref()).expect("it runs")
    }

    /// Takes a replica out, to be killed.
    pub fn take_source(&mut self, replica: u64) -> Prometheus {
        let source = self.sources.iter_mut().find(|source| source.setup.replica == replica);
        let replica = source.and_then(|source| source.running.take()).expect("it runs");
        replica.assert_nothing_failed();
        replica
    }

    /// How often the replicas had to send samples again, together.
    pub fn samples_retried(&self) -> f64 {
        let running = self.sources.iter().filter_map(|source| source.running.as_ref());
        running.map(Prometheus::samples_retried).sum()
    }

    /// Waits until every node has heard of every other one.
    pub fn await_members(&self) {
        let deadline = Instant::now() + FIRST_PUSH_MAX;
        let knows = |node: &Node, other: &Node| {
            node.peer == other.peer
                || self.life(node).contains(&format!("node up : '{}'", other.peer))
        };
        while !self.nodes.iter().all(|node| self.nodes.iter().all(|other| knows(node, other))) {
            assert!(Instant::now() < deadline, "the nodes do not hear of each other");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether a node leads, as it says itself.
    pub fn leads(&self, number: usize) -> bool {
        let life = self.life(&self.nodes[number]);
        life.lines()
            .rev()
            .find_map(|line| line.split_once(ELECTED))
            .is_some_and(|it| it.1 == "true")
    }

    /// Waits until one of these nodes leads; which, and how long that took.
    pub fn await_leader(&self, among: &[usize], wait_max: Duration) -> (usize, Duration) {
        let begun = Instant::now();
        loop {
            if let Some(leader) = among.iter().find(|number| self.leads(**number)) {
                return (*leader, begun.elapsed());
            }
            assert!(begun.elapsed() < wait_max, "none of {among:?} leads in {wait_max:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The node that leads, of all.
    pub fn leader(&self) -> usize {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.await_leader(&all, LEADERLESS_MAX).0
    }

    /// All nodes but one.
    pub fn others(&self, number: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|other| *other != number).collect()
    }

    /// How often a node took the lead.
    pub fn leads_taken(&self) -> usize {
        let taken = |node: &Node| node.proxy.log().matches("isLeader changed to true").count();
        self.nodes.iter().map(taken).sum()
    }

    /// How often a source took a seat, at any node.
    pub fn seats_taken(&self) -> usize {
        let taken = |node: &Node| node.proxy.log().matches("new source : '").count();
        self.nodes.iter().map(taken).sum()
    }

    /// What a node has said since it was last started.
    fn life(&self, node: &Node) -> String {
        let log = node.proxy.log();
        log.rsplit("binding address: ").next().unwrap_or_default().to_owned()
    }

    /// Waits until what was scraped by now is stored, and checks that nothing is missing and nothing
    /// overlaps, that what is stored twice is twice the same, that the replicas are content, and that
    /// the lead was taken this often.
    ///
    /// In no series the voice changes more often than the seat: who has it for a moment only may have
    /// nothing to say.
    pub fn assert_whole(&self, leads: usize) {
        self.assert_whole_and(leads, 0);
    }

    /// The same, where in a series the voice may change so much more often.
    pub fn assert_whole_and(&self, leads: usize, more_changes: usize) {
        let to_ms = now_ms();
        thread::sleep(Batches::EachScrape.arrival_max());
        let (stored, resent) = self.storage.samples().once();
        let expected = Expected {
            series: SERIES + ADDED.len(),
            voices: Voices::Changing(self.seats_taken() - 1 + more_changes),
            scrape_ms: self.scrape(&self.sources[0].setup).as_millis() as i64,
            from_ms: self.promoted_ms,
            to_ms,
        };
        let verdict = Verdict::of(&stored, &expected);
        if more_changes > 0 {
            let strict = Voices::Changing(self.seats_taken() - 1);
            let strict = Expected { voices: strict, ..expected.clone() };
            self.note(&format_args!("taken strictly {}", Verdict::of(&stored, &strict)));
        }
        let (retried, seats, leads_taken) =
            (self.samples_retried(), self.seats_taken(), self.leads_taken());
        self.note(&format_args!(
            "{verdict}; stored twice {resent}, sent again {retried}, seats taken {seats}, \
             leads taken {leads_taken}"
        ));
        verdict.assert_whole();
        assert_eq!(self.leads_taken(), leads, "how often the lead was taken");
        for source in &self.sources {
            let Some(replica) = &source.running else { continue };
            replica.assert_nothing_failed();
            let foreign = stored.foreign_to(source.setup.replica, &replica.samples(3600));
            assert_eq!(foreign, 0, "samples that replica {} has not", source.setup.replica);
        }
        for node in &self.nodes {
            node.proxy.assert_handed_over(0);
        }
    }

    /// Says something about this test to whoever watches.
    pub fn note(&self, what: &dyn Display) {
        note(self.name, what);
    }
}
