//! Nothing fails: every sample of the promoted replica is stored once, and nothing else is.

use std::thread;
use std::time::{Duration, Instant};

use crate::pair::FIRST_PUSH_MAX;
use crate::program::fresh_dir;
use crate::prometheus::{Batches, Edition, Prometheus, Setup};
use crate::stage::{SERIES, Stage, watch};
use crate::storage::{Kind, Storage};
use crate::target::now_ms;

/// Watches one promoted replica among standbys for a while; the first of `setups` is promoted.
fn watch_group(name: &'static str, setups: &[Setup]) {
    let stage = Stage::set(name, SERIES, Kind::OldVictoria, &[]);
    let promoted = stage.replica(&setups[0]);
    stage.proxy.await_election(1, FIRST_PUSH_MAX);
    let standbys: Vec<Prometheus> = setups[1..].iter().map(|setup| stage.replica(setup)).collect();
    thread::sleep(watch());
    for standby in &standbys {
        assert!(standby.has_sent(), "a standby has sent nothing: it proves nothing");
        standby.assert_nothing_failed();
    }
    stage.assert_steady(&promoted, Batches::Default, 1);
}

#[test]
fn one_prometheus_with_one_shard_is_stored_exactly_once() {
    watch_group("steady-1-shard", &[Setup::new(1, "highlander_weight=50")]);
}

#[test]
fn one_prometheus_with_eight_shards_is_one_source_and_is_stored_exactly_once() {
    watch_group("steady-8-shards", &[Setup { shards: 8, ..Setup::new(1, "highlander_weight=50") }]);
}

#[test]
fn of_two_prometheus_servers_only_the_promoted_one_is_stored_and_exactly_once() {
    let setups = [
        Setup { shards: 8, ..Setup::new(1, "highlander_weight=50") },
        Setup { shards: 8, ..Setup::new(2, "highlander_weight=0") },
    ];
    watch_group("steady-2-replicas", &setups);
}

#[test]
fn of_four_prometheus_servers_only_the_promoted_one_is_stored_and_exactly_once() {
    // Two of the same weight behind one address are told apart by their names.
    let setups = [
        Setup { shards: 8, ..Setup::new(1, "highlander_weight=50&highlander_source=a") },
        Setup { shards: 8, ..Setup::new(2, "highlander_weight=50&highlander_source=b") },
        Setup::new(3, "highlander_weight=10&highlander_source=c"),
        Setup::new(4, "highlander_source=d"),
    ];
    watch_group("steady-4-replicas", &setups);
}

#[test]
fn a_healthy_pair_at_slow_scrapes_loses_no_source() {
    let stage = Stage::set("healthy-pair", 100, Kind::OldVictoria, &[]);
    let slow =
        |replica, parameters| Setup { scrape_seconds: 15, ..Setup::new(replica, parameters) };
    let promoted = stage.replica(&slow(1, "highlander_weight=50"));
    stage.proxy.await_election(1, FIRST_PUSH_MAX + Duration::from_secs(15));
    let standby = stage.replica(&slow(2, "highlander_weight=0"));
    thread::sleep(watch() * 3);
    assert!(standby.has_sent(), "a standby has sent nothing: it proves nothing");
    stage.assert_steady(&promoted, Batches::Default, 1);
}

#[test]
fn remote_write_2_0_goes_through_to_a_prometheus_as_storage_and_is_stored_exactly_once() {
    let stage = Stage::set("steady-version-2", SERIES, Kind::Prometheus, &[]);
    let promoted = stage.replica(&Setup {
        edition: Edition::New,
        shards: 4,
        version_2: true,
        ..Setup::new(1, "highlander_weight=50")
    });
    stage.proxy.await_election(1, FIRST_PUSH_MAX);
    thread::sleep(watch());
    // A 2.0 sender counts as failed what the answer does not say was written.
    stage.assert_steady(&promoted, Batches::Default, 1);
}

#[test]
fn the_storage_shows_a_sample_that_was_written_twice() {
    // The eyes of all tests here: were doubles hidden by the storage, none would ever be found.
    for kind in [Kind::OldVictoria, Kind::NewVictoria] {
        let dir = fresh_dir("storage-shows-doubles");
        let storage = Storage::start(&dir, kind);
        let now = now_ms();
        let line = format!(
            r#"{{"metric":{{"__name__":"hl_load","job":"load"}},"values":[1,2],"timestamps":[{},{now}]}}"#,
            now - 1000
        );
        let import_and_see = |doubled: usize| {
            storage.import(&line);
            // A series that is new is found after a moment only.
            let deadline = Instant::now() + Duration::from_secs(10);
            let tally = || storage.samples().against(&storage.samples(), now - 2000, now);
            while tally().stored < 2 + doubled {
                assert!(Instant::now() < deadline, "{kind:?}: {}", tally());
                thread::sleep(Duration::from_millis(100));
            }
            assert_eq!(tally().doubled, doubled, "{kind:?}");
        };
        import_and_see(0);
        import_and_see(2);
    }
}
