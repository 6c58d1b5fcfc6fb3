//! Nodes of one cluster, seen from outside: whichever node a source reaches, one voice reaches the
//! endpoint.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use highlander::base::limits::HEAD_BYTES_MAX;
use highlander::base::time::{Millis, UnixMillis};
use highlander::cli::Cli;
use highlander::logic::cluster::node::Node;
use highlander::logic::cluster::notice::Notice;
use highlander::logic::cluster::pass::Pass;
use highlander::logic::cluster::standing::{GroupKey, Standing, Term};
use highlander::logic::source::{GroupName, SourceName, Weight};
use highlander::logic::view::Epoch;
use highlander::shared::metrics::Counter;
use highlander::wire::cluster::seal::{Seal, Stamp};
use highlander::wire::remote_write::protocol::Protocol;

use crate::handover::{await_hand_overs, now_ms, stored, write};
use crate::support::*;

/// Ports that are free now, one for each node's datagrams.
pub fn ports(count: usize) -> Vec<u16> {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let sockets: Vec<UdpSocket> = (0..count).map(|_| bind()).collect();
    sockets.iter().map(|it| it.local_addr().expect("a bound socket").port()).collect()
}

/// Makes a node of a proxy: number `place` of those with these ports.
pub fn node(ports: &[u16], place: usize) -> impl Fn(&mut Cli) {
    let bind = format!("127.0.0.1:{}", ports[place]);
    let peers: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    move |cli| {
        cli.cluster_bind = Some(bind.clone());
        cli.cluster_connect = Some(peers.join(","));
        cli.health_tick = Some("200ms".into());
        cli.health_expiry = Some("1s".into());
        cli.log_level = Some("info".into());
    }
}

fn start(driver: &str, endpoint: SocketAddr, ports: &[u16], place: usize) -> Proxy {
    Proxy::with(driver, endpoint, node(ports, place))
}

/// The same with sources that push to every node.
fn mirror(endpoint: SocketAddr, ports: &[u16], place: usize) -> Proxy {
    Proxy::with("epoll", endpoint, |cli| {
        node(ports, place)(cli);
        cli.cluster_mode = Some("mirror".into());
    })
}

/// The one of two that leads, after both were asked something.
fn leader(nodes: &[Proxy; 2]) -> usize {
    let leads = |node: &Proxy| count(node, Counter::Relayed) == 0;
    nodes.iter().position(leads).expect("one of them leads")
}

fn count(node: &Proxy, counter: Counter) -> u64 {
    node.running.count(counter)
}

/// Asks until it is taken: a node that has just begun answers 503.
pub fn ask(node: &Proxy, request: &[u8]) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = node.connect().ask(request);
        if answer.status != 503 {
            return answer;
        }
        assert!(Instant::now() < deadline, "503 for 30 s: {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_node_leads_and_the_other_relays_to_it_what_comes_to_it() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let ports = ports(2);
        let nodes = [0, 1].map(|place| start(driver, endpoint.address, &ports, place));
        let start = now_ms() - 60_000;
        let mut clients = [nodes[0].connect(), nodes[1].connect()];
        for scrape in 0..10 {
            for (place, node) in nodes.iter().enumerate() {
                // The promoted source now comes by the one node, now by the other.
                let at = start + scrape * 2000 + place as i64 * 1000;
                let request = write("a", 5, Protocol::V1, at, 1.0);
                match scrape {
                    0 => assert_eq!(ask(node, &request).status, 204),
                    _ => assert_eq!(clients[place].ask(&request).status, 204),
                }
                let standby = write("b", 1, Protocol::V1, at + 300, 2.0);
                assert_eq!(clients[place].ask(&standby).status, 204);
            }
        }
        let stored = stored(&endpoint);
        assert_eq!(stored.len(), 20, "{stored:?}");
        assert!(stored.is_sorted_by(|a, b| a.0 < b.0) && stored.iter().all(|it| it.1 == 1.0));
        let relayed = nodes.iter().map(|node| count(node, Counter::Relayed)).collect::<Vec<_>>();
        assert!(relayed.contains(&0) && relayed.contains(&20), "{relayed:?}");
        for got in endpoint.got() {
            assert!(!got.head.to_lowercase().contains("x-highlander-pass"), "{}", got.head);
            assert!(!got.head.contains("highlander_"), "{}", got.head);
        }
        for node in nodes {
            node.running.stop();
        }
    });
}

#[test]
fn when_the_leader_goes_the_other_takes_over_and_the_promoted_source_stays() {
    on_both_drivers(|driver| {
        let endpoint = Endpoint::storage();
        let ports = ports(2);
        let nodes = [0, 1].map(|place| start(driver, endpoint.address, &ports, place));
        let start = now_ms() - 60_000;
        for node in &nodes {
            assert_eq!(ask(node, &write("a", 1, Protocol::V1, start, 1.0)).status, 204);
        }
        let leader = leader(&nodes);
        let [one, other] = nodes;
        let (leader, other) = if leader == 0 { (one, other) } else { (other, one) };
        let stopping = std::thread::spawn(move || leader.running.stop());
        let mut clients = [other.connect(), other.connect()];
        for scrape in 1..50 {
            let at = start + scrape * 1000;
            // The heavier one is new, and has to wait for its turn.
            let standby = clients[1].ask(&write("b", 0, Protocol::V1, at + 300, 2.0));
            assert_eq!(standby.status, 204, "{scrape}");
            assert_eq!(
                clients[0].ask(&write("a", 1, Protocol::V1, at, 1.0)).status,
                204,
                "{scrape}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        stopping.join().expect("it stops");
        let mut stored = stored(&endpoint);
        // The first was pushed to both; a leader that has stood still meanwhile knows it from before.
        stored.dedup();
        assert_eq!(stored.len(), 50, "{stored:?}");
        assert!(stored.iter().all(|it| it.1 == 1.0), "{stored:?}");
        other.running.stop();
    });
}

#[test]
fn what_a_node_had_under_way_when_it_lost_the_lead_is_not_sent_over_another_connection() {
    // The first connection answers twice, then keeps silent and breaks off.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let endpoint = Endpoint::start(move |got| {
        if got.body == b"slow" && got.connection == 0 {
            let _ = released.lock().expect("no test panics in here").recv_timeout(PATIENCE);
            return Vec::new();
        }
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
    });
    let ports = ports(2);
    let nodes = [0, 1].map(|place| {
        Proxy::with("epoll", endpoint.address, |cli| {
            node(&ports, place)(cli);
            cli.cores = Some("1".into());
        })
    });
    for node in &nodes {
        assert_eq!(ask(node, &push(1, b"quick")).status, 204);
    }
    let first = leader(&nodes);
    let mut client = nodes[first].connect();
    client.send(&push(1, b"slow"));
    let slow = |endpoint: &Endpoint| endpoint.got().iter().filter(|it| it.body == b"slow").count();
    until("it is under way", || slow(&endpoint) == 1);
    let mut nodes = Vec::from(nodes);
    let going = nodes.remove(first);
    let going = std::thread::spawn(move || going.running.stop());
    until("the other one leads", || count(&nodes[0], Counter::LeadChanges) == 1);
    release.send(()).expect("the endpoint waits");
    assert_eq!(client.answer().status, 503);
    going.join().expect("it stops");
    assert_eq!(slow(&endpoint), 1, "the next leader may have sent what is newer");
    nodes.remove(0).running.stop();
}

#[test]
fn what_the_endpoint_answers_and_heads_of_any_length_pass_by_way_of_another_node() {
    let endpoint = Endpoint::start(|got| match &got.body[..] {
        b"astray" => b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    });
    let ports = ports(2);
    let nodes = [0, 1].map(|place| start("epoll", endpoint.address, &ports, place));
    for node in &nodes {
        assert_eq!(ask(node, &push(1, b"first")).status, 204);
        assert_eq!(ask(node, &push(1, b"astray")).status, 421, "it is not asked again");
        let head = format!("X-Long: {}\r\n", "a".repeat(HEAD_BYTES_MAX - 400));
        let long = String::from_utf8(push(1, b"long")).expect("text");
        let long = long.replacen("\r\n", &format!("\r\n{head}"), 1);
        assert_eq!(ask(node, long.as_bytes()).status, 204);
    }
    let astray = endpoint.got().iter().filter(|got| got.body == b"astray").count();
    assert_eq!(astray, 2);
    // Answers of one that had not begun yet count too.
    assert!(count(&nodes[0], Counter::Relayed) + count(&nodes[1], Counter::Relayed) >= 3);
    for node in nodes {
        node.running.stop();
    }
}

/// What a node with the right key could say, `count` times.
fn say(node: &Proxy, seal: &Seal, stamp: Stamp, notice: &Notice, count: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let to = node.running.cluster_address().expect("it is in a cluster");
    let datagram = seal.seal([7; 24], stamp, &notice.encode()).expect("a short notice");
    for _ in 0..count {
        socket.send_to(&datagram, to).expect("a way on loopback");
    }
}

#[test]
fn a_datagram_that_comes_again_or_from_elsewhere_changes_nothing() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    let nodes = [0, 1].map(|place| start("epoll", endpoint.address, &ports, place));
    let at = now_ms() - 60_000;
    for node in &nodes {
        assert_eq!(ask(node, &write("a", 1, Protocol::V1, at, 1.0)).status, 204);
    }
    let changes = || nodes.iter().map(|node| count(node, Counter::LeadChanges)).sum::<u64>();
    assert_eq!(changes(), 1);
    // A node that claims the group with the highest of terms.
    let claim = Notice::Standings(vec![Standing {
        group: GroupName::default(),
        term: Term(1 << 40),
        leader: Node { address: ([127, 0, 0, 1], 1).into(), generation: 1 },
        listen: ([127, 0, 0, 1], 1).into(),
        epoch: Epoch(0),
        sitting: None,
        low: None,
    }]);
    let stamp = Stamp { process: 1, sequence: 1 };
    for seal in [Seal::without_key("another"), Seal::of_file(KEY, "highlander").expect("a key")] {
        nodes.iter().for_each(|node| say(node, &seal, stamp, &claim, 10));
    }
    for node in &nodes {
        until("they are counted", || count(node, Counter::DatagramsForeign) == 20);
    }
    let ours = Seal::without_key("highlander");
    let ask_views = Notice::Ask(Node::at(([127, 0, 0, 1], 1).into()), None);
    say(&nodes[0], &ours, stamp, &ask_views, 10);
    until("they are counted", || count(&nodes[0], Counter::DatagramsReplayed) == 9);
    assert_eq!(changes(), 1);
    for node in &nodes {
        assert_eq!(ask(node, &write("a", 1, Protocol::V1, at + 1000, 1.0)).status, 204);
    }
    for node in nodes {
        node.running.stop();
    }
}

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[test]
fn a_flood_of_datagrams_does_not_change_who_leads() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    let nodes = [0, 1].map(|place| start("epoll", endpoint.address, &ports, place));
    let at = now_ms() - 60_000;
    for node in &nodes {
        assert_eq!(ask(node, &write("a", 1, Protocol::V1, at, 1.0)).status, 204);
    }
    let targets: Vec<SocketAddr> =
        nodes.iter().filter_map(|node| node.running.cluster_address()).collect();
    let flood = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let begun = Instant::now();
        for number in 0..200_000_usize {
            // A hundred in a millisecond.
            while begun.elapsed().as_micros() < number as u128 * 10 {
                std::thread::sleep(Duration::from_micros(500));
            }
            // Half of them look as if they were ours until they are opened.
            let mut datagram = body(60 + number % 1170);
            datagram[0] = number as u8 % 2;
            let _ = socket.send_to(&datagram, targets[number % 2]);
        }
        begun.elapsed()
    });
    let mut scrape = 1;
    while !flood.is_finished() {
        for node in &nodes {
            let request = write("a", 1, Protocol::V1, at + scrape * 1000, 1.0);
            assert_eq!(node.connect().ask(&request).status, 204, "{scrape}");
        }
        scrape += 1;
    }
    let took = flood.join().expect("it ends");
    let sum = |counter| nodes.iter().map(|node| count(node, counter)).sum::<u64>();
    let foreign = sum(Counter::DatagramsForeign);
    eprintln!("flood: 200000 datagrams in {took:?}, {foreign} of them opened in vain");
    assert!(foreign > 1000 && scrape > 2);
    assert_eq!(sum(Counter::LeadChanges), 1);
    for node in nodes {
        node.running.stop();
    }
}

#[test]
fn what_a_node_adds_for_the_endpoint_is_not_told_to_the_other() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    let first = start("epoll", endpoint.address, &ports, 0);
    let at = now_ms() - 60_000;
    assert_eq!(ask(&first, &write("a", 9, Protocol::V1, at, 1.0)).status, 204);
    // Only the second has a user. What it relays to the first, which has none, must not bear it.
    let second = Proxy::with("epoll", endpoint.address, |cli| {
        node(&ports, 1)(cli);
        cli.remote_user = Some("second".into());
        cli.remote_password = Some(highlander::base::secret::Secret("secret".into()));
    });
    until("the second relays", || {
        count(&second, Counter::Relayed) > 0 || {
            let _ = ask(&second, &write("a", 9, Protocol::V1, at + 1000, 1.0));
            false
        }
    });
    let other = b"POST /w?highlander_source=a&highlander_weight=9 HTTP/1.1\r\nHost: a\r\n\
                  Content-Length: 5\r\n\r\nother";
    assert_eq!(ask(&second, other).status, 204);
    assert_eq!(count(&second, Counter::Forwarded), 0);
    let got = endpoint.got();
    assert!(got.len() >= 3 && got.iter().any(|got| got.body == b"other"));
    for got in got {
        assert!(!got.head.to_lowercase().contains("authorization"), "{}", got.head);
    }
    first.running.stop();
    second.running.stop();
}

/// One for the source `a`, by a node that there is not.
pub fn forged_pass() -> Pass {
    Pass {
        node: ([127, 0, 0, 1], 1).into(),
        client: ([127, 0, 0, 1], 2).into(),
        group: GroupName::default(),
        source: SourceName::Named((*b"a").into()),
        weight: Weight(9),
    }
}

#[test]
fn a_forged_pass_makes_nobody_another_source() {
    let endpoint = Endpoint::storage();
    let ports = ports(1);
    let node = start("epoll", endpoint.address, &ports, 0);
    let at = now_ms() - 60_000;
    assert_eq!(ask(&node, &write("a", 9, Protocol::V1, at, 1.0)).status, 204);
    let pass = forged_pass();
    let now = UnixMillis(now_ms());
    let sealed = |name: &str, now| {
        pass.seal(&Seal::without_key(name).of_passes(), [1; 24], now).expect("it fits")
    };
    let of_datagrams = pass.seal(&Seal::without_key("highlander"), [1; 24], now).expect("it fits");
    let hour = Millis(3_600_000);
    let forged = [
        b"AAAA".to_vec(),
        sealed("another", now),
        sealed("highlander", now.before(hour)),
        sealed("highlander", now.after(hour)),
        of_datagrams,
    ];
    let with = |pass: &[u8], value| {
        let request = write("b", 1, Protocol::V1, at + 1000, value);
        let end = find(&request, b"\r\n").expect("a first line") + 2;
        let line = [b"X-Highlander-Pass: ", pass, b"\r\n"].concat();
        [&request[..end], &line, &request[end..]].concat()
    };
    // Anybody's is a standby's, as what it is: held. One of ours that is too old is nobody's.
    for (number, status) in [204, 204, 503, 503, 204].into_iter().enumerate() {
        let answer = node.connect().ask(&with(&forged[number], 2.0));
        assert_eq!(answer.status, status, "{number}");
    }
    assert_eq!(count(&node, Counter::PassesForged), forged.len() as u64);
    assert_eq!(stored(&endpoint), [(at, 1.0)]);
    // Two of them are none, even if one is good.
    let good = sealed("highlander", now);
    let twice = [&good[..], b"\r\nX-Highlander-Pass: ", &good].concat();
    assert_eq!(node.connect().ask(&with(&twice, 2.0)).status, 204);
    assert_eq!(stored(&endpoint).len(), 1);
    // A good one counts: it is the promoted source that speaks.
    assert_eq!(node.connect().ask(&with(&good, 3.0)).status, 204);
    assert_eq!(stored(&endpoint), [(at, 1.0), (at + 1000, 3.0)]);
    // But not for ever, also where it has counted before.
    let mut connection = node.connect();
    let old = sealed("highlander", UnixMillis(now_ms()).before(Millis(58_500)));
    assert_eq!(connection.ask(&with(&old, 3.0)).status, 204);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(connection.ask(&with(&old, 3.0)).status, 503);
    node.running.stop();
}

#[test]
fn a_relayed_source_is_idle_while_its_connection_is_open_and_lost_when_it_is_closed() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    let nodes = [0, 1].map(|place| start("epoll", endpoint.address, &ports, place));
    let at = now_ms() - 60_000;
    for node in &nodes {
        assert_eq!(ask(node, &write("warm", 0, Protocol::V1, at, 0.0)).status, 204);
    }
    let follower = 1 - leader(&nodes);
    let mut source = nodes[follower].connect();
    let mut standby = nodes[follower].connect();
    let promotions = || nodes.iter().map(|node| node.running.promotions()).sum::<u64>();
    until("the heavier one has the seat", || {
        let at = now_ms();
        assert_eq!(source.ask(&write("a", 9, Protocol::V1, at, 1.0)).status, 204);
        assert_eq!(standby.ask(&write("b", 1, Protocol::V1, at, 2.0)).status, 204);
        std::thread::sleep(Duration::from_millis(100));
        stored(&endpoint).last().is_some_and(|it| it.1 == 1.0)
    });
    let before = promotions();
    // Three times the expiry of one without a connection.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(promotions(), before);
    drop(source);
    until("it is lost", || promotions() > before);
    for node in nodes {
        node.running.stop();
    }
}

#[test]
fn mirrored_the_one_that_takes_the_lead_has_what_a_dead_source_and_its_standby_pushed() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    let nodes = [0, 1].map(|place| mirror(endpoint.address, &ports, place));
    let at = now_ms() - 60_000;
    let push = |nodes: &[Proxy], source: &str, scrape: i64, value| {
        for node in nodes {
            let request = write(source, u64::from(source == "a"), Protocol::V1, at + scrape, value);
            assert_eq!(ask(node, &request).status, 204);
        }
    };
    for scrape in 0..10 {
        push(&nodes, "a", scrape * 1000, 1.0);
        push(&nodes, "b", scrape * 1000 + 300, 2.0);
    }
    assert!(nodes.iter().all(|node| count(node, Counter::Relayed) == 0));
    let held = nodes.iter().map(|node| count(node, Counter::Held)).collect::<Vec<_>>();
    let leader = held.iter().position(|held| *held == 10).expect("it forwards the other ten");
    assert_eq!(held[1 - leader], 20);
    // The promoted source is dead, and so is the node that led, before it has noticed.
    let mut nodes = Vec::from(nodes);
    nodes.remove(leader).running.stop();
    for scrape in 10..15 {
        push(&nodes, "b", scrape * 1000 + 300, 2.0);
    }
    await_hand_overs(&nodes[0], 2);
    let mut stored = stored(&endpoint);
    stored.sort_by_key(|it| it.0);
    stored.dedup();
    let expected = (0..10).map(|scrape| (at + scrape * 1000, 1.0));
    let expected = expected.chain((9..15).map(|scrape| (at + scrape * 1000 + 300, 2.0)));
    assert_eq!(stored, expected.collect::<Vec<_>>());
    nodes.remove(0).running.stop();
}

#[test]
fn a_node_that_nobody_came_to_for_a_while_after_its_start_does_not_lead_what_another_leads() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    // The one that would lead first comes later, too.
    for later in [0, 1] {
        let first = start("epoll", endpoint.address, &ports, 1 - later);
        let at = now_ms() - 60_000;
        assert_eq!(ask(&first, &write("a", 1, Protocol::V1, at, 1.0)).status, 204);
        let second = start("epoll", endpoint.address, &ports, later);
        // Ticks in which its seat, which nobody has come to, is forgotten.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(ask(&second, &write("a", 1, Protocol::V1, at + 1000, 1.0)).status, 204);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(ask(&second, &write("a", 1, Protocol::V1, at + 2000, 1.0)).status, 204);
        assert_eq!(count(&second, Counter::LeadChanges), 0, "{later}");
        assert_eq!(count(&first, Counter::LeadChanges), 1, "{later}");
        assert_eq!(count(&second, Counter::Relayed), 2, "{later}");
        first.running.stop();
        second.running.stop();
    }
}

#[test]
fn mirrored_a_source_that_dies_with_the_leader_is_lost_as_soon_as_its_silence_says() {
    let endpoint = Endpoint::storage();
    let ports = ports(2);
    let mut nodes = Vec::from([0, 1].map(|place| mirror(endpoint.address, &ports, place)));
    let at = now_ms() - 60_000;
    for node in &nodes {
        assert_eq!(ask(node, &write("a", 1, Protocol::V1, at, 1.0)).status, 204);
    }
    // It is patient with one that is new and has connections.
    let mut promoted: Vec<Client> = nodes.iter().map(Proxy::connect).collect();
    let mut standby: Vec<Client> = nodes.iter().map(Proxy::connect).collect();
    for scrape in 1..30 {
        for place in [0, 1] {
            let of_a = write("a", 1, Protocol::V1, at + scrape * 1000, 1.0);
            assert_eq!(promoted[place].ask(&of_a).status, 204);
            let of_b = write("b", 0, Protocol::V1, at + scrape * 1000 + 300, 2.0);
            assert_eq!(standby[place].ask(&of_b).status, 204);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let held = nodes.iter().map(|node| count(node, Counter::Held)).collect::<Vec<_>>();
    let leader = usize::from(held[0] > held[1]);
    drop(promoted);
    nodes.remove(leader).running.stop();
    let begun = Instant::now();
    for scrape in 30.. {
        let request = write("b", 0, Protocol::V1, at + scrape * 1000 + 300, 2.0);
        assert_eq!(standby[1 - leader].ask(&request).status, 204);
        if stored(&endpoint).iter().any(|it| it.1 == 2.0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "the standby is not promoted");
        std::thread::sleep(Duration::from_millis(100));
    }
    nodes.remove(0).running.stop();
}

#[test]
fn a_node_that_relays_waits_for_the_leader_longer_than_that_for_the_endpoint() {
    let slow = Endpoint::start(|_| {
        std::thread::sleep(Duration::from_millis(1500));
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
    });
    let ports = ports(2);
    let score = |place: &usize| {
        let address = SocketAddr::from(([127, 0, 0, 1], ports[*place]));
        (GroupKey::of(&GroupName::default()).score(address), address)
    };
    let first = [0, 1].into_iter().max_by_key(score).expect("there are two");
    let nodes = [0, 1].map(|place| {
        Proxy::with("epoll", slow.address, |cli| {
            node(&ports, place)(cli);
            cli.remote_timeout = Some(if place == first { "5s" } else { "1s" }.into());
        })
    });
    let at = now_ms() - 60_000;
    assert_eq!(ask(&nodes[first], &write("a", 1, Protocol::V1, at, 1.0)).status, 204);
    let relayed = ask(&nodes[1 - first], &write("a", 1, Protocol::V1, at + 1000, 1.0));
    assert_eq!(relayed.status, 204, "{relayed:?}");
    let of_relaying = |counter| count(&nodes[1 - first], counter);
    let counted = (of_relaying(Counter::Relayed), of_relaying(Counter::RelayRetried));
    assert_eq!(counted, (1, 0));
    for node in nodes {
        node.running.stop();
    }
}
