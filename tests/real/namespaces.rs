//! Machines of a network, made of network namespaces: one for each node, and one, the hub, for all else.
//!
//! A namespace lives as long as a process in it, and those here end with the test. What is cut is cut
//! without a word, as by a cable that is pulled: what is sent goes to an address that nobody has.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::panic;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cluster::Site;
use crate::program::{Program, fresh_dir};

/// Where the hub is reached, and where a storage in it is, which can be cut off apart from the rest.
pub const STORAGE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 67, 46, 2));
/// Where an etcd in it is, which can be cut off too.
pub const ETCD_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 67, 46, 3));
const HUB_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 67, 46, 1));
/// Nobody's.
const NO_MAC: &str = "02:00:00:00:00:01";

/// A network of machines.
pub struct Network {
    // Kept for their drop, which ends the namespace.
    _hub: Program,
    nodes: Vec<Program>,
}

impl Network {
    /// Makes a network with so many nodes, and does `test` in its hub.
    pub fn within(name: &str, nodes: usize, test: impl FnOnce(&Network) + Send) {
        let dir = fresh_dir(&format!("{name}-network"));
        // Only this thread goes into the hub, and those that it starts.
        let result =
            thread::scope(|scope| scope.spawn(|| test(&Network::make(&dir, nodes))).join());
        if let Err(why) = result {
            panic::resume_unwind(why);
        }
    }

    fn make(dir: &Path, count: usize) -> Network {
        let hub = namespace(dir, "hub");
        let file = File::open(path(&hub)).expect("a namespace of our own");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root: the tests of a network need it");
        ip(&[], "link set lo up");
        ip(&[], "link add hub type bridge");
        for address in [HUB_IP, STORAGE_IP, ETCD_IP] {
            ip(&[], &format!("address add {address}/24 dev hub"));
        }
        ip(&[], "link set hub up");
        let nodes: Vec<Program> =
            (0..count).map(|number| namespace(dir, &format!("node-{number}"))).collect();
        let network = Network { _hub: hub, nodes };
        for (number, node) in network.nodes.iter().enumerate() {
            let id = node.id();
            ip(&[], &format!("link add to-{number} type veth peer name way netns {id}"));
            ip(&[], &format!("link set to-{number} master hub up"));
            let Site { ip: address, by } = network.site(number);
            ip(&by, &format!("address add {address}/24 dev way"));
            ip(&by, "link set lo up");
            ip(&by, "link set way up");
        }
        network
    }

    /// Where a node is put.
    pub fn site(&self, number: usize) -> Site {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 67, 46, 10 + number as u8));
        let net = format!("--net={}", path(&self.nodes[number]));
        Site { ip, by: vec!["/usr/bin/nsenter".to_owned(), net, "--".to_owned()] }
    }

    /// Where all of them are put.
    pub fn sites(&self) -> Vec<Site> {
        (0..self.nodes.len()).map(|number| self.site(number)).collect()
    }

    /// Cuts one node off from others, and them from it.
    pub fn cut(&self, one: usize, others: &[usize]) {
        for other in others {
            self.cut_off(one, self.site(*other).ip);
            self.cut_off(*other, self.site(one).ip);
        }
    }

    /// Undoes it.
    pub fn heal(&self, one: usize, others: &[usize]) {
        for other in others {
            self.heal_off(one, self.site(*other).ip);
            self.heal_off(*other, self.site(one).ip);
        }
    }

    /// Lets nothing of what a node sends to `to` arrive.
    pub fn cut_off(&self, node: usize, to: IpAddr) {
        let by = self.site(node).by;
        ip(&by, &format!("neighbour replace {to} lladdr {NO_MAC} nud permanent dev way"));
    }

    /// Undoes it.
    pub fn heal_off(&self, node: usize, to: IpAddr) {
        ip(&self.site(node).by, &format!("neighbour delete {to} dev way"));
    }
}

fn path(holder: &Program) -> String {
    format!("/proc/{}/ns/net", holder.id())
}

/// A namespace, held by a process that does nothing else.
fn namespace(dir: &Path, name: &str) -> Program {
    let args = ["--net", "--", "sleep", "infinity"].map(str::to_owned);
    let mut holder = Program::start(dir, name, Path::new("/usr/bin/unshare"), &args);
    let (ours, its) = (fs::read_link("/proc/thread-self/ns/net"), path(&holder));
    let ours = ours.expect("a namespace of our own");
    // Before it has its own it has ours, or that of the process.
    let process = fs::read_link("/proc/self/ns/net").expect("a namespace of the process");
    holder.await_ready(|| fs::read_link(&its).is_ok_and(|link| link != ours && link != process));
    holder
}

/// Does something with iproute2, in the namespace that `by` goes into.
fn ip(by: &[String], what: &str) {
    let words: Vec<&str> =
        by.iter().map(String::as_str).chain(["ip"]).chain(what.split(' ')).collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", words.join(" "));
}
