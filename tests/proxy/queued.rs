//! Endpoints with a queue, up to where a request lies in it: what its source is told, and what is there
//! after the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use highlander::cli::Cli;
use highlander::config::Config;
use highlander::config::queue::{Delivery, OnFull, OnRemoved, QueueSetting, Sync};
use highlander::io::queue::thread;
use highlander::logic::queue::setting::Setting;
use highlander::server::{self, StartError};
use highlander::shared::metrics::Counter;
use highlander::wire::queue::sequence::Salt;
use highlander::wire::remote_write::protocol::Protocol;

use crate::fan::*;
use crate::handover::{await_hand_overs, now_ms, samples, stored, write};
use crate::support::*;

/// A folder for queues.
impl Folder {
    fn setting(&self, place: usize) -> QueueSetting {
        QueueSetting {
            dir: self.0.join(place.to_string()),
            bytes_max: 100 << 20,
            sync: Sync::Always,
            in_flight_max: 1,
            backoff_min: highlander::base::time::Millis(30),
            backoff_max: highlander::base::time::Millis(5000),
            on_full: OnFull::Refuse,
            on_removed: OnRemoved::Keep,
        }
    }

    /// What lies in the queue of the endpoint at this place: heads and bodies.
    fn records(&self, place: usize) -> Vec<(String, Vec<u8>)> {
        let setting = Setting { in_flight_max: 10_000, ..Setting::default() };
        let dir = self.0.join(place.to_string());
        let running = thread::Running::start(&dir, setting, Salt(1), Arc::new(|| {}));
        let running = running.expect("nobody else has it");
        let mut records = Vec::new();
        while let Ok(entry) = running.entries.recv_timeout(Duration::from_millis(500)) {
            let (bytes, range) = entry.push.bytes();
            let head = &bytes[range.start..range.end - entry.push.body().len()];
            let head = String::from_utf8(head.to_vec()).expect("heads in tests are text");
            records.push((head, entry.push.body().to_vec()));
        }
        running.stop();
        records
    }

    fn bodies(&self, place: usize) -> Vec<Vec<u8>> {
        self.records(place).into_iter().map(|(_, body)| body).collect()
    }
}

/// A configuration in which the endpoints at these places have a queue.
fn queued(
    driver: &str,
    endpoints: &[&Endpoint],
    folder: &Folder,
    places: &[usize],
    change: impl FnOnce(&mut Cli),
) -> Config {
    let name = |place| format!("name: number {place}");
    let endpoints = endpoints.iter().enumerate();
    let stanzas: Vec<String> =
        endpoints.map(|(place, it)| stanza(it, "/own", &[&name(place)])).collect();
    let mut config = config(driver, &stanzas, change);
    for place in places {
        config.endpoints[*place].delivery = Delivery::Queued(folder.setting(*place));
    }
    config
}

#[test]
fn what_all_have_in_a_queue_is_taken_and_there_after_the_end() {
    on_both_drivers(|driver| {
        let (folder, nowhere) = (Folder::new(), Endpoint::nowhere());
        let config = queued(driver, &[&nowhere, &nowhere], &folder, &[0, 1], |cli| {
            cli.instance_id = Some("instance".into());
        });
        let mut sent = Vec::new();
        for start in 0..2_u8 {
            let proxy = Proxy::run(config.clone());
            let mut client = proxy.connect();
            for number in 0..10_u8 {
                let body = [&[start, number][..], &body(usize::from(number) * 9000)].concat();
                let told = client.ask(&opaque(&body));
                assert_eq!(told.head, "HTTP/1.1 204 No Content\r\n\r\n");
                sent.push(body);
            }
            assert_eq!(proxy.running.count(Counter::QueueStored), 20);
            assert_eq!(proxy.running.count(Counter::Forwarded), 10);
            proxy.running.stop();
        }
        for place in [0, 1] {
            let records = folder.records(place);
            assert!(records.iter().map(|(_, body)| body).eq(&sent), "in this order");
            for (head, body) in records {
                let length = format!("\r\nContent-Length: {}\r\n", body.len());
                assert!(head.starts_with("POST /api/v1/write HTTP/1.1\r\n"), "{head}");
                assert!(head.contains(&length), "{head}");
                assert!(!head.contains("instance") && !head.contains("/own"), "{head}");
            }
        }
    });
}

#[test]
fn version_2_is_told_what_was_written_and_what_is_no_remote_write_is_not_queued() {
    on_both_drivers(|driver| {
        let (folder, nowhere) = (Folder::new(), Endpoint::nowhere());
        let proxy = Proxy::run(queued(driver, &[&nowhere], &folder, &[0], |_| {}));
        let mut client = proxy.connect();
        let told = client.ask(&write("a", 5, Protocol::V2, now_ms(), 1.0));
        assert_eq!(told.status, 204);
        for line in
            ["Samples-Written: 3\r\n", "Histograms-Written: 0\r\n", "Exemplars-Written: 0\r\n"]
        {
            assert!(told.head.contains(&format!("X-Prometheus-Remote-Write-{line}")), "{told:?}");
        }
        for _ in 0..2 {
            assert_eq!(client.ask(&no_write(&body(100_000))).status, 415);
        }
        assert_eq!(client.ask(&opaque(b"last")).status, 204);
        proxy.running.stop();
        assert_eq!(folder.records(0).len(), 2);
    });
}

#[test]
fn what_lies_in_a_queue_is_not_stored_again_while_another_endpoint_fails() {
    static STATUS: AtomicUsize = AtomicUsize::new(503);
    on_both_drivers(|driver| {
        STATUS.store(503, Ordering::Relaxed);
        let (folder, direct, nowhere) = (Folder::new(), saying(&STATUS), Endpoint::nowhere());
        let proxy = Proxy::run(queued(driver, &[&direct, &nowhere], &folder, &[1], |_| {}));
        let mut client = proxy.connect();
        for _ in 0..20 {
            assert_eq!(client.ask(&opaque(b"again")).status, 503);
        }
        assert_eq!(proxy.running.count(Counter::QueueStored), 1);
        assert_eq!(proxy.running.count(Counter::QueueKnown), 19);
        STATUS.store(204, Ordering::Relaxed);
        assert_eq!(client.ask(&opaque(b"again")).status, 204);
        // Said once more by a source that knows it is there: metadata, for example.
        assert_eq!(client.ask(&opaque(b"other")).status, 204);
        assert_eq!(client.ask(&opaque(b"again")).status, 204);
        proxy.running.stop();
        assert_eq!(folder.bodies(1), [b"again", b"other", b"again"]);
        assert_eq!(bodies(&direct).len(), 23);
    });
}

/// Once each try lay there anew if a balancer gave it a number of its own.
#[test]
fn what_a_balancer_numbers_anew_at_each_try_is_known_all_the_same() {
    on_both_drivers(|driver| {
        let (folder, direct, nowhere) = (Folder::new(), always(503), Endpoint::nowhere());
        let proxy = Proxy::run(queued(driver, &[&direct, &nowhere], &folder, &[1], |_| {}));
        let mut client = proxy.connect();
        for number in 0..20 {
            let request = with_line(&opaque(b"again"), &format!("X-Request-Id: {number}"));
            assert_eq!(client.ask(&request).status, 503);
        }
        for tenant in 0..2 {
            let request = with_line(&opaque(b"again"), &format!("THANOS-TENANT: {tenant}"));
            assert_eq!(client.ask(&request).status, 503);
        }
        assert_eq!(proxy.running.count(Counter::QueueStored), 3);
        assert_eq!(proxy.running.count(Counter::QueueKnown), 19);
        proxy.running.stop();
        assert_eq!(folder.records(1).len(), 3);
    });
}

/// The same request with one more line in its head.
fn with_line(request: &[u8], line: &str) -> Vec<u8> {
    let at = find(request, b"Content-Encoding").expect("each has it");
    [&request[..at], line.as_bytes(), b"\r\n", &request[at..]].concat()
}

#[test]
fn a_full_queue_is_a_503_and_the_others_have_it() {
    on_both_drivers(|driver| {
        let (folder, direct, nowhere) = (Folder::new(), always(200), Endpoint::nowhere());
        let mut config = queued(driver, &[&direct, &nowhere], &folder, &[1], |_| {});
        let small = QueueSetting { bytes_max: 100_000, ..folder.setting(1) };
        config.endpoints[1].delivery = Delivery::Queued(small);
        let proxy = Proxy::run(config);
        let mut client = proxy.connect();
        let told: Vec<Answer> = (0..20_u8)
            .map(|number| client.ask(&opaque(&[&[number], &body(9000)[..]].concat())))
            .collect();
        let taken = told.iter().filter(|told| told.status == 200).count();
        assert!((5..12).contains(&taken), "{taken}");
        for told in told.iter().skip(taken) {
            assert_eq!(told.status, 503);
            assert!(told.head.contains("Retry-After: "), "{told:?}");
        }
        assert_eq!(proxy.running.count(Counter::QueueRefused), 20 - taken as u64);
        assert_eq!(bodies(&direct).len(), 20);
        proxy.running.stop();
        assert_eq!(folder.records(1).len(), taken);
    });
}

#[test]
fn many_connections_wait_for_one_sync() {
    on_both_drivers(|driver| {
        let (folder, nowhere) = (Folder::new(), Endpoint::nowhere());
        let proxy = Proxy::run(queued(driver, &[&nowhere, &nowhere], &folder, &[0, 1], |_| {}));
        std::thread::scope(|scope| {
            for shard in 0..30_u8 {
                let proxy = &proxy;
                scope.spawn(move || {
                    let mut client = proxy.connect();
                    for number in 0..20_u8 {
                        let told = client.ask(&opaque(&[shard, number, 0, 0]));
                        assert_eq!(told.status, 204);
                    }
                });
            }
        });
        proxy.running.stop();
        for place in [0, 1] {
            let all = folder.bodies(place);
            assert_eq!(all.len(), 600);
            for shard in 0..30 {
                let of_shard = all.iter().filter(|body| body[0] == shard).map(|body| body[1]);
                assert!(of_shard.eq(0..20), "each shard in its order");
            }
        }
    });
}

#[test]
fn a_hand_over_goes_through_the_queue_and_nothing_of_it_lies_there_twice() {
    static STATUS: AtomicUsize = AtomicUsize::new(204);
    on_both_drivers(|driver| {
        STATUS.store(204, Ordering::Relaxed);
        let (folder, direct, nowhere) = (Folder::new(), saying(&STATUS), Endpoint::nowhere());
        let proxy = Proxy::run(queued(driver, &[&direct, &nowhere], &folder, &[1], quick));
        let (mut b, start) = leave_in_doubt(&proxy, &STATUS);
        until("it is tried again", || proxy.running.count(Counter::QueueKnown) > 2);
        STATUS.store(204, Ordering::Relaxed);
        await_hand_overs(&proxy, 1);
        assert_eq!(b.ask(&write("b", 1, Protocol::V1, start + 6300, 2.0)).status, 204);
        proxy.running.stop();
        let expected = after_doubt(start);
        let queued: Vec<_> = folder.bodies(1).iter().flat_map(|body| samples(body)).collect();
        assert_eq!(queued, expected);
        let mut direct = stored(&direct);
        direct.dedup();
        assert_eq!(direct, expected);
    });
}

#[test]
fn a_queue_that_another_process_has_is_no_queue_of_ours() {
    let (folder, nowhere) = (Folder::new(), Endpoint::nowhere());
    let config = queued("epoll", &[&nowhere], &folder, &[0], |_| {});
    let first = Proxy::run(config.clone());
    let error = server::start(config.clone()).err().expect("it has a lock");
    assert!(matches!(error, StartError::Queue(..)), "{error}");
    assert!(error.to_string().ends_with("another process has it"), "{error}");
    first.running.stop();
    Proxy::run(config).running.stop();
}

#[test]
fn a_core_that_is_always_told_of_something_looks_after_what_it_keeps() {
    on_both_drivers(|driver| {
        let (folder, nowhere) = (Folder::new(), Endpoint::nowhere());
        let proxy = Proxy::run(queued(driver, &[&nowhere], &folder, &[0], |_| {}));
        let mut client = proxy.connect();
        // Of a source that is alone, not all of this is kept for long.
        for number in 0..12_u8 {
            let body = [&[number][..], &body(4_000_000)].concat();
            assert_eq!(client.ask(&opaque(&body)).status, 204);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut number = 0_u64;
        while proxy.running.count(Counter::DeliveredDropped) == 0 {
            assert!(Instant::now() < deadline, "all of it is kept");
            // The queue says of each of these that it is stored.
            let told = client.ask(&opaque(&number.to_le_bytes()));
            assert_eq!(told.status, 204);
            number += 1;
        }
    });
}

#[test]
fn of_a_source_that_sends_too_much_to_be_kept_nothing_is() {
    on_both_drivers(|driver| {
        let (folder, nowhere) = (Folder::new(), Endpoint::nowhere());
        let mut config = queued(driver, &[&nowhere], &folder, &[], |_| {});
        // Room for every try.
        let setting = QueueSetting { bytes_max: 2 << 30, ..folder.setting(0) };
        config.endpoints[0].delivery = Delivery::Queued(setting);
        let proxy = Proxy::run(config);
        let mut client = proxy.connect();
        let dropped = || proxy.running.count(Counter::DeliveredDropped);
        let mut send = |numbers: std::ops::Range<u8>| {
            for number in numbers {
                let body = [&[number][..], &body(500_000)].concat();
                assert_eq!(client.ask(&opaque(&body)).status, 204);
            }
        };
        // A machine that has no time for a tenth of a second makes it send little, and be kept again.
        let is_unkept = (0..20).any(|_| {
            // It is known by more than what is kept.
            send(0..80);
            let before = dropped();
            assert!(before > 0, "it is alone");
            send(80..120);
            // Were they kept, they would not fill the room before anything is dropped.
            dropped() - before >= 20
        });
        assert!(is_unkept, "{} were dropped", dropped());
    });
}

/// Once it was taken for in doubt, and tried for ever.
#[test]
fn what_a_queue_can_never_hold_does_not_stop_a_hand_over() {
    on_both_drivers(|driver| {
        let (folder, direct, nowhere) = (Folder::new(), always(204), Endpoint::nowhere());
        let mut config = queued(driver, &[&direct, &nowhere], &folder, &[1], quick);
        // It can't be configured so.
        let small = QueueSetting { bytes_max: 30_000, ..folder.setting(1) };
        config.endpoints[1].delivery = Delivery::Queued(small);
        let proxy = Proxy::run(config);
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        assert_eq!(a.ask(&write("a", 5, Protocol::V1, now_ms() - 60_000, 1.0)).status, 204);
        let large = remote_write("b", 1, "prometheus.WriteRequest", &body(40_000));
        assert_eq!(b.ask(&large).status, 204, "it is kept for a hand-over");
        let large = remote_write("a", 5, "prometheus.WriteRequest", &body(40_001));
        let told = a.ask(&large);
        let text = String::from_utf8_lossy(&told.body).into_owned();
        assert!(told.status == 413 && text.contains("whole queue of an endpoint"), "{text}");
        drop(a);
        until("the other has the seat", || proxy.running.promotions() == 2);
        await_hand_overs(&proxy, 1);
        assert_eq!(b.ask(&write("b", 1, Protocol::V1, now_ms(), 2.0)).status, 204);
        proxy.running.stop();
    });
}
