//! The published answer to "who is promoted, and who leads", and how it changes.
//!
//! `view × event → next view` is pure: publishing it is a compare-and-swap that may be retried
//! with another view, so nothing may happen but the calculation. How far a hand-over has come is a
//! part of the view: a request is judged by one value, read once.

mod lead;
mod turn;

use std::net::SocketAddr;

use crate::base::time::Millis;
use crate::logic::source::{Payload, SourceId, Weight};

pub use turn::{Cause, Epoch, Fill, Turn};

/// A source as it was heard: what an election needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which source.
    pub source: SourceId,
    /// Its weight at that moment.
    pub weight: Weight,
    /// Where it spoke from: one of its many connections, for the log.
    pub address: SocketAddr,
    /// What it sent.
    pub payload: Payload,
}

/// Who is promoted, since how many changes, and how far the last change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The number of this view; each change has a higher one.
    pub epoch: Epoch,
    /// The source whose data goes out, as it was heard when it took the seat.
    pub promoted: Option<Heard>,
    /// How far the hand-over of its data has come.
    pub stage: Stage,
    /// Which node decides that, and forwards.
    pub lead: Lead,
    /// Whether a bigger weight takes the seat.
    pub grip: Grip,
}

/// How fast the promoted source sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grip {
    /// A bigger weight takes the seat.
    Loose,
    /// An operator has pinned it: no weight takes the seat, only its own silence or a hole in its data
    /// does, and the pin is gone with it.
    Pinned,
}

/// Which node leads a group, as far as a request is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// This one.
    Us,
    /// Another, which takes requests here: they are relayed.
    Relay(SocketAddr),
    /// Another, which every source pushes to as well: what comes here is held.
    Mirror,
    /// The same, but it has gone: what the next leader may need is held for it, and nothing else taken.
    Orphan,
    /// Nobody, as far as is known: requests wait.
    Nobody,
}

/// How far a hand-over has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none: the promoted source's requests go on as they are.
    Steady,
    /// There may be a hole in the promoted source's data: it has been silent for longer than it
    /// should, or its samples jump. What it sends waits until the next beat has found somebody who
    /// was there meanwhile, or nobody.
    Suspect {
        /// How far the hand-over has come meanwhile.
        way: Way,
        /// How long it had been silent.
        silence: Millis,
    },
    /// What was held is being sent on. Until that is done nothing else goes out.
    Closed(Turn),
    /// The new source has not spoken for every series yet: live requests go through the filter.
    Open(Turn),
}

/// How far a hand-over has come while its new source is under suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is none.
    Steady,
    /// See [`Stage::Closed`].
    Closed(Turn),
    /// See [`Stage::Open`].
    Open(Turn),
}

/// Who takes the seat when its source is lost, and on whom it can rely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// The source.
    pub heard: Heard,
    /// Whose held requests are needed.
    pub fill: Fill,
    /// Another live standby, where the heir may have a hole.
    pub keeper: Option<SourceId>,
}

impl Heir {
    /// One that has everything which the source before it has not delivered.
    fn whole(heard: Heard) -> Heir {
        Heir { heard, fill: Fill::FromHeir, keeper: None }
    }
}

/// What can change a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A source has sent a whole request.
    Heard(Heard),
    /// The silence of the promoted source was looked at.
    Looked {
        /// Whose silence: a look at a source that has lost the seat meanwhile changes nothing.
        at: SourceId,
        /// It is lost when it has been silent for this long.
        patience: Millis,
        /// The heaviest live standby, which takes the seat if it becomes free.
        heir: Option<Heir>,
    },
    /// The promoted source, or the keeper of a hand-over, should have been heard by now, or its
    /// samples jump.
    Suspected(SourceId),
    /// Nobody was there while the promoted source was not.
    Cleared(SourceId),
    /// Somebody was, and takes the seat.
    Returned {
        /// The source in the seat.
        at: SourceId,
        /// The one that was there.
        to: Heir,
    },
    /// The promoted source `at` has delivered everything up to the first push of a heavier one.
    Claimed {
        /// The source in the seat.
        at: SourceId,
        /// The heavier one.
        by: Heard,
    },
    /// The promoted source `at` is too far behind, and another is not.
    Lagged {
        /// The source in the seat.
        at: SourceId,
        /// The fresher one.
        to: Heir,
    },
    /// An operator wants `by` in the seat, and it is as if it were heavier.
    Ordered {
        /// The source in the seat.
        at: SourceId,
        /// The one that is wanted.
        by: Heard,
        /// How fast it is to sit.
        grip: Grip,
    },
    /// An operator wants the promoted source `at` to sit so fast.
    Gripped {
        /// The source in the seat.
        at: SourceId,
        /// How fast.
        grip: Grip,
    },
    /// Another node leads the group now, or nobody does.
    Left(Lead),
    /// This node leads it now.
    Led(Past),
    /// Everything held has been sent on.
    Opened(Epoch),
    /// A hand-over is over.
    Settled(Epoch),
}

/// How a group stood when this node took its lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Nobody has led it before.
    None,
    /// It was led: this was its last epoch that is known, and this source sat in its seat.
    Known(Epoch, Option<Heard>),
}

/// In whose name a live request goes through the filter of an open hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// The new source's: whatever is newer than what was delivered.
    New,
    /// The keeper's: the same, for the series that the new source has not spoken for.
    Old,
}

/// What may happen to a request, as far as the view decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes from the promoted source: to the endpoint.
    Forward,
    /// It comes from a standby and can be handed over: kept, and answered.
    Hold,
    /// It comes from a standby and is no remote write: read and answered, not sent on.
    Take,
    /// The hand-over is closed: to be asked again when it is open.
    Park,
    /// The hand-over is open: what of it goes out, the hand-over decides.
    Filter(Voice),
    /// Its source would take the seat: to be asked again after the election has heard it.
    Contend,
    /// To the node that leads, which takes requests here.
    Relay(SocketAddr),
}

impl View {
    /// Nobody has been heard.
    pub const EMPTY: View = View {
        epoch: Epoch(0),
        promoted: None,
        stage: Stage::Steady,
        lead: Lead::Us,
        grip: Grip::Loose,
    };
    /// The same in a cluster, before it is known who leads.
    pub const UNLED: View = View { lead: Lead::Nobody, ..View::EMPTY };

    /// What becomes of a request of `source`. Has no effect; asked for each request.
    pub fn judge(&self, source: SourceId, weight: Weight, payload: Payload) -> Fate {
        match (self.lead, payload) {
            (Lead::Us, _) => {}
            (Lead::Relay(to), _) => return Fate::Relay(to),
            (Lead::Mirror | Lead::Orphan, Payload::RemoteWrite) => return Fate::Hold,
            (Lead::Mirror, Payload::Other) => return Fate::Take,
            (Lead::Orphan, Payload::Other) | (Lead::Nobody, _) => return Fate::Park,
        }
        let Some(promoted) = &self.promoted else { return Fate::Contend };
        if promoted.source == source {
            return match (self.stage, payload) {
                _ if promoted.weight != weight => Fate::Contend,
                (_, Payload::Other) | (Stage::Steady, _) if promoted.knows(payload) => {
                    Fate::Forward
                }
                (Stage::Steady, _) => Fate::Contend,
                (Stage::Suspect { .. } | Stage::Closed(_), Payload::RemoteWrite) => Fate::Park,
                (Stage::Open(_), Payload::RemoteWrite) => Fate::Filter(Voice::New),
                (_, Payload::Other) => Fate::Forward,
            };
        }
        match (self.stage, payload) {
            // What can be handed over is not cut off in the middle: the tick sees to it.
            _ if self.outweighs(weight, promoted) && !promoted.can_hand_over_to(payload) => {
                Fate::Contend
            }
            (_, Payload::Other) => Fate::Take,
            // What is held now comes too late for the hand-over, and the new source may have a hole.
            (Stage::Closed(turn), _) if turn.fill == Fill::FromAll => Fate::Park,
            // The keeper goes on from what it had held; the source before may be back with a hole.
            (Stage::Closed(turn), _) if [turn.keeper, turn.from].contains(&Some(source)) => {
                Fate::Park
            }
            (Stage::Open(turn), _) if turn.keeper == Some(source) => Fate::Filter(Voice::Old),
            _ => Fate::Hold,
        }
    }

    /// The view after `event`, or `None` if it changes nothing. `silence` is how long the promoted
    /// source has not been heard.
    pub fn step(&self, event: Event, silence: Millis) -> Option<View> {
        match (event, self.lead) {
            (Event::Left(lead), _) => return self.on_left(lead),
            (Event::Led(past), _) => return self.on_led(past),
            (_, Lead::Us) => {}
            // Whoever leads decides.
            (_, Lead::Relay(_) | Lead::Mirror | Lead::Orphan | Lead::Nobody) => return None,
        }
        let epoch = Epoch(self.epoch.0 + 1);
        let sits = |at: SourceId| self.promoted.filter(|promoted| promoted.source == at);
        let (promoted, stage) = match event {
            Event::Heard(heard) => self.on_heard(heard, epoch)?,
            Event::Looked { at, patience, heir } => {
                sits(at).filter(|_| silence >= patience)?;
                match heir {
                    Some(heir) => self.pass_on(heir, Cause::Silence, None, epoch),
                    None => (None, self.empty(epoch)),
                }
            }
            Event::Suspected(at) => self.on_suspected(at, silence)?,
            Event::Cleared(at) => match self.stage {
                Stage::Suspect { way, .. } => (Some(sits(at)?), way.stage()),
                Stage::Steady | Stage::Closed(_) | Stage::Open(_) => return None,
            },
            Event::Returned { at, to } => {
                sits(at).filter(|_| matches!(self.stage, Stage::Suspect { .. }))?;
                self.pass_on(to, Cause::Return, None, epoch)
            }
            Event::Claimed { at, by } => {
                let promoted = sits(at).filter(|_| self.stage == Stage::Steady)?;
                if !self.outweighs(by.weight, &promoted) {
                    return None;
                }
                self.pass_on(Heir::whole(by), Cause::Weight, Some(at), epoch)
            }
            Event::Ordered { at, by, .. } => {
                sits(at).filter(|_| self.stage == Stage::Steady && by.source != at)?;
                self.pass_on(Heir::whole(by), Cause::Order, Some(at), epoch)
            }
            Event::Gripped { at, grip } => {
                (Some(sits(at).filter(|_| self.grip != grip)?), self.stage)
            }
            Event::Lagged { at, to } => {
                sits(at).filter(|_| self.stage == Stage::Steady)?;
                self.pass_on(to, Cause::Lag, Some(at), epoch)
            }
            Event::Opened(of) => {
                let Way::Closed(turn) = self.way() else { return None };
                (self.promoted, self.along(Way::Open(turn.named(of)?)))
            }
            Event::Settled(of) => {
                self.turn()?.named(of)?;
                (self.promoted, self.along(Way::Steady))
            }
            Event::Left(_) | Event::Led(_) => return None,
        };
        let sat = self.promoted.map(|before| before.source);
        let grip = match event {
            Event::Ordered { grip, .. } | Event::Gripped { grip, .. } => grip,
            _ if promoted.is_some_and(|now| Some(now.source) == sat) => self.grip,
            _ => Grip::Loose,
        };
        Some(View { epoch, promoted, stage, lead: self.lead, grip })
    }

    /// Whether so much weight takes the seat from the source in it.
    fn outweighs(&self, weight: Weight, promoted: &Heard) -> bool {
        self.grip == Grip::Loose && weight > promoted.weight
    }

    /// Whether something of what `source` sends goes out: then a hole in it must be filled first.
    pub fn has_voice(&self, source: SourceId) -> bool {
        let promoted = self.promoted.map(|promoted| promoted.source);
        let keeper = self.turn().and_then(|turn| turn.keeper);
        [promoted, keeper].contains(&Some(source))
    }

    /// The hand-over that is under way.
    pub fn turn(&self) -> Option<Turn> {
        match self.way() {
            Way::Closed(turn) | Way::Open(turn) => Some(turn),
            Way::Steady => None,
        }
    }

    /// The hand-over that is closed, suspicion or not: what was held is to be sent on.
    pub fn closed(&self) -> Option<Turn> {
        match self.way() {
            Way::Closed(turn) => Some(turn),
            Way::Open(_) | Way::Steady => None,
        }
    }

    fn way(&self) -> Way {
        match self.stage {
            Stage::Steady => Way::Steady,
            Stage::Closed(turn) => Way::Closed(turn),
            Stage::Open(turn) => Way::Open(turn),
            Stage::Suspect { way, .. } => way,
        }
    }

    /// The stage when the hand-over has come so far: a suspicion stays.
    fn along(&self, way: Way) -> Stage {
        match self.stage {
            Stage::Suspect { silence, .. } => Stage::Suspect { way, silence },
            Stage::Steady | Stage::Closed(_) | Stage::Open(_) => way.stage(),
        }
    }

    fn on_suspected(&self, at: SourceId, silence: Millis) -> Option<(Option<Heard>, Stage)> {
        let way = match self.way() {
            // A keeper that may have a hole has no voice any more: what it says would end up before
            // what fills the hole.
            Way::Closed(turn) if turn.keeper == Some(at) => Way::Closed(turn.without_keeper()),
            Way::Open(turn) if turn.keeper == Some(at) => Way::Open(turn.without_keeper()),
            way if !matches!(self.stage, Stage::Suspect { .. }) => {
                let promoted = self.promoted.filter(|promoted| promoted.source == at)?;
                return Some((Some(promoted), Stage::Suspect { way, silence }));
            }
            _ => return None,
        };
        Some((self.promoted, self.along(way)))
    }

    fn on_heard(&self, heard: Heard, epoch: Epoch) -> Option<(Option<Heard>, Stage)> {
        if self.judge(heard.source, heard.weight, heard.payload) != Fate::Contend {
            return None;
        }
        let heir = Heir { heard, fill: Fill::FromAll, keeper: None };
        Some(match (self.promoted, self.stage) {
            // Its weight or what it sends has changed, and nothing else.
            (Some(promoted), stage) if promoted.source == heard.source => {
                let payload = promoted.payload.max(heard.payload);
                (Some(Heard { payload, ..heard }), stage)
            }
            (Some(promoted), _) => self.pass_on(heir, Cause::Weight, Some(promoted.source), epoch),
            // Nobody has ever been promoted: nothing was delivered, nothing is held.
            (None, _) if self.epoch == View::EMPTY.epoch => (Some(heard), Stage::Steady),
            (None, _) => self.pass_on(heir, Cause::Empty, None, epoch),
        })
    }

    /// The seat goes to `heir`; `alive` is the source before, if it still speaks.
    fn pass_on(
        &self,
        heir: Heir,
        cause: Cause,
        alive: Option<SourceId>,
        epoch: Epoch,
    ) -> (Option<Heard>, Stage) {
        let turn = Turn {
            epoch,
            from: self.promoted.map(|before| before.source),
            to: Some(heir.heard.source),
            keeper: alive.or(heir.keeper),
            cause,
            fill: heir.fill,
        };
        (Some(heir.heard), self.close(turn, heir.heard.payload))
    }

    /// The seat becomes empty.
    fn empty(&self, epoch: Epoch) -> Stage {
        let from = self.promoted.map(|before| before.source);
        let (cause, fill) = (Cause::Silence, Fill::FromAll);
        let turn = Turn { epoch, from, to: None, keeper: None, cause, fill };
        self.close(turn, Payload::Other)
    }

    fn close(&self, turn: Turn, payload: Payload) -> Stage {
        let before = self.promoted.map_or(Payload::Other, |before| before.payload);
        match before.max(payload) {
            Payload::RemoteWrite => Stage::Closed(turn),
            // Nothing of it is held.
            Payload::Other => Stage::Steady,
        }
    }
}

impl Way {
    fn stage(self) -> Stage {
        match self {
            Way::Steady => Stage::Steady,
            Way::Closed(turn) => Stage::Closed(turn),
            Way::Open(turn) => Stage::Open(turn),
        }
    }
}

impl Heard {
    /// Whether it is known that it sends this.
    fn knows(&self, payload: Payload) -> bool {
        payload <= self.payload
    }

    fn can_hand_over_to(&self, payload: Payload) -> bool {
        self.payload == Payload::RemoteWrite && payload == Payload::RemoteWrite
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
