//! What goes side by side, and what goes first.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use highlander::shared::metrics::Counter;

use crate::rig::{Place, Plan, Rig};
use crate::sink::{Id, NO_CONTENT, Sink, answer};
use crate::support::{PATIENCE, read_request, until};

/// So that each waits for a random time.
pub fn time_of(id: Id, before: usize) -> Duration {
    let mixed = (id.0 * 7919 + id.1 * 104_729 + before as u64 * 31) % 7;
    Duration::from_millis(mixed)
}

/// Per shard, numbers never go back.
pub fn assert_in_order(ids: &[Id]) {
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for (shard, number) in ids {
        let before = newest.entry(*shard).or_default();
        assert!(number >= before, "of shard {shard}, {number} came after {before}");
        *before = *number;
    }
}

#[test]
fn shards_go_side_by_side_and_each_keeps_its_order() {
    let place = Place::new("shards");
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, seen) = (under_way.clone(), most.clone());
    let sink = Sink::start(move |id, before| {
        seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(time_of(id, before));
        inside.fetch_sub(1, Ordering::SeqCst);
        match before % 37 {
            36 => answer(500, "", ""),
            _ => NO_CONTENT.to_vec(),
        }
    });
    let queue = "max_in_flight: 4, min_backoff: 5ms, max_backoff: 20ms";
    let rig = Rig::start(&place.0, &Plan { queue, ..Plan::before(sink.address) });
    let ids: Vec<Id> = (0..600).map(|number| (number % 6, number)).collect();
    rig.append(1, &ids, 50);
    rig.await_drained();
    let came = sink.ids();
    assert_in_order(&came);
    assert_eq!(came.len() as u64, 600 + rig.count(Counter::QueueRetried));
    assert_eq!(most.load(Ordering::SeqCst), 4);
    rig.stop();
}

#[test]
fn fresh_data_does_not_wait_behind_the_backlog_where_the_endpoint_allows_it() {
    for (stanza, is_free) in [("out_of_order: allowed", true), ("out_of_order: refused", false)] {
        let place = Place::new("fresh");
        let is_up = Arc::new(AtomicBool::new(false));
        let inside = is_up.clone();
        let sink = Sink::start(move |_, _| {
            if !inside.load(Ordering::SeqCst) {
                return answer(503, "", "");
            }
            std::thread::sleep(Duration::from_millis(4));
            NO_CONTENT.to_vec()
        });
        let rig = Rig::start(&place.0, &Plan { stanza, ..Plan::before(sink.address) });
        // More than is kept as fresh.
        let backlog: Vec<Id> = (1..=500).map(|number| (1, number)).collect();
        rig.append(1, &backlog, 20_000);
        until("it is tried", || sink.count() > 0);
        let before = sink.count();
        is_up.store(true, Ordering::SeqCst);
        sink.await_count(before + 20);
        let began = Instant::now();
        rig.append(1, &[(1, 501)], 0);
        until("the fresh one has come", || sink.ids().contains(&(1, 501)));
        let waited = began.elapsed();
        rig.await_drained();
        let mut came = sink.ids().split_off(before);
        let place_of_fresh = came.iter().position(|id| id.1 == 501).expect("it came");
        println!("{stanza}: the fresh one came {place_of_fresh}th, after {waited:?}");
        assert_eq!(place_of_fresh < 450, is_free);
        assert_eq!(came.is_sorted(), !is_free);
        came.sort_unstable();
        came.dedup();
        assert_eq!(came.len(), 501, "each came");
        assert_eq!(rig.count(Counter::QueueSent), 501, "and none twice");
        rig.stop();
    }
}

#[test]
fn one_by_one_on_a_slow_disk_the_next_goes_when_the_mark_is_written() {
    let place = Place::new("slow-mark");
    let sink = Sink::start(|_, _| NO_CONTENT.to_vec());
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    let pace = rig.queue.queue.pace();
    pace.watch(pace.now(), || std::thread::sleep(Duration::from_millis(20)));
    let (began, ids): (_, Vec<Id>) = (Instant::now(), (0..300).map(|it| (1, it)).collect());
    rig.append(1, &ids, 50);
    rig.await_drained();
    assert_eq!(sink.ids(), ids);
    // Were it seen at the beats only, it would take half a minute.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    rig.stop();
}

#[test]
fn what_is_under_way_when_its_time_is_over_does_not_go_on() {
    let place = Place::new("given-up");
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let rig = Rig::start(&place.0, &Plan::before(hangs.local_addr().expect("it is bound")));
    rig.append(1, &[(1, 1)], 50);
    let (mut stream, _) = hangs.accept().expect("it connects");
    assert!(read_request(&mut stream, &mut Vec::new(), 0).is_some());
    let _looping = rig.looping.try_clone().expect("it is open");
    rig.stop_at_once();
    stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
    assert_eq!(stream.read(&mut [0; 9]).expect("it is closed in time"), 0);
}
