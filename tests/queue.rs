//! The queue under one seed: production logic on a disk that tears what it writes, forgets what was not
//! synced, rots, fills up and fails; checked against a list of what was acknowledged.
//!
//! `QUEUE_SEEDS=n` runs so many seeds, from `QUEUE_FROM=n` on; `QUEUE_SEED=n` one alone. A failure
//! prints the seed and how to run it again.

#[path = "sim/dice.rs"]
mod dice;
#[path = "queue/disk.rs"]
mod disk;
#[path = "queue/faults.rs"]
mod faults;
#[path = "queue/list.rs"]
mod list;
#[path = "queue/mutation.rs"]
mod mutation;
#[path = "queue/real.rs"]
mod real;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "queue/world.rs"]
mod world;

use highlander::base::time::{Millis, UnixMillis};
use highlander::io::queue::append::{Append, Outcome, Refusal};
use highlander::io::queue::disk::Disk;
use highlander::io::queue::notice::Notice;
use highlander::io::queue::spares::Spares;
use highlander::io::queue::store::Store;
use highlander::logic::queue::chain::Link;
use highlander::logic::queue::setting::{OnFull, OutOfOrder, Setting};
use highlander::logic::queue::trouble::Fault;
use highlander::wire::queue::mark::FILE_BYTES;
use highlander::wire::queue::segment;
use highlander::wire::queue::sequence::{Salt, Sequence, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;

use mutation::Mutation;
use seeds::Seeds;

/// Seeds without `QUEUE_SEEDS`: all must pass.
const SEEDS: u64 = 20_000;
/// Of these, at least one must find each mutation.
const SEEDS_OF_MUTATION: u64 = 500;

const QUEUE: Seeds = Seeds { prefix: "QUEUE", target: "queue" };

/// A request of 1000 bytes.
fn request(hash: Option<u128>) -> Append {
    request_of(1000, hash)
}

fn request_of(bytes: usize, hash: Option<u128>) -> Append {
    let push = Push::new(vec![b'x'; bytes], 10, Protocol::V1);
    Append::of(push, SourceKey(1), UnixMillis(0), hash)
}

fn open(disk: &disk::SimDisk) -> Store<disk::SimDisk> {
    Store::open(disk.clone(), Setting::default(), Salt(1)).expect("it works")
}

fn store_one(store: &mut Store<disk::SimDisk>, now: Millis) {
    let stored = store.append(&[request(None)], now);
    assert!(matches!(stored[..], [Outcome::Stored(_)]), "{stored:?}");
}

/// Sends no more than so many; how many there were.
fn send_some(store: &mut Store<disk::SimDisk>, now: Millis, count: u64) -> u64 {
    let mut sent = 0;
    while sent < count
        && let Some(entry) = store.next(now)
    {
        store.progress().lock().on_sent(entry.label.sequence);
        sent += 1;
    }
    sent
}

/// Sends all that there is, at `now`.
fn send_all(store: &mut Store<disk::SimDisk>, now: Millis) {
    while let Some(entry) = store.next(now) {
        store.progress().lock().on_sent(entry.label.sequence);
    }
}

/// Once every source was refused for ever: the one segment that there was room for had been sent, but
/// stayed until the next was begun.
#[test]
fn a_disk_that_one_segment_fills_takes_more_when_that_has_been_sent() {
    let setting = Setting { bytes_max: 1_000_000, ..Setting::default() };
    let disk = disk::SimDisk::new(1, Mutation::None);
    disk.0.borrow_mut().capacity = FILE_BYTES + setting.segment_bytes();
    let mut store = Store::open(disk, setting, Salt(1)).expect("there is room");
    let (mut refused, mut stored) = (0, 0);
    for number in 0..1000 {
        let now = Millis(number * 1500);
        match store.append(&[request(Some(number.into()))], now)[..] {
            [Outcome::Stored(_)] => stored += 1,
            [Outcome::Refused(Refusal::DiskFull)] => refused += 1,
            ref other => panic!("{other:?}"),
        }
        send_all(&mut store, now);
    }
    // Each time that it was full, one is refused.
    assert!(stored > 900 && refused > 3, "{stored} stored, {refused} refused");
}

/// Once the second try took it for one that the file held before it was this segment.
#[test]
fn a_record_whose_reading_failed_is_read_again() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    open(&disk).append(&[request(None)], Millis(0));
    let mut store = open(&disk);
    // The file is opened; its frame is read, and then not its body; then that too.
    let read = [(2000, Some(1)), (4000, Some(1)), (6000, None)].map(|(now, acts_left)| {
        disk.0.borrow_mut().faults.acts_left = acts_left;
        let read = store.next(Millis(now));
        disk.0.borrow_mut().faults.is_crashed = false;
        read.map(|entry| entry.push.whole().len())
    });
    assert_eq!(read, [None, None, Some(1000)]);
}

/// Once the start that had cut it could still fail, and the next found nothing to tell of.
#[test]
fn a_damaged_tail_is_told_of_however_many_starts_it_takes() {
    let mut disk = disk::SimDisk::new(1, Mutation::None);
    let stored = open(&disk).append(&[request(None)], Millis(0));
    let [Outcome::Stored(number)] = stored[..] else { panic!("{stored:?}") };
    let file = Disk::open(&mut disk, &segment::name(number)).expect("it is there");
    disk.write(&file, 500, b"rotten").expect("it works");
    for acts in 0.. {
        disk.0.borrow_mut().faults.acts_left = Some(acts);
        let opened = Store::open(disk.clone(), Setting::default(), Salt(1));
        disk.0.borrow_mut().faults.is_crashed = false;
        if let Ok(mut store) = opened {
            let notices = store.take_notices();
            assert!(acts > 5 && matches!(notices[..], [Notice::Cut(_)]), "{acts}: {notices:?}");
            return;
        }
    }
}

/// Once it was still open, waiting for its sync, and filled the disk until that was over.
#[test]
fn a_segment_that_is_sent_gives_its_room_back_at_once() {
    let setting = Setting { bytes_max: 1_000_000, ..Setting::default() };
    let disk = disk::SimDisk::new(1, Mutation::None);
    disk.0.borrow_mut().capacity = FILE_BYTES + setting.segment_bytes();
    let mut store = Store::open(disk, setting, Salt(1)).expect("there is room");
    let store_one = |store: &mut Store<_>| store.append(&[request(None)], Millis(1000)).remove(0);
    let last = loop {
        if let Outcome::Refused(refusal) = store_one(&mut store) {
            break refusal;
        }
    };
    assert_eq!(last, Refusal::DiskFull);
    send_all(&mut store, Millis(1000));
    assert!(matches!(store_one(&mut store), Outcome::Stored(_)));
}

/// A second sync would be believed, and the slot of the only mark that is on disk be written over.
#[test]
fn a_mark_whose_sync_has_failed_is_written_once_more() {
    for seed in 0..20 {
        let disk = disk::SimDisk::new(seed, Mutation::None);
        let mut store = open(&disk);
        store.append(&[request(None)], Millis(1000));
        send_all(&mut store, Millis(1000));
        let sent = store.sent();
        disk.0.borrow_mut().faults.per_mille = 1000;
        store.turn(Millis(1200));
        disk.0.borrow_mut().faults.per_mille = 0;
        (1..4).for_each(|second| store.turn(Millis(1200 + second * 1000)));
        drop(store);
        disk.0.borrow_mut().cut_power();
        assert_eq!((open(&disk).sent(), sent), (sent, Sequence(1)));
    }
}

/// Once only those at the ends were asked, and neither needs to have been synced.
#[test]
fn any_head_says_the_salt() {
    let mut disk = disk::SimDisk::new(1, Mutation::None);
    let setting = Setting { bytes_max: 16_000, ..Setting::default() };
    let mut store = Store::open(disk.clone(), setting, Salt(1)).expect("it works");
    for _ in 0..5 {
        store.append(&[request(None)], Millis(1000));
    }
    drop(store);
    disk.remove("sent").expect("it is there");
    let names = disk.list().expect("it works");
    assert_eq!(names.len(), 5);
    for (name, _) in [&names[0], &names[4]] {
        let file = Disk::open(&mut disk, name).expect("it is there");
        disk.write(&file, 0, &[0; 40]).expect("it works");
    }
    let mut store = Store::open(disk, setting, Salt(2)).expect("it works");
    let read = std::iter::from_fn(|| store.next(Millis(2000))).count();
    assert_eq!(read, 5);
}

/// Nothing else would keep a power cut from making holes of them, which are told of as lost.
#[test]
fn what_was_sent_before_its_sync_was_due_is_in_the_mark_for_good_and_not_synced() {
    for seed in 0..20 {
        let disk = disk::SimDisk::new(seed, Mutation::None);
        let mut store = open(&disk);
        store.append(&[request(None)], Millis(1000));
        store.turn(Millis(1190));
        send_all(&mut store, Millis(1190));
        assert_eq!(store.due(), Some(Millis(1200)));
        store.turn(Millis(1200));
        assert_eq!((store.due(), disk.0.borrow().syncs), (None, 0));
        drop(store);
        disk.0.borrow_mut().cut_power();
        assert_eq!(open(&disk).sent(), Sequence(1));
    }
}

#[test]
fn what_is_not_sent_when_its_sync_is_due_is_synced() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    let mut store = open(&disk);
    store.append(&[request(None)], Millis(1000));
    store.append(&[request(None)], Millis(1010));
    let first = store.next(Millis(1010)).expect("it is there");
    store.progress().lock().on_sent(first.label.sequence);
    store.turn(Millis(1199));
    assert_eq!(disk.0.borrow().syncs, 0);
    store.turn(Millis(1200));
    assert_eq!(disk.0.borrow().syncs, 1, "of two that were written at about the same time one was");
}

/// However fast segments fill.
#[test]
fn full_segments_whose_records_were_sent_are_not_synced() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    let setting = Setting { bytes_max: 16_000, ..Setting::default() };
    let mut store = Store::open(disk.clone(), setting, Salt(1)).expect("it works");
    for _ in 0..50 {
        let stored = store.append(&[request(None)], Millis(1000));
        assert!(matches!(stored[..], [Outcome::Stored(_)]), "{stored:?}");
        // The newest is still on its way: else its segment would be gone.
        let entry = store.next(Millis(1000)).expect("it is there");
        let before = Sequence(entry.label.sequence.0 - 1);
        if before > Sequence(0) {
            store.progress().lock().on_sent(before);
        }
    }
    assert_eq!(disk.0.borrow().syncs, 0);
}

/// Once each request was refused from then on, until a restart.
#[test]
fn a_segment_that_somebody_has_removed_keeps_nothing_from_being_stored() {
    for on_full in [OnFull::Refuse, OnFull::DropOldest] {
        let mut disk = disk::SimDisk::new(1, Mutation::None);
        let setting = Setting { bytes_max: 16_000, on_full, ..Setting::default() };
        let mut store = Store::open(disk.clone(), setting, Salt(1)).expect("it works");
        for number in 0..60 {
            let now = Millis(1000 + 1500 * number);
            let stored = store.append(&[request(None)], now);
            assert!(matches!(stored[..], [Outcome::Stored(_)]), "{number}: {stored:?}");
            if on_full == OnFull::Refuse {
                send_all(&mut store, now);
            }
            if number == 3 {
                let oldest = disk.0.borrow().oldest_segment().expect("there are some");
                disk.remove(&oldest).expect("it is there");
            }
            store.turn(now);
        }
        let is_fault = |notice: &Notice| matches!(notice, Notice::Fault(..));
        assert!(!store.take_notices().iter().any(is_fault));
    }
}

/// Once each try of it had a line, and none said that it was over.
#[test]
fn a_mark_that_fails_for_long_is_told_of_once_and_when_that_is_over() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    let mut store = open(&disk);
    store.append(&[request(None)], Millis(1000));
    send_all(&mut store, Millis(1000));
    disk.0.borrow_mut().faults.only_of_mark = true;
    let mut turn_for_half_a_minute = |from: u64, per_mille| {
        disk.0.borrow_mut().faults.per_mille = per_mille;
        (from..from + 300).for_each(|tenth| store.turn(Millis(tenth * 100)));
        store.take_notices()
    };
    let failing = turn_for_half_a_minute(12, 1000);
    assert!(matches!(failing[..], [Notice::Fault(Fault::Failed, _)]), "{failing:?}");
    assert!(disk.0.borrow().faults.of_mark > 20);
    assert_eq!(turn_for_half_a_minute(312, 0), [Notice::Mended]);
}

/// Once only what had been written said so.
#[test]
fn a_disk_that_can_be_read_again_is_told_of() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    open(&disk).append(&[request(None)], Millis(0));
    let mut store = open(&disk);
    for (now, per_mille) in [(2000, 1000), (4000, 1000), (6000, 0)] {
        disk.0.borrow_mut().faults.per_mille = per_mille;
        assert_eq!(store.next(Millis(now)).is_some(), per_mille == 0);
    }
    let notices = store.take_notices();
    assert!(matches!(notices[..], [Notice::Fault(..), Notice::Mended]), "{notices:?}");
}

/// Stores so many, one by one, and sends what need not wait for its turn.
fn store_and_send_ahead(store: &mut Store<disk::SimDisk>, count: u64) {
    for _ in 0..count {
        store.append(&[request(None)], Millis(3000));
        while let Some(entry) = store.next_fresh() {
            store.progress().lock().on_sent(entry.label.sequence);
        }
    }
}

/// How many were dropped, since this was asked last.
fn dropped(store: &mut Store<disk::SimDisk>) -> u64 {
    let dropped = |notice| match notice {
        Notice::Dropped(0) => panic!("there is nothing to tell of"),
        Notice::Dropped(records) => records,
        _ => 0,
    };
    store.take_notices().into_iter().map(dropped).sum()
}

/// Once all behind the mark counted, whatever had become of them.
#[test]
fn what_was_sent_before_its_turn_or_never_stored_is_not_dropped_to_make_room() {
    let setting = Setting {
        bytes_max: 64_000,
        on_full: OnFull::DropOldest,
        out_of_order: OutOfOrder::Allowed,
        in_flight_max: 2,
        ..Setting::default()
    };
    let disk = disk::SimDisk::new(1, Mutation::None);
    let mut store = Store::open(disk.clone(), setting, Salt(1)).expect("it works");
    // Of the first two the second arrives; the third and fourth wait for their turn.
    store_and_send_ahead(&mut store, 2);
    let given = [(); 2].map(|()| store.next(Millis(1000)).expect("there is room"));
    store.progress().lock().on_sent(given[1].label.sequence);
    let unsent = 1 + 2;
    store_and_send_ahead(&mut store, 3);
    // Numbers of no record.
    disk.0.borrow_mut().faults.per_mille = 1000;
    let group: Vec<Append> = (0..20).map(|_| request(None)).collect();
    let refused = store.append(&group, Millis(1000));
    assert!(matches!(refused[..], [Outcome::Refused(_), ..]), "{refused:?}");
    disk.0.borrow_mut().faults.per_mille = 0;
    store_and_send_ahead(&mut store, 100);
    assert!(store.sent() > Sequence(40), "{:?}", store.sent());
    assert_eq!(dropped(&mut store), unsent);
}

/// As the README says: to write it down would cost more than such an endpoint loses by it.
#[test]
fn what_was_sent_ahead_of_a_backlog_is_given_once_more_after_a_start() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    let setting =
        Setting { out_of_order: OutOfOrder::Allowed, in_flight_max: 1, ..Setting::default() };
    let start = || Store::open(disk.clone(), setting, Salt(1)).expect("it works");
    let mut store = start();
    store_and_send_ahead(&mut store, 1);
    store.next(Millis(3000)).expect("it is there, and is stuck");
    store_and_send_ahead(&mut store, 100);
    assert_eq!(store.sent(), Sequence(0));
    store.close(Millis(3000));
    drop(store);
    let mut store = start();
    let mut given = 0;
    while let Some(entry) = store.next(Millis(5000)) {
        store.progress().lock().on_sent(entry.label.sequence);
        given += 1;
    }
    assert_eq!(given, 101);
}

/// More pieces than one, and a part of one. A file that is short has no room for the segment on a disk
/// that fills up, and one that is long takes more than is counted.
#[test]
fn a_spare_is_as_long_as_the_segment_that_it_is_for() {
    let mut disk = disk::SimDisk::new(1, Mutation::None);
    disk.create(&segment::name(Sequence(1))).expect("it works");
    let length = 300_001;
    let mut spares = Spares::default();
    let sent = Link { number: Sequence(1), bytes: 100, last: None };
    spares.take(&mut disk, sent, Some(length)).expect("it works");
    assert_eq!(spares.bytes(), length);
    let spare = segment::spare_name(Sequence(1));
    assert_eq!(disk.list().expect("it works"), [(spare.clone(), length)]);
    let file = disk.open(&spare).expect("it is there");
    let mut filled = vec![7; length as usize];
    disk.read(&file, 0, &mut filled).expect("it is there");
    assert!(filled.iter().all(|byte| *byte == 0), "else it looks like a damaged record");
}

/// Once it stayed, and filled the disk until the next start.
#[test]
fn a_spare_that_could_not_be_removed_is_removed_later() {
    let mut disk = disk::SimDisk::new(1, Mutation::None);
    let of = |number| Link { number: Sequence(number), bytes: 100, last: None };
    disk.create(&segment::name(Sequence(1))).expect("it works");
    let mut spares = Spares::default();
    spares.take(&mut disk, of(1), Some(100)).expect("it works");
    assert_eq!(spares.give(&mut disk, Sequence(2)), Some(100), "it is new");
    spares.take(&mut disk, of(2), Some(100)).expect("it works");
    assert_eq!(spares.give(&mut disk, Sequence(3)), None, "a power cut might undo it");
    spares.on_synced();
    disk.0.borrow_mut().faults.per_mille = 1000;
    assert_eq!(spares.give(&mut disk, Sequence(3)), None);
    spares.clear(&mut disk);
    assert_eq!(spares.bytes(), 100);
    disk.0.borrow_mut().faults.per_mille = 0;
    spares.clear(&mut disk);
    assert_eq!((spares.bytes(), disk.list().expect("it works")), (0, Vec::new()));
}

/// Once the reader passed what it could not read for ten seconds, and with it all of a backlog that was whole.
#[test]
fn a_disk_that_is_away_for_a_while_costs_nothing() {
    for away_s in [5, 12, 20, 60] {
        let disk = disk::SimDisk::new(1, Mutation::None);
        let mut store = open(&disk);
        (0..850).for_each(|_| store_one(&mut store, Millis(1000)));
        store.close(Millis(1000));
        let mut store = open(&disk);
        let mut sent = send_some(&mut store, Millis(2000), 12);
        disk.0.borrow_mut().faults.per_mille = 1000;
        let mut now = 10_000;
        while now < 10_000 + away_s * 1000 {
            now += 500;
            store.turn(Millis(now));
            sent += send_some(&mut store, Millis(now), u64::MAX);
        }
        assert_eq!(sent, 12, "nothing can be read");
        disk.0.borrow_mut().faults.per_mille = 0;
        for _ in 0..3 {
            now += 1500;
            sent += send_some(&mut store, Millis(now), u64::MAX);
            store.turn(Millis(now));
        }
        assert_eq!(sent, 850, "{away_s} s");
        let notices = store.take_notices();
        assert!(!notices.iter().any(|it| matches!(it, Notice::Damaged(_))), "{notices:?}");
    }
}

#[test]
fn a_place_that_cannot_be_read_on_a_disk_that_works_is_passed_and_told_of() {
    let disk = disk::SimDisk::new(1, Mutation::None);
    let mut store = open(&disk);
    (0..100).for_each(|_| store_one(&mut store, Millis(1000)));
    store.close(Millis(1000));
    let mut store = open(&disk);
    let name = disk.0.borrow().oldest_segment().expect("one was begun");
    disk.0.borrow_mut().spoil(&name, 50_000..50_001);
    let mut sent = 0;
    for round in 0..60 {
        let now = Millis(2000 + round * 1000);
        sent += send_some(&mut store, now, u64::MAX);
        store.turn(now);
    }
    // A sector is passed at once, and with it what begins there.
    assert!((90..100).contains(&sent), "{sent}");
    let notices = store.take_notices();
    assert!(notices.iter().any(|it| matches!(it, Notice::Damaged(_))), "{notices:?}");
}

/// Once it was full for one that is nearly as large as the queue, until small ones had filled a segment.
#[test]
fn a_queue_of_which_all_was_sent_has_room_for_the_largest() {
    for on_full in [OnFull::Refuse, OnFull::DropOldest] {
        let disk = disk::SimDisk::new(1, Mutation::None);
        let setting = Setting { bytes_max: 16_000, on_full, ..Setting::default() };
        let mut store = Store::open(disk.clone(), setting, Salt(1)).expect("it works");
        for number in 0..3 {
            store_one(&mut store, Millis(1000));
            send_all(&mut store, Millis(1000));
            let largest = request_of(15_800, Some(number));
            let stored = store.append(&[request(None), largest], Millis(1000));
            assert!(matches!(stored[..], [Outcome::Stored(_), Outcome::Refused(_)]), "{stored:?}");
            send_all(&mut store, Millis(1000));
            let stored = store.append(&[request_of(15_800, Some(number))], Millis(1000));
            assert!(matches!(stored[..], [Outcome::Stored(_)]), "{stored:?}");
            send_all(&mut store, Millis(1000));
        }
        let notices = store.take_notices();
        assert!(notices.is_empty(), "{notices:?}");
    }
}

/// Once it was appended to all the same, and nobody would have read that.
#[test]
fn a_segment_that_was_taken_away_is_not_appended_to() {
    let mut disk = disk::SimDisk::new(1, Mutation::None);
    let mut store = open(&disk);
    // More than waits in memory, so that the rest is to be read.
    (0..3000).for_each(|_| store_one(&mut store, Millis(1000)));
    let name = disk.0.borrow().oldest_segment().expect("one was begun");
    disk.remove(&name).expect("it is there");
    let before = send_some(&mut store, Millis(2000), u64::MAX);
    assert!((1..3000).contains(&before), "{before}");
    (0..10).for_each(|_| store_one(&mut store, Millis(3000)));
    assert_eq!(send_some(&mut store, Millis(4000), u64::MAX), 10);
}

/// Runs one seed; `Err` says what was violated.
fn run(seed: u64, mutation: Mutation) -> Result<world::Seen, String> {
    let world = world::World::new(seed, mutation);
    let setting = world.setting;
    world.run().map_err(|what| format!("{what}; {setting:?}"))
}

#[test]
fn no_seed_violates_a_promise() {
    let seen = QUEUE.assert_all_hold(SEEDS, |seed| run(seed, Mutation::None));
    let all = seen.into_iter().reduce(world::Seen::with).unwrap_or_default();
    println!("{all:?}");
    if std::env::var_os("QUEUE_SEED").is_none() {
        all.assert_everything_happened();
    }
}

#[test]
fn every_mutation_is_caught() {
    QUEUE.assert_all_caught(SEEDS_OF_MUTATION, Mutation::ALL, run);
}
