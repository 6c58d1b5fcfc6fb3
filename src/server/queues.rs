//! The queues of endpoints and their senders: opened before the cores start, closed after they have ended.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::fault::StartError;
use crate::base::time::Millis;
use crate::config::Config;
use crate::config::queue::Delivery;
use crate::io::admin::sight::Seen;
use crate::io::clock::Clock;
use crate::io::endpoint::Endpoint;
use crate::io::link::EndpointId;
use crate::io::log::Log;
use crate::io::queue::bell::{Bell, Heard};
use crate::io::queue::sender::{self, Sender};
use crate::io::queue::thread::Running;
use crate::logic::queue::dispatch::Rule;
use crate::shared::metrics::Counters;
use crate::wire::queue::sequence::Salt;

/// The queue of one endpoint, which takes requests, and of which nothing is sent yet.
pub struct Opened {
    /// Whose it is.
    pub endpoint: EndpointId,
    /// What is stored in it has heads of [`Route::common`].
    ///
    /// [`Route::common`]: crate::wire::http::rewrite::Route::common
    pub running: Running,
    rule: Rule,
    heard: Heard,
}

/// One that is sent from, too.
pub struct Backlog {
    name: String,
    running: Running,
    sender: Sender,
    /// Of the sender.
    pub counters: Arc<Counters>,
}

/// Opens the queues of all endpoints that have one. After an error those that were opened end by
/// themselves.
pub fn open(config: &Config) -> Result<Vec<Opened>, StartError> {
    let mut opened = Vec::new();
    for (place, endpoint) in config.endpoints.iter().enumerate() {
        let Delivery::Queued(queue) = &endpoint.delivery else { continue };
        let fault = |error| StartError::Queue(queue.dir.clone(), error);
        let (bell, heard) = Bell::new().map_err(StartError::Thread)?;
        let ring = Box::new(move || bell.ring_if_wanted());
        let setting = queue.setting(endpoint.out_of_order);
        let running =
            Running::start(&queue.dir, setting, Salt(dice(place)), ring).map_err(fault)?;
        let rule = queue.rule(endpoint.out_of_order);
        opened.push(Opened { endpoint: EndpointId(place), running, rule, heard });
    }
    Ok(opened)
}

/// A number that nobody outside may guess.
fn dice(of: usize) -> u64 {
    RandomState::new().hash_one(of)
}

impl Opened {
    /// Begins to send what it holds to its one of the `endpoints`.
    pub fn send(
        self,
        endpoints: Arc<[Endpoint]>,
        config: &Config,
        clock: Clock,
        log: &Log,
    ) -> Result<Backlog, StartError> {
        let Opened { endpoint, running, rule, heard } = self;
        let name = endpoints[endpoint.0].name.clone();
        let counters = Arc::new(Counters::of_endpoints(endpoints.len()));
        let start = sender::Start {
            endpoints,
            id: endpoint,
            rule,
            decoded_bytes_max: config.decoded_bytes_max,
            seed: dice(endpoint.0),
            driver: config.driver,
            clock,
            log: log.clone(),
            counters: counters.clone(),
        };
        let sender = Sender::start(&running, heard, start).map_err(StartError::Thread)?;
        Ok(Backlog { name, running, sender, counters })
    }
}

impl Backlog {
    /// For whoever looks how full it is.
    pub fn seen(&self) -> Seen {
        let (endpoint, queue) = (self.name.clone(), self.running.queue.clone());
        Seen { endpoint, queue, sender: self.sender.watch() }
    }

    /// Waits for what is under way to the endpoint, until `deadline` at the latest, stores what is on its
    /// way here, and ends. Whoever appends must have ended before.
    pub fn stop(self, deadline: Millis, log: &Log) {
        // What it says last is to be written down.
        if let Err(error) = self.sender.stop(deadline) {
            log.error(&format!("queue of endpoint '{}' is sent from no more: {error}", self.name));
        }
        self.running.stop();
    }
}
