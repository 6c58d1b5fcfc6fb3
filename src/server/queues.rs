//! The queues of endpoints, as they are started before the cores and ended after them.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::fault::StartError;
use crate::config::Config;
use crate::config::queue::{Delivery, QueueSetting};
use crate::io::link::EndpointId;
use crate::io::log::Log;
use crate::io::queue::{report, thread};
use crate::logic::queue::setting::Setting;
use crate::shared::metrics::Counters;
use crate::wire::queue::sequence::Salt;

/// The queue of one endpoint, as it runs.
pub struct Backlog {
    /// Whose it is.
    pub endpoint: EndpointId,
    /// Takes what is to be stored. What is to be sent comes out of its `entries`, with heads of
    /// [`Route::common`]; this is where whoever sends it gets it from.
    ///
    /// [`Route::common`]: crate::wire::http::rewrite::Route::common
    pub running: thread::Running,
    /// Of the thread that logs.
    pub counters: Arc<Counters>,
    log: JoinHandle<()>,
}

/// Opens and starts the queues of all endpoints that have one. After an error those that were started
/// end by themselves.
pub fn start(config: &Config, log: &Log) -> Result<Vec<Backlog>, StartError> {
    let mut backlogs = Vec::new();
    for (place, endpoint) in config.endpoints.iter().enumerate() {
        let Delivery::Queued(queue) = &endpoint.delivery else { continue };
        let fault = |error| StartError::Queue(queue.dir.clone(), error);
        // For a queue that begins; nobody outside may guess it.
        let salt = Salt(RandomState::new().hash_one(place));
        let bell = Box::new(|| {});
        let running = thread::Running::start(&queue.dir, setting(queue), salt, bell);
        let running = running.map_err(fault)?;
        let counters = Arc::new(Counters::default());
        let notices = running.notices.clone();
        let log = report::start(&endpoint.name, notices, log, counters.clone());
        let log = log.map_err(StartError::Thread)?;
        backlogs.push(Backlog { endpoint: EndpointId(place), running, counters, log });
    }
    Ok(backlogs)
}

fn setting(queue: &QueueSetting) -> Setting {
    Setting {
        sync: queue.sync,
        bytes_max: queue.bytes_max,
        on_full: queue.on_full,
        in_flight_max: queue.in_flight_max,
    }
}

impl Backlog {
    /// Stores what is on its way and ends its threads. Whoever appends must have ended before.
    pub fn stop(self) {
        self.running.stop();
        // It has no panics of its own.
        let _ = self.log.join();
    }
}
