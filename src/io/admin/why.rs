//! Why a source is not promoted, in plain words: the first thing that somebody asks at night.

use crate::base::time::Millis;
use crate::logic::source::Weight;
use crate::logic::view::{Grip, Heard, Lead, View};
use crate::shared::presence::Source;

/// Why it is not; `None` where it is, or another node knows.
pub fn why_not(source: &Source, view: &View, wanted: bool, now: Millis) -> Option<String> {
    if view.lead != Lead::Us || view.promoted.is_some_and(|it| it.source == source.id) {
        return None;
    }
    let (presence, weight) = (source.presence(), source.heard().weight);
    if presence.last_heard == Millis(0) {
        return Some("it has pushed nothing yet".into());
    }
    let silence = presence.silence(now);
    let is_lost = source.lost_after().is_some_and(|after| silence >= after);
    // Whole seconds: what changes with each look is no reason.
    let silence = Millis(silence.0 / 1000 * 1000);
    Some(match view.promoted {
        _ if !presence.connected && (is_lost || silence >= source.patience()) => {
            format!("it has no connection and has been silent for {silence}")
        }
        _ if is_lost => format!("it has been silent for {silence}"),
        None => "it takes the seat with its next push".into(),
        Some(_) if wanted => {
            "an operator wants it, and the promoted one still has to deliver what it has not".into()
        }
        Some(promoted) => against(weight, &promoted, view.grip).into(),
    })
}

fn against(weight: Weight, promoted: &Heard, grip: Grip) -> &'static str {
    if weight < promoted.weight {
        return "its weight is smaller";
    }
    match (grip, weight == promoted.weight) {
        (Grip::Pinned, _) => "the promoted one is pinned",
        (Grip::Loose, true) => "its weight is the same, and the promoted one keeps the seat",
        (Grip::Loose, false) => {
            "its weight is bigger: it takes the seat when the promoted one has delivered \
             everything up to its first push"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::source::{GroupName, SourceName};
    use crate::logic::view::Event;
    use crate::shared::state::Seats;

    #[test]
    fn each_standby_has_a_reason_and_the_promoted_source_none() {
        let seats = Seats::new(1, 10);
        let attach = |name: &str, weight| {
            let name = SourceName::Named(name.as_bytes().into());
            let address = ([10, 0, 0, 1], 1).into();
            seats.attach(&GroupName::default(), &name, Weight(weight), address).expect("room")
        };
        let (seat, one) = attach("one", 10);
        one.on_heard(0, Millis(1000));
        let view = View::EMPTY.step(Event::Heard(one.heard()), Millis(0)).expect("it was empty");
        assert_eq!(why_not(&one, &view, false, Millis(1000)), None);
        assert!(
            why_not(&one, &View::EMPTY, false, Millis(1000))
                .is_some_and(|it| it.contains("next push"))
        );
        let why = |name: &str, weight, wanted, view: &View| {
            let source = attach(name, weight).1;
            source.on_heard(0, Millis(1000));
            why_not(&source, view, wanted, Millis(1500)).expect("a reason")
        };
        assert!(why("light", 5, false, &view).contains("smaller"));
        assert!(why("same", 10, false, &view).contains("the same"));
        assert!(why("heavy", 50, false, &view).contains("bigger"));
        assert!(why("wanted", 5, true, &view).contains("operator"));
        let gripped = Event::Gripped { at: one.id, grip: Grip::Pinned };
        let pinned = view.step(gripped, Millis(0)).expect("it was loose");
        assert!(why("heavy", 50, false, &pinned).contains("pinned"));
        let mute = attach("mute", 50).1;
        assert_eq!(
            why_not(&mute, &view, false, Millis(9)).as_deref(),
            Some("it has pushed nothing yet")
        );
        let gone = attach("gone", 50).1;
        gone.on_heard(0, Millis(1000));
        gone.detach();
        let reason = why_not(&gone, &view, false, Millis(901_500));
        assert_eq!(reason.as_deref(), Some("it has no connection and has been silent for 15m0s"));
        // As soon as it would lose the seat, not only when another node would take it for lost.
        gone.set_lost_after(Some(Millis(5000)));
        let reason = |now| why_not(&gone, &view, false, Millis(now)).expect("a reason");
        assert_eq!(reason(6500), "it has no connection and has been silent for 5s");
        assert!(reason(5500).contains("bigger"));
        let hangs = attach("hangs", 50).1;
        hangs.on_heard(0, Millis(1000));
        hangs.set_lost_after(Some(Millis(30_000)));
        let reason = why_not(&hangs, &view, false, Millis(32_000));
        assert_eq!(reason.as_deref(), Some("it has been silent for 31s"));
        assert_eq!(seat.sources().all.len(), 8);
    }
}
