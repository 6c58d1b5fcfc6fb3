//! The program put together: threads in the order in which they need each other, and back.

mod access;
mod fault;
mod ground;
mod queues;
mod settings;

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crate::base::limits::{PIECES_IDLE_PART, RESERVED};
use crate::base::time::Millis;
use crate::config::Config;
use crate::config::queue::Delivery;
use crate::io::acceptor::{self, Acceptor};
use crate::io::admin;
use crate::io::admin::sight::Sight;
use crate::io::clock::Clock;
use crate::io::conductor::{self, Conductor};
use crate::io::control::{self, Control};
use crate::io::descriptors;
use crate::io::gossip;
use crate::io::log::Log;
use crate::io::seating::Seating;
use crate::io::state_file::StateFile;
use crate::io::worker::{self, Start, Worker};
use crate::logic::desk::Lens;
use crate::logic::source::Identity;
use crate::logic::view::Cause;
use crate::shared::history::{History, Record};
use crate::shared::memory::{Holding, Memory};
use crate::shared::metrics::{Counter, Counters};
use crate::shared::nodes::Nodes;
use crate::shared::state::{Reserved, Seats};
use crate::wire::remote_write::series::SeriesHasher;

use access::Way;
pub use fault::StartError;
use ground::{Ground, ground};
use queues::Backlog;

/// A server that runs. It runs until [`Running::stop`], also when this is dropped.
pub struct Running {
    addresses: Vec<SocketAddr>,
    acceptor: acceptor::Running,
    control: control::Running,
    conductor: conductor::Running,
    gossip: Option<gossip::Running>,
    admin: Option<admin::Running>,
    cluster_address: Option<SocketAddr>,
    sight: Arc<Sight>,
    workers: Vec<Worker>,
    /// Ends when the last core has.
    door: Option<JoinHandle<()>>,
    backlogs: Vec<Backlog>,
    clock: Clock,
    log: Log,
    shutdown_timeout: Millis,
}

/// Starts a server; returns when it takes connections.
pub fn start(config: Config) -> Result<Running, StartError> {
    let log = Log::start(config.log_level, config.log_format).map_err(StartError::Thread)?;
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for address in &config.listen {
        let listen = |error| StartError::Listen(*address, error);
        let listener = acceptor::bind(*address).map_err(listen)?;
        addresses.push(listener.local_addr().map_err(listen)?);
        listeners.push(listener);
    }
    let bind =
        |address| acceptor::bind(address).map_err(|error| StartError::Listen(address, error));
    let access = access::of_admin(config.admin.as_ref(), &log)?;
    let Way { gate, door, nodes_tls } = access::of_sources(&config, &log)?;
    let admin = config.admin.as_ref().map(|admin| bind(admin.address)).transpose()?;
    for line in opening_lines(&config, &addresses) {
        log.info(&line);
    }
    for warning in &config.warnings {
        log.warn(warning);
    }

    let queues = config.endpoints.iter().filter(|it| it.delivery != Delivery::Direct).count();
    // What is relayed to another node takes one too.
    let links = (config.endpoints.len() - queues).max(1);
    let others = descriptors::others(queues, admin.is_some());
    let fit = descriptors::connections_that_fit(links, others);
    if fit < config.connections_max {
        let wanted = config.connections_max;
        log.warn(&format!(
            "{fit} connections in place of {wanted}: the limit of open files is low"
        ));
    }
    let clock = Clock::start();
    let cpus = worker::cpus();
    let cores = config.cores.unwrap_or_else(|| all_cores(&cpus));
    let sources_max = match config.recognition.identity {
        Identity::Auto | Identity::User => config.sources_max,
        Identity::Connection => config.sources_max.max(config.connections_max),
    };
    let state = state(&config)?;
    let ground = ground(&config, &addresses, clock, &log)?;
    let seats = Seats::new(cores, sources_max).with_groups_max(config.groups_max);
    let seats = seats.with_reserved(reserved(&state, clock));
    let seats = Arc::new(if ground.is_some() { seats.unled() } else { seats });
    let memory = Arc::new(Memory::new(config.hold_bytes_max));
    let words = conductor::words();
    let relaying = ground.as_ref().map(|ground| ground.relaying(nodes_tls));
    let opened = queues::open(&config)?;
    let settings = Arc::new(settings::settings(&config, relaying, &opened, &log)?);
    let send = |queue: queues::Opened| queue.send(settings.endpoints.clone(), &config, clock, &log);
    let backlogs = opened.into_iter().map(send).collect::<Result<Vec<Backlog>, _>>()?;
    let start = Start {
        headroom: settings::headroom(&settings),
        memory: memory.clone(),
        idle_bytes_max: config.hold_bytes_max / PIECES_IDLE_PART / cores.max(1),
        conductor: words.0.clone(),
        gate,
        settings,
        seats: seats.clone(),
        clock,
        log: log.clone(),
        driver: config.driver,
        cpu: None,
    };
    let endpoints = start.settings.endpoints.clone();
    let workers = start_cores(cores, &cpus, &start, clock)?;
    if let Some(worker) = workers.first() {
        log.info(&format!("cores: {cores} on {}", worker.driver.name()));
    }
    drop(start);
    let counters: [Arc<Counters>; 4] = Default::default();
    let history = Arc::new(History::default());
    let conductor = Conductor {
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        window: config.hold_window,
        lens: Lens::new(hasher(), config.decoded_bytes_max),
        holding: Holding::new(memory.clone()),
        history: history.clone(),
        clock,
        log: log.clone(),
        counters: counters[2].clone(),
    };
    let tell = words.0.clone();
    let seating = Seating {
        seats: seats.clone(),
        mode: config.cluster.as_ref().map(|cluster| cluster.mode).unwrap_or_default(),
        window: config.hold_window,
        memory: memory.clone(),
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        conductor: words.0.clone(),
        clock,
        log: log.clone(),
        counters: counters[3].clone(),
        seen: Default::default(),
        unknown: Vec::new(),
        orphans: Vec::new(),
    };
    let conductor = conductor.start(words.1).map_err(StartError::Thread)?;
    let control = Control {
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        seats: seats.clone(),
        tick: config.health_tick,
        expiry: config.expiry,
        clock,
        log: log.clone(),
        counters: counters[0].clone(),
        lag_max: config.lag_max,
        window: config.hold_window,
        memory: memory.clone(),
        conductor: tell,
        state,
    };
    let control = control.start().map_err(StartError::Thread)?;
    let cluster_address = ground.as_ref().map(|ground| ground.address());
    let nodes = ground.is_some().then(Arc::<Nodes>::default);
    let gossip = match ground.zip(nodes.clone()) {
        Some((ground, nodes)) => {
            Some(ground.start(seating, nodes, clock, &log).map_err(StartError::Thread)?)
        }
        None => None,
    };
    let acceptor = Acceptor {
        listeners,
        cores: workers
            .iter()
            .map(|worker| (worker.handle.clone(), worker.driver.wants_nonblocking()))
            .collect(),
        connections_max: config.connections_max.min(fit),
        counters: counters[1].clone(),
        log: log.clone(),
    };
    let acceptor = acceptor.start().map_err(StartError::Thread)?;
    let of_queues = backlogs.iter().map(|backlog| backlog.counters.clone());
    let sight = Arc::new(Sight {
        seats,
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        counters: counters.into_iter().chain(of_queues).collect(),
        memory,
        history,
        endpoints,
        queues: backlogs.iter().map(Backlog::seen).collect(),
        nodes,
        clock,
        began: clock.unix_now().before(clock.now()),
        log: log.clone(),
        is_ending: AtomicBool::new(false),
    });
    let admin = admin.map(|listener| admin::start(listener, access, sight.clone(), &log));
    let admin = admin.transpose().map_err(StartError::Thread)?;
    Ok(Running {
        addresses,
        acceptor,
        control,
        conductor,
        gossip,
        admin,
        cluster_address,
        sight,
        workers,
        door,
        backlogs,
        clock,
        log,
        shutdown_timeout: config.shutdown_timeout,
    })
}

impl Running {
    /// The addresses that are listened on, with their true ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics and health are shown, if anywhere, with its true port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(admin::Running::address)
    }

    /// Where other nodes reach this one, if it is in a cluster.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster_address
    }

    /// The sum of a counter over all threads.
    pub fn count(&self, counter: Counter) -> u64 {
        self.sight.count(counter)
    }

    /// The changes of a seat.
    pub fn promotions(&self) -> u64 {
        Cause::ALL.iter().map(|cause| self.sight.promotions(*cause)).sum()
    }

    /// The last hand-overs, the oldest first.
    pub fn history(&self) -> Vec<Record> {
        self.sight.history.all()
    }

    /// The connections of each core.
    pub fn connections(&self) -> Vec<u64> {
        let of = |worker: &Worker| {
            worker.handle.load.connections.load(std::sync::atomic::Ordering::Relaxed)
        };
        self.workers.iter().map(of).collect()
    }

    /// Gives the lead of its groups to other nodes, which may take seconds, stops accepting, lets the
    /// cores finish what is in flight, `--shutdown-timeout` at most, and
    /// returns when all threads have ended.
    pub fn stop(self) {
        self.sight.say_ending();
        if let Some(gossip) = &self.gossip {
            gossip.leave();
        }
        self.acceptor.stop();
        let deadline = self.clock.now().after(self.shutdown_timeout);
        for worker in &self.workers {
            worker.handle.stop(deadline);
        }
        for worker in self.workers {
            if let Err(error) = worker.join() {
                self.log.error(&format!("a core ended badly: {error}"));
            }
        }
        // It has no panics of its own.
        self.door.into_iter().for_each(|door| _ = door.join());
        if let Some(gossip) = self.gossip {
            gossip.stop();
        }
        self.control.stop();
        self.conductor.stop();
        self.backlogs.into_iter().for_each(|backlog| backlog.stop(deadline, &self.log));
        // To the end it can be seen what is still under way.
        if let Some(admin) = self.admin {
            admin.stop();
        }
        self.log.flush();
    }
}

/// The first lines of the log, as the original wrote them.
pub fn opening_lines(config: &Config, addresses: &[SocketAddr]) -> Vec<String> {
    let binding = addresses.iter().map(|address| format!("binding address: {address}"));
    let remotes = config.remotes().map(|remote| format!("remote address: {remote}"));
    let others = [
        format!("health tick: {}", config.health_tick),
        format!("health expiry: {}", config.expiry.expiry),
        format!("instance ID: {}", config.instance_id),
    ];
    binding.chain(remotes).chain(others).collect()
}

/// Who sat in which seat before.
fn state(config: &Config) -> Result<Option<StateFile>, StartError> {
    let Some(path) = &config.state else { return Ok(None) };
    StateFile::open(path).map(Some).map_err(|error| StartError::State(path.clone(), error))
}

fn reserved(state: &Option<StateFile>, clock: Clock) -> Reserved {
    let Some(state) = state else { return Reserved::default() };
    let seats = state.written().iter().map(|(group, name)| (group.clone(), name.clone()));
    Reserved { seats: seats.collect(), until: clock.now().after(RESERVED) }
}

/// One seed for the process: nobody outside can choose labels that share an identity.
fn hasher() -> SeriesHasher {
    SeriesHasher::new(RandomState::new().hash_one(0))
}

fn all_cores(cpus: &[usize]) -> usize {
    // The smaller of what the affinity and what the control group allows.
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    allowed.min(cpus.len().max(1))
}

fn start_cores(
    cores: usize,
    cpus: &[usize],
    start: &Start,
    clock: Clock,
) -> Result<Vec<Worker>, StartError> {
    // Two processes with one core each should not meet on the first processor.
    let first = if cores < cpus.len() { std::process::id() as usize } else { 0 };
    let mut workers: Vec<Worker> = Vec::with_capacity(cores);
    for index in 0..cores {
        let cpu = (cores <= cpus.len()).then(|| cpus[(first + index) % cpus.len()]);
        match Worker::start(index, Start { cpu, ..start.clone() }) {
            Ok(worker) => workers.push(worker),
            Err(error) => {
                for worker in workers {
                    worker.handle.stop(clock.now());
                    // The first error is the one to tell.
                    let _ = worker.join();
                }
                return Err(StartError::Core(index, error));
            }
        }
    }
    Ok(workers)
}
