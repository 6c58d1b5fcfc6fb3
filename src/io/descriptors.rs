//! How many connections the process has descriptors for.
//!
//! The usual soft limit is 1024. Beyond it no connection is accepted, not even to be refused, and
//! the promoted source's request finds no descriptor for a link to the endpoint.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits::DESCRIPTORS_RESERVED;

/// Raises the limit to what the process may have, and says how many connections fit: each may need
/// a link to the endpoint besides its own descriptor.
pub fn connections_that_fit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let descriptors =
        current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (descriptors.saturating_sub(DESCRIPTORS_RESERVED) / 2).max(1)
}
