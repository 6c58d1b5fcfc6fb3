//! What the program runs with, and every fault of the command line and the file that led there, at
//! once.
//!
//! Parsed, not validated: a `Config` cannot hold a zero tick or half a password.

mod authorization;
mod clash;
mod cluster;
pub mod endpoint;
mod etcd;
mod faults;
pub mod file;
mod headers;
mod keys;
mod named;
mod places;
pub mod queue;
mod section;
mod sources;
mod stanza;
pub mod tls;
mod url;
pub mod web;
mod yaml;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use crate::base::limits::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, CORES_LIMIT, DECODED_BYTES_MAX, GROUPS_LIMIT, GROUPS_MAX,
    HOLD_BYTES_MAX, HOLD_WINDOW, LARGE_BODIES_BYTES_MAX, SOURCES_LIMIT, SOURCES_MAX,
};
use crate::base::time::Millis;
use crate::cli::Cli;
use crate::io::driver::Choice;
use crate::io::log::{Format, Level};
use crate::logic::expiry::Expiry;
use crate::logic::recognition::Recognition;
use crate::wire::http::target::Place;

pub use cluster::Cluster;
use endpoint::{Endpoint, TIMEOUT};
use faults::Faults;
use file::File;
use queue::Delivery;
pub use tls::{TlsSetting, TlsSettingFault};
use url::{Url, UrlFault, shown};

/// Where metrics and health are shown, and a node is steered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address.
    pub address: SocketAddr,
    /// The file that says who may reach it, see [`web`]; without one everybody may.
    pub web: Option<PathBuf>,
}

/// What the program runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; at least one.
    pub listen: Vec<SocketAddr>,
    /// The file that says who may push, see [`web`]; without one everybody may.
    pub web: Option<PathBuf>,
    /// Where metrics and health are shown, `None` for nowhere.
    pub admin: Option<Admin>,
    /// Where requests go; at least one.
    pub endpoints: Vec<Endpoint>,
    /// How often silence is looked at.
    pub health_tick: Millis,
    /// When a source is lost.
    pub expiry: Expiry,
    /// The name of this instance.
    pub instance_id: String,
    /// How sources are recognised.
    pub recognition: Recognition,
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
    /// The most groups.
    pub groups_max: usize,
    /// The most sources of each.
    pub sources_max: usize,
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
    /// Reads a command line, and the file that it names, of which it overrules what it says itself.
    /// On failure every fault is in the list, in the words of its flag, or with its line.
    pub fn from_cli(flags: &Cli) -> Result<Config, Vec<String>> {
        Config::read(flags, random_id)
    }

    /// The same once more, while the program runs with this one. A name that nobody has chosen stays.
    pub fn read_again(&self, flags: &Cli) -> Result<Config, Vec<String>> {
        Config::read(flags, || self.instance_id.clone())
    }

    fn read(flags: &Cli, unnamed: impl FnOnce() -> String) -> Result<Config, Vec<String>> {
        let mut faults = Faults::of_file(flags.config.as_deref().unwrap_or_default());
        let mut warnings = Vec::new();
        let file = flags.config.as_deref().and_then(|path| File::open(path, &mut faults));
        let mut cli = flags.clone();
        if let Some(file) = &file {
            file.fill(&mut cli, &mut faults);
        }
        let cli = &cli;
        let roster = file.as_ref().map(|file| file.roster(&mut faults)).unwrap_or_default();
        let config = Config {
            listen: listen(&cli.listen, &mut faults),
            web: web_config(cli, &mut faults, &mut warnings),
            admin: admin(cli, &mut faults, &mut warnings),
            endpoints: endpoints(flags, cli, file.as_ref(), &mut faults, &mut warnings),
            health_tick: faults.duration("--health-tick", &cli.health_tick, 1000),
            expiry: Expiry {
                expiry: faults.duration("--health-expiry", &cli.health_expiry, 5000),
                expiry_max: faults.duration("--health-expiry-max", &cli.health_expiry_max, 90_000),
            },
            instance_id: instance_id(cli.instance_id.as_deref(), unnamed, &mut faults),
            recognition: sources::recognition(cli, roster, &mut faults),
            body_bytes_max: faults.size("--max-body", &cli.max_body, BODY_BYTES_MAX),
            hold_window: faults.duration("--hold-window", &cli.hold_window, HOLD_WINDOW.0),
            hold_bytes_max: faults.size("--hold-memory", &cli.hold_memory, HOLD_BYTES_MAX),
            decoded_bytes_max: faults.size("--max-decoded", &cli.max_decoded, DECODED_BYTES_MAX),
            lag_max: cli
                .max_lag
                .as_ref()
                .map(|lag| faults.duration("--max-lag", &Some(lag.clone()), 60_000)),
            state: places::state(cli.state.as_deref(), &mut faults),
            connections_max: faults
                .number("--max-connections", &cli.max_connections)
                .unwrap_or(CONNECTIONS_MAX),
            groups_max: faults.number_to(
                "--max-groups",
                &cli.max_groups,
                (GROUPS_MAX, GROUPS_LIMIT),
            ),
            sources_max: faults.number_to(
                "--max-sources",
                &cli.max_sources,
                (SOURCES_MAX, SOURCES_LIMIT),
            ),
            cores: cli
                .cores
                .as_ref()
                .map(|_| faults.number_to("--cores", &cli.cores, (1, CORES_LIMIT))),
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
        let deliveries = config.endpoints.iter().map(|endpoint| &endpoint.delivery);
        queue::refuse_small(deliveries, config.body_bytes_max, &mut faults);
        let has_no_key = config.cluster.as_ref().is_some_and(|cluster| cluster.keys.is_none());
        if config.web.is_some() && has_no_key {
            let what =
                "needs --cluster-key-file in a cluster: without a key anybody can speak as a node";
            faults.add("--web-config", what);
        }
        if config.cluster.is_some() && config.groups_max > GROUPS_MAX {
            let what = format_args!("is more than the {GROUPS_MAX} that a cluster can have");
            faults.add("--max-groups", what);
        }
        let is_of_file = flags.remote.is_none() && faults.is_in_file("remote_write");
        let url_of = |index| match is_of_file {
            true => format!("remote_write[{index}].url"),
            false => "--remote".to_owned(),
        };
        refuse_clashes(&config, url_of, &mut faults);
        if faults.are_none() { Ok(config) } else { Err(faults.into_all()) }
    }

    /// Where requests go, as it may be shown, each with what becomes of them there if that is not the
    /// usual.
    pub fn remotes(&self) -> impl Iterator<Item = String> {
        self.endpoints.iter().map(|endpoint| match &endpoint.delivery {
            Delivery::Direct => endpoint.url.clone(),
            Delivery::Queued(queue) => {
                format!("{} (queued in {})", endpoint.url, queue.dir.display())
            }
        })
    }
}

fn listen(texts: &[String], faults: &mut Faults) -> Vec<SocketAddr> {
    let default = ["0.0.0.0:9091".to_owned()];
    let texts = if texts.is_empty() { &default[..] } else { texts };
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match address(text) {
            Ok(address) => {
                match found.iter().find(|before| clash::overlap(**before, address)) {
                    Some(same) if *same == address => {
                        faults.add_item("--listen", index, format_args!("'{text}' is given twice"));
                    }
                    Some(other) => {
                        let what = format_args!("'{text}' and '{other}' have an address in common");
                        faults.add_item("--listen", index, what);
                    }
                    None => {}
                }
                found.push(address);
            }
            Err(fault) => faults.add_item("--listen", index, fault),
        }
    }
    found
}

/// What would be refused at the start, or go round in a ring.
fn refuse_clashes(config: &Config, url_of: impl Fn(usize) -> String, faults: &mut Faults) {
    let mut listen = config.listen.iter();
    if let Some(Admin { address, .. }) = config.admin
        && let Some(other) = listen.find(|other| clash::overlap(**other, address))
    {
        let what = format_args!("'{address}' and '{other}' of --listen have an address in common");
        faults.add("--admin", what);
    }
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        let is_itself = |at: &SocketAddr| clash::is_itself(&endpoint.host, endpoint.port, *at);
        if let Some(own) = config.listen.iter().find(|at| is_itself(at)) {
            let url = &endpoint.url;
            let what = format_args!("'{url}' is this program itself, which listens on {own}");
            faults.add(&url_of(index), what);
        }
    }
}

/// Who may push.
fn web_config(cli: &Cli, faults: &mut Faults, warnings: &mut Vec<String>) -> Option<PathBuf> {
    let path = cli.web_config.as_ref()?;
    match web::rules(path, None) {
        Err(found) => found.iter().for_each(|fault| faults.add("--web-config", fault)),
        Ok(rules) if rules.tls.is_none() && !rules.users.are_none() => {
            let clear =
                "--web-config has users and no TLS: whoever is on the way reads their passwords";
            warnings.push(clear.into());
        }
        Ok(_) => {}
    }
    Some(path.into())
}

fn admin(cli: &Cli, faults: &mut Faults, warnings: &mut Vec<String>) -> Option<Admin> {
    let web = cli.admin_web_config.as_ref().map(PathBuf::from);
    let asks = match cli.admin_web_config.as_deref().map(|path| web::rules(path, None)) {
        None => false,
        Some(Ok(rules)) => rules.asks,
        Some(Err(found)) => {
            found.iter().for_each(|fault| faults.add("--admin-web-config", fault));
            true
        }
    };
    let Some(text) = &cli.admin else {
        if web.is_some() {
            faults.add("--admin-web-config", "is for an --admin address");
        }
        return None;
    };
    let address = address(text).map_err(|fault| faults.add("--admin", fault)).ok()?;
    if !address.ip().is_loopback() && !asks {
        let others = "--admin is reached from other machines, and asks nobody who they are: \
                      users or client certificates in --admin-web-config do";
        warnings.push(others.into());
    }
    Some(Admin { address, web })
}

/// The address that is listened on, or what is wrong with it.
fn address(text: &str) -> Result<SocketAddr, String> {
    // Go's way to say all addresses.
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut addresses = whole.to_socket_addrs().map_err(|error| format!("'{text}': {error}"))?;
    addresses.next().ok_or_else(|| format!("'{text}' has no address"))
}

/// The endpoints of the file, unless the command line names one.
fn endpoints(
    flags: &Cli,
    cli: &Cli,
    file: Option<&File>,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Vec<Endpoint> {
    let timeout = faults.duration("--remote-timeout", &cli.remote_timeout, TIMEOUT.0);
    stanza::refuse_short("--remote-timeout", timeout, faults);
    let written = file.and_then(|file| file.endpoints(timeout, faults));
    let Some(written) = written.filter(|_| flags.remote.is_none()) else {
        if file.is_some_and(File::has_endpoints) {
            warnings.push("--remote overrules remote_write of the file".to_owned());
        }
        let at = remote(cli.remote.as_deref(), faults);
        // One that could not be read may be https.
        let https_host = at.tls.is_some().then_some(at.host.as_str());
        let is_read = !at.url.is_empty();
        let tls = is_read.then(|| tls::of_flags(cli, https_host, faults, warnings)).flatten();
        let endpoint = Endpoint {
            authorization: authorization::of_flags(cli, faults, warnings),
            tls,
            remote_timeout: timeout,
            ..at
        };
        return vec![endpoint];
    };
    for (flag, is_given) in [
        ("--remote", cli.remote.is_some()),
        ("--remote-user", cli.remote_user.is_some()),
        ("--remote-password", cli.remote_password.is_some()),
        ("--remote-password-file", cli.remote_password_file.is_some()),
    ]
    .into_iter()
    .chain(tls::given(cli))
    {
        if is_given {
            let what = "excludes remote_write: write url, basic_auth and tls_config there";
            faults.add(flag, what);
        }
    }
    places::refuse_folders(&written, faults);
    let path = |index: usize, key: &str| format!("remote_write[{index}].{key}");
    for (index, endpoint) in written.iter().enumerate() {
        let client = endpoint.tls.as_ref().map(|tls| tls.client(&endpoint.host));
        for fault in client.and_then(Result::err).unwrap_or_default() {
            faults.add(&path(index, &format!("tls_config.{}", fault.key)), fault.what);
        }
        if endpoint.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify) {
            let path = path(index, "tls_config");
            warnings.push(format!(
                "{path}: insecure_skip_verify: whoever gets between can be the endpoint"
            ));
        }
    }
    written
}

fn remote(text: Option<&str>, faults: &mut Faults) -> Endpoint {
    let text = text.unwrap_or("http://localhost:9090");
    let why = match Url::parse(text) {
        Ok(url) => {
            let prefix = url.path.trim_end_matches('/').into();
            return Endpoint::at(text, url, Place::Under(prefix));
        }
        Err(UrlFault::Credentials) => {
            "holds credentials: use --remote-user and --remote-password-file".to_owned()
        }
        Err(why) => why.to_string(),
    };
    faults.add("--remote", format_args!("'{}' {why}", shown(text)));
    Endpoint::nowhere()
}

fn instance_id(
    text: Option<&str>,
    unnamed: impl FnOnce() -> String,
    faults: &mut Faults,
) -> String {
    let Some(text) = text else { return unnamed() };
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
