//! The published answer to "who is promoted", and how it changes.
//!
//! `view × event → next view` is pure: publishing it is a compare-and-swap that may be retried
//! with another view, so nothing may happen but the calculation.

use std::net::SocketAddr;

use crate::base::time::Millis;
use crate::logic::source::{SourceId, Weight};

/// Counts the changes of a view. A higher epoch is a later decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A source as it was heard: what an election needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which source.
    pub source: SourceId,
    /// Its weight at that moment.
    pub weight: Weight,
    /// Where it spoke from: one of its many connections, for the log.
    pub address: SocketAddr,
}

/// Who is promoted, since how many changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The number of this view; each change has a higher one.
    pub epoch: Epoch,
    /// The source whose data goes out, as it was heard when it took the seat.
    pub promoted: Option<Heard>,
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
        heir: Option<Heard>,
    },
}

/// What may happen to a request, as far as the view decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes from the promoted source: to the endpoint.
    Forward,
    /// It comes from a standby: read and answered, not sent on.
    Standby,
    /// Its source would take the seat: to be asked again after the election has heard it.
    Contend,
}

impl View {
    /// Nobody has been heard.
    pub const EMPTY: View = View { epoch: Epoch(0), promoted: None };

    /// What becomes of a request of `source`. Has no effect; asked for each request.
    pub fn judge(&self, source: SourceId, weight: Weight) -> Fate {
        match &self.promoted {
            Some(promoted) if promoted.source == source && promoted.weight == weight => {
                Fate::Forward
            }
            Some(promoted) if promoted.source == source || weight > promoted.weight => {
                Fate::Contend
            }
            Some(_) => Fate::Standby,
            None => Fate::Contend,
        }
    }

    /// The view after `event`, or `None` if it changes nothing. `silence` is how long the promoted
    /// source has not been heard.
    pub fn step(&self, event: Event, silence: Millis) -> Option<View> {
        let promoted = match event {
            Event::Heard(heard) => self.on_heard(heard)?,
            Event::Looked { at, patience, heir } => self.on_looked(at, patience, heir, silence)?,
        };
        Some(View { epoch: Epoch(self.epoch.0 + 1), promoted })
    }

    fn on_heard(&self, heard: Heard) -> Option<Option<Heard>> {
        match self.judge(heard.source, heard.weight) {
            Fate::Contend => Some(Some(heard)),
            Fate::Forward | Fate::Standby => None,
        }
    }

    fn on_looked(
        &self,
        at: SourceId,
        patience: Millis,
        heir: Option<Heard>,
        silence: Millis,
    ) -> Option<Option<Heard>> {
        let promoted = self.promoted?;
        (promoted.source == at && silence >= patience).then_some(heir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(source: u64, weight: u64) -> Heard {
        let address = SocketAddr::from(([127, 0, 0, 1], 40_000 + source as u16));
        Heard { source: SourceId(source), weight: Weight(weight), address }
    }

    fn promoted(source: u64, weight: u64) -> View {
        let event = Event::Heard(heard(source, weight));
        View::EMPTY.step(event, Millis(0)).expect("the seat was empty")
    }

    fn looked(at: u64, heir: Option<Heard>) -> Event {
        Event::Looked { at: SourceId(at), patience: Millis(5000), heir }
    }

    #[test]
    fn the_first_source_heard_takes_the_empty_seat_whatever_its_weight() {
        assert_eq!(promoted(1, 0).promoted, Some(heard(1, 0)));
    }

    #[test]
    fn a_heavier_source_takes_the_seat_and_an_equal_one_does_not() {
        let view = promoted(1, 10);
        assert_eq!(view.step(Event::Heard(heard(2, 10)), Millis(0)), None);
        assert_eq!(view.step(Event::Heard(heard(2, 9)), Millis(0)), None);
        let next = view.step(Event::Heard(heard(2, 11)), Millis(0)).expect("it is heavier");
        assert_eq!(next.promoted, Some(heard(2, 11)));
    }

    #[test]
    fn each_change_has_a_higher_epoch_and_hearing_the_promoted_is_no_change() {
        let view = promoted(1, 10);
        assert!(view.epoch > View::EMPTY.epoch);
        assert_eq!(view.step(Event::Heard(heard(1, 10)), Millis(0)), None);
    }

    #[test]
    fn the_promoted_source_keeps_the_seat_when_its_weight_changes() {
        let view = promoted(1, 10).step(Event::Heard(heard(1, 3)), Millis(0));
        let view = view.expect("the weight is part of the view");
        assert_eq!(view.promoted, Some(heard(1, 3)));
        assert_eq!(view.judge(SourceId(2), Weight(5)), Fate::Contend);
    }

    #[test]
    fn a_silent_source_loses_the_seat_to_the_heir() {
        let view = promoted(1, 10);
        assert_eq!(view.step(looked(1, Some(heard(2, 0))), Millis(4999)), None);
        let next = view.step(looked(1, Some(heard(2, 0))), Millis(5000)).expect("it is silent");
        assert_eq!(next.promoted, Some(heard(2, 0)));
        let empty = view.step(looked(1, None), Millis(5000)).expect("it is silent");
        assert_eq!(empty.promoted, None);
    }

    #[test]
    fn a_look_at_a_source_that_lost_the_seat_meanwhile_changes_nothing() {
        assert_eq!(promoted(2, 10).step(looked(1, None), Millis(60_000)), None);
    }

    #[test]
    fn a_request_is_judged_without_effect() {
        let view = promoted(1, 10);
        assert_eq!(view.judge(SourceId(1), Weight(10)), Fate::Forward);
        assert_eq!(view.judge(SourceId(2), Weight(10)), Fate::Standby);
        assert_eq!(view.judge(SourceId(2), Weight(11)), Fate::Contend);
        assert_eq!(View::EMPTY.judge(SourceId(2), Weight(0)), Fate::Contend);
    }
}
