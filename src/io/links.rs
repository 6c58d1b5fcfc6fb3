//! The idle connections of one core to the endpoint.

use std::cell::{Cell, RefCell};

use crate::base::limits::{UPSTREAM_IDLE, UPSTREAM_IDLE_MAX};
use crate::base::time::Millis;
use crate::io::link::Link;

/// The idle connections of one core, the freshest last.
#[derive(Default)]
pub struct Links {
    idle: RefCell<Vec<(Millis, Link)>>,
    failing: Cell<bool>,
}

impl Links {
    /// Takes a connection back whose answer has been read to its end.
    pub fn give(&self, mut link: Link, now: Millis) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < UPSTREAM_IDLE_MAX && link.is_clean() {
            idle.push((now, link));
        }
    }

    /// The freshest idle connection that is still good.
    pub fn take(&self) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        while let Some((_, mut link)) = idle.pop() {
            if link.is_clean() {
                return Some(link);
            }
        }
        None
    }

    /// Closes what has been idle for too long, or was closed at the other end.
    pub fn prune(&self, now: Millis) {
        let is_good =
            |since: Millis, link: &mut Link| now.since(since) < UPSTREAM_IDLE && link.is_clean();
        self.idle.borrow_mut().retain_mut(|(since, link)| is_good(*since, link));
    }

    /// Closes all of them.
    pub fn close(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Remembers whether the endpoint fails now, and says whether it failed before: a change is
    /// logged once, not per request.
    pub fn note(&self, is_failing: bool) -> bool {
        self.failing.replace(is_failing)
    }
}
