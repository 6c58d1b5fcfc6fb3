//! An https endpoint that is not the one it should be, or that breaks off.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use highlander::cli::Cli;
use highlander::shared::metrics::Counter;

use crate::authority::*;
use crate::support::*;

/// Asks the endpoint three times in vain; always the same answer.
fn asked_in_vain(proxy: &Proxy) -> u16 {
    let mut client = proxy.connect();
    let statuses: Vec<u16> = (0..3).map(|_| client.ask(&push(1, b"x")).status).collect();
    assert_eq!(statuses, [statuses[0]; 3]);
    statuses[0]
}

#[test]
fn an_endpoint_that_does_not_prove_who_it_is_gets_nothing() {
    on_both_drivers(|driver| {
        let (authority, other) = (Authority::new(), Authority::new());
        let local = authority.sign("127.0.0.1");
        let cases = [
            ("unknown authority", authority.server(&local), &other),
            ("wrong name", authority.server(&authority.sign("elsewhere")), &authority),
            ("expired", authority.server(&authority.sign_expired("127.0.0.1")), &authority),
            ("wants a certificate", authority.strict_server(&local), &authority),
        ];
        for (case, server, trusted) in cases {
            let is_strict = case == "wants a certificate";
            let secure = Secure::raw(server, move |stream, _| {
                let got = stream.read(&mut [0; 100]);
                assert!(!matches!(got, Ok(1..)), "nothing is sent to it");
            });
            let proxy = secure.proxy(driver, trusted);
            assert_eq!(asked_in_vain(&proxy), 502, "{case}");
            // In TLS 1.3 who is refused hears of it behind its handshake.
            let connections = if is_strict { 3 } else { 0 };
            let counted = proxy.running.count(Counter::EndpointConnections);
            assert_eq!(counted, connections, "{case}");
        }
    });
}

fn believe_anybody(cli: &mut Cli) {
    cli.remote_ca_file = None;
    cli.remote_insecure_skip_verify = true;
}

#[test]
fn anybody_is_believed_if_that_is_wanted() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        for signed in [authority.sign("elsewhere"), authority.sign_expired("127.0.0.1")] {
            let secure = Secure::storage(authority.server(&signed));
            let proxy = secure.proxy_with(driver, &authority, believe_anybody);
            assert_eq!(proxy.connect().ask(&push(1, b"x")).status, 204);
        }
    });
}

#[test]
fn an_endpoint_that_does_not_speak_tls_is_a_502() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let says: [&[u8]; 4] = [
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            b"220 mail.example.org ESMTP\r\n",
            b"\x16\x03\x03\xff\xff\x16\x03\x03\xff\xff",
            b"",
        ];
        for bytes in says {
            let endpoint = Endpoint::raw(move |mut stream, _| {
                let _ = stream.read(&mut [0; 1000]);
                let _ = stream.write_all(bytes);
            });
            let proxy = Proxy::with(driver, endpoint.address, |cli| {
                cli.remote = Some(format!("https://{}", endpoint.address));
                cli.remote_ca_file = authority.ca_file();
            });
            assert_eq!(asked_in_vain(&proxy), 502, "{bytes:?}");
        }
    });
}

#[test]
fn an_endpoint_that_hangs_in_the_handshake_is_a_504() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let endpoint = Endpoint::raw(|mut stream, _| {
            let _ = stream.read(&mut [0; 1000]);
            std::thread::sleep(Duration::from_secs(5));
        });
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.remote = Some(format!("https://{}", endpoint.address));
            cli.remote_ca_file = authority.ca_file();
            cli.remote_timeout = Some("1s".into());
        });
        let start = Instant::now();
        assert_eq!(proxy.connect().ask(&push(1, b"x")).status, 504);
        assert!(start.elapsed() >= Duration::from_millis(900));
    });
}

#[test]
fn an_answer_that_is_cut_off_is_not_taken_for_a_whole_one() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, |stream, _| {
            read_request(stream, &mut Vec::new(), 0);
            // It ends with the connection, and somebody on the way ends that.
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhalf an answer");
            let _ = stream.flush();
            std::thread::sleep(Duration::from_millis(50));
            let _ = stream.sock.shutdown(Shutdown::Both);
        });
        let proxy = secure.proxy(driver, &authority);
        let mut client = proxy.connect();
        client.send(&push(1, b"x"));
        let mut all = Vec::new();
        let _ = client.stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all);
        assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.contains("half an answer"), "{all}");
        assert!(!all.contains("0\r\n\r\n"), "the last chunk is missing: {all}");
    });
}

#[test]
fn a_connection_that_is_cut_before_the_answer_is_a_502() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, |stream, _| {
            read_request(stream, &mut Vec::new(), 0);
            let _ =
                stream.sock.write_all(b"\x17\x03\x03\x00\x20 sealed with quite another key.....");
        });
        let proxy = secure.proxy(driver, &authority);
        assert_eq!(asked_in_vain(&proxy), 502);
    });
}

#[test]
fn a_reused_connection_that_was_cut_is_tried_once_more_on_a_fresh_one() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let server = authority.server(&authority.sign("127.0.0.1"));
        let secure = Secure::raw(server, |stream, connection| {
            let mut unread = Vec::new();
            read_request(stream, &mut unread, connection);
            let _ = stream.write_all(NO_CONTENT);
            let _ = stream.flush();
            read_request(stream, &mut unread, connection);
        });
        let proxy = secure.proxy(driver, &authority);
        let mut client = proxy.connect();
        for number in 0..6 {
            assert_eq!(client.ask(&push(1, &body(number * 40_000))).status, 204);
        }
        assert_eq!(proxy.running.count(Counter::EndpointRetried), 5);
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 6);
    });
}
