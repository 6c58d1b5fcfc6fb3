//! One candidate between a load and a sink, ready to be measured.
//!
//! Everything is started anew for each measurement: nothing that one run leaves behind, a grown
//! buffer or a warm cache, can help or harm the next.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::Settings;
use super::candidate::{Candidate, Site};
use super::child::{Child, Pipes, Recipe};
use super::http::Client;
use crate::fault::{During, Fault};
use crate::load::Report;
use crate::tls;

/// A program that has not answered by then is taken for not started.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);

/// A sink and a candidate that forwards to it, both answering.
pub struct Bench {
    /// The proxy under test.
    pub candidate: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// A connection for the sink's counts.
    pub sink_stats: Client,
    /// The certificate that the candidate shows, if it is pushed to over TLS.
    certificate: Option<PathBuf>,
    // Dropped after the candidate, which would otherwise log that its server is gone.
    _sink: Child,
    folder: Folder,
}

/// A load that has been started and stops at its gate.
pub struct Load {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// A folder for configuration and logs, removed at the end.
pub struct Folder(pub PathBuf);

/// How many requests on how many connections.
pub struct LoadPlan<'a> {
    /// Path and query.
    pub path: &'a str,
    /// Connections at a time.
    pub connections: usize,
    /// Size of a body.
    pub body_bytes: usize,
    /// Requests before the gate.
    pub warmup: u64,
    /// Requests behind it.
    pub requests: u64,
    /// Requests until a connection is closed; `None` keeps it open.
    pub requests_per_connection: Option<u64>,
}

impl Bench {
    /// Starts sink and candidate, and pushes to `path` until the candidate answers with 2xx.
    pub fn start(
        settings: &Settings,
        candidate: Candidate,
        cores: usize,
        body_bytes: usize,
        path: &str,
    ) -> Result<Self, Fault> {
        let folder = Folder::create()?;
        let (sink_port, port) = free_ports()?;
        let sink_address = SocketAddr::from((Ipv4Addr::LOCALHOST, sink_port));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));

        let listen = sink_address.to_string();
        let recipe = settings.own_part("sink", &["sink", "--listen", &listen]);
        let mut sink = Child::start(&recipe, &folder.0, Pipes::None)?;
        wait_until_ready(&mut sink, || {
            Client::open(sink_address)?.stats()?;
            Ok(())
        })?;
        let sink_stats = Client::open(sink_address)?;

        let cpu_list = settings.candidate_cpu_list(cores);
        let site = Site { folder: &folder.0, port, sink_port, body_bytes, cores, cpu_list };
        let files = settings.certificate.write(&folder.0)?;
        let certificate = candidate.is_over_tls().then_some(files.certificate);
        let tls = certificate.as_deref().map(tls::client).transpose()?;
        let recipe = candidate.recipe(&settings.programs, &site)?;
        let mut child = Child::start(&recipe, &folder.0, Pipes::None)?;
        wait_until_ready(&mut child, || match open(address, tls.as_ref())?.push(path)? {
            200..300 => Ok(()),
            status => Err(Fault(format!("answered {status}"))),
        })?;
        Ok(Self { candidate: child, address, sink_stats, certificate, _sink: sink, folder })
    }

    /// Starts a load against the candidate; it stops at its gate when it is warm.
    pub fn load(&self, settings: &Settings, plan: &LoadPlan) -> Result<Load, Fault> {
        let mut argv: Vec<String> = [
            ("--target", self.address.to_string()),
            ("--path", plan.path.to_owned()),
            ("--connections", plan.connections.to_string()),
            ("--body-bytes", plan.body_bytes.to_string()),
            ("--warmup", plan.warmup.to_string()),
            ("--requests", plan.requests.to_string()),
            ("--send", settings.send.to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        if let Some(path) = &self.certificate {
            argv.extend([String::from("--certificate"), path.to_string_lossy().into_owned()]);
        }
        if let Some(requests) = plan.requests_per_connection {
            argv.extend([String::from("--requests-per-connection"), requests.to_string()]);
        }
        let argv: Vec<&str> =
            ["load", "--gated"].into_iter().chain(argv.iter().map(String::as_str)).collect();
        Load::start(&settings.own_part("load", &argv), &self.folder.0)
    }
}

impl Load {
    fn start(recipe: &Recipe, folder: &Path) -> Result<Self, Fault> {
        let mut child = Child::start(recipe, folder, Pipes::Open)?;
        let pipes = child.take_pipes();
        let (stdin, stdout) = pipes.ok_or_else(|| child.failure("has no pipes"))?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// Waits for the end of the warm-up.
    pub fn warm(&mut self) -> Result<Report, Fault> {
        self.report()
    }

    /// Opens the gate and waits for the end of the measured requests.
    pub fn measure(&mut self) -> Result<Report, Fault> {
        self.stdin.write_all(b"\n").during("the load's gate")?;
        self.report()
    }

    fn report(&mut self) -> Result<Report, Fault> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line).during("load")? == 0 {
            return Err(self.child.failure("ended without a report"));
        }
        serde_json::from_str(&line).during(format_args!("load: {line}"))
    }
}

impl Folder {
    /// Creates it; one at a time, as all bear this process's name.
    pub fn create() -> Result<Self, Fault> {
        let path = std::env::temp_dir().join(format!("highlander-perf-{}", std::process::id()));
        fs::create_dir_all(&path).during("temporary folder")?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("removing {}: {error}", self.0.display());
        }
    }
}

fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Client, Fault> {
    match tls {
        None => Client::open(address),
        Some(tls) => Client::open_sealed(address, tls),
    }
}

/// Two ports that were free a moment ago. Held at the same time, so that they differ.
pub fn free_ports() -> Result<(u16, u16), Fault> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("a free port");
    let (one, two) = (bind()?, bind()?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

/// Asks until there is no fault, or the child has ended, or it takes too long.
pub fn wait_until_ready(
    child: &mut Child,
    mut ask: impl FnMut() -> Result<(), Fault>,
) -> Result<(), Fault> {
    let since = Instant::now();
    loop {
        child.check()?;
        match ask() {
            Ok(()) => return Ok(()),
            Err(Fault(why)) if since.elapsed() > READY_TIMEOUT => {
                let seconds = READY_TIMEOUT.as_secs();
                return Err(child.failure(&format!("was not ready after {seconds} s: {why}")));
            }
            Err(_) => thread::sleep(READY_POLL),
        }
    }
}
