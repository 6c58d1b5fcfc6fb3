//! A replica goes away and comes back: sooner or later than it is lost, restarted or frozen.
//!
//! A heavier one that comes back late is held at first, as a standby is, and takes its seat as soon
//! as the one in it has delivered everything up to what the heavier one has pushed first. One that
//! comes back in time keeps its seat, and its hole is filled with what the standby has pushed.

use std::thread;
use std::time::Duration;

use crate::pair::{BIGGER, EXPIRY, HEARD, HEAVY, HELD_MAX, LIGHT, LOST, Pair, VACANT};
use crate::prometheus::Edition;
use crate::stage::{SERIES, Stage};
use crate::storage::Kind;

fn start(name: &'static str, flags: &[&str]) -> Pair {
    let stage = Stage::set(name, SERIES, Kind::OldVictoria, flags);
    Pair::start(stage, Pair::setups([Edition::Old, Edition::Old]))
}

#[test]
fn a_restarted_heavier_one_takes_its_seat_back_and_nothing_is_missing() {
    let mut pair = start("restart", &[]);
    pair.stop(HEAVY);
    pair.await_failover(1, EXPIRY);
    thread::sleep(HEARD);
    pair.start_again(HEAVY);
    pair.await_take_over(3);
    thread::sleep(HEARD);
    pair.assert_whole(&[HEAVY, LIGHT, HEAVY]);
    pair.assert_told(&[BIGGER, LOST, VACANT, BIGGER]);
    pair.stage.proxy.assert_handed_over(2);
}

#[test]
fn a_promoted_one_that_is_back_before_it_is_lost_gives_its_seat_to_the_standby_for_a_while() {
    /// Long enough to miss a scrape, whatever its phase.
    const DOWN: Duration = Duration::from_millis(1500);
    // Down for a moment or not, a Prometheus scrapes only five seconds after its start.
    let mut pair = start("quick-restart", &["--health-expiry", "20s"]);
    pair.kill(HEAVY);
    thread::sleep(DOWN);
    pair.start_again(HEAVY);
    pair.await_take_over(3);
    thread::sleep(HEARD);
    pair.stop(HEAVY);
    thread::sleep(DOWN);
    pair.start_again(HEAVY);
    pair.await_take_over(6);
    thread::sleep(HEARD);
    pair.assert_whole(&[HEAVY, LIGHT, HEAVY, LIGHT, HEAVY]);
    pair.assert_told(&[BIGGER, LOST, VACANT, BIGGER, LOST, VACANT, BIGGER]);
    pair.stage.proxy.assert_handed_over(4);
}

#[test]
fn a_promoted_one_that_is_frozen_for_25_seconds_leaves_no_hole() {
    let pair = start("freeze-25s", &[]);
    pair.replica(HEAVY).freeze();
    thread::sleep(Duration::from_secs(25));
    pair.replica(HEAVY).thaw();
    thread::sleep(HELD_MAX + HEARD);
    pair.assert_whole(&[HEAVY, LIGHT, HEAVY]);
    // Whether it is lost before it is back depends on for how long it was heard. Then it has a hole.
    pair.assert_told(&[BIGGER, LOST, VACANT, BIGGER]);
    pair.stage.proxy.assert_handed_over(2);
}

#[test]
fn a_frozen_promoted_one_is_lost_and_takes_its_seat_back_and_nothing_is_missing() {
    // A source with an open connection is given time, up to this.
    const EXPIRY_MAX: Duration = Duration::from_secs(8);
    let pair = start("freeze", &["--health-expiry-max", "8s"]);
    pair.replica(HEAVY).freeze();
    pair.await_failover(1, EXPIRY_MAX);
    thread::sleep(HEARD);
    pair.replica(HEAVY).thaw();
    pair.await_take_over(3);
    thread::sleep(HEARD);
    pair.assert_whole(&[HEAVY, LIGHT, HEAVY]);
    pair.assert_told(&[BIGGER, LOST, VACANT, BIGGER]);
    pair.stage.proxy.assert_handed_over(2);
}
