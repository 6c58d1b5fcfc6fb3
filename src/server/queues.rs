//! The queues of endpoints and their senders: opened before the cores are told of them, closed after the
//! last request that was is over.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};

use super::fault::StartError;
use super::settings::Ledger;
use crate::base::limits::RETIRE_MAX;
use crate::base::time::Millis;
use crate::config::Config;
use crate::config::endpoint::Endpoint as Setting;
use crate::config::queue::{Delivery, OnRemoved, OutOfOrder, QueueSetting};
use crate::io::admin::sight::{Seen, Sight};
use crate::io::clock::Clock;
use crate::io::endpoint::Endpoint;
use crate::io::link::EndpointId;
use crate::io::log::Log;
use crate::io::orders::Order;
use crate::io::queue::bell::{Bell, Heard};
use crate::io::queue::sender::Sender;
use crate::io::queue::thread::{Queue, Running};
use crate::io::queue::turning::Start;
use crate::io::settings::Settings;
use crate::logic::queue::dispatch::Rule;
use crate::shared::metrics::Counters;
use crate::wire::queue::sequence::Salt;

/// The queue of one endpoint, which takes requests, and of which nothing is sent yet.
pub struct Opened {
    name: String,
    setting: QueueSetting,
    out_of_order: OutOfOrder,
    /// What is stored in it has heads of [`Route::common`].
    ///
    /// [`Route::common`]: crate::wire::http::rewrite::Route::common
    running: Running,
    rule: Rule,
    heard: Heard,
}

/// One that is sent from, too.
pub struct Backlog {
    /// As it is now.
    pub endpoint: Arc<Endpoint>,
    /// How it was configured.
    pub setting: QueueSetting,
    /// What its endpoint takes.
    out_of_order: OutOfOrder,
    running: Running,
    sender: Sender,
}

/// What senders are started with.
pub struct Ground<'g> {
    /// Has the places of their counters.
    pub sight: &'g Sight,
    /// See [`Config`].
    pub decoded_bytes_max: usize,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: &'g Log,
}

/// Opens the queues of these endpoints that have one. After an error none is open.
pub fn open<'e>(endpoints: impl Iterator<Item = &'e Setting>) -> Result<Vec<Opened>, StartError> {
    let mut opened: Vec<Opened> = Vec::new();
    for endpoint in endpoints {
        match open_one(endpoint) {
            Ok(one) => opened.extend(one),
            Err(error) => {
                opened.into_iter().for_each(|one| one.running.stop());
                return Err(error);
            }
        }
    }
    Ok(opened)
}

fn open_one(endpoint: &Setting) -> Result<Option<Opened>, StartError> {
    let Delivery::Queued(queue) = &endpoint.delivery else { return Ok(None) };
    let (bell, heard) = Bell::new().map_err(StartError::Thread)?;
    let ring = Arc::new(move || bell.ring_if_wanted());
    let setting = queue.setting(endpoint.out_of_order);
    let running = Running::start(&queue.dir, setting, Salt(dice()), ring)
        .map_err(|error| StartError::Queue(queue.dir.clone(), error))?;
    let rule = queue.rule(endpoint.out_of_order);
    let (name, setting) = (endpoint.name.clone(), queue.clone());
    let out_of_order = endpoint.out_of_order;
    Ok(Some(Opened { name, setting, out_of_order, running, rule, heard }))
}

/// A number that nobody outside may guess.
fn dice() -> u64 {
    RandomState::new().hash_one(0)
}

/// Begins to send from all of these. After an error none is sent from, and none is open.
pub fn send(
    opened: Vec<Opened>,
    ledger: &Ledger,
    ground: &Ground<'_>,
) -> Result<Vec<Backlog>, StartError> {
    let (mut backlogs, mut opened) = (Vec::new(), opened.into_iter());
    while let Some(one) = opened.next() {
        match one.send(ledger.endpoints(), ground) {
            Ok(backlog) => backlogs.push(backlog),
            Err(error) => {
                opened.for_each(|one| one.running.stop());
                let now = ground.clock.now();
                backlogs.into_iter().for_each(|one: Backlog| one.stop(now, ground.log));
                return Err(error);
            }
        }
    }
    Ok(backlogs)
}

impl<'g> Ground<'g> {
    /// Of a configuration.
    pub fn of(sight: &'g Sight, config: &Config) -> Ground<'g> {
        let decoded_bytes_max = config.decoded_bytes_max;
        Ground { sight, decoded_bytes_max, clock: sight.clock, log: &sight.log }
    }
}

impl Opened {
    /// Its one of the endpoints, and the way in.
    pub fn way<'e>(
        &self,
        endpoints: impl Iterator<Item = &'e Arc<Endpoint>>,
    ) -> (EndpointId, Queue) {
        (self.own(endpoints).id, self.running.queue.clone())
    }

    fn own<'e>(&self, mut endpoints: impl Iterator<Item = &'e Arc<Endpoint>>) -> &'e Arc<Endpoint> {
        endpoints.find(|it| it.name == self.name).expect("a queue is opened for an endpoint")
    }

    /// Begins to send what it holds to its one of the `endpoints`.
    fn send<'e>(
        self,
        endpoints: impl Iterator<Item = &'e Arc<Endpoint>>,
        ground: &Ground<'_>,
    ) -> Result<Backlog, StartError> {
        let endpoint = self.own(endpoints).clone();
        let Opened { setting, out_of_order, running, rule, heard, .. } = self;
        let place = ground.sight.senders.get(endpoint.id.0);
        // One that was there before has ended, so that there is one who writes.
        let counters = place.map(|place| {
            place.get_or_init(|| Arc::new(Counters::of_endpoints(endpoint.id.0 + 1))).clone()
        });
        let start = Start {
            endpoint: endpoint.clone(),
            rule,
            decoded_bytes_max: ground.decoded_bytes_max,
            seed: dice(),
            clock: ground.clock,
            log: ground.log.clone(),
            counters: counters.unwrap_or_default(),
        };
        match Sender::new(&running, heard, start) {
            Ok((sender, work)) => {
                // Each queue has one core that sends from it, and they are spread.
                let cores = &ground.sight.cores;
                cores[endpoint.id.0 % cores.len()].order(Order::Begin(Box::new(work)));
                Ok(Backlog { endpoint, setting, out_of_order, running, sender })
            }
            Err(error) => {
                running.stop();
                Err(StartError::Thread(error))
            }
        }
    }
}

impl Backlog {
    /// Its endpoint, and the way in.
    pub fn way(&self) -> (EndpointId, Queue) {
        (self.endpoint.id, self.running.queue.clone())
    }

    /// Goes on with its endpoint as it is now.
    pub fn change(&mut self, endpoint: &Arc<Endpoint>, setting: QueueSetting) {
        self.setting = setting;
        if !Arc::ptr_eq(&self.endpoint, endpoint) {
            self.endpoint = endpoint.clone();
            self.sender.change(endpoint.clone());
        }
    }

    /// For whoever looks how full it is.
    pub fn seen(&self, is_leaving: bool) -> Seen {
        let (endpoint, queue) = (self.endpoint.name.clone(), self.running.queue.clone());
        Seen { endpoint, queue, sender: self.sender.watch(), is_leaving }
    }

    /// What is left of one that was removed and is closed before it is empty, in words.
    pub fn left(&self) -> Option<String> {
        let records = self.running.queue.depth().records();
        let (name, dir) = (&self.endpoint.name, self.setting.dir.display());
        (records > 0).then(|| {
            format!(
                "{dir} has {records} requests of endpoint '{name}' left, which was removed: they \
                 are sent when an endpoint is given that queue again"
            )
        })
    }

    /// Waits for what is under way to the endpoint, until `deadline` at the latest, stores what is on its
    /// way here, and ends. Whoever appends must have ended before, or is refused.
    pub fn stop(self, deadline: Millis, log: &Log) {
        // What it says last is to be written down.
        if let Err(error) = self.sender.stop(deadline) {
            let name = &self.endpoint.name;
            log.error(&format!("queue of endpoint '{name}' is sent from no more: {error}"));
        }
        self.running.stop();
    }
}

/// One whose endpoint has been removed.
pub struct Leaving {
    /// `None`: it is just being closed.
    pub backlog: Option<Backlog>,
    /// Of its endpoint.
    pub endpoint: Arc<Endpoint>,
    /// How it was configured.
    pub setting: QueueSetting,
    /// What its endpoint takes.
    out_of_order: OutOfOrder,
    /// The settings of cores by which a request may still come into it.
    known_by: Vec<Weak<Settings>>,
    since: Millis,
}

impl Leaving {
    /// From `now` on.
    pub fn new(backlog: Backlog, known_by: Vec<Weak<Settings>>, now: Millis) -> Leaving {
        let (endpoint, setting) = (backlog.endpoint.clone(), backlog.setting.clone());
        let out_of_order = backlog.out_of_order;
        Leaving { backlog: Some(backlog), endpoint, setting, out_of_order, known_by, since: now }
    }

    /// Whether it is time to close it: no request can come into it any more, or only one that will be
    /// refused and come again, and everything is sent that is to be.
    pub fn is_due(&self, now: Millis) -> bool {
        let Some(backlog) = &self.backlog else { return false };
        let is_known = self.known_by.iter().any(|settings| settings.strong_count() > 0);
        let is_late = now.since(self.since) >= RETIRE_MAX;
        match self.setting.on_removed {
            OnRemoved::Keep => !is_known || is_late,
            OnRemoved::Drain => (!is_known || is_late) && backlog.running.queue.depth().is_empty(),
        }
    }

    /// Why an endpoint can't be as it is configured as long as this one is there.
    pub fn fault(&self, endpoint: &Setting) -> Option<String> {
        let (name, own) = (&endpoint.name, &self.endpoint.name);
        let (is_own, dir) = (name == own, &self.setting.dir);
        let fault = |what: &str| Some(format!("endpoint '{name}': {what}"));
        match &endpoint.delivery {
            Delivery::Direct if is_own => fault(
                "its queue is not closed yet, and what is new would overtake what is in it: \
                 reload again when it is",
            ),
            Delivery::Queued(_) if is_own && self.backlog.is_none() => {
                fault("its queue is just being closed: reload again in a moment")
            }
            Delivery::Queued(_) if is_own && endpoint.out_of_order != self.out_of_order => {
                fault("out_of_order can't change before its queue is closed")
            }
            Delivery::Queued(queue) if is_own => {
                let key = super::changes::queue_key(&self.setting, queue)?;
                fault(&format!("queue.{key} can't change before its queue is closed"))
            }
            Delivery::Queued(queue) if queue.dir == *dir => fault(&format!(
                "the queue in {} is that of endpoint '{own}' and is not closed yet: reload again \
                 when it is",
                dir.display()
            )),
            Delivery::Direct | Delivery::Queued(_) => None,
        }
    }
}
