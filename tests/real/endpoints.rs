//! Two storages side by side, each behind a queue of its own: one dies and is back, or the proxy does.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::pair::FIRST_PUSH_MAX;
use crate::program::free_port;
use crate::prometheus::{Batches, Prometheus, Setup};
use crate::proxy::{Place, Proxy};
use crate::stage::{SERIES, Stage, watch_or};
use crate::storage::{Kind, Storage};
use crate::target::now_ms;

/// What a queue still has of what was scraped last is sent by then, a pause before a retry included.
const DRAINED_MAX: Duration = Duration::from_secs(15);
/// A source tries again after 5 s at the latest.
const TRIED_AGAIN: Duration = Duration::from_secs(6);

struct Both {
    stage: Stage,
    victoria: Storage,
    sender: Prometheus,
}

impl Both {
    /// One Prometheus with 8 shards that writes to a Prometheus and a VictoriaMetrics.
    fn start(name: &'static str, sync: &str) -> Both {
        let mut victoria = None;
        let stage = Stage::set_with(name, SERIES, Kind::Prometheus, |dir, port| {
            let other = dir.join("victoria");
            fs::create_dir(&other).expect("a new folder");
            let storage = victoria.insert(Storage::start(&other, Kind::OldVictoria));
            start_proxy(dir, &[port, storage.port()], sync)
        });
        let setup = Setup {
            shards: 8,
            batches: Batches::EachScrape,
            ..Setup::new(1, "highlander_weight=50")
        };
        let sender = stage.replica(&setup);
        stage.proxy.await_election(1, FIRST_PUSH_MAX);
        Both { victoria: victoria.expect("it was started"), stage, sender }
    }

    /// Both have all that the sender has, once; `resent` says whether the same may come again.
    fn assert_whole(&self, resent: bool) {
        let to_ms = now_ms();
        thread::sleep(Batches::EachScrape.arrival_max() + DRAINED_MAX);
        let own = self.sender.samples(3600);
        for (name, storage) in [("prometheus", &self.stage.storage), ("victoria", &self.victoria)] {
            let stored = storage.samples();
            let stored = if resent { stored.once().0 } else { stored };
            let tally = stored.against(&own, own.oldest_ms(), to_ms);
            self.stage.note(&format_args!("{name}: {tally}"));
            tally.assert_exactly_once();
        }
        self.sender.assert_nothing_failed();
    }
}

fn start_proxy(dir: &Path, ports: &[u16], sync: &str) -> Proxy {
    let address = ([127, 0, 0, 1], free_port()).into();
    let mut config = String::from("remote_write:\n");
    for port in ports {
        let queue = dir.join(format!("queue-{port}"));
        let _ = write!(
            config,
            "  - url: http://127.0.0.1:{port}/api/v1/write\n    delivery: queued\n    queue:\n      \
             dir: {}\n      sync: {sync}\n",
            queue.display()
        );
    }
    let path = dir.join("highlander.yml");
    fs::write(&path, config).expect("a new file");
    let args =
        ["--listen".into(), format!("{address}"), "--config".into(), path.display().to_string()];
    Proxy::start_at(Place {
        dir: dir.to_owned(),
        name: "proxy".to_owned(),
        address,
        by: Vec::new(),
        args: args.into(),
    })
}

#[test]
fn a_storage_that_is_down_costs_the_other_nothing_and_gets_all_of_it_when_it_is_back() {
    let mut both = Both::start("endpoint-down", "200ms");
    both.stage.storage.kill();
    let down = watch_or(Duration::from_secs(20));
    thread::sleep(down);
    // The other one waits for nothing.
    let newest_ms = both.victoria.samples().newest_ms();
    let behind = now_ms() - newest_ms;
    both.stage.note(&format_args!("the other one is {behind} ms behind after {down:?}"));
    assert!(behind < 8_000, "the other one is {behind} ms behind");
    both.stage.storage.start_again();
    both.assert_whole(false);
}

#[test]
fn after_kills_of_the_proxy_everything_acknowledged_is_at_both_storages() {
    let mut both = Both::start("endpoint-kill-9", "always");
    let kills = watch_or(Duration::from_secs(15)).as_secs() / 3;
    for _ in 0..kills {
        thread::sleep(Duration::from_secs(2));
        both.stage.proxy.kill();
        both.stage.proxy.start_again();
    }
    both.stage.note(&format_args!("killed {kills} times"));
    thread::sleep(TRIED_AGAIN);
    both.assert_whole(true);
}
