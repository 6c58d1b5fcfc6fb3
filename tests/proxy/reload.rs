//! The configuration read again while requests come: what changes for them, what can't be changed, and that
//! nothing is lost by either.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use highlander::cli::Cli;
use highlander::config::Config;
use highlander::server;
use highlander::shared::metrics::Counter;
use highlander::wire::remote_write::protocol::Protocol;
use serde_json::Value;

use crate::admin::{admin, get, text, value};
use crate::authority::{Authority, Secure};
use crate::cluster;
use crate::fan::{bodies, no_write, opaque, quick};
use crate::handover::{await_hand_overs, now_ms, stored, write};
use crate::steer::command;
use crate::support::*;

/// A folder with a configuration file, and what it names.
impl Folder {
    pub fn file(&self) -> String {
        self.0.join("highlander.yml").display().to_string()
    }

    pub fn write(&self, text: &str) {
        std::fs::write(self.file(), text).expect("the folder is ours");
    }
}

/// A proxy that has its configuration from the file of a folder.
pub struct Rig {
    pub folder: Folder,
    pub proxy: Proxy,
}

impl Rig {
    pub fn start(driver: &str, text: &str, change: impl FnOnce(&mut Cli)) -> Rig {
        Rig::start_in(Folder::new(), driver, text, change)
    }

    /// The same with what lies in a folder already.
    fn start_in(folder: Folder, driver: &str, text: &str, change: impl FnOnce(&mut Cli)) -> Rig {
        folder.write(text);
        let mut cli = Cli {
            config: Some(folder.file()),
            listen: vec!["127.0.0.1:0".into()],
            admin: Some("127.0.0.1:0".into()),
            driver: Some(driver.into()),
            cores: Some("2".into()),
            ..Cli::default()
        };
        change(&mut cli);
        let config = Config::from_cli(&cli).expect("the test's file is good");
        let read = move |before: &Config| before.read_again(&cli);
        let running = server::start_with(config, Box::new(read)).expect("a free port");
        let address = running.addresses()[0];
        Rig { folder, proxy: Proxy { running, address } }
    }

    /// Reads the configuration again, after it was written so.
    pub fn reload(&self, text: &str) -> Result<String, Vec<String>> {
        self.folder.write(text);
        self.proxy.running.reload("the test")
    }

    fn status(&self) -> Value {
        let status = get(&mut admin(&self.proxy), "/status");
        serde_json::from_slice(&status.body).expect("it is JSON")
    }

    /// How many endpoints there are, those among them whose queue is not closed yet.
    pub fn endpoints(&self) -> usize {
        self.status()["endpoints"].as_array().map_or(0, Vec::len)
    }

    pub fn metric(&self, sample: &str) -> Option<f64> {
        value(&text(&get(&mut admin(&self.proxy), "/metrics")), sample)
    }
}

/// The `remote_write` of endpoints: name, where, path, and further lines of each.
pub fn remote_write(endpoints: &[(&str, &Endpoint, &str, &[&str])]) -> String {
    let stanza = |(name, endpoint, path, lines): &(&str, &Endpoint, &str, &[&str])| {
        let more: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        format!("  - name: {name}\n    url: http://{}{path}\n{more}", endpoint.address)
    };
    let stanzas: String = endpoints.iter().map(stanza).collect();
    format!("log_level: error\nremote_write:\n{stanzas}")
}

pub fn heads(endpoint: &Endpoint) -> Vec<String> {
    endpoint.got().into_iter().map(|got| got.head).collect()
}

pub const ANN: &[&str] =
    &["basic_auth: {username: ann, password: of-ann}", "headers: {X-Old: old}"];
pub const BOB: &[&str] = &["authorization: {credentials: of-bob}", "headers: {X-New: new}"];
/// `ann:of-ann`, as basic auth has it.
pub const ANNS: &str = "Authorization: Basic YW5uOm9mLWFubg==\r\n";

#[test]
fn the_next_request_goes_where_the_new_configuration_says() {
    on_both_drivers(|driver| {
        let [one, two] = [(); 2].map(|()| Endpoint::storage());
        let rig = Rig::start(driver, &remote_write(&[("a", &one, "/push", ANN)]), |_| {});
        let mut client = rig.proxy.connect();
        assert_eq!(client.ask(&opaque(b"first")).status, 204);
        assert_eq!(client.ask(&opaque(b"second")).status, 204);
        // Credentials and headers alone, on the connection to the source that there is.
        let said = rig.reload(&remote_write(&[("a", &one, "/push", BOB)])).expect("it is good");
        assert_eq!(said, "endpoint 'a' changed");
        assert_eq!(client.ask(&opaque(b"third")).status, 204);
        // Another place.
        rig.reload(&remote_write(&[("a", &two, "/api", BOB)])).expect("it is good");
        assert_eq!(client.ask(&opaque(b"fourth")).status, 204);
        assert_eq!(client.ask(&no_write(b"no remote write")).status, 204);
        let said = rig.reload(&remote_write(&[("a", &two, "/api", BOB)])).expect("it is good");
        assert_eq!(said, "nothing has changed");
        assert_eq!(bodies(&one), [b"first".as_slice(), b"second", b"third"]);
        assert_eq!(bodies(&two), [b"fourth".as_slice(), b"no remote write"]);
        let of_one = one.got();
        assert_eq!(of_one[0].connection, of_one[1].connection);
        assert_ne!(of_one[1].connection, of_one[2].connection, "opened under other credentials");
        assert!(of_one[1].head.contains(ANNS) && of_one[1].head.contains("X-Old: old\r\n"));
        for head in heads(&two).iter().chain([&of_one[2].head]) {
            assert!(head.contains("Authorization: Bearer of-bob\r\n"), "{head}");
            assert!(head.contains("X-New: new\r\n") && !head.contains("X-Old"), "{head}");
        }
        assert!(heads(&two)[0].starts_with("POST /api HTTP/1.1\r\n"));
        assert!(heads(&two)[0].contains(&format!("Host: {}\r\n", two.address)));
        rig.proxy.running.stop();
    });
}

#[test]
fn endpoints_come_and_go_and_keep_what_was_counted_of_them() {
    on_both_drivers(|driver| {
        let [one, two] = [(); 2].map(|()| Endpoint::storage());
        let (a, b) = (("a", &one, "/w", &[][..]), ("b", &two, "", &[][..]));
        let rig = Rig::start(driver, &remote_write(&[a]), |_| {});
        let mut client = rig.proxy.connect();
        assert_eq!(client.ask(&opaque(b"1")).status, 204);
        let said = rig.reload(&remote_write(&[b, a])).expect("it is good");
        assert_eq!(said, "endpoint 'b' added");
        assert_eq!(client.ask(&opaque(b"2")).status, 204);
        let said = rig.reload(&remote_write(&[b])).expect("it is good");
        assert_eq!(said, "endpoint 'a' removed");
        assert_eq!(client.ask(&opaque(b"3")).status, 204);
        let said_204 = |name| {
            let sample =
                format!("highlander_endpoint_requests_total{{endpoint=\"{name}\",code=\"2xx\"}}");
            rig.metric(&sample)
        };
        assert_eq!((said_204("a"), said_204("b")), (None, Some(2.0)));
        rig.reload(&remote_write(&[a, b])).expect("it is good");
        assert_eq!((said_204("a"), said_204("b")), (Some(2.0), Some(2.0)));
        assert_eq!(client.ask(&opaque(b"4")).status, 204);
        assert_eq!(bodies(&one), [b"1", b"2", b"4"]);
        assert_eq!(bodies(&two), [b"2", b"3", b"4"]);
        assert!(heads(&two)[0].starts_with("POST /api/v1/write HTTP/1.1\r\n"), "its own path");
        rig.proxy.running.stop();
    });
}

#[test]
fn a_bad_file_leaves_the_old_configuration_whole_and_every_fault_is_said() {
    let [one, two] = [(); 2].map(|()| Endpoint::storage());
    let good = remote_write(&[("a", &one, "", &[])]);
    let rig = Rig::start("epoll", &good, |_| {});
    let mut client = rig.proxy.connect();
    assert_eq!(client.ask(&opaque(b"1")).status, 204);
    let began = rig.metric("highlander_config_last_reload_success_timestamp_seconds");
    let bad = remote_write(&[("b", &two, "", &["colour: red", "remote_timeout: 0s"])]);
    let faults = rig.reload(&format!("{bad}max_body: huge\n")).expect_err("it is bad");
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.starts_with(&format!("{}:", rig.folder.file()))));
    // What can't change while it runs, all of it, and what else stands there is not taken over either.
    let fixed = "listen: 127.0.0.1:1\nadmin: 127.0.0.1:2\ncores: 1\ndriver: uring\n\
                 instance_id: other\nlog_format: json\nstate: state\nmax_body: 4B\n";
    rig.folder.write(&format!("{}{fixed}", remote_write(&[("b", &two, "", &[])])));
    let request = b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let answer = admin(&rig.proxy).ask(request);
    assert_eq!(answer.status, 409);
    let answer: Value = serde_json::from_slice(&answer.body).expect("it is JSON");
    let error = answer["error"].as_str().expect("an error");
    // Flags that the proxy was started with win.
    let flags = ["--instance-id", "--state", "--log-format"];
    let expected = flags.map(|flag| format!("{flag} can't change while it runs: restart"));
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    assert_eq!(client.ask(&opaque(b"longer than 4")).status, 204);
    assert_eq!((bodies(&one).len(), bodies(&two).len()), (2, 0));
    assert_eq!(rig.metric("highlander_config_last_reload_successful"), Some(0.0));
    assert_eq!(rig.metric("highlander_config_reloads_total{result=\"refused\"}"), Some(2.0));
    let after = rig.metric("highlander_config_last_reload_success_timestamp_seconds");
    assert_eq!(after, began);
    let status = rig.status();
    let wrong = status["wrong"][0].as_str().expect("something is wrong");
    assert!(wrong.contains("refused: --instance-id") && wrong.contains("(2 more)"), "{wrong}");
    assert_eq!(status["ready"], true, "it goes on as before");
    let place = rig.proxy.running.admin_address().expect("there is one").to_string();
    let (code, said) = command(&place, &["ctl", "reload"]);
    assert!(code == Some(1) && expected.iter().all(|it| said.contains(it)), "{code:?} {said}");
    // And good again.
    rig.folder.write(&format!("{good}max_body: 4B\n"));
    let (code, said) = command(&place, &["ctl", "reload"]);
    assert!(code == Some(0) && said == "--max-body changed\n", "{code:?} {said}");
    assert_eq!(client.ask(&opaque(b"1234")).status, 204);
    assert_eq!(client.ask(&opaque(b"12345")).status, 413);
    assert_eq!(rig.metric("highlander_config_last_reload_successful"), Some(1.0));
    assert!(rig.metric("highlander_config_last_reload_success_timestamp_seconds") > began);
    assert_eq!(rig.status()["wrong"], serde_json::json!([]));
    // It is nothing that a look does, nor is there a part of it.
    assert_eq!(get(&mut admin(&rig.proxy), "/-/reload").status, 405);
    let request = b"POST /-/reload?group=g HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(admin(&rig.proxy).ask(request).status, 400);
    rig.proxy.running.stop();
}

#[test]
fn limits_change_while_it_runs() {
    let one = Endpoint::storage();
    let text = remote_write(&[("a", &one, "", &[])]);
    let rig = Rig::start("epoll", &text, |_| {});
    let of = |source: &str, group: &str| {
        let request = opaque(b"x");
        let request = String::from_utf8(request).expect("text");
        let said = format!("highlander_source={source}&highlander_group={group} ");
        request.replace("highlander_source=a ", &said).into_bytes()
    };
    let mut first = rig.proxy.connect();
    assert_eq!(first.ask(&of("s", "g")).status, 204);
    let limits = "max_groups: 1\nmax_sources: 1\nhold_memory: 1MiB\n\
                  hold_window: 1m\nmax_lag: 30s\nhealth_tick: 200ms\nhealth_expiry: 1s\n\
                  health_expiry_max: 2s\nshutdown_timeout: 1s\nmax_decoded: 1MiB\n";
    let said = rig.reload(&format!("{text}{limits}")).expect("all of them may change");
    assert_eq!(said.split(", ").count(), 10, "{said}");
    assert_eq!(rig.metric("highlander_hold_limit_bytes"), Some((1 << 20) as f64));
    assert_eq!(rig.proxy.connect().ask(&of("s", "h")).status, 503, "one group more");
    assert_eq!(rig.proxy.connect().ask(&of("t", "g")).status, 503, "one source more");
    assert_eq!(first.ask(&of("s", "g")).status, 204);
    until("they are gone", || rig.proxy.running.connections().iter().sum::<u64>() == 1);
    rig.reload(&format!("{text}{limits}max_connections: 1\n")).expect("all of them may change");
    assert_eq!(rig.proxy.connect().answer().status, 503, "one connection more");
    drop(first);
    // With the patience of before it would keep its seat for longer than a test waits.
    until("it is lost", || rig.status()["groups"].as_array().is_some_and(Vec::is_empty));
    rig.reload(&text).expect("and back");
    let mut clients: Vec<Client> = (0..4).map(|_| rig.proxy.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&of(&format!("s{at}"), "g")).status, 204);
    }
    rig.proxy.running.stop();
}

/// The head that a held request was written with is not the one that it is sent on with.
#[test]
fn what_was_held_goes_to_the_new_endpoint_with_its_credentials_and_not_the_old_ones() {
    on_both_drivers(|driver| {
        let [one, two, three] = [(); 3].map(|()| Endpoint::storage());
        let old = remote_write(&[("a", &one, "/push", ANN)]);
        let rig = Rig::start(driver, &old, quick);
        let (mut a, mut b) = (rig.proxy.connect(), rig.proxy.connect());
        let start = now_ms() - 60_000;
        let ask_both = |a: &mut Client, b: &mut Client, scrape: i64| {
            let at = start + scrape * 1000;
            assert_eq!(a.ask(&write("a", 5, Protocol::V1, at, 1.0)).status, 204);
            assert_eq!(b.ask(&write("b", 1, Protocol::V1, at + 300, 2.0)).status, 204);
        };
        (0..3).for_each(|scrape| ask_both(&mut a, &mut b, scrape));
        let said = rig.reload(&remote_write(&[("b", &two, "/x", BOB), ("c", &three, "", &[])]));
        assert!(said.is_ok(), "{said:?}");
        (3..5).for_each(|scrape| ask_both(&mut a, &mut b, scrape));
        assert_eq!(stored(&one).len(), 3);
        for scrape in 5..8 {
            let at = start + scrape * 1000 + 300;
            assert_eq!(b.ask(&write("b", 1, Protocol::V1, at, 2.0)).status, 204);
        }
        rig.reload(&remote_write(&[("c", &three, "", &[]), ("b", &two, "", BOB)])).expect("good");
        drop(a);
        await_hand_overs(&rig.proxy, 1);
        let of_a = (3..5).map(|scrape| (start + scrape * 1000, 1.0));
        let of_b = (4..8).map(|scrape| (start + scrape * 1000 + 300, 2.0));
        let expected: Vec<(i64, f64)> = of_a.chain(of_b).collect();
        for endpoint in [&two, &three] {
            assert_eq!(stored(endpoint), expected);
            let heads = heads(endpoint).concat();
            assert!(!heads.contains(ANNS) && !heads.contains("X-Old"), "{heads}");
            assert!(!heads.contains("/push") && !heads.contains(&one.address.to_string()));
        }
        assert_eq!(heads(&two).concat().matches("Authorization: Bearer of-bob\r\n").count(), 6);
        assert!(!heads(&three).concat().contains("of-bob"));
        let last = heads(&two).pop().expect("the last of them");
        assert!(last.starts_with("POST /api/v1/write HTTP/1.1\r\n"), "{last}");
        assert_eq!(stored(&one).len(), 3, "the old one gets nothing more");
        rig.proxy.running.stop();
    });
}

/// What an endpoint may or may not have got lies there with the head that was written for that one.
#[test]
fn what_is_in_doubt_is_sent_on_with_another_head_when_its_source_dies() {
    static STATUS: AtomicUsize = AtomicUsize::new(204);
    on_both_drivers(|driver| {
        STATUS.store(204, Ordering::Relaxed);
        let (one, two) = (crate::fan::saying(&STATUS), Endpoint::storage());
        let place = ("a", &one, "/push?k=v", ANN);
        let rig = Rig::start(driver, &remote_write(&[place]), quick);
        // Its path is the endpoint's own, so that it is written for that one alone.
        let at_push = |request: Vec<u8>| {
            let text = b"/api/v1/write";
            let at = find(&request, text).expect("each has it");
            [&request[..at], b"/push", &request[at + text.len()..]].concat()
        };
        let (mut a, mut b) = (rig.proxy.connect(), rig.proxy.connect());
        let start = now_ms() - 60_000;
        let of_a = |at| at_push(write("a", 5, Protocol::V1, start + at, 1.0));
        let of_b = |at| at_push(write("b", 1, Protocol::V1, start + at, 2.0));
        for at in [0, 1000] {
            assert_eq!(a.ask(&of_a(at)).status, 204);
            assert_eq!(b.ask(&of_b(at + 300)).status, 204);
        }
        STATUS.store(503, Ordering::Relaxed);
        assert_eq!(a.ask(&of_a(2000)).status, 503);
        let before = one.got().len();
        STATUS.store(204, Ordering::Relaxed);
        rig.reload(&remote_write(&[("a", &two, "/x", BOB)])).expect("it is good");
        drop(a);
        assert_eq!(b.ask(&of_b(2300)).status, 204);
        await_hand_overs(&rig.proxy, 1);
        let expected = [(1300, 2.0), (2000, 1.0), (2300, 2.0)];
        let got: Vec<_> = stored(&two).into_iter().map(|(at, value)| (at - start, value)).collect();
        let of_old: Vec<_> = got.iter().filter(|(_, value)| *value == 1.0).collect();
        assert_eq!(of_old, [&expected[1]], "{got:?}");
        assert_eq!(one.got().len(), before, "the old one gets nothing more");
        for head in heads(&two) {
            assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("Authorization: Bearer of-bob\r\n"), "{head}");
            assert!(!head.contains("Basic") && !head.contains("X-Old"), "{head}");
            assert_eq!(head.matches("X-Highlander-Instance").count(), 1, "{head}");
        }
        rig.proxy.running.stop();
    });
}

#[test]
fn a_reload_in_the_midst_of_an_open_hand_over_costs_no_sample() {
    on_both_drivers(|driver| {
        // While the held ones are sent on, the endpoint takes its time.
        let slow = Arc::new(AtomicUsize::new(0));
        let patience = slow.clone();
        let constant = Endpoint::start(move |_| {
            thread::sleep(Duration::from_millis(patience.load(Ordering::Relaxed) as u64));
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        });
        let other = Endpoint::storage();
        let (a, b) = (("a", &constant, "", ANN), ("b", &other, "/x", BOB));
        let rig = Rig::start(driver, &remote_write(&[a]), quick);
        let (mut heavy, mut light) = (rig.proxy.connect(), rig.proxy.connect());
        let start = now_ms() - 60_000;
        for scrape in 0..20 {
            let at = start + scrape * 1000;
            if scrape < 5 {
                assert_eq!(heavy.ask(&write("h", 5, Protocol::V1, at, 1.0)).status, 204);
            }
            assert_eq!(light.ask(&write("l", 1, Protocol::V1, at + 300, 2.0)).status, 204);
        }
        slow.store(100, Ordering::Relaxed);
        drop(heavy);
        until("the held ones are sent on", || constant.got().len() > 7);
        rig.reload(&remote_write(&[b, a])).expect("it is good");
        until("more of them are", || constant.got().len() > 10);
        rig.reload(&remote_write(&[("a", &constant, "/y", BOB)])).expect("it is good");
        // What is live waits for its turn meanwhile.
        assert_eq!(light.ask(&write("l", 1, Protocol::V1, start + 20_300, 2.0)).status, 204);
        await_hand_overs(&rig.proxy, 1);
        let of_heavy = (0..5).map(|scrape| (start + scrape * 1000, 1.0));
        let of_light = (4..21).map(|scrape| (start + scrape * 1000 + 300, 2.0));
        assert_eq!(stored(&constant), of_heavy.chain(of_light).collect::<Vec<_>>());
        let of_other = stored(&other);
        assert!(!of_other.is_empty() && of_other.len() < 16, "{of_other:?}");
        let last = heads(&constant).pop().expect("the last of them");
        assert!(last.starts_with("POST /y HTTP/1.1\r\n") && last.contains("of-bob"), "{last}");
        assert_eq!(rig.proxy.running.history()[0].cost.lost, 0);
        rig.proxy.running.stop();
    });
}

/// A route that has become longer than any was at the start has no room where bodies are read.
#[test]
fn a_head_that_has_become_longer_than_its_room_goes_out_all_the_same() {
    on_both_drivers(|driver| {
        let one = Endpoint::storage();
        let rig = Rig::start(driver, &remote_write(&[("a", &one, "", &[])]), |_| {});
        let mut client = rig.proxy.connect();
        let long = format!("headers: {{X-Long: {}}}", "y".repeat(6000));
        assert_eq!(client.ask(&opaque(&body(20_000))).status, 204);
        rig.reload(&remote_write(&[("a", &one, "", &[&long])])).expect("it is good");
        for bytes in [10, 4_000, 20_000, 100_000, 300_000] {
            assert_eq!(client.ask(&opaque(&body(bytes))).status, 204, "{bytes}");
            assert_eq!(client.ask(&no_write(&body(bytes))).status, 204, "{bytes}");
            let got = one.got();
            for got in &got[got.len() - 2..] {
                assert!(got.body == body(bytes) && got.head.contains(&"y".repeat(6000)));
            }
        }
        rig.proxy.running.stop();
    });
}

#[test]
fn files_that_are_named_are_read_again_too() {
    on_both_drivers(|driver| {
        let (authority, other) = (Authority::new(), Authority::new());
        let secure = Secure::storage(authority.server(&authority.sign("127.0.0.1")));
        let copy = |of: &Authority, folder: &Folder| {
            let from = of.ca_file().expect("it was written");
            std::fs::copy(from, folder.0.join("ca.pem")).expect("the folder is ours");
        };
        let text = format!(
            "log_level: error\nremote_write:\n  - name: s\n    url: https://127.0.0.1:{}\n    \
             tls_config: {{ca_file: ca.pem}}\n",
            secure.port()
        );
        let folder = Folder::new();
        copy(&other, &folder);
        let rig = Rig::start_in(folder, driver, &text, |_| {});
        let mut client = rig.proxy.connect();
        assert_eq!(client.ask(&opaque(b"1")).status, 502, "it is not trusted");
        std::fs::write(rig.folder.0.join("ca.pem"), "no certificate").expect("the folder is ours");
        let faults = rig.reload(&text).expect_err("that is none");
        assert!(faults[0].contains("tls_config.ca_file"), "{faults:?}");
        assert_eq!(client.ask(&opaque(b"1")).status, 502, "as before");
        copy(&authority, &rig.folder);
        let said = rig.reload(&text).expect("it is good");
        assert_eq!(said, "endpoint 's': its TLS files read again");
        assert_eq!(client.ask(&opaque(b"1")).status, 204);
        rig.proxy.running.stop();
    });
}

/// One after the other is given another configuration; meanwhile the one that leads writes heads as its own
/// says, also of what another has relayed.
#[test]
fn nodes_of_a_cluster_may_differ_for_a_while() {
    let endpoint = Endpoint::storage();
    let ports = cluster::ports(2);
    let nodes = [(0, "x?k=v"), (1, "y")].map(|(place, path)| {
        Proxy::with("epoll", endpoint.address, |cli| {
            cluster::node(&ports, place)(cli);
            cli.remote = Some(format!("http://{}/{path}", endpoint.address));
            cli.remote_user = Some(format!("node-{place}"));
        })
    });
    let start = now_ms() - 10_000;
    for (number, node) in [0, 1, 0, 1].into_iter().enumerate() {
        let at = start + number as i64 * 1000;
        let request = write("a", 5, Protocol::V1, at, 1.0);
        assert_eq!(cluster::ask(&nodes[node], &request).status, 204);
        assert_eq!(cluster::ask(&nodes[node], &no_write(b"other")).status, 204);
    }
    let heads = heads(&endpoint);
    let line = |head: &str, name: &str| {
        head.lines().find(|line| line.starts_with(name)).map(str::to_owned)
    };
    let first = |head: &str| (line(head, "POST"), line(head, "Authorization"));
    assert_eq!(heads.len(), 8);
    assert!(heads.iter().all(|head| first(head) == first(&heads[0])), "{heads:#?}");
    let target = line(&heads[0], "POST");
    let targets = ["POST /x/api/v1/write?k=v HTTP/1.1", "POST /y/api/v1/write HTTP/1.1"];
    assert!(targets.iter().any(|it| target.as_deref() == Some(*it)), "{target:?}");
    nodes.into_iter().for_each(|node| node.running.stop());
}

pub fn queued(on_removed: &str) -> [String; 2] {
    let queue = format!("queue: {{dir: q, min_backoff: 30ms, on_removed: {on_removed}}}");
    ["delivery: queued".to_owned(), queue]
}

fn with_queue(a: &Endpoint, b: &Endpoint, path: &str, lines: &[String; 2]) -> String {
    let lines = [lines[0].as_str(), lines[1].as_str()];
    remote_write(&[("a", a, "", &[]), ("b", b, path, &lines)])
}

fn closed(rig: &Rig) {
    until("its queue is closed", || {
        thread::sleep(Duration::from_millis(20));
        rig.endpoints() == 1
    });
}

#[test]
fn a_queue_is_opened_and_kept_and_what_was_kept_is_sent_when_it_is_back() {
    static STATUS: AtomicUsize = AtomicUsize::new(204);
    on_both_drivers(|driver| {
        STATUS.store(204, Ordering::Relaxed);
        let (one, two, three) =
            (Endpoint::storage(), crate::fan::saying(&STATUS), Endpoint::storage());
        let alone = remote_write(&[("a", &one, "", &[])]);
        let rig = Rig::start(driver, &alone, |_| {});
        let mut client = rig.proxy.connect();
        assert_eq!(client.ask(&opaque(b"0")).status, 204);
        let keep = queued("keep");
        rig.reload(&with_queue(&one, &two, "", &keep)).expect("a queue is opened");
        assert_eq!(client.ask(&opaque(b"1")).status, 204);
        until("it is sent", || bodies(&two) == [b"1"]);
        STATUS.store(503, Ordering::Relaxed);
        assert_eq!(client.ask(&opaque(b"2")).status, 204);
        assert_eq!(client.ask(&opaque(b"3")).status, 204);
        // The sender takes the new place, and sends what failed at the old one there.
        rig.reload(&with_queue(&one, &three, "/x", &keep)).expect("it has moved");
        until("it is sent where it is now", || bodies(&three) == [b"2", b"3"]);
        assert!(heads(&three)[0].starts_with("POST /x HTTP/1.1\r\n"));
        rig.reload(&with_queue(&one, &two, "", &keep)).expect("and back");
        assert_eq!(client.ask(&opaque(b"4")).status, 204);
        let said = rig.reload(&alone).expect("it is removed");
        assert_eq!(said, "endpoint 'b' removed, what is in its queue stays there");
        closed(&rig);
        assert_eq!(client.ask(&opaque(b"5")).status, 204);
        let tried = bodies(&two).len();
        STATUS.store(204, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(bodies(&two).len(), tried, "nothing of it is sent");
        rig.reload(&with_queue(&one, &two, "", &keep)).expect("it is opened again");
        assert_eq!(client.ask(&opaque(b"6")).status, 204);
        until("what was kept is sent", || bodies(&two)[tried..] == [b"4", b"6"]);
        // Nothing overtakes what is in a queue.
        let faults = rig.reload(&remote_write(&[("a", &one, "", &[]), ("b", &two, "", &[])]));
        assert!(faults.expect_err("not while it runs")[0].contains("from queued to direct"));
        let all: Vec<Vec<u8>> = (0..7).map(|at| at.to_string().into_bytes()).collect();
        assert_eq!(bodies(&one), all);
        rig.proxy.running.stop();
    });
}

#[test]
fn a_queue_that_drains_is_sent_to_its_end_and_may_come_back_before() {
    static STATUS: AtomicUsize = AtomicUsize::new(503);
    on_both_drivers(|driver| {
        STATUS.store(503, Ordering::Relaxed);
        let (one, two) = (Endpoint::storage(), crate::fan::saying(&STATUS));
        let (alone, drain) = (remote_write(&[("a", &one, "", &[])]), queued("drain"));
        let rig = Rig::start(driver, &with_queue(&one, &two, "", &drain), |_| {});
        let mut client = rig.proxy.connect();
        assert_eq!(client.ask(&opaque(b"1")).status, 204);
        let said = rig.reload(&alone).expect("it is removed");
        assert_eq!(said, "endpoint 'b' removed, what is in its queue is still sent");
        assert_eq!(client.ask(&opaque(b"2")).status, 204, "that one does not get");
        let leaving = rig.status()["endpoints"][1].clone();
        assert_eq!((&leaving["name"], &leaving["removed"]), (&"b".into(), &true.into()));
        // As another it would overtake, or be in one folder with, what is still there.
        for (text, part) in [
            (remote_write(&[("a", &one, "", &[]), ("b", &two, "", &[])]), "is not closed yet"),
            (with_queue(&one, &two, "", &drain).replace("name: b", "name: c"), "'b' and is not"),
            (
                with_queue(&one, &two, "", &drain)
                    .replace("name: b", "name: b\n    out_of_order: allowed"),
                "out_of_order can't change before",
            ),
        ] {
            let faults = rig.reload(&text).expect_err(part);
            assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
        }
        rig.reload(&with_queue(&one, &two, "/x", &drain)).expect("it is back");
        assert_eq!(client.ask(&opaque(b"3")).status, 204);
        rig.reload(&alone).expect("it is removed once more");
        thread::sleep(Duration::from_millis(300));
        STATUS.store(204, Ordering::Relaxed);
        closed(&rig);
        let got = two.got();
        let mut sent: Vec<Vec<u8>> = got.iter().map(|got| got.body.clone()).collect();
        sent.dedup();
        assert_eq!(sent, [b"1", b"3"], "in order");
        assert!(got[got.len() - 1].head.starts_with("POST /x HTTP/1.1\r\n"));
        assert_eq!(rig.proxy.running.count(Counter::QueueSent), 2);
        rig.proxy.running.stop();
    });
}

#[test]
fn an_endpoint_with_a_name_is_gone_to_when_its_address_is_known_and_not_before() {
    on_both_drivers(|driver| {
        let [one, two] = [(); 2].map(|()| Endpoint::storage());
        let rig = Rig::start(driver, &remote_write(&[("a", &one, "", &[])]), |_| {});
        let mut client = rig.proxy.connect();
        let named = |host: &str, of: &Endpoint| {
            let port = of.address.port();
            format!("log_level: error\nremote_write:\n  - name: a\n    url: http://{host}:{port}\n")
        };
        for (turn, endpoint) in [&two, &one, &two].into_iter().enumerate() {
            assert_eq!(client.ask(&opaque(b"before")).status, 204, "{turn}");
            rig.reload(&named("localhost", endpoint)).expect("everybody knows it");
            assert_eq!(client.ask(&opaque(format!("{turn}").as_bytes())).status, 204, "{turn}");
        }
        assert!(bodies(&two).ends_with(&[b"2".to_vec()]));
        let faults = rig.reload(&named("nowhere.invalid", &one)).expect_err("nobody knows it");
        assert_eq!(faults, ["endpoint 'a': its host can't be resolved"]);
        assert_eq!(client.ask(&opaque(b"after")).status, 204, "as before");
        rig.proxy.running.stop();
    });
}
