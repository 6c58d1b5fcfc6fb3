//! Bytes that try to be read in two ways. The endpoint must see none of them.

use std::time::Duration;

use crate::support::*;

/// Everything that is answered with a refusal and a close, with the status it gets.
fn hostile() -> Vec<(Vec<u8>, u16)> {
    let header = |line: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        .into_bytes()
    };
    let chunks = |body: &str| header(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"));
    let mut all = vec![
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (b"POST / HTTP/1.1\nHost: a\n\n".to_vec(), 400),
        (b"POST / HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(), 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400),
        (b"\0\0\0\0\r\n\r\n".to_vec(), 400),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)).into_bytes(), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(17_000)).into_bytes(),
            431,
        ),
        (format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(21_000)).into_bytes(), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(100)).into_bytes(), 431),
        (format!("GET / HTTP/1.1\r\n{}: b\r\n", "a".repeat(65_536)).into_bytes(), 431),
    ];
    let lines = [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5 ",
        "Content-Length : 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "X: a\r\n folded: b",
        "X: a\nY: b",
        "X: a\rY: b",
        "X: a\0b",
        "X Y: a",
    ];
    // Spaces around a length are no part of it, for any parser.
    let refused = lines.iter().filter(|line| **line != "Content-Length: 5 ");
    all.extend(refused.map(|line| (header(line), 400)));
    let bodies = [
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\n folded\r\n\r\n",
        "10000000000000000\r\n",
    ];
    all.extend(bodies.iter().map(|body| (chunks(body), 400)));
    all
}

#[test]
fn hostile_bytes_are_refused_and_the_connection_is_closed() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let all = hostile();
        assert!(all.len() > 30);
        for (bytes, status) in all {
            let mut client = proxy.connect();
            let answer = client.ask(&bytes);
            assert_eq!(answer.status, status, "{:?}", String::from_utf8_lossy(&bytes));
            assert!(answer.head.contains("Connection: close\r\n"));
            client.assert_closed();
        }
        assert_eq!(endpoint.got(), [], "nothing of it reaches the endpoint");
    });
}

#[test]
fn hostile_bytes_behind_a_good_request_do_it_no_harm() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let all = hostile();
        for (bytes, status) in &all {
            let mut client = proxy.connect();
            client.send(&[&push(1, b"good"), bytes.as_slice()].concat());
            assert_eq!(client.answer().status, 204);
            assert_eq!(client.answer().status, *status, "{:?}", String::from_utf8_lossy(bytes));
            client.assert_closed();
        }
        assert_eq!(endpoint.got().len(), all.len());
        assert!(endpoint.got().iter().all(|got| got.body == b"good"));
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy =
            Proxy::with(driver, endpoint.address, |cli| cli.max_body = Some("64KiB".into()));
        let head = |length: &str| {
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes()
        };
        for length in ["65537", "99999999999999999999999999"] {
            let mut client = proxy.connect();
            let answer = client.ask(&head(length));
            assert_eq!(answer.status, 413, "{length}");
            client.assert_closed();
        }
        let mut client = proxy.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(client.ask(format!("10001\r\n{}", "a".repeat(65_537)).as_bytes()).status, 413);
        assert_eq!(endpoint.got(), []);
        assert_eq!(proxy.connect().ask(&push(1, &body(65_536))).status, 204);
    });
}

#[test]
fn a_refusal_arrives_although_the_body_is_still_being_sent() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy =
            Proxy::with(driver, endpoint.address, |cli| cli.max_body = Some("64KiB".into()));
        let mut client = proxy.connect();
        // More than the sockets' buffers take: a close without reading would reset the connection.
        let bytes = push(1, &body(500_000));
        assert_eq!(client.ask(&bytes).status, 413);
        client.stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a live socket");
        client.assert_closed();
    });
}

#[test]
fn a_body_that_was_kept_for_nothing_is_no_next_request() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        proxy.connect().ask(&push(9, b"promoted"));
        // A source that is not known yet might take the seat, so its body is kept; then it is a
        // standby after all. The body looks like a request.
        for body in [b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), body(200_000)] {
            let mut client = proxy.connect();
            for _ in 0..2 {
                assert_eq!(client.ask(&push(1, &body)).status, 204);
                assert_eq!(client.ask(&push(2, &body)).status, 204);
            }
        }
        assert_eq!(endpoint.got().len(), 1);
    });
}
