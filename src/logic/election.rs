//! A tick's election: whose silence is too long, who takes the seat, and how the change reads.

use std::fmt;

use crate::base::time::Millis;
use crate::logic::expiry::{Expiry, Presence, Rhythm};
use crate::logic::source::Weight;
use crate::logic::view::{Event, Heard, View};

/// One source of a group at the moment of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The source as it was last heard.
    pub heard: Heard,
    /// What is known of it now.
    pub presence: Presence,
    /// How long its pauses are.
    pub rhythm: Rhythm,
}

impl Candidate {
    /// How long it has been silent.
    pub fn silence(&self, now: Millis) -> Millis {
        now.since(self.presence.last_heard)
    }

    /// Whether it is still to be counted on.
    pub fn is_live(&self, now: Millis, expiry: &Expiry) -> bool {
        let patience = self.rhythm.patience(&self.presence, expiry);
        patience.is_none_or(|patience| self.silence(now) < patience)
    }
}

/// The event that a tick brings to `view`, `None` while its seat is empty or its source can't be
/// lost. `candidates` are all sources of the group; a promoted source that is not among them has
/// been forgotten, which happens to the dead only.
pub fn tick(
    view: &View,
    candidates: &[Candidate],
    now: Millis,
    expiry: &Expiry,
) -> Option<(Event, Millis)> {
    let at = view.promoted?.source;
    let heir = heir(view, candidates, now, expiry);
    let Some(promoted) = candidates.iter().find(|candidate| candidate.heard.source == at) else {
        return Some((Event::Looked { at, patience: expiry.expiry, heir }, expiry.expiry));
    };
    let patience = promoted.rhythm.patience(&promoted.presence, expiry)?;
    Some((Event::Looked { at, patience, heir }, promoted.silence(now)))
}

/// The heaviest live standby; among equals the one heard last.
fn heir(view: &View, candidates: &[Candidate], now: Millis, expiry: &Expiry) -> Option<Heard> {
    candidates
        .iter()
        .filter(|candidate| view.promoted.is_none_or(|p| p.source != candidate.heard.source))
        .filter(|candidate| candidate.is_live(now, expiry))
        .max_by_key(|candidate| (candidate.heard.weight, candidate.presence.last_heard))
        .map(|candidate| candidate.heard)
}

/// A change of a view, told in the original's words, one line per thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    before: View,
    after: View,
    lost_after: Option<Millis>,
}

impl Change {
    /// What `event` made of `before`.
    pub fn new(before: View, after: View, event: Event) -> Change {
        let lost_after = match event {
            Event::Heard(_) => None,
            Event::Looked { patience, .. } => Some(patience),
        };
        Change { before, after, lost_after }
    }

    /// The lines of the log, without time.
    pub fn lines(&self) -> Vec<String> {
        let lost = self.before.promoted.zip(self.lost_after);
        let lost = lost.map(|(source, after)| {
            format!("lost source : '{}' (no data for {after})", source.address)
        });
        lost.into_iter().chain(self.promotion()).collect()
    }

    fn promotion(&self) -> Option<String> {
        let promoted = self.after.promoted?;
        let old = match self.before.promoted {
            // The weight of the promoted source changed, the seat did not.
            Some(before) if before.source == promoted.source => return None,
            Some(before) if self.lost_after.is_none() => before.weight,
            Some(_) | None => Weight(0),
        };
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
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::logic::source::SourceId;

    const EXPIRY: Expiry = Expiry { expiry: Millis(5000), expiry_max: Millis(90_000) };

    fn candidate(source: u64, weight: u64, last_heard: u64) -> Candidate {
        let address = SocketAddr::from(([10, 0, 0, source as u8], 1000));
        Candidate {
            heard: Heard { source: SourceId(source), weight: Weight(weight), address },
            presence: Presence { last_heard: Millis(last_heard), ..Presence::default() },
            rhythm: Rhythm::new(Millis(0)),
        }
    }

    fn seat_of(candidate: &Candidate) -> View {
        View::EMPTY.step(Event::Heard(candidate.heard), Millis(0)).expect("the seat was empty")
    }

    fn after_tick(view: &View, candidates: &[Candidate], now: u64) -> Option<View> {
        let (event, silence) = tick(view, candidates, Millis(now), &EXPIRY)?;
        view.step(event, silence)
    }

    #[test]
    fn the_heaviest_live_standby_inherits_and_the_freshest_among_equals() {
        let all = [
            candidate(1, 50, 1000),
            candidate(2, 5, 9500),
            candidate(3, 5, 9900),
            candidate(4, 1, 9950),
            candidate(5, 40, 1000),
        ];
        let view = after_tick(&seat_of(&all[0]), &all, 10_000).expect("it was silent for 9 s");
        assert_eq!(view.promoted.map(|heard| heard.source), Some(SourceId(3)));
    }

    #[test]
    fn without_a_live_standby_the_seat_is_empty() {
        let all = [candidate(1, 50, 1000), candidate(2, 5, 1200)];
        let view = after_tick(&seat_of(&all[0]), &all, 10_000).expect("it was silent for 9 s");
        assert_eq!(view.promoted, None);
    }

    #[test]
    fn a_source_in_flight_keeps_the_seat() {
        let mut waiting = candidate(1, 50, 1000);
        waiting.presence.in_flight = true;
        assert_eq!(after_tick(&seat_of(&waiting), &[waiting], 100_000), None);
    }

    #[test]
    fn a_promoted_source_that_was_forgotten_is_lost() {
        let gone = candidate(1, 50, 1000);
        let standby = candidate(2, 0, 9999);
        let view = after_tick(&seat_of(&gone), &[standby], 10_000).expect("it is not there");
        assert_eq!(view.promoted.map(|heard| heard.source), Some(SourceId(2)));
    }

    #[test]
    fn changes_read_as_in_the_original() {
        let (heavy, light) = (candidate(1, 50, 0), candidate(2, 0, 9999));
        let heard = |view: &View, candidate: &Candidate| {
            let event = Event::Heard(candidate.heard);
            let after = view.step(event, Millis(0)).expect("a change");
            (after, Change::new(*view, after, event).lines())
        };
        let (seat, lines) = heard(&View::EMPTY, &light);
        assert_eq!(lines, ["new source : '10.0.0.2:1000' (no current promoted source) (0)"]);
        let (seat, lines) = heard(&seat, &heavy);
        assert_eq!(lines, ["new source : '10.0.0.1:1000' (bigger Highlander Weight) (0 -> 50)"]);
        let (_, lines) = heard(&seat, &candidate(3, 70, 0));
        assert_eq!(lines, ["new source : '10.0.0.3:1000' (bigger Highlander Weight) (50 -> 70)"]);

        let (event, silence) =
            tick(&seat, &[heavy, light], Millis(10_000), &EXPIRY).expect("the seat is taken");
        let after = seat.step(event, silence).expect("it was silent");
        assert_eq!(
            Change::new(seat, after, event).lines(),
            [
                "lost source : '10.0.0.1:1000' (no data for 5s)",
                "new source : '10.0.0.2:1000' (no current promoted source) (0)"
            ]
        );
    }

    #[test]
    fn a_changed_weight_of_the_promoted_source_is_no_new_source() {
        let mut source = candidate(1, 50, 0);
        let before = seat_of(&source);
        source.heard.weight = Weight(7);
        let event = Event::Heard(source.heard);
        let after = before.step(event, Millis(0)).expect("the weight changed");
        assert_eq!(Change::new(before, after, event).lines(), Vec::<String>::new());
    }
}
