//! Who is promoted, seen from outside: whose bodies reach the endpoint.

use std::time::Duration;

use highlander::shared::metrics::Counter;

use crate::support::*;

fn bodies(endpoint: &Endpoint) -> Vec<String> {
    endpoint.got().iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect()
}

#[test]
fn only_the_promoted_sources_data_goes_out_and_the_heavier_one_takes_over() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let (mut light, mut heavy) = (proxy.connect(), proxy.connect());
        assert_eq!(light.ask(&push(10, b"light 1")).status, 204);
        assert_eq!(light.ask(&push(10, b"light 2")).status, 204);
        assert_eq!(heavy.ask(&push(50, b"heavy 1")).status, 204);
        let taken = light.ask(&push(10, b"light 3"));
        assert_eq!(taken.head, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(heavy.ask(&push(50, b"heavy 2")).status, 204);
        assert_eq!(light.ask(&push(10, &body(1_000_000))).status, 204);
        assert_eq!(light.ask(&push(10, b"light 4")).status, 204);
        assert_eq!(bodies(&endpoint), ["light 1", "light 2", "heavy 1", "heavy 2"]);
        assert_eq!(proxy.running.count(Counter::Standby), 3);
        assert_eq!(proxy.running.count(Counter::Forwarded), 4);
        assert_eq!(proxy.running.promotions(), 2);
    });
}

#[test]
fn a_prometheus_with_fifty_shards_is_one_source() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut shards: Vec<Client> = (0..50).map(|_| proxy.connect()).collect();
        for round in 0..3 {
            for shard in &mut shards {
                assert_eq!(shard.ask(&push(5, format!("{round}").as_bytes())).status, 204);
            }
        }
        assert_eq!(endpoint.got().len(), 150);
        assert_eq!(proxy.running.promotions(), 1);
    });
}

#[test]
fn with_identity_by_connection_one_connection_is_one_source() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.source_identity = Some("connection".into());
        });
        let (mut first, mut second) = (proxy.connect(), proxy.connect());
        for _ in 0..3 {
            first.ask(&push(5, b"first"));
            second.ask(&push(5, b"second"));
        }
        assert_eq!(bodies(&endpoint), ["first", "first", "first"]);
    });
}

#[test]
fn sources_are_told_apart_by_name_and_groups_have_seats_of_their_own() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        let mut say = |query: &str, tenant: &str, text: &str| {
            let request = format!(
                "POST /w?{query} HTTP/1.1\r\nHost: a\r\n{tenant}Content-Length: {}\r\n\r\n{text}",
                text.len()
            );
            let answer = client.ask(request.as_bytes());
            assert_eq!(answer.status, 204, "{request}: {answer:?}");
        };
        // All on one connection: who speaks is what the request says.
        say("highlander_source=a", "", "a");
        say("highlander_source=b", "", "b is standby");
        say("highlander_source=b&highlander_group=g", "", "b leads g");
        say("highlander_source=a&highlander_group=g", "", "a is standby in g");
        say("highlander_source=b", "X-Scope-OrgID: t\r\n", "b leads t");
        say("highlander_source=a", "X-Scope-OrgID: t\r\n", "a is standby in t");
        say("highlander_source=%61", "", "a again");
        assert_eq!(bodies(&endpoint), ["a", "b leads g", "b leads t", "a again"]);
        assert!(endpoint.got().iter().all(|got| got.head.starts_with("POST /w HTTP/1.1\r\n")));
    });
}

#[test]
fn a_weight_that_is_no_number_counts_as_zero_and_is_counted() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut odd = proxy.connect();
        odd.ask(
            b"POST /w?highlander_weight=heavy HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nodd",
        );
        assert_eq!(proxy.running.count(Counter::WeightsUnreadable), 1);
        proxy.connect().ask(&push(1, b"one"));
        assert_eq!(bodies(&endpoint), ["odd", "one"]);
    });
}

#[test]
fn half_a_request_takes_no_seat() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut good = proxy.connect();
        good.ask(&push(10, b"good 1"));
        let mut heavy = proxy.connect();
        let request = push(99, b"heavy");
        heavy.send(&request[..request.len() - 1]);
        assert_eq!(good.ask(&push(10, b"good 2")).status, 204);
        heavy.send(&request[request.len() - 1..]);
        assert_eq!(heavy.answer().status, 204);
        assert_eq!(bodies(&endpoint), ["good 1", "good 2", "heavy"]);
    });
}

#[test]
fn a_lost_source_gives_its_seat_to_the_heaviest_live_standby_without_waiting_for_its_push() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.health_tick = Some("100ms".into());
            cli.health_expiry = Some("500ms".into());
        });
        let mut promoted = proxy.connect();
        let (mut light, mut heavy) = (proxy.connect(), proxy.connect());
        promoted.ask(&push(50, b"promoted"));
        light.ask(&push(1, b"-"));
        heavy.ask(&push(9, b"-"));
        drop(promoted);
        until("the seat changes", || proxy.running.promotions() == 2);
        // The light one speaks first, and is still no more than a standby.
        light.ask(&push(1, b"light"));
        heavy.ask(&push(9, b"heavy"));
        assert_eq!(bodies(&endpoint), ["promoted", "heavy"]);
    });
}

#[test]
fn an_idle_source_with_an_open_connection_is_not_lost() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.health_tick = Some("50ms".into());
            cli.health_expiry = Some("200ms".into());
        });
        let (mut promoted, mut standby) = (proxy.connect(), proxy.connect());
        promoted.ask(&push(50, b"promoted"));
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(1500) {
            standby.ask(&push(1, b"standby"));
        }
        promoted.ask(&push(50, b"promoted"));
        assert_eq!(bodies(&endpoint), ["promoted", "promoted"]);
    });
}

#[test]
fn idle_is_not_dead_where_a_balancer_sends_for_two_sources_on_one_connection() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.health_tick = Some("100ms".into());
            cli.health_expiry = Some("500ms".into());
        });
        let mut balancer = proxy.connect();
        for _ in 0..3 {
            for weight in [50, 10] {
                assert_eq!(balancer.ask(&push(weight, b"scrape")).status, 204);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!(endpoint.got().len(), 3);
        assert_eq!(proxy.running.promotions(), 1);
    });
}
