//! The configuration taken over anew while the program runs: all of it, or nothing.
//!
//! Everything that can fail is done first: the configuration is read as at the start, compared with the
//! one in force, its endpoints made, its queues opened. Only then the cores are told, each by an order in
//! its inbox. A request ends under the terms that it began with, or was sent on under; so a queue that is
//! removed stays open until no core knows it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;

use super::changes;
use super::queues::{self, Backlog, Ground, Leaving};
use super::settings::{Common, Ledger, Unmade};
use super::tuning;
use crate::base::limits::RELOAD_PATIENCE;
use crate::base::time::Millis;
use crate::config::Config;
use crate::config::endpoint::Endpoint as Setting;
use crate::config::queue::Delivery;
use crate::io::admin::sight::{Shown, Sight};
use crate::io::core::Handle;
use crate::io::endpoint::Endpoint;
use crate::io::orders::Order;
use crate::io::settings::Settings;
use crate::shared::tuning::Tuned;

/// Reads the configuration once more, given the one in force.
pub type ReadConfig = Box<dyn Fn(&Config) -> Result<Config, Vec<String>> + Send + Sync>;

/// How often it is looked whether a queue can be closed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The way to another configuration. Cheap to clone.
#[derive(Clone)]
pub struct Reload(Arc<Inner>);

struct Inner {
    read: ReadConfig,
    sight: Arc<Sight>,
    tuned: Tuned,
    common: Common,
    /// The process is about to end: nothing is taken over any more.
    is_ending: AtomicBool,
    inside: Mutex<Inside>,
}

/// What a reload changes: one at a time.
struct Inside {
    config: Config,
    ledger: Ledger,
    /// Those that the cores were told last.
    settings: Arc<Settings>,
    /// Those before, as long as a request is under way under them.
    before: Vec<Weak<Settings>>,
    backlogs: Vec<Backlog>,
    leaving: Vec<Leaving>,
    closing: Vec<JoinHandle<()>>,
}

/// What a server has begun with.
pub struct Start {
    /// How the configuration is read again.
    pub read: ReadConfig,
    /// Where all of it is seen.
    pub sight: Arc<Sight>,
    /// What threads other than the cores look at.
    pub tuned: Tuned,
    /// What all settings have in common.
    pub common: Common,
    /// What is in force.
    pub config: Config,
    /// What there has been.
    pub ledger: Ledger,
    /// What the cores were told.
    pub settings: Arc<Settings>,
    /// The queues.
    pub backlogs: Vec<Backlog>,
}

/// What is ready to be taken over.
struct Ready {
    config: Config,
    changes: Vec<String>,
    ledger: Ledger,
    opened: Vec<Backlog>,
}

impl Reload {
    /// Of a server that runs with this.
    pub fn new(start: Start) -> Reload {
        let Start { read, sight, tuned, common, config, ledger, settings, backlogs } = start;
        let (before, leaving, closing) = Default::default();
        let inside = Inside { config, ledger, settings, before, backlogs, leaving, closing };
        sight.shown.store(Arc::new(inside.shown()));
        let (is_ending, inside) = (AtomicBool::new(false), Mutex::new(inside));
        Reload(Arc::new(Inner { read, sight, tuned, common, is_ending, inside }))
    }

    /// Takes the configuration over as it is now, because `who` wants it. Returned is what has changed. An
    /// error is everything that stands against it; then nothing has.
    pub fn reload(&self, who: &str) -> Result<String, Vec<String>> {
        let (sight, mut inside) = (&self.0.sight, self.lock_when_closed());
        let log = &sight.log;
        let ready = self.prepare(&inside);
        // Reading may have taken long.
        match ready.and_then(|ready| self.go_on().map(|()| ready)) {
            Ok(ready) => {
                let warnings = ready.config.warnings.iter().cloned();
                for warning in warnings.chain(tuning::shortage(&ready.config)) {
                    log.warn(&warning);
                }
                let said = self.take(&mut inside, ready);
                sight.reloads.on_taken(sight.clock.unix_now());
                log.info(&format!("configuration read again for {who}: {said}"));
                Ok(said)
            }
            Err(faults) => {
                log.error(&format!("the configuration read again for {who} is refused:"));
                for fault in &faults {
                    log.error(fault);
                }
                sight.reloads.on_refused(faults.clone());
                Err(faults)
            }
        }
    }

    /// The longest wait at the end, as it is now.
    pub fn shutdown_timeout(&self) -> Millis {
        self.0.tuned.load().shutdown_timeout
    }

    /// Takes nothing over any more. One that is under way, and may be waiting for a file, is not waited for.
    pub fn end(&self) {
        // Relaxed: whoever takes over asks under the lock, and so does whoever closes.
        self.0.is_ending.store(true, Ordering::Relaxed);
    }

    /// Closes all queues, which nobody appends to any more.
    pub fn stop(&self, deadline: Millis) {
        self.end();
        let Some(mut inside) = self.lock_until(deadline) else {
            // A reload waits for a file that does not come: what is in the queues lies there.
            return self.0.sight.log.error("queues are not closed: a reload is stuck");
        };
        let backlogs = std::mem::take(&mut inside.backlogs);
        let leaving = inside.leaving.iter_mut().filter_map(|it| it.backlog.take());
        let leaving: Vec<Backlog> = leaving.collect();
        for left in leaving.iter().filter_map(Backlog::left) {
            self.0.sight.log.warn(&left);
        }
        let backlogs: Vec<Backlog> = leaving.into_iter().chain(backlogs).collect();
        let closing = std::mem::take(&mut inside.closing);
        // Whoever closes one needs it too.
        drop(inside);
        backlogs.into_iter().for_each(|backlog| backlog.stop(deadline, &self.0.sight.log));
        for thread in closing {
            // It has no panics of its own.
            let _ = thread.join();
        }
    }

    fn go_on(&self) -> Result<(), Vec<String>> {
        // Relaxed: see `end`.
        match self.0.is_ending.load(Ordering::Relaxed) {
            true => Err(vec!["it is about to end".to_owned()]),
            false => Ok(()),
        }
    }

    /// The lock, if it is to be had until `deadline`.
    fn lock_until(&self, deadline: Millis) -> Option<MutexGuard<'_, Inside>> {
        loop {
            match self.0.inside.try_lock() {
                Ok(inside) => return Some(inside),
                Err(TryLockError::Poisoned(inside)) => return Some(inside.into_inner()),
                Err(TryLockError::WouldBlock) if self.0.sight.clock.now() >= deadline => {
                    return None;
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // A thread that panics ends the process, so nobody finds it poisoned.
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, when no queue is just being closed, which takes a moment: it may be wanted again.
    fn lock_when_closed(&self) -> MutexGuard<'_, Inside> {
        let begun = Instant::now();
        loop {
            let inside = self.lock();
            let is_closing = inside.leaving.iter().any(|it| it.backlog.is_none());
            if !is_closing || begun.elapsed() >= Duration::from(RELOAD_PATIENCE) {
                return inside;
            }
            drop(inside);
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Makes everything that a reload needs, or nothing.
    fn prepare(&self, inside: &Inside) -> Result<Ready, Vec<String>> {
        self.go_on()?;
        let config = (self.0.read)(&inside.config)?;
        let changes = changes::between(&inside.config, &config);
        let mut faults = changes.faults;
        let leaving = inside.leaving.iter();
        faults.extend(leaving.flat_map(|it| config.endpoints.iter().filter_map(|e| it.fault(e))));
        let sight = &self.0.sight;
        let ledger = match inside.ledger.with(&config, &sight.log) {
            Ok(ledger) => ledger,
            Err(unmade) => {
                faults.push(in_words(unmade));
                return Err(faults);
            }
        };
        faults.extend(unknown(&inside.ledger, &ledger));
        if !faults.is_empty() {
            return Err(faults);
        }
        let is_new = |it: &&Setting| !inside.has_queue(&it.name);
        let opened = queues::open(config.endpoints.iter().filter(is_new));
        let opened =
            opened.and_then(|opened| queues::send(opened, &ledger, &Ground::of(sight, &config)));
        let opened = opened.map_err(|error| vec![error.to_string()])?;
        Ok(Ready { config, changes: changes.taken, ledger, opened })
    }

    /// Takes over what is ready. Nothing of it can fail.
    fn take(&self, inside: &mut Inside, ready: Ready) -> String {
        let Ready { config, changes, ledger, opened } = ready;
        let (sight, now) = (&self.0.sight, self.0.sight.clock.now());
        inside.backlogs.extend(opened);
        let removed = inside.keep_queues(&config, &ledger);
        let queued = inside.backlogs.iter().map(Backlog::way).collect();
        let settings = Arc::new(ledger.settings(&config, &self.0.common, queued));
        let before = std::mem::replace(&mut inside.settings, settings);
        inside.before.retain(|settings| settings.strong_count() > 0);
        inside.before.push(Arc::downgrade(&before));
        drop(before);
        for backlog in removed {
            let leaving = Leaving::new(backlog, inside.before.clone(), now);
            self.close_later(inside, leaving);
        }
        self.0.tuned.store(Arc::new(tuning::tuning(&config)));
        sight.log.set_level(config.log_level);
        sight.memory.set_budget(config.hold_bytes_max);
        sight.seats.set_bounds(config.groups_max, tuning::sources_max(&config));
        (inside.config, inside.ledger) = (config, ledger);
        sight.shown.store(Arc::new(inside.shown()));
        let late = tell(&sight.cores, &inside.settings);
        let mut said = match changes.is_empty() {
            true => "nothing has changed".to_owned(),
            false => changes.join(", "),
        };
        for core in late {
            said += &format!("; core {core} has not taken it over yet");
        }
        said
    }

    /// Closes a queue when it may be, on a thread of its own.
    fn close_later(&self, inside: &mut Inside, leaving: Leaving) {
        let name = leaving.endpoint.name.clone();
        inside.leaving.push(leaving);
        let reload = self.clone();
        let closer = thread::Builder::new().name("closer".into());
        match closer.spawn(move || reload.close(&name)) {
            Ok(thread) => inside.closing.push(thread),
            // It stays open, and is closed at the end.
            Err(error) => self.0.sight.log.warn(&format!("a queue finds no thread: {error}")),
        }
        inside.closing.retain(|thread| !thread.is_finished());
    }

    fn close(&self, name: &str) {
        let (sight, is_it) = (&self.0.sight, |it: &Leaving| it.endpoint.name == name);
        let backlog = loop {
            thread::sleep(LOOK_EVERY);
            let mut inside = self.lock();
            // Relaxed: see `end`.
            let is_ending = self.0.is_ending.load(Ordering::Relaxed);
            // It has been taken back, or is closed with all others.
            let Some(leaving) = inside.leaving.iter_mut().find(|it| is_it(it)) else { return };
            if is_ending || leaving.backlog.is_none() {
                return;
            }
            if leaving.is_due(sight.clock.now()) {
                break leaving.backlog.take();
            }
        };
        let queue = backlog.as_ref().map(Backlog::way);
        let deadline = sight.clock.now().after(self.shutdown_timeout());
        backlog.into_iter().for_each(|backlog| backlog.stop(deadline, &sight.log));
        let left = queue.map_or(0, |(_, queue)| queue.depth().records());
        sight.log.info(&format!("queue of endpoint '{name}' closed, with {left} requests in it"));
        let mut inside = self.lock();
        inside.leaving.retain(|it| !is_it(it));
        sight.shown.store(Arc::new(inside.shown()));
    }
}

impl Inside {
    fn has_queue(&self, name: &str) -> bool {
        let has = |endpoint: &Endpoint| endpoint.name == *name;
        self.backlogs.iter().any(|it| has(&it.endpoint))
            || self.leaving.iter().any(|it| has(&it.endpoint))
    }

    /// Takes back the queues that are wanted again, and gives out those that are wanted no more. All others
    /// go on with their endpoints as they are now.
    fn keep_queues(&mut self, config: &Config, ledger: &Ledger) -> Vec<Backlog> {
        let wanted = |name: &str| {
            let of_name = config.endpoints.iter().find(|it| it.name == *name);
            of_name.and_then(|it| match &it.delivery {
                Delivery::Queued(setting) => Some(setting.clone()),
                Delivery::Direct => None,
            })
        };
        for leaving in &mut self.leaving {
            if wanted(&leaving.endpoint.name).is_some() {
                self.backlogs.extend(leaving.backlog.take());
            }
        }
        self.leaving.retain(|it| wanted(&it.endpoint.name).is_none());
        let mut removed = Vec::new();
        for mut backlog in std::mem::take(&mut self.backlogs) {
            let endpoint = ledger.endpoints().find(|it| it.name == backlog.endpoint.name);
            match (wanted(&backlog.endpoint.name), endpoint) {
                (Some(setting), Some(endpoint)) => {
                    backlog.change(endpoint, setting);
                    self.backlogs.push(backlog);
                }
                _ => removed.push(backlog),
            }
        }
        removed
    }

    fn shown(&self) -> Shown {
        let leaving: Vec<&Backlog> =
            self.leaving.iter().filter_map(|it| it.backlog.as_ref()).collect();
        let gone = leaving.iter().map(|it| it.endpoint.clone());
        let queues = self.backlogs.iter().map(|it| it.seen(false));
        Shown {
            endpoints: self.ledger.endpoints().cloned().chain(gone).collect(),
            queues: queues.chain(leaving.iter().map(|it| it.seen(true))).collect(),
        }
    }
}

/// Waits for the addresses of endpoints that are new, or elsewhere now: until they are known, all that goes
/// there would be refused. Returned is what is wrong with those of which there are none.
fn unknown(before: &Ledger, now: &Ledger) -> Vec<String> {
    let is_there = |it: &&Arc<Endpoint>| before.endpoints().any(|other| Arc::ptr_eq(it, other));
    let new: Vec<_> = now.endpoints().filter(|it| !is_there(it)).collect();
    let lack = || new.iter().filter(|it| it.addresses.now().is_empty());
    let deadline = Instant::now() + Duration::from(RELOAD_PATIENCE);
    while lack().next().is_some() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    lack().map(|it| format!("endpoint '{}': its host can't be resolved", it.name)).collect()
}

/// Tells all cores, and waits until they have taken it over. Returned are those that have not in time.
fn tell(cores: &[Arc<Handle>], settings: &Arc<Settings>) -> Vec<usize> {
    let told = cores.iter().map(|core| {
        let (taken, heard) = bounded(1);
        core.order(Order::Take(settings.clone(), taken));
        (core.index, heard)
    });
    let told: Vec<_> = told.collect();
    let deadline = Instant::now() + Duration::from(RELOAD_PATIENCE);
    let late = told.into_iter().filter(|(_, heard)| heard.recv_deadline(deadline).is_err());
    late.map(|(core, _)| core).collect()
}

fn in_words(unmade: Unmade) -> String {
    match unmade {
        Unmade::Thread(error) => format!("can't start a thread: {error}"),
        Unmade::Tls(fault) => format!("TLS: {} {}", fault.key, fault.what),
        Unmade::Full(what) => what,
    }
}

/// What reads nothing again: the configuration was made by whoever started the server.
pub fn nothing_to_read() -> ReadConfig {
    Box::new(|_| Err(vec!["it was not started with a configuration that can be read again".into()]))
}
