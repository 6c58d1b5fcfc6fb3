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
use crate::logic::source::{GroupName, SourceName, Weight};
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
    claim: Option<Claim>,
    known: Option<Known>,
}

/// Who a head says that it is from. Nobody is taken on for a head alone.
#[derive(PartialEq, Eq)]
struct Claim {
    group: GroupName,
    name: SourceName,
    weight: Weight,
}

struct Known {
    seat: Arc<Seat>,
    source: Arc<Source>,
    weight: Weight,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.source.detach();
        if let SourceName::Connection(..) = self.source.name {
            // Nobody will ever speak for it again. If it sits in the seat, the tick sees to it.
            let promoted = self.seat.view().promoted.map(|promoted| promoted.source);
            let id = self.source.id;
            self.seat.forget(|source| source.id == id && promoted != Some(id));
        }
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
        Speaker { core, peer, connection, target, tenant, claim: None, known: None }
    }

    /// Finds out who sends a request with this head.
    pub fn identify(&mut self, head: &Head<'_>) -> Result<(), Refusal> {
        let tenant = head.tenant.unwrap_or_default();
        if self.claim.is_some() && self.target == head.target && self.tenant == tenant {
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
        let claim = Claim { group, name, weight };
        if self.claim.as_ref() != Some(&claim) {
            self.claim = Some(claim);
            self.known = None;
        }
        self.target.clear();
        self.target.extend_from_slice(head.target);
        self.tenant.clear();
        self.tenant.extend_from_slice(tenant);
        Ok(())
    }

    /// What the view says of this source now. Without effect.
    pub fn judge(&self) -> Fate {
        match &self.known {
            Some(known) => known.seat.view().judge(known.source.id, known.weight),
            None => Fate::Contend,
        }
    }

    /// A whole request has come: its source is taken on if it is new, and the election hears of it
    /// if it makes a difference.
    pub fn hear(&mut self) -> Result<Fate, Refusal> {
        if self.known.is_none() {
            let Claim { group, name, weight } = self.claim.as_ref().expect("a head came before");
            let attached = self.core.seats.attach(group, name, *weight, self.peer);
            let (seat, source) = attached.map_err(|_| Refusal::TooManySources)?;
            self.known = Some(Known { seat, source, weight: *weight });
        }
        let known = self.known();
        known.source.on_heard(self.core.handle.index, self.core.now());
        Ok(match self.judge() {
            Fate::Contend => self.contend(known),
            fate => fate,
        })
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
        if let Some(known) = &self.known {
            let (core, now) = (self.core.handle.index, self.core.now());
            known.source.on_answered(core, now, answered);
        }
    }

    /// A request of this source was refused before it was read to its end. It was heard, as far as
    /// its life is concerned, but not as a candidate.
    pub fn refused_unread(&self) {
        if let Some(known) = &self.known {
            let (core, now) = (self.core.handle.index, self.core.now());
            known.source.on_heard(core, now);
            known.source.on_answered(core, now, Answered::Refused);
        }
    }

    fn known(&self) -> &Known {
        self.known.as_ref().expect("a whole request was heard before")
    }

    fn weight(&self, parameters: &Parameters<'_>) -> Weight {
        let Some(text) = parameters.weight.as_deref() else { return Weight(0) };
        Weight::parse(text).unwrap_or_else(|| {
            self.core.handle.counters.add(Counter::WeightsUnreadable, 1);
            Weight(0)
        })
    }
}
