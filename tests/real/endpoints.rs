//! Storages side by side, each behind a queue of its own: one dies or hangs and is back, one wants
//! nothing that it is sent, the disk of one is full, or the proxy dies.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::door::Door;
use crate::pair::FIRST_PUSH_MAX;
use crate::program::{LOCAL, free_port};
use crate::prometheus::{Batches, Prometheus, Setup};
use crate::proxy::{Place, Proxy};
use crate::stage::{SERIES, Stage, watch_or};
use crate::storage::{Kind, Storage};
use crate::target::now_ms;

/// What a queue still has of what was scraped last is sent by then, a pause before a retry included.
const DRAINED_MAX: Duration = Duration::from_secs(15);
/// A source tries again after 5 s at the latest.
const TRIED_AGAIN: Duration = Duration::from_secs(6);

/// How the queues are made.
#[derive(Clone, Copy, Debug)]
struct Queues<'a> {
    sync: &'a str,
    /// Another endpoint, besides the two storages.
    third: Option<u16>,
    /// The queue of the first storage has a disk of its own, in memory, of so many MiB.
    disk_mib: Option<u64>,
}

impl Queues<'_> {
    fn synced(sync: &str) -> Queues<'_> {
        Queues { sync, third: None, disk_mib: None }
    }
}

struct Both {
    stage: Stage,
    victoria: Storage,
    sender: Prometheus,
}

impl Both {
    /// One Prometheus with 8 shards that writes to a Prometheus and a VictoriaMetrics.
    fn start(name: &'static str, queues: Queues) -> Both {
        let mut victoria = None;
        let stage = Stage::set_with(name, SERIES, Kind::Prometheus, |dir, port| {
            let other = dir.join("victoria");
            fs::create_dir(&other).expect("a new folder");
            let storage = victoria.insert(Storage::start(&other, Kind::OldVictoria));
            start_proxy(dir, [port, storage.port()], queues)
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

    /// How far the second storage is behind, in milliseconds; it should wait for nothing.
    fn assert_the_other_is_fresh(&self) {
        let behind = now_ms() - self.victoria.samples().newest_ms();
        self.stage.note(&format_args!("the other one is {behind} ms behind"));
        assert!(behind < 8_000, "the other one is {behind} ms behind");
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

fn start_proxy(dir: &Path, storages: [u16; 2], queues: Queues) -> Proxy {
    let address = ([127, 0, 0, 1], free_port()).into();
    let mut config = String::new();
    if queues.disk_mib.is_some() {
        // Less than the queue, which is less than its disk.
        config.push_str("max_body: 4MiB\n");
    }
    config.push_str("remote_write:\n");
    for port in storages.into_iter().chain(queues.third) {
        let _ = write!(
            config,
            "  - url: http://127.0.0.1:{port}/api/v1/write\n    remote_timeout: 5s\n    \
             delivery: queued\n    queue:\n      dir: {}\n      sync: {}\n",
            queue_of(dir, port).display(),
            queues.sync
        );
        if queues.disk_mib.is_some() {
            // A segment is an eighth of it.
            config.push_str("      max_size: 16MiB\n");
        }
    }
    let path = dir.join("highlander.yml");
    fs::write(&path, config).expect("a new file");
    let args =
        ["--listen".into(), format!("{address}"), "--config".into(), path.display().to_string()];
    let own_disk = queues.disk_mib.map(|mib| {
        let queue = queue_of(dir, storages[0]);
        fs::create_dir(&queue).expect("a new folder");
        let mount = format!("mount -t tmpfs -o size={mib}m queue '{}'", queue.display());
        // It goes with the process.
        let by = ["/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c"].map(str::to_owned);
        [&by[..], &[format!("{mount} && exec \"$0\" \"$@\"")]].concat()
    });
    Proxy::start_at(Place {
        dir: dir.to_owned(),
        name: "proxy".to_owned(),
        address,
        by: own_disk.unwrap_or_default(),
        args: args.into(),
    })
}

fn queue_of(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!("queue-{port}"))
}

/// An endpoint that wants nothing that it is sent; counts what it was sent.
fn unwilling(asked: Arc<AtomicUsize>) -> Door {
    Door::open(LOCAL, move |stream| reject_all(stream, &asked))
}

fn reject_all(mut stream: TcpStream, asked: &AtomicUsize) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 14\r\n\r\nno such tenant";
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
            asked.fetch_add(1, Ordering::Relaxed);
            stream.write_all(ANSWER)?;
        }
        line.clear();
    }
    Ok(())
}

#[test]
fn a_storage_that_is_down_costs_the_other_nothing_and_gets_all_of_it_when_it_is_back() {
    let mut both = Both::start("endpoint-down", Queues::synced("200ms"));
    both.stage.storage.kill();
    let down = watch_or(Duration::from_secs(20));
    thread::sleep(down);
    both.assert_the_other_is_fresh();
    both.stage.storage.start_again();
    both.assert_whole(false);
}

#[test]
fn after_kills_of_the_proxy_everything_acknowledged_is_at_both_storages() {
    let mut both = Both::start("endpoint-kill-9", Queues::synced("always"));
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

#[test]
fn a_storage_that_hangs_and_one_that_wants_nothing_cost_the_other_nothing() {
    let asked = Arc::<AtomicUsize>::default();
    let door = unwilling(Arc::clone(&asked));
    let third = Some(door.address().port());
    let both = Both::start("endpoint-hangs", Queues { third, ..Queues::synced("200ms") });
    both.stage.storage.freeze();
    thread::sleep(watch_or(Duration::from_secs(20)));
    both.assert_the_other_is_fresh();
    let (rejected, log) = (asked.load(Ordering::Relaxed), both.stage.proxy.log());
    let told = log.lines().filter(|line| line.contains("rejected a request")).count();
    both.stage.note(&format_args!("{rejected} requests were rejected, and {told} lines say so"));
    // Once a minute, with the endpoint's own words.
    assert!(rejected > 10 && (1..=3).contains(&told), "{rejected} rejected, {told} lines");
    assert!(log.contains("400: no such tenant"));
    both.stage.storage.thaw();
    // What it was sent while it hung it has read, and what was given up is sent again.
    both.assert_whole(true);
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_all_of_it_comes_later() {
    const FULL_MAX: Duration = Duration::from_secs(90);
    let queues = Queues { disk_mib: Some(3), ..Queues::synced("200ms") };
    let mut both = Both::start("endpoint-full-disk", queues);
    both.stage.storage.kill();
    let deadline = Instant::now() + FULL_MAX;
    while !both.stage.proxy.log().contains("the disk is full") {
        assert!(Instant::now() < deadline, "3 MiB are not full after {FULL_MAX:?}");
        thread::sleep(Duration::from_millis(100));
    }
    // Its sources keep what they are refused, and try again.
    thread::sleep(watch_or(Duration::from_secs(10)));
    assert!(both.sender.samples_retried() > 0.0, "nothing was refused");
    both.stage.storage.start_again();
    thread::sleep(TRIED_AGAIN);
    both.assert_whole(false);
}
