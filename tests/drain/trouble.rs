//! Endpoints that fail, and what becomes of the requests.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use highlander::base::time::UnixMillis;
use highlander::io::driver::{self, Choice};
use highlander::io::link::EndpointId;
use highlander::io::queue::append::Append;
use highlander::io::queue::turning::Work;
use highlander::io::senders::Senders;
use highlander::shared::metrics::Counter;
use highlander::wire::queue::sequence::SourceKey;

use crate::authority::{Authority, Secure};
use crate::rig::{Place, Plan, Rig, append, written};
use crate::sink::{Id, NO_CONTENT, Sink, answer, id_of};
use crate::support::until;

fn ids(range: std::ops::RangeInclusive<u64>) -> Vec<Id> {
    range.map(|number| (1, number)).collect()
}

/// Where nobody listens yet.
fn nowhere() -> SocketAddr {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    closed.local_addr().expect("a bound socket")
}

#[test]
fn after_an_outage_all_is_sent_once_and_in_order() {
    for driver in [Choice::Uring, Choice::Epoll] {
        let place = Place::new("outage");
        let address = nowhere();
        let rig = Rig::start(&place.0, &Plan { driver, ..Plan::before(address) });
        rig.append(1, &ids(1..=200), 300);
        until("it is tried again", || rig.count(Counter::QueueRetried) > 2);
        until("it says since when", || rig.oldest().is_some());
        let listener = TcpListener::bind(address).expect("nobody took it");
        let sink = Sink::on(listener, |_, _| NO_CONTENT.to_vec());
        sink.await_count(200);
        rig.await_drained();
        assert_eq!(sink.ids(), ids(1..=200));
        let first = &sink.came()[0];
        assert!(first.head.starts_with("POST /own/path HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(first.head.contains("X-Highlander-Instance: test-"), "{}", first.head);
        assert!(first.body == append(1, (1, 1), 300).push.body());
        assert_eq!(rig.count(Counter::QueueSent), 200);
        rig.stop();
    }
}

/// Once it had caught up each time that the sender had nothing in hand and the next was still to be read.
#[test]
fn a_queue_says_how_old_its_oldest_is_as_long_as_there_is_one() {
    const COUNT: u64 = 10_000;
    for queue in ["min_backoff: 20ms", "min_backoff: 20ms, max_in_flight: 50"] {
        let place = Place::new("oldest");
        let address = nowhere();
        let rig = Rig::start(&place.0, &Plan { queue, ..Plan::before(address) });
        let came = append(1, (1, 1), 0).time.0 - 600_000;
        let old = |number| Append { time: UnixMillis(came), ..append(1, (1, number), 0) };
        rig.append_all((1..=COUNT).map(old));
        until("it says since when", || rig.oldest() == Some(UnixMillis(came)));
        let listener = TcpListener::bind(address).expect("nobody took it");
        let _sink = Sink::on(listener, |_, _| NO_CONTENT.to_vec());
        loop {
            let oldest = rig.oldest();
            // It was so before, too.
            if rig.queue.queue.depth().records() == 0 {
                break;
            }
            assert_eq!(oldest, Some(UnixMillis(came)));
        }
        rig.await_drained();
        until("it says that none is left", || rig.oldest().is_none());
        rig.stop();
    }
}

#[test]
fn a_failure_is_tried_again_and_nothing_overtakes_it() {
    let place = Place::new("failure");
    let sink = Sink::start(|_, before| match before {
        0..3 => answer(503, "", "not now"),
        3 => Vec::new(),
        4 => answer(302, "Location: /\r\n", ""),
        _ => NO_CONTENT.to_vec(),
    });
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    rig.append(1, &ids(1..=5), 0);
    rig.await_drained();
    assert_eq!(sink.ids(), [vec![(1, 1); 5], ids(1..=5)].concat());
    // A connection that was used before and is closed is tried once more at once.
    assert_eq!(rig.count(Counter::QueueRetried), 4);
    assert_eq!(rig.count(Counter::EndpointRetried), 1);
    let came = sink.came();
    assert!(came[1].at - came[0].at >= Duration::from_millis(20), "a pause");
    rig.stop();
}

#[test]
fn the_endpoint_says_when_to_try_again() {
    let place = Place::new("put-off");
    let sink = Sink::start(|_, before| match before {
        0 => answer(429, "Retry-After: 1\r\n", "too much"),
        _ => NO_CONTENT.to_vec(),
    });
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    rig.append(1, &ids(1..=3), 0);
    rig.await_drained();
    assert_eq!(sink.ids(), [vec![(1, 1)], ids(1..=3)].concat());
    let came = sink.came();
    let pause = came[1].at - came[0].at;
    assert!(pause >= Duration::from_secs(1) && pause < Duration::from_secs(3), "{pause:?}");
    rig.stop();
}

/// Once the new one had to wait for as long as the old one had asked.
#[test]
fn what_an_endpoint_has_asked_for_is_not_asked_for_by_the_one_in_its_place() {
    // It has asked for it when it is left, or does so then.
    for answers_after in [Duration::ZERO, Duration::from_millis(500)] {
        let place = Place::new("moved");
        let old = Sink::start(move |_, _| {
            std::thread::sleep(answers_after);
            answer(503, "Retry-After: 300\r\n", "overloaded")
        });
        let new = Sink::taking(Duration::ZERO);
        let rig = Rig::start(&place.0, &Plan::before(old.address));
        rig.append(1, &ids(1..=3), 0);
        old.await_count(1);
        if answers_after.is_zero() {
            until("it was refused", || rig.count(Counter::QueueRetried) == 1);
        }
        rig.change(&place.0, &Plan::before(new.address));
        rig.await_drained();
        assert_eq!((old.ids(), new.ids()), (ids(1..=1), ids(1..=3)));
        rig.stop();
    }
}

#[test]
fn what_an_endpoint_has_asked_for_holds_if_only_its_credentials_change() {
    let place = Place::new("credentials");
    let sink = Sink::start(|_, before| match before {
        0 => answer(429, "Retry-After: 2\r\n", "too much"),
        _ => NO_CONTENT.to_vec(),
    });
    let plan = Plan::before(sink.address);
    let rig = Rig::start(&place.0, &plan);
    rig.append(1, &ids(1..=2), 0);
    until("it was refused", || rig.count(Counter::QueueRetried) == 1);
    rig.change(&place.0, &Plan { stanza: "authorization: {credentials: new}", ..plan });
    rig.await_drained();
    let came = sink.came();
    assert!(came[1].at - came[0].at >= Duration::from_secs(2));
    assert!(came[1].head.contains("Authorization: Bearer new\r\n"), "{}", came[1].head);
    rig.stop();
}

#[test]
fn who_hangs_is_given_up_and_asked_again() {
    let place = Place::new("hang");
    let sink = Sink::start(|_, before| {
        if before == 0 {
            std::thread::sleep(Duration::from_secs(60));
        }
        NO_CONTENT.to_vec()
    });
    let plan = Plan { stanza: "remote_timeout: 1s", ..Plan::before(sink.address) };
    let rig = Rig::start(&place.0, &plan);
    let start = Instant::now();
    rig.append(1, &ids(1..=3), 0);
    rig.await_drained();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(sink.ids(), [vec![(1, 1)], ids(1..=3)].concat());
    rig.stop();
}

#[test]
fn what_is_no_request_does_not_hold_up_the_rest() {
    let place = Place::new("unsendable");
    let sink = Sink::taking(Duration::ZERO);
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    let mut odd = append(1, (1, 2), 0);
    let push = written("X-Id: 1/2\r\nno header\r\n", b"body");
    odd.push = push;
    rig.append_all([append(1, (1, 1), 0), odd, append(1, (1, 3), 0)].into_iter());
    rig.await_drained();
    assert_eq!(sink.ids(), [(1, 1), (1, 3)]);
    assert_eq!(rig.count(Counter::QueueUnsendable), 1);
    rig.stop();
}

#[test]
fn what_is_under_way_is_waited_for_and_not_repeated() {
    let place = Place::new("stop");
    let sink = Sink::taking(Duration::from_millis(300));
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    rig.append(1, &ids(1..=4), 0);
    sink.await_count(2);
    rig.stop();
    assert_eq!(sink.ids(), ids(1..=2), "no more was begun");
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    sink.await_count(3);
    rig.stop_at_once();
    let rig = Rig::start(&place.0, &Plan::before(sink.address));
    rig.await_drained();
    assert_eq!(sink.ids(), [(1, 1), (1, 2), (1, 3), (1, 3), (1, 4)], "one was cut off");
    rig.stop();
}

#[test]
fn it_speaks_tls() {
    let place = Place::new("tls");
    let authority = Authority::new();
    let came: std::sync::Arc<Mutex<Vec<Id>>> = Default::default();
    let record = came.clone();
    let secure = Secure::start(authority.server(&authority.sign("127.0.0.1")), move |got| {
        record.lock().expect("no panic").push(id_of(got));
        answer(200, "", "fine")
    });
    let url = format!("https://127.0.0.1:{}/x", secure.port());
    let ca_file = authority.ca_file().expect("there is one");
    let stanza = format!("tls_config: {{ca_file: '{ca_file}'}}").leak();
    let rig = Rig::start(&place.0, &Plan { url, stanza, ..Plan::before(secure.endpoint.address) });
    rig.append(1, &ids(1..=20), 100_000);
    rig.await_drained();
    assert_eq!(*came.lock().expect("no panic"), ids(1..=20));
    assert_eq!(secure.kinds().len(), 1, "on one connection");
    rig.stop();
}

#[test]
fn sources_are_told_apart() {
    let place = Place::new("sources");
    let sink = Sink::taking(Duration::from_millis(5));
    let plan = Plan {
        queue: "max_in_flight: 8, min_backoff: 20ms, max_backoff: 200ms",
        ..Plan::before(sink.address)
    };
    let rig = Rig::start(&place.0, &plan);
    // Shards of their own, so that nothing but the source keeps them apart.
    let all = (1..=30).map(|number| append(number / 10, (number, number), 0));
    assert_eq!(append(3, (30, 30), 0).source, SourceKey(3));
    rig.append_all(all);
    rig.await_drained();
    let sources: Vec<u64> = sink.ids().iter().map(|(_, number)| number / 10).collect();
    assert!(sources.is_sorted(), "{sources:?}");
    assert!(!sink.ids().is_sorted() || sink.count() == 30);
    rig.stop();
}

/// Once it took the next one's beats with it, if a reload had brought its endpoint back before it ended.
#[test]
fn a_sender_that_ends_leaves_the_next_of_its_endpoint_on_its_core() {
    let place = Place::new("two-of-one");
    let plan = Plan { driver: Choice::Auto, ..Plan::before(([127, 0, 0, 1], 1).into()) };
    let [(old, old_work, _), (new, new_work, _)] =
        ["old", "new"].map(|dir| Rig::prepare(&place.0.join(dir), &plan));
    let told = driver::run(plan.driver, |kind| async move {
        let begin = |work: Work| work.begin(kind).expect("a loop takes it");
        let (old, new) = (begin(old_work), begin(new_work));
        let senders = Senders::default();
        senders.add(old.near());
        senders.add(new.near());
        senders.remove(&old.near());
        let is_left = senders.turn(EndpointId(0));
        senders.remove(&new.near());
        (is_left, senders.turn(EndpointId(0)), senders.are_gone())
    });
    assert_eq!(told.expect("the driver is there"), (true, false, true));
    old.queue.stop();
    new.queue.stop();
}
