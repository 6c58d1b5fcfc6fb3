//! The idle connections of one thread, to endpoints and to other nodes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::base::limits::{ENDPOINTS_EVER_MAX, UPSTREAM_IDLE, UPSTREAM_IDLE_MAX};
use crate::base::time::Millis;
use crate::io::link::{EndpointId, Link, To};
use crate::io::tls::fault::TlsFault;

/// The idle connections of one thread, by where they lead, the freshest last.
pub struct Links {
    idle: RefCell<HashMap<To, Vec<(Millis, Link)>>>,
    /// By the number of the endpoint.
    told: Box<[Cell<Told>]>,
}

/// What the log knows of an endpoint.
#[derive(Clone, Copy, Default)]
struct Told {
    is_failing: bool,
    tls: Option<TlsFault>,
}

impl Default for Links {
    fn default() -> Self {
        let told = (0..ENDPOINTS_EVER_MAX).map(|_| Cell::default()).collect();
        Links { idle: RefCell::default(), told }
    }
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
            let is_used = now.since(since) < UPSTREAM_IDLE || !matches!(link.to, To::Endpoint(..));
            is_used && link.is_clean()
        };
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain_mut(|(since, link)| is_good(*since, link));
            !idle.is_empty()
        });
    }

    /// Closes what leads to where nobody goes any more. What is still under way there comes back, is taken
    /// by nobody, and is closed when it has been idle for long.
    pub fn leave(&self, is_used: impl Fn(&To) -> bool) {
        self.idle.borrow_mut().retain(|to, _| is_used(to));
    }

    /// Closes all of them.
    pub fn close(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Remembers whether an endpoint fails now, and for which fault of TLS if for one. Returned is
    /// whether that is news: a change is logged once, not per request.
    pub fn note(&self, id: EndpointId, is_failing: bool, tls: Option<TlsFault>) -> bool {
        let cell = &self.told[id.0];
        let told = cell.get();
        let is_news = told.is_failing != is_failing || tls.is_some_and(|tls| told.tls != Some(tls));
        let tls = if is_failing { tls.or(told.tls) } else { None };
        cell.set(Told { is_failing, tls });
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_tls_is_news_once_and_again_when_it_was_gone() {
        let links = Links::default();
        let note = |is_failing, tls| links.note(EndpointId(1), is_failing, tls);
        let (expired, other) = (Some(TlsFault::Expired), Some(TlsFault::WrongName));
        assert!(!note(false, None));
        assert!(note(true, None), "unreachable");
        assert!(note(true, expired), "that says more");
        assert!(!note(true, None) && !note(true, expired));
        assert!(note(true, other) && note(false, None));
        assert!(note(true, other));
        assert!(!links.note(EndpointId(0), false, None), "of another endpoint nothing is known");
    }
}
