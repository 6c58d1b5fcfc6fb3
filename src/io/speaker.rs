//! Who speaks on a connection: found once, kept while the connection says the same.
//!
//! A Prometheus sends the same target for as long as it lives, so a comparison of two short texts
//! is what identification costs a request.

mod glance;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::limits::NAME_BYTES_MAX;
use crate::base::time::{Millis, UnixMillis};
use crate::io::core::Core;
use crate::io::gate::Guest;
use crate::io::orders::Word;
use crate::io::store::Stock;
use crate::logic::cluster::pass::{self, Forged, Pass};
use crate::logic::lookout::Lookout;
use crate::logic::recognition::{Recognised, Recognition};
use crate::logic::source::{GroupName, Payload, SourceName, Weight, Who};
use crate::logic::view::{Event, Fate, Heard, Lead};
use crate::shared::metrics::Counter;
use crate::shared::presence::{Answered, Source};
use crate::shared::state::{Full, Seat};
use crate::wire::http::forwarded;
use crate::wire::http::head::Head;
use crate::wire::http::reply::Refusal;
use crate::wire::http::target::Parameters;

/// The source behind one connection.
pub struct Speaker {
    core: Rc<Core>,
    /// Who is at the other end, or for whom a trusted proxy there speaks on this connection.
    peer: SocketAddr,
    connection: u64,
    target: Vec<u8>,
    tenant: Vec<u8>,
    pass: Vec<u8>,
    /// A trusted proxy has named nobody for this connection.
    is_unnamed: bool,
    /// Whom trusted proxies have named in the last request.
    forwarded: Option<SocketAddr>,
    /// When the pass was made, if there is one.
    pass_made: Option<UnixMillis>,
    /// The beat at which its age was looked at.
    looked_at: Millis,
    /// The rules by which it was found out who speaks.
    recognition: Arc<Recognition>,
    claim: Option<Claim>,
    /// Whom the door has let in.
    guest: Guest,
    /// Whether it has spoken for more than one: then it is no source's own.
    is_shared: bool,
    known: Option<Known>,
    lookout: Cell<Lookout>,
    /// The pass for what is relayed for this source, and when it was made.
    own_pass: RefCell<Option<(UnixMillis, Rc<[u8]>)>>,
}

/// How a request has come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    /// From its source.
    First,
    /// From a node that has relayed it.
    Second,
}

/// Who a head says that it is from. Nobody is taken on for a head alone.
#[derive(PartialEq, Eq)]
struct Claim {
    group: GroupName,
    name: SourceName,
    weight: Weight,
    /// Where it speaks from.
    address: SocketAddr,
    stretch: Stretch,
}

impl Claim {
    /// Whether the two differ in the port at most.
    fn is_but_for_port(&self, other: &Claim) -> bool {
        let without_port = |claim: &Claim| {
            let Claim { group: _, name: _, weight, address, stretch } = claim;
            (*weight, address.ip(), *stretch)
        };
        (&self.group, &self.name) == (&other.group, &other.name)
            && without_port(self) == without_port(other)
    }
}

struct Known {
    seat: Arc<Seat>,
    source: Arc<Source>,
    weight: Weight,
    stock: Rc<Stock>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        if self.core.terms().relaying.is_some() {
            self.core.links.on_closed(self.connection);
        }
    }
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
        let (target, tenant, pass) = (Vec::new(), Vec::new(), Vec::new());
        Speaker {
            recognition: core.terms().recognition.clone(),
            core,
            peer,
            connection,
            target,
            tenant,
            pass,
            is_unnamed: false,
            forwarded: None,
            pass_made: None,
            looked_at: Millis(0),
            claim: None,
            guest: Guest::default(),
            is_shared: false,
            known: None,
            lookout: Cell::default(),
            own_pass: RefCell::default(),
        }
    }

    /// Somebody has come in.
    pub fn on_guest(&mut self, guest: &Guest) {
        if self.guest != *guest {
            self.guest = guest.clone();
            // Who speaks is to be found out anew.
            self.target.clear();
        }
    }

    /// Whether a node of ours has relayed a request with this head, and says for whom; or has once, or so
    /// that it can't be read: then it is told so when it is found out who speaks.
    pub fn is_vouched_for(&self, head: &Head<'_>) -> bool {
        let terms = self.core.terms();
        let relaying = terms.relaying.as_ref();
        let Some((pass, relaying)) = head.pass.zip(relaying) else { return false };
        if self.pass_made.is_some() && self.pass == pass {
            // Its age is looked at when it is found out who speaks.
            return true;
        }
        match Pass::open(&relaying.seal, pass, self.core.clock.unix_now()) {
            Ok(_) | Err(Forged::Stale | Forged::Unreadable) => true,
            Err(Forged::Foreign) => false,
        }
    }

    /// Whether a node has relayed a request with this head, as it says.
    pub fn is_relayed(&self, head: &Head<'_>) -> bool {
        head.pass.is_some() && self.core.terms().relaying.is_some()
    }

    /// Who is at the other end of the connection, as far as is known.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A trusted proxy has said for whom it speaks on this connection, before its first request; `None`: for
    /// somebody without an address, whose own word is not the proxy's.
    pub fn on_introduced(&mut self, client: Option<SocketAddr>) {
        match client {
            Some(client) => {
                self.peer = SocketAddr::new(client.ip().to_canonical(), client.port());
            }
            None => self.is_unnamed = true,
        }
    }

    /// Finds out who sends a request with this head.
    pub fn identify(&mut self, head: &Head<'_>) -> Result<(), Refusal> {
        let tenant = head.tenant.unwrap_or_default();
        let terms = self.core.terms();
        let pass = head.pass.filter(|_| terms.relaying.is_some()).unwrap_or_default();
        let forwarded = self.forwarded(head, &terms.recognition);
        let is_said = self.target == head.target
            && self.tenant == tenant
            && self.pass == pass
            && self.forwarded == forwarded
            && Arc::ptr_eq(&self.recognition, &terms.recognition);
        if self.claim.is_some() && is_said && self.is_fresh() {
            return Ok(());
        }
        let is_ruled_anew = !Arc::ptr_eq(&self.recognition, &terms.recognition);
        if is_ruled_anew {
            self.recognition = terms.recognition.clone();
        }
        let (claim, made) = match self.relayed(pass)? {
            Some((claim, made)) => (claim, Some(made)),
            None => (self.claimed(head, tenant, forwarded.unwrap_or(self.peer))?, None),
        };
        self.pass_made = made;
        if let Some(same) = self.claim.as_mut().filter(|before| before.is_but_for_port(&claim)) {
            // A balancer that tells ports too: it is who it was.
            *same = claim;
        } else if self.claim.as_ref() != Some(&claim) {
            let is_same =
                |known: &Known| known.source.name == claim.name && known.seat.group == claim.group;
            let known = self.known.as_ref().filter(|known| !is_same(known));
            // By other rules it may be called otherwise, and is the same.
            if let Some(known) = known.filter(|_| !is_ruled_anew) {
                self.is_shared = true;
                known.source.on_passed_on();
            }
            self.claim = Some(claim);
            self.known = None;
            self.own_pass.take();
        }
        self.forwarded = forwarded;
        for (said, now) in
            [(&mut self.target, head.target), (&mut self.tenant, tenant), (&mut self.pass, pass)]
        {
            said.clear();
            said.extend_from_slice(now);
        }
        Ok(())
    }

    /// Whom trusted proxies name, if it is they who speak here. A balancer sends the requests of several
    /// clients on one connection, so this may be another one each time.
    fn forwarded(&self, head: &Head<'_>, recognition: &Recognition) -> Option<SocketAddr> {
        let is_through_proxy = recognition.trusts(self.peer.ip()) && !self.is_unnamed;
        is_through_proxy
            .then(|| forwarded::client(head.headers, self.peer, |ip| recognition.trusts(ip)))
    }

    /// Whether the pass that was there last counts still. A beat is soon enough to ask the clock again.
    fn is_fresh(&mut self) -> bool {
        // Relaxed: this thread writes it.
        let beat = Millis(self.core.handle.load.beat.load(Ordering::Relaxed));
        match self.pass_made {
            Some(made) if self.looked_at != beat => {
                let is_fresh = pass::is_fresh(made, self.core.clock.unix_now());
                if is_fresh {
                    self.looked_at = beat;
                }
                is_fresh
            }
            Some(_) | None => true,
        }
    }

    /// Who another node says that it is from, and when it said so.
    fn relayed(&self, pass: &[u8]) -> Result<Option<(Claim, UnixMillis)>, Refusal> {
        let terms = self.core.terms();
        let Some(relaying) = terms.relaying.as_ref().filter(|_| !pass.is_empty()) else {
            return Ok(None);
        };
        let forged = match Pass::open(&relaying.seal, pass, self.core.clock.unix_now()) {
            Ok((Pass { client, group, source, weight, .. }, made)) => {
                let claim = Claim {
                    group,
                    name: source,
                    weight,
                    address: client,
                    stretch: Stretch::Second,
                };
                return Ok(Some((claim, made)));
            }
            Err(forged) => forged,
        };
        self.core.handle.counters.add(Counter::PassesForged, 1);
        match forged {
            // Anybody's: the header means nothing.
            Forged::Foreign => Ok(None),
            // A node of ours whose clock differs has relayed it: whose it is can't be told from what is
            // left of it.
            Forged::Stale | Forged::Unreadable => Err(Refusal::PassStale),
        }
    }

    /// Who it says itself that it is from, and what the rules say of that.
    fn claimed(&self, head: &Head<'_>, tenant: &[u8], at: SocketAddr) -> Result<Claim, Refusal> {
        let parameters = Parameters::read(head.target);
        let who = Who {
            user: self.guest.user.as_deref(),
            cert: self.guest.certificate.as_deref(),
            source: parameters.source.as_deref(),
            address: at,
            connection: self.connection,
        };
        let recognised = self.recognition.judge(&who, &parameters);
        let Recognised { group, name, weight, says_no_weight } = recognised;
        let named = match &name {
            SourceName::Named(name) => name,
            SourceName::Address(..) | SourceName::Connection(..) => &b""[..],
        };
        if [tenant, &group, named].iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(Refusal::NameTooLong);
        }
        if says_no_weight {
            self.core.handle.counters.add(Counter::WeightsUnreadable, 1);
        }
        let group = GroupName { tenant: tenant.into(), group };
        Ok(Claim { group, name, weight, address: at, stretch: Stretch::First })
    }

    /// The number of the connection.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Whether another node has relayed what is said.
    fn stretch(&self) -> Stretch {
        self.claim.as_ref().map_or(Stretch::First, |claim| claim.stretch)
    }

    /// The pass for what is relayed for this source. `None`: there are no other nodes.
    pub fn pass(&self) -> Option<Rc<[u8]>> {
        let terms = self.core.terms();
        let relaying = terms.relaying.as_ref()?;
        let now = self.core.clock.unix_now();
        let mut own = self.own_pass.borrow_mut();
        if let Some((made, pass)) = own.as_ref()
            && pass::serves_still(*made, now)
        {
            return Some(pass.clone());
        }
        let claim = self.claim.as_ref()?;
        let pass = Pass {
            node: relaying.node,
            client: claim.address,
            group: claim.group.clone(),
            source: claim.name.clone(),
            weight: claim.weight,
        };
        let mut nonce = [0; 24];
        rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).ok()?;
        let pass: Rc<[u8]> = pass.seal(&relaying.seal, nonce, now)?.into();
        *own = Some((now, pass.clone()));
        Some(pass)
    }

    /// What the view says of this source now. Without effect.
    pub fn judge(&self, payload: Payload) -> Fate {
        let Some(known) = &self.known else { return Fate::Contend };
        let view = **known.seat.view();
        // Also what would only be held: whoever leads by now does not see it.
        match view.lead == Lead::Us && !known.seat.leads(|| self.core.now()) {
            true => Fate::Park,
            false => view.judge(known.source.id, known.weight, payload),
        }
    }

    /// A whole request has come: its source is taken on if it is new, and the election hears of it
    /// if it makes a difference.
    pub fn hear(&mut self, payload: Payload) -> Result<Fate, Refusal> {
        if self.known.is_none() {
            let claim = self.claim.as_ref().expect("a head came before");
            let Claim { group, name, weight, address, .. } = claim;
            let attached = self.core.seats.attach(group, name, *weight, *address);
            let (seat, source) = attached.map_err(|full| self.on_full(full))?;
            let stock = self.core.store.stock(&seat);
            self.known = Some(Known { seat, source, weight: *weight, stock });
        }
        let known = self.known();
        if self.is_shared {
            known.source.on_passed_on();
        }
        known.source.on_heard(self.core.handle.index, self.core.now());
        if payload == Payload::RemoteWrite {
            known.source.on_write();
        }
        self.decide(payload)
    }

    fn on_full(&self, full: Full) -> Refusal {
        let (counter, refusal) = match full {
            Full::Groups => (Counter::GroupsRefused, Refusal::TooManyGroups),
            Full::Sources => (Counter::SourcesRefused, Refusal::TooManySources),
        };
        self.core.handle.counters.add(counter, 1);
        refusal
    }

    /// What becomes of a request that was heard before.
    pub fn decide(&self, payload: Payload) -> Result<Fate, Refusal> {
        match (self.judge(payload), self.stretch()) {
            (Fate::Contend, _) => self.contend(self.known(), payload),
            // One hop, never two: whoever relays it to us will know better soon.
            (Fate::Relay(_), Stretch::Second) => Err(Refusal::NotLeader),
            (fate, _) => Ok(fate),
        }
    }

    fn contend(&self, known: &Known, payload: Payload) -> Result<Fate, Refusal> {
        let is_kept = payload == Payload::RemoteWrite
            && self.core.seats.is_reserved(&known.seat, &known.source.name, self.core.now());
        if is_kept {
            return Err(Refusal::SeatReserved);
        }
        let address = self.claim.as_ref().map_or(self.peer, |claim| claim.address);
        let (source, weight) = (known.source.id, known.weight);
        // The silence of the promoted source is the tick's business.
        self.publish(known, Event::Heard(Heard { source, weight, address, payload }));
        Ok(self.judge(payload))
    }

    fn publish(&self, known: &Known, event: Event) {
        let Some(change) = known.seat.on_event(event, Millis(0)) else { return };
        if let Some(cause) = change.cause() {
            self.core.handle.counters.add_promotion(cause);
        }
        for line in change.lines() {
            self.core.log.info(&line);
        }
        self.core.store.tell(Word::Changed(known.seat.clone()));
    }

    /// The seat of the group that it speaks for.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.known().seat
    }

    /// The source that speaks.
    pub fn source(&self) -> &Arc<Source> {
        &self.known().source
    }

    /// What this core keeps of its group.
    pub fn stock(&self) -> &Rc<Stock> {
        &self.known().stock
    }

    /// Whether its source is alone, and has sent too much for all of it to be kept: then nothing is.
    pub fn is_thin(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.stock.is_thin())
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
}
