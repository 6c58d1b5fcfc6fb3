//! When a hand-over is over.

use super::*;
use crate::logic::desk::Covered;
use crate::logic::source::SourceId;
use crate::logic::view::Cause;
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::series::SeriesHasher;
use crate::wire::remote_write::snappy;
use crate::wire::remote_write::v1::{Sample, WriteRequestBuilder};

const TURN: Turn = Turn {
    epoch: Epoch(2),
    from: Some(SourceId(1)),
    to: Some(SourceId(2)),
    keeper: None,
    cause: Cause::Silence,
    fill: Fill::FromHeir,
};
const WINDOW: Millis = Millis(120_000);
const ASK: AskId = AskId { core: 0, number: 1 };

struct Machine(Handover, Lens);

impl Machine {
    /// The hand-over is open; `delivered` is what the old source had delivered.
    fn open(delivered: Push) -> Machine {
        Machine::open_for(TURN, delivered)
    }

    fn open_for(turn: Turn, delivered: Push) -> Machine {
        let lens = Lens::new(SeriesHasher::new(1), 1 << 20);
        let mut machine = Machine(Handover::new(WINDOW), lens);
        machine.0.on_turn(turn, Covered::NOTHING, 1, Millis(0));
        assert!(matches!(machine.poll(0), Some(Effect::Gather(..))));
        let kept = Kept { arrived: Nanos(0), push: delivered };
        let gathered = Gathered { delivered: vec![kept], ..Gathered::default() };
        machine.0.on_gathered(turn.epoch, 0, gathered, Covered::NOTHING);
        assert!(matches!(machine.poll(0), Some(Effect::Open(..))));
        machine
    }

    /// The next effect that is more than work to be gone on with.
    fn poll(&mut self, now: u64) -> Option<Effect> {
        loop {
            match self.0.poll(&mut self.1, Millis(now)) {
                Some(Effect::Busy) => {}
                effect => return effect,
            }
        }
    }

    fn ask(&mut self, push: &Push, now: u64) -> Verdict {
        self.ask_as(Voice::New, push, now)
    }

    fn ask_as(&mut self, voice: Voice, push: &Push, now: u64) -> Verdict {
        self.0.on_ask(ASK, voice, push.clone());
        match self.poll(now) {
            Some(Effect::Tell(ASK, verdict)) => verdict,
            other => panic!("{other:?}"),
        }
    }
}

fn push(samples: &[(&str, i64)]) -> Push {
    let mut request = WriteRequestBuilder::new();
    for (name, timestamp_ms) in samples {
        let sample = Sample { value: 1.0, timestamp_ms: *timestamp_ms };
        request.push(&[("__name__", name)], &[sample]);
    }
    let body = snappy::encode(&request.finish()).expect("it is small");
    Push::new(body, 0, Protocol::V1)
}

#[test]
fn a_hand_over_is_over_when_each_shard_has_had_time_to_repeat_what_it_has_left() {
    let mut machine = Machine::open(push(&[("a", 1000)]));
    let new = push(&[("a", 2000)]);
    assert!(matches!(machine.ask(&new, 100), Verdict::AsItIs));
    machine.0.on_done(&mut machine.1, ASK, Outcome::Acknowledged);
    // Each series has been spoken for; another shard may still come with old samples of one that
    // has ended, or that was forgotten.
    assert!(machine.poll(200).is_none());
    assert!(matches!(machine.ask(&push(&[("a", 500)]), 5000), Verdict::Covered));
    assert!(machine.poll(5000 + ALL_HEARD.0 - 1).is_none());
    assert!(matches!(machine.poll(5000 + ALL_HEARD.0), Some(Effect::Settle(..))));
}

#[test]
fn a_request_that_was_let_out_in_part_and_has_to_come_again_keeps_the_hand_over_open() {
    let mut machine = Machine::open(push(&[("a", 1000), ("b", 1000)]));
    let half = push(&[("a", 900), ("b", 2000)]);
    assert!(matches!(machine.ask(&half, 9000), Verdict::Changed(_)));
    machine.0.on_done(&mut machine.1, ASK, Outcome::Acknowledged);
    assert!(matches!(machine.ask(&push(&[("a", 2000)]), 9100), Verdict::AsItIs));
    machine.0.on_done(&mut machine.1, ASK, Outcome::Doubtful);
    assert!(machine.poll(15_000).is_none(), "it comes again after this");
    assert!(machine.poll(15_000 + ALL_HEARD.0 - 1).is_none());
    assert!(matches!(machine.poll(15_000 + ALL_HEARD.0), Some(Effect::Settle(..))));
}

#[test]
fn when_the_window_has_passed_the_keeper_falls_silent_before_the_filter_goes() {
    let turn = Turn { keeper: Some(SourceId(1)), cause: Cause::Weight, ..TURN };
    let mut machine = Machine::open_for(turn, push(&[("ended", 1000)]));
    assert!(matches!(machine.ask(&push(&[("a", 2000)]), 100), Verdict::AsItIs));
    machine.0.on_done(&mut machine.1, ASK, Outcome::Acknowledged);
    // A series begins in the last moments of the window, and the keeper is the first to speak for it.
    let late = WINDOW.0 - 1;
    let begins = |time: i64| push(&[("begins", time)]);
    assert!(matches!(machine.ask_as(Voice::Old, &begins(110_000), late), Verdict::AsItIs));
    machine.0.on_done(&mut machine.1, ASK, Outcome::Acknowledged);
    assert!(machine.poll(WINDOW.0).is_none(), "the new one may still repeat it");
    assert!(matches!(machine.ask_as(Voice::Old, &begins(111_000), WINDOW.0), Verdict::Covered));
    let repeats = WINDOW.0 + 1000;
    assert!(matches!(machine.ask(&begins(109_900), repeats), Verdict::Covered));
    assert!(matches!(machine.ask_as(Voice::Old, &begins(112_000), repeats), Verdict::Covered));
    assert!(machine.poll(repeats + ALL_HEARD.0 - 1).is_none());
    assert!(matches!(machine.poll(repeats + ALL_HEARD.0), Some(Effect::Settle(..))));
}

#[test]
fn what_was_let_out_live_is_known_to_be_delivered_when_this_node_leads_again() {
    let mut machine = Machine::open(push(&[("a", 1000)]));
    assert!(matches!(machine.ask(&push(&[("a", 9000)]), 100), Verdict::AsItIs));
    machine.0.on_done(&mut machine.1, ASK, Outcome::Acknowledged);
    machine.0.on_left();
    let (old, later) = (push(&[("a", 5000)]), Epoch(9));
    let turn = Turn { epoch: later, from: None, to: Some(SourceId(1)), cause: Cause::Lead, ..TURN };
    machine.0.on_turn(turn, Covered::NOTHING, 1, Millis(200));
    assert!(matches!(machine.poll(200), Some(Effect::Gather(..))));
    let kept = Kept { arrived: Nanos(0), push: old };
    let gathered = Gathered { held: vec![(SourceId(1), vec![kept])], ..Gathered::default() };
    machine.0.on_gathered(later, 0, gathered, Covered::NOTHING);
    assert!(matches!(machine.poll(200), Some(Effect::Open(..))), "nothing of it is sent again");
}

#[test]
fn who_was_overtaken_before_another_node_led_is_like_any_other_when_this_one_leads_again() {
    let mut machine = Machine::open(push(&[("a", 1000)]));
    machine.0.on_left();
    let later = Epoch(9);
    let (cause, fill) = (Cause::Lead, Fill::FromAll);
    let turn = Turn { epoch: later, from: None, to: None, cause, fill, ..TURN };
    machine.0.on_turn(turn, Covered::NOTHING, 1, Millis(200));
    assert!(matches!(machine.poll(200), Some(Effect::Gather(..))));
    let held = push(&[("a", 9000)]);
    let kept = Kept { arrived: Nanos(0), push: held.clone() };
    let gathered = Gathered { held: vec![(SourceId(1), vec![kept])], ..Gathered::default() };
    machine.0.on_gathered(later, 0, gathered, Covered::NOTHING);
    match machine.poll(200) {
        Some(Effect::Send(push)) => assert!(push.is_same(&held)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_about_to_be_sent_on_is_not_known_to_be_delivered_when_this_node_leads_again() {
    let lens = Lens::new(SeriesHasher::new(1), 1 << 20);
    let mut machine = Machine(Handover::new(WINDOW), lens);
    let held: Vec<Push> = (1..4).map(|number| push(&[("a", 1000 * number)])).collect();
    let gathered = || {
        let kept = held.iter().map(|push| Kept { arrived: Nanos(0), push: push.clone() });
        Gathered { held: vec![(SourceId(2), kept.collect())], ..Gathered::default() }
    };
    let begin = |machine: &mut Machine, epoch| {
        machine.0.on_turn(Turn { epoch, ..TURN }, Covered::NOTHING, 1, Millis(0));
        assert!(matches!(machine.poll(0), Some(Effect::Gather(..))));
        machine.0.on_gathered(epoch, 0, gathered(), Covered::NOTHING);
        match machine.poll(0) {
            Some(Effect::Send(push)) => assert!(push.is_same(&held[0])),
            other => panic!("{other:?}"),
        }
    };
    begin(&mut machine, Epoch(2));
    machine.0.on_left();
    machine.0.on_sent(Outcome::Unsent, Millis(0));
    machine.0.on_left();
    begin(&mut machine, Epoch(3));
}
