//! The promoted replica dies: the other one takes over, nothing is missing, and no series ever has
//! two voices at once.
//!
//! What the standby pushed meanwhile was kept, and is sent on from the last sample of each series
//! that was delivered. So every test of a pair ends in the same claims: nothing is missing, nothing
//! overlaps, nothing has failed (see [`Pair::assert_whole`]), the seat has changed no other time,
//! and the log says what each hand-over has cost.

use std::thread;

use crate::pair::{BIGGER, EXPIRY, HEARD, HEAVY, LIGHT, LOST, Pair, VACANT};
use crate::prometheus::{Batches, Edition, Setup};
use crate::stage::{SERIES, Stage};
use crate::storage::Kind;

/// Kills the promoted one of a pair; the other one takes over.
pub fn kill_promoted(name: &'static str, kind: Kind, setups: [Setup; 2], flags: &[&str]) {
    let mut pair = Pair::start(Stage::set(name, SERIES, kind, flags), setups);
    pair.kill(HEAVY);
    pair.await_failover(1, EXPIRY);
    thread::sleep(HEARD);
    pair.assert_whole(&[HEAVY, LIGHT]);
    pair.assert_told(&[BIGGER, LOST, VACANT]);
    pair.stage.proxy.assert_handed_over(1);
}

#[test]
fn after_kill_9_of_the_promoted_one_nothing_is_missing_and_no_series_overlaps() {
    let setups = Pair::setups([Edition::Old, Edition::Old]);
    kill_promoted("kill-9", Kind::OldVictoria, setups, &[]);
}

#[test]
fn on_epoll_and_with_batches_as_they_come_nothing_is_missing_either() {
    // What of the last seconds a dead one had not sent yet, the other one has.
    let setups = Pair::setups([Edition::Old, Edition::Old])
        .map(|setup| Setup { batches: Batches::Default, ..setup });
    kill_promoted("kill-9-epoll", Kind::OldVictoria, setups, &["--driver", "epoll"]);
}

#[test]
fn after_ten_failovers_in_a_row_under_eight_shards_nothing_is_missing_and_no_series_overlaps() {
    const FAILOVERS: usize = 10;
    // Of two with the same weight the seat changes only when the one in it is lost.
    let setup = |replica, parameters| Setup { shards: 8, ..Setup::new(replica, parameters) };
    let setups = [setup(HEAVY, "highlander_source=a"), setup(LIGHT, "highlander_source=b")];
    let stage = Stage::set("ten-failovers", SERIES, Kind::OldVictoria, &[]);
    let mut pair = Pair::start(stage, setups);
    let mut voices = vec![HEAVY];
    let mut told = vec![VACANT];
    for _ in 0..FAILOVERS {
        let promoted = voices[voices.len() - 1];
        pair.kill(promoted);
        pair.await_failover(told.len(), EXPIRY);
        told.extend([LOST, VACANT]);
        voices.push(if promoted == HEAVY { LIGHT } else { HEAVY });
        pair.start_again(promoted);
        // Both have been heard for a while before the next one dies.
        pair.await_scrapes(promoted, 6);
    }
    pair.assert_whole(&voices);
    pair.assert_told(&told);
    pair.stage.proxy.assert_handed_over(FAILOVERS);
}
