//! What the cluster's decisions mean for the seats, and what it is told of them.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam::channel::Sender;

use crate::base::limits::{LOW_MARK_SLACK, PARK_MAX, RECONNECT_MAX};
use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::core::Handle;
use crate::io::log::Log;
use crate::io::orders::Word;
use crate::logic::cluster::group;
use crate::logic::cluster::member::Member;
use crate::logic::cluster::standing::{Sitting, Standing};
use crate::logic::progress::{self, Window};
use crate::logic::source::{GroupName, Payload, SourceName};
use crate::logic::view::{Event, Heard, Lead, Past, Stage};
use crate::shared::memory::Memory;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::state::{Seat, Seats};
use crate::shared::tuning::Tuned;

/// What becomes of requests on a node that does not lead, `--cluster-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each source reaches one node: they go to the one that leads.
    #[default]
    Relay,
    /// Each source pushes to every node: they are held.
    Mirror,
}

/// The seats, as the cluster's thread has to do with them.
pub struct Seating {
    /// All of them.
    pub seats: Arc<Seats>,
    /// What becomes of requests here if another leads.
    pub mode: Mode,
    /// How far back from the low mark requests are kept, among others.
    pub tuned: Tuned,
    /// What it may take: when there is no room, less is kept.
    pub memory: Arc<Memory>,
    /// Whom to wake after a change.
    pub cores: Vec<Arc<Handle>>,
    /// The conductor, who is told of each change.
    pub conductor: Sender<Word>,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// The counters of the cluster's thread.
    pub counters: Arc<Counters>,
    /// The seats as they were last looked at.
    pub seen: Arc<HashMap<GroupName, Arc<Seat>>>,
    /// Those of groups that the member had no room for.
    pub unknown: Vec<GroupName>,
    /// Those that have lost their leader, and until when their sources are still held for the next one.
    pub orphans: Vec<(Arc<Seat>, Millis)>,
}

impl Seating {
    /// Tells the member of new seats, of forgotten ones, and how those stand that this node leads.
    pub fn look(&mut self, member: &mut Member, now: Millis) {
        let seats = self.seats.all();
        self.give_up_orphans(now);
        // The map is another one whenever a seat has come or gone.
        if !Arc::ptr_eq(&self.seen, &seats) {
            let before = std::mem::replace(&mut self.seen, seats.clone());
            self.unknown.extend(take_in(member, &before, &seats, now));
        }
        self.unknown.retain(|group| seats.contains_key(group) && !member.on_wanted(group, now));
        let led: Vec<Arc<Seat>> =
            member.led().filter_map(|led| self.seen.get(led.group).cloned()).collect();
        for seat in led {
            let view = **seat.view();
            if view.lead == Lead::Us {
                let sitting = view.promoted.and_then(|promoted| sitting(&seat, &promoted));
                member.on_seat(&seat.group, view.epoch, sitting, seat.marks.low());
            }
        }
    }

    /// Who leads a group has changed.
    pub fn on_led(
        &mut self,
        member: &Member,
        name: &GroupName,
        lead: group::Lead,
        standing: Option<Box<Standing>>,
        now: Millis,
    ) {
        let seat = self.seats.all().get(name).cloned();
        let seat = match (seat, lead) {
            (Some(seat), _) => seat,
            // Nobody has come to it here: whoever does will be told.
            (None, group::Lead::At(_) | group::Lead::Nobody) => return,
            (None, group::Lead::Us) => match self.seats.seat(name) {
                Ok(seat) => seat,
                Err(_) => {
                    return self.log.warn("a group to lead has no room here: too many groups");
                }
            },
        };
        self.orphans.retain(|(orphan, _)| orphan.id != seat.id);
        let is_held = matches!(seat.view().lead, Lead::Mirror | Lead::Orphan);
        if lead == group::Lead::Nobody && is_held {
            // What comes now is as much needed by the next leader as what came before this was known: it
            // may be the last request of a source that died together with its leader.
            self.publish(&seat, Event::Left(Lead::Orphan));
            return self.orphans.push((seat, now.after(PARK_MAX)));
        }
        let was_ours = seat.view().lead == Lead::Us;
        let event = match lead {
            group::Lead::Us => Event::Led(self.past(&seat, standing.map(|it| *it), now)),
            group::Lead::At(to) if self.mode == Mode::Relay => Event::Left(Lead::Relay(to)),
            group::Lead::At(_) => Event::Left(Lead::Mirror),
            group::Lead::Nobody => Event::Left(Lead::Nobody),
        };
        let led = member.led().find(|led| led.group == name);
        seat.set_leads_until(led.map_or(Millis(0), |led| led.until));
        seat.set_sure_until(led.map_or(Millis(0), |led| led.sure_until));
        if !self.publish(&seat, event) {
            return;
        }
        let is_ours = lead == group::Lead::Us;
        if is_ours != was_ours {
            self.counters.add(Counter::LeadChanges, 1);
            self.log.info(&format!("isLeader changed to {is_ours}{}", suffix(name)));
        }
    }

    /// Nobody has come to lead them: their sources are told so.
    fn give_up_orphans(&mut self, now: Millis) {
        let mut orphans = std::mem::take(&mut self.orphans);
        orphans.retain(|(seat, until)| {
            if now >= *until {
                self.publish(seat, Event::Left(Lead::Nobody));
            }
            now < *until
        });
        self.orphans = orphans;
    }

    /// Whether that has changed something.
    fn publish(&self, seat: &Arc<Seat>, event: Event) -> bool {
        let Some(change) = seat.on_event(event, Millis(0)) else { return false };
        // It ends after this thread.
        let _ = self.conductor.send(Word::Changed(seat.clone()));
        self.cores.iter().for_each(|core| core.ring());
        change.grip().into_iter().for_each(|line| self.log.info(&line));
        true
    }

    /// How the group stood, as far as this node can go on from there.
    fn past(&self, seat: &Arc<Seat>, standing: Option<Standing>, now: Millis) -> Past {
        let Some(Standing { group, epoch, sitting, low, .. }) = standing else { return Past::None };
        if let Some(low) = low {
            // A slow scrape bears the time of its begin.
            let low = low.min(self.clock.unix_now());
            seat.marks.raise_held(low.before(LOW_MARK_SLACK));
        }
        let heir = sitting.and_then(|sitting| {
            let Sitting { name, weight, address, payload, patience } = sitting;
            let (_, source) = self.seats.attach(&group, &name, weight, address).ok()?;
            // Where it pushes to every node, this one has heard itself whether it lives.
            let was_heard = source.presence().was_heard_within(patience, now);
            if self.mode == Mode::Relay || !was_heard {
                source.expect(now, patience);
            }
            if payload == Payload::RemoteWrite {
                source.on_write();
            }
            source.detach();
            Some(Heard { source: source.id, weight, address, payload })
        });
        Past::Known(epoch, heir)
    }

    /// Nodes have come or gone: what they relayed comes by another way now, over other connections.
    pub fn on_members(&self, now: Millis) {
        if self.mode == Mode::Relay {
            let until = now.after(RECONNECT_MAX);
            self.seats.all().values().for_each(|seat| seat.set_reconnects_until(until));
        }
    }

    /// Says until when this node may lead what it leads.
    pub fn set_until(&self, member: &Member) {
        let seats = self.seats.all();
        for led in member.led() {
            if let Some(seat) = seats.get(led.group) {
                seat.set_leads_until(led.until);
                seat.set_sure_until(led.sure_until);
            }
        }
    }

    /// Lets the cores let go of what other leaders have covered.
    pub fn release(&self, member: &Member) {
        let (kept, window) = progress::kept(self.tuned.load().window, self.memory.pressure());
        let mut is_shrunk = false;
        for (group, seat) in self.seats.all().iter() {
            let lead = seat.view().lead;
            let is_held = matches!(lead, Lead::Mirror | Lead::Orphan);
            let Some(low) = member.standing(group).and_then(|standing| standing.low) else {
                continue;
            };
            let low = low.min(self.clock.unix_now());
            if is_held || matches!(lead, Lead::Relay(_)) {
                seat.marks.raise_release(low.before(self.tuned.load().window));
            }
            if is_held && window == Window::Shrunk {
                seat.marks.raise_release_held(low.before(kept));
                is_shrunk = true;
            }
        }
        if is_shrunk {
            self.counters.add(Counter::WindowShrunk, 1);
        }
    }

    /// Whether no hand-over is under way in a group that this node leads.
    pub fn is_steady(&self) -> bool {
        self.seats.all().values().all(is_steady)
    }

    /// The same of one group.
    pub fn is_steady_in(&self, group: &GroupName) -> bool {
        self.seats.all().get(group).is_none_or(is_steady)
    }
}

fn is_steady(seat: &Arc<Seat>) -> bool {
    let view = **seat.view();
    view.closed().is_none() && !matches!(view.stage, Stage::Suspect { .. })
}

type Map = HashMap<GroupName, Arc<Seat>>;

/// Tells the member which seats have come, and which have gone. Those that it is to be asked for again.
fn take_in(member: &mut Member, before: &Map, after: &Map, now: Millis) -> Vec<GroupName> {
    for group in before.keys().filter(|group| !after.contains_key(*group)) {
        member.on_forgotten(group, now);
    }
    let mut unknown = Vec::new();
    for (group, seat) in after {
        // One that was forgotten and made again has not been told who leads.
        let is_new = before.get(group).is_none_or(|known| known.id != seat.id);
        if is_new && !member.on_wanted(group, now) {
            unknown.push(group.clone());
        }
    }
    unknown
}

/// Who sits in a seat, as other nodes are told.
fn sitting(seat: &Seat, promoted: &Heard) -> Option<Sitting> {
    let sources = seat.sources();
    let source = sources.all.iter().find(|source| source.id == promoted.source)?;
    // A connection does not outlive its node.
    let name = Some(source.name.clone()).filter(|it| !matches!(it, SourceName::Connection(..)))?;
    Some(Sitting {
        name,
        weight: promoted.weight,
        address: promoted.address,
        payload: promoted.payload,
        patience: source.patience(),
    })
}

/// What tells the group in a line of the log; nothing for the one without a name.
fn suffix(group: &GroupName) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    match (&*group.tenant, &*group.group) {
        ([], []) => String::new(),
        ([], group) => format!(" (group '{}')", text(group)),
        (tenant, group) => format!(" (tenant '{}', group '{}')", text(tenant), text(group)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::limits::{STANDING_FORGOTTEN, STANDINGS_MAX};
    use crate::base::time::UnixMillis;
    use crate::io::log::{Format, Level};
    use crate::logic::cluster::member::{LeaseKind, Setting};
    use crate::logic::cluster::node::Node;
    use crate::logic::cluster::notice::Notice;
    use crate::logic::cluster::standing::{GroupKey, Term};
    use crate::logic::source::{Payload, SourceId, Weight};
    use crate::logic::view::{Epoch, Fate};
    use crate::shared::memory::Holding;
    use crate::shared::tuning::Tuning;
    use crate::wire::cluster::seal::Stamp;

    fn address(place: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, place], 1))
    }

    /// A member that nobody else knows, and the seats of its node.
    fn alone(mode: Mode) -> (Member, Seating) {
        let setting = Setting {
            me: Node { address: address(1), generation: 1 },
            listen: address(1),
            leases: LeaseKind::Majority(3),
            settle_max: Millis(0),
            seed: 1,
        };
        let (conductor, _) = crossbeam::channel::unbounded();
        let seating = Seating {
            seats: Arc::new(Seats::new(1, 10).unled()),
            mode,
            tuned: Tuning::default().tuned(),
            memory: Arc::new(Memory::new(1 << 20)),
            cores: Vec::new(),
            conductor,
            clock: Clock::start(),
            log: Log::start(Level::Error, Format::Text).expect("a thread"),
            counters: Arc::default(),
            seen: Arc::default(),
            unknown: Vec::new(),
            orphans: Vec::new(),
        };
        (Member::new(setting, &[address(1)], Millis(0)), seating)
    }

    #[test]
    fn who_is_held_is_held_for_a_while_when_the_leader_has_gone() {
        for (mode, led, held_until) in [
            (Mode::Mirror, Lead::Mirror, Millis(1000).after(PARK_MAX)),
            (Mode::Relay, Lead::Relay(address(2)), Millis(0)),
        ] {
            let (mut member, mut seating) = alone(mode);
            let group = GroupName::default();
            let seat = seating.seats.seat(&group).expect("there is room");
            let on_led = |seating: &mut Seating, lead, now| {
                seating.on_led(&member, &group, lead, None, Millis(now));
                seat.view().lead
            };
            assert_eq!(on_led(&mut seating, group::Lead::At(address(2)), 500), led);
            on_led(&mut seating, group::Lead::Nobody, 1000);
            for now in (1000..20_000).step_by(50) {
                seating.look(&mut member, Millis(now));
                let is_held = Millis(now) < held_until;
                let fate = |payload| seat.view().judge(SourceId(1), Weight(0), payload);
                let held = if is_held { Fate::Hold } else { Fate::Park };
                assert_eq!(fate(Payload::RemoteWrite), held, "{now} in {mode:?}");
                // Nobody would send on what can't be handed over.
                assert_eq!(fate(Payload::Other), Fate::Park, "{now} in {mode:?}");
            }
        }
    }

    #[test]
    fn a_seat_that_the_member_has_no_room_for_is_offered_until_it_has() {
        let (mut member, mut seating) = alone(Mode::Relay);
        let of = |number: usize| GroupName {
            tenant: Box::default(),
            group: number.to_string().into_bytes().into(),
        };
        assert!((0..STANDINGS_MAX).all(|number| member.on_wanted(&of(number), Millis(1))));
        let group = of(STANDINGS_MAX);
        seating.seats.seat(&group).expect("there is room");
        seating.look(&mut member, Millis(1000));
        seating.look(&mut member, Millis(2000));
        assert_eq!(seating.unknown, std::slice::from_ref(&group));
        member.on_forgotten(&of(7), Millis(2000));
        member.on_time(Millis(2000).after(STANDING_FORGOTTEN));
        seating.look(&mut member, Millis(2000).after(STANDING_FORGOTTEN));
        assert!(seating.unknown.is_empty());
        assert!(member.wanted(Millis(200_000)).contains(&GroupKey::of(&group)));
    }

    #[test]
    fn what_is_held_for_another_leader_is_let_go_of_sooner_when_there_is_no_room() {
        let (mut member, seating) = alone(Mode::Mirror);
        let seat = seating.seats.seat(&GroupName::default()).expect("there is room");
        seat.on_event(Event::Left(Lead::Mirror), Millis(0)).expect("it was nobody's");
        let low = UnixMillis(1_000_000_000);
        let standing = Standing {
            group: GroupName::default(),
            term: Term(1),
            leader: Node { address: address(2), generation: 1 },
            listen: address(2),
            epoch: Epoch::default(),
            sitting: None,
            low: Some(low),
        };
        let notice = Notice::Standings(vec![standing]).encode();
        member.on_datagram(Stamp { process: 1, sequence: 1 }, &notice, Millis(1)).expect("good");
        seating.release(&member);
        assert_eq!(seat.marks.release(), low.before(seating.tuned.load().window));
        let holding = Holding::new(seating.memory.clone());
        holding.change(0, 1 << 20);
        seating.release(&member);
        assert_eq!(seat.marks.release(), low.before(LOW_MARK_SLACK));
    }

    #[test]
    fn who_has_found_another_leader_is_no_orphan_any_more() {
        let (mut member, mut seating) = alone(Mode::Mirror);
        let group = GroupName::default();
        let seat = seating.seats.seat(&group).expect("there is room");
        for lead in [group::Lead::At(address(2)), group::Lead::Nobody, group::Lead::At(address(3))]
        {
            seating.on_led(&member, &group, lead, None, Millis(1000));
        }
        seating.look(&mut member, Millis(60_000));
        assert_eq!(seat.view().lead, Lead::Mirror);
    }
}
