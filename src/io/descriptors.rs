//! How many connections the process has descriptors for.
//!
//! The usual soft limit is 1024. Beyond it no connection is accepted, not even to be refused, and
//! the promoted source's request finds no descriptor for a link to the endpoint.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits::{ADMIN_DESCRIPTORS, DESCRIPTORS_RESERVED, QUEUE_DESCRIPTORS};

/// Raises the limit to what the process may have, and says how many connections fit beside `others`: each
/// may need so many `links`, to an endpoint each, besides its own descriptor.
pub fn connections_that_fit(links: usize, others: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let descriptors =
        current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    fit(descriptors, links, others)
}

/// The descriptors of so many queues, and of the admin listener.
pub fn others(queues: usize, has_admin: bool) -> usize {
    let admin = if has_admin { ADMIN_DESCRIPTORS } else { 0 };
    queues * QUEUE_DESCRIPTORS + admin
}

fn fit(descriptors: usize, links: usize, others: usize) -> usize {
    (descriptors.saturating_sub(DESCRIPTORS_RESERVED + others) / (1 + links)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_takes_a_descriptor_of_every_connection_and_queues_and_admin_some() {
        assert_eq!(fit(1064, 1, 0), 500);
        assert_eq!(fit(1064, 4, 0), 200);
        let others = others(2, true);
        assert_eq!(others, 2 * QUEUE_DESCRIPTORS + ADMIN_DESCRIPTORS);
        assert_eq!(fit(1064 + others, 4, others), 200);
        assert_eq!((fit(1064, 0, 0), fit(10, 32, 0)), (1000, 1));
    }
}
