//! What one core owns, and the handle by which other threads reach it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Write as _;
use std::mem::{Discriminant, discriminant};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::{ArrayQueue, SegQueue};

use crate::base::limits::{ENDPOINTS_EVER_MAX, FAULTS_TOLD_EVERY, INBOX_MAX, RETRY_AFTER_SECONDS};
use crate::base::time::{Millis, Nanos};
use crate::io::appends::Appends;
use crate::io::buffers::Buffers;
use crate::io::clock::Clock;
use crate::io::deadline::Deadlines;
use crate::io::driver::Kind;
use crate::io::endpoint::Outlet;
use crate::io::gate::{Gate, Guests};
use crate::io::links::Links;
use crate::io::log::Log;
use crate::io::orders::Order;
use crate::io::senders::Senders;
use crate::io::settings::{Settings, Terms};
use crate::io::store::Store;
use crate::io::tls::fault::TlsFault;
use crate::shared::labels::Course;
use crate::shared::metrics::{Counters, Load};
use crate::shared::state::Seats;
use crate::wire::remote_write::snappy::Decoder;

/// A connection on its way to a core.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, set up for the core's driver.
    pub stream: TcpStream,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Counts the connections of this process.
    pub number: u64,
}

/// The outside of a core: what other threads may touch.
#[derive(Debug)]
pub struct Handle {
    /// Its place among the cores.
    pub index: usize,
    /// How much it has to do.
    pub load: Load,
    /// What it has done.
    pub counters: Counters,
    inbox: ArrayQueue<Accepted>,
    orders: SegQueue<Order>,
    bell: UnixStream,
    stopping: AtomicBool,
    stop_at: AtomicU64,
}

impl Handle {
    /// A handle whose bell is heard at the other end of `bell`.
    pub fn new(index: usize, bell: UnixStream) -> Handle {
        Handle {
            index,
            load: Load::default(),
            counters: Counters::of_endpoints(ENDPOINTS_EVER_MAX),
            inbox: ArrayQueue::new(INBOX_MAX),
            orders: SegQueue::new(),
            bell,
            stopping: AtomicBool::new(false),
            stop_at: AtomicU64::new(u64::MAX),
        }
    }

    /// Hands a connection over. Given back when the core has not taken the last ones yet.
    pub fn hand(&self, accepted: Accepted) -> Result<(), Accepted> {
        // Relaxed: a lone count; the queue publishes the connection itself.
        self.load.connections.fetch_add(1, Ordering::Relaxed);
        match self.inbox.push(accepted) {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            Err(accepted) => {
                self.load.connections.fetch_sub(1, Ordering::Relaxed);
                Err(accepted)
            }
        }
    }

    /// The next connection that was handed over; for the core itself.
    pub fn take(&self) -> Option<Accepted> {
        self.inbox.pop()
    }

    /// Gives the core an order. There are never more of them than seats that are handed over, requests
    /// that ask, queues that are begun, and a reload.
    pub fn order(&self, order: Order) {
        self.orders.push(order);
        self.ring();
    }

    /// The next order; for the core itself.
    pub fn take_order(&self) -> Option<Order> {
        self.orders.pop()
    }

    /// Wakes the core: for a beat, or because something lies in its inbox.
    pub fn ring(&self) {
        // A full pipe means that it will wake anyway.
        let _ = (&self.bell).write(&[1]);
    }

    /// Tells the core to finish what is in flight, until `deadline` at the latest.
    pub fn stop(&self, deadline: Millis) {
        self.stop_at.store(deadline.0, Ordering::Relaxed);
        // Release: whoever sees the flag sees the deadline.
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    /// By when the core has to be done, if it has to.
    pub fn stops_at(&self) -> Option<Millis> {
        // Acquire: see `stop`.
        let stopping = self.stopping.load(Ordering::Acquire);
        stopping.then(|| Millis(self.stop_at.load(Ordering::Relaxed)))
    }
}

/// The inside of a core: shared by its tasks, never by threads.
pub struct Core {
    /// Its outside.
    pub handle: Arc<Handle>,
    /// What it was told last.
    pub terms: RefCell<Terms>,
    /// The seats of all groups.
    pub seats: Arc<Seats>,
    /// What its loop is built on.
    pub kind: Kind,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// The deadlines of its connections.
    pub deadlines: Deadlines,
    /// Its buffers.
    pub buffers: Buffers,
    /// Its idle connections to the endpoints.
    pub links: Links,
    /// How the log calls its thread.
    pub name: String,
    /// What it keeps for hand-overs.
    pub store: Store,
    /// What it has given to queues.
    pub appends: Appends,
    /// The senders of queues that are on its loop.
    pub senders: Senders,
    /// The way in, if not everybody may come.
    pub gate: Option<Arc<Gate>>,
    /// Whose passwords are being checked.
    pub guests: Guests,
    /// When it was last said that a handshake had failed for this.
    pub faults_told: RefCell<HashMap<Discriminant<TlsFault>, Millis>>,
    /// Reads the fronts of bodies, and held ones of version 2 for their counts.
    pub reader: RefCell<Reader>,
    /// Whether it only finishes what is in flight.
    pub draining: Cell<bool>,
    /// When a request was last answered to the last byte.
    pub last_answer: Cell<Millis>,
    /// The state of a small generator for jitter.
    pub jitter: Cell<u64>,
}

/// The memory with which one core looks into bodies.
#[derive(Debug, Default)]
pub struct Reader {
    /// The front of a body, decoded.
    pub front: Vec<u8>,
    /// Decodes a whole one.
    pub decoder: Decoder,
    /// The times of one.
    pub times: Vec<i64>,
}

impl Core {
    /// The terms of a request that comes, or is sent on, now.
    pub fn terms(&self) -> Terms {
        self.terms.borrow().clone()
    }

    /// From now on these are the terms. What is under way ends under those before.
    pub fn on_terms(&self, settings: Arc<Settings>) {
        self.links.leave(|to| settings.endpoints.has(to));
        self.terms.replace(Rc::new(settings));
    }

    /// What it sends with, under these terms.
    pub fn outlet<'o>(&'o self, terms: &'o Terms) -> Outlet<'o> {
        Outlet {
            endpoints: &terms.endpoints,
            links: &self.links,
            kind: self.kind,
            clock: self.clock,
            counters: &self.handle.counters,
            log: &self.log,
            thread: &self.name,
            nodes_tls: terms
                .relaying
                .as_ref()
                .and_then(|it| it.tls.as_ref())
                .filter(|_| self.gate.as_ref().is_some_and(|gate| gate.rules().tls.is_some())),
        }
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Says what was wrong with a handshake with `whom`, each thing once in a while: anybody can have them
    /// fail.
    pub fn tell_fault(&self, fault: TlsFault, whom: &str) {
        let (now, kind) = (self.now(), discriminant(&fault));
        let told = self.faults_told.borrow().get(&kind).copied();
        if told.is_none_or(|told| now.since(told) >= FAULTS_TOLD_EVERY) {
            self.faults_told.borrow_mut().insert(kind, now);
            self.log.warn(&fault.of_whom(whom));
        }
    }

    /// A request has been answered to the last byte, whose head had been read at `begun`.
    pub fn on_answered(&self, course: Course, begun: Nanos) {
        let (now, nanos) = self.clock.both();
        self.last_answer.set(now);
        self.handle.counters.add_request(course, nanos.since(begun));
    }

    /// Seconds for a Retry-After, different each time.
    pub fn retry_after_seconds(&self) -> u32 {
        // A multiplicative generator: good enough to spread 50 shards over five seconds.
        let next = self.jitter.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.jitter.set(next);
        let (low, high) = (*RETRY_AFTER_SECONDS.start(), *RETRY_AFTER_SECONDS.end());
        low + (next >> 33) as u32 % (high - low + 1)
    }
}
