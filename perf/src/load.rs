//! The load: it pushes like a Prometheus with many shards, each on a connection of its own with
//! one request in flight.
//!
//! monoio-http reads the answers; the requests are laid out once and sent in one piece. Its encoder
//! is there too (`--send codec`), but it is too slow to saturate a proxy from a core that is shared
//! with the sink: above 8 KiB it waits for the head to be sent before it sends the body, two turns
//! of the ring instead of one. Straight to the sink, 16 connections: 36 000 requests of 32 KiB a
//! second instead of 73 000, and 63 000 of 2 KiB instead of 81 000.

mod client;
mod sealed;
mod tally;

use std::cell::{Cell, RefCell};
use std::io::{BufRead, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;
use rustls::ClientConfig;

use crate::fault::{During, Fault};
use crate::{ring, tls};
pub use client::Shape;
use client::{Connection, Request};
pub use tally::Report;
use tally::Tally;

/// Without any answer for so long the run has failed, and waiting longer would hide it.
const SILENCE_S_MAX: u64 = 30;

/// The pause after a connection that could not be opened, so that a dead target or the end of the
/// free ports does not make this loop spin.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Stands for "nobody is waiting for answers" in the watchdog's counter.
const IDLE: u64 = u64::MAX;

/// Push like a Prometheus with many shards, and print what came back as one line of JSON.
#[derive(FromArgs)]
#[argh(subcommand, name = "load")]
pub struct Options {
    /// host:port to push to
    #[argh(option)]
    target: String,

    /// path and query (default /api/v1/write)
    #[argh(option, default = "String::from(\"/api/v1/write\")")]
    path: String,

    /// connections at a time, 1 to 1000 (default 16)
    #[argh(option, default = "16")]
    connections: usize,

    /// size of a body (default 2048)
    #[argh(option, default = "2048")]
    body_bytes: usize,

    /// measured requests; without it, as many as --duration allows
    #[argh(option)]
    requests: Option<u64>,

    /// seconds to measure for (default 10 without --requests)
    #[argh(option)]
    duration: Option<u64>,

    /// requests before the measured ones (default 0)
    #[argh(option, default = "0")]
    warmup: u64,

    /// requests until a connection is closed and opened anew (default: never)
    #[argh(option)]
    requests_per_connection: Option<u64>,

    /// whole: each request in one piece; codec: as monoio-http writes them (default whole)
    #[argh(option, default = "Shape::Whole")]
    send: Shape,

    /// push over TLS, to the one who has this certificate: 1.3, with AES-128-GCM alone
    #[argh(option)]
    certificate: Option<PathBuf>,

    /// print the warm-up's line too, then wait for a line on stdin before measuring
    #[argh(switch)]
    gated: bool,

    /// core to run on
    #[argh(option)]
    core: Option<usize>,
}

/// What the connections of one phase share.
struct Phase {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    request: RefCell<Rc<Request>>,
    requests_per_connection: u64,
    /// Requests not begun yet.
    tickets: Cell<u64>,
    deadline: Cell<Option<Instant>>,
    tally: RefCell<Tally>,
}

/// How old the samples of a request get.
const FRESH: Duration = Duration::from_millis(200);

/// The answers so far, for the watchdog's thread. Relaxed: a lone number that guards nothing.
static PROGRESS: AtomicU64 = AtomicU64::new(IDLE);

/// Warms up, waits for the gate, measures, prints.
pub fn run(options: &Options) -> Result<(), Fault> {
    if !(1..=1000).contains(&options.connections) {
        return Err(Fault(String::from("--connections is 1 to 1000")));
    }
    if options.certificate.is_some() && options.send == Shape::Codec {
        return Err(Fault(String::from("--send codec is not there over TLS")));
    }
    ring::pin(options.core)?;
    thread::spawn(watch);
    ring::block_on(|driver| async move { measure(options, driver).await })?
}

async fn measure(options: &Options, driver: &'static str) -> Result<(), Fault> {
    let mut addresses = options.target.to_socket_addrs().during(&options.target)?;
    let address =
        addresses.next().ok_or_else(|| Fault(format!("{}: no address", options.target)))?;
    let request = Request::new(&options.target, &options.path, options.body_bytes, options.send)?;
    let phase = Rc::new(Phase {
        address,
        tls: options.certificate.as_deref().map(tls::client).transpose()?,
        request: RefCell::new(Rc::new(request)),
        requests_per_connection: options.requests_per_connection.unwrap_or(u64::MAX),
        tickets: Cell::new(options.warmup),
        deadline: Cell::new(None),
        tally: RefCell::new(Tally::new()),
    });
    let mut connections: Vec<_> = (0..options.connections).map(|_| None).collect();

    let began = Instant::now();
    connections = push_all(&phase, connections).await;
    if options.gated {
        print(&phase.tally.borrow().report(
            "warmup",
            driver,
            options.connections,
            began.elapsed(),
        ))?;
        // Blocking is right here: no request is in flight, and nothing else runs.
        std::io::stdin().lock().read_line(&mut String::new()).during("waiting for the gate")?;
    }

    phase.tally.replace(Tally::new());
    let duration_s = options.duration.or(options.requests.is_none().then_some(10));
    let began = Instant::now();
    phase.tickets.set(options.requests.unwrap_or(u64::MAX));
    phase.deadline.set(duration_s.map(|seconds| began + Duration::from_secs(seconds)));
    connections = push_all(&phase, connections).await;
    let report =
        phase.tally.borrow().report("measured", driver, connections.len(), began.elapsed());
    print(&report)
}

fn print(report: &Report) -> Result<(), Fault> {
    let line = serde_json::to_string(report).during("report")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).during("stdout")
}

/// Lets every connection push until the tickets or the time are used up, and gives them back open.
async fn push_all(
    phase: &Rc<Phase>,
    connections: Vec<Option<Connection>>,
) -> Vec<Option<Connection>> {
    PROGRESS.store(0, Ordering::Relaxed);
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| monoio::spawn(push_many(Rc::clone(phase), connection)))
        .collect();
    let mut open = Vec::with_capacity(tasks.len());
    for task in tasks {
        open.push(task.await);
    }
    PROGRESS.store(IDLE, Ordering::Relaxed);
    open
}

async fn push_many(phase: Rc<Phase>, mut slot: Option<Connection>) -> Option<Connection> {
    while phase.take_ticket() {
        match push_one(&phase, slot.take()).await {
            Ok(connection) => slot = connection,
            Err(Fault(why)) => phase.tally.borrow_mut().on_error(why),
        }
        PROGRESS.fetch_add(1, Ordering::Relaxed);
    }
    slot
}

/// One request and its answer. Gives the connection back unless one side has closed it.
async fn push_one(phase: &Phase, slot: Option<Connection>) -> Result<Option<Connection>, Fault> {
    let mut connection = match slot {
        Some(connection) => connection,
        None => phase.connect().await?,
    };
    let began = Instant::now();
    let request = phase.fresh(began)?;
    let answer = connection.push(&request).await?;
    phase.tally.borrow_mut().on_answer(answer.status, began.elapsed());
    let is_over = answer.is_last || connection.pushed() >= phase.requests_per_connection;
    Ok(if is_over { None } else { Some(connection) })
}

impl Phase {
    fn take_ticket(&self) -> bool {
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        let left = self.tickets.get();
        self.tickets.set(left.saturating_sub(1));
        left > 0
    }

    fn shape(&self) -> Shape {
        self.request.borrow().shape
    }

    /// A sender that is up to date has samples of now. With those of the beginning it would look like
    /// one that works off a backlog, which a proxy may look at more closely.
    fn fresh(&self, now: Instant) -> Result<Rc<Request>, Fault> {
        let mut request = self.request.borrow_mut();
        if now.duration_since(request.made) >= FRESH {
            *request = Rc::new(request.again()?);
        }
        Ok(Rc::clone(&request))
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        self.tally.borrow_mut().on_connect();
        match Connection::open(self.address, self.shape(), self.tls.as_ref()).await {
            Ok(connection) => Ok(connection),
            Err(error) => {
                // The whole thread pauses: every other connection has the same trouble.
                thread::sleep(CONNECT_PAUSE);
                Err(Fault(format!("connect: {error}")))
            }
        }
    }
}

/// Ends the program when answers stay away. The event loop could not do it itself: it is waiting.
fn watch() {
    let mut seen = IDLE;
    let mut silence_s = 0;
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = PROGRESS.load(Ordering::Relaxed);
        silence_s = if now == seen && now != IDLE { silence_s + 1 } else { 0 };
        seen = now;
        if silence_s >= SILENCE_S_MAX {
            eprintln!("load: no answer for {SILENCE_S_MAX} s");
            std::process::exit(3);
        }
    }
}
