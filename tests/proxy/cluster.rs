//! Nodes of one cluster, seen from outside: whichever node a source reaches, one voice reaches the
//! endpoint.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use highlander::cli::Cli;
use highlander::shared::metrics::Counter;
use highlander::wire::remote_write::protocol::Protocol;

use crate::handover::{now_ms, stored, write};
use crate::support::*;

/// Ports that are free now, one for each node's datagrams.
fn ports(count: usize) -> Vec<u16> {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let sockets: Vec<UdpSocket> = (0..count).map(|_| bind()).collect();
    sockets.iter().map(|it| it.local_addr().expect("a bound socket").port()).collect()
}

/// Makes a node of a proxy: number `place` of those with these ports.
fn node(ports: &[u16], place: usize) -> impl Fn(&mut Cli) {
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

fn count(node: &Proxy, counter: Counter) -> u64 {
    node.running.count(counter)
}

/// Asks until it is taken: a node that has just begun answers 503.
fn ask(node: &Proxy, request: &[u8]) -> Answer {
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
        let leader = nodes.iter().position(|node| count(node, Counter::Relayed) == 0);
        let leader = leader.expect("one of them leads");
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
        let stored = stored(&endpoint);
        // The first was pushed to both.
        assert_eq!(stored.len(), 51, "{stored:?}");
        assert!(stored.iter().all(|it| it.1 == 1.0), "{stored:?}");
        other.running.stop();
    });
}
