//! Limits, the balance between cores, and the end.

use std::io::Read as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highlander::shared::metrics::Counter;

use crate::support::*;

#[test]
fn connections_beyond_the_limit_are_answered_503_and_others_are_not_disturbed() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy =
            Proxy::with(driver, endpoint.address, |cli| cli.max_connections = Some("3".into()));
        let mut good: Vec<Client> = (0..3).map(|_| proxy.connect()).collect();
        for client in &mut good {
            assert_eq!(client.ask(&push(1, b"x")).status, 204);
        }
        let mut refused = proxy.connect();
        let answer = refused.ask(&push(1, &body(100_000)));
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("Retry-After: "));
        refused.assert_closed();
        assert_eq!(proxy.running.count(Counter::ConnectionsRefused), 1);
        good.pop();
        until("there is room again", || proxy.connect().ask(&push(1, b"x")).status == 204);
        assert!(good.iter_mut().all(|client| client.ask(&push(1, b"x")).status == 204));
    });
}

#[test]
fn eight_connections_are_never_spread_worse_than_five_to_three() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        for round in 0..200 {
            let clients: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
            until("all are taken", || proxy.running.connections().iter().sum::<u64>() == 8);
            let most = proxy.running.connections().into_iter().max();
            assert!(most <= Some(5), "round {round}: {:?}", proxy.running.connections());
            drop(clients);
            until("all are gone", || proxy.running.connections().iter().sum::<u64>() == 0);
        }
    });
}

#[test]
fn more_groups_or_sources_than_there_may_be_are_refused_and_counted() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        for limits in [None, Some((5, 3))] {
            let proxy = Proxy::with(driver, endpoint.address, |cli| {
                cli.max_groups = limits.map(|(groups, _)| groups.to_string());
                cli.max_sources = limits.map(|(_, sources)| sources.to_string());
            });
            let (groups, sources) = limits.unwrap_or((1000, 64));
            let ask = |query: String| {
                let head = format!("GET /?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
                proxy.connect().ask(head.as_bytes())
            };
            for number in 0..sources {
                assert_eq!(ask(format!("highlander_source={number}")).status, 204);
            }
            let refused = ask("highlander_source=more".into());
            assert_eq!(refused.status, 503);
            assert!(refused.head.contains("Retry-After"));
            let mut first = proxy.connect();
            first.ask(b"GET /?highlander_group=0 HTTP/1.1\r\nHost: a\r\n\r\n");
            for number in 1..groups - 1 {
                assert_eq!(ask(format!("highlander_group={number}")).status, 204);
            }
            let count = |counter| proxy.running.count(counter);
            assert_eq!((count(Counter::SourcesRefused), count(Counter::GroupsRefused)), (1, 0));
            assert_eq!(ask("highlander_group=more".into()).status, 503);
            assert_eq!(ask("highlander_group=more".into()).status, 503);
            assert_eq!((count(Counter::SourcesRefused), count(Counter::GroupsRefused)), (1, 2));
            assert_eq!(count(Counter::Refused), 3);
            let long = ask(format!("highlander_source={}", "a".repeat(257)));
            assert_eq!(long.status, 400);
        }
    });
}

#[test]
fn groups_that_nobody_speaks_for_make_room_again() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.health_tick = Some("100ms".into());
            cli.health_expiry = Some("4s".into());
            cli.health_expiry_max = Some("4s".into());
        });
        let ask = |client: &mut Client, number: usize| {
            let head = format!("GET /?highlander_group={number} HTTP/1.1\r\nHost: a\r\n\r\n");
            client.ask(head.as_bytes()).status
        };
        // All in one: a connection each takes longer than a group lasts, on a machine that is busy.
        let (mut client, mut number) = (proxy.connect(), 0);
        until("all groups are taken", || {
            number += 1;
            ask(&mut client, number) == 503
        });
        until("there is room again", || ask(&mut proxy.connect(), 0) == 204);
    });
}

#[test]
fn one_connection_after_the_other_is_no_crowd_of_sources() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.source_identity = Some("connection".into());
        });
        let mut promoted = proxy.connect();
        promoted.ask(&push(9, b"x"));
        for _ in 0..200 {
            assert_eq!(proxy.connect().ask(&push(1, b"x")).status, 204);
        }
        let mut many: Vec<Client> = (0..150).map(|_| proxy.connect()).collect();
        assert!(many.iter_mut().all(|client| client.ask(&push(1, b"x")).status == 204));
    });
}

#[test]
fn whoever_sends_without_end_after_a_refusal_is_cut_off() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut endless = proxy.connect();
        endless.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n");
        let start = Instant::now();
        let much = vec![0; 1 << 20];
        while endless.stream.write_all(&much).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(10), "it is still being read");
        }
    });
}

#[test]
fn whoever_sends_without_end_does_not_have_the_core_for_itself() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| cli.cores = Some("1".into()));
        let mut good = proxy.connect();
        good.ask(&push(50, b"x"));
        let greedy = proxy.connect();
        let mut reader = greedy.stream.try_clone().expect("a live socket");
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        let mut writer = greedy.stream.try_clone().expect("a live socket");
        let flood = std::thread::spawn(move || {
            let many = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
            while writer.write_all(&many).is_ok() {}
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(good.ask(&push(50, b"x")).status, 204);
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        }
        let _ = greedy.stream.shutdown(std::net::Shutdown::Both);
        flood.join().expect("no panic");
    });
}

#[test]
fn what_is_in_flight_is_finished_before_the_end_and_the_idle_are_let_go_at_once() {
    on_both_drivers(|driver| {
        let may_answer = Arc::new(AtomicBool::new(false));
        let waited_for = may_answer.clone();
        let endpoint = Endpoint::raw(move |mut stream, connection| {
            let mut unread = Vec::new();
            while read_request(&mut stream, &mut unread, connection).is_some() {
                until("it may answer", || waited_for.load(Ordering::Relaxed));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        let Proxy { running, address } = Proxy::start(driver, endpoint.address);
        let mut idle = Client::connect(address);
        let mut busy = Client::connect(address);
        let mut half = Client::connect(address);
        busy.send(&push(1, b"x"));
        let head = b"POST /api/v1/write?highlander_weight=1 HTTP/1.1\r\nHost: proxy:9091\r\n\
                     Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        // By this it is known to be read: one that is not is as idle as any.
        assert_eq!(half.ask(head).status, 100);
        half.send(b"ha");
        until("it is promoted", || running.promotions() == 1);
        let stopped = std::thread::spawn(move || running.stop());
        idle.assert_closed();
        half.send(b"lf");
        may_answer.store(true, Ordering::Relaxed);
        for client in [&mut busy, &mut half] {
            let answer = client.answer();
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
        }
        half.assert_closed();
        stopped.join().expect("no panic");
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}

#[test]
fn the_end_does_not_wait_longer_than_it_was_told() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, _| {
            let _ = stream.read(&mut [0; 10]);
            std::thread::sleep(Duration::from_secs(10));
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.shutdown_timeout = Some("1s".into());
        });
        let mut busy = proxy.connect();
        busy.send(&push(1, b"x"));
        until("it is promoted", || proxy.running.promotions() == 1);
        let start = Instant::now();
        proxy.running.stop();
        assert!(start.elapsed() >= Duration::from_millis(900));
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}
