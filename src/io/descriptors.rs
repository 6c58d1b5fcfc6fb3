//! How many connections the process has descriptors for.
//!
//! The usual soft limit is 1024. Beyond it no connection is accepted, not even to be refused, and
//! the promoted source's request finds no descriptor for a link to the endpoint.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits::{ADMIN_DESCRIPTORS, DESCRIPTORS_RESERVED, QUEUE_DESCRIPTORS};

/// Raises the limit to what the process may have, and says how many connections fit beside `others`: each
/// may need so many `links`, to its endpoints, besides its own descriptor.
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

/// The descriptors of a queue, with so many connections to its endpoint. Those have two handles each, see
/// [`crate::io::dial`].
pub fn of_queue(in_flight_max: usize) -> usize {
    QUEUE_DESCRIPTORS + 2 * in_flight_max
}

/// Those of the admin listener, if there is one.
pub fn of_admin(is_there: bool) -> usize {
    if is_there { ADMIN_DESCRIPTORS } else { 0 }
}

fn fit(descriptors: usize, links: usize, others: usize) -> usize {
    (descriptors.saturating_sub(DESCRIPTORS_RESERVED + others) / (1 + links)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_taken_by_each_connection_and_others_are_not() {
        assert_eq!(fit(1064, 1, 0), 500);
        assert_eq!(fit(1064, 4, 0), 200);
        assert_eq!(fit(1064 + 77, 4, 77), 200);
        assert_eq!((fit(1064, 0, 0), fit(10, 32, 0)), (1000, 1));
    }
}
