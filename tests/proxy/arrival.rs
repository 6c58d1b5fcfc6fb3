//! Where a source speaks from behind a balancer, and what the rules make of it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use highlander::shared::metrics::Counter;
use socket2::{Domain, Socket, Type};

use crate::admin::{admin, get, text};
use crate::reload::{Rig, remote_write};
use crate::support::*;

/// Where the balancer of these tests speaks from; whoever else speaks comes from 127.0.0.1.
const BALANCER: &str = "127.0.0.2";

fn trusting(driver: &str, endpoint: &Endpoint) -> Proxy {
    Proxy::with(driver, endpoint.address, |cli| {
        cli.trusted_proxies = vec![BALANCER.into()];
        cli.admin = Some("127.0.0.1:0".into());
    })
}

/// A connection from `ip`, one of this machine's own.
pub fn connect_from(ip: &str, address: SocketAddr) -> Client {
    let ip: IpAddr = ip.parse().expect("an address");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(ip, 0).into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&address.into()).expect("the proxy listens");
    Client::of(socket.into())
}

pub fn bodies(endpoint: &Endpoint) -> Vec<String> {
    endpoint.got().iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect()
}

/// A header of version 2 that names `client`, with a tail that nobody knows.
fn block(client: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let ends = [&client[..], &[127, 0, 0, 1], &[high, low], &[0x23, 0x83]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11", &ends[..], &[0xe0, 0, 2, 0xca, 0xfe]].concat()
}

fn line(client: &str, port: u16) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 {port} 9091\r\n").into_bytes()
}

/// A request that has come through these.
fn forwarded(lines: &[&str], body: &str) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
    let length = body.len();
    format!("POST /w HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {length}\r\n\r\n{body}").into()
}

#[test]
fn two_clients_behind_one_balancer_are_two_sources_by_either_version_of_the_proxy_protocol() {
    on_both_drivers(|driver| {
        for version in [1, 2] {
            let endpoint = Endpoint::storage();
            let proxy = trusting(driver, &endpoint);
            let say = |last: u8, port: u16| {
                let mut client = connect_from(BALANCER, proxy.address);
                client.send(&match version {
                    1 => line(&format!("192.0.2.{last}"), port),
                    _ => block([192, 0, 2, last], port),
                });
                client
            };
            let (mut one, mut shard, mut other) = (say(7, 1), say(7, 2), say(8, 3));
            assert_eq!(one.ask(&push(5, b"one")).status, 204);
            assert_eq!(other.ask(&push(5, b"other")).status, 204);
            assert_eq!(shard.ask(&push(5, b"one's shard")).status, 204);
            assert_eq!(one.ask(&push(5, b"one again")).status, 204);
            assert_eq!(bodies(&endpoint), ["one", "one's shard", "one again"]);
            assert_eq!(proxy.running.count(Counter::ProxyHeadersMalformed), 0);
        }
    });
}

#[test]
fn a_header_may_come_in_pieces_with_a_request_right_behind_it() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = trusting(driver, &endpoint);
        for header in [line("192.0.2.7", 1), block([192, 0, 2, 7], 1)] {
            let whole = [&header[..], &push(5, b"behind it")].concat();
            for cut in [1, 5, 12, 13, 16, header.len() - 1, header.len(), header.len() + 3] {
                let mut client = connect_from(BALANCER, proxy.address);
                client.send(&whole[..cut]);
                std::thread::sleep(std::time::Duration::from_millis(20));
                client.send(&whole[cut..]);
                assert_eq!(client.answer().status, 204, "{cut}");
                assert_eq!(client.ask(&push(5, b"again")).status, 204, "{cut}");
            }
        }
        assert_eq!(endpoint.got().len(), 32);
    });
}

#[test]
fn a_client_whom_its_proxy_could_not_name_does_not_name_itself() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = trusting(driver, &endpoint);
        let unnamed = [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x00\0\0"];
        for (header, says, body) in
            [(unnamed[0], "192.0.2.7", "one"), (unnamed[1], "192.0.2.8", "other")]
        {
            let mut client = connect_from(BALANCER, proxy.address);
            client.send(header);
            assert_eq!(client.ask(&forwarded(&[says], body)).status, 204);
        }
        // Both are the balancer, whatever they say: had they been believed, the other would stand by.
        assert_eq!(bodies(&endpoint), ["one", "other"]);
    });
}

#[test]
fn a_trusted_proxy_may_say_nothing_or_speak_for_itself() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = trusting(driver, &endpoint);
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
        for header in [&b""[..], b"PROXY UNKNOWN\r\n", local, b"\r\n"] {
            let mut client = connect_from(BALANCER, proxy.address);
            client.send(header);
            assert_eq!(client.ask(&push(5, b"x")).status, 204, "{header:?}");
        }
        assert_eq!(endpoint.got().len(), 4, "all of them are the balancer");
    });
}

#[test]
fn a_header_of_whoever_is_not_trusted_is_a_malformed_request() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let trusting = trusting(driver, &endpoint);
        let plain = Proxy::start(driver, endpoint.address);
        for proxy in [&trusting, &plain] {
            for header in [line("192.0.2.7", 1), block([192, 0, 2, 7], 1)] {
                let mut client = proxy.connect();
                client.send(&[&header[..], &push(5, b"x")].concat());
                assert_eq!(client.answer().status, 400);
                client.assert_closed();
            }
            assert_eq!(proxy.running.count(Counter::Malformed), 2);
            assert_eq!(proxy.running.count(Counter::ProxyHeadersMalformed), 0);
        }
        assert!(endpoint.got().is_empty());
    });
}

#[test]
fn a_malformed_header_of_a_trusted_proxy_is_refused_closed_and_counted() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = trusting(driver, &endpoint);
        let headers: [&[u8]; 3] = [
            b"PROXY TCP4 nowhere 127.0.0.1 1 9091\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ];
        for header in headers {
            let mut client = connect_from(BALANCER, proxy.address);
            client.send(header);
            assert_eq!(client.answer().status, 400, "{header:?}");
            client.assert_closed();
        }
        // One is said once: a second is a malformed request.
        let mut client = connect_from(BALANCER, proxy.address);
        client.send(&line("192.0.2.7", 1).repeat(2));
        assert_eq!(client.answer().status, 400);
        assert_eq!(proxy.running.count(Counter::ProxyHeadersMalformed), 3);
        assert_eq!(proxy.running.count(Counter::Malformed), 4);
    });
}

#[test]
fn on_a_pooled_connection_each_request_is_from_whom_it_says() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = trusting(driver, &endpoint);
        let mut pooled = connect_from(BALANCER, proxy.address);
        let mut second = connect_from(BALANCER, proxy.address);
        let requests: [(&[&str], &str); 6] = [
            (&["192.0.2.7"], "one"),
            (&["192.0.2.8"], "other"),
            (&["192.0.2.7"], "one"),
            // What the client itself has written is not believed.
            (&["192.0.2.8, 192.0.2.7"], "one"),
            (&["192.0.2.8", "192.0.2.7, 127.0.0.2"], "one"),
            (&["192.0.2.7, 192.0.2.8"], "other"),
        ];
        for (lines, body) in requests {
            for client in [&mut pooled, &mut second] {
                assert_eq!(client.ask(&forwarded(lines, body)).status, 204);
            }
        }
        assert_eq!(bodies(&endpoint), ["one"; 8]);
        let head = &endpoint.got()[4].head;
        assert!(head.contains("X-Forwarded-For: 192.0.2.8, 192.0.2.7\r\n"), "{head}");
        let status = text(&get(&mut admin(&proxy), "/status"));
        for address in ["192.0.2.7:0", "192.0.2.8:0"] {
            assert_eq!(status.matches(&format!("\"{address}\"")).count(), 1, "{status}");
        }
    });
}

#[test]
fn what_whoever_is_not_trusted_says_of_others_counts_for_nothing() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = trusting(driver, &endpoint);
        let mut client = proxy.connect();
        for from in ["192.0.2.7", "192.0.2.8"] {
            assert_eq!(client.ask(&forwarded(&[from], "all one")).status, 204);
        }
        // Nor what one says for whom a trusted proxy speaks.
        let mut behind = connect_from(BALANCER, proxy.address);
        behind.send(&line("192.0.2.9", 1));
        for from in ["192.0.2.7", "127.0.0.1"] {
            assert_eq!(behind.ask(&forwarded(&[from], "a standby")).status, 204);
        }
        assert_eq!(bodies(&endpoint), ["all one", "all one"]);
    });
}

/// Writes a configuration for the tests of rules.
fn rules(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arrival");
    fs::create_dir_all(&folder).expect("a new folder");
    let path = folder.join(name);
    fs::write(&path, text).expect("a new file");
    path.to_string_lossy().into_owned()
}

#[test]
fn a_rule_gives_weight_and_group_by_name_and_by_address() {
    let file = rules(
        "rules.yml",
        "sources:\n\
         - {match: {ip: 127.0.0.3, source: b}, group: elsewhere}\n\
         - {match: {source: b}, weight: 70}\n\
         - {match: {ip: 127.0.0.3/32}, weight: 60}\n",
    );
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| cli.config = Some(file.clone()));
        let named = |name: &str, weight: u64, body: &str| {
            let length = body.len();
            format!(
                "POST /w?highlander_source={name}&highlander_weight={weight} HTTP/1.1\r\n\
                 Host: a\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        let mut here = proxy.connect();
        let mut there = connect_from("127.0.0.3", proxy.address);
        let say = |client: &mut Client, name: &str, weight: u64, body: &str| {
            assert_eq!(client.ask(named(name, weight, body).as_bytes()).status, 204);
        };
        say(&mut here, "a", 50, "a begins");
        say(&mut there, "c", 1, "by its address heavier");
        say(&mut here, "a", 50, "a stands by");
        say(&mut here, "b", 1, "by its name heavier");
        say(&mut there, "c", 99, "what it says counts no more");
        say(&mut there, "b", 1, "alone in another group");
        let expected =
            ["a begins", "by its address heavier", "by its name heavier", "alone in another group"];
        assert_eq!(bodies(&endpoint), expected);
    });
}

#[test]
fn a_rule_sees_the_client_behind_a_trusted_proxy() {
    let file = rules("behind.yml", "sources: [{match: {ip: 192.0.2.0/24}, weight: 5}]\n");
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.config = Some(file.clone());
            cli.trusted_proxies = vec![BALANCER.into()];
        });
        let mut pooled = connect_from(BALANCER, proxy.address);
        for (from, body) in [("198.51.100.7", "light"), ("192.0.2.7", "heavy")] {
            assert_eq!(pooled.ask(&forwarded(&[from], body)).status, 204);
        }
        assert_eq!(pooled.ask(&forwarded(&["198.51.100.7"], "light")).status, 204);
        assert_eq!(bodies(&endpoint), ["light", "heavy"]);
    });
}

#[test]
fn a_weight_that_is_not_trusted_makes_nobody_heavier_and_no_two_sources() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let proxy = Proxy::with(driver, endpoint.address, |cli| {
            cli.trust_weight = Some("false".into());
        });
        let mut first = proxy.connect();
        let mut second = connect_from("127.0.0.3", proxy.address);
        first.ask(&push(1, b"first"));
        second.ask(&push(99, b"second"));
        first.ask(&push(2, b"first"));
        proxy.connect().ask(
            b"POST /w?highlander_weight=x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst",
        );
        assert_eq!(bodies(&endpoint), ["first"; 3]);
        assert_eq!(proxy.running.count(Counter::WeightsUnreadable), 0);
    });
}

#[test]
fn rules_that_are_read_again_count_for_the_connections_that_are_there() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let with = |rules: &str| remote_write(&[("a", &endpoint, "", &[])]) + rules;
        let heavy = |name: &str| {
            format!("trust_weight: false\nsources:\n- match: {{source: {name}}}\n  weight: 10\n")
        };
        let rig = Rig::start(driver, &with(&heavy("a")), |_| {});
        let mut clients = [rig.proxy.connect(), rig.proxy.connect()];
        let request = |name: &str, body: &str| {
            let length = body.len();
            format!(
                "POST /w?highlander_source={name} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        let mut push = |bodies: [&str; 2]| {
            for (client, (name, body)) in clients.iter_mut().zip(["a", "b"].into_iter().zip(bodies))
            {
                assert_eq!(client.ask(request(name, body).as_bytes()).status, 204);
            }
        };
        push(["a1", "b1"]);
        let said = rig.reload(&with(&heavy("b"))).expect("it is good");
        assert_eq!(said, "sources changed");
        // What it says comes first is judged first: a has lost its weight, and b takes the seat.
        push(["a2", "b2"]);
        push(["a3", "b3"]);
        assert_eq!(bodies(&endpoint), ["a1", "a2", "b2", "b3"]);
        assert_eq!(
            rig.proxy.running.connections().iter().sum::<u64>(),
            2,
            "they are the same connections"
        );
        let faults = rig
            .reload(&with("trust_weight: false\nsource_identity: user\n"))
            .expect_err("it can't change");
        assert_eq!(faults, ["--source-identity can't change while it runs: restart"]);
    });
}
