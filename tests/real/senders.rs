//! All kinds of senders in one group: old and new, of both versions of the protocol, and a vmagent.

use std::thread;

use crate::failover::kill_promoted;
use crate::pair::{BIGGER, EXPIRY, HEARD, HEAVY, LIGHT, LOST, Pair, VACANT};
use crate::prometheus::{Edition, Setup};
use crate::stage::{SERIES, Stage};
use crate::storage::Kind;

/// Kills the promoted one of a pair and, when the other one is heard, starts it again: so each of
/// them takes over from the other. The log tells of so many hand-overs at least.
fn there_and_back(name: &'static str, kind: Kind, setups: [Setup; 2], handed_over_min: usize) {
    let mut pair = Pair::start(Stage::set(name, SERIES, kind, &[]), setups);
    pair.kill(HEAVY);
    pair.await_failover(1, EXPIRY);
    thread::sleep(HEARD);
    pair.start_again(HEAVY);
    pair.await_take_over(3);
    thread::sleep(HEARD);
    pair.assert_whole(&[HEAVY, LIGHT, HEAVY]);
    pair.assert_told(&[BIGGER, LOST, VACANT, BIGGER]);
    pair.stage.proxy.assert_handed_over(handed_over_min);
}

/// It speaks remote write 2.0.
fn version_2(setup: Setup) -> Setup {
    Setup { edition: Edition::New, version_2: true, ..setup }
}

#[test]
fn an_old_and_a_new_prometheus_are_a_pair_before_the_newer_storage_on_epoll_too() {
    let setups = Pair::setups([Edition::New, Edition::Old]);
    kill_promoted("old-and-new", Kind::NewVictoria, setups, &["--driver", "epoll"]);
}

#[test]
fn a_pair_that_speaks_version_2_fails_over_and_no_sender_counts_a_failed_sample() {
    // A 2.0 sender counts as failed what the answer to a held request does not say was written.
    let setups = Pair::setups([Edition::New, Edition::New]).map(version_2);
    kill_promoted("version-2", Kind::Prometheus, setups, &[]);
}

#[test]
fn version_1_and_version_2_in_one_group_take_over_from_each_other() {
    let [heavy, light] = Pair::setups([Edition::Old, Edition::New]);
    there_and_back("versions-1-and-2", Kind::Prometheus, [heavy, version_2(light)], 2);
}

#[test]
fn a_vmagent_and_a_prometheus_take_over_from_each_other() {
    let setups = Pair::setups([Edition::Agent, Edition::Old]);
    // A series of which the new source never speaks keeps a hand-over open, and the line comes at
    // its end: there may be none yet.
    there_and_back("vmagent", Kind::OldVictoria, setups, 0);
}
