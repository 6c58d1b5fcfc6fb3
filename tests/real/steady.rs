//! Nothing fails: every sample of the promoted replica is stored once, and nothing else is.

use std::thread;
use std::time::{Duration, Instant};

use crate::program::fresh_dir;
use crate::prometheus::{Batches, Edition, Prometheus, Setup};
use crate::proxy::Proxy;
use crate::stage::{SERIES, Stage, note, watch};
use crate::storage::Storage;
use crate::target::{Target, now_ms};

/// How soon a push of a freshly started Prometheus is due: its first scrape, and a batch.
const FIRST_PUSH_MAX: Duration = Duration::from_secs(20);

/// Watches one promoted replica among standbys for a while; the first of `setups` is promoted.
fn watch_group(name: &'static str, setups: &[Setup]) {
    let stage = Stage::set(name, SERIES, Edition::Old, &[]);
    let promoted = stage.replica(&setups[0]);
    stage.proxy.await_election(1, FIRST_PUSH_MAX);
    let standbys: Vec<Prometheus> = setups[1..].iter().map(|setup| stage.replica(setup)).collect();
    thread::sleep(watch());
    for standby in &standbys {
        let sent = standby.metric("prometheus_remote_storage_samples_total");
        assert!(sent > 0.0, "a standby has sent nothing: it proves nothing");
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
    let stage = Stage::set("healthy-pair", 100, Edition::Old, &[]);
    let slow =
        |replica, parameters| Setup { scrape_seconds: 15, ..Setup::new(replica, parameters) };
    let promoted = stage.replica(&slow(1, "highlander_weight=50"));
    stage.proxy.await_election(1, FIRST_PUSH_MAX + Duration::from_secs(15));
    let standby = stage.replica(&slow(2, "highlander_weight=0"));
    thread::sleep(watch() * 3);
    assert!(standby.metric("prometheus_remote_storage_samples_total") > 0.0);
    stage.assert_steady(&promoted, Batches::Default, 1);
}

#[test]
fn remote_write_2_0_goes_through_to_a_prometheus_as_storage_and_is_stored_exactly_once() {
    const NAME: &str = "steady-version-2";
    let dir = fresh_dir(NAME);
    let target = Target::start(SERIES);
    let storage = Prometheus::start_storage(&dir);
    let proxy = Proxy::start(&dir, storage.port(), &[]);
    let setup = Setup {
        edition: Edition::New,
        shards: 4,
        version_2: true,
        ..Setup::new(1, "highlander_weight=50")
    };
    let promoted = Prometheus::start(&dir, &setup, &target, proxy.port());
    proxy.await_election(1, FIRST_PUSH_MAX);
    thread::sleep(watch());
    let to_ms = now_ms();
    thread::sleep(Batches::Default.arrival_max());
    let own = promoted.samples(600);
    let tally = storage.samples(600).against(&own, own.oldest_ms(), to_ms);
    note(NAME, &tally);
    tally.assert_exactly_once();
    // A 2.0 sender counts as failed what the answer does not say was written.
    promoted.assert_nothing_failed();
    assert_eq!(proxy.election().len(), 1, "{:#?}", proxy.election());
}

#[test]
fn the_storage_shows_a_sample_that_was_written_twice() {
    // The eyes of all tests here: were doubles hidden by the storage, none would ever be found.
    for edition in [Edition::Old, Edition::New] {
        let dir = fresh_dir("storage-shows-doubles");
        let storage = Storage::start(&dir, edition);
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
                assert!(Instant::now() < deadline, "{edition:?}: {}", tally());
                thread::sleep(Duration::from_millis(100));
            }
            assert_eq!(tally().doubled, doubled, "{edition:?}");
        };
        import_and_see(0);
        import_and_see(2);
    }
}
