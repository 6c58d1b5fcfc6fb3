//! The queue on real files, with its thread.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use highlander::base::time::{Millis, UnixMillis};
use highlander::io::queue::append::{Append, Outcome, Refusal};
use highlander::io::queue::files::Files;
use highlander::io::queue::inbox::Inbox;
use highlander::io::queue::order::{Order, Ticket, Waiting};
use highlander::io::queue::store::Store;
use highlander::io::queue::thread::Running;
use highlander::io::queue::works::Works;
use highlander::logic::queue::setting::{OnFull, Setting, Sync};
use highlander::wire::queue::segment::{self, SegmentHead};
use highlander::wire::queue::sequence::{Salt, Sequence, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;

use crate::dice::Dice;

const HEAD: &str = "POST /api/v1/write HTTP/1.1\r\nUser-Agent: Prometheus/3.5.0\r\nContent-Encoding: \
    snappy\r\nContent-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
    Content-Length: 40000\r\n\r\n";

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("highlander-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Place(path)
    }

    fn start(&self, sync: Sync) -> Running {
        let setting = Setting { sync, ..Setting::default() };
        Running::start(&self.0, setting, Salt(7), Arc::new(|| {})).expect("it is ours")
    }

    fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let entries = std::fs::read_dir(&self.0).expect("it is there");
        let blocks = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.and_then(|it| it.metadata()).map_or(0, |about| about.blocks() * 512)
        };
        entries.map(blocks).sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn append(number: u64, body_bytes: usize) -> Append {
    let mut dice = Dice::new(number);
    let mut bytes = HEAD.as_bytes().to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend((1..body_bytes / 8).flat_map(|_| dice.next().to_le_bytes()));
    let push = Push::new(bytes, HEAD.len(), Protocol::V1);
    Append::of(push, SourceKey(1), UnixMillis(0), Some(number.into()))
}

fn number(push: &Push) -> u64 {
    u64::from_le_bytes(*push.body().first_chunk().expect("each has a number"))
}

/// Appends `count` records, no more than 500 of which are under way; how long that took.
fn fill(running: &Running, count: u64, body_bytes: usize) -> Duration {
    let (waiting, heard) = Waiting::new(Box::new(|| {}));
    let began = Instant::now();
    let mut told = 0;
    for id in 0..count {
        let ticket = Ticket { id, waiting: waiting.clone() };
        running.queue.append(append(id, body_bytes), ticket).expect("there is room");
        if id >= 500 {
            told += await_stored(&heard);
        }
    }
    while told < count {
        told += await_stored(&heard);
    }
    began.elapsed()
}

fn await_stored(heard: &Receiver<(u64, Outcome)>) -> u64 {
    let (_, outcome) = heard.recv_timeout(Duration::from_secs(20)).expect("each is told of");
    assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
    1
}

/// Sends all that there is, `count` records.
fn drain(running: &Running, from: u64, count: u64) {
    for expected in from..from + count {
        let entry = running.entries.recv_timeout(Duration::from_secs(20)).expect("there is more");
        assert_eq!(number(&entry.push), expected, "they come in order, and each once");
        running.queue.sent(entry.label.sequence);
    }
}

/// With a disk that is slow it is the thread that writes down what has been sent.
fn await_emptied(running: &Running) {
    let began = Instant::now();
    while running.queue.depth().records() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "something is left");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_stored_comes_out_after_a_restart_and_is_not_stored_twice() {
    for sync in [Sync::Always, Setting::default().sync, Sync::Never] {
        let place = Place::new("restart");
        let running = place.start(sync);
        fill(&running, 300, 2_000);
        let (waiting, heard) = Waiting::new(Box::new(|| {}));
        running.queue.append(append(299, 2_000), Ticket { id: 9, waiting }).expect("there is room");
        let (id, outcome) = heard.recv_timeout(Duration::from_secs(20)).expect("it is told of");
        assert!(id == 9 && matches!(outcome, Outcome::Known(_)), "{outcome:?}");
        drain(&running, 0, 100);
        running.stop();
        let running = place.start(sync);
        drain(&running, 100, 200);
        assert!(running.entries.recv_timeout(Duration::from_millis(50)).is_err());
        await_emptied(&running);
        running.stop();
    }
}

#[test]
fn who_hears_that_it_is_stored_sees_that_it_waits() {
    let place = Place::new("depth");
    let running = place.start(Sync::Never);
    let queue = running.queue.clone();
    let (see, seen) = crossbeam::channel::unbounded();
    let bell = move || see.send(queue.depth().records()).expect("the test waits for it");
    let (waiting, heard) = Waiting::new(Box::new(bell));
    for count in 1..=3 {
        let ticket = Ticket { id: count, waiting: waiting.clone() };
        running.queue.append(append(count, 100), ticket).expect("there is room");
        await_stored(&heard);
        assert_eq!(seen.recv_timeout(Duration::from_secs(20)), Ok(count));
    }
    running.stop();
}

/// As cores do: what can't be stored at once is given to the thread, and waited for; how many were.
fn store_as_a_core(running: &Running, source: u64, numbers: Range<u64>) -> usize {
    let (waiting, heard) = Waiting::new(Box::new(|| {}));
    let mut at_once = 0;
    for number in numbers {
        let append = Append { source: SourceKey(source), ..append(source << 32 | number, 3_000) };
        match running.queue.append_now(&append, || false) {
            Some(outcome) => {
                assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
                at_once += 1;
            }
            None => {
                let ticket = Ticket { id: number, waiting: waiting.clone() };
                running.queue.append(append, ticket).expect("there is room");
                await_stored(&heard);
            }
        }
        running.queue.settled(SourceKey(source), (source << 32 | number).into());
    }
    at_once
}

/// So many from each, and takes them out in order; how many were stored at once.
fn store_as_three_cores(each: u64) -> usize {
    let place = Place::new("at-once");
    let running = place.start(Sync::Every(Millis(20)));
    let at_once: usize = std::thread::scope(|scope| {
        let running = &running;
        let of_one = |source| scope.spawn(move || store_as_a_core(running, source, 0..each));
        let cores: Vec<_> = (0..3).map(of_one).collect();
        let mut next = [0; 3];
        for _ in 0..3 * each {
            let entry = running.entries.recv_timeout(Duration::from_secs(20)).expect("more comes");
            let (source, number) = (number(&entry.push) >> 32, number(&entry.push) << 32 >> 32);
            assert_eq!(number, next[source as usize], "of source {source}");
            next[source as usize] += 1;
            running.queue.sent(entry.label.sequence);
        }
        cores.into_iter().map(|core| core.join().expect("it stores all")).sum()
    });
    await_emptied(&running);
    let queue = running.queue.clone();
    running.stop();
    assert!(queue.append_now(&append(1, 100), || false).is_none(), "it is closed");
    drain(&place.start(Sync::Never), 0, 0);
    at_once
}

#[test]
fn cores_store_at_once_beside_each_other_and_the_thread_in_order() {
    const EACH: u64 = 3_000;
    // One is found free far more often than not, but never always. Where one has to wait for its turn on the
    // processor that looks like a slow disk, and for a while all is left to the thread: then once more.
    let both = 1..3 * EACH as usize;
    let mut tries = std::iter::repeat_with(|| store_as_three_cores(EACH)).take(5);
    assert!(tries.any(|at_once| both.contains(&at_once)), "one way only, five times");
}

#[test]
fn what_must_be_synced_first_is_not_stored_at_once() {
    let place = Place::new("always");
    let running = place.start(Sync::Always);
    fill(&running, 3, 100);
    assert!(running.queue.append_now(&append(9, 100), || false).is_none());
    running.stop();
}

#[test]
fn what_was_stored_at_once_rings_unless_it_is_seen_to() {
    let place = Place::new("in-time");
    let (ring, rung) = crossbeam::channel::unbounded();
    let setting = Setting { sync: Sync::Every(Millis(30)), ..Setting::default() };
    let bell = Arc::new(move || ring.send(()).expect("the test waits for it"));
    let running = Running::start(&place.0, setting, Salt(7), bell).expect("it is ours");
    fill(&running, 1, 100);
    drain(&running, 0, 1);
    std::thread::sleep(Duration::from_millis(100));
    rung.try_iter().for_each(drop);
    for (number, is_seen_to) in [(1, true), (2, false)] {
        let stored = running.queue.append_now(&append(number, 100), || is_seen_to);
        assert!(matches!(stored, Some(Outcome::Stored(_))), "{stored:?}");
        drain(&running, number, 1);
        assert_eq!(rung.try_iter().count(), usize::from(!is_seen_to));
    }
    running.stop();
}

#[test]
fn the_thread_is_told_once_that_something_is_to_be_synced() {
    let place = Place::new("told-once");
    let setting = Setting { sync: Sync::Every(Millis(0)), ..Setting::default() };
    let files = Files::open(&place.0).expect("it is ours");
    let store = Store::open(files, setting, Salt(7)).expect("it is empty");
    let (mut works, _given) = Works::new(store, setting);
    let inbox = Inbox::new(9);
    let (waiting, _heard) = Waiting::new(Box::new(|| {}));
    let order = Order::Append(append(0, 100), Ticket { id: 0, waiting });
    inbox.put(order).expect("there is room");
    works.turn(&inbox);
    let mut is_told = |number| {
        works.append_now(&append(number, 100)).map(|now| (now.wakes_thread, works.due().is_some()))
    };
    assert_eq!([1, 2].map(&mut is_told), [Some((true, true)), Some((false, true))]);
    works.turn(&inbox);
    assert_eq!(works.append_now(&append(3, 100)).map(|now| now.wakes_thread), Some(true));
}

#[test]
fn on_a_slow_disk_no_core_writes() {
    let place = Place::new("slow");
    let (ring, rung) = crossbeam::channel::unbounded();
    let bell = Arc::new(move || ring.send(()).expect("the test waits for it"));
    let running = Running::start(&place.0, Setting::default(), Salt(7), bell).expect("it is ours");
    let queue = &running.queue;
    fill(&running, 2, 100);
    let next = || running.entries.recv_timeout(Duration::from_secs(20)).expect("there is more");
    assert!(matches!(queue.append_now(&append(2, 100), || false), Some(Outcome::Stored(_))));
    let [first, second] = [next(), next()].map(|entry| entry.label.sequence);
    assert_eq!(queue.sent(first), first);
    let pace = queue.pace();
    pace.watch(pace.now(), || std::thread::sleep(Duration::from_millis(20)));
    assert!(queue.append_now(&append(3, 100), || false).is_none());
    // The bell has rung for what was given out, and does for what is marked.
    std::thread::sleep(Duration::from_millis(50));
    rung.try_iter().for_each(drop);
    queue.sent(second);
    rung.recv_timeout(Duration::from_secs(20)).expect("it is marked");
    assert_eq!(queue.depth().sent(), second);
    running.stop();
}

/// Offers these, one after the other; what became of each.
fn offer(running: &Running, bytes: &[usize]) -> Vec<Outcome> {
    let (waiting, heard) = Waiting::new(Box::new(|| {}));
    let of_one = |(id, bytes): (u64, &usize)| {
        let ticket = Ticket { id, waiting: waiting.clone() };
        running.queue.append(append(id, *bytes), ticket).expect("there is room");
        heard.recv_timeout(Duration::from_secs(20)).expect("it is told of").1
    };
    (0..).zip(bytes).map(of_one).collect()
}

#[test]
fn what_makes_room_while_nobody_sends_leaves_no_hole() {
    let place = Place::new("hole");
    let setting = Setting {
        on_full: OnFull::DropOldest,
        bytes_max: 80_000,
        in_flight_max: 4,
        ..Setting::default()
    };
    let running = Running::start(&place.0, setting, Salt(7), Arc::new(|| {})).expect("it is ours");
    let outcomes = offer(&running, &[2_000; 400]);
    assert!(outcomes.iter().all(|it| matches!(it, Outcome::Stored(_))), "the oldest make room");
    // What is taken out late may have been dropped, and is none the worse for it.
    let (began, mut newest) = (Instant::now(), 0);
    while running.queue.depth().records() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing comes after {newest}");
        let taken = running.entries.recv_timeout(Duration::from_millis(50));
        let Ok(entry) = taken else { continue };
        newest = number(&entry.push);
        running.queue.sent(entry.label.sequence);
    }
    assert_eq!(newest, 399);
    running.stop();
}

#[test]
fn what_could_never_be_stored_makes_no_room() {
    for on_full in [OnFull::DropOldest, OnFull::Refuse] {
        let place = Place::new("long");
        let setting = Setting { on_full, bytes_max: 80_000, ..Setting::default() };
        let running =
            Running::start(&place.0, setting, Salt(7), Arc::new(|| {})).expect("it is ours");
        let outcomes = offer(&running, &[5_000, 5_000, 90_000, 5_000]);
        let long = Outcome::Refused(Refusal::TooLong);
        assert_eq!(outcomes.iter().filter(|it| **it == long).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes[2], long);
        drain(&running, 0, 2);
        let entry = running.entries.recv_timeout(Duration::from_secs(20)).expect("there is more");
        assert_eq!(number(&entry.push), 3);
        running.stop();
    }
}

#[test]
fn a_directory_in_use_or_of_another_version_is_refused() {
    let place = Place::new("refused");
    let running = place.start(Sync::Always);
    let setting = Setting::default();
    let again = Running::start(&place.0, setting, Salt(8), Arc::new(|| {}));
    assert!(again.is_err_and(|error| error.to_string().contains("unavailable")));
    running.stop();

    let mut head = SegmentHead { number: Sequence(1), salt: Salt(7) }.encode();
    head[8] = 3;
    let check = Salt(0).checksum(0, &head[..32]).to_le_bytes();
    head[32..].copy_from_slice(&check);
    let path = place.0.join(segment::name(Sequence(1)));
    std::fs::write(&path, head).expect("it is ours");
    let again = Running::start(&place.0, setting, Salt(8), Arc::new(|| {}));
    assert!(again.is_err_and(|error| error.to_string() == "is of version 3, not 2"));
    assert_eq!(std::fs::read(path).expect("it is there"), head, "it was not touched");
}

/// The claims in figures; `QUEUE_BACKLOG_MB=2000` for those of a large backlog, `QUEUE_SYNC=always` or
/// `never` for those of another setting.
#[test]
fn a_backlog_takes_little_more_than_its_bodies_and_starts_at_once() {
    let mb = std::env::var("QUEUE_BACKLOG_MB").ok().and_then(|it| it.parse().ok()).unwrap_or(120);
    let sync = match std::env::var("QUEUE_SYNC").as_deref() {
        Ok("always") => Sync::Always,
        Ok("never") => Sync::Never,
        _ => Setting::default().sync,
    };
    let body_bytes: usize = 40_000;
    let count = mb * 1_000_000 / body_bytes as u64;
    let place = Place::new("backlog");
    let running = place.start(sync);
    let filled = fill(&running, count, body_bytes);
    running.stop();
    let bytes = place.bytes();
    let part = bytes as f64 / (count * body_bytes as u64) as f64 - 1.0;
    let began = Instant::now();
    let running = place.start(sync);
    let started = began.elapsed();
    drain(&running, 0, count);
    let drained = began.elapsed();
    running.stop();
    println!(
        "{mb} MB: filled in {filled:?}, +{:.2} %, started in {started:?}, drained in {drained:?}, {} KB at most",
        part * 100.0,
        peak_kb()
    );
    assert!(part < 0.02, "{bytes} bytes on disk");
    assert!(started < Duration::from_secs(1), "{started:?}");
    assert!(place.bytes() < 64 * 1024 * 1024, "what was sent is gone");
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
