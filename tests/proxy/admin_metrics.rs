//! What `/metrics` counts and measures: by what became of a request, by what an endpoint said, by why a seat
//! changed; and that it stays small and quick.

use std::time::Duration;

use highlander::wire::remote_write::protocol::Protocol;

use crate::admin::*;
use crate::cluster::{ask, node, ports};
use crate::fan::{always, config, no_write, opaque, quick, stanza};
use crate::handover::{await_hand_overs, now_ms, write};
use crate::support::*;

fn metrics_of(proxy: &Proxy) -> String {
    text(&get(&mut admin(proxy), "/metrics"))
}

/// A configuration file's endpoint with a queue in a folder of its own.
fn queued(endpoint: &Endpoint, name: &str, folder: &std::path::Path) -> String {
    let dir = folder.join(name);
    let lines = [
        format!("name: {name}"),
        "delivery: queued".to_owned(),
        format!("queue: {{dir: '{}'}}", dir.display()),
    ];
    stanza(endpoint, "", &lines.each_ref().map(String::as_str))
}

#[test]
fn how_long_requests_took_is_seen_by_what_became_of_them() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::start(|got| {
            if got.body == b"gone" {
                return Vec::new();
            }
            std::thread::sleep(Duration::from_millis(60));
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        });
        let proxy = with_admin_and(&endpoint, |cli| cli.driver = Some(driver.into()));
        let (mut one, mut two) = (proxy.connect(), proxy.connect());
        let at = now_ms();
        for request in 0..3 {
            assert_eq!(one.ask(&write("one", 9, Protocol::V1, at + request, 1.0)).status, 204);
        }
        assert_eq!(two.ask(&write("two", 1, Protocol::V1, at, 1.0)).status, 204);
        assert_eq!(two.ask(&write("two", 1, Protocol::V2, at, 1.0)).status, 204);
        assert_eq!(two.ask(&push_of("", "", "two")).status, 204);
        let gone = b"POST /w?highlander_source=one&highlander_weight=9 HTTP/1.1\r\nHost: a\r\n\
                     Content-Length: 4\r\n\r\ngone";
        assert_eq!(one.ask(gone).status, 502);
        let metrics = metrics_of(&proxy);
        let of = |what: &str, outcome: &str, rest: &str| {
            let name = format!(
                "highlander_request_duration_seconds_{what}{{outcome=\"{outcome}\"{rest}}}"
            );
            value(&metrics, &name).unwrap_or_else(|| panic!("{name} in {metrics}"))
        };
        for (outcome, count) in [
            ("forwarded", 3.0),
            ("held", 2.0),
            ("standby", 1.0),
            ("failed", 1.0),
            ("relayed", 0.0),
            ("covered", 0.0),
            ("refused", 0.0),
            ("malformed", 0.0),
        ] {
            assert_eq!(of("count", outcome, ""), count, "{outcome} in {metrics}");
            assert_eq!(of("bucket", outcome, ",le=\"+Inf\""), count, "{outcome}");
        }
        assert_eq!(of("bucket", "forwarded", ",le=\"0.05\""), 0.0, "each took 60 ms");
        assert_eq!(of("bucket", "forwarded", ",le=\"30\""), 3.0);
        let sum = of("sum", "forwarded", "");
        assert!((0.18..30.0).contains(&sum), "{sum}");
        assert!(of("sum", "held", "") < sum / 3.0, "what is held does not wait for the endpoint");
        let (succeeded, said) = promtool(&metrics);
        assert!(succeeded && said.is_empty(), "{said}");
        proxy.running.stop();
    });
}

#[test]
fn what_each_endpoint_says_is_seen_with_a_queue_and_without() {
    let folder = std::env::temp_dir().join(format!("highlander-said-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let good = Endpoint::start(|_| {
        std::thread::sleep(Duration::from_millis(60));
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let (unknown, nowhere, broken) = (always(401), Endpoint::nowhere(), always(503));
    let garbage = Endpoint::start(|_| b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec());
    let stanzas = [
        stanza(&good, "", &["name: good"]),
        queued(&good, "slow", &folder),
        queued(&unknown, "unknown", &folder),
        queued(&nowhere, "nowhere", &folder),
        queued(&broken, "broken", &folder),
        queued(&garbage, "garbage", &folder),
    ];
    let proxy = Proxy::run(config("epoll", &stanzas, |cli| cli.admin = Some("127.0.0.1:0".into())));
    let mut client = proxy.connect();
    assert_eq!(client.ask(&opaque(b"one")).status, 200);
    assert_eq!(client.ask(&opaque(b"two")).status, 200);
    assert_eq!(client.ask(&no_write(b"x")).status, 200, "it goes to the first alone");
    let said = |metrics: &str, endpoint: &str, code: &str| {
        let labels = format!("{{endpoint=\"{endpoint}\",code=\"{code}\"}}");
        value(metrics, &format!("highlander_endpoint_requests_total{labels}")).expect("it is there")
    };
    let expected = [
        ("good", "2xx", 3.0),
        ("slow", "2xx", 2.0),
        ("unknown", "401", 2.0),
        ("broken", "5xx", 2.0),
    ];
    let others = [("nowhere", "unreachable"), ("garbage", "unreadable")];
    until("all have said something", || {
        let metrics = metrics_of(&proxy);
        expected.iter().all(|(endpoint, code, count)| said(&metrics, endpoint, code) >= *count)
            && others.iter().all(|(endpoint, code)| said(&metrics, endpoint, code) >= 2.0)
    });
    let metrics = metrics_of(&proxy);
    for (endpoint, code, count) in expected {
        let is_tried_again = endpoint == "broken";
        assert!(
            is_tried_again || said(&metrics, endpoint, code) == count,
            "{endpoint} in {metrics}"
        );
    }
    let begin = "highlander_endpoint_requests_total{";
    let said_anything =
        metrics.lines().filter(|line| line.starts_with(begin) && !line.ends_with(" 0"));
    assert_eq!(said_anything.count(), 6, "each says one thing: {metrics}");
    let count = |endpoint: &str, what: &str| {
        let labels = format!("{{endpoint=\"{endpoint}\"}}");
        value(&metrics, &format!("highlander_endpoint_duration_seconds_{what}{labels}"))
    };
    assert_eq!((count("good", "count"), count("slow", "count")), (Some(3.0), Some(2.0)));
    assert!(count("slow", "sum").is_some_and(|seconds| seconds >= 0.12), "each took 60 ms");
    assert_eq!(count("nowhere", "count"), Some(0.0), "who says nothing takes no time");
    let age = "highlander_queue_oldest_age_seconds{endpoint=\"nowhere\"}";
    until("what waits in a queue ages", || {
        value(&metrics_of(&proxy), age).is_some_and(|seconds| seconds > 0.2)
    });
    let age = age.replace("nowhere", "slow");
    until("nothing waits any more", || value(&metrics_of(&proxy), &age) == Some(0.0));
    let (succeeded, said) = promtool(&metrics);
    assert!(succeeded && said.is_empty(), "{said}");
    proxy.running.stop();
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn why_a_seat_changed_and_what_a_hand_over_bridged_is_seen() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, quick);
    let (mut one, mut two) = (proxy.connect(), proxy.connect());
    let at = now_ms() - 60_000;
    for (client, name, weight) in [(&mut one, "one", 7), (&mut two, "two", 1)] {
        for step in 0..3 {
            let request = write(name, weight, Protocol::V1, at + step * 1000, 1.0);
            assert_eq!(client.ask(&request).status, 204);
        }
    }
    // What is held and newer is what is bridged.
    assert_eq!(two.ask(&write("two", 1, Protocol::V1, at + 4500, 1.0)).status, 204);
    let group = |name: &str| format!("highlander_group_{name}{{tenant=\"\",group=\"\"}}");
    until("what is held is seen", || {
        let metrics = metrics_of(&proxy);
        let of = |name: &str| value(&metrics, &group(name)).unwrap_or_default();
        ["held_bytes", "delivered_bytes"].iter().all(|name| of(name) > 100.0)
            && ["held_age_seconds", "delivered_age_seconds"].iter().all(|name| of(name) > 0.1)
    });
    drop(one);
    await_hand_overs(&proxy, 1);
    let metrics = metrics_of(&proxy);
    let of = |reason: &str| {
        let name = format!("highlander_promotions_total{{reason=\"{reason}\"}}");
        value(&metrics, &name).expect("it is there")
    };
    assert_eq!((of("empty"), of("silence"), of("weight"), of("order")), (1.0, 1.0, 0.0, 0.0));
    assert_eq!(value(&metrics, "highlander_handover_bridged_seconds_total"), Some(2.5));
    let took = value(&metrics, "highlander_handover_duration_seconds_total");
    assert!(took.is_some_and(|seconds| (0.0..30.0).contains(&seconds)), "{took:?}");
    proxy.running.stop();
}

#[test]
fn a_thousand_groups_of_four_sources_are_shown_within_bounds() {
    const GROUPS: usize = 1000;
    let endpoint = Endpoint::storage();
    let proxy = with_admin(&endpoint);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    let at = now_ms();
    for group in 0..GROUPS {
        for (source, client) in clients.iter_mut().enumerate() {
            let request =
                write(&format!("prometheus-{source}"), 4 - source as u64, Protocol::V1, at, 1.0);
            let query = format!("?highlander_group=cluster-{group:04}&");
            let text = String::from_utf8_lossy(&request[..70]).replacen('?', &query, 1);
            let request = [text.as_bytes(), &request[70..]].concat();
            assert_eq!(client.ask(&request).status, 204);
        }
    }
    let mut admin = admin(&proxy);
    let begun = std::time::Instant::now();
    let answer = get(&mut admin, "/metrics");
    let took = begun.elapsed();
    let metrics = text(&answer);
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    let of = |name: &str| metrics.lines().filter(|line| line.starts_with(name)).count();
    eprintln!("{GROUPS} groups of 4 sources: {} bytes, {series} series, {took:?}", metrics.len());
    assert_eq!(of("highlander_promoted_info{"), GROUPS);
    assert_eq!(of("highlander_source_silence_seconds{"), 4 * GROUPS);
    // Of a group, and of each of its sources, so many; all else is of the process.
    assert!(series < GROUPS * (12 + 4) + 600, "{series} series");
    assert!(metrics.len() < 2_000_000, "{} bytes", metrics.len());
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (succeeded, said) = promtool(&metrics);
    assert!(succeeded && said.is_empty(), "{said}");
    proxy.running.stop();
}

#[test]
fn who_leads_by_a_lease_and_who_relays_is_seen() {
    let (endpoint, ports) = (Endpoint::storage(), ports(3));
    let nodes: Vec<Proxy> = (0..3)
        .map(|place| {
            with_admin_and(&endpoint, |cli| {
                node(&ports, place)(cli);
                cli.cluster_size = Some("3".into());
            })
        })
        .collect();
    for proxy in &nodes {
        assert_eq!(ask(proxy, &write("a", 9, Protocol::V1, now_ms(), 1.0)).status, 204);
    }
    let all: Vec<String> = nodes.iter().map(metrics_of).collect();
    let of = |name: &str| all.iter().map(|it| value(it, name).expect("it is there")).collect();
    let leases: Vec<f64> = of("highlander_cluster_leases");
    let relayed: Vec<f64> = of("highlander_request_duration_seconds_count{outcome=\"relayed\"}");
    let leads: Vec<f64> = of("highlander_leader{tenant=\"\",group=\"\"}");
    assert_eq!(leads.iter().sum::<f64>(), 1.0, "{leads:?}");
    assert_eq!(leases, leads, "one lease, and who has it leads");
    let is_relayed = |(leads, relayed): (&f64, &f64)| (*leads == 0.0) == (*relayed >= 1.0);
    assert!(leads.iter().zip(&relayed).all(is_relayed), "{leads:?} {relayed:?}");
    nodes.into_iter().for_each(|node| node.running.stop());
}

#[test]
fn more_groups_than_are_usual_are_taken_and_shown() {
    // Ten thousand take a hundred times as long as a thousand: 20 s here.
    const GROUPS: usize = 3000;
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |cli| cli.max_groups = Some(GROUPS.to_string()));
    let mut client = proxy.connect();
    let begun = std::time::Instant::now();
    for group in 0..GROUPS {
        let group = format!("cluster-{group:05}");
        assert_eq!(client.ask(&push_of(&group, "tenant", "prometheus")).status, 204);
    }
    let taken_in = begun.elapsed();
    assert_eq!(proxy.connect().ask(&push_of("more", "tenant", "prometheus")).status, 503);
    let begun = std::time::Instant::now();
    let metrics = metrics_of(&proxy);
    let (shown_in, bytes) = (begun.elapsed(), metrics.len());
    eprintln!("{GROUPS} groups: taken in {taken_in:?}, {bytes} bytes shown in {shown_in:?}");
    let promoted = metrics.lines().filter(|line| line.starts_with("highlander_promoted_info{"));
    assert_eq!(promoted.count(), GROUPS);
    assert_eq!(value(&metrics, "highlander_groups_refused_total"), Some(1.0));
    assert!(taken_in < Duration::from_secs(60) && bytes < 6_000_000, "{taken_in:?}, {bytes}");
    // The cores still move, and so does who keeps the time.
    let ages =
        metrics.lines().filter_map(|it| it.strip_prefix("highlander_core_beat_age_seconds{"));
    let ages = ages.filter_map(|it| it.split(' ').next_back()?.parse::<f64>().ok());
    assert!(ages.fold(0.0, f64::max) < 2.0, "{metrics}");
    proxy.running.stop();
}
