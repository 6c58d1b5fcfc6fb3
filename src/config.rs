//! What the program runs with, and every fault of the command line that led there, at once.
//!
//! Parsed, not validated: a `Config` cannot hold a zero tick or half a password.

mod cluster;
mod etcd;
mod faults;
mod tls;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use base64::Engine as _;

use crate::base::limits::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, DECODED_BYTES_MAX, HOLD_BYTES_MAX, HOLD_WINDOW,
    LARGE_BODIES_BYTES_MAX,
};
use crate::base::time::Millis;
use crate::cli::Cli;
use crate::io::driver::Choice;
use crate::io::log::{Format, Level};
use crate::logic::expiry::Expiry;
use crate::logic::source::Identity;
use crate::wire::http::target::Mount;

pub use cluster::Cluster;
use faults::Faults;
pub use faults::Secret;
pub use tls::{TlsSetting, TlsSettingFault};

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// As it was written, for the log.
    pub url: String,
    /// Name or address, without port.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they go into `Host`.
    pub authority: String,
    /// What is put around each target.
    pub mount: Mount,
    /// The `Authorization` header, if the endpoint wants one of ours.
    pub authorization: Option<Secret>,
    /// How TLS is spoken with it: there if and only if the URL is https.
    pub tls: Option<TlsSetting>,
}

/// What the program runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; at least one.
    pub listen: Vec<SocketAddr>,
    /// Where requests go.
    pub remote: Remote,
    /// The longest wait for the endpoint.
    pub remote_timeout: Millis,
    /// How often silence is looked at.
    pub health_tick: Millis,
    /// When a source is lost.
    pub expiry: Expiry,
    /// The name of this instance.
    pub instance_id: String,
    /// What makes a source.
    pub identity: Identity,
    /// The largest body.
    pub body_bytes_max: usize,
    /// How far back requests are kept for a hand-over.
    pub hold_window: Millis,
    /// What they may take.
    pub hold_bytes_max: usize,
    /// The largest message that a body may decode to.
    pub decoded_bytes_max: usize,
    /// How far behind a promoted source may be, `None` for any.
    pub lag_max: Option<Millis>,
    /// The file that keeps who is promoted.
    pub state: Option<PathBuf>,
    /// The most connections.
    pub connections_max: usize,
    /// How many cores, `None` for all.
    pub cores: Option<usize>,
    /// Which driver.
    pub driver: Choice,
    /// The longest wait at the end.
    pub shutdown_timeout: Millis,
    /// How log lines are written.
    pub log_format: Format,
    /// Which log lines are written.
    pub log_level: Level,
    /// The other nodes, `None` for none.
    pub cluster: Option<Cluster>,
    /// What is unwise, to be said once at the start.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads a command line. On failure every fault is in the list, in the words of its flag.
    pub fn from_cli(cli: &Cli) -> Result<Config, Vec<String>> {
        let mut faults = Faults::default();
        let mut warnings = Vec::new();
        let authorization = authorization(cli, &mut faults, &mut warnings);
        let config = Config {
            listen: listen(&cli.listen, &mut faults),
            remote: remote(cli, authorization, &mut faults, &mut warnings),
            remote_timeout: faults.duration("--remote-timeout", &cli.remote_timeout, 30_000),
            health_tick: faults.duration("--health-tick", &cli.health_tick, 1000),
            expiry: Expiry {
                expiry: faults.duration("--health-expiry", &cli.health_expiry, 5000),
                expiry_max: faults.duration("--health-expiry-max", &cli.health_expiry_max, 90_000),
            },
            instance_id: instance_id(cli.instance_id.as_deref(), &mut faults),
            identity: faults.choice(
                "--source-identity",
                &cli.source_identity,
                &[("auto", Identity::Auto), ("connection", Identity::Connection)],
            ),
            body_bytes_max: faults.size("--max-body", &cli.max_body, BODY_BYTES_MAX),
            hold_window: faults.duration("--hold-window", &cli.hold_window, HOLD_WINDOW.0),
            hold_bytes_max: faults.size("--hold-memory", &cli.hold_memory, HOLD_BYTES_MAX),
            decoded_bytes_max: faults.size("--max-decoded", &cli.max_decoded, DECODED_BYTES_MAX),
            lag_max: cli
                .max_lag
                .as_ref()
                .map(|lag| faults.duration("--max-lag", &Some(lag.clone()), 60_000)),
            state: cli.state.as_ref().map(PathBuf::from),
            connections_max: faults
                .number("--max-connections", &cli.max_connections)
                .unwrap_or(CONNECTIONS_MAX),
            cores: faults.number("--cores", &cli.cores),
            driver: faults.choice(
                "--driver",
                &cli.driver,
                &[("auto", Choice::Auto), ("uring", Choice::Uring), ("epoll", Choice::Epoll)],
            ),
            shutdown_timeout: faults.duration("--shutdown-timeout", &cli.shutdown_timeout, 30_000),
            log_format: faults.choice(
                "--log-format",
                &cli.log_format,
                &[("text", Format::Text), ("json", Format::Json)],
            ),
            log_level: faults.choice(
                "--log-level",
                &cli.log_level,
                &[
                    ("info", Level::Info),
                    ("error", Level::Error),
                    ("warn", Level::Warn),
                    ("debug", Level::Debug),
                ],
            ),
            cluster: cluster::cluster(cli, &mut faults),
            warnings,
        };
        if config.body_bytes_max > LARGE_BODIES_BYTES_MAX {
            let max = LARGE_BODIES_BYTES_MAX >> 20;
            faults.add("--max-body", format_args!("is more than the {max}MiB for all bodies"));
        }
        if config.remote_timeout < Millis(1000) && faults.are_none() {
            // Deadlines are looked at ten times a second.
            faults.add("--remote-timeout", "is shorter than 1s");
        }
        if faults.are_none() { Ok(config) } else { Err(faults.into_all()) }
    }
}

fn listen(texts: &[String], faults: &mut Faults) -> Vec<SocketAddr> {
    let default = ["0.0.0.0:9091".to_owned()];
    let texts = if texts.is_empty() { &default[..] } else { texts };
    let mut found = Vec::new();
    for text in texts {
        // Go's way to say all addresses.
        let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
        match whole.to_socket_addrs().map(|mut addresses| addresses.next()) {
            Ok(Some(address)) if address.port() != 0 && found.contains(&address) => {
                faults.add("--listen", format_args!("'{text}' is given twice"));
            }
            Ok(Some(address)) => found.push(address),
            Ok(None) => faults.add("--listen", format_args!("'{text}' has no address")),
            Err(error) => faults.add("--listen", format_args!("'{text}': {error}")),
        }
    }
    found
}

fn remote(
    cli: &Cli,
    authorization: Option<Secret>,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Remote {
    let text = cli.remote.as_deref().unwrap_or("http://localhost:9090");
    match parse_remote(text) {
        Ok(remote) => {
            let tls = tls::tls(cli, remote.tls.is_some(), &remote.host, faults, warnings);
            Remote { authorization, tls, ..remote }
        }
        Err(what) => {
            faults.add("--remote", format_args!("'{}' {what}", without_userinfo(text)));
            Remote {
                url: String::new(),
                host: String::new(),
                port: 0,
                authority: String::new(),
                mount: Mount::default(),
                authorization,
                tls: None,
            }
        }
    }
}

fn parse_remote(text: &str) -> Result<Remote, &'static str> {
    let after_scheme = |scheme: &str| {
        let (start, after) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(after)
    };
    let (after, default_port, tls) = match (after_scheme("http://"), after_scheme("https://")) {
        (Some(after), _) => (after, "80", None),
        (None, Some(after)) => (after, "443", Some(TlsSetting::default())),
        (None, None) => return Err("does not begin with http:// or https://"),
    };
    if !after.bytes().all(|byte| byte.is_ascii_graphic()) || after.contains('#') {
        return Err("holds bytes that a URL may not, or a fragment");
    }
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    if authority.contains('@') {
        return Err("holds credentials: use --remote-user and --remote-password-file");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, default_port),
    };
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    if host.is_empty() || is_bare_ipv6 {
        return Err("has no host, or an IPv6 address without brackets");
    }
    let port = port.parse().ok().filter(|port| *port > 0).ok_or("has no valid port")?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let prefix = path.trim_end_matches('/').as_bytes().to_vec();
    Ok(Remote {
        url: text.to_owned(),
        host: host.to_owned(),
        port,
        authority: authority.to_owned(),
        mount: Mount { prefix, query: query.as_bytes().to_vec() },
        authorization: None,
        tls,
    })
}

/// A URL as it may be shown.
fn without_userinfo(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}***{}", &text[..scheme + 3], &text[at..])
        }
        _ => text.to_owned(),
    }
}

fn authorization(cli: &Cli, faults: &mut Faults, warnings: &mut Vec<String>) -> Option<Secret> {
    let password = match (&cli.remote_password, &cli.remote_password_file) {
        (Some(_), Some(_)) => {
            faults.add("--remote-password", "and --remote-password-file exclude each other");
            return None;
        }
        (Some(password), None) => {
            warnings.push(
                "--remote-password is visible to everyone who may run ps: \
                 use --remote-password-file"
                    .to_owned(),
            );
            Some(password.clone())
        }
        (None, Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                faults.add("--remote-password-file", format_args!("'{file}': {error}"));
                return None;
            }
        },
        (None, None) => None,
    };
    match (&cli.remote_user, password) {
        (None, None) => None,
        (None, Some(_)) => {
            faults.add("--remote-password", "needs --remote-user");
            None
        }
        (Some(user), _) if user.contains(':') => {
            faults.add("--remote-user", "holds a colon, which basic auth can't carry");
            None
        }
        (Some(user), password) => {
            let pair = format!("{user}:{}", password.unwrap_or_default());
            let coded = base64::engine::general_purpose::STANDARD.encode(pair);
            Some(Secret(format!("Basic {coded}")))
        }
    }
}

fn instance_id(text: Option<&str>, faults: &mut Faults) -> String {
    let Some(text) = text else { return random_id() };
    let is_header_value = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if text.is_empty() || text.len() > 128 || !is_header_value || text.trim() != text {
        faults.add("--instance-id", "is not 1 to 128 visible ASCII characters");
    }
    text.to_owned()
}

fn random_id() -> String {
    let mut bytes = [0; 8];
    // Before the kernel's generator is ready, at boot, the process id still tells nodes apart.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes = u64::from(std::process::id()).to_be_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
