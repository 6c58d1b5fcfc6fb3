//! Several endpoints: each gets every request, and the source is told the worst of what they say.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highlander::cli::Cli;
use highlander::config::Config;
use highlander::shared::metrics::Counter;
use highlander::wire::remote_write::protocol::Protocol;

use crate::cluster::{ask, node, ports};
use crate::handover::{await_hand_overs, now_ms, stored, write};
use crate::support::*;

/// A configuration file that goes with the test.
struct File(PathBuf);

impl File {
    fn of(stanzas: &[String]) -> File {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("highlander-fan-{}-{number}.yml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let text = format!("remote_write:\n{}", stanzas.concat());
        std::fs::write(&path, text).expect("a new file");
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The stanza of an endpoint, with further lines.
pub fn stanza(endpoint: &Endpoint, path: &str, lines: &[&str]) -> String {
    let more: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("  - url: http://{}{path}\n{more}", endpoint.address)
}

/// What a proxy before endpoints with these stanzas is started with.
pub fn config(driver: &str, stanzas: &[String], change: impl FnOnce(&mut Cli)) -> Config {
    let file = File::of(stanzas);
    Proxy::config(driver, ([127, 0, 0, 1], 1).into(), |cli| {
        cli.remote = None;
        cli.config = Some(file.0.display().to_string());
        change(cli);
    })
}

fn before(driver: &str, stanzas: &[String], change: impl FnOnce(&mut Cli)) -> Proxy {
    Proxy::run(config(driver, stanzas, change))
}

fn before_all(driver: &str, endpoints: &[&Endpoint], change: impl FnOnce(&mut Cli)) -> Proxy {
    let stanzas: Vec<String> = endpoints.iter().map(|it| stanza(it, "", &[])).collect();
    before(driver, &stanzas, change)
}

pub fn quick(cli: &mut Cli) {
    cli.health_tick = Some("200ms".into());
    cli.health_expiry = Some("1s".into());
}

/// Remote write with a body that nobody can read.
pub fn opaque(body: &[u8]) -> Vec<u8> {
    remote_write("a", 5, "prometheus.WriteRequest", body)
}

/// What the same source sends and is no remote write.
pub fn no_write(body: &[u8]) -> Vec<u8> {
    let (request, line) = (opaque(body), b"Content-Encoding: snappy\r\n");
    let at = find(&request, line).expect("each has it");
    [&request[..at], &request[at + line.len()..]].concat()
}

/// Answers every request with this status.
pub fn saying(status: &'static AtomicUsize) -> Endpoint {
    Endpoint::start(move |_| answer(status.load(Ordering::Relaxed), ""))
}

fn answer(status: usize, text: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

pub fn always(status: usize) -> Endpoint {
    // A 204 has no body.
    let text = if status == 204 { String::new() } else { status.to_string() };
    Endpoint::start(move |_| answer(status, &text))
}

pub fn bodies(endpoint: &Endpoint) -> Vec<Vec<u8>> {
    endpoint.got().into_iter().map(|got| got.body).collect()
}

#[test]
fn each_endpoint_gets_the_same_body_behind_a_head_of_its_own() {
    on_both_drivers(|driver| {
        let endpoints = [(); 3].map(|()| Endpoint::storage());
        let [one, two, three] = &endpoints;
        let stanzas = [
            stanza(one, "/push?k=v", &["basic_auth: {username: me, password: geheim}"]),
            stanza(two, "", &["headers: {X-Scope-OrgID: ours}"]),
            stanza(three, "/api/v1/write", &["authorization: {credentials: token}"]),
        ];
        let proxy = before(driver, &stanzas, |_| {});
        let mut client = proxy.connect();
        let sizes = [0, 1, 3000, 65_536, 200_000, 3_000_000];
        for bytes in sizes {
            let text = "POST /api/v1/write?a=1&highlander_weight=5 HTTP/1.1\r\nHost: proxy\r\n\
                        Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                        Authorization: Bearer source\r\nX-Scope-OrgID: theirs\r\n";
            let plain = format!("{text}Content-Length: {bytes}\r\n\r\n");
            let answer = client.ask(&[plain.as_bytes(), &body(bytes)].concat());
            assert_eq!(answer.status, 204, "{bytes}");
            let chunked = format!("{text}Transfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n");
            if bytes > 0 {
                let parts = [chunked.as_bytes(), &body(bytes), b"\r\n0\r\n\r\n"];
                assert_eq!(client.ask(&parts.concat()).status, 204, "{bytes} in chunks");
            }
        }
        for (endpoint, target, authorization, tenant) in [
            (one, "/push?k=v&a=1", "Basic bWU6Z2VoZWlt", "theirs"),
            (two, "/api/v1/write?a=1", "Bearer source", "ours"),
            (three, "/api/v1/write?a=1", "Bearer token", "theirs"),
        ] {
            let got = endpoint.got();
            assert_eq!(got.len(), 11);
            let expected = sizes.iter().flat_map(|it| vec![*it; if *it > 0 { 2 } else { 1 }]);
            for (got, bytes) in got.iter().zip(expected) {
                assert!(got.body == body(bytes), "{bytes}");
                let first = format!("POST {target} HTTP/1.1\r\nHost: {}\r\n", endpoint.address);
                assert!(got.head.starts_with(&first), "{}", got.head);
                for (name, value) in [
                    ("Authorization", authorization),
                    ("X-Scope-OrgID", tenant),
                    ("X-Highlander-Instance", "test"),
                    ("Content-Length", &bytes.to_string()),
                ] {
                    let is_it = |line: &&str| line.starts_with(&format!("{name}:"));
                    let lines: Vec<&str> = got.head.split("\r\n").filter(is_it).collect();
                    assert_eq!(lines, [format!("{name}: {value}")], "{}", got.head);
                }
            }
        }
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 3, "each is used again");
        assert_eq!(proxy.running.count(Counter::Forwarded), 11);
    });
}

#[test]
fn what_is_no_remote_write_goes_to_the_first_endpoint_only() {
    on_both_drivers(|driver| {
        let (one, other) = (always(200), always(200));
        let stanzas = [
            stanza(&one, "/one", &["authorization: {credentials: token}"]),
            stanza(&other, "", &[]),
        ];
        let proxy = before(driver, &stanzas, |_| {});
        let answer = proxy.connect().ask(&no_write(b"x"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"200"[..]));
        let head = &one.got()[0].head;
        assert!(head.starts_with("POST /one HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nAuthorization: Bearer token\r\n"), "{head}");
        assert_eq!(other.got(), []);
    });
}

#[test]
fn the_source_is_told_the_worst() {
    on_both_drivers(|driver| {
        let cases: [(&[usize], usize); 8] = [
            (&[204, 200], 204),
            (&[200, 204], 200),
            (&[204, 400, 200], 400),
            (&[404, 400], 404),
            (&[400, 204, 429], 429),
            (&[429, 503, 500], 503),
            (&[500, 503], 500),
            (&[302, 204], 302),
        ];
        for (statuses, worst) in cases {
            let endpoints: Vec<Endpoint> = statuses.iter().map(|it| always(*it)).collect();
            let proxy = before_all(driver, &endpoints.iter().collect::<Vec<_>>(), |_| {});
            let mut client = proxy.connect();
            for number in 0..3 {
                let told = client.ask(&opaque(&[number]));
                assert_eq!(usize::from(told.status), worst, "{statuses:?}");
                let text = if worst == 204 { String::new() } else { worst.to_string() };
                assert_eq!(told.body, text.into_bytes(), "{statuses:?}");
            }
            for endpoint in &endpoints {
                assert_eq!(bodies(endpoint), [[0], [1], [2]], "each has got all");
                let got = endpoint.got();
                assert!(got.iter().all(|it| it.connection == 0), "its connection is used again");
            }
        }
    });
}

#[test]
fn of_several_that_have_it_the_first_one_says_how_much_was_written() {
    on_both_drivers(|driver| {
        let saying = |count: usize| {
            let line = format!("X-Prometheus-Remote-Write-Samples-Written: {count}");
            let text = format!("HTTP/1.1 204 No Content\r\n{line}\r\n\r\n");
            Endpoint::start(move |got| {
                // The first is the last to answer.
                std::thread::sleep(Duration::from_millis(if count == 3 { 100 } else { 0 }));
                assert!(!got.body.is_empty());
                text.clone().into_bytes()
            })
        };
        let (one, other) = (saying(3), saying(7));
        let proxy = before_all(driver, &[&one, &other], |_| {});
        let told = proxy.connect().ask(&write("a", 5, Protocol::V2, now_ms(), 1.0));
        assert!(told.head.contains("Samples-Written: 3\r\n"), "{told:?}");
    });
}

#[test]
fn one_that_is_down_is_the_answer_and_the_others_have_it() {
    on_both_drivers(|driver| {
        for place in [0, 1] {
            let (up, down) = (Endpoint::storage(), Endpoint::nowhere());
            let mut all = vec![&up];
            all.insert(place, &down);
            let proxy = before_all(driver, &all, |_| {});
            let mut client = proxy.connect();
            for _ in 0..2 {
                assert_eq!(client.ask(&opaque(b"again")).status, 502);
            }
            assert_eq!(bodies(&up), [b"again", b"again"], "the same, as often as it is sent");
        }
    });
}

#[test]
fn one_that_hangs_costs_the_source_its_answer_and_the_others_nothing() {
    on_both_drivers(|driver| {
        let arrived: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let times = arrived.clone();
        let quick = Endpoint::start(move |_| {
            times.lock().expect("no test panics in here").push(Instant::now());
            answer(200, "")
        });
        // One reads and does not answer, one does not even read.
        let silent =
            Endpoint::raw(|mut stream, _| while matches!(stream.read(&mut [0; 9000]), Ok(1..)) {});
        let deaf = Endpoint::raw(|stream, _| {
            std::thread::sleep(PATIENCE);
            drop(stream);
        });
        for hanging in [&silent, &deaf] {
            let limit = &["remote_timeout: 3s"];
            let proxy =
                before(driver, &[stanza(hanging, "", limit), stanza(&quick, "", &[])], |_| {});
            let mut client = proxy.connect();
            let began = Instant::now();
            let told = client.ask(&opaque(&body(20_000_000)));
            let (took, came) = (began.elapsed(), arrived.lock().expect("no panic").pop());
            assert_eq!(told.status, 504);
            assert!(
                took >= Duration::from_millis(2900) && took < Duration::from_secs(15),
                "{took:?}"
            );
            let came = came.expect("it has got it").duration_since(began);
            assert!(came < took - Duration::from_millis(300), "{came:?} of {took:?}");
        }
    });
}

#[test]
fn what_one_stores_and_another_refuses_for_good_is_not_sent_again_in_a_hand_over() {
    on_both_drivers(|driver| {
        let (stores, refuses) = (Endpoint::storage(), always(400));
        let proxy = before_all(driver, &[&stores, &refuses], quick);
        let (mut a, mut b) = (proxy.connect(), proxy.connect());
        let start = now_ms() - 60_000;
        for scrape in 0..10 {
            let at = start + scrape * 1000;
            if scrape < 6 {
                assert_eq!(a.ask(&write("a", 5, Protocol::V1, at, 1.0)).status, 400);
            }
            let held = b.ask(&write("b", 1, Protocol::V1, at + 300, 2.0));
            assert_eq!(held.status, 204);
        }
        drop(a);
        await_hand_overs(&proxy, 1);
        let of_a = (0..6).map(|scrape| (start + scrape * 1000, 1.0));
        let of_b = (5..10).map(|scrape| (start + scrape * 1000 + 300, 2.0));
        let expected: Vec<_> = of_a.chain(of_b).collect();
        assert_eq!(stored(&stores), expected, "nothing of a comes twice");
        assert_eq!(stored(&refuses), expected);
        let cost = proxy.running.history()[0].cost;
        assert_eq!((cost.replayed, cost.skipped, cost.lost), (15, 15, 0));
    });
}

/// Of two sources the promoted one dies after six scrapes, the last of which is in doubt at the endpoint
/// that says `status`, and goes on to be. The connection of the other, and when they began.
pub fn leave_in_doubt(proxy: &Proxy, status: &AtomicUsize) -> (Client, i64) {
    let (mut a, mut b) = (proxy.connect(), proxy.connect());
    let start = now_ms() - 60_000;
    for scrape in 0..6 {
        let (at, is_last) = (start + scrape * 1000, scrape == 5);
        let said = if is_last { 503 } else { 204 };
        status.store(said, Ordering::Relaxed);
        assert_eq!(usize::from(a.ask(&write("a", 5, Protocol::V1, at, 1.0)).status), said);
        let held = write("b", 1, Protocol::V1, at + 300, 2.0);
        assert_eq!(b.ask(&held).status, 204);
    }
    (b, start)
}

/// What is stored of that, and of one more scrape of the other.
pub fn after_doubt(start: i64) -> Vec<(i64, f64)> {
    let of_a = (0..6).map(|scrape| (start + scrape * 1000, 1.0));
    let of_b = (5..7).map(|scrape| (start + scrape * 1000 + 300, 2.0));
    of_a.chain(of_b).collect()
}

#[test]
fn a_hand_over_sends_on_to_all_and_waits_for_all() {
    static STATUS: AtomicUsize = AtomicUsize::new(204);
    on_both_drivers(|driver| {
        STATUS.store(204, Ordering::Relaxed);
        let (one, other) = (Endpoint::storage(), saying(&STATUS));
        let proxy = before_all(driver, &[&one, &other], quick);
        let (mut b, start) = leave_in_doubt(&proxy, &STATUS);
        until("the other has the seat", || proxy.running.promotions() == 2);
        std::thread::sleep(Duration::from_millis(1000));
        assert_eq!(proxy.running.count(Counter::HandOvers), 0, "it is not certain of both");
        STATUS.store(204, Ordering::Relaxed);
        await_hand_overs(&proxy, 1);
        assert_eq!(b.ask(&write("b", 1, Protocol::V1, start + 6300, 2.0)).status, 204);
        let expected = after_doubt(start);
        for endpoint in [&one, &other] {
            // What was in doubt comes again as it was, before anything that is newer.
            let mut stored = stored(endpoint);
            stored.dedup();
            assert_eq!(stored, expected);
        }
    });
}

#[test]
fn what_a_lone_source_sends_too_fast_to_be_kept_goes_to_all() {
    on_both_drivers(|driver| {
        let endpoints = [Endpoint::storage(), Endpoint::storage()];
        let proxy = before_all(driver, &[&endpoints[0], &endpoints[1]], |_| {});
        let mut client = proxy.connect();
        let mut sent = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while proxy.running.count(Counter::DeliveredDropped) < 4 {
            assert!(Instant::now() < deadline, "all of it is kept");
            let number = sent.len();
            sent.push([&number.to_le_bytes()[..], &body(4_000_000)].concat());
            assert_eq!(client.ask(&opaque(&sent[number])).status, 204);
        }
        for endpoint in &endpoints {
            let got = bodies(endpoint);
            assert_eq!(got.len(), sent.len());
            assert!(got == sent);
        }
    });
}

#[test]
fn a_connection_of_one_endpoint_that_dies_is_tried_once_more_and_the_others_do_not_see_it() {
    on_both_drivers(|driver| {
        let closes = Endpoint::raw(|mut stream, connection| {
            let mut unread = Vec::new();
            if read_request(&mut stream, &mut unread, connection).is_some() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
            read_request(&mut stream, &mut unread, connection);
        });
        let keeps = Endpoint::storage();
        let proxy = before_all(driver, &[&closes, &keeps], |_| {});
        let mut client = proxy.connect();
        for number in 0..10 {
            assert_eq!(client.ask(&opaque(&body(number * 9000))).status, 204);
        }
        assert_eq!(proxy.running.count(Counter::EndpointRetried), 9);
        assert_eq!(proxy.running.count(Counter::EndpointConnections), 11);
        assert_eq!(keeps.got().len(), 10);
    });
}

#[test]
fn thirty_two_endpoints_get_what_a_source_sends_on_many_connections() {
    on_both_drivers(|driver| {
        let endpoints: Vec<Endpoint> = (0..32).map(|_| Endpoint::storage()).collect();
        let proxy = before_all(driver, &endpoints.iter().collect::<Vec<_>>(), |_| {});
        std::thread::scope(|scope| {
            for shard in 0..4_u8 {
                let proxy = &proxy;
                scope.spawn(move || {
                    let mut client = proxy.connect();
                    for number in 0..20_u8 {
                        let sent = [&[shard, number][..], &body(5000)].concat();
                        assert_eq!(client.ask(&opaque(&sent)).status, 204);
                    }
                });
            }
        });
        for endpoint in &endpoints {
            let mut got: Vec<Vec<u8>> = bodies(endpoint);
            assert!(got.iter().all(|it| it[2..] == body(5000)));
            got.sort();
            got.dedup();
            assert_eq!(got.len(), 80, "each once");
            assert_eq!(endpoint.got().len(), 80);
        }
    });
}

#[test]
fn what_comes_by_way_of_another_node_gets_the_same_heads() {
    let (one, other) = (Endpoint::storage(), Endpoint::storage());
    let key = "headers: {X-Key: k}";
    let stanzas = [stanza(&one, "/one?k=v", &[key]), stanza(&other, "", &[key])];
    let ports = ports(2);
    let nodes = [0, 1].map(|place| before("epoll", &stanzas, node(&ports, place)));
    for node in &nodes {
        assert_eq!(ask(node, &opaque(b"to all")).status, 204);
        assert_eq!(ask(node, &no_write(b"to the first")).status, 204);
    }
    let relayed = nodes.iter().map(|node| node.running.count(Counter::Relayed));
    assert_eq!(relayed.max(), Some(2), "one of them does not lead");
    for (endpoint, target, count) in [(&one, "/one?k=v", 4), (&other, "/api/v1/write", 2)] {
        let got = endpoint.got();
        assert_eq!(got.len(), count);
        for head in got.iter().map(|got| &got.head) {
            let first = format!("POST {target} HTTP/1.1\r\nHost: {}\r\n", endpoint.address);
            assert!(head.starts_with(&first), "{head}");
            assert_eq!(head.matches("X-Key: k\r\n").count(), 1, "{head}");
            assert!(!head.contains("X-Highlander-Pass"), "{head}");
        }
    }
}
