//! The part of the configuration that says with whom this node is a cluster, and how.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};

use super::etcd::etcd;
use super::faults::Faults;
use super::named::read_text;
use super::url::{is_host, port, shown};
use crate::base::limits::SETTLE_MAX;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::cli::Cli;
use crate::io::etcd::client::EtcdConfig;
use crate::io::seating::Mode;
use crate::wire::cluster::seal::Seal;

/// With whom this node is a cluster, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Where datagrams are received.
    pub bind: SocketAddr,
    /// Where others reach this node. A port of 0 stands for the one that was bound.
    pub advertise: SocketAddr,
    /// The configured peers, host and port.
    pub peers: Vec<(String, u16)>,
    /// The name of the cluster.
    pub name: String,
    /// What stands in the key file, `None` without one.
    pub keys: Option<Secret>,
    /// How many nodes there are, if leases come from a majority of them.
    pub size: Option<usize>,
    /// The etcd, if leases come from one.
    pub etcd: Option<EtcdConfig>,
    /// What becomes of requests if another node leads.
    pub mode: Mode,
    /// How long the node waits for its peers when it begins.
    pub settle_max: Millis,
}

impl Cluster {
    /// The seal of its datagrams.
    pub fn seal(&self) -> Seal {
        let without = || Seal::without_key(&self.name);
        let Some(Secret(keys)) = &self.keys else { return without() };
        // It was read once before.
        Seal::of_file(keys, &self.name).unwrap_or_else(|_| without())
    }
}

const PORT: u16 = 6746;

/// Reads the flags. `None`: the node is alone.
pub fn cluster(cli: &Cli, faults: &mut Faults) -> Option<Cluster> {
    if cli.cluster_bind.is_none() && cli.cluster_connect.is_none() {
        for (flag, is_given) in [
            ("--cluster-advertise", cli.cluster_advertise.is_some()),
            ("--cluster-name", cli.cluster_name.is_some()),
            ("--cluster-key-file", cli.cluster_key_file.is_some()),
            ("--cluster-insecure", cli.cluster_insecure),
            ("--cluster-size", cli.cluster_size.is_some()),
            ("--cluster-lease", cli.cluster_lease.is_some()),
            ("--cluster-lease-ca-file", cli.cluster_lease_ca_file.is_some()),
            ("--cluster-lease-cert-file", cli.cluster_lease_cert_file.is_some()),
            ("--cluster-lease-key-file", cli.cluster_lease_key_file.is_some()),
            ("--cluster-lease-user", cli.cluster_lease_user.is_some()),
            ("--cluster-lease-password-file", cli.cluster_lease_password_file.is_some()),
            ("--cluster-mode", cli.cluster_mode.is_some()),
            ("--cluster-settle", cli.cluster_settle.is_some()),
        ] {
            if is_given {
                faults.add(flag, "needs --cluster-bind or --cluster-connect");
            }
        }
        return None;
    }
    let bind = bind(cli.cluster_bind.as_deref().unwrap_or("0.0.0.0"), faults);
    let peers = peers(cli.cluster_connect.as_deref().unwrap_or_default(), faults);
    let name = cli.cluster_name.clone().unwrap_or_else(|| "highlander".to_owned());
    if name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.add("--cluster-name", "is not up to 64 visible ASCII characters");
    }
    let keys = keys(cli, &name, bind, faults);
    let size = faults.number("--cluster-size", &cli.cluster_size);
    if size.is_some_and(|size| size < 3) {
        faults.add("--cluster-size", "is less than 3: two nodes can't outvote each other");
    }
    let etcd = etcd(cli, faults);
    if size.is_some() && etcd.is_some() {
        faults.add("--cluster-size", "excludes --cluster-lease: give one of them");
    }
    let mode = faults.choice(
        "--cluster-mode",
        &cli.cluster_mode,
        &[("relay", Mode::Relay), ("mirror", Mode::Mirror)],
    );
    let settle_max = faults.duration("--cluster-settle", &cli.cluster_settle, SETTLE_MAX.0);
    let advertise = advertise(cli, bind, &peers, faults);
    Some(Cluster { bind, advertise, peers, name, keys, size, etcd, mode, settle_max })
}

/// The flag that made this node a part of a cluster.
fn given(cli: &Cli) -> &'static str {
    if cli.cluster_bind.is_some() { "--cluster-bind" } else { "--cluster-connect" }
}

/// Host and port, `host`, `host:port` or `[v6]:port`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, digits)) if !text.ends_with(']') => (host, port(digits)?),
        _ => (text, PORT),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    is_host(host).then(|| (bare.to_owned(), port))
}

fn bind(text: &str, faults: &mut Faults) -> SocketAddr {
    // Go's way to say all addresses.
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    resolved(&whole).unwrap_or_else(|why| {
        faults.add("--cluster-bind", format_args!("'{}' {why}", shown(text)));
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT)
    })
}

fn resolved(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_and_port(text).ok_or("is no address")?;
    let mut found = (host.as_str(), port).to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "has no address".to_owned())
}

fn peers(text: &str, faults: &mut Faults) -> Vec<(String, u16)> {
    // Before it is split: a password may hold a comma.
    let may_be_shown = shown(text);
    if may_be_shown != text {
        faults.add("--cluster-connect", format_args!("'{may_be_shown}' is no list of host:port"));
        return Vec::new();
    }
    let mut peers = Vec::new();
    for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match host_and_port(text) {
            Some(peer) if peer.1 > 0 => peers.push(peer),
            Some(_) => {
                faults.add("--cluster-connect", format_args!("'{text}' has no valid port"));
            }
            None => faults.add("--cluster-connect", format_args!("'{text}' is no host and port")),
        }
    }
    peers
}

fn keys(cli: &Cli, name: &str, bind: SocketAddr, faults: &mut Faults) -> Option<Secret> {
    let Some(path) = &cli.cluster_key_file else {
        if !bind.ip().is_loopback() && !cli.cluster_insecure {
            let why = "is no loopback address: anybody could speak as a node. \
                       Give --cluster-key-file, or --cluster-insecure";
            faults.add(given(cli), format_args!("'{bind}' {why}"));
        }
        return None;
    };
    if cli.cluster_insecure {
        faults.add("--cluster-insecure", "excludes --cluster-key-file: give one of them");
    }
    let text = match read_text(path.as_ref()) {
        Ok(text) => text,
        Err(error) => {
            faults.add("--cluster-key-file", format_args!("'{path}': {error}"));
            return None;
        }
    };
    if let Err(error) = Seal::of_file(&text, name) {
        faults.add("--cluster-key-file", format_args!("'{path}' {error}"));
    }
    Some(Secret(text))
}

/// Where others reach this node: as given, else the bound address, else the one from which the first
/// peer, or the way out, is reached.
fn advertise(
    cli: &Cli,
    bind: SocketAddr,
    peers: &[(String, u16)],
    faults: &mut Faults,
) -> SocketAddr {
    if let Some(text) = &cli.cluster_advertise {
        return resolved(text).unwrap_or_else(|why| {
            faults.add("--cluster-advertise", format_args!("'{}' {why}", shown(text)));
            bind
        });
    }
    if !bind.ip().is_unspecified() {
        return bind;
    }
    let of_peers = peers.iter().find_map(|(host, port)| way_to(host, *port));
    // Nothing is sent there: it is asked from where it would be.
    match of_peers.or_else(|| way_to("192.0.2.1", PORT)) {
        Some(ip) => SocketAddr::new(ip, bind.port()),
        None => {
            let why = "needs --cluster-advertise: there is no way to any peer yet";
            faults.add(given(cli), why);
            bind
        }
    }
}

fn way_to(host: &str, port: u16) -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((host, port)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
