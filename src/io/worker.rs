//! The thread of one core: a loop that serves its connections until it is told to stop.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use monoio::io::AsyncReadRent as _;
use monoio::net::{TcpStream, UnixStream as Bell};

use crate::base::limits::BEAT;
use crate::base::time::Millis;
use crate::io::appends::Appends;
use crate::io::buffers::Buffers;
use crate::io::clock::Clock;
use crate::io::conn;
use crate::io::core::{Accepted, Core, Handle};
use crate::io::deadline::Deadlines;
use crate::io::driver::{self, Choice, Kind};
use crate::io::fan::{self, Ending};
use crate::io::gate::{Gate, Guests};
use crate::io::links::Links;
use crate::io::log::Log;
use crate::io::orders::{Order, Word};
use crate::io::pieces::Pieces;
use crate::io::queue::turning::Work;
use crate::io::senders::Senders;
use crate::io::settings::Settings;
use crate::io::store::Store;
use crate::io::upstream;
use crate::logic::ask::Outcome;
use crate::shared::memory::{Holding, Memory};
use crate::shared::metrics::Counter;
use crate::shared::state::Seats;

/// What a core is started with.
#[derive(Clone)]
pub struct Start {
    /// What all cores are told.
    pub settings: Arc<Settings>,
    /// The seats of all groups.
    pub seats: Arc<Seats>,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// Which driver is wanted.
    pub driver: Choice,
    /// Bytes in front of every request buffer.
    pub headroom: usize,
    /// The memory for hand-overs.
    pub memory: Arc<Memory>,
    /// How much of it a core may keep ready.
    pub idle_bytes_max: usize,
    /// The conductor.
    pub conductor: Sender<Word>,
    /// The way in, if not everybody may come.
    pub gate: Option<Arc<Gate>>,
    /// The processor to run on, if the core is to be pinned.
    pub cpu: Option<usize>,
}

/// A core that runs.
pub struct Worker {
    /// How to reach it.
    pub handle: Arc<Handle>,
    /// What it runs on.
    pub driver: Kind,
    thread: JoinHandle<io::Result<()>>,
}

impl Worker {
    /// Starts core number `index`; returns when its loop runs.
    pub fn start(index: usize, start: Start) -> io::Result<Worker> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let own_bell = bell.try_clone()?;
        let handle = Arc::new(Handle::new(index, bell));
        let (ready, started) = bounded(1);
        let inside = handle.clone();
        let thread =
            std::thread::Builder::new().name(format!("core-{index}")).spawn(move || {
                pin(start.cpu);
                driver::run(start.driver, |kind| async move {
                    heard.set_nonblocking(kind.wants_nonblocking())?;
                    let bell = Bell::from_std(heard)?;
                    let core = Rc::new(inside_of(inside, start, own_bell, kind));
                    let _ = ready.send(kind);
                    run(core, bell).await
                })?
            })?;
        Worker::when_started(handle, thread, &started)
    }

    fn when_started(
        handle: Arc<Handle>,
        thread: JoinHandle<io::Result<()>>,
        started: &Receiver<Kind>,
    ) -> io::Result<Worker> {
        match started.recv() {
            Ok(driver) => Ok(Worker { handle, driver, thread }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => Err(io::Error::other("a core ended before it began")),
            },
        }
    }

    /// Waits until the core has ended.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a core panicked")))
    }
}

fn inside_of(handle: Arc<Handle>, start: Start, bell: UnixStream, kind: Kind) -> Core {
    // Any odd start will do; the time makes two processes differ.
    let seed = u64::from(std::process::id()) << 8 | handle.index as u64 | 1;
    let holding = Holding::new(start.memory);
    let pieces = Pieces::new(start.idle_bytes_max);
    let outside = handle.clone();
    let appends = Appends::new(Box::new(move || outside.ring()));
    let outside = handle.clone();
    let guests = Guests::new(Box::new(move || outside.ring()));
    let store = Store::new(handle.index, holding, pieces, start.conductor, start.clock);
    Core {
        store,
        appends,
        senders: Senders::default(),
        gate: start.gate,
        guests,
        faults_told: RefCell::default(),
        links: Links::default(),
        name: format!("core {}", handle.index),
        reader: RefCell::default(),
        handle,
        terms: RefCell::new(Rc::new(start.settings)),
        seats: start.seats,
        kind,
        clock: start.clock,
        log: start.log,
        deadlines: Deadlines::new(bell),
        buffers: Buffers::new(start.headroom),
        draining: Cell::new(false),
        last_answer: Cell::default(),
        jitter: Cell::new(seed),
    }
}

/// Beats until the core is told to stop and its last connection has ended.
async fn run(core: Rc<Core>, mut bell: Bell) -> io::Result<()> {
    let mut rings = vec![0; 64];
    let mut last_beat = Millis(0);
    loop {
        let (read, back) = bell.read(rings).await;
        rings = back;
        if read? == 0 {
            return Err(io::Error::other("a core has lost its bell"));
        }
        while let Some(accepted) = core.handle.take() {
            open(&core, accepted);
        }
        while let Some(order) = core.handle.take_order() {
            follow(&core, order);
        }
        core.appends.on_rung();
        core.guests.on_rung();
        core.deadlines.resume();
        core.store.wake_parked();
        let now = core.now();
        let stops_at = core.handle.stops_at();
        core.draining.set(stops_at.is_some());
        // It is rung far more often than it beats where endpoints have queues.
        let is_beat = now.since(last_beat) >= Millis(BEAT.0 / 2);
        if is_beat || core.draining.get() {
            core.store.on_beat(&core.handle.counters);
            core.deadlines.sweep(now, core.draining.get());
            core.links.prune(now);
        }
        if is_beat {
            core.senders.on_beat();
            last_beat = now;
        }
        // Relaxed: lone numbers; the beat is read by a watcher that is late anyway.
        core.handle.load.beat.store(now.0, Ordering::Relaxed);
        let idle = core.handle.load.connections.load(Ordering::Relaxed) == 0;
        if let Some(deadline) = stops_at.filter(|deadline| idle || now >= *deadline) {
            // Nobody here stores anything any more; what others do is sent after the restart.
            core.senders.stop(deadline);
            if core.senders.are_gone() || now >= deadline.after(BEAT.times(2)) {
                core.links.close();
                return Ok(());
            }
        }
    }
}

/// Does what the conductor, or a reload, orders.
fn follow(core: &Rc<Core>, order: Order) {
    match order {
        Order::Gather(seat, turn, wanted) => core.store.on_gather(&seat, turn, wanted),
        Order::Tell(seat, id, verdict) => core.store.on_told(seat, id, verdict),
        Order::Replayed(seat, to) => core.store.on_replayed(&seat, to),
        Order::Take(settings, taken) => {
            core.on_terms(settings);
            // Who has waited too long has said so.
            let _ = taken.try_send(());
        }
        Order::Begin(work) => begin_to_send(core, *work),
        Order::Send(seat, push) => {
            let core = core.clone();
            monoio::spawn(async move {
                if !seat.may_send(|| core.now()) {
                    return core.store.tell(Word::Sent(seat, Outcome::Unsent));
                }
                let slot = core.deadlines.slot();
                let Ending { answer, outcome } = fan::send(&core, &slot, &seat, &push).await;
                if let Ok(Some((link, answer))) = answer {
                    upstream::discard(&core.outlet(&core.terms()), link, &answer);
                }
                core.store.tell(Word::Sent(seat, outcome));
            });
        }
    }
}

/// Sends from a queue, until somebody stops that.
fn begin_to_send(core: &Rc<Core>, work: Work) {
    let name = work.endpoint().name.clone();
    let turning = match work.begin(core.kind) {
        Ok(turning) => turning,
        Err(error) => {
            let what = format!("queue of endpoint '{name}' is not sent from: {error}");
            return core.log.error(&what);
        }
    };
    let near = turning.near();
    core.senders.add(near.clone());
    let core = core.clone();
    monoio::spawn(async move {
        turning.run().await;
        core.senders.remove(&near);
        // Whoever waits until none is left looks now.
        core.handle.ring();
    });
}

/// A connection counts until its task has ended, however it ends.
struct Counted(Rc<Core>);

impl Drop for Counted {
    fn drop(&mut self) {
        // Relaxed: a lone count, see `Handle::hand`.
        self.0.handle.load.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn open(core: &Rc<Core>, accepted: Accepted) {
    let counted = Counted(core.clone());
    let Accepted { stream, peer, number } = accepted;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    core.handle.counters.add(Counter::Connections, 1);
    let core = core.clone();
    monoio::spawn(async move {
        conn::serve(core, stream, peer, number).await;
        drop(counted);
    });
}

/// The processors this process may run on.
pub fn cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        // A core that is not pinned works as well, only its cache is colder.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}
