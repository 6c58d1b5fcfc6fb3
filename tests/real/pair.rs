//! Two replicas of a group before one storage, what a test does to them, and what must be true of
//! the storage whatever it does.

use std::thread;
use std::time::{Duration, Instant};

use crate::judge::{ADDED, Expected, Verdict, Voices};
use crate::prometheus::{Batches, Edition, Prometheus, Setup};
use crate::stage::{SERIES, Stage};
use crate::target::now_ms;

/// The proxy's default `--health-expiry` and `--health-tick`.
pub const EXPIRY: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
/// The scrape interval of the replicas here.
pub const SCRAPE: Duration = Duration::from_secs(1);
/// What a busy machine may add to a deadline that is only waited for.
const SLACK: Duration = Duration::from_secs(5);
/// How soon a replica has pushed after its start: a Prometheus scrapes five seconds after it, then
/// comes a batch.
pub const FIRST_PUSH_MAX: Duration = Duration::from_secs(20);
/// How long a heavier source may be held until the one in the seat has delivered everything up to
/// the heavier one's first push.
pub const HELD_MAX: Duration = Duration::from_secs(10);
/// How long a pair runs before anything happens to it: the proxy knows the rhythm of both then.
pub const SETTLED: Duration = Duration::from_secs(12);
/// How long each voice is heard between two events: enough to see that it is steady.
pub const HEARD: Duration = Duration::from_secs(6);

/// The replicas of a pair, by their numbers.
pub const HEAVY: u64 = 1;
pub const LIGHT: u64 = 2;

/// What the log says of the election: a source takes an empty seat, or one with less weight.
pub const BIGGER: &str = "(bigger Highlander Weight) (0 -> 50)";
/// A source with no weight takes an empty seat.
pub const VACANT: &str = "(no current promoted source) (0)";
/// The one in the seat is silent for too long.
pub const LOST: &str = "lost source : '";

/// A pair of replicas.
pub struct Pair {
    /// All that is around it.
    pub stage: Stage,
    setups: [Setup; 2],
    running: [Option<Prometheus>; 2],
    /// When the first of them was promoted.
    promoted_ms: i64,
}

impl Pair {
    /// How a pair is set up of which both send at every scrape, and one is heavier.
    pub fn setups(editions: [Edition; 2]) -> [Setup; 2] {
        let setup = |replica, parameters, edition| Setup {
            edition,
            shards: 4,
            batches: Batches::EachScrape,
            ..Setup::new(replica, parameters)
        };
        [
            setup(HEAVY, "highlander_weight=50", editions[0]),
            setup(LIGHT, "highlander_weight=0", editions[1]),
        ]
    }

    /// Starts two replicas, the first of which is promoted, and lets them run for a while.
    pub fn start(stage: Stage, setups: [Setup; 2]) -> Pair {
        let [heavy, mut light] = setups;
        let first = stage.replica(&heavy);
        let (_, promoted_ms) = stage.proxy.await_election(1, FIRST_PUSH_MAX);
        let second = stage.replica_apart(&mut light, &[HEAVY]);
        thread::sleep(SETTLED);
        assert!(second.has_sent(), "the standby has sent nothing: it proves nothing");
        let running = [Some(first), Some(second)];
        Pair { stage, setups: [heavy, light], running, promoted_ms }
    }

    /// A replica that runs.
    pub fn replica(&self, number: u64) -> &Prometheus {
        self.running[index(number)].as_ref().expect("it runs")
    }

    /// Kills a replica without a word of warning; it was content until then.
    pub fn kill(&mut self, number: u64) {
        self.take(number).kill();
    }

    /// Asks a replica to end and waits: it sends what it has left.
    pub fn stop(&mut self, number: u64) {
        self.take(number).stop();
    }

    fn take(&mut self, number: u64) -> Prometheus {
        let replica = self.running[index(number)].take().expect("it runs");
        replica.assert_nothing_failed();
        replica
    }

    /// Starts a replica that has ended, with the data that it had.
    pub fn start_again(&mut self, number: u64) {
        let place = index(number);
        assert!(self.running[place].is_none(), "it runs");
        self.running[place] = Some(self.stage.replica(&self.setups[place]));
    }

    /// Waits until a replica has scraped this often from now on.
    pub fn await_scrapes(&self, number: u64, count: usize) {
        let scrapes = || self.stage.target.scrapes_ms(number).len();
        let wanted = scrapes() + count;
        let deadline = Instant::now() + SCRAPE * count as u32 + FIRST_PUSH_MAX;
        while scrapes() < wanted {
            assert!(Instant::now() < deadline, "replica {number} has scraped {} times", scrapes());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the promoted replica is lost after `told` lines of the election, and the seat
    /// goes to one with the weight 0.
    pub fn await_failover(&self, told: usize, silence_max: Duration) {
        let (line, _) = self.stage.proxy.await_election(told + 1, silence_max + TICK + SLACK);
        assert!(line.starts_with(LOST), "{line}");
        let (line, _) = self.stage.proxy.await_election(told + 2, SCRAPE + SLACK);
        assert!(line.ends_with(VACANT), "{line}");
    }

    /// Waits until the heavier replica has the seat, after `told` lines of the election.
    pub fn await_take_over(&self, told: usize) {
        let (line, _) = self.stage.proxy.await_election(told + 1, FIRST_PUSH_MAX + HELD_MAX);
        assert!(line.ends_with(BIGGER), "{line}");
    }

    /// Waits until what was scraped by now is stored, and checks that nothing is missing and
    /// nothing overlaps, from the first election on; that everything stored of a replica that runs
    /// is what this one has itself; and that these replicas are content.
    pub fn assert_whole(&self, voices: &[u64]) {
        let expected = Expected {
            series: SERIES + ADDED.len(),
            voices: Voices::Exactly(voices),
            scrape_ms: SCRAPE.as_millis() as i64,
            from_ms: self.promoted_ms,
            to_ms: now_ms(),
        };
        let arrival_max = self.setups.iter().map(|setup| setup.batches.arrival_max()).max();
        thread::sleep(arrival_max.expect("two replicas"));
        let stored = self.stage.storage.samples();
        let verdict = Verdict::of(&stored, &expected);
        self.stage.note(&verdict);
        verdict.assert_whole();
        for (setup, replica) in self.setups.iter().zip(&self.running) {
            let Some(replica) = replica else { continue };
            replica.assert_nothing_failed();
            if setup.edition != Edition::Agent {
                let foreign = stored.foreign_to(setup.replica, &replica.samples(3600));
                assert_eq!(foreign, 0, "samples that replica {} has not", setup.replica);
            }
        }
    }

    /// Checks that the log tells of the election exactly this, a part of each line.
    pub fn assert_told(&self, parts: &[&str]) {
        let told = self.stage.proxy.election();
        let same = told.len() == parts.len()
            && told.iter().zip(parts).all(|(line, part)| line.contains(part));
        assert!(same, "{parts:#?} are due, but {told:#?}");
    }
}

/// The place of a replica in a pair.
fn index(number: u64) -> usize {
    match number {
        HEAVY => 0,
        LIGHT => 1,
        _ => panic!("a pair has no replica {number}"),
    }
}
