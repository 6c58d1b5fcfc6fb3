//! What the control remembers of one group from beat to beat.

use std::collections::HashMap;

use crate::base::limits::{LOW_MARK_SLACK, LOW_MARK_SPAN_MAX, LOW_MARK_SPAN_MIN};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::continuity::Continuity;
use crate::logic::election::{Candidate, Group};
use crate::logic::expiry::Rhythm;
use crate::logic::pressure::Pressure;
use crate::logic::source::SourceId;
use crate::logic::view::{Stage, View};
use crate::shared::presence::Source;
use crate::shared::state::Seat;

/// What is remembered of the sources of one group, and of the one that is promoted.
#[derive(Debug, Default)]
pub struct Watch {
    known: HashMap<SourceId, (Rhythm, Continuity)>,
    candidates: Vec<Candidate>,
    low_of: Option<SourceId>,
    /// It stays when the seat changes hands, until the new source's is known: what was delivered
    /// stays so.
    low: Option<UnixMillis>,
    steady_since: Millis,
}

impl Watch {
    /// Looks at all sources, and at how far the promoted one has come.
    pub fn look(&mut self, seat: &Seat, now: Millis, unix_now: UnixMillis) {
        let mut known = HashMap::with_capacity(self.known.len());
        self.candidates.clear();
        for source in &seat.sources().all {
            let presence = source.presence();
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
        let promoted = view.promoted.map(|promoted| promoted.source);
        if self.low_of != promoted || view.stage != Stage::Steady {
            (self.low_of, self.steady_since) = (promoted, now);
        }
        let of = promoted.and_then(|source| self.known.get(&source));
        let pause = of.map_or(Millis(0), |(_, continuity)| continuity.pause());
        let span = pause.times(2).clamp(LOW_MARK_SPAN_MIN, LOW_MARK_SPAN_MAX);
        seat.marks.set_span(span);
        // A beat more: the cores told of it at the last one.
        if now.since(self.steady_since) > span {
            // A source's clock may be ahead of ours.
            let low = seat.marks.of_cores().map(|low| low.min(unix_now));
            self.low = low.max(self.low);
        }
        seat.marks.set_low(self.low);
    }

    /// The group as an election sees it.
    pub fn group(&self, view: View, now: Millis, unix_now: UnixMillis) -> Group<'_> {
        Group { view, candidates: &self.candidates, low: self.low, now, unix_now }
    }

    /// What may be released now: the window counts back from the low mark, and shrinks to what a slow
    /// scrape needs when there is no room.
    pub fn release(
        &self,
        view: View,
        window: Millis,
        pressure: Pressure,
        unix_now: UnixMillis,
    ) -> Option<(UnixMillis, Window)> {
        let is_known = view.stage == Stage::Steady
            && view.promoted.map(|promoted| promoted.source) == self.low_of;
        // Of a source whose bodies can't be read all that can be said is when they came.
        let promoted = self.candidates.iter().find(|it| Some(it.heard.source) == self.low_of);
        let is_unreadable = promoted.is_some_and(|promoted| promoted.newest.is_none());
        let low = self.low.or_else(|| is_unreadable.then_some(unix_now)).filter(|_| is_known)?;
        Some(match pressure {
            Pressure::Low | Pressure::Fold => (low.before(window), Window::Whole),
            Pressure::Shrink | Pressure::Full | Pressure::Over => {
                (low.before(window.min(LOW_MARK_SLACK)), Window::Shrunk)
            }
        })
    }

    /// Its sources, as they were last looked at.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

/// How far back what is covered is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// As configured.
    Whole,
    /// There is no room for that.
    Shrunk,
}

fn learn_steps(source: &Source, continuity: &mut Continuity) {
    if let Some((step, first)) = source.take_step() {
        continuity.on_step(step, first);
    }
}
