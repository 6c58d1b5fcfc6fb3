//! Who speaks on a connection: found once, kept while the connection says the same.
//!
//! A Prometheus sends the same target for as long as it lives, so a comparison of two short texts
//! is what identification costs a request.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::limits::NAME_BYTES_MAX;
use crate::base::time::Millis;
use crate::io::core::Core;
use crate::logic::source::{GroupName, Weight};
use crate::logic::view::{Event, Fate, Heard};
use crate::shared::metrics::Counter;
use crate::shared::presence::{Answered, Source};
use crate::shared::state::Seat;
use crate::wire::http::head::Head;
use crate::wire::http::reply::Refusal;
use crate::wire::http::target::Parameters;

/// The source behind one connection.
pub struct Speaker {
    core: Rc<Core>,
    peer: SocketAddr,
    connection: u64,
    target: Vec<u8>,
    tenant: Vec<u8>,
    known: Option<Known>,
}

struct Known {
    seat: Arc<Seat>,
    source: Arc<Source>,
    weight: Weight,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.source.detach();
    }
}

/// A request on its way to the endpoint, for as long as this is held.
pub struct InFlight {
    source: Arc<Source>,
    core: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.source.on_returned(self.core);
    }
}

impl Speaker {
    /// Nobody has spoken yet on connection number `connection` from `peer`.
    pub fn new(core: Rc<Core>, peer: SocketAddr, connection: u64) -> Speaker {
        let (target, tenant) = (Vec::new(), Vec::new());
        Speaker { core, peer, connection, target, tenant, known: None }
    }

    /// Finds out who sends a request with this head.
    pub fn identify(&mut self, head: &Head<'_>) -> Result<(), Refusal> {
        let tenant = head.tenant.unwrap_or_default();
        if self.known.is_some() && self.target == head.target && self.tenant == tenant {
            return Ok(());
        }
        let parameters = Parameters::read(head.target);
        let group = parameters.group.as_deref().unwrap_or_default();
        let named = parameters.source.as_deref();
        if [tenant, group, named.unwrap_or_default()].iter().any(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(Refusal::NameTooLong);
        }
        let weight = self.weight(&parameters);
        let settings = &self.core.settings;
        let name = settings.identity.name(named, weight, self.peer, self.connection);
        let group = GroupName { tenant: tenant.into(), group: group.into() };
        let is_same = self.known.as_ref().is_some_and(|known| {
            known.seat.group == group && known.source.name == name && known.weight == weight
        });
        if !is_same {
            let full = |_| Refusal::TooManySources;
            let seat = self.core.seats.seat(&group).map_err(full)?;
            let source = self.core.seats.attach(&seat, &name, weight, self.peer).map_err(full)?;
            self.known = Some(Known { seat, source, weight });
        }
        self.target.clear();
        self.target.extend_from_slice(head.target);
        self.tenant.clear();
        self.tenant.extend_from_slice(tenant);
        Ok(())
    }

    /// What the view says of this source now. Without effect.
    pub fn judge(&self) -> Fate {
        let known = self.known();
        known.seat.view().judge(known.source.id, known.weight)
    }

    /// A whole request has come: the election hears of it, if it makes a difference.
    pub fn hear(&self) -> Fate {
        let known = self.known();
        known.source.on_heard(self.core.handle.index, self.core.now());
        match self.judge() {
            Fate::Contend => self.contend(known),
            fate => fate,
        }
    }

    fn contend(&self, known: &Known) -> Fate {
        let heard = Heard { source: known.source.id, weight: known.weight, address: self.peer };
        // The silence of the promoted source is the tick's business.
        if let Some(change) = known.seat.on_event(Event::Heard(heard), Millis(0)) {
            self.core.handle.counters.add(Counter::Promotions, 1);
            for line in change.lines() {
                self.core.log.info(&line);
            }
        }
        self.judge()
    }

    /// Marks a request as on its way to the endpoint.
    pub fn in_flight(&self) -> InFlight {
        let (source, core) = (self.known().source.clone(), self.core.handle.index);
        source.on_sent(core);
        InFlight { source, core }
    }

    /// The request of this source was answered.
    pub fn answered(&self, answered: Answered) {
        let (core, now) = (self.core.handle.index, self.core.now());
        self.known().source.on_answered(core, now, answered);
    }

    fn known(&self) -> &Known {
        self.known.as_ref().expect("a head was identified before")
    }

    fn weight(&self, parameters: &Parameters<'_>) -> Weight {
        let Some(text) = parameters.weight.as_deref() else { return Weight(0) };
        Weight::parse(text).unwrap_or_else(|| {
            self.core.handle.counters.add(Counter::WeightsUnreadable, 1);
            Weight(0)
        })
    }
}
