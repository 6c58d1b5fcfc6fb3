//! What the cores are told of what was configured.
//!
//! A request takes the settings once, as its terms, when its head has been read; what is kept and sent on
//! later goes out under those of then. So nothing in here changes: a reload makes them anew.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::base::limits::ROUTES_EVER_MAX;
use crate::io::buffers::Budget;
use crate::io::endpoint::Endpoints;
use crate::io::link::EndpointId;
use crate::io::queue::thread::Queue;
use crate::io::tls::Tls;
use crate::logic::recognition::Recognition;
use crate::wire::cluster::seal::Seal;
use crate::wire::http::form::{Form, RouteId};
use crate::wire::http::head::{Head, HeadError};
use crate::wire::http::rewrite::Route;
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::push::Push;

/// What every core is told: at the start, and anew at each reload.
#[derive(Debug)]
pub struct Settings {
    /// Where requests go, at least one.
    pub endpoints: Endpoints,
    /// Those that a request goes to at once, and that answer it themselves.
    pub direct: Vec<EndpointId>,
    /// Those that get theirs out of a queue.
    pub queued: Vec<(EndpointId, Queue)>,
    /// The first of those that answer themselves, and its route: what is no remote write goes there.
    pub first: Option<(EndpointId, RouteId)>,
    /// All routes that heads are kept of.
    pub routes: Routes,
    /// How is written what is kept for endpoints that are still to be chosen.
    pub common: Route,
    /// How sources are recognised.
    pub recognition: Arc<Recognition>,
    /// The largest body.
    pub body_bytes_max: usize,
    /// The memory for large bodies, over all cores.
    pub budget: Budget,
    /// The largest message that a body may decode to.
    pub decoded_bytes_max: usize,
    /// How requests go to the node that leads, if there are others.
    pub relaying: Option<Arc<Relaying>>,
}

/// All routes that heads are kept of, by their numbers. One for the process, and it only grows: a core
/// may be given a request that another has written under settings which it has not taken over yet.
#[derive(Clone, Debug)]
pub struct Routes(Arc<[OnceLock<Arc<Route>>]>);

impl Default for Routes {
    fn default() -> Self {
        Routes((0..ROUTES_EVER_MAX).map(|_| OnceLock::new()).collect())
    }
}

impl Routes {
    /// The number of a route that is among them.
    pub fn find(&self, route: &Route) -> Option<RouteId> {
        let known = self.0.iter().map_while(OnceLock::get);
        let place =
            known.enumerate().find_map(|(place, known)| (**known == *route).then_some(place));
        place.and_then(|place| u16::try_from(place).ok()).map(RouteId)
    }

    /// Whether there is room for one more.
    pub fn have_room(&self) -> bool {
        self.0.last().is_some_and(|last| last.get().is_none())
    }

    /// The number of a route, which is put among them. `None`: there is no room. One thread at a time.
    pub fn add(&self, route: &Arc<Route>) -> Option<RouteId> {
        if let Some(id) = self.find(route) {
            return Some(id);
        }
        let free = self.0.iter().find(|place| place.get().is_none())?;
        // Nobody else adds one.
        let _ = free.set(route.clone());
        self.find(route)
    }

    fn of(&self, RouteId(number): RouteId) -> &Route {
        let route = self.0.get(usize::from(number)).and_then(OnceLock::get);
        route.expect("a route has its number before anything is written under it")
    }
}

/// The settings that a request is under, to its end, whatever is told meanwhile. They are counted once
/// more within the core, so that no two cores write to one count.
pub type Terms = Rc<Arc<Settings>>;

impl Settings {
    /// The one that all requests go to, if there is only one.
    pub fn alone(&self) -> Option<(EndpointId, RouteId)> {
        self.first.filter(|_| self.direct.len() == 1 && self.queued.is_empty())
    }

    /// How a head is written as soon as it is read: as the endpoint wants it, if one alone gets the
    /// request. But remote write only if that can be taken back: it may be kept for longer than these
    /// settings are in force.
    pub fn form(&self, head: &Head<'_>, protocol: Option<Protocol>) -> Form {
        let route = match protocol {
            Some(_) => self.alone().filter(|(id, _)| self.endpoints.of(*id).route.keeps_all(head)),
            None => self.first,
        };
        route.map_or(Form::Common, |(_, route)| Form::Own(route))
    }

    /// The route of a form that these settings have given.
    pub fn route(&self, form: Form) -> &Route {
        match (form, self.first) {
            (Form::Own(_), Some((first, _))) => &self.endpoints.of(first).route,
            (Form::Common, _) | (Form::Own(_), None) => &self.common,
        }
    }

    /// The request with the common head, whatever it was written for. An error: it is none of ours.
    pub fn in_common(&self, push: &Push) -> Result<Push, HeadError> {
        match push.form() {
            Form::Common => Ok(push.clone()),
            Form::Own(route) => {
                let route = self.routes.of(route);
                let head = route.common_head(push.head()).ok_or(HeadError::BadLine)?;
                Ok(push.behind_common(&head))
            }
        }
    }
}

/// What a node needs to relay requests, and to take relayed ones.
#[derive(Debug)]
pub struct Relaying {
    /// The seal of passes.
    pub seal: Seal,
    /// This node.
    pub node: SocketAddr,
    /// How TLS is spoken with the others when our own listeners speak it: theirs are like ours.
    pub tls: Option<Tls>,
}
