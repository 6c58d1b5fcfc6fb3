//! Remote write of two sources through a change of the seat, seen from outside: which samples reach
//! the endpoint, and what each source is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use highlander::shared::metrics::Counter;
use highlander::wire::remote_write::protobuf::put_bytes;
use highlander::wire::remote_write::v1::{self, Sample, WriteRequestBuilder};
use highlander::wire::remote_write::v2::RequestBuilder;
use highlander::wire::remote_write::{protocol::Protocol, snappy};

use crate::support::*;

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

/// A request of `source` with one sample of each of three series.
pub fn write(
    source: &str,
    weight: u64,
    protocol: Protocol,
    timestamp_ms: i64,
    value: f64,
) -> Vec<u8> {
    let sample = [Sample { value, timestamp_ms }];
    let (mut one, mut two) = (WriteRequestBuilder::new(), RequestBuilder::new());
    for series in ["a", "b", "c"] {
        let labels = [("__name__", "up"), ("job", series)];
        one.push(&labels, &sample);
        two.push(&labels, &sample);
    }
    let (message, name) = match protocol {
        Protocol::V1 => (one.finish(), "prometheus.WriteRequest"),
        Protocol::V2 => (two.finish(), "io.prometheus.write.v2.Request"),
    };
    remote_write(source, weight, name, &snappy::encode(&message).expect("a small message"))
}

/// The times and values that the endpoint has got of series `a`, of version 1 requests.
pub fn stored(endpoint: &Endpoint) -> Vec<(i64, f64)> {
    endpoint.got().iter().flat_map(|got| samples(&got.body)).collect()
}

/// Those in one body.
pub fn samples(body: &[u8]) -> Vec<(i64, f64)> {
    let mut all = Vec::new();
    if let Ok(body) = snappy::decode(body, 8 << 20) {
        let _ = v1::walk(&body, &mut |series| {
            if series.labels().any(|(_, value)| value == b"a") {
                all.extend(series.samples().map(|it| (it.timestamp_ms, it.value)));
            }
        });
    }
    all
}

fn quick(cli: &mut highlander::cli::Cli) {
    cli.health_tick = Some("200ms".into());
    cli.health_expiry = Some("1s".into());
}

/// Waits until so many hand-overs are over.
pub fn await_hand_overs(proxy: &Proxy, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while proxy.running.count(Counter::HandOvers) < count {
        assert!(Instant::now() < deadline, "no hand-over");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_standby_pushed_is_sent_on_when_the_promoted_one_dies_and_nothing_twice() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, quick);
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        let start = now_ms() - 60_000;
        for scrape in 0..10 {
            let at = start + scrape * 1000;
            if scrape < 6 {
                assert_eq!(a.ask(&write("a", 5, Protocol::V1, at, 1.0)).status, 204);
            }
            let held = b.ask(&write("b", 1, Protocol::V1, at + 300, 2.0));
            assert_eq!(held.head, "HTTP/1.1 204 No Content\r\n\r\n");
        }
        assert_eq!(stored(&endpoint).len(), 6);
        drop(a);
        await_hand_overs(&proxy, 1);
        assert_eq!(b.ask(&write("b", 1, Protocol::V1, start + 10_300, 2.0)).status, 204);
        let of_a = (0..6).map(|scrape| (start + scrape * 1000, 1.0));
        let of_b = (5..11).map(|scrape| (start + scrape * 1000 + 300, 2.0));
        assert_eq!(stored(&endpoint), of_a.chain(of_b).collect::<Vec<_>>());
        let record = &proxy.running.history()[0];
        assert_eq!((record.from.as_str(), record.to.as_str()), ("a", "b"));
        assert_eq!((record.cost.replayed, record.cost.skipped, record.cost.lost), (15, 15, 0));
    });
}

#[test]
fn a_held_request_of_version_2_is_answered_with_what_it_carries() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        assert_eq!(a.ask(&write("a", 5, Protocol::V1, now_ms(), 1.0)).status, 204);
        let held = b.ask(&write("b", 1, Protocol::V2, now_ms(), 2.0));
        for line in
            ["Samples-Written: 3\r\n", "Histograms-Written: 0\r\n", "Exemplars-Written: 0\r\n"]
        {
            assert!(held.head.contains(&format!("X-Prometheus-Remote-Write-{line}")), "{held:?}");
        }
        // What cannot be read is held all the same; nobody can say what was written of it.
        let torn = b.ask(&remote_write("b", 1, "io.prometheus.write.v2.Request", b"torn"));
        assert_eq!(torn.head, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(proxy.running.count(Counter::Held), 2);
    });
}

#[test]
fn a_body_that_cannot_be_read_is_sent_as_it_is_live_and_in_a_hand_over() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, quick);
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        let torn = |source, weight, body: &[u8]| {
            remote_write(source, weight, "prometheus.WriteRequest", body)
        };
        assert_eq!(a.ask(&torn("a", 5, b"live")).status, 204);
        assert_eq!(b.ask(&torn("b", 1, b"held")).status, 204);
        drop(a);
        await_hand_overs(&proxy, 1);
        let got = endpoint.got();
        let bodies: Vec<&[u8]> = got.iter().map(|got| got.body.as_slice()).collect();
        assert_eq!(bodies, [b"live".as_slice(), b"held"]);
        assert_eq!(proxy.running.count(Counter::Unreadable), 1);
    });
}

#[test]
fn a_standby_is_told_to_come_again_when_there_is_no_room_and_the_promoted_one_goes_on() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.hold_memory = Some("20KiB".into());
        });
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        let start = now_ms() - 60_000;
        let mut refused = 0;
        for scrape in 0..200 {
            let at = start + scrape * 100;
            // With no room for a single request it has to come again, too, until some is folded.
            while a.ask(&write("a", 5, Protocol::V1, at, 1.0)).status == 503 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let answer = b.ask(&write("b", 1, Protocol::V1, at + 30, 2.0));
            if answer.status == 503 {
                assert!(answer.head.contains("Retry-After: "), "{answer:?}");
                refused += 1;
            } else {
                assert_eq!(answer.status, 204);
            }
        }
        assert!(refused > 50, "{refused}");
        assert_eq!(proxy.running.count(Counter::HoldRefused), refused);
        assert!(proxy.running.count(Counter::Folded) > 0);
        assert_eq!(stored(&endpoint).len(), 200);
    });
}

#[test]
fn after_a_restart_the_seat_waits_for_who_sat_in_it() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let folder = Folder::new();
        let file = folder.0.join("state");
        let keeping = |cli: &mut highlander::cli::Cli| {
            quick(cli);
            cli.state = Some(file.display().to_string());
        };
        let proxy = Proxy::with(driver, endpoint.address, keeping);
        let mut a = proxy.connect();
        assert_eq!(a.ask(&write("a", 1, Protocol::V1, now_ms(), 1.0)).status, 204);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("named\ta")) {
            assert!(Instant::now() < deadline, "nobody wrote it down");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy.running.stop();
        let proxy = Proxy::with(driver, endpoint.address, keeping);
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        assert_eq!(b.ask(&write("b", 50, Protocol::V1, now_ms(), 2.0)).status, 503);
        assert_eq!(a.ask(&write("a", 1, Protocol::V1, now_ms(), 1.0)).status, 204);
        assert_eq!(b.ask(&write("b", 50, Protocol::V1, now_ms(), 2.0)).status, 204);
        assert_eq!(stored(&endpoint).len(), 2, "b is held");
    });
}

#[test]
fn who_is_promoted_just_before_the_end_is_written_down() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let folder = Folder::new();
        let file = folder.0.join("state");
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.state = Some(file.display().to_string());
            // No tick comes before the end.
            cli.health_tick = Some("1m".into());
            cli.health_expiry = Some("5m".into());
        });
        let mut a = proxy.connect();
        assert_eq!(a.ask(&write("a", 1, Protocol::V1, now_ms(), 1.0)).status, 204);
        proxy.running.stop();
        let kept = std::fs::read_to_string(&file).expect("it was written");
        assert!(kept.contains("named\ta"), "{kept}");
    });
}

#[test]
fn a_promoted_source_that_falls_behind_gives_its_seat_to_a_fresher_one() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| cli.max_lag = Some("2s".into()));
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        let start = now_ms();
        // Of each second, it manages to send a tenth.
        let deadline = Instant::now() + Duration::from_secs(40);
        while proxy.running.history().is_empty() {
            assert!(Instant::now() < deadline, "it kept its seat");
            let now = now_ms();
            let behind = if now < start + 500 { now } else { start + 500 + (now - start) / 10 };
            assert_eq!(a.ask(&write("a", 5, Protocol::V1, behind, 1.0)).status, 204);
            assert_eq!(b.ask(&write("b", 1, Protocol::V1, now, 2.0)).status, 204);
            std::thread::sleep(Duration::from_millis(50));
        }
        let record = &proxy.running.history()[0];
        assert_eq!((record.to.as_str(), record.cause.to_string().as_str()), ("b", "lag"));
        let stored = stored(&endpoint);
        assert!(stored.is_sorted_by(|one, next| one.0 < next.0), "{stored:?}");
        let from_a = stored.iter().take_while(|(_, value)| *value == 1.0).count();
        assert!(stored[from_a..].iter().all(|(_, value)| *value == 2.0), "{stored:?}");
        let gap = stored.windows(2).map(|two| two[1].0 - two[0].0).max();
        assert!(gap < Some(1500), "{gap:?}");
    });
}

/// Bytes that can't be compressed.
struct SplitMix64(u64);

impl Iterator for SplitMix64 {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Some((mixed >> 56) as u8)
    }
}

/// The same as [`write`], with so many bytes that mean nothing to anyone, and with a series of its own
/// if they are many.
fn write_wide(source: &str, weight: u64, timestamp_ms: i64, value: f64, bytes: usize) -> Vec<u8> {
    let mut request = WriteRequestBuilder::new();
    for series in ["a", "b", "c"] {
        request.push(&[("__name__", "up"), ("job", series)], &[Sample { value, timestamp_ms }]);
    }
    if bytes > 1000 {
        request.push(&[("__name__", "up"), ("job", "gone")], &[Sample { value, timestamp_ms }]);
    }
    let mut message = request.finish();
    let noise = SplitMix64(timestamp_ms as u64);
    put_bytes(&mut message, 15, &noise.take(bytes).collect::<Vec<u8>>());
    remote_write(
        source,
        weight,
        "prometheus.WriteRequest",
        &snappy::encode(&message).expect("it is small"),
    )
}

#[test]
fn of_a_lone_source_that_is_too_fast_nothing_is_kept_and_a_standby_takes_over_as_soon_as_it_is_held()
 {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, quick);
        let mut a = proxy.connect();
        let (mut sent_by_a, mut sent): (Vec<i64>, Vec<_>) = Default::default();
        let mut push_a = |bytes: usize| {
            let at = now_ms().max(sent_by_a.last().map_or(0, |last| last + 1));
            let request = write_wide("a", 5, at, 1.0, bytes);
            assert_eq!(a.ask(&request).status, 204);
            sent_by_a.push(at);
            sent.push(request);
        };
        // What is kept of one that is alone is full after some of these; what follows is not kept.
        let deadline = Instant::now() + Duration::from_secs(30);
        while proxy.running.count(Counter::DeliveredDropped) < 4 {
            assert!(Instant::now() < deadline, "all of it is kept");
            push_a(4_000_000);
        }
        let gone = now_ms();
        let mut b = proxy.connect();
        let mut sent_by_b = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while sent_by_b.len() < 10 {
            assert!(Instant::now() < deadline, "the standby is never held");
            push_a(10);
            let at = now_ms();
            match b.ask(&write("b", 1, Protocol::V1, at, 2.0)).status {
                204 => sent_by_b.push(at),
                // What it has cannot be told yet from what was delivered and not kept.
                503 => assert!(sent_by_b.is_empty(), "held once, held always"),
                status => panic!("{status}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // Of a series that has ended nobody knows any more up to where it was delivered.
        let mut ended = WriteRequestBuilder::new();
        let old = Sample { value: 2.0, timestamp_ms: gone - 20 };
        ended.push(&[("__name__", "up"), ("job", "gone")], &[old]);
        let ended = snappy::encode(&ended.finish()).expect("it is small");
        assert_eq!(b.ask(&remote_write("b", 1, "prometheus.WriteRequest", &ended)).status, 204);
        drop(a);
        await_hand_overs(&proxy, 1);
        assert!(
            endpoint.got().iter().all(|got| got.body != ended),
            "what may be there is not sent"
        );
        let last = sent_by_a[sent_by_a.len() - 1];
        let of_a = sent_by_a.iter().map(|at| (*at, 1.0));
        let of_b = sent_by_b.iter().filter(|at| **at > last).map(|at| (*at, 2.0));
        assert_eq!(stored(&endpoint), of_a.chain(of_b).collect::<Vec<_>>());
        for (got, sent) in endpoint.got().iter().zip(&sent) {
            assert!(sent.ends_with(&got.body), "byte for byte");
        }
    });
}
