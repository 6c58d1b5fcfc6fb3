//! The proxy itself ends under load, asked to or not: the senders keep what was not acknowledged.

use std::thread;
use std::time::Duration;

use crate::pair::{BIGGER, FIRST_PUSH_MAX, HEARD, HEAVY, HELD_MAX, Pair};
use crate::prometheus::{Batches, Edition, Setup};
use crate::stage::{SERIES, Stage, watch};
use crate::storage::Kind;

#[test]
fn the_proxy_ends_under_load_with_exit_code_0_and_after_its_restart_nothing_is_missing() {
    let mut stage = Stage::set("proxy-restart", SERIES, Kind::OldVictoria, &[]);
    let setup =
        Setup { shards: 8, batches: Batches::EachScrape, ..Setup::new(1, "highlander_weight=50") };
    let sender = stage.replica(&setup);
    stage.proxy.await_election(1, FIRST_PUSH_MAX);
    let rounds = 3;
    for _ in 0..rounds {
        thread::sleep(HEARD / 2);
        let status = stage.proxy.restart();
        assert!(status.success(), "{status}");
    }
    thread::sleep(watch() / 2);
    stage.assert_steady(&sender, Batches::EachScrape, 1 + rounds);
}

#[test]
fn after_kill_9_of_the_proxy_the_one_that_was_promoted_has_its_seat_again_and_nothing_is_missing() {
    // What was stored but not answered when the proxy died comes again; of these storages only a
    // Prometheus keeps it once.
    let flags = ["--state", "promoted.state"];
    let stage = Stage::set("proxy-kill-9", SERIES, Kind::Prometheus, &flags);
    let mut pair = Pair::start(stage, Pair::setups([Edition::Old, Edition::Old]));
    for down in [0, 5] {
        pair.stage.proxy.kill();
        thread::sleep(Duration::from_secs(down));
        pair.stage.proxy.start_again();
        // The senders try again after 5 s at the latest.
        thread::sleep(HELD_MAX + HEARD);
    }
    pair.assert_whole(&[HEAVY]);
    pair.assert_told(&[BIGGER, BIGGER, BIGGER]);
}
