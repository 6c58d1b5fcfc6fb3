//! The leases that this node holds in an etcd, `--cluster-lease`, on a thread of their own.
//!
//! The thread does what `logic::cluster::etcd_lease` says is next and waits for nothing longer than one
//! request takes. It only promises: who acts for a key compares the promise with the clock before each
//! act, so that a thread, or an etcd, that hangs prolongs nothing.
//!
//! The clock must go on as etcd's does. It does not while the machine is suspended: a node that can
//! be, and wakes up, believes for what was left of its promise that it still holds its keys.

pub mod client;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use self::client::{Client, ClientError, EtcdConfig};
use crate::base::limits::{
    LEASE_ASKS_MAX, LEASE_ENTRIES_MAX, LEASE_RETRY, LEASE_STOP_MAX, LEASE_TOLD_MAX, LEASE_TTL,
};
use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::log::Log;
use crate::logic::cluster::etcd_lease::{EtcdLease, Step, Told};
use crate::wire::cluster::etcd::{self as wire, AnswerError, Key, Names};

/// What is asked of the leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// These keys are wanted too, until they are released.
    Want(Vec<Key>),
    /// These are wanted no more, and may be another's as soon as this is asked.
    Release(Vec<Key>),
}

/// The leases of this node. Once it is dropped, they are given back.
#[derive(Debug)]
pub struct Etcd {
    asks: Sender<Ask>,
    told: Receiver<Told>,
    stopping: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Etcd {
    /// Starts the thread. `cluster` is part of each key's name, `identity` is what the others read as
    /// the holder's: it must differ from theirs. `clock` is the one that promises are compared with.
    ///
    /// An error: a file of the configuration can't be used, or there is no thread. That no etcd can be
    /// reached is none: it is told, and tried again.
    pub fn start(
        config: &EtcdConfig,
        cluster: &str,
        identity: &str,
        clock: Clock,
        log: &Log,
    ) -> io::Result<Etcd> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (asks, asked) = bounded(LEASE_ASKS_MAX);
        let (telling, told) = bounded(LEASE_TOLD_MAX);
        let (ending, ended) = bounded(1);
        let mut keeper = Keeper {
            client: Client::new(config, clock)?,
            names: Names::of(cluster),
            identity: identity.to_owned(),
            lease: EtcdLease::new(identity),
            clock,
            log: log.clone(),
            told: telling,
            stopping: stopping.clone(),
        };
        thread::Builder::new().name("etcd".into()).spawn(move || {
            keeper.run(&asked);
            let _ = ending.try_send(());
        })?;
        Ok(Etcd { asks, told, stopping, ended })
    }

    /// One that nobody keeps: who has the other ends is the thread. There is room for so many asks.
    #[cfg(test)]
    pub fn unkept(room: usize) -> (Etcd, Receiver<Ask>, Sender<Told>) {
        let (asks, asked) = bounded(room);
        let (telling, told) = bounded(LEASE_TOLD_MAX);
        let (_, ended) = bounded(1);
        (Etcd { asks, told, stopping: Arc::default(), ended }, asked, telling)
    }

    /// Asks for something. Given back: there is no room for it now; who asks too much asks again.
    pub fn ask(&self, ask: Ask) -> Result<(), Ask> {
        self.asks.try_send(ask).map_err(|error| error.into_inner())
    }

    /// What the node is told, in order. What is not taken from here stops all prolonging.
    pub fn told(&self) -> &Receiver<Told> {
        &self.told
    }

    /// Gives all keys back at once, so that the next one need not wait for the lease to end, and ends
    /// the thread. Whoever acted for a key must have stopped before. Returns after
    /// [`LEASE_STOP_MAX`] at the latest: then the lease ends by itself.
    pub fn stop(self) {
        let Etcd { asks, told, stopping, ended } = self;
        // Release: the thread sees it at the latest when it sees that nobody can ask any more.
        stopping.store(true, Ordering::Release);
        drop((asks, told));
        let _ = ended.recv_timeout(LEASE_STOP_MAX.into());
    }
}

/// What the thread owns.
struct Keeper {
    client: Client,
    names: Names,
    identity: String,
    lease: EtcdLease,
    clock: Clock,
    log: Log,
    told: Sender<Told>,
    stopping: Arc<AtomicBool>,
}

impl Keeper {
    /// Until nobody can ask any more.
    fn run(&mut self, asked: &Receiver<Ask>) {
        while !self.is_stopping() {
            let step = self.lease.poll(self.clock.now());
            let rest = match &step {
                Step::Rest(until) => until.since(self.clock.now()),
                _ => Millis(0),
            };
            self.act(step);
            self.tell();
            match asked.recv_timeout(rest.into()) {
                Ok(ask) => {
                    self.take(ask);
                    // All of them before the next step, which looks at all keys for what they ask.
                    asked.try_iter().for_each(|ask| self.take(ask));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(lease) = self.lease.lease() {
            let deadline = self.clock.now().after(LEASE_STOP_MAX);
            let on_time = || self.clock.now() < deadline;
            if let Err(error) = self.client.ask(wire::REVOKE, &wire::lease(lease), &on_time) {
                self.log.warn(&format!("etcd: the lease is left to its end: {error}"));
            }
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Want(keys) => self.lease.on_wanted(&keys),
            Ask::Release(keys) => self.lease.on_released(&keys),
        }
    }

    fn act(&mut self, step: Step) {
        let done = match step {
            Step::Rest(_) => Ok(()),
            Step::Grant => self.grant(),
            Step::Renew(lease) => self.renew(lease),
            Step::Look => self.look(),
            Step::Take(lease, keys) => {
                self.try_out(&self.names.take(&keys, self.identity.as_bytes(), lease))
            }
            Step::Give(keys) => self.try_out(&self.names.give(&keys)),
        };
        match done {
            Ok(()) => {}
            Err(ClientError::LeaseGone) => self.lease.on_lease_gone(self.clock.now()),
            // It was not tried with all.
            Err(_) if self.is_stopping() => {}
            Err(error) => self.lease.on_trouble(self.clock.now(), error.to_string()),
        }
    }

    fn is_stopping(&self) -> bool {
        // Acquire: pairs with the store in `stop`.
        self.stopping.load(Ordering::Acquire)
    }

    fn grant(&mut self) -> Result<(), ClientError> {
        let (sent, answer) = self.ask(wire::GRANT, &wire::grant(LEASE_TTL.0 / 1_000))?;
        self.lease.on_granted(sent, answer.granted()?);
        Ok(())
    }

    fn renew(&mut self, lease: wire::LeaseId) -> Result<(), ClientError> {
        let (sent, answer) = self.ask(wire::RENEW, &wire::lease(lease))?;
        self.lease.on_renewed(self.clock.now(), sent, answer.renewed(lease)?);
        Ok(())
    }

    fn look(&mut self) -> Result<(), ClientError> {
        let (_, answer) = self.ask(wire::RANGE, &self.names.range(None))?;
        let mut page = answer.page(&self.names, None)?;
        let mut seen = page.seen;
        while let Some(place) = page.next {
            let (_, answer) = self.ask(wire::RANGE, &self.names.range(Some(&place)))?;
            page = answer.page(&self.names, Some(&place))?;
            seen.entries.append(&mut page.seen.entries);
            if seen.entries.len() > LEASE_ENTRIES_MAX {
                return Err(ClientError::Failed("more keys than a cluster has groups".into()));
            }
        }
        self.lease.on_seen(self.clock.now(), seen);
        Ok(())
    }

    fn try_out(&mut self, steps: &[u8]) -> Result<(), ClientError> {
        self.ask(wire::TXN, steps)?;
        self.lease.on_tried();
        Ok(())
    }

    fn ask(&mut self, path: &str, body: &[u8]) -> Result<(Millis, wire::Answer), ClientError> {
        // Acquire: as in `is_stopping`, which would borrow all of it.
        let stopping = &self.stopping;
        self.client.ask(path, body, &|| !stopping.load(Ordering::Acquire))
    }

    /// Says what there is to say, and waits for room: who is not heard must not go on promising.
    fn tell(&mut self) {
        while let Some(mut told) = self.lease.poll_told() {
            match &told {
                Told::Unreachable(reason) => self.log.warn(&format!("etcd: no lease: {reason}")),
                Told::Again => self.log.info("etcd: leases are granted again"),
                Told::Granted { .. }
                | Told::Taken { .. }
                | Told::Lost { .. }
                | Told::Refused { .. }
                | Told::Released { .. } => {}
            }
            while let Err(error) = self.told.send_timeout(told, LEASE_RETRY.into()) {
                match error {
                    SendTimeoutError::Timeout(unsaid) => told = unsaid,
                    SendTimeoutError::Disconnected(_) => break,
                }
            }
        }
    }
}

impl From<AnswerError> for ClientError {
    fn from(error: AnswerError) -> ClientError {
        match error {
            AnswerError::LeaseGone => ClientError::LeaseGone,
            other => ClientError::Failed(other.to_string()),
        }
    }
}
