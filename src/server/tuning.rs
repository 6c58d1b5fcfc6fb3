//! What threads other than the cores are told of what was configured.

use crate::config::Config;
use crate::config::queue::Delivery;
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
    let (links, others) = descriptors_of(config);
    descriptors::connections_that_fit(links, others)
}

/// The descriptors that a connection may need besides its own, and those that are needed whatever connections
/// there are.
fn descriptors_of(config: &Config) -> (usize, usize) {
    let queues = config.endpoints.iter().filter_map(|endpoint| match &endpoint.delivery {
        Delivery::Direct => None,
        Delivery::Queued(queue) => Some(descriptors::of_queue(queue.in_flight_max)),
    });
    // What is relayed to another node takes one too. Each has two handles while it is dialled, and where
    // heads are not in front of the body it keeps them, see `io::dial`.
    let links = (config.endpoints.len() - queues.clone().count()).max(1);
    (2 * links, queues.sum::<usize>() + descriptors::of_admin(config.admin.is_some()))
}

/// The most sources of a group.
pub fn sources_max(config: &Config) -> usize {
    match config.recognition.identity {
        Identity::Auto | Identity::User => config.sources_max,
        Identity::Connection => config.sources_max.max(config.connections_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{ADMIN_DESCRIPTORS, BACKOFF, QUEUE_DESCRIPTORS};
    use crate::cli::Cli;
    use crate::config::endpoint::Endpoint;
    use crate::config::queue::{OnFull, OnRemoved, QueueSetting, Sync};

    fn queued(in_flight_max: usize) -> Delivery {
        Delivery::Queued(QueueSetting {
            dir: "q".into(),
            bytes_max: 1,
            sync: Sync::Never,
            in_flight_max,
            backoff_min: BACKOFF.0,
            backoff_max: BACKOFF.1,
            on_full: OnFull::Refuse,
            on_removed: OnRemoved::Keep,
        })
    }

    #[test]
    fn links_have_two_handles_and_queues_have_links_of_their_own() {
        let needed = |deliveries: Vec<Delivery>, has_admin: bool| {
            let admin = has_admin.then(|| "127.0.0.1:1".to_owned());
            let cli = Cli { admin, ..Cli::default() };
            let mut config = Config::from_cli(&cli).expect("good flags");
            let one = config.endpoints.swap_remove(0);
            let all = deliveries.into_iter();
            config.endpoints = all.map(|delivery| Endpoint { delivery, ..one.clone() }).collect();
            descriptors_of(&config)
        };
        let direct = || Delivery::Direct;
        assert_eq!(needed(vec![direct()], false), (2, 0));
        assert_eq!(needed(vec![direct()], true), (2, ADMIN_DESCRIPTORS));
        assert_eq!(needed(vec![direct(), direct()], false), (4, 0));
        let (one, both) = (QUEUE_DESCRIPTORS + 2, 2 * QUEUE_DESCRIPTORS + 2 + 16);
        assert_eq!(needed(vec![queued(1)], false), (2, one));
        assert_eq!(needed(vec![direct(), queued(1), queued(8)], false), (2, both));
    }
}
