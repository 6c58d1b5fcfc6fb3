//! The node that leads is killed again and again, without a word of warning: the other one goes on.

use std::thread;
use std::time::{Duration, Instant};

use crate::balancer::Balancer;
use crate::cluster::{CAUGHT_UP, Cluster, LEADERLESS_MAX, Site};
use crate::pair::{EXPIRY, HEAVY};
use crate::program::LOCAL;
use crate::stage::watch_or;

/// How often the leader is killed.
const EVERY: Duration = Duration::from_secs(20);
/// How long it is down.
const DOWN: Duration = Duration::from_secs(5);

/// Kills the leader, starts it again, and so on; how often. Says how long there was none after each.
fn kill_leaders(cluster: &mut Cluster) -> usize {
    let rounds = watch_or(EVERY * 3).as_secs() / EVERY.as_secs();
    let mut leaderless = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let leader = cluster.leader();
        cluster.nodes[leader].proxy.kill();
        let (_, without) = cluster.await_leader(&cluster.others(leader), LEADERLESS_MAX);
        leaderless.push(without);
        thread::sleep(DOWN.saturating_sub(without));
        cluster.nodes[leader].proxy.start_again();
        thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    leaderless.sort_unstable();
    let (median, last) = (leaderless[leaderless.len() / 2], leaderless[leaderless.len() - 1]);
    cluster.note(&format_args!("{rounds} kills, no leader for {median:?}, {last:?} at most"));
    thread::sleep(CAUGHT_UP);
    leaderless.len()
}

#[test]
fn the_leader_is_killed_again_and_again_behind_a_balancer_and_nothing_is_missing() {
    let mut cluster = Cluster::start("cluster-kill-relay", &Site::local(2), LOCAL, &[]);
    let balancer = Balancer::start(cluster.dir(), &cluster.addresses());
    let write = [balancer.address()];
    cluster.start_sources([&write, &write]);
    let kills = kill_leaders(&mut cluster);
    cluster.note(&format_args!("answers at the balancer {:?}", balancer.answers()));
    cluster.assert_whole(1 + kills);
}

#[test]
fn the_leader_is_killed_again_and_again_under_sources_that_push_to_both_and_nothing_is_missing() {
    let flags = ["--cluster-mode", "mirror"];
    let mut cluster = Cluster::start("cluster-kill-mirror", &Site::local(2), LOCAL, &flags);
    let writes = cluster.addresses();
    cluster.start_sources([&writes, &writes]);
    let kills = kill_leaders(&mut cluster);
    cluster.assert_whole(1 + kills);
}

#[test]
fn the_leader_and_the_promoted_source_die_at_once_under_sources_that_push_to_both() {
    let flags = ["--cluster-mode", "mirror"];
    let mut cluster = Cluster::start("cluster-kill-both", &Site::local(2), LOCAL, &flags);
    let writes = cluster.addresses();
    cluster.start_sources([&writes, &writes]);
    let leader = cluster.leader();
    let promoted = cluster.take_source(HEAVY);
    cluster.nodes[leader].proxy.kill();
    promoted.kill();
    let (_, without) = cluster.await_leader(&cluster.others(leader), LEADERLESS_MAX);
    cluster.note(&format_args!("no leader for {without:?}"));
    // Its silence counts from when it was heard, and is looked at once a second.
    thread::sleep(EXPIRY + CAUGHT_UP);
    // A request that was the dead source's last may have reached the dead leader only, which has sent
    // it on. Nobody knows of it, and so the standby's sample before it goes out after it: one of each.
    cluster.assert_whole_and(2, 2);
}
