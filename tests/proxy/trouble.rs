//! An endpoint that fails, and what the source is told so that it keeps its data.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use highlander::shared::metrics::Counter;
use socket2::{Domain, Socket, Type};

use crate::support::*;

#[test]
fn an_endpoint_that_refuses_is_a_502_and_is_found_again() {
    on_both_drivers(|driver| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        drop(listener);
        let proxy = Proxy::start(driver, address);
        let mut client = proxy.connect();
        for _ in 0..3 {
            let answer = client.ask(&push(1, &body(40_000)));
            assert_eq!(answer.status, 502);
            assert!(!answer.head.contains("Connection: close"), "{}", answer.head);
        }
        let listener = TcpListener::bind(address).expect("the port is still free");
        let storage = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the proxy connects");
            let got = read_request(&mut stream, &mut Vec::new(), 0).expect("a request");
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            got
        });
        assert_eq!(client.ask(&push(1, &body(40_000))).status, 204);
        assert!(storage.join().expect("no panic").body == body(40_000));
        assert_eq!(proxy.running.count(Counter::EndpointFailed), 3);
    });
}

#[test]
fn an_endpoint_that_hangs_is_a_504_and_the_next_request_is_not_confused() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, connection| {
            let got = read_request(&mut stream, &mut Vec::new(), connection).expect("a request");
            if connection == 0 {
                // Longer than the proxy waits.
                std::thread::sleep(Duration::from_millis(2500));
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.body.len());
            let _ = stream.write_all(&[answer.as_bytes(), &got.body].concat());
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.remote_timeout = Some("1s".into());
        });
        let mut client = proxy.connect();
        let start = Instant::now();
        client.send(&[push(1, b"first"), push(1, b"second")].concat());
        assert_eq!(client.answer().status, 504);
        assert!(start.elapsed() >= Duration::from_millis(900));
        assert_eq!(client.answer().body, b"second");
    });
}

#[test]
fn an_endpoint_that_takes_no_connection_is_a_504() {
    on_both_drivers(|driver| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).and_then(|()| socket.listen(0)).expect("a free port");
        let full = socket.local_addr().expect("a bound socket").as_socket().expect("an address");
        let _waiting = TcpStream::connect(full).expect("one has room to wait");
        let proxy = Proxy::with(driver, full, |cli| cli.remote_timeout = Some("1s".into()));
        let mut client = proxy.connect();
        for _ in 0..2 {
            assert_eq!(client.ask(&push(1, b"x")).status, 504);
        }
    });
}

/// Once it held up the thread that beats the cores: nothing timed out any more, for none of them.
#[test]
fn a_state_file_whose_disk_hangs_holds_up_nobody() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, connection| {
            let got = read_request(&mut stream, &mut Vec::new(), connection).expect("a request");
            match got.body.as_slice() {
                b"hang" => std::thread::sleep(Duration::from_secs(5)),
                _ => _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
            }
        });
        let folder = Folder::new();
        // Whoever opens it to write waits for a reader, and there is none.
        let made = Command::new("mkfifo").arg(folder.0.join("state.new")).status();
        assert!(made.is_ok_and(|status| status.success()));
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.state = Some(folder.0.join("state").display().to_string());
            cli.health_tick = Some("100ms".into());
            cli.remote_timeout = Some("1s".into());
        });
        let mut client = proxy.connect();
        assert_eq!(client.ask(&push(1, b"promotes it")).status, 204);
        // By now that is to be written down.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(client.ask(&push(1, b"hang")).status, 504);
        // And it ends.
        proxy.running.stop();
    });
}

#[test]
fn an_endpoint_that_does_not_read_is_a_504_too() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|stream, _| {
            std::thread::sleep(Duration::from_secs(5));
            drop(stream);
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.remote_timeout = Some("1s".into());
        });
        let mut client = proxy.connect();
        let requests = [push(1, &body(20_000_000)), push(1, b"next")].concat();
        let mut writer = client.stream.try_clone().expect("a live socket");
        let sender = std::thread::spawn(move || writer.write_all(&requests));
        assert_eq!(client.answer().status, 504);
        assert_eq!(client.answer().status, 504, "the next request was not lost with the buffer");
        sender.join().expect("no panic").expect("the proxy reads");
    });
}

#[test]
fn an_endpoint_that_says_continue_without_end_and_reads_nothing_does_not_hold_up_the_core() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, connection| {
            if connection == 0 {
                let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(400);
                while stream.write_all(&interim).is_ok() {}
                return;
            }
            let mut unread = Vec::new();
            while read_request(&mut stream, &mut unread, connection).is_some() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.remote_timeout = Some("1s".into());
            cli.cores = Some("1".into());
        });
        let mut client = proxy.connect();
        let request = push(1, &body(20_000_000));
        let mut writer = client.stream.try_clone().expect("a live socket");
        let sender = std::thread::spawn(move || writer.write_all(&request));
        until("it is under way", || proxy.running.count(Counter::EndpointConnections) == 1);
        assert_eq!(proxy.connect().ask(&push(1, b"other")).status, 204, "the core goes round");
        let status = client.answer().status;
        assert!(status == 502 || status == 504, "{status}");
        // A refusal may close before all is read.
        let _ = sender.join().expect("no panic");
    });
}

/// Answers one request on each connection; when the second has come it says this, and closes.
fn closes_at_the_second(last: &'static [u8]) -> Endpoint {
    Endpoint::raw(move |mut stream, connection| {
        let mut unread = Vec::new();
        read_request(&mut stream, &mut unread, connection);
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        read_request(&mut stream, &mut unread, connection);
        let _ = stream.write_all(last);
    })
}

#[test]
fn a_connection_that_dies_in_the_head_of_an_answer_is_not_tried_again() {
    on_both_drivers(|driver| {
        let endpoint = closes_at_the_second(b"HTTP/1.1 204 No Con");
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        assert_eq!(client.ask(&push(1, b"first")).status, 204);
        assert_eq!(client.ask(&push(1, b"second")).status, 502, "it has begun to answer");
        assert_eq!(proxy.running.count(Counter::EndpointRetried), 0);
    });
}

#[test]
fn a_reused_connection_that_dies_is_tried_once_more_on_a_fresh_one() {
    on_both_drivers(|driver| {
        let endpoint = closes_at_the_second(b"");
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        for number in 0..10 {
            assert_eq!(client.ask(&push(1, &body(number * 9000))).status, 204);
        }
        assert_eq!(proxy.running.count(Counter::EndpointRetried), 9);
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 10);
    });
}

#[test]
fn a_fresh_connection_that_dies_is_a_502_and_not_tried_for_ever() {
    on_both_drivers(|driver| {
        let tries = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let endpoint = Endpoint::raw(move |mut stream, connection| {
            counted.fetch_add(1, Ordering::Relaxed);
            read_request(&mut stream, &mut Vec::new(), connection);
        });
        let proxy = Proxy::start(driver, endpoint.address);
        assert_eq!(proxy.connect().ask(&push(1, b"x")).status, 502);
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn what_is_not_an_answer_is_a_502() {
    on_both_drivers(|driver| {
        let cases: [&[u8]; 6] = [
            b"220 mail.example.org ESMTP\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
            b"HTTP/1.1 200 OK\r\nX: a",
        ];
        for bytes in cases {
            let endpoint = Endpoint::raw(move |mut stream, connection| {
                read_request(&mut stream, &mut Vec::new(), connection);
                let _ = stream.write_all(bytes);
            });
            let proxy = Proxy::start(driver, endpoint.address);
            let answer = proxy.connect().ask(&push(1, b"x"));
            assert_eq!(answer.status, 502, "{:?}", String::from_utf8_lossy(bytes));
        }
    });
}

#[test]
fn an_endpoint_that_refuses_a_body_early_is_heard() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, _| {
            let mut some = [0; 1000];
            let _ = stream.read(&mut some);
            let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // It reads no further; what was sent to it resets the connection when it closes.
            std::thread::sleep(Duration::from_millis(300));
        });
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        for _ in 0..2 {
            let answer = client.ask(&push(1, &body(20_000_000)));
            assert_eq!((answer.status, answer.body.as_slice()), (413, &b"no"[..]));
        }
    });
}

#[test]
fn an_endpoint_that_says_continue_and_reads_slowly_gets_the_whole_body() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            // Longer than an endpoint that has answered is waited for.
            std::thread::sleep(Duration::from_millis(3000));
            let got = read_request(&mut stream, &mut Vec::new(), 0).expect("all of it");
            let status = if got.body == body(20_000_000) { "204 No Content" } else { "400 Bad" };
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
        });
        let proxy = Proxy::start(driver, endpoint.address);
        assert_eq!(proxy.connect().ask(&push(1, &body(20_000_000))).status, 204);
    });
}

#[test]
fn an_endpoint_that_asks_to_wait_does_not_cost_the_source_its_seat() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::start(|_| {
            b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n".to_vec()
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.health_tick = Some("50ms".into());
            cli.health_expiry = Some("300ms".into());
        });
        let (mut promoted, mut standby) = (proxy.connect(), proxy.connect());
        assert_eq!(promoted.ask(&push(50, b"x")).status, 503);
        drop(promoted);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1500) {
            standby.ask(&push(1, b"x"));
        }
        assert_eq!(proxy.running.promotions(), 1);
    });
}

#[test]
fn an_answer_that_breaks_off_is_not_completed() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, connection| {
            read_request(&mut stream, &mut Vec::new(), connection);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        });
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        client.send(&push(1, b"x"));
        let mut all = Vec::new();
        let _ = client.stream.read_to_end(&mut all);
        assert_eq!(all, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    });
}

#[test]
fn a_name_with_several_addresses_is_tried_to_the_end() {
    on_both_drivers(|driver| {
        // Where localhost is ::1 as well, only 127.0.0.1 listens.
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.remote = Some(format!("http://localhost:{}", endpoint.address.port()));
        });
        let mut client = proxy.connect();
        until("the name is resolved", || client.ask(&push(1, b"x")).status == 204);
        let head = &endpoint.got()[0].head;
        assert!(head.contains(&format!("Host: localhost:{}\r\n", endpoint.address.port())));
    });
}

#[test]
fn a_source_whose_requests_are_in_flight_keeps_its_seat() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, connection| {
            let mut unread = Vec::new();
            while let Some(got) = read_request(&mut stream, &mut unread, connection) {
                if got.body == b"slow" {
                    std::thread::sleep(Duration::from_millis(1500));
                }
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.health_tick = Some("50ms".into());
            cli.health_expiry = Some("200ms".into());
            cli.health_expiry_max = Some("200ms".into());
        });
        let mut standby = proxy.connect();
        let mut promoted = proxy.connect();
        promoted.send(&push(50, b"slow"));
        until("it is promoted", || proxy.running.promotions() == 1);
        standby.ask(&push(1, b"standby"));
        assert_eq!(promoted.answer().status, 204);
        assert_eq!(proxy.running.promotions(), 1);
    });
}
