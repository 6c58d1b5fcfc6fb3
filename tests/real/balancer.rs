//! An haproxy before the nodes, as an operator has one: each request goes to the next node, one that
//! cannot be connected to is left out, and what a node answers is in its log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

use crate::program::{Program, free_port};

/// A running haproxy.
pub struct Balancer {
    program: Program,
    address: SocketAddr,
}

impl Balancer {
    /// Starts it before these nodes.
    pub fn start(dir: &Path, nodes: &[SocketAddr]) -> Balancer {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut config = format!(
            "global\n  log stdout format raw local0\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option redispatch 1\n  \
             retries 3\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
             frontend sources\n  bind {address}\n  default_backend nodes\n\
             backend nodes\n  balance roundrobin\n  \
             default-server check inter 500ms fall 2 rise 2\n"
        );
        for (number, node) in nodes.iter().enumerate() {
            writeln!(config, "  server node-{number} {node}").expect("a string");
        }
        let file = dir.join("balancer.cfg");
        fs::write(&file, config).expect("a configuration file");
        let args = ["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
        let binary = Path::new("/usr/sbin/haproxy");
        let mut program = Program::start(dir, "balancer", binary, &args);
        program.await_ready(|| TcpStream::connect(address).is_ok());
        Balancer { program, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests were answered how: by status, how the session ended, and by whom.
    pub fn answers(&self) -> BTreeMap<String, usize> {
        let mut answers = BTreeMap::new();
        for line in self.program.log().lines().filter(|line| line.contains(" sources ")) {
            let words: Vec<&str> = line.split(' ').collect();
            // An empty connection is the one of our own that asked whether it listens.
            let (Some(status), Some(end)) = (words.get(5), words.get(9)) else { continue };
            *answers.entry(format!("{status} {end}")).or_default() += 1;
        }
        answers
    }
}
