//! What becomes of the endpoint's answer on its way back.

use std::io::Write as _;

use crate::support::*;

/// Asks once with `method` and gives the answer and whether the next request is answered too.
fn asked(driver: &str, method: &str, version: &str, answer: &'static [u8]) -> (Answer, bool) {
    let endpoint = Endpoint::start(move |_| answer.to_vec());
    let proxy = Proxy::start(driver, endpoint.address);
    let request = format!("{method} / HTTP/{version}\r\nHost: a\r\n\r\n");
    let mut client = proxy.connect();
    client.send(request.as_bytes());
    let first = client.answer_to(method);
    if first.head.to_lowercase().contains("connection: close") {
        client.assert_closed();
        return (first, false);
    }
    client.send(request.as_bytes());
    assert_eq!(client.answer_to(method), first);
    (first, true)
}

#[test]
fn answers_without_a_body_end_where_they_end() {
    on_both_drivers(|driver| {
        let cases: [(&str, &[u8], u16); 5] = [
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
            ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            ("GET", b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", 400),
        ];
        for (method, bytes, status) in cases {
            let (answer, stays) = asked(driver, method, "1.1", bytes);
            assert_eq!((answer.status, stays), (status, true));
            assert_eq!(answer.head.as_bytes(), bytes);
        }
    });
}

#[test]
fn interim_answers_are_skipped() {
    on_both_drivers(|driver| {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (answer, stays) = asked(driver, "GET", "1.1", bytes);
        assert_eq!((answer.status, answer.body.as_slice(), stays), (200, &b"ok"[..], true));
    });
}

#[test]
fn chunked_answers_pass_and_are_taken_apart_for_http_1_0() {
    on_both_drivers(|driver| {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let (answer, stays) = asked(driver, "GET", "1.1", bytes);
        assert_eq!((answer.body.as_slice(), stays), (&b"abcde"[..], true));
        let (answer, stays) = asked(driver, "GET", "1.0", bytes);
        assert_eq!((answer.body.as_slice(), stays), (&b"abcde"[..], false));
        assert!(!answer.head.to_lowercase().contains("transfer-encoding"));
    });
}

#[test]
fn an_answer_that_ends_with_the_endpoints_connection_leaves_the_sources_open() {
    on_both_drivers(|driver| {
        let long = body(300_000);
        let sent = long.clone();
        let endpoint = Endpoint::raw(move |mut stream, connection| {
            read_request(&mut stream, &mut Vec::new(), connection);
            let _ = stream.write_all(&[b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n", &sent[..]].concat());
        });
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        for _ in 0..2 {
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = client.answer_to("GET");
            let head = "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n";
            assert_eq!(answer.head, head);
            assert!(answer.body == long);
        }
        // For HTTP/1.0 only the close can tell the end.
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer_to("GET");
        assert_eq!(answer.head, "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n");
        assert!(answer.body == long);
        client.assert_closed();
    });
}

#[test]
fn long_answers_pass_piece_by_piece() {
    on_both_drivers(|driver| {
        let long = body(5_000_000);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len());
        let bytes = [head.as_bytes(), &long].concat();
        let endpoint = Endpoint::start(move |_| bytes.clone());
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        for _ in 0..3 {
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(client.answer_to("GET").body == long);
        }
        let connections: Vec<usize> = endpoint.got().iter().map(|got| got.connection).collect();
        assert_eq!(connections, [0, 0, 0], "the connection is used again");
    });
}

#[test]
fn surplus_bytes_are_nobodys_answer() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::start(|got| {
            let body = got.head.split(' ').nth(1).unwrap_or_default().to_owned();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            [head, body, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged".into()]
                .concat()
                .into()
        });
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        for number in 0..5 {
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            let answer = client.answer_to("GET");
            assert_eq!(answer.body, format!("/{number}").into_bytes());
        }
        let connections: Vec<usize> = endpoint.got().iter().map(|got| got.connection).collect();
        assert_eq!(connections, [0, 1, 2, 3, 4], "none of them is used again");
    });
}

#[test]
fn surplus_bytes_that_come_late_are_nobodys_answer_either() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::raw(|mut stream, connection| {
            let mut unread = Vec::new();
            while let Some(got) = read_request(&mut stream, &mut unread, connection) {
                let path = got.head.split(' ').nth(1).unwrap_or_default().to_owned();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path.len());
                let _ = stream.write_all(format!("{head}{path}").as_bytes());
                std::thread::sleep(std::time::Duration::from_millis(20));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
            }
        });
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        for number in 0..5 {
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            assert_eq!(client.answer_to("GET").body, format!("/{number}").into_bytes());
            std::thread::sleep(std::time::Duration::from_millis(60));
        }
    });
}
