//! An endpoint as whoever sends to it knows it, and what else it takes to send.

use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::link::To;
use crate::io::links::Links;
use crate::io::log::Log;
use crate::io::resolver::Addresses;
use crate::io::tls::Tls;
use crate::shared::metrics::Counters;
use crate::wire::http::rewrite::Route;

/// One endpoint. Made once, for all threads.
#[derive(Debug)]
pub struct Endpoint {
    /// Told apart by this in the log.
    pub name: String,
    /// How requests are written for it.
    pub route: Route,
    /// Where it is.
    pub addresses: Addresses,
    /// How TLS is spoken with it, `None` for not at all.
    pub tls: Option<Tls>,
    /// The longest wait for it to connect, to take a request, to answer, each.
    pub remote_timeout: Millis,
}

/// What it takes to send: lent by a core, or by the thread of a queue, for as long as a request is under
/// way. Requests of one outlet share its connections.
#[derive(Clone, Copy)]
pub struct Outlet<'o> {
    /// All endpoints.
    pub endpoints: &'o [Endpoint],
    /// The connections that are idle.
    pub links: &'o Links,
    /// The clock.
    pub clock: Clock,
    /// What counts it.
    pub counters: &'o Counters,
    /// The log.
    pub log: &'o Log,
    /// Which thread it is, in the log.
    pub thread: &'o str,
    /// How TLS is spoken with other nodes, if it is.
    pub nodes_tls: Option<&'o Tls>,
}

impl Outlet<'_> {
    /// The time now.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The longest wait for who is there to connect, to take a request, to answer, each. Another node
    /// waits for the slowest endpoint.
    pub fn remote_timeout(&self, to: To) -> Millis {
        match to {
            To::Endpoint(id) => self.endpoints[id.0].remote_timeout,
            To::Node(..) => {
                let all = self.endpoints.iter().map(|endpoint| endpoint.remote_timeout);
                all.max().unwrap_or_default()
            }
        }
    }
}
