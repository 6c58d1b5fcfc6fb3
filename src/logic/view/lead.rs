//! What becomes of a view when the lead of its group goes from node to node.

use crate::logic::source::Payload;
use crate::logic::view::{Cause, Epoch, Fill, Grip, Lead, Past, Stage, Turn, View};

impl View {
    /// A hand-over that is under way is left where it is: whoever leads next begins its own.
    pub(super) fn on_left(&self, lead: Lead) -> Option<View> {
        (lead != self.lead).then_some(View {
            epoch: Epoch(self.epoch.0 + u64::from(self.lead == Lead::Us)),
            promoted: None,
            stage: Stage::Steady,
            lead,
            grip: Grip::Loose,
        })
    }

    /// This node leads from now on.
    pub(super) fn on_led(&self, past: Past) -> Option<View> {
        if self.lead == Lead::Us {
            return None;
        }
        let (before, heir) = match past {
            Past::None if self.epoch == View::EMPTY.epoch => return Some(View::EMPTY),
            Past::None => (self.epoch, None),
            Past::Known(epoch, heir) => (epoch.max(self.epoch), heir),
        };
        let epoch = Epoch(before.0 + 1);
        // What was pushed here and what is known here to be delivered comes first.
        let turn = Turn {
            epoch,
            from: None,
            to: heir.map(|heir| heir.source),
            keeper: None,
            cause: Cause::Lead,
            fill: if heir.is_some() { Fill::FromHeir } else { Fill::FromAll },
        };
        let stage = match heir.map_or(Payload::RemoteWrite, |heir| heir.payload) {
            Payload::RemoteWrite => Stage::Closed(turn),
            Payload::Other => Stage::Steady,
        };
        // A pin lives no longer than the lead of the node on which it was made.
        Some(View { epoch, promoted: heir, stage, lead: Lead::Us, grip: Grip::Loose })
    }
}
