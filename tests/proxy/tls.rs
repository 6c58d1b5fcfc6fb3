//! An https endpoint: what goes out and comes back is the same as without TLS.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highlander::shared::metrics::Counter;
use rustls::HandshakeKind;

use crate::authority::*;
use crate::support::*;

#[test]
fn requests_go_out_and_answers_come_back_over_tls() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let record = got.clone();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::start(server, move |request| {
            record.lock().expect("no panic").push(request.clone());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            [head.as_bytes(), &request.body].concat()
        });
        let proxy = secure.proxy_with(driver, &authority, |cli| {
            cli.remote = Some(format!("https://127.0.0.1:{}/prefix", secure.port()));
        });
        let mut client = proxy.connect();
        let sizes = [0, 1, 16_384, 65_536, 65_537, 200_000, 5_000_000];
        for bytes in sizes {
            let answer = client.ask(&push(1, &body(bytes)));
            assert_eq!(answer.status, 200);
            assert!(answer.body == body(bytes), "{bytes}");
        }
        let got = got.lock().expect("no panic").clone();
        assert!(got.iter().all(|got| got.connection == 0), "one connection serves all");
        for (got, bytes) in got.iter().zip(sizes) {
            assert!(got.body == body(bytes), "{bytes}");
            assert!(got.head.starts_with("POST /prefix/api/v1/write HTTP/1.1\r\n"));
            assert!(got.head.contains(&format!("Host: 127.0.0.1:{}\r\n", secure.port())));
        }
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 1);
    });
}

#[test]
fn answers_of_every_framing_come_back_over_tls() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let long = body(300_000);
        let sent = long.clone();
        let secure = Secure::raw(server, move |stream, _| {
            let mut unread = Vec::new();
            while let Some(got) = read_request(stream, &mut unread, 0) {
                let until_close = got.head.starts_with("GET /close");
                let bytes = if until_close {
                    [b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n", &sent[..]].concat()
                } else {
                    let head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\
                                 Transfer-Encoding: chunked\r\n\r\n493e0\r\n";
                    [head, &sent[..], b"\r\n0\r\n\r\n"].concat()
                };
                let _ = stream.write_all(&bytes);
                if until_close {
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                    return;
                }
                let _ = stream.flush();
            }
        });
        let proxy = secure.proxy(driver, &authority);
        let mut client = proxy.connect();
        for path in ["/chunks", "/chunks", "/close", "/close", "/chunks"] {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            let answer = client.answer_to("GET");
            assert!(answer.status == 200 && answer.body == long, "{path}");
        }
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 3);
    });
}

#[test]
fn the_next_connection_is_resumed() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::start(server, |request| match request.body.as_slice() {
            b"last" => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".into(),
            _ => NO_CONTENT.to_vec(),
        });
        let proxy = secure.proxy(driver, &authority);
        let mut client = proxy.connect();
        for _ in 0..3 {
            assert_eq!(client.ask(&push(1, b"first")).status, 204);
            assert_eq!(client.ask(&push(1, b"last")).status, 200);
        }
        let resumed = Some(HandshakeKind::Resumed);
        assert_eq!(secure.kinds(), [Some(HandshakeKind::Full), resumed, resumed]);
    });
}

#[test]
fn the_name_that_is_asked_for_is_the_hosts_or_the_one_given() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let names: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        for (signed, host, given) in [
            ("localhost", "localhost", None),
            ("storage.example", "127.0.0.1", Some("storage.example")),
            ("127.0.0.1", "localhost", Some("127.0.0.1")),
        ] {
            let record = names.clone();
            let server = authority.server(&authority.sign(signed));
            let secure = Secure::raw(server, move |stream, _| {
                let name = stream.conn.server_name().map(str::to_owned);
                record.lock().expect("no panic").push(name);
                assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
                read_request(stream, &mut Vec::new(), 0);
                let _ = stream.write_all(NO_CONTENT);
            });
            let proxy = secure.proxy_with(driver, &authority, |cli| {
                cli.remote = Some(format!("https://{host}:{}", secure.port()));
                cli.remote_server_name = given.map(str::to_owned);
            });
            let mut client = proxy.connect();
            until("the name is resolved", || client.ask(&push(1, b"x")).status == 204);
        }
        let names = names.lock().expect("no panic").clone();
        assert_eq!(names, [Some("localhost".into()), Some("storage.example".into()), None]);
    });
}

#[test]
fn an_endpoint_that_wants_a_certificate_gets_it() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let ours = authority.sign("highlander");
        let expected = ours.chain.clone();
        let server = authority.strict_server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, move |stream, _| {
            assert_eq!(stream.conn.peer_certificates(), Some(&expected[..]));
            read_request(stream, &mut Vec::new(), 0);
            let _ = stream.write_all(NO_CONTENT);
        });
        let (certificate, key) = ours.files(&authority);
        let proxy = secure.proxy_with(driver, &authority, |cli| {
            cli.remote_cert_file = certificate.clone();
            cli.remote_key_file = key.clone();
        });
        assert_eq!(proxy.connect().ask(&push(1, b"x")).status, 204);
        let proxy = secure.proxy(driver, &authority);
        assert_eq!(proxy.connect().ask(&push(1, b"x")).status, 502, "without one it is refused");
    });
}

#[test]
fn an_endpoint_that_refuses_a_body_early_is_heard_over_tls() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, |stream, _| {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
            stream.conn.send_close_notify();
            let _ = stream.flush();
            // It reads no further; what was sent to it resets the connection when it closes.
            std::thread::sleep(Duration::from_millis(300));
        });
        let proxy = secure.proxy(driver, &authority);
        let mut client = proxy.connect();
        for _ in 0..2 {
            let answer = client.ask(&push(1, &body(20_000_000)));
            assert_eq!((answer.status, answer.body.as_slice()), (413, &b"no"[..]));
        }
    });
}

#[test]
fn an_endpoint_that_reads_slowly_gets_the_whole_body_over_tls() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, |stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            let _ = stream.flush();
            std::thread::sleep(Duration::from_millis(500));
            let got = read_request(stream, &mut Vec::new(), 0).expect("all of it");
            let status = if got.body == body(30_000_000) { "204 No Content" } else { "400 Bad" };
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
        });
        let proxy = secure.proxy(driver, &authority);
        assert_eq!(proxy.connect().ask(&push(1, &body(30_000_000))).status, 204);
    });
}

#[test]
fn what_comes_over_tls_while_a_connection_is_idle_is_nobodys_answer() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, |stream, connection| {
            let mut unread = Vec::new();
            while let Some(got) = read_request(stream, &mut unread, connection) {
                let path = got.head.split(' ').nth(1).unwrap_or_default().to_owned();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path.len());
                let _ = stream.write_all(format!("{head}{path}").as_bytes());
                let _ = stream.flush();
                std::thread::sleep(Duration::from_millis(20));
                if connection % 2 == 0 {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
                } else {
                    stream.conn.send_close_notify();
                }
                let _ = stream.flush();
            }
        });
        let proxy = secure.proxy(driver, &authority);
        let mut client = proxy.connect();
        for number in 0..6 {
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            assert_eq!(client.answer_to("GET").body, format!("/{number}").into_bytes());
            std::thread::sleep(Duration::from_millis(60));
        }
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 6);
        assert_eq!(proxy.running.count(Counter::EndpointRetried), 0, "none was written to again");
    });
}
