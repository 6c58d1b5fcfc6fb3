//! What every test has on its stage: a target, a storage, the proxy between, and a directory.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::fresh_dir;
use crate::prometheus::{Batches, Prometheus, Setup};
use crate::proxy::Proxy;
use crate::storage::{Kind, Storage};
use crate::target::{Target, now_ms};

/// How many series a target has, where the load is to be that of a small shop.
pub const SERIES: usize = 3000;

/// A test's surroundings.
pub struct Stage {
    name: &'static str,
    started: Instant,
    /// Where its files are.
    pub dir: PathBuf,
    /// What the replicas scrape.
    pub target: Target,
    /// Where the samples go.
    pub storage: Storage,
    /// What they go through.
    pub proxy: Proxy,
}

impl Stage {
    /// Sets it up under the test's name; `flags` are the proxy's.
    pub fn set(name: &'static str, series: usize, kind: Kind, flags: &[&str]) -> Stage {
        Stage::set_with(name, series, kind, |dir, port| Proxy::start(dir, port, flags))
    }

    /// The same with a proxy that is started before the storage on this port.
    pub fn set_with(
        name: &'static str,
        series: usize,
        kind: Kind,
        start: impl FnOnce(&Path, u16) -> Proxy,
    ) -> Stage {
        let dir = fresh_dir(name);
        let target = Target::start(series);
        let storage = Storage::start(&dir, kind);
        let proxy = start(&dir, storage.port());
        Stage { name, started: Instant::now(), dir, target, storage, proxy }
    }

    /// Starts a replica that writes through the proxy.
    pub fn replica(&self, setup: &Setup) -> Prometheus {
        Prometheus::start(&self.dir, setup, &self.target, &[self.proxy.address()])
    }

    /// Starts a replica whose scrapes are apart from those of the `others`.
    pub fn replica_apart(&self, setup: &mut Setup, others: &[u64]) -> Prometheus {
        Prometheus::start_apart(&self.dir, setup, others, &self.target, &[self.proxy.address()])
    }

    /// Checks what a steady state must show: one voice from the first sample to now, every sample
    /// of it once, a sender that is content, and this many lines about the election.
    pub fn assert_steady(&self, promoted: &Prometheus, batches: Batches, told: usize) {
        let to_ms = now_ms();
        thread::sleep(batches.arrival_max());
        let own = promoted.samples(self.started.elapsed().as_secs() + 60);
        let tally = self.storage.samples().against(&own, own.oldest_ms(), to_ms);
        self.note(&format_args!("{tally}, sent again {}", promoted.samples_retried()));
        tally.assert_exactly_once();
        promoted.assert_nothing_failed();
        assert_eq!(self.proxy.election().len(), told, "{:#?}", self.proxy.election());
    }

    /// Says something about this test to whoever watches.
    pub fn note(&self, what: &dyn Display) {
        note(self.name, what);
    }
}

/// Says something about a test to whoever watches, whether it passes or not: libtest swallows what
/// a passing test prints.
pub fn note(name: &str, what: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{name}: {what}");
}

/// How long a steady state is watched.
pub fn watch() -> Duration {
    watch_or(Duration::from_secs(25))
}

/// How long something is watched, if it is not given.
pub fn watch_or(default: Duration) -> Duration {
    let given = std::env::var("HIGHLANDER_REAL_SECONDS").ok();
    let seconds = given.map(|text| text.parse().expect("HIGHLANDER_REAL_SECONDS is a number"));
    seconds.map_or(default, Duration::from_secs)
}
