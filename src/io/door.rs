//! Who is at the other end of a connection of the data listeners, where those ask for it.

use std::net::IpAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use crate::io::access::Rules;
use crate::io::channel::Channel;
use crate::io::core::Core;
use crate::io::deadline::Slot;
use crate::io::gate::{Gate, Guest};
use crate::io::passage::Fault;
use crate::io::tls::name::name_of;
use crate::io::users::{Stranger, Who};
use crate::wire::http::head::Head;
use crate::wire::http::reply::Refusal;

/// The door of one connection.
pub struct Door {
    gate: Arc<Gate>,
    rules: Arc<Rules>,
    guest: Guest,
    /// The `Authorization` that was right last.
    shown: Vec<u8>,
}

/// Whether a request may come in.
pub enum Step {
    /// It may.
    In,
    /// That is to be asked, with [`Door::ask`]; then it is to be judged again.
    Ask(Stranger),
}

impl Door {
    /// That of a connection which begins now. `None`: everybody may come, and nothing is asked.
    pub fn new(core: &Core) -> Option<Door> {
        let gate = core.gate.clone()?;
        let rules = gate.rules().clone();
        Some(Door { gate, rules, guest: Guest::default(), shown: Vec::new() })
    }

    /// How it is to be spoken.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Hands have been shaken.
    pub fn on_shaken(&mut self, channel: &Channel) {
        self.guest.certificate = channel.shown().first().and_then(|own| name_of(own));
    }

    /// Who has come.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Whether a request with this head may come in, by the rules of now.
    pub fn judge(&mut self, head: &Head<'_>, channel: &Channel) -> Result<Step, Fault> {
        if !Arc::ptr_eq(&self.gate.rules(), &self.rules) {
            self.on_changed(channel)?;
        }
        let users = &self.rules.users;
        if users.are_none() {
            return Ok(Step::In);
        }
        let authorization = authorization(head);
        if self.guest.user.is_some()
            && authorization.is_some_and(|said| bool::from(said.ct_eq(&self.shown)))
        {
            return Ok(Step::In);
        }
        self.guest.user = None;
        match users.recognize(authorization) {
            Ok(Who::Anybody) => Ok(Step::In),
            Ok(Who::User(name)) => {
                self.guest.user = Some(name.into());
                self.shown.clear();
                self.shown.extend_from_slice(authorization.unwrap_or_default());
                Ok(Step::In)
            }
            Err(Some(stranger)) => Ok(Step::Ask(stranger)),
            Err(None) => Err(Refusal::Unauthorized.into()),
        }
    }

    /// The rules are others than those by which the connection has begun.
    fn on_changed(&mut self, channel: &Channel) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.rules, self.gate.rules().clone());
        self.guest.user = None;
        let is_admitted = match (&self.rules.tls, &before.tls) {
            (None, None) => true,
            (Some(tls), Some(before)) => tls.admits(before, channel.shown()),
            (None, Some(_)) | (Some(_), None) => false,
        };
        // Nothing of the request was taken: whoever is still welcome sends it again on a new connection.
        if is_admitted { Ok(()) } else { Err(Fault::Gone) }
    }

    /// Has a password checked that comes from this address.
    pub async fn ask(
        &self,
        core: &Core,
        slot: &Slot,
        stranger: Stranger,
        from: IpAddr,
    ) -> Result<(), Fault> {
        let asked = (stranger, self.rules.clone(), from);
        let is_right = self.gate.check(&core.guests, slot, core.now(), asked).await?;
        // By other rules than those of when it was asked it may be.
        let is_told = is_right || !Arc::ptr_eq(&self.gate.rules(), &self.rules);
        if is_told { Ok(()) } else { Err(Refusal::Unauthorized.into()) }
    }
}

/// The `Authorization` of a request, if it has exactly one.
fn authorization<'b>(head: &Head<'b>) -> Option<&'b [u8]> {
    let is_one = |name: &str| name.eq_ignore_ascii_case("authorization");
    let mut all = head.headers.iter().filter(|header| is_one(header.name));
    let first = all.next()?;
    all.next().is_none().then_some(first.value)
}
