//! What threads other than the cores are told of what was configured.

use super::queues;
use crate::config::Config;
use crate::io::descriptors;
use crate::logic::source::Identity;
use crate::shared::tuning::Tuning;

/// The numbers of a configuration.
pub fn tuning(config: &Config) -> Tuning {
    Tuning {
        tick: config.health_tick,
        expiry: config.expiry,
        lag_max: config.lag_max,
        window: config.hold_window,
        decoded_bytes_max: config.decoded_bytes_max,
        connections_max: config.connections_max.min(connections_that_fit(config)),
        shutdown_timeout: config.shutdown_timeout,
    }
}

/// What is to be said if there are to be more connections than there are descriptors for.
pub fn shortage(config: &Config) -> Option<String> {
    let (fit, wanted) = (connections_that_fit(config), config.connections_max);
    let warning =
        || format!("{fit} connections in place of {wanted}: the limit of open files is low");
    (fit < wanted).then(warning)
}

/// How many connections there are descriptors for.
fn connections_that_fit(config: &Config) -> usize {
    let queues = queues::count(config);
    // What is relayed to another node takes one too. Where heads are not in one piece with the body, a
    // connection has two handles, see `io::dial`.
    let handles = if config.endpoints.len() > 1 { 2 } else { 1 };
    let links = (config.endpoints.len() - queues).max(1) * handles;
    descriptors::connections_that_fit(links, descriptors::others(queues, config.admin.is_some()))
}

/// The most sources of a group.
pub fn sources_max(config: &Config) -> usize {
    match config.recognition.identity {
        Identity::Auto | Identity::User => config.sources_max,
        Identity::Connection => config.sources_max.max(config.connections_max),
    }
}
