//! The storage dies and comes back: the senders wait for it, whoever of them is promoted.

use std::thread;
use std::time::Duration;

use crate::pair::{BIGGER, EXPIRY, HEARD, HEAVY, HELD_MAX, LIGHT, LOST, Pair, VACANT};
use crate::prometheus::Edition;
use crate::stage::{SERIES, Stage};
use crate::storage::Kind;

/// How long a Prometheus waits at most until it tries again: for as long a source that was told
/// that the storage is away is not taken for dead.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A pair before a storage that keeps through a `kill -9` what it has acknowledged.
fn start(name: &'static str) -> Pair {
    let stage = Stage::set(name, SERIES, Kind::Prometheus, &[]);
    Pair::start(stage, Pair::setups([Edition::Old, Edition::Old]))
}

#[test]
fn a_storage_that_is_killed_and_back_costs_no_sample_and_changes_no_seat() {
    let mut pair = start("storage-down");
    pair.stage.storage.kill();
    thread::sleep(Duration::from_secs(10));
    pair.stage.storage.start_again();
    thread::sleep(BACKOFF_MAX + HEARD);
    pair.assert_whole(&[HEAVY]);
    pair.assert_told(&[BIGGER]);
}

#[test]
fn the_promoted_one_dies_while_the_storage_is_down_for_30_seconds_and_nothing_is_missing() {
    let half = Duration::from_secs(15);
    let mut pair = start("storage-down-kill-9");
    pair.stage.storage.kill();
    thread::sleep(half);
    pair.kill(HEAVY);
    thread::sleep(half);
    pair.stage.storage.start_again();
    pair.await_failover(1, EXPIRY + BACKOFF_MAX);
    thread::sleep(BACKOFF_MAX + HELD_MAX);
    pair.assert_whole(&[HEAVY, LIGHT]);
    pair.assert_told(&[BIGGER, LOST, VACANT]);
    pair.stage.proxy.assert_handed_over(1);
}
