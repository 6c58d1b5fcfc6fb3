//! What an operator asks of the admin listener: a seat changes while both sources speak, and that costs no
//! sample.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use highlander::wire::remote_write::protocol::Protocol;
use serde_json::Value;

use crate::admin::{admin, get, push_of, text, with_admin_and};
use crate::cluster;
use crate::handover::{await_hand_overs, now_ms, stored, write};
use crate::support::*;

/// Between two scrapes.
const SCRAPE: Duration = Duration::from_millis(200);

/// A source that pushes at each scrape until it is told to stop; the value of its samples is its own.
struct Source {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<i64>>,
}

impl Source {
    fn start(proxy: &Proxy, name: &'static str, weight: u64, value: f64) -> Source {
        let (mut client, stop) = (proxy.connect(), Arc::<AtomicBool>::default());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut pushed = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let at = now_ms();
                let answer = client.ask(&write(name, weight, Protocol::V1, at, value));
                assert_eq!(answer.status, 204, "{name}: {}", answer.head);
                pushed.push(at);
                thread::sleep(SCRAPE);
            }
            pushed
        });
        Source { stop, thread }
    }

    /// When its samples were from.
    fn stop(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it was never refused")
    }
}

fn post(proxy: &Proxy, path: &str) -> (u16, Value) {
    let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let answer = admin(proxy).ask(request.as_bytes());
    assert!(answer.head.contains("\r\nContent-Type: application/json\r\n"), "{}", answer.head);
    (answer.status, serde_json::from_slice(&answer.body).expect("it is JSON"))
}

fn group(proxy: &Proxy) -> Value {
    let status = get(&mut admin(proxy), "/status");
    let status: Value = serde_json::from_slice(&status.body).expect("it is JSON");
    status["groups"][0].clone()
}

fn await_seat(proxy: &Proxy, promoted: &str, pinned: bool) {
    until(&format!("{promoted} promoted, pinned: {pinned}"), || {
        thread::sleep(Duration::from_millis(20));
        let group = group(proxy);
        group["promoted"] == promoted && group["pinned"] == pinned && group["stage"] == "steady"
    });
}

#[test]
fn a_seat_that_an_operator_gives_to_another_changes_hands_without_a_sample_lost_or_doubled() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |cli| cli.health_tick = Some("200ms".into()));
    let heavy = Source::start(&proxy, "heavy", 50, 1.0);
    await_seat(&proxy, "heavy", false);
    let light = Source::start(&proxy, "light", 5, 2.0);
    until("light is heard", || group(&proxy)["sources"].as_array().map(Vec::len) == Some(2));
    thread::sleep(SCRAPE * 5);
    let (status, answer) = post(&proxy, "/-/promote?source=light");
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().is_some_and(|it| it.contains("pin 'light'")), "{answer}");
    let (status, answer) = post(&proxy, "/-/pin?source=light");
    assert_eq!(status, 202, "{answer}");
    await_seat(&proxy, "light", true);
    let state = group(&proxy);
    assert_eq!(state["wish"], Value::Null);
    assert_eq!(state["sources"][0]["why_not"], "the promoted one is pinned");
    assert_eq!(state["sources"][1]["why_not"], Value::Null);
    assert_eq!(post(&proxy, "/-/pin?source=light").0, 200, "it is already");
    assert_eq!(post(&proxy, "/-/promote?source=heavy").0, 409, "a pin is not passed over");
    // What was wanted and has not come about is taken back by what is wanted now.
    assert_eq!(post(&proxy, "/-/pin?source=heavy").0, 202);
    assert_eq!(post(&proxy, "/-/pin?source=light").0, 200);
    thread::sleep(SCRAPE * 5);
    assert_eq!(group(&proxy)["promoted"], "light", "the heavier one does not take it back");
    assert_eq!(post(&proxy, "/-/unpin").0, 202);
    // Its weight takes it back, without an operator.
    await_seat(&proxy, "heavy", false);
    await_hand_overs(&proxy, 2);
    // Before maintenance.
    let (status, answer) = post(&proxy, "/-/drain?source=heavy");
    assert_eq!(status, 202, "{answer}");
    assert!(
        answer["message"].as_str().is_some_and(|it| it.contains("'light' is promoted and pinned"))
    );
    await_seat(&proxy, "light", true);
    assert_eq!(post(&proxy, "/-/drain?source=heavy").0, 200, "it sits in no seat");
    await_hand_overs(&proxy, 3);
    let (heavy, light) = (heavy.stop(), light.stop());
    let stored = stored(&endpoint);
    assert!(stored.windows(2).all(|two| two[0].0 < two[1].0), "in order, and none twice");
    // One after the other, and at each change the next that the new one has.
    let mut voices: Vec<(f64, Vec<i64>)> = Vec::new();
    for (at, value) in stored {
        match voices.last_mut().filter(|(voice, _)| *voice == value) {
            Some((_, times)) => times.push(at),
            None => voices.push((value, vec![at])),
        }
    }
    assert_eq!(voices.iter().map(|(voice, _)| *voice).collect::<Vec<_>>(), [1.0, 2.0, 1.0, 2.0]);
    for (voice, times) in &voices {
        let pushed = if *voice == 1.0 { &heavy } else { &light };
        let from = pushed.iter().position(|at| *at == times[0]).expect("it was pushed");
        assert_eq!(&pushed[from..from + times.len()], times, "nothing is left out of {voice}");
    }
    for two in voices.windows(2) {
        let (until, from) = (two[0].1[two[0].1.len() - 1], two[1].1[0]);
        let pushed = if two[1].0 == 1.0 { &heavy } else { &light };
        let left_out = pushed.iter().filter(|at| **at > until && **at < from).count();
        assert_eq!(left_out, 0, "between {until} and {from}");
    }
    let records = proxy.running.history();
    assert!(records.iter().all(|record| record.cost.lost == 0));
    let reasons: Vec<String> = records.iter().map(|record| record.cause.to_string()).collect();
    assert_eq!(reasons, ["order", "weight", "order"]);
    proxy.running.stop();
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |_| {});
    assert_eq!(post(&proxy, "/-/promote?source=a").0, 404, "no group is known yet");
    let (mut one, mut two) = (proxy.connect(), proxy.connect());
    assert_eq!(one.ask(&push_of("a", "", "s")).status, 204);
    let (status, answer) = post(&proxy, "/-/promote?source=x%22%3Cb%3E");
    assert_eq!(
        (status, answer["error"].as_str()),
        (404, Some("no such source in group 'a'; there are s"))
    );
    assert_eq!(two.ask(&push_of("b", "t", "s")).status, 204);
    for (path, status, part) in [
        ("/-/promote?source=s", 400, "which group?"),
        ("/-/promote?group=a", 400, "which source?"),
        ("/-/promote?grop=a&source=s", 400, "'grop' is none of"),
        ("/-/promote?group=a&group=b&source=s", 400, "twice"),
        ("/-/promote?group=b&source=s", 404, "group 'b' is not known here"),
        ("/-/unpin?group=a&source=x", 409, "it is 's' that is promoted"),
        ("/-/drain?source=x", 404, "not known here"),
        ("/-/drain?source=s&group=a", 409, "nobody else is there"),
    ] {
        let (got, answer) = post(&proxy, path);
        let error = answer["error"].as_str().expect("an error");
        assert!(got == status && error.contains(part), "{path}: {got} {error}");
    }
    for (path, part) in [
        ("/-/promote?group=b&tenant=t&source=s", "promoted already"),
        ("/-/unpin?group=a", "nobody is pinned"),
    ] {
        let (status, answer) = post(&proxy, path);
        assert_eq!(status, 200, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|it| it.contains(part)), "{answer}");
    }
    proxy.running.stop();
}

/// Of a Prometheus whose connections are sources of their own, the first that is found may be a standby.
#[test]
fn one_that_has_several_sources_is_drained_as_a_whole() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |cli| cli.source_identity = Some("connection".into()));
    let (mut one, mut two) = (proxy.connect(), proxy.connect());
    assert_eq!(one.ask(&push_of("a", "", "x")).status, 204);
    assert_eq!(two.ask(&push_of("a", "", "x")).status, 204);
    let names: Vec<String> = group(&proxy)["sources"]
        .as_array()
        .map(|all| all.iter().map(|it| it["name"].to_string()).collect())
        .unwrap_or_default();
    assert_eq!(names, ["\"127.0.0.1\"", "\"127.0.0.1\""]);
    let (status, answer) = post(&proxy, "/-/drain?source=127.0.0.1");
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(status == 409 && error.contains("nobody else is there"), "{status} {answer}");
    let (status, answer) = post(&proxy, "/-/promote?source=127.0.0.1");
    assert!(status == 409 && answer["error"].to_string().contains("two sources"), "{answer}");
    proxy.running.stop();
}

#[test]
fn nothing_is_steered_by_a_look_or_by_a_page_of_somebody_else() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |_| {});
    assert_eq!(proxy.connect().ask(&push_of("a", "", "s")).status, 204);
    let mut client = admin(&proxy);
    for path in ["/-/promote", "/-/pin", "/-/unpin", "/-/drain"] {
        let answer = get(&mut client, &format!("{path}?group=a&source=s"));
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.head.contains("\r\nAllow: POST\r\n"));
    }
    for (origin, status) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://a.evil", 403),
        ("http://evil.example:9092", 403),
        ("http://127.0.0.1:9092", 202),
        ("https://127.0.0.1:9092", 200),
        ("http://[::1]:9092", 200),
        ("http://localhost", 200),
    ] {
        // A name of theirs may lead here: then their page is from the host that it asks.
        let host = match origin.rsplit_once('/') {
            Some((_, host)) if host != "evil.example" && host != "a.evil" => host,
            _ => "a",
        };
        let request = format!(
            "POST /-/pin?group=a HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = client.ask(request.as_bytes());
        assert_eq!(answer.status, status, "{origin}: {}", text(&answer));
        if status == 202 {
            await_seat(&proxy, "s", true);
        }
    }
    let request = b"POST /-/pin HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nsource=b";
    assert_eq!(client.ask(request).status, 400, "what it says would not be read");
    proxy.running.stop();
}

/// Runs the program itself; how it ended, and what it said on both.
pub fn command(admin: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highlander"));
    let output = command.args(args).args(["--admin", admin]).output().expect("it was built");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_node_is_looked_at_and_steered_from_a_terminal() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |_| {});
    let (mut one, mut two) = (proxy.connect(), proxy.connect());
    assert_eq!(one.ask(&push_of("g%201", "", "a")).status, 204);
    assert_eq!(two.ask(&push_of("g%201", "", "b")).status, 204);
    let admin = proxy.running.admin_address().expect("there is one").to_string();
    let (code, said) = command(&admin, &["status"]);
    assert!(code == Some(0) && said.contains("all is well\n"), "{said}");
    assert!(said.contains("group 'g 1': led here, steady\n"), "{said}");
    assert!(said.contains("its weight is the same"), "{said}");
    let (code, said) = command(&admin, &["ctl", "promote", "--source", "b", "--group", "g 1"]);
    assert!(code == Some(0) && said.contains("\ndone after "), "{code:?} {said}");
    assert_eq!(group(&proxy)["promoted"], "b");
    let (code, said) = command(&admin, &["ctl", "pin"]);
    assert!(code == Some(0) && said.contains("'b' is pinned to its seat\n"), "{code:?} {said}");
    let (code, said) = command(&admin, &["ctl", "drain", "--source", "b"]);
    assert!(code == Some(0) && said.contains("'a' is promoted"), "{code:?} {said}");
    assert_eq!(group(&proxy)["promoted"], "a");
    for (args, expected, part) in [
        (&["ctl", "promote", "--source", "x"][..], 1, "no such source"),
        (&["ctl", "demote", "--source", "a"], 2, "'demote' is none of"),
        (&["ctl"], 2, "act"),
    ] {
        let (code, said) = command(&admin, args);
        assert!(code == Some(expected) && said.contains(part), "{args:?}: {code:?} {said}");
    }
    proxy.running.stop();
    let (code, said) = command(&admin, &["status"]);
    assert!(code == Some(1) && said.contains("the node needs --admin"), "{said}");
}

#[test]
fn another_node_takes_the_lead_when_an_operator_wants_it_and_no_source_notices() {
    let endpoint = Endpoint::storage();
    let ports = cluster::ports(2);
    let nodes = [0, 1].map(|place| {
        Proxy::with("epoll", endpoint.address, |cli| {
            cluster::node(&ports, place)(cli);
            cli.admin = Some("127.0.0.1:0".into());
        })
    });
    let first = write("a", 5, Protocol::V1, now_ms() - 10_000, 1.0);
    assert_eq!(cluster::ask(&nodes[0], &first).status, 204);
    let source = Source::start(&nodes[0], "a", 5, 1.0);
    thread::sleep(SCRAPE * 5);
    let leads = |node: &Proxy| group(node)["lead"] == "us";
    // There and back again.
    for _ in 0..2 {
        let leader = nodes.iter().position(leads).expect("one of them leads");
        let other = 1 - leader;
        assert_eq!(post(&nodes[other], "/-/handover").0, 200, "it has nothing to give");
        let (status, answer) = post(&nodes[leader], "/-/handover");
        assert_eq!(status, 202, "{answer}");
        until("the other one leads", || {
            thread::sleep(Duration::from_millis(20));
            leads(&nodes[other]) && !leads(&nodes[leader])
        });
        thread::sleep(SCRAPE * 10);
    }
    // It was never told anything but 204.
    let pushed = source.stop();
    let stored: Vec<i64> = stored(&endpoint).into_iter().map(|(at, _)| at).collect();
    assert_eq!(stored[1..], pushed, "all of it, in order, and none twice");
    nodes.into_iter().for_each(|node| node.running.stop());
    // A node that is alone has nobody to give anything to.
    let alone = with_admin_and(&endpoint, |_| {});
    assert_eq!(alone.connect().ask(&push_of("g", "", "s")).status, 204);
    assert_eq!(post(&alone, "/-/handover").0, 409);
    assert_eq!(post(&alone, "/-/handover?source=s").0, 400);
    alone.running.stop();
}
