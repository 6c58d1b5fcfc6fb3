//! What operators want: a source in a seat, a pin, no seat for a source that is to be maintained.
//!
//! Nothing is done here. What is wanted is left at the seat, and the control does it as soon as that
//! costs no sample; the status says what it waits for.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;

use crate::base::limits::ORDER_PATIENCE;
use crate::base::time::Millis;
use crate::io::admin::sight::{Sight, called, name, text};
use crate::logic::election::Wish;
use crate::logic::source::GroupName;
use crate::logic::view::{Grip, Heard, Lead, View};
use crate::shared::presence::Source;
use crate::shared::state::{Order, Seat};
use crate::wire::http::page::{Page, Status};
use crate::wire::http::target;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A source takes the seat.
    Promote,
    /// It does, or stays there, and no bigger weight takes it away.
    Pin,
    /// A bigger weight may take it again.
    Unpin,
    /// A source gives away every seat that it sits in.
    Drain,
    /// Another node takes the lead of a group, or of all.
    HandOver,
    /// The configuration is read again.
    Reload,
}

impl Act {
    /// The act of this path.
    pub fn of(path: &[u8]) -> Option<Act> {
        match path {
            b"/-/promote" => Some(Act::Promote),
            b"/-/pin" => Some(Act::Pin),
            b"/-/unpin" => Some(Act::Unpin),
            b"/-/drain" => Some(Act::Drain),
            b"/-/handover" => Some(Act::HandOver),
            b"/-/reload" => Some(Act::Reload),
            _ => None,
        }
    }
}

/// Reads the configuration again, for who wants it. Returned is what has changed, or all that stands
/// against it.
pub type Reload = Box<dyn Fn(&str) -> Result<String, Vec<String>> + Send + Sync>;

/// Does it, for somebody at `who`.
pub fn steer(act: Act, target: &[u8], sight: &Sight, reload: &Reload, who: &str) -> Page {
    let done = Wanted::read(target).and_then(|wanted| match act {
        Act::Promote => promote(&wanted, sight, who),
        Act::Pin => pin(&wanted, sight, who),
        Act::Unpin => unpin(&wanted, sight, who),
        Act::Drain => drain(&wanted, sight, who),
        Act::HandOver => hand_over(&wanted, sight, who),
        Act::Reload if wanted.is_anything() => {
            refused(Status::BadRequest, "all of the configuration is read, or nothing")
        }
        Act::Reload => match reload(who) {
            Ok(changes) => Ok((Status::Ok, changes)),
            Err(faults) => refused(Status::Conflict, faults.join("\n")),
        },
    });
    let (status, document) = match done {
        Ok((status, message)) => (status, json!({ "message": message })),
        Err(Refused(status, error)) => (status, json!({ "error": error })),
    };
    Page { status, ..Page::good("application/json", format!("{document}\n")) }
}

/// Why something is not done.
struct Refused(Status, String);

type Done = Result<(Status, String), Refused>;

fn refused<T>(status: Status, why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(status, why.into()))
}

/// Of whom it is asked.
#[derive(Debug, Default)]
struct Wanted<'t> {
    tenant: Option<Cow<'t, [u8]>>,
    group: Option<Cow<'t, [u8]>>,
    source: Option<Cow<'t, [u8]>>,
}

impl<'t> Wanted<'t> {
    /// A name that is misspelt must not steer another group.
    fn read(target: &'t [u8]) -> Result<Wanted<'t>, Refused> {
        let mut wanted = Wanted::default();
        for (key, value) in target::pairs(target) {
            let place = match &*key {
                b"tenant" => &mut wanted.tenant,
                b"group" => &mut wanted.group,
                b"source" => &mut wanted.source,
                other => {
                    let other = text(other).escape_debug().to_string();
                    let why = format!("'{other}' is none of tenant, group and source");
                    return refused(Status::BadRequest, why);
                }
            };
            if place.replace(value).is_some() {
                return refused(Status::BadRequest, "the same is said twice");
            }
        }
        Ok(wanted)
    }

    fn is_anything(&self) -> bool {
        self.tenant.is_some() || self.group.is_some() || self.source.is_some()
    }

    fn source(&self) -> Result<Cow<'_, str>, Refused> {
        match &self.source {
            Some(source) => Ok(text(source)),
            None => refused(Status::BadRequest, "which source? say source="),
        }
    }

    /// The group if one is named, else all.
    fn seats(&self, sight: &Sight) -> Result<Vec<Arc<Seat>>, Refused> {
        match self.group.is_some() || self.tenant.is_some() {
            true => Ok(vec![self.seat(sight)?]),
            false => Ok(sight.seats.all().values().cloned().collect()),
        }
    }

    /// The group; that of the node if there is but one and none is named.
    fn seat(&self, sight: &Sight) -> Result<Arc<Seat>, Refused> {
        let all = sight.seats.all();
        if self.group.is_none() && self.tenant.is_none() {
            let mut seats = all.values();
            return match (seats.next(), seats.next()) {
                (Some(seat), None) => Ok(seat.clone()),
                (None, _) => refused(Status::NotFound, "no group is known here yet"),
                (Some(_), Some(_)) => refused(
                    Status::BadRequest,
                    "which group? say group=, and tenant= if it has one",
                ),
            };
        }
        let part = |part: &Option<Cow<'_, [u8]>>| part.as_deref().unwrap_or_default().into();
        let group = GroupName { tenant: part(&self.tenant), group: part(&self.group) };
        match all.get(&group) {
            Some(seat) => Ok(seat.clone()),
            None => refused(Status::NotFound, format!("{} is not known here", called(&group))),
        }
    }
}

/// A seat that this node may change.
struct Led {
    seat: Arc<Seat>,
    view: View,
    promoted: Heard,
    now: Millis,
}

impl Led {
    fn of(seat: Arc<Seat>, now: Millis) -> Result<Led, Refused> {
        let (view, group) = (**seat.view(), called(&seat.group));
        match view.lead {
            Lead::Us => {}
            Lead::Relay(to) => {
                let why = format!("another node leads {group}: the one that is reached at {to}");
                return refused(Status::Conflict, why);
            }
            Lead::Mirror => {
                return refused(Status::Conflict, format!("another node leads {group}"));
            }
            Lead::Orphan | Lead::Nobody => {
                return refused(Status::Conflict, format!("nobody leads {group} now"));
            }
        }
        match view.promoted {
            Some(promoted) => Ok(Led { seat, view, promoted, now }),
            None => refused(Status::Conflict, format!("nobody is promoted in {group}")),
        }
    }

    /// The source of this name.
    fn source(&self, wanted: &str) -> Result<Arc<Source>, Refused> {
        let sources = self.seat.sources();
        let mut known = sources.all.iter().filter(|it| name(&it.name) == wanted);
        match (known.next(), known.next()) {
            (Some(source), None) => Ok(source.clone()),
            (Some(_), Some(_)) => refused(Status::Conflict, "two sources are shown by that name"),
            (None, _) => {
                let mut names: Vec<String> = sources.all.iter().map(|it| name(&it.name)).collect();
                names.sort();
                let group = called(&self.seat.group);
                let why = format!("no such source in {group}; there are {}", names.join(", "));
                refused(Status::NotFound, why)
            }
        }
    }

    /// Whether a source is there to take a seat.
    fn is_there(&self, source: &Source) -> bool {
        let presence = source.presence();
        let is_heard = presence.last_heard != Millis(0);
        is_heard && (presence.connected || presence.silence(self.now) < source.patience())
    }

    /// The heaviest source that is there, of those that it may be.
    fn heaviest(&self, may_be: impl Fn(&Source) -> bool) -> Option<Arc<Source>> {
        let sources = self.seat.sources();
        let others = sources.all.iter().filter(|it| may_be(it) && self.is_there(it));
        others.max_by_key(|it| (it.heard().weight, it.presence().last_heard)).cloned()
    }

    fn sits(&self, source: &Source) -> bool {
        self.promoted.source == source.id
    }

    /// Nothing that was wanted before is wanted any more, of a source that sits as it should.
    fn take_back(&self, sight: &Sight) {
        if self.seat.order().is_some() {
            let wish = Wish { source: self.promoted.source, grip: self.view.grip };
            self.leave(wish, sight);
        }
    }

    /// Leaves what is wanted at the seat.
    fn order(&self, source: &Source, grip: Grip, sight: &Sight) {
        self.leave(Wish { source: source.id, grip }, sight);
    }

    fn leave(&self, wish: Wish, sight: &Sight) {
        self.seat.set_order(Order {
            wish,
            since: sight.clock.unix_now(),
            until: self.now.after(ORDER_PATIENCE),
        });
    }
}

fn promote(wanted: &Wanted<'_>, sight: &Sight, who: &str) -> Done {
    let led = Led::of(wanted.seat(sight)?, sight.clock.now())?;
    let source = led.source(&wanted.source()?)?;
    let called = name(&source.name);
    if led.sits(&source) {
        led.take_back(sight);
        return Ok((Status::Ok, format!("source '{called}' is promoted already")));
    }
    if led.view.grip == Grip::Pinned {
        return refused(Status::Conflict, "the promoted source is pinned: unpin it first");
    }
    if !led.is_there(&source) {
        return refused(Status::Conflict, format!("source '{called}' is not there"));
    }
    let weight = source.heard().weight;
    let heavier = led.heaviest(|it| it.id != source.id && it.heard().weight > weight);
    if let Some(heavier) = heavier {
        let heavier = name(&heavier.name);
        let why = format!(
            "source '{heavier}' has a bigger weight and would take the seat back: pin '{called}' \
             in place of promoting it"
        );
        return refused(Status::Conflict, why);
    }
    led.order(&source, Grip::Loose, sight);
    say(sight, who, &format!("source '{called}' promoted"), &led.seat.group);
    Ok((Status::Accepted, format!("source '{called}' is promoted as soon as that costs no sample")))
}

fn pin(wanted: &Wanted<'_>, sight: &Sight, who: &str) -> Done {
    let led = Led::of(wanted.seat(sight)?, sight.clock.now())?;
    let source = match &wanted.source {
        Some(_) => led.source(&wanted.source()?)?,
        None => promoted(&led)?,
    };
    let called = name(&source.name);
    if led.sits(&source) && led.view.grip == Grip::Pinned {
        led.take_back(sight);
        return Ok((Status::Ok, format!("source '{called}' is pinned already")));
    }
    if !led.sits(&source) && !led.is_there(&source) {
        return refused(Status::Conflict, format!("source '{called}' is not there"));
    }
    led.order(&source, Grip::Pinned, sight);
    say(sight, who, &format!("source '{called}' pinned"), &led.seat.group);
    let message = match led.sits(&source) {
        true => format!("source '{called}' is pinned to its seat"),
        false => {
            format!("source '{called}' is promoted and pinned as soon as that costs no sample")
        }
    };
    Ok((Status::Accepted, message))
}

fn unpin(wanted: &Wanted<'_>, sight: &Sight, who: &str) -> Done {
    let led = Led::of(wanted.seat(sight)?, sight.clock.now())?;
    let source = promoted(&led)?;
    let called = name(&source.name);
    if let Some(asked) = &wanted.source
        && text(asked) != called
    {
        return refused(Status::Conflict, format!("it is '{called}' that is promoted"));
    }
    let is_asked_for = led.seat.order().is_some_and(|order| order.wish.grip == Grip::Pinned);
    if led.view.grip == Grip::Loose && !is_asked_for {
        return Ok((Status::Ok, "nobody is pinned".to_owned()));
    }
    led.order(&source, Grip::Loose, sight);
    say(sight, who, &format!("source '{called}' pinned no more"), &led.seat.group);
    Ok((Status::Accepted, format!("source '{called}' is pinned no more")))
}

/// In all groups, or in one. The one that takes the seat is pinned if it would not keep it else.
fn drain(wanted: &Wanted<'_>, sight: &Sight, who: &str) -> Done {
    let drained = wanted.source()?;
    let seats = wanted.seats(sight)?;
    let now = sight.clock.now();
    let (mut messages, mut is_known) = (Vec::new(), false);
    let mut faults = Vec::new();
    for seat in seats {
        let is_drained = |source: &Source| name(&source.name) == drained;
        let sources = seat.sources();
        let drained_here: Vec<Arc<Source>> =
            sources.all.iter().filter(|it| is_drained(it)).cloned().collect();
        drop(sources);
        if drained_here.is_empty() {
            continue;
        }
        is_known = true;
        let led = match Led::of(seat, now) {
            Ok(led) => led,
            Err(Refused(_, why)) => {
                faults.push(why);
                continue;
            }
        };
        if !drained_here.iter().any(|it| led.sits(it)) {
            let order = led.seat.order();
            if order.is_some_and(|it| drained_here.iter().any(|of| of.id == it.wish.source)) {
                led.take_back(sight);
            }
            continue;
        }
        let group = called(&led.seat.group);
        let Some(heir) = led.heaviest(|it| !is_drained(it)) else {
            faults.push(format!("in {group} nobody else is there"));
            continue;
        };
        let weight = drained_here.iter().map(|it| it.heard().weight).max();
        let grip = match weight > Some(heir.heard().weight) {
            true => Grip::Pinned,
            false => Grip::Loose,
        };
        led.order(&heir, grip, sight);
        let heir = name(&heir.name);
        say(sight, who, &format!("source '{drained}' drained for '{heir}'"), &led.seat.group);
        let how = if grip == Grip::Pinned { " and pinned until you unpin it" } else { "" };
        messages.push(format!("in {group} '{heir}' is promoted{how}"));
    }
    match (&messages[..], &faults[..]) {
        _ if !is_known => {
            refused(Status::NotFound, format!("source '{drained}' is not known here"))
        }
        ([], []) => Ok((Status::Ok, format!("source '{drained}' sits in no seat here"))),
        (messages, []) => {
            Ok((Status::Accepted, format!("{}, once that costs no sample", messages.join("; "))))
        }
        (messages, faults) => refused(Status::Conflict, [messages, faults].concat().join("; ")),
    }
}

/// In all groups, or in one.
fn hand_over(wanted: &Wanted<'_>, sight: &Sight, who: &str) -> Done {
    if wanted.source.is_some() {
        return refused(Status::BadRequest, "it is groups that are given to another node");
    }
    let Some(nodes) = sight.nodes.as_ref().filter(|nodes| !nodes.others().is_empty()) else {
        return refused(Status::Conflict, "there is no other node");
    };
    let seats = wanted.seats(sight)?;
    let led: Vec<&Arc<Seat>> = seats.iter().filter(|seat| seat.view().lead == Lead::Us).collect();
    if led.is_empty() {
        return Ok((Status::Ok, "this node does not lead it".to_owned()));
    }
    for seat in &led {
        if !nodes.want_gone(seat.group.clone()) {
            return refused(Status::Conflict, "too many groups wait to be given away");
        }
        say(sight, who, "another node to take the lead", &seat.group);
    }
    let count = led.len();
    Ok((Status::Accepted, format!("{count} of its groups are given to other nodes")))
}

fn promoted(led: &Led) -> Result<Arc<Source>, Refused> {
    let sources = led.seat.sources();
    match sources.all.iter().find(|it| it.id == led.promoted.source) {
        Some(source) => Ok(source.clone()),
        None => refused(Status::Conflict, "the promoted source has been forgotten"),
    }
}

/// `what` holds names from outside.
fn say(sight: &Sight, who: &str, what: &str, group: &GroupName) {
    let what = what.replace(char::is_control, "\u{fffd}");
    sight.log.info(&format!("{who} wants {what} in {}", called(group)));
}
