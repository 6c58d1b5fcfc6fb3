//! The idle connections of one core, to the endpoint and to other nodes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::base::limits::{UPSTREAM_IDLE, UPSTREAM_IDLE_MAX};
use crate::base::time::Millis;
use crate::io::link::{Link, To};

/// The idle connections of one core, by where they lead, the freshest last.
#[derive(Default)]
pub struct Links {
    idle: RefCell<HashMap<To, Vec<(Millis, Link)>>>,
    failing: Cell<bool>,
}

impl Links {
    /// Takes a connection back whose answer has been read to its end.
    pub fn give(&self, mut link: Link, now: Millis) {
        let mut idle = self.idle.borrow_mut();
        let idle = idle.entry(link.to).or_default();
        if idle.len() < UPSTREAM_IDLE_MAX && link.is_clean() {
            idle.push((now, link));
        }
    }

    /// The freshest idle connection there that is still good.
    pub fn take(&self, to: To) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let idle = idle.get_mut(&to)?;
        while let Some((_, mut link)) = idle.pop() {
            if link.is_clean() {
                return Some(link);
            }
        }
        None
    }

    /// A connection of a source has ended: so do those over which it was relayed.
    pub fn on_closed(&self, connection: u64) {
        let of = |to: &To| matches!(to, To::Node(_, number) if *number == connection);
        self.idle.borrow_mut().retain(|to, _| !of(to));
    }

    /// Closes what has been idle for too long, or was closed at the other end.
    pub fn prune(&self, now: Millis) {
        let is_good = |since: Millis, link: &mut Link| {
            let is_used = now.since(since) < UPSTREAM_IDLE || link.to != To::Endpoint;
            is_used && link.is_clean()
        };
        self.idle.borrow_mut().retain(|to, idle| {
            idle.retain_mut(|(since, link)| is_good(*since, link));
            *to == To::Endpoint || !idle.is_empty()
        });
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
