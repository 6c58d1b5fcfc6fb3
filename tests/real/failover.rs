//! Something fails: another replica takes over, and no series ever has two voices at once.
//!
//! A standby's requests are not kept yet, so a failover costs the scrapes between the last one that
//! was delivered and the promotion. How many they are is counted and bounded here.

use std::thread;
use std::time::Duration;

use crate::prometheus::{Batches, Edition, Prometheus, Setup};
use crate::series::Cut;
use crate::stage::{SERIES, Stage, watch};
use crate::target::now_ms;

/// The proxy's default `--health-expiry` and `--health-tick`.
const EXPIRY: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
/// The scrape interval of the replicas here.
const SCRAPE: Duration = Duration::from_secs(1);
const SCRAPE_MS: i64 = 1000;
/// What a busy machine may add to a deadline that is only waited for.
const SLACK: Duration = Duration::from_secs(5);
/// The replicas of a pair, by their numbers.
const HEAVY: u64 = 1;
const LIGHT: u64 = 2;
/// How long a sample may take into the storage.
const ARRIVAL_MAX: Duration = Duration::from_secs(4);
/// How long each voice is heard between two events: enough to see that it is steady.
const HEARD: Duration = Duration::from_secs(6);

/// A pair of replicas that both send at every scrape, the heavier one promoted.
struct Pair {
    stage: Stage,
    heavy: Setup,
}

impl Pair {
    fn start(stage: Stage, editions: [Edition; 2]) -> (Pair, Prometheus, Prometheus) {
        let setup = |replica, parameters, edition| Setup {
            edition,
            shards: 4,
            batches: Batches::EachScrape,
            ..Setup::new(replica, parameters)
        };
        let heavy = setup(HEAVY, "highlander_weight=50", editions[0]);
        let mut light = setup(LIGHT, "highlander_weight=0", editions[1]);
        let first = stage.replica(&heavy);
        let (line, _) = stage.proxy.await_election(1, EXPIRY + SLACK);
        assert!(line.ends_with("(bigger Highlander Weight) (0 -> 50)"), "{line}");
        let second = stage.replica_apart(&mut light, &[HEAVY]);
        thread::sleep(HEARD);
        (Pair { stage, heavy }, first, second)
    }

    /// Waits until the promoted replica is lost and the other one promoted; when that was seen.
    fn await_failover(&self, told: usize, silence_max: Duration) -> i64 {
        let (line, _) = self.stage.proxy.await_election(told + 1, silence_max + TICK + SLACK);
        assert!(line.starts_with("lost source : '"), "{line}");
        let (line, at_ms) = self.stage.proxy.await_election(told + 2, SCRAPE + SLACK);
        assert!(line.ends_with("(no current promoted source) (0)"), "{line}");
        at_ms
    }

    /// Checks that the light replica was stored from its promotion on, every sample once.
    fn assert_stored_from(&self, light: &Prometheus, from_ms: i64, to_ms: i64) {
        let own = light.samples(600);
        self.stage.storage.samples().against(&own, from_ms, to_ms).assert_exactly_once();
        light.assert_nothing_failed();
    }

    /// Reads the storage back, says what each change of voice has cost and holds it against its
    /// bound: what a silence of that length costs, and two scrapes. One is the last of the old
    /// voice, of which not every shard has sent the rest; one is the next of the new voice.
    fn assert_cuts(&self, voices: &[u64], silences_max: &[Duration]) {
        let cuts = self.stage.storage.samples().assert_voices(voices, SCRAPE_MS);
        for (cut, two) in cuts.iter().zip(voices.windows(2)) {
            self.stage.note(&format_args!("replica {} after replica {}: {cut}", two[1], two[0]));
        }
        assert_eq!(cuts.len(), silences_max.len());
        for (Cut { scrapes_max, .. }, silence_max) in cuts.iter().zip(silences_max) {
            let bound = (silence_max.as_millis() as i64) / SCRAPE_MS + 2;
            assert!(*scrapes_max <= bound, "{scrapes_max} scrapes are missing, allowed {bound}");
        }
        // The seat changed no other time: a failover tells two lines, a take-over by weight one.
        let told =
            1 + voices[1..].iter().map(|voice| if *voice == HEAVY { 1 } else { 2 }).sum::<usize>();
        assert_eq!(self.stage.proxy.election().len(), told);
    }
}

/// Kills the promoted one of a pair; the other one takes over.
fn kill_promoted(name: &'static str, storage: Edition, editions: [Edition; 2], flags: &[&str]) {
    let stage = Stage::set(name, SERIES, storage, flags);
    let (pair, heavy, light) = Pair::start(stage, editions);
    heavy.kill();
    let promoted_ms = pair.await_failover(1, EXPIRY);
    thread::sleep(HEARD);
    let to_ms = now_ms();
    thread::sleep(ARRIVAL_MAX);
    pair.assert_cuts(&[HEAVY, LIGHT], &[EXPIRY + TICK]);
    pair.assert_stored_from(&light, promoted_ms, to_ms);
}

#[test]
fn after_kill_9_of_the_promoted_one_the_other_one_takes_over_and_no_series_overlaps() {
    kill_promoted("kill-9", Edition::Old, [Edition::Old, Edition::Old], &[]);
}

#[test]
fn an_old_and_a_new_prometheus_are_a_pair_before_the_newer_storage_on_epoll_too() {
    let editions = [Edition::New, Edition::Old];
    kill_promoted("old-and-new", Edition::New, editions, &["--driver", "epoll"]);
}

#[test]
fn a_restarted_heavier_one_takes_its_seat_back_at_its_first_push_and_no_series_overlaps() {
    let stage = Stage::set("restart", SERIES, Edition::Old, &[]);
    let (pair, heavy, light) = Pair::start(stage, [Edition::Old, Edition::Old]);
    heavy.stop();
    let promoted_ms = pair.await_failover(1, EXPIRY);
    thread::sleep(HEARD);
    // What it has scraped in the last moments before it loses the seat may be too late.
    let to_ms = now_ms() - ARRIVAL_MAX.as_millis() as i64;
    let restarted = pair.stage.replica(&pair.heavy);
    let (line, _) = pair.stage.proxy.await_election(4, EXPIRY + SLACK);
    assert!(line.ends_with("(bigger Highlander Weight) (0 -> 50)"), "{line}");
    thread::sleep(HEARD + ARRIVAL_MAX);
    // At its first push it has scraped once, but not every series of that scrape is sent first.
    pair.assert_cuts(&[HEAVY, LIGHT, HEAVY], &[EXPIRY + TICK, SCRAPE]);
    pair.assert_stored_from(&light, promoted_ms, to_ms);
    restarted.assert_nothing_failed();
}

#[test]
fn a_frozen_promoted_one_is_lost_and_comes_back_and_no_series_overlaps() {
    // A source with an open connection is given time, up to this.
    const EXPIRY_MAX: Duration = Duration::from_secs(8);
    let stage = Stage::set("freeze", SERIES, Edition::Old, &["--health-expiry-max", "8s"]);
    let (pair, heavy, light) = Pair::start(stage, [Edition::Old, Edition::Old]);
    heavy.freeze();
    let promoted_ms = pair.await_failover(1, EXPIRY_MAX);
    thread::sleep(HEARD);
    let to_ms = now_ms() - ARRIVAL_MAX.as_millis() as i64;
    heavy.thaw();
    let (line, _) = pair.stage.proxy.await_election(4, EXPIRY + SLACK);
    assert!(line.ends_with("(bigger Highlander Weight) (0 -> 50)"), "{line}");
    thread::sleep(HEARD + ARRIVAL_MAX);
    pair.assert_cuts(&[HEAVY, LIGHT, HEAVY], &[EXPIRY_MAX + TICK, SCRAPE]);
    pair.assert_stored_from(&light, promoted_ms, to_ms);
    heavy.assert_nothing_failed();
}

#[test]
fn the_proxy_ends_under_load_with_exit_code_0_and_after_its_restart_nothing_is_missing() {
    let mut stage = Stage::set("proxy-restart", SERIES, Edition::Old, &[]);
    let setup =
        Setup { shards: 8, batches: Batches::EachScrape, ..Setup::new(1, "highlander_weight=50") };
    let sender = stage.replica(&setup);
    stage.proxy.await_election(1, EXPIRY + SLACK);
    let rounds = 3;
    for _ in 0..rounds {
        thread::sleep(HEARD / 2);
        let status = stage.proxy.restart();
        assert!(status.success(), "{status}");
    }
    thread::sleep(watch() / 2);
    stage.assert_steady(&sender, Batches::EachScrape, 1 + rounds);
}
