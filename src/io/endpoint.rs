//! An endpoint as whoever sends to it knows it, and what else it takes to send.

use std::sync::Arc;

use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::driver::Kind;
use crate::io::link::{Edition, EndpointId, To};
use crate::io::links::Links;
use crate::io::log::Log;
use crate::io::resolver::Addresses;
use crate::io::tls::Tls;
use crate::shared::metrics::Counters;
use crate::wire::http::rewrite::Route;

/// One endpoint. Made once, for all threads; one that changes is made anew.
#[derive(Debug)]
pub struct Endpoint {
    /// The number of its name.
    pub id: EndpointId,
    /// Of all that bore the name.
    pub edition: Edition,
    /// Told apart by this in the log.
    pub name: String,
    /// How requests are written for it.
    pub route: Arc<Route>,
    /// Where it is.
    pub addresses: Addresses,
    /// How TLS is spoken with it, `None` for not at all.
    pub tls: Option<Tls>,
    /// The longest wait for it to connect, to take a request, to answer, each.
    pub remote_timeout: Millis,
}

impl Endpoint {
    /// Whether it is where the other is: then it is the same that answers, though perhaps by other rules.
    pub fn is_where(&self, other: &Endpoint) -> bool {
        self.tls.is_some() == other.tls.is_some()
            && self.route.host == other.route.host
            && self.route.mount == other.route.mount
    }
}

/// Endpoints, in the order in which they are named. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoints {
    all: Arc<[Arc<Endpoint>]>,
    /// The place of each, by its number.
    places: Arc<[Option<u8>]>,
}

impl Endpoints {
    /// These.
    pub fn new(all: Vec<Arc<Endpoint>>) -> Endpoints {
        let numbers = all.iter().map(|endpoint| endpoint.id.0 + 1).max().unwrap_or_default();
        let mut places = vec![None; numbers];
        for (place, endpoint) in all.iter().enumerate() {
            places[endpoint.id.0] = u8::try_from(place).ok();
        }
        Endpoints { all: all.into(), places: places.into() }
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Endpoint>] {
        &self.all
    }

    /// The one of this number, if it is among them.
    pub fn find(&self, id: EndpointId) -> Option<&Endpoint> {
        self.place(id).map(|place| &*self.all[place])
    }

    /// The one of this number, which is among them.
    pub fn of(&self, id: EndpointId) -> &Endpoint {
        self.find(id).expect("whoever sends to an endpoint has it from the same terms")
    }

    /// In which place it is named.
    pub fn place(&self, id: EndpointId) -> Option<usize> {
        self.places.get(id.0).copied().flatten().map(usize::from)
    }

    /// Whether a connection leads to one of them as it is now.
    pub fn has(&self, to: &To) -> bool {
        match to {
            To::Endpoint(id, edition) => self.find(*id).is_some_and(|it| it.edition == *edition),
            To::Node(..) => true,
        }
    }
}

/// What it takes to send: lent by a core, or by the sender of a queue, for as long as a request is under
/// way. Requests of one outlet share its connections.
#[derive(Clone, Copy)]
pub struct Outlet<'o> {
    /// All endpoints, of the terms that are sent under.
    pub endpoints: &'o Endpoints,
    /// The connections that are idle.
    pub links: &'o Links,
    /// What the loop is built on that they are on.
    pub kind: Kind,
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
    /// waits for the slowest endpoint, and so is waited for one that has been removed meanwhile.
    pub fn remote_timeout(&self, to: To) -> Millis {
        let known = match to {
            To::Endpoint(id, _) => self.endpoints.find(id),
            To::Node(..) => None,
        };
        let all = || self.endpoints.all().iter().map(|endpoint| endpoint.remote_timeout).max();
        known.map_or_else(|| all().unwrap_or_default(), |endpoint| endpoint.remote_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::log::{Format, Level};

    #[test]
    fn an_endpoint_is_found_by_its_number_and_its_place_is_the_one_of_the_configuration() {
        let log = Log::start(Level::Error, Format::Text).expect("a thread");
        let endpoint = |number, edition, seconds: u64| {
            Arc::new(Endpoint {
                id: EndpointId(number),
                edition: Edition(edition),
                name: number.to_string(),
                route: Arc::default(),
                addresses: Addresses::start("endpoint", "127.0.0.1", 1, &log).expect("an address"),
                tls: None,
                remote_timeout: Millis(seconds * 1000),
            })
        };
        let endpoints = Endpoints::new(vec![endpoint(7, 3, 5), endpoint(2, 1, 9)]);
        let name = |number| endpoints.find(EndpointId(number)).map(|it| it.name.as_str());
        assert_eq!([7, 2, 3, 8].map(name), [Some("7"), Some("2"), None, None]);
        assert_eq!([7, 2, 3].map(|it| endpoints.place(EndpointId(it))), [Some(0), Some(1), None]);
        let has =
            |number, edition| endpoints.has(&To::Endpoint(EndpointId(number), Edition(edition)));
        assert!(has(7, 3) && !has(7, 2) && has(2, 1) && !has(3, 1));
        assert!(endpoints.has(&To::Node(([127, 0, 0, 1], 1).into(), 5)));
    }
}
