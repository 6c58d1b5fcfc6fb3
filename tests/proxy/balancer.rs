//! An haproxy before the proxy, as an operator has one: in each of the ways in which it says for whom it
//! speaks, two clients behind it are two sources.
//!
//! `tests/run` installs haproxy; without it the test fails.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::arrival::{bodies, connect_from};
use crate::support::*;

/// A running haproxy, ended with the test.
struct Balancer(Child);

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Balancer {
    /// Starts it before `proxy`: with this in the section of its servers, this after the server.
    fn start(name: &str, proxy: SocketAddr, section: &str, server: &str) -> (Balancer, SocketAddr) {
        let address = Endpoint::nowhere().address;
        let config = format!(
            "defaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen sources\n  bind {address}\n  {section}\n  server one {proxy} {server}\n"
        );
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("balancer-{name}.cfg"));
        fs::write(&file, config).expect("a new file");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("tests/run installs haproxy");
        until("it listens", || TcpStream::connect(address).is_ok());
        (Balancer(child), address)
    }
}

#[test]
fn behind_an_haproxy_two_clients_are_two_sources() {
    let ways = [
        ("line", "mode tcp", "send-proxy"),
        ("block", "mode tcp", "send-proxy-v2"),
        ("block-http", "mode http", "send-proxy-v2"),
        ("forwarded", "mode http\n  option forwardfor\n  http-reuse always", ""),
        ("both", "mode http\n  option forwardfor\n  http-reuse always", "send-proxy-v2"),
    ];
    on_both_drivers(|driver| {
        for (name, section, server) in ways {
            let endpoint = Endpoint::storage();
            let proxy = Proxy::with(driver, endpoint.address, |cli| {
                cli.trusted_proxies = vec!["127.0.0.1".into()];
            });
            let (_balancer, address) = Balancer::start(name, proxy.address, section, server);
            let mut one = connect_from("127.0.0.3", address);
            let mut other = connect_from("127.0.0.4", address);
            for _ in 0..5 {
                for (client, body) in [(&mut one, "one"), (&mut other, "other")] {
                    assert_eq!(client.ask(&push(5, body.as_bytes())).status, 204, "{name}");
                }
            }
            assert_eq!(bodies(&endpoint), ["one"; 5], "{name}");
        }
    });
}

#[test]
fn behind_an_haproxy_that_is_not_trusted_they_are_one() {
    let endpoint = Endpoint::storage();
    let proxy = Proxy::start("epoll", endpoint.address);
    let section = "mode http\n  option forwardfor";
    let (_balancer, address) = Balancer::start("untrusted", proxy.address, section, "");
    for ip in ["127.0.0.3", "127.0.0.4"] {
        assert_eq!(connect_from(ip, address).ask(&push(5, b"x")).status, 204);
    }
    assert_eq!(endpoint.got().len(), 2);
}
