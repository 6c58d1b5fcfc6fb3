//! The network between three nodes is cut, or the way of one of them to the storage.

use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{CAUGHT_UP, Cluster, LEADERLESS_MAX};
use crate::http;
use crate::namespaces::{ETCD_IP, Network, STORAGE_IP};
use crate::pair::{HEAVY, HELD_MAX, LIGHT};
use crate::program::{Program, fresh_dir};
use crate::stage::watch;

/// How long it is cut.
fn cut_for() -> Duration {
    watch().clamp(Duration::from_secs(20), Duration::from_secs(60))
}

/// What it has the keys of, and how many of them there are.
const FLAGS: [&str; 4] = ["--cluster-size", "3", "--cluster-key-file", "cluster.key"];
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

fn start(name: &'static str, network: &Network, flags: &[&str]) -> Cluster {
    Cluster::start_with_key(name, &network.sites(), STORAGE_IP, &[&FLAGS, flags].concat(), KEY)
}

#[test]
fn the_leader_is_cut_off_from_the_others_and_refuses_and_nothing_is_missing_afterwards() {
    let name = "cluster-cut";
    Network::within(name, 3, |network| {
        let mut cluster = start(name, network, &[]);
        let first = cluster.first();
        let others = cluster.others(first);
        let all = cluster.addresses();
        cluster.start_sources([&[all[first]], &[all[others[0]]]]);
        assert_eq!(cluster.leader(), first);
        let begun = Instant::now();
        network.cut(first, &others);
        let (second, without) = cluster.await_leader(&others, LEADERLESS_MAX);
        cluster.note(&format_args!("{second} leads after {first}, cut off for {without:?}"));
        let before = cluster.nodes[first].tap.requests();
        let refused = http::status(all[first], "/").expect("an answer");
        thread::sleep(cut_for().saturating_sub(begun.elapsed()));
        let written = cluster.nodes[first].tap.requests() - before;
        let retried = cluster.source(HEAVY).samples_retried();
        assert!(!cluster.leads(first), "the one that is cut off");
        network.heal(first, &others);
        thread::sleep(CAUGHT_UP + HELD_MAX);
        let leading: Vec<usize> = (0..all.len()).filter(|number| cluster.leads(*number)).collect();
        cluster.note(&format_args!(
            "the one cut off answered {refused} and wrote {written}, its source sent {retried} \
             again; {leading:?} lead"
        ));
        cluster.assert_whole(2);
        assert_eq!((refused, written, leading.len()), (503, 0, 1));
        assert!(retried > 0.0, "the source of the one cut off was not refused");
    });
}

#[test]
fn the_leaders_way_to_the_storage_is_cut_and_it_keeps_the_lead_and_nothing_is_missing() {
    let name = "cluster-cut-storage";
    Network::within(name, 3, |network| {
        let mut cluster = start(name, network, &["--remote-timeout", "5s"]);
        let first = cluster.first();
        let others = cluster.others(first);
        let all = cluster.addresses();
        // The promoted source's requests are relayed to it.
        cluster.start_sources([&[all[others[0]]], &[all[first]]]);
        assert_eq!(cluster.leader(), first);
        network.cut_off(first, STORAGE_IP);
        thread::sleep(cut_for());
        let retried = cluster.source(HEAVY).samples_retried();
        let standby = cluster.source(LIGHT).samples_retried();
        network.heal_off(first, STORAGE_IP);
        thread::sleep(CAUGHT_UP + HELD_MAX);
        cluster.note(&format_args!("sent again {retried}, by the standby {standby}"));
        cluster.assert_whole(1);
        assert!(retried > 0.0, "the storage was not away");
        let said = cluster.nodes[first].proxy.log();
        assert!(said.contains("endpoint does not answer in time"), "{said}");
    });
}

/// An etcd in the hub, and where it is reached.
fn etcd(name: &str) -> (Program, String) {
    let dir = fresh_dir(&format!("{name}-etcd"));
    let (client, peer) = (format!("{ETCD_IP}:2379"), format!("http://{ETCD_IP}:2380"));
    let url = format!("http://{client}");
    let data = dir.join("data").display().to_string();
    let args = [
        ["--data-dir", &data],
        ["--listen-client-urls", &url],
        ["--advertise-client-urls", &url],
        ["--listen-peer-urls", &peer],
        ["--initial-advertise-peer-urls", &peer],
        ["--initial-cluster", &format!("default={peer}")],
    ];
    let args: Vec<String> = args.as_flattened().iter().map(|arg| (*arg).to_owned()).collect();
    let mut program = Program::start(&dir, "etcd", Path::new("/usr/bin/etcd"), &args);
    program.await_ready(|| TcpStream::connect(&client).is_ok());
    (program, client)
}

#[test]
fn of_two_nodes_the_one_that_is_cut_off_from_the_etcd_refuses_and_nothing_is_missing_afterwards() {
    let name = "cluster-cut-etcd";
    Network::within(name, 2, |network| {
        let (_etcd, host) = etcd(name);
        let lease = format!("etcd://{host}");
        let flags = ["--cluster-lease", &lease, "--cluster-key-file", "cluster.key"];
        let mut cluster = Cluster::start_with_key(name, &network.sites(), STORAGE_IP, &flags, KEY);
        let first = cluster.first();
        let others = cluster.others(first);
        let all = cluster.addresses();
        cluster.start_sources([&[all[first]], &[all[others[0]]]]);
        assert_eq!(cluster.leader(), first);
        let begun = Instant::now();
        // It still reaches the storage: only the lease says that it must not write.
        network.cut(first, &others);
        network.cut_off(first, ETCD_IP);
        let (second, without) = cluster.await_leader(&others, LEADERLESS_MAX);
        cluster.note(&format_args!("{second} leads after {first}, cut off for {without:?}"));
        let before = cluster.nodes[first].tap.requests();
        let refused = http::status(all[first], "/").expect("an answer");
        thread::sleep(cut_for().saturating_sub(begun.elapsed()));
        let written = cluster.nodes[first].tap.requests() - before;
        assert!(!cluster.leads(first), "the one that is cut off");
        network.heal(first, &others);
        network.heal_off(first, ETCD_IP);
        thread::sleep(CAUGHT_UP + HELD_MAX);
        let leading: Vec<usize> = (0..all.len()).filter(|number| cluster.leads(*number)).collect();
        cluster.note(&format_args!("it answered {refused} and wrote {written}; {leading:?} lead"));
        cluster.assert_whole(2);
        assert_eq!((refused, written, leading.len()), (503, 0, 1));
    });
}
