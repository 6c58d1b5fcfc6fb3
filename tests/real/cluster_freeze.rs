//! The node that leads stands still for a while, with all its connections open, and wakes when another
//! one leads: it must write nothing, whatever waits at it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::cluster::{CAUGHT_UP, Cluster, LEADERLESS_MAX, Site};
use crate::pair::HEARD;
use crate::program::LOCAL;

/// How long it stands still.
const FROZEN: Duration = Duration::from_secs(15);

/// Stops the leader and lets it go on, under a promoted source that writes to another node.
fn freeze_leader(cluster: &mut Cluster) {
    let all = cluster.addresses();
    let first = cluster.first();
    let other = cluster.others(first)[0];
    freeze_leader_under(cluster, [&[all[other]], &[all[first]]]);
}

fn freeze_leader_under(cluster: &mut Cluster, writes: [&[SocketAddr]; 2]) {
    let first = cluster.first();
    cluster.start_sources(writes);
    assert_eq!(cluster.leader(), first);
    cluster.nodes[first].proxy.freeze();
    let (_, without) = cluster.await_leader(&cluster.others(first), LEADERLESS_MAX);
    cluster.note(&format_args!("no leader for {without:?}"));
    thread::sleep(FROZEN.saturating_sub(without));
    let before = cluster.nodes[first].tap.requests();
    cluster.nodes[first].proxy.thaw();
    thread::sleep(HEARD);
    let written = cluster.nodes[first].tap.requests() - before;
    thread::sleep(CAUGHT_UP);
    let leading: Vec<usize> =
        (0..cluster.nodes.len()).filter(|number| cluster.leads(*number)).collect();
    cluster.note(&format_args!("{leading:?} lead, written on waking {written}"));
    cluster.assert_whole(2);
    assert_eq!(written, 0, "requests that the woken node has sent to the storage");
    assert_eq!(leading.len(), 1, "{leading:?}");
}

#[test]
fn a_leader_that_was_frozen_writes_nothing_on_waking_and_nothing_is_missing() {
    let mut cluster = Cluster::start("cluster-freeze", &Site::local(2), LOCAL, &[]);
    freeze_leader(&mut cluster);
}

#[test]
fn a_leader_of_three_that_was_frozen_writes_nothing_on_waking_and_nothing_is_missing() {
    let flags = ["--cluster-size", "3"];
    let mut cluster = Cluster::start("cluster-freeze-size", &Site::local(3), LOCAL, &flags);
    freeze_leader(&mut cluster);
}

#[test]
fn a_leader_that_was_frozen_under_sources_that_push_to_both_writes_nothing_on_waking() {
    let flags = ["--cluster-mode", "mirror"];
    let mut cluster = Cluster::start("cluster-freeze-mirror", &Site::local(2), LOCAL, &flags);
    let all = cluster.addresses();
    freeze_leader_under(&mut cluster, [&all, &all]);
}
