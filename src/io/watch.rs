//! What the control remembers of one group from beat to beat.

use std::collections::HashMap;

use crate::base::limits::{LOW_MARK_SPAN_MAX, RESERVED};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::continuity::Continuity;
use crate::logic::election::{Candidate, Group, Wish};
use crate::logic::expiry::{Expiry, Presence, Rhythm};
use crate::logic::pressure::Pressure;
use crate::logic::progress::{self, Progress, Window};
use crate::logic::source::SourceId;
use crate::logic::view::{Lead, View};
use crate::shared::presence::Source;
use crate::shared::state::Seat;

/// What is remembered of the sources of one group, and of the one that is promoted.
#[derive(Debug, Default)]
pub struct Watch {
    known: HashMap<SourceId, (Rhythm, Continuity)>,
    candidates: Vec<Candidate>,
    progress: Progress,
    /// Whether what comes here goes to another node, or waits for one.
    is_relayed: bool,
    is_sure: bool,
}

impl Watch {
    /// Looks at all sources, and at how far the promoted one has come.
    pub fn look(&mut self, seat: &Seat, now: Millis, unix_now: UnixMillis) {
        // What is relayed is neither looked at nor kept here. It is as if its source came to this node
        // at the moment when the node takes the lead.
        self.is_relayed = match seat.view().lead {
            Lead::Relay(_) => true,
            Lead::Nobody => self.is_relayed,
            Lead::Us | Lead::Mirror | Lead::Orphan => false,
        };
        self.is_sure = seat.is_sure(now);
        let mut known = HashMap::with_capacity(self.known.len());
        self.candidates.clear();
        let reconnects = seat.reconnects(now);
        for source in &seat.sources().all {
            let presence = Presence { reconnects, ..source.presence() };
            // A source that has not sent a whole request yet has not been heard.
            if presence.last_heard == Millis(0) {
                continue;
            }
            let new = || {
                let last_heard = presence.last_heard;
                (Rhythm::new(last_heard), Continuity::new(last_heard, unix_now))
            };
            let (mut rhythm, mut continuity) =
                self.known.get(&source.id).copied().unwrap_or_else(new);
            if self.is_relayed {
                source.forget_seen();
                continuity = Continuity::new(presence.last_heard, unix_now);
            }
            rhythm.on_look(now, presence.last_heard);
            learn_steps(source, &mut continuity);
            continuity.on_look(now, unix_now, &presence);
            source.set_steps_max(continuity.jump_max(), continuity.behind_max());
            known.insert(source.id, (rhythm, continuity));
            self.candidates.push(Candidate {
                heard: source.heard(),
                presence,
                rhythm,
                continuity,
                newest: source.newest().map(|newest| newest.min(unix_now)),
                owes: presence.refused || source.has_doubts(),
            });
        }
        self.known = known;
        self.look_at_low(seat, now, unix_now);
    }

    fn look_at_low(&mut self, seat: &Seat, now: Millis, unix_now: UnixMillis) {
        let view = **seat.view();
        let of = view.promoted.and_then(|promoted| self.known.get(&promoted.source));
        let pause = of.map_or(Millis(0), |(_, continuity)| continuity.pause());
        let span = progress::span(pause);
        seat.marks.set_span(span);
        self.progress.on_look(&view, (now, unix_now), span, seat.marks.of_cores());
        // Other nodes hold for as long as they are told of no mark. That nothing can be read is known late:
        // at first nothing has come.
        let is_unreadable =
            self.progress.steady_for(now) >= LOW_MARK_SPAN_MAX && self.is_unreadable();
        let unreadable = || is_unreadable.then(|| unix_now.before(LOW_MARK_SPAN_MAX));
        seat.marks.set_low(self.progress.low().or_else(unreadable));
    }

    /// Says of all sources how long they may be silent: here, and should another node take the lead.
    pub fn tell_patience(&self, seat: &Seat, expiry: &Expiry) {
        let connected = Presence { connected: true, ..Presence::default() };
        for source in &seat.sources().all {
            let Some((rhythm, _)) = self.known.get(&source.id) else { continue };
            let patience = rhythm.patience(&connected, expiry).unwrap_or(expiry.expiry_max);
            source.set_patience(patience.max(RESERVED));
            source.set_lost_after(rhythm.patience(&source.presence(), expiry));
        }
    }

    /// The group as an election sees it, in which an operator wants `wish`.
    pub fn group(
        &self,
        view: View,
        wish: Option<Wish>,
        now: Millis,
        unix_now: UnixMillis,
    ) -> Group<'_> {
        Group {
            view,
            wish,
            candidates: &self.candidates,
            low: self.progress.low(),
            is_sure: self.is_sure,
            now,
            unix_now,
        }
    }

    /// What may be released now, see [`Progress::release`].
    pub fn release(
        &self,
        view: View,
        window: Millis,
        pressure: Pressure,
        unix_now: UnixMillis,
    ) -> Option<(UnixMillis, Window)> {
        let unreadable_now = self.is_unreadable().then_some(unix_now);
        self.progress.release(&view, window, pressure, unreadable_now)
    }

    /// Whether of what the promoted source pushes all that can be said is when it came.
    fn is_unreadable(&self) -> bool {
        let source = self.progress.source();
        let promoted = self.candidates.iter().find(|it| Some(it.heard.source) == source);
        promoted.is_some_and(|promoted| promoted.newest.is_none())
    }

    /// Its sources, as they were last looked at.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

fn learn_steps(source: &Source, continuity: &mut Continuity) {
    if let Some((step, first)) = source.take_step() {
        continuity.on_step(step, first);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use super::*;
    use crate::base::limits::SOURCES_MAX;
    use crate::logic::source::{GroupName, SourceName, Weight};
    use crate::logic::view::{Event, Past};
    use crate::shared::state::Seats;

    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1);

    fn attach(seats: &Seats) -> (Arc<Seat>, Arc<Source>) {
        let name = SourceName::Named((*b"a").into());
        let attached = seats.attach(&GroupName::default(), &name, Weight(0), ADDRESS);
        attached.expect("there is room")
    }

    #[test]
    fn a_source_that_was_relayed_has_no_hole_when_this_node_takes_the_lead() {
        let seats = Seats::new(1, SOURCES_MAX).unled();
        let (seat, source) = attach(&seats);
        let mut watch = Watch::default();
        let mut beat = |now: u64| {
            watch.look(&seat, Millis(now), UnixMillis(now as i64));
            watch.candidates()[0].continuity
        };
        // Before it was known who leads, a request waited here and was looked at.
        source.on_heard(0, Millis(1000));
        source.on_seen(0, (UnixMillis(900), UnixMillis(900)), None);
        beat(1000);
        seat.on_event(Event::Left(Lead::Relay(ADDRESS)), Millis(0)).expect("a change");
        for now in (1100..30_000).step_by(100) {
            source.on_heard(0, Millis(now));
            beat(now);
        }
        seat.on_event(Event::Led(Past::None), Millis(0)).expect("a change");
        let first = UnixMillis(29_900);
        assert!(!source.on_seen(0, (first, first), None), "a jump of 29 s, all of it delivered");
        let continuity = beat(30_000);
        assert_eq!(continuity.hole_from(), None);
        assert_eq!(continuity.whole_since(), UnixMillis(29_900), "nothing before is held here");
    }

    #[test]
    fn a_source_whose_connections_went_with_the_node_that_relayed_them_is_not_missed() {
        for (reconnects_until, is_missed) in [(Millis(0), true), (Millis(23_000), false)] {
            let seats = Seats::new(1, 10);
            let (seat, source) = attach(&seats);
            let mut watch = Watch::default();
            for now in (1_000..20_000).step_by(100) {
                source.on_heard(0, Millis(now / 500 * 500));
                watch.look(&seat, Millis(now), UnixMillis(now as i64));
            }
            source.detach();
            seat.set_reconnects_until(reconnects_until);
            watch.look(&seat, Millis(20_000), UnixMillis(20_000));
            assert_eq!(watch.candidates()[0].continuity.is_missed(), is_missed);
            // Silence says as much as ever.
            watch.look(&seat, Millis(22_900), UnixMillis(22_900));
            assert!(watch.candidates()[0].continuity.is_missed());
        }
    }

    #[test]
    fn who_has_not_come_yet_while_sources_reconnect_does_not_keep_its_connections() {
        let seats = Seats::new(1, 10);
        let (seat, source) = attach(&seats);
        source.expect(Millis(1_000), Millis(10_000));
        source.detach();
        seat.set_reconnects_until(Millis(3_000));
        let mut watch = Watch::default();
        for now in (1_000..8_000).step_by(100) {
            watch.look(&seat, Millis(now), UnixMillis(now as i64));
            assert!(!watch.candidates()[0].continuity.is_missed(), "{now}");
        }
    }

    #[test]
    fn other_nodes_are_told_a_mark_also_where_nothing_can_be_read() {
        let seats = Seats::new(1, 10);
        let (seat, source) = attach(&seats);
        source.on_heard(0, Millis(1_000));
        seat.on_event(Event::Heard(source.heard()), Millis(0)).expect("it takes the seat");
        let mut watch = Watch::default();
        watch.look(&seat, Millis(1_000), UnixMillis(1_000));
        assert_eq!(seat.marks.low(), None);
        let now = LOW_MARK_SPAN_MAX.0 + 5_000;
        watch.look(&seat, Millis(now), UnixMillis(now as i64));
        assert_eq!(seat.marks.low(), Some(UnixMillis(5_000)));
        // From then on it is known what it has delivered.
        source.on_seen(0, (UnixMillis(900), UnixMillis(900)), None);
        watch.look(&seat, Millis(now + 100), UnixMillis(now as i64 + 100));
        assert_eq!(seat.marks.low(), None);
    }

    /// Since when a source is whole that was heard for 20 s by a node that did not lead, and then does.
    fn whole_since(lead: Lead) -> UnixMillis {
        let seats = Seats::new(1, 10).unled();
        let (seat, source) = attach(&seats);
        seat.on_event(Event::Left(lead), Millis(0));
        let mut watch = Watch::default();
        for now in (1_000..=20_000).step_by(100) {
            source.on_heard(0, Millis(now / 1000 * 1000));
            watch.look(&seat, Millis(now), UnixMillis(now as i64));
        }
        seat.on_event(Event::Left(Lead::Nobody), Millis(0));
        watch.look(&seat, Millis(20_100), UnixMillis(20_100));
        seat.on_event(Event::Led(Past::None), Millis(0));
        watch.look(&seat, Millis(20_200), UnixMillis(20_200));
        watch.look(&seat, Millis(20_300), UnixMillis(20_300));
        watch.candidates()[0].continuity.whole_since()
    }

    #[test]
    fn who_was_relayed_until_now_is_whole_since_now_and_who_was_held_since_before() {
        let address = SocketAddr::from(([10, 0, 0, 2], 1));
        assert_eq!(whole_since(Lead::Relay(address)), UnixMillis(20_100));
        assert_eq!(whole_since(Lead::Mirror), UnixMillis(1_000));
    }
}
