//! The control: what it sees of each source, and what it does at a beat and at a tick.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use highlander::base::limits::{LOW_MARK_SLACK, MISSED_MIN};
use highlander::base::time::{Millis, Nanos, UnixMillis};
use highlander::logic::continuity::Continuity;
use highlander::logic::desk::Covered;
use highlander::logic::election::{Candidate, Group, Wish};
use highlander::logic::expiry::{Expiry, Presence, Rhythm};
use highlander::logic::lookout::Lookout;
use highlander::logic::progress::{self, Progress};
use highlander::logic::source::{Payload, SourceId, Weight};
use highlander::logic::view::{Heard, Stage};

use crate::mutation::Mutation;
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::sender::Source;
use crate::world::is_traced;

const EXPIRY: Expiry = Expiry { expiry: Millis(5_000), expiry_max: Millis(12_000) };

/// What the cores see of one source.
#[derive(Debug)]
pub struct Traces {
    pub weight: u64,
    pub last_heard: u64,
    pub last_answered: u64,
    pub refused: bool,
    pub in_flight: usize,
    /// Of each connection.
    pub lookouts: BTreeMap<usize, Lookout>,
    newest: Option<UnixMillis>,
    step: Option<(Millis, UnixMillis)>,
    known: Option<(Rhythm, Continuity)>,
}

impl Traces {
    pub fn of(source: &Source) -> Traces {
        Traces {
            weight: source.weight,
            last_heard: 0,
            last_answered: 0,
            refused: false,
            in_flight: 0,
            lookouts: BTreeMap::new(),
            newest: None,
            step: None,
            known: None,
        }
    }

    pub fn behind_max(&self) -> Millis {
        self.known.map_or(Millis(MISSED_MIN.0 / 2), |(_, continuity)| continuity.behind_max())
    }

    /// A request goes from `oldest` to `newest`, with this gap between. True if there is a hole.
    pub fn on_seen(
        &mut self,
        oldest: UnixMillis,
        newest: UnixMillis,
        gap: Option<(Millis, UnixMillis)>,
    ) -> bool {
        let seen = self.newest.unwrap_or(oldest);
        self.newest = Some(seen.max(newest));
        let step = Millis(u64::try_from(oldest.0 - seen.0).unwrap_or(0));
        // In a gap of one shard another may have been seen.
        let gap = gap.filter(|(_, to)| *to > seen);
        let gap = gap.map(|(gap, to)| {
            let beyond = Millis(u64::try_from(to.0 - seen.0).unwrap_or(0));
            (gap.min(beyond), to)
        });
        let step = Some((step, oldest)).max(gap);
        self.step = self.step.max(step);
        let known = self.known.zip(step);
        known.is_some_and(|((_, continuity), (step, _))| step > continuity.jump_max())
    }

    pub fn heard(&self, replica: usize) -> Heard {
        Heard {
            source: SourceId(replica as u64),
            weight: Weight(self.weight),
            address: SocketAddr::from(([10, 0, 0, replica as u8], 1)),
            payload: Payload::RemoteWrite,
        }
    }
}

#[derive(Debug)]
pub struct Control {
    pub now: u64,
    window: Millis,
    lag_max: Option<Millis>,
    progress: Progress,
    floor: UnixMillis,
    /// When delivered requests were dropped without being covered.
    reach: UnixMillis,
    /// When the last of them had been delivered.
    dropped: Nanos,
    next_tick: u64,
    /// What an operator wants.
    pub wish: Option<Wish>,
}

impl Control {
    pub fn new(plan: &Plan) -> Control {
        Control {
            now: 0,
            window: Millis(plan.window),
            lag_max: plan.lag_max.map(Millis),
            progress: Progress::default(),
            floor: UnixMillis::MIN,
            reach: UnixMillis::MIN,
            dropped: Nanos(0),
            next_tick: 1000,
            wish: None,
        }
    }

    pub fn covered(&self) -> Covered {
        Covered { floor: self.floor, reach: self.reach, dropped: self.dropped, ..Covered::NOTHING }
    }

    /// Whether what a standby pushes can be told from what has been delivered.
    pub fn reaches_back(&self) -> bool {
        self.reach == UnixMillis::MIN || self.progress.low().is_some_and(|low| low >= self.reach)
    }

    pub fn on_dropped(&mut self, dropped: Nanos) {
        self.reach = self.reach.max(UnixMillis((dropped.0 / 1_000_000) as i64));
        self.dropped = self.dropped.max(dropped);
    }
}

impl Proxy {
    /// `connected` says who reaches the proxy.
    pub fn on_beat(&mut self, now: u64, connected: &[bool]) {
        self.marks(now);
        let candidates = self.look(now, connected);
        let sits = |wish: &Wish| self.view.promoted.is_some_and(|it| it.source == wish.source);
        // It has come about.
        self.control.wish = self.control.wish.filter(|it| !sits(it) || self.view.grip != it.grip);
        let group = Group {
            view: self.view,
            candidates: &candidates,
            low: self.control.progress.low(),
            wish: self.control.wish,
            is_sure: true,
            now: Millis(now),
            unix_now: UnixMillis(now as i64),
        };
        if let Some((event, silence)) = group.beat(&EXPIRY, self.control.lag_max) {
            self.publish(event, silence, now);
        }
        if now >= self.control.next_tick {
            self.control.next_tick = now + 1000;
            let group = Group { view: self.view, ..group };
            if let Some((event, silence)) = group.tick(&EXPIRY) {
                self.publish(event, silence, now);
            }
        }
        self.release(now);
        self.drop_alone(now);
        self.refuse_late(now);
        self.conduct(now);
    }

    fn look(&mut self, now: u64, connected: &[bool]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let has_doubts = self.shelves.iter().any(|shelves| shelves.has_doubts(Millis(now)));
        for (replica, connected) in connected.iter().copied().enumerate() {
            let is_waiting = self.is_waiting(replica);
            let traces = &mut self.traces[replica];
            let last_heard = Millis(traces.last_heard);
            if last_heard == Millis(0) {
                continue;
            }
            let presence = Presence {
                granted: Millis(0),
                last_heard,
                last_answered: Millis(traces.last_answered),
                connected,
                reconnects: false,
                in_flight: traces.in_flight > 0 || is_waiting,
                refused: traces.refused,
            };
            let unix_now = UnixMillis(now as i64);
            let new = || (Rhythm::new(last_heard), Continuity::new(last_heard, unix_now));
            let (mut rhythm, mut continuity) = traces.known.unwrap_or_else(new);
            let before = (continuity.is_missed(), continuity.whole_since());
            rhythm.on_look(Millis(now), last_heard);
            if let Some((step, first)) = traces.step.take().filter(|(step, _)| *step > Millis(0)) {
                continuity.on_step(step, first);
            }
            continuity.on_look(Millis(now), unix_now, &presence);
            if is_traced() && before != (continuity.is_missed(), continuity.whole_since()) {
                let (missed, whole) = (continuity.is_missed(), continuity.whole_since());
                println!("{now}: replica {replica} missed {missed} whole {whole:?} {presence:?}");
            }
            traces.known = Some((rhythm, continuity));
            let promoted = self.view.promoted.map(|promoted| promoted.source);
            let is_promoted = promoted == Some(SourceId(replica as u64));
            candidates.push(Candidate {
                heard: traces.heard(replica),
                presence,
                rhythm,
                continuity,
                newest: traces.newest.map(|newest| newest.min(unix_now)),
                owes: traces.refused || is_promoted && has_doubts,
            });
        }
        candidates
    }

    /// The low mark of the promoted source.
    fn marks(&mut self, now: u64) {
        self.control.now = now;
        let Some(promoted) = self.view.promoted else { return };
        let source = promoted.source;
        let known = self.traces[source.0 as usize].known;
        let span = progress::span(known.map_or(Millis(0), |(_, continuity)| continuity.pause()));
        let marks = self.shelves.iter_mut();
        let of_cores = marks.filter_map(|it| it.low_mark(source, Millis(now), span)).min();
        let times = (Millis(now), UnixMillis(now as i64));
        self.control.progress.on_look(&self.view, times, span, of_cores);
    }

    /// Lets go of what the promoted source has covered.
    fn release(&mut self, now: u64) {
        let (window, pressure) = (self.control.window, self.pressure());
        let released = self.control.progress.release(&self.view, window, pressure, None);
        let released = released.map(|(mark, _)| mark);
        let is_known = self.control.progress.low().is_some();
        let mark = match self.mutation {
            Mutation::ReleaseEarly => released.map(|_| UnixMillis(now as i64)),
            Mutation::ReleaseUnsteady if self.view.stage != Stage::Steady && is_known => {
                Some(UnixMillis(now as i64).before(LOW_MARK_SLACK))
            }
            _ => released,
        };
        let Some(mark) = mark else { return };
        let nanos = Nanos(u64::try_from(mark.0).unwrap_or(0) * 1_000_000);
        self.shelves.iter_mut().for_each(|shelves| shelves.release(nanos, drop));
        if self.mutation == Mutation::ReleaseEarly {
            return;
        }
        self.control.floor = self.control.floor.max(mark);
        if self.mutation != Mutation::DropFloor {
            self.handover.on_released(self.control.covered());
        }
    }

    /// Of a source that is alone not all is kept that was delivered.
    fn drop_alone(&mut self, now: u64) {
        let heard = self.traces.iter().filter(|traces| traces.last_heard > 0).count();
        for core in 0..self.shelves.len() {
            self.shelves[core].set_alone(heard <= 1, self.alone_bytes_max);
            self.drop_delivered(core, now);
        }
    }

    pub fn drop_delivered(&mut self, core: usize, now: u64) {
        let nanos = Nanos(now * 1_000_000);
        if let Some(dropped) = self.shelves[core].drop_delivered(self.alone_bytes_max, nanos) {
            self.on_dropped(dropped);
        }
    }
}
