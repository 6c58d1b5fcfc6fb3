//! The program put together: threads in the order in which they need each other, and back.

mod access;
mod changes;
mod fault;
mod ground;
mod queues;
mod reload;
mod settings;
mod tuning;

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;

use crate::base::limits::{ENDPOINTS_EVER_MAX, PIECES_IDLE_PART, RESERVED};
use crate::config::Config;
use crate::io::acceptor::{self, Acceptor};
use crate::io::admin;
use crate::io::admin::sight::{Shown, Sight};
use crate::io::clock::Clock;
use crate::io::conductor::{self, Conductor};
use crate::io::control::{self, Control};
use crate::io::gossip;
use crate::io::log::Log;
use crate::io::seating::Seating;
use crate::io::state_file::StateFile;
use crate::io::worker::{self, Start, Worker};
use crate::logic::desk::Lens;
use crate::logic::view::Cause;
use crate::shared::history::{History, Record};
use crate::shared::memory::{Holding, Memory};
use crate::shared::metrics::{Counter, Counters};
use crate::shared::nodes::Nodes;
use crate::shared::reloads::Reloads;
use crate::shared::state::{Reserved, Seats};
use crate::wire::remote_write::series::SeriesHasher;

use access::Way;
pub use fault::StartError;
use ground::ground;
pub use reload::ReadConfig;
use reload::Reload;
use settings::{Common, Ledger};

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
    reload: Reload,
    clock: Clock,
    log: Log,
}

/// Starts a server whose configuration is not read again; returns when it takes connections.
pub fn start(config: Config) -> Result<Running, StartError> {
    start_with(config, reload::nothing_to_read())
}

/// Starts a server whose configuration is read again by `read`; returns when it takes connections.
pub fn start_with(config: Config, read: ReadConfig) -> Result<Running, StartError> {
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

    tuning::shortage(&config).into_iter().for_each(|warning| log.warn(&warning));
    let clock = Clock::start();
    let cpus = worker::cpus();
    let cores = config.cores.unwrap_or_else(|| all_cores(&cpus));
    let state = state(&config)?;
    let ground = ground(&config, &addresses, clock, &log)?;
    let tuned = tuning::tuning(&config).tuned();
    let seats = Seats::new(cores, tuning::sources_max(&config));
    seats.set_bounds(config.groups_max, tuning::sources_max(&config));
    let seats = seats.with_reserved(reserved(&state, clock));
    let seats = Arc::new(if ground.is_some() { seats.unled() } else { seats });
    let memory = Arc::new(Memory::new(config.hold_bytes_max));
    let words = conductor::words();
    let relaying = ground.as_ref().map(|ground| Arc::new(ground.relaying(nodes_tls)));
    let common = Common { budget: Default::default(), relaying };
    let ledger = Ledger::default().with(&config, &log)?;
    let opened = queues::open(config.endpoints.iter())?;
    let ways = opened.iter().map(|it| it.way(ledger.endpoints())).collect();
    let settings = Arc::new(ledger.settings(&config, &common, ways));
    let start = Start {
        headroom: settings::headroom(&settings),
        memory: memory.clone(),
        idle_bytes_max: config.hold_bytes_max / PIECES_IDLE_PART / cores.max(1),
        conductor: words.0.clone(),
        gate: gate.clone(),
        settings: settings.clone(),
        seats: seats.clone(),
        clock,
        log: log.clone(),
        driver: config.driver,
        cpu: None,
    };
    let workers = start_cores(cores, &cpus, &start, clock)?;
    if let Some(worker) = workers.first() {
        log.info(&format!("cores: {cores} on {}", worker.driver.name()));
    }
    drop(start);
    let counters: [Arc<Counters>; 4] = Default::default();
    let history = Arc::new(History::default());
    let conductor = Conductor {
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        tuned: tuned.clone(),
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
        tuned: tuned.clone(),
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
    let state = state.map(|state| state.start(seats.clone(), log.clone()));
    let state = state.transpose().map_err(StartError::Thread)?;
    let control = Control {
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        seats: seats.clone(),
        clock,
        log: log.clone(),
        counters: counters[0].clone(),
        tuning: tuned.load_full(),
        tuned: tuned.clone(),
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
        tuned: tuned.clone(),
        gate,
        counters: counters[1].clone(),
        log: log.clone(),
    };
    let acceptor = acceptor.start().map_err(StartError::Thread)?;
    let began = clock.unix_now().before(clock.now());
    let sight = Arc::new(Sight {
        seats,
        cores: workers.iter().map(|worker| worker.handle.clone()).collect(),
        counters: counters.into(),
        senders: (0..ENDPOINTS_EVER_MAX).map(|_| OnceLock::new()).collect(),
        memory,
        history,
        shown: ArcSwap::from_pointee(Shown::default()),
        reloads: Reloads::since(began),
        nodes,
        clock,
        began,
        log: log.clone(),
        is_ending: AtomicBool::new(false),
    });
    let senders = queues::Ground::of(&sight, &config);
    let backlogs = queues::send(opened, &ledger, &senders)?;
    let start = reload::Start {
        read,
        sight: sight.clone(),
        tuned,
        common,
        config,
        ledger,
        settings,
        backlogs,
    };
    let reload = Reload::new(start);
    let again = reload.clone();
    let again = Box::new(move |who: &str| again.reload(who));
    let admin = admin.map(|listener| admin::start(listener, access, sight.clone(), again, &log));
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
        reload,
        clock,
        log,
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

    /// Reads the configuration again, because `who` wants it, and takes it over, all of it or nothing.
    /// Returned is what has changed, or everything that stands against it; that is in the log, too.
    pub fn reload(&self, who: &str) -> Result<String, Vec<String>> {
        self.reload.reload(who)
    }

    /// The same, for another thread; it does not keep the server.
    pub fn reloading(&self) -> impl Fn(&str) + Send + 'static {
        let reload = self.reload.clone();
        // What came of it is in the log.
        move |who| _ = reload.reload(who)
    }

    /// Gives the lead of its groups to other nodes, which may take seconds, stops accepting, lets the
    /// cores finish what is in flight, `--shutdown-timeout` at most, and
    /// returns when all threads have ended.
    pub fn stop(self) {
        self.sight.say_ending();
        self.reload.end();
        if let Some(gossip) = &self.gossip {
            gossip.leave();
        }
        self.acceptor.stop();
        let deadline = self.clock.now().after(self.reload.shutdown_timeout());
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
        self.reload.stop(deadline);
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
