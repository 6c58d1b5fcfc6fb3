//! A tick's election: whose silence is too long, who takes the seat, and how the change reads.

use std::fmt;

use crate::base::limits::{LOW_MARK_SPAN_MIN, MISSED_MIN};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::continuity::Continuity;
use crate::logic::expiry::{Expiry, Presence, Rhythm};
use crate::logic::source::{Payload, SourceId, Weight};
use crate::logic::view::{Cause, Event, Fill, Grip, Heard, Heir, Lead, Stage, View};

/// One source of a group at the moment of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The source as it was last heard.
    pub heard: Heard,
    /// What is known of it now.
    pub presence: Presence,
    /// How long its pauses are.
    pub rhythm: Rhythm,
    /// Since when it has been there without a hole.
    pub continuity: Continuity,
    /// The newest first sample that it has sent, if it has sent any.
    pub newest: Option<UnixMillis>,
    /// Whether a request of it has to be tried again: then a jump of its samples may be no hole, for
    /// the shard that has to hides the steps of its series.
    pub owes: bool,
}

impl Candidate {
    /// How long it has been silent.
    pub fn silence(&self, now: Millis) -> Millis {
        self.presence.silence(now)
    }

    /// Whether it still had to send what is from long before its last hole when that began.
    fn was_behind(&self) -> bool {
        let slack = self.continuity.pause().after(LOW_MARK_SPAN_MIN);
        let newest = self.newest.map(|newest| newest.after(slack));
        newest.zip(self.continuity.hole_from()).is_some_and(|(newest, from)| newest < from)
    }

    /// Whether it is still to be counted on.
    pub fn is_live(&self, now: Millis, expiry: &Expiry) -> bool {
        let patience = self.rhythm.patience(&self.presence, expiry);
        patience.is_none_or(|patience| self.silence(now) < patience)
    }
}

/// Whom an operator wants in the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The source. If it sits there already, only how fast is new.
    pub source: SourceId,
    /// How fast it is to sit.
    pub grip: Grip,
}

/// A group at the moment of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Group<'c> {
    /// Who is promoted.
    pub view: View,
    /// All its sources. A promoted one that is not among them has been forgotten, which happens to
    /// the dead only.
    pub candidates: &'c [Candidate],
    /// The low mark of the promoted source, as last known: everything older it has delivered.
    pub low: Option<UnixMillis>,
    /// What an operator wants, until it has come about.
    pub wish: Option<Wish>,
    /// Whether this node is certain to lead. One that is cut off from all others hears nothing of what
    /// they relay, and whoever leads next does not hear of a change that it makes.
    pub is_sure: bool,
    /// When that is.
    pub now: Millis,
    /// The same by the wall clock.
    pub unix_now: UnixMillis,
}

impl Group<'_> {
    /// The event that a tick brings, `None` while the seat is empty or its source can't be lost.
    pub fn tick(&self, expiry: &Expiry) -> Option<(Event, Millis)> {
        let at = self.view.promoted.filter(|_| self.is_sure)?.source;
        let heir = self.heir(expiry);
        let Some(promoted) = self.promoted() else {
            return Some((Event::Looked { at, patience: expiry.expiry, heir }, expiry.expiry));
        };
        let patience = promoted.rhythm.patience(&promoted.presence, expiry)?;
        Some((Event::Looked { at, patience, heir }, promoted.silence(self.now)))
    }

    /// The event that a beat brings: the promoted source is missed, or gives the seat away without
    /// being lost.
    pub fn beat(&self, expiry: &Expiry, lag_max: Option<Millis>) -> Option<(Event, Millis)> {
        let promoted = self.promoted().filter(|_| self.is_sure)?;
        let at = promoted.heard.source;
        if let Some(keeper) = self.missed_keeper() {
            return Some((Event::Suspected(keeper), Millis(0)));
        }
        let event = match self.view.stage {
            // Until it speaks again, it may as well be dead: that is the tick's business.
            Stage::Suspect { .. } if promoted.continuity.is_missed() => return None,
            Stage::Suspect { silence, .. } => {
                let evidence = match silence {
                    Millis(0) => Evidence::Jump,
                    Millis(_) => Evidence::Silence,
                };
                match self.heir_without_hole(expiry, evidence) {
                    Some(to) => Event::Returned { at, to },
                    None => Event::Cleared(at),
                }
            }
            _ if promoted.continuity.is_missed() => {
                // With nobody else there is nothing to be had from waiting.
                self.standbys(expiry).find(|it| writes(it) && !it.continuity.is_missed())?;
                Event::Suspected(at)
            }
            Stage::Steady => {
                let ordered = self.order(promoted, expiry, lag_max);
                let claimed = ordered.or_else(|| self.claim(promoted, expiry, lag_max));
                claimed.or_else(|| self.lag(promoted, expiry, lag_max?))?
            }
            Stage::Closed(_) | Stage::Open(_) => return None,
        };
        Some((event, promoted.silence(self.now)))
    }

    fn missed_keeper(&self) -> Option<SourceId> {
        let keeper = self.view.turn()?.keeper?;
        let of = |it: &&Candidate| it.heard.source == keeper;
        self.candidates.iter().find(of).filter(|it| it.continuity.is_missed()).map(|_| keeper)
    }

    /// Who can fill the hole of the promoted source without making another one: it was there since
    /// before everything that the promoted source has not delivered yet.
    fn heir_without_hole(&self, expiry: &Expiry, evidence: Evidence) -> Option<Heir> {
        let promoted = self.promoted()?;
        let hole_from = promoted.continuity.hole_from();
        let is_there = |it: &&Candidate| {
            let since = it.continuity.whole_since();
            // By then it had spoken for its series.
            let spoken = since.after(it.continuity.pause());
            let fills = hole_from.is_some_and(|from| spoken <= from)
                || since.after(FILLED_MIN) <= promoted.continuity.whole_since();
            let is_enough = match evidence {
                // If what it has not sent yet is from before its silence, its samples will jump.
                Evidence::Silence => fills && !promoted.was_behind(),
                Evidence::Jump => fills,
            };
            writes(it) && !it.continuity.is_missed() && (is_enough || self.is_whole(it))
        };
        let heir = self.standbys(expiry).filter(is_there).max_by_key(|it| {
            let source = std::cmp::Reverse(it.heard.source);
            (self.is_whole(it), self.is_fresh(it), it.heard.weight, source)
        })?;
        Some(self.on_whom_to_rely(heir, expiry))
    }

    /// A heavier source may take the seat when the one in it has delivered everything up to where
    /// the heavier one has begun, and a pause more: by then it has spoken for all of its series.
    /// Earlier, what the one in the seat has not delivered yet would be nobody's. One whose rhythm is
    /// not known yet may have fallen silent without anybody noticing.
    fn claim(
        &self,
        promoted: &Candidate,
        expiry: &Expiry,
        lag_max: Option<Millis>,
    ) -> Option<Event> {
        let heavier = |by: &&Candidate| {
            self.view.grip == Grip::Loose && by.heard.weight > promoted.heard.weight
        };
        let is_ready = |by: &&Candidate| self.is_ready(by, promoted, lag_max);
        let by = self.standbys(expiry).filter(heavier).filter(is_ready).max_by_key(rank)?;
        Some(Event::Claimed { at: promoted.heard.source, by: by.heard })
    }

    /// The source that an operator wants takes the seat when one that is heavier would.
    fn order(
        &self,
        promoted: &Candidate,
        expiry: &Expiry,
        lag_max: Option<Millis>,
    ) -> Option<Event> {
        let (Wish { source, grip }, at) = (self.wish?, promoted.heard.source);
        if source == at {
            return (self.view.grip != grip).then_some(Event::Gripped { at, grip });
        }
        let by = self.standbys(expiry).find(|it| it.heard.source == source)?;
        // Of what is no remote write nothing is handed over, and nothing waited for.
        let is_switched = !writes(promoted) && !writes(by);
        let is_ready = is_switched || self.is_ready(by, promoted, lag_max);
        is_ready.then_some(Event::Ordered { at, by: by.heard, grip })
    }

    /// Whether a source can take the seat from one that is alive without leaving out anything.
    fn is_ready(&self, by: &Candidate, promoted: &Candidate, lag_max: Option<Millis>) -> bool {
        let pause = by.continuity.pause().max(promoted.continuity.pause());
        writes(by)
            && by.continuity.is_known()
            && !by.continuity.is_missed()
            && by.newest.is_none_or(|it| it.after(by.continuity.jump_max()) >= self.unix_now)
            && self.has_delivered_until(promoted, by.continuity.whole_since().after(pause))
            && lag_max.is_none_or(|lag_max| !self.lags(by, lag_max))
    }

    /// Whether the promoted source has delivered everything older than `mark`. Of one whose bodies
    /// can't be read nobody will ever know.
    fn has_delivered_until(&self, promoted: &Candidate, mark: UnixMillis) -> bool {
        self.low.map_or(promoted.newest.is_none(), |low| mark <= low)
    }

    /// A source that is too far behind gives the seat to one that is not, and that has all which the
    /// one in the seat has still to deliver.
    fn lag(&self, promoted: &Candidate, expiry: &Expiry, lag_max: Millis) -> Option<Event> {
        if !writes(promoted) || !self.lags(promoted, lag_max) {
            return None;
        }
        let is_fresher = |it: &&Candidate| {
            writes(it)
                && it.newest > promoted.newest
                && !self.lags(it, lag_max)
                && self.is_whole(it)
        };
        let heir = self.standbys(expiry).filter(is_fresher).max_by_key(rank)?;
        Some(Event::Lagged { at: promoted.heard.source, to: self.on_whom_to_rely(heir, expiry) })
    }

    fn lags(&self, candidate: &Candidate, lag_max: Millis) -> bool {
        candidate.newest.is_none_or(|newest| newest < self.unix_now.before(lag_max))
    }

    /// The heaviest live standby; among equals the one heard last. One without a hole comes before
    /// one with a hole: what it could not push yet, because there was no room, nobody else has.
    fn heir(&self, expiry: &Expiry) -> Option<Heir> {
        let key = |it: &&Candidate| (self.is_whole(it), self.is_fresh(it), rank(it));
        let heir = self.standbys(expiry).max_by_key(key)?;
        Some(self.on_whom_to_rely(heir, expiry))
    }

    /// An heir that has been there since before the last delivered sample needs nobody else.
    fn on_whom_to_rely(&self, heir: &Candidate, expiry: &Expiry) -> Heir {
        if self.is_whole(heir) {
            return Heir { heard: heir.heard, fill: Fill::FromHeir, keeper: None };
        }
        let others = self.standbys(expiry).filter(|it| it.heard.source != heir.heard.source);
        let keeper = others.filter(|it| writes(it)).max_by_key(rank).map(|it| it.heard.source);
        Heir { heard: heir.heard, fill: Fill::FromAll, keeper }
    }

    fn is_whole(&self, candidate: &Candidate) -> bool {
        // In the first moments of a seat nothing is known yet of slower shards.
        let newest = || self.promoted().filter(|promoted| !promoted.owes)?.newest;
        let delivered = self.low.or_else(newest);
        !candidate.continuity.is_missed()
            && delivered.is_some_and(|low| candidate.continuity.whole_since() <= low)
    }

    /// Whether it is not behind: of what it has still to send nobody knows yet that it has no hole.
    fn is_fresh(&self, candidate: &Candidate) -> bool {
        let slack = candidate.continuity.pause().after(LOW_MARK_SPAN_MIN);
        candidate.newest.is_some_and(|newest| newest.after(slack) >= self.unix_now)
    }

    fn promoted(&self) -> Option<&Candidate> {
        let at = self.view.promoted?.source;
        self.candidates.iter().find(|candidate| candidate.heard.source == at)
    }

    /// Those that do not sit in the seat and are to be counted on.
    fn standbys(&self, expiry: &Expiry) -> impl Iterator<Item = &Candidate> {
        self.candidates
            .iter()
            .filter(|it| self.view.promoted.is_none_or(|p| p.source != it.heard.source))
            .filter(|it| it.is_live(self.now, expiry))
    }
}

/// What says that there is a hole in the promoted source's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    Silence,
    Jump,
}

/// A part of a hole that is worth a change of the seat, if not all of it can be filled: what two
/// scrapes that came late may make of a pause is less.
const FILLED_MIN: Millis = Millis(2 * MISSED_MIN.0);

fn writes(candidate: &Candidate) -> bool {
    candidate.heard.payload == Payload::RemoteWrite
}

fn rank(candidate: &&Candidate) -> (Weight, Millis) {
    (candidate.heard.weight, candidate.presence.last_heard)
}

/// A change of a view, told in the original's words, one line per thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    before: View,
    after: View,
    lost_after: Option<Millis>,
    cause: Option<Cause>,
}

impl Change {
    /// What `event` made of `before`.
    pub fn new(before: View, after: View, event: Event) -> Change {
        let lost_after = match (event, before.stage) {
            (Event::Looked { patience, .. }, _) => Some(patience),
            (Event::Returned { .. }, Stage::Suspect { silence, .. }) => Some(silence),
            (
                Event::Returned { .. }
                | Event::Heard(_)
                | Event::Suspected(_)
                | Event::Cleared(_)
                | Event::Claimed { .. }
                | Event::Lagged { .. }
                | Event::Ordered { .. }
                | Event::Gripped { .. }
                | Event::Left(_)
                | Event::Led(_)
                | Event::Opened(_)
                | Event::Settled(_),
                _,
            ) => None,
        };
        let cause = match event {
            Event::Looked { .. } => Some(Cause::Silence),
            Event::Returned { .. } => Some(Cause::Return),
            Event::Heard(_) if before.promoted.is_none() => Some(Cause::Empty),
            Event::Heard(_) | Event::Claimed { .. } => Some(Cause::Weight),
            Event::Lagged { .. } => Some(Cause::Lag),
            Event::Ordered { .. } => Some(Cause::Order),
            Event::Suspected(_)
            | Event::Cleared(_)
            | Event::Gripped { .. }
            | Event::Left(_)
            | Event::Led(_)
            | Event::Opened(_)
            | Event::Settled(_) => None,
        };
        Change { before, after, lost_after, cause }
    }

    /// Why the seat changed, if it has: then there are lines in the log.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.filter(|_| !self.lines().is_empty())
    }

    /// The view that came of it.
    pub fn after(&self) -> &View {
        &self.after
    }

    /// The lines of the log, without time.
    pub fn lines(&self) -> Vec<String> {
        let lost = self.before.promoted.zip(self.lost_after);
        let lost = lost.map(|(source, after)| {
            format!("lost source : '{}' (no data for {after})", source.address)
        });
        lost.into_iter().chain(self.promotion()).collect()
    }

    /// A line for an operator who has pinned a source, or whose pin is gone.
    pub fn grip(&self) -> Option<String> {
        let (before, after) = (self.before, self.after);
        let of = |view: View| view.promoted.map(|promoted| promoted.address);
        match (before.grip, after.grip) {
            (Grip::Loose, Grip::Pinned) => of(after).map(|at| format!("source pinned : '{at}'")),
            (Grip::Pinned, Grip::Loose) => {
                of(before).map(|at| format!("source pinned no more : '{at}'"))
            }
            (Grip::Loose, Grip::Loose) | (Grip::Pinned, Grip::Pinned) => None,
        }
    }

    fn promotion(&self) -> Option<String> {
        let promoted = self.after.promoted?;
        if self.before.lead != Lead::Us {
            // It has been told where the seat was taken.
            return None;
        }
        let old = match self.before.promoted {
            // The weight of the promoted source changed, the seat did not.
            Some(before) if before.source == promoted.source => return None,
            Some(before) if self.lost_after.is_none() => before.weight,
            Some(_) | None => Weight(0),
        };
        if self.cause == Some(Cause::Order) {
            return Some(format!(
                "new source : '{}' (wanted by an operator) ({old} -> {})",
                promoted.address, promoted.weight
            ));
        }
        Some(match promoted.weight > old {
            true => format!(
                "new source : '{}' (bigger Highlander Weight) ({old} -> {})",
                promoted.address, promoted.weight
            ),
            false => {
                format!("new source : '{}' (no current promoted source) (0)", promoted.address)
            }
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
