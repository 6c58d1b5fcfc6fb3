//! The leases among real etcds: who holds a key, and that two never do at one time.
//!
//! All nodes of a test share one clock, so that what they were promised can be laid side by side.
//! `tests/run` installs etcd and openssl; if one is missing the test fails.

#[path = "etcd/cluster.rs"]
mod cluster;
#[path = "etcd/node.rs"]
mod node;
#[expect(dead_code, reason = "what other tests use of it")]
#[path = "real/program.rs"]
mod program;
#[path = "etcd/relay.rs"]
mod relay;
#[path = "etcd/server.rs"]
mod server;

#[expect(dead_code, reason = "what other tests use of it")]
#[path = "proxy/support.rs"]
mod support;

use std::thread::sleep;
use std::time::Duration;

use highlander::base::limits::{LEASE_ENTRIES_PER_PAGE, LEASE_TTL};
use highlander::io::clock::Clock;
use highlander::io::etcd::Ask;
use highlander::io::etcd::client::{EtcdLogin, EtcdTls};
use highlander::logic::cluster::etcd_lease::Told;
use highlander::wire::cluster::etcd::Key;

use node::{Node, config, never_two};
use relay::Relay;
use server::Server;

const KEY: Key = Key(0xfeed);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn of_two_nodes_that_want_the_same_keys_each_key_goes_to_one() {
    let server = Server::start("same-keys");
    let clock = Clock::start();
    // More than go in one request.
    let keys: Vec<Key> = (0..150).map(Key).collect();
    let hosts = [server.host()];
    let mut a = Node::start(&config(&hosts), "a", clock);
    let mut b = Node::start(&config(&hosts), "b", clock);
    for part in keys.chunks(10) {
        a.want(part);
        b.want(part);
    }
    a.wait("a key or a holder of each", |node| keys.iter().all(|key| node.knows(*key)));
    b.wait("a key or a holder of each", |node| keys.iter().all(|key| node.knows(*key)));
    for key in &keys {
        let (a_has, b_has) = (a.until(*key).is_some(), b.until(*key).is_some());
        assert!(a_has != b_has, "{key:?}: a {a_has}, b {b_has}");
        let (loser, winner) = if a_has { (&b, "a") } else { (&a, "b") };
        assert!(loser.was_told(&Told::Taken { key: *key, holder: winner.into() }));
    }
    // One that was quick may have got all of them.
    let (holder, other) =
        if a.until(keys[0]).is_some() { (&mut a, &mut b) } else { (&mut b, &mut a) };
    let more = holder.renewals() + 3;
    holder.wait("renewals", |node| node.renewals() >= more);
    other.take_in();
    never_two(&a, &b);
}

#[test]
fn who_holds_what_is_read_in_pages_where_there_are_many_keys() {
    let server = Server::start("pages");
    let others: Vec<Key> =
        (0..2 * LEASE_ENTRIES_PER_PAGE as u64 + 100).map(|place| Key(2 * place)).collect();
    server.hold(&others, "other");
    let last = others[others.len() - 1];
    let (free, held) = ([Key(1), Key(last.0 + 1)], [others[0], others[others.len() / 2], last]);
    let mut node = Node::start(&config(&[server.host()]), "a", Clock::start());
    node.want(&[&free[..], &held].concat());
    node.wait("its keys, and the holder of the others", |node| {
        free.iter().all(|key| node.until(*key).is_some())
            && held.iter().all(|key| node.knows_holder(*key, "other"))
    });
    let more = node.renewals() + 2 * free.len();
    node.wait("renewals", |node| node.renewals() >= more);
    assert!(!node.is_unreachable());
}

#[test]
fn a_key_that_is_given_back_goes_to_the_other_at_once() {
    let server = Server::start("give-back");
    let clock = Clock::start();
    let hosts = ["127.0.0.1:1".to_owned(), server.host()];
    let mut a = Node::start(&config(&hosts), "a", clock);
    let mut b = Node::start(&config(&hosts), "b", clock);
    let other = Key(1);
    a.want(&[KEY, other]);
    a.wait("both keys", |node| node.until(KEY).is_some() && node.until(other).is_some());
    b.want(&[KEY, other]);
    b.wait("both holders", |node| node.knows(KEY) && node.knows(other));

    a.ask(Ask::Release(vec![other]));
    b.wait("the released key", |node| node.until(other).is_some());
    a.take_in();
    assert!(b.granted_at(other) < a.until(other), "it did not wait for the lease to end");
    assert_eq!(b.until(KEY), None);

    let promised = a.stop();
    b.wait("the key of the one that stopped", |node| node.until(KEY).is_some());
    assert!(b.granted_at(KEY) < promised.until(KEY), "it did not wait for the lease to end");
}

#[test]
fn a_node_that_is_cut_off_is_followed_only_after_its_promise_has_ended() {
    let server = Server::start("cut-off");
    let relay = Relay::start(&server.host());
    let clock = Clock::start();
    let mut a = Node::start(&config(&[relay.host()]), "a", clock);
    let mut b = Node::start(&config(&[server.host()]), "b", clock);
    a.want(&[KEY]);
    a.wait("the key", |node| node.until(KEY).is_some());
    b.want(&[KEY]);
    b.wait("the holder", |node| node.knows(KEY));
    let renewals = a.renewals();
    a.wait("a renewal", |node| node.renewals() > renewals);

    relay.cut();
    a.wait("the loss of etcd", Node::is_unreachable);
    b.wait("the key", |node| node.until(KEY).is_some());
    a.take_in();
    never_two(&a, &b);
    assert!(b.granted_at(KEY) < a.until(KEY).map(|end| end.after(LEASE_TTL)), "nor long after");

    relay.heal();
    a.wait("its loss", |node| node.was_told(&Told::Lost { key: KEY }));
    a.wait("its successor", |node| node.knows_holder(KEY, "b"));
    a.wait("the way to etcd", |node| !node.is_unreachable());
    never_two(&a, &b);
}

#[test]
fn an_etcd_that_dies_prolongs_nothing_and_serves_again_once_it_is_back() {
    let mut server = Server::start("restart");
    let clock = Clock::start();
    let mut a = Node::start(&config(&[server.host()]), "a", clock);
    a.want(&[KEY]);
    a.wait("the key", |node| node.until(KEY).is_some());
    server.kill();
    let died = clock.now();
    a.wait("the loss of etcd", Node::is_unreachable);
    sleep(seconds(1.0));
    a.take_in();
    let end = a.until(KEY);
    assert!(end <= Some(died.after(LEASE_TTL)), "{end:?}");
    server.start_again();
    a.wait("the way to etcd", |node| !node.is_unreachable());
    a.wait("a promise", |node| node.until(KEY) > end);
    let mut b = Node::start(&config(&[server.host()]), "b", clock);
    b.want(&[KEY]);
    b.wait("the holder", |node| node.knows_holder(KEY, "a"));
}

#[test]
fn an_etcd_that_hangs_for_longer_than_a_lease_makes_no_two_holders() {
    let server = Server::start("hang");
    let clock = Clock::start();
    let mut a = Node::start(&config(&[server.host()]), "a", clock);
    let mut b = Node::start(&config(&[server.host()]), "b", clock);
    a.want(&[KEY]);
    a.wait("the key", |node| node.until(KEY).is_some());
    b.want(&[KEY]);
    b.wait("the holder", |node| node.knows(KEY));
    server.signal("STOP");
    let hung = clock.now();
    a.wait("the loss of etcd", Node::is_unreachable);
    b.wait("the loss of etcd", Node::is_unreachable);
    sleep(Duration::from(LEASE_TTL) + seconds(1.0));
    a.take_in();
    assert!(a.until(KEY) <= Some(hung.after(LEASE_TTL)));
    server.signal("CONT");
    a.wait("the way to etcd", |node| !node.is_unreachable());
    b.wait("the way to etcd", |node| !node.is_unreachable());
    let back = clock.now();
    while a.until(KEY).max(b.until(KEY)) < Some(back) {
        a.take_in();
        b.take_in();
        sleep(seconds(0.05));
        assert!(clock.now() < back.after(LEASE_TTL.times(5)), "nobody has it");
    }
    sleep(seconds(1.5));
    a.take_in();
    b.take_in();
    never_two(&a, &b);
}

#[test]
fn of_three_etcds_one_may_hang() {
    let servers = Server::start_cluster("three", 3);
    let clock = Clock::start();
    let hosts: Vec<String> = servers.iter().map(Server::host).collect();
    let mut a = Node::start(&config(&hosts), "a", clock);
    let mut b = Node::start(&config(&hosts), "b", clock);
    a.want(&[KEY]);
    a.wait("the key", |node| node.until(KEY).is_some());
    b.want(&[KEY]);
    b.wait("the holder", |node| node.knows(KEY));
    // The one that both ask first, leader or not.
    servers[0].signal("STOP");
    let hung = clock.now();
    a.wait("a later promise", |node| node.until(KEY) > Some(hung.after(LEASE_TTL)));
    b.take_in();
    assert_eq!(b.until(KEY), None);
    assert!(!a.was_told(&Told::Lost { key: KEY }));
}

#[test]
fn a_user_logs_in_and_again_when_its_token_is_not_known_any_more() {
    let mut server = Server::start("login");
    server.enable_login("lessee", "s3cret", "highlander/cluster/");
    let clock = Clock::start();
    let mut with_login = config(&[server.host()]);
    let mut nobody = Node::start(&with_login, "nobody", clock);
    let login = |password: &str| EtcdLogin { user: "lessee".into(), password: password.into() };
    with_login.login = Some(login("wrong"));
    let mut wrong = Node::start(&with_login, "wrong", clock);
    with_login.login = Some(login("s3cret"));
    assert!(!format!("{with_login:?}").contains("s3cret"));
    let mut a = Node::start(&with_login, "a", clock);
    for node in [&mut nobody, &mut wrong, &mut a] {
        node.want(&[KEY]);
    }
    a.wait("the key", |node| node.until(KEY).is_some());
    nobody.wait("a refusal", Node::is_unreachable);
    wrong.wait("a refusal", Node::is_unreachable);

    server.kill();
    a.wait("the loss of etcd", Node::is_unreachable);
    server.start_again();
    let back = clock.now();
    a.wait("a promise with a new token", |node| node.until(KEY) > Some(back.after(LEASE_TTL)));
    nobody.take_in();
    wrong.take_in();
    assert!(!nobody.knows(KEY) && !wrong.knows(KEY));
}

#[test]
fn tls_needs_the_right_authority_and_the_right_certificate() {
    let (server, files) = Server::start_with_tls("tls");
    let clock = Clock::start();
    let mut with_tls = config(&[server.host()]);
    let mut start = |name: &str, ca: Option<&str>, certificate: Option<&str>| {
        let pair = |name| (files.certificate(name), files.key(name));
        let ca_file = ca.map(|name| files.certificate(name));
        with_tls.tls = Some(EtcdTls { ca_file, certificate: certificate.map(pair) });
        let node = Node::start(&with_tls, name, clock);
        node.want(&[KEY]);
        node
    };
    // Once it serves, a refusal has no other reason.
    let mut a = start("a", Some("ca"), Some("client"));
    a.wait("the key", |node| node.until(KEY).is_some());
    for (name, ca, certificate, reason) in [
        // The server closes at once: whether its reason comes through is chance.
        ("stranger", Some("ca"), None, "io: "),
        ("forger", Some("ca"), Some("forged"), "io: "),
        ("doubter", Some("other"), Some("client"), "UnknownIssuer"),
        ("system", None, Some("client"), "UnknownIssuer"),
    ] {
        let mut node = start(name, ca, certificate);
        node.wait(reason, |node| node.trouble().is_some_and(|trouble| trouble.contains(reason)));
        assert!(!node.knows(KEY));
    }
}
