//! How many connections the process has descriptors for.
//!
//! The usual soft limit is 1024. Beyond it no connection is accepted, not even to be refused, and
//! the promoted source's request finds no descriptor for a link to the endpoint.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits::{DESCRIPTORS_RESERVED, QUEUE_DESCRIPTORS};

/// Raises the limit to what the process may have, and says how many connections fit beside the files of
/// so many queues: each may need so many `links`, to an endpoint each, besides its own descriptor.
pub fn connections_that_fit(links: usize, queues: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let descriptors =
        current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    fit(descriptors, links, queues)
}

fn fit(descriptors: usize, links: usize, queues: usize) -> usize {
    let reserved = DESCRIPTORS_RESERVED + queues * QUEUE_DESCRIPTORS;
    (descriptors.saturating_sub(reserved) / (1 + links)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_takes_a_descriptor_of_every_connection_and_each_queue_some() {
        assert_eq!(fit(1064, 1, 0), 500);
        assert_eq!(fit(1064, 4, 0), 200);
        assert_eq!(fit(1064 + 2 * QUEUE_DESCRIPTORS, 4, 2), 200);
        assert_eq!((fit(1064, 0, 0), fit(10, 32, 0)), (1000, 1));
    }
}
