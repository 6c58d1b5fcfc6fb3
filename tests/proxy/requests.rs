//! What becomes of a request on its way to the endpoint.

use std::io::Write as _;

use crate::support::*;

#[test]
fn a_request_reaches_the_endpoint_byte_for_byte_and_so_does_its_answer() {
    on_both_drivers(|driver| {
        let answer = "HTTP/1.1 200 Fine\r\ndate: x\r\nX-Odd:  a  b\r\nContent-Length: 3\r\n\r\nabc";
        let endpoint = Endpoint::start(|_| answer.as_bytes().to_vec());
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.remote = Some(format!("http://{}/prefix/?key=v", endpoint.address));
        });
        let body = body(3000);
        let request = format!(
            "PUT /a/b?x=1&highlander_weight=5&y=%20 HTTP/1.1\r\nhOST: here\r\nX-A:1\r\n\
             Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-B:   2  \r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut client = proxy.connect();
        client.send(&[request.as_bytes(), &body].concat());
        let got = client.answer();
        assert_eq!(format!("{}{}", got.head, String::from_utf8_lossy(&got.body)), answer);
        let expected = format!(
            "PUT /prefix/a/b?key=v&x=1&y=%20 HTTP/1.1\r\nHost: {}\r\nX-A:1\r\nX-B:   2  \r\n\
             Content-Length: {}\r\nX-Highlander-Instance: test\r\n\r\n",
            endpoint.address,
            body.len()
        );
        assert_eq!(endpoint.got(), [Got { head: expected, body, connection: 0 }]);
    });
}

#[test]
fn bodies_of_all_sizes_arrive_as_they_were_sent() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        let sizes =
            [0, 1, 3000, 4096, 60_000, 65_536, 70_000, 262_144, 262_145, 900_000, 33_554_432];
        for size in sizes {
            let sent = body(size);
            assert_eq!(client.ask(&push(1, &sent)).status, 204, "{size}");
            let got = endpoint.got().pop().expect("it has arrived");
            assert!(got.body == sent, "{size} bytes were changed on the way");
        }
        assert_eq!(endpoint.got().len(), sizes.len());
    });
}

#[test]
fn bodies_that_are_kept_arrive_as_they_were_sent_whatever_comes_before_and_behind_them() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let write = |body: &[u8]| remote_write("a", 9, "prometheus.WriteRequest", body);
        // Read with the head, or apart from it to where they are kept, each after the other.
        let sizes = [3, 16_383, 16_384, 9, 16_385, 40_000, 40_000, 0, 262_144, 262_145, 16_400, 70];
        let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| body(*size)).collect();
        let all: Vec<u8> = bodies.iter().flat_map(|body| write(body)).collect();
        // All at once, in pieces that end anywhere, and one by one.
        for step in [all.len(), 5_003, 1] {
            let mut client = proxy.connect();
            let mut writer = client.stream.try_clone().expect("a live socket");
            let requests: Vec<Vec<u8>> = match step {
                1 => bodies.iter().map(|body| write(body)).collect(),
                _ => all.chunks(step).map(<[u8]>::to_vec).collect(),
            };
            let sender = std::thread::spawn(move || {
                for request in requests {
                    writer.write_all(&request).expect("the proxy reads");
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            for size in sizes {
                assert_eq!(client.answer().status, 204, "{size} in steps of {step}");
            }
            sender.join().expect("no panic");
        }
        let got: Vec<Vec<u8>> = endpoint.got().into_iter().map(|got| got.body).collect();
        assert!(got == [&bodies[..], &bodies, &bodies].concat(), "bytes were changed on the way");
    });
}

#[test]
fn a_request_cut_in_two_at_any_byte_is_the_same_request() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        let chunked = b"POST /w HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                        3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
        for request in [push(0, b"hello"), chunked.to_vec()] {
            for cut in 1..request.len() {
                client.send(&request[..cut]);
                // The first part has to arrive on its own for the cut to mean something.
                client.stream.flush().expect("a live socket");
                std::thread::sleep(std::time::Duration::from_millis(1));
                client.send(&request[cut..]);
                assert_eq!(client.answer().status, 204, "cut at {cut}");
            }
        }
        let bodies: Vec<Vec<u8>> = endpoint.got().into_iter().map(|got| got.body).collect();
        assert!(bodies.iter().all(|body| body == b"hello" || body == b"abcde"));
        assert_eq!(bodies.len(), push(0, b"hello").len() - 1 + chunked.len() - 1);
    });
}

#[test]
fn a_long_head_finds_room_before_a_body_that_was_moved() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        for head_bytes in [10, 300, 600, 3000, 15_000] {
            let token = "t".repeat(head_bytes);
            // The first on a connection begins in a small buffer, the second in a large one.
            for body_bytes in [3, 20_000, 70_000, 300_000] {
                let mut client = proxy.connect();
                let sent = body(body_bytes);
                let head = format!("POST /w HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n");
                let length = format!("{head}Content-Length: {body_bytes}\r\n\r\n");
                let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body_bytes:x}\r\n");
                let whole = [length.as_bytes(), &sent].concat();
                let chunked = [chunks.as_bytes(), &sent, b"\r\n0\r\n\r\n"].concat();
                for request in [&whole, &chunked, &whole, &chunked] {
                    assert_eq!(client.ask(request).status, 204, "{head_bytes} {body_bytes}");
                    let got = endpoint.got().pop().expect("it has arrived");
                    assert!(got.body == sent && got.head.contains(&token));
                }
            }
        }
    });
}

#[test]
fn pipelined_requests_are_answered_one_by_one_in_order() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::start(|got| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.body.len())
                .into_bytes()
                .into_iter()
                .chain(got.body.iter().copied())
                .collect()
        });
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        let bodies: Vec<Vec<u8>> = (0..20).map(|number| body(number * 997)).collect();
        let all: Vec<u8> = bodies.iter().flat_map(|body| push(1, body)).collect();
        let mut writer = client.stream.try_clone().expect("a live socket");
        let sender = std::thread::spawn(move || writer.write_all(&all).expect("the proxy reads"));
        for body in &bodies {
            assert_eq!(client.answer().body, *body);
        }
        sender.join().expect("no panic");
    });
}

#[test]
fn chunks_go_on_with_a_length_and_without_trailers() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let large = body(300_000);
        let mut client = proxy.connect();
        client.send(b"POST /w HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n");
        for piece in large.chunks(7000) {
            client.send(format!("{:x}\r\n", piece.len()).as_bytes());
            client.send(piece);
            client.send(b"\r\n");
        }
        // The next request comes right behind the last chunk.
        client.send(&[b"0\r\nX-Sum: 1\r\n\r\n".to_vec(), push(0, b"next")].concat());
        assert_eq!(client.answer().status, 204);
        assert_eq!(client.answer().status, 204);
        let got = endpoint.got();
        assert!(got[0].body == large);
        assert!(got[0].head.contains("X-A: 1\r\n") && !got[0].head.contains("X-Sum"));
        assert!(got[0].head.ends_with("Content-Length: 300000\r\n\r\n"));
        assert_eq!(got[1].body, b"next");
    });
}

#[test]
fn who_expects_a_continue_gets_one() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let mut client = proxy.connect();
        client.send(
            b"POST /w HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        );
        assert_eq!(client.answer().status, 100);
        client.send(b"abc");
        assert_eq!(client.answer().status, 204);
        assert!(!endpoint.got()[0].head.contains("Expect"));
    });
}

#[test]
fn old_versions_and_closing_sources_are_treated_as_the_rfc_says() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::start(driver, endpoint.address);
        let cases = [
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ];
        // With one weight it is the promoted source, with the other a standby.
        for weight in ["", "?highlander_weight=9"] {
            let mut heavy = proxy.connect();
            heavy.ask(format!("GET /{weight} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            for (request, closes) in cases {
                let mut client = proxy.connect();
                let answer = client.ask(request.as_bytes());
                assert_eq!(answer.status, 204, "{request}");
                let says_close = answer.head.contains("Connection: close");
                assert_eq!(says_close, closes, "{request}{}", answer.head);
                if closes {
                    client.assert_closed();
                } else {
                    assert_eq!(client.ask(request.as_bytes()).status, 204);
                }
            }
        }
    });
}
