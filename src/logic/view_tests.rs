use super::*;

const OTHER: Payload = Payload::Other;
const WRITE: Payload = Payload::RemoteWrite;

fn heard(source: u64, weight: u64) -> Heard {
    let address = SocketAddr::from(([127, 0, 0, 1], 40_000 + source as u16));
    Heard { source: SourceId(source), weight: Weight(weight), address, payload: OTHER }
}

fn writes(source: u64, weight: u64) -> Heard {
    Heard { payload: WRITE, ..heard(source, weight) }
}

fn heir(heard: Heard) -> Heir {
    Heir { heard, fill: Fill::FromHeir, keeper: None }
}

/// Promoted and heard to send remote write.
fn writing(source: u64, weight: u64) -> View {
    View::EMPTY.step(Event::Heard(writes(source, weight)), Millis(0)).expect("it was empty")
}

fn after(view: View, event: Event) -> View {
    view.step(event, Millis(0)).expect("a change")
}

fn promoted(source: u64, weight: u64) -> View {
    let event = Event::Heard(heard(source, weight));
    View::EMPTY.step(event, Millis(0)).expect("the seat was empty")
}

fn looked(at: u64, next: Option<Heard>) -> Event {
    Event::Looked { at: SourceId(at), patience: Millis(5000), heir: next.map(heir) }
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
    assert_eq!(view.judge(SourceId(2), Weight(5), OTHER), Fate::Contend);
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
    assert_eq!(view.judge(SourceId(1), Weight(10), OTHER), Fate::Forward);
    assert_eq!(view.judge(SourceId(2), Weight(10), OTHER), Fate::Take);
    assert_eq!(view.judge(SourceId(2), Weight(11), OTHER), Fate::Contend);
    assert_eq!(View::EMPTY.judge(SourceId(2), Weight(0), OTHER), Fate::Contend);
    let view = after(view, Event::Heard(writes(1, 10)));
    assert_eq!(view.stage, Stage::Steady);
    assert_eq!(view.judge(SourceId(1), Weight(10), WRITE), Fate::Forward);
    assert_eq!(view.judge(SourceId(1), Weight(10), OTHER), Fate::Forward);
    assert_eq!(view.judge(SourceId(2), Weight(10), WRITE), Fate::Hold);
}

#[test]
fn what_is_no_remote_write_is_switched_without_a_hand_over() {
    let view = after(promoted(1, 10), Event::Heard(heard(2, 11)));
    assert_eq!(view.stage, Stage::Steady);
    let lost = view.step(looked(2, Some(heard(1, 10))), Millis(5000)).expect("it is silent");
    assert_eq!((lost.promoted, lost.stage), (Some(heard(1, 10)), Stage::Steady));
}

#[test]
fn a_hand_over_is_closed_then_open_then_over() {
    let lost = writing(1, 10).step(looked(1, Some(writes(2, 0))), Millis(5000));
    let closed = lost.expect("it is silent");
    let turn = closed.turn().expect("something is handed over");
    assert_eq!((turn.from, turn.to), (Some(SourceId(1)), Some(SourceId(2))));
    assert_eq!(closed.judge(SourceId(2), Weight(0), WRITE), Fate::Park);
    assert_eq!(closed.judge(SourceId(2), Weight(0), OTHER), Fate::Forward);
    assert_eq!(closed.judge(SourceId(1), Weight(10), WRITE), Fate::Park);
    assert_eq!(closed.judge(SourceId(3), Weight(10), WRITE), Fate::Hold);
    assert_eq!(closed.step(Event::Opened(Epoch(turn.epoch.0 + 1)), Millis(0)), None);
    let open = after(closed, Event::Opened(turn.epoch));
    assert_eq!(open.judge(SourceId(2), Weight(0), WRITE), Fate::Filter(Voice::New));
    let steady = after(open, Event::Settled(turn.epoch));
    assert_eq!(steady.judge(SourceId(2), Weight(0), WRITE), Fate::Forward);
    assert!(steady.epoch > open.epoch && open.epoch > closed.epoch);
}

#[test]
fn a_pinned_source_yields_to_no_weight_and_the_pin_goes_with_the_seat() {
    let view = writing(1, 50);
    let ordered = |grip| Event::Ordered { at: SourceId(1), by: writes(2, 10), grip };
    assert_eq!(
        view.step(
            Event::Ordered { at: SourceId(3), by: writes(2, 10), grip: Grip::Loose },
            Millis(0)
        ),
        None
    );
    let closed = after(view, ordered(Grip::Pinned));
    assert_eq!(
        closed.turn().map(|turn| (turn.cause, turn.keeper)),
        Some((Cause::Order, Some(SourceId(1))))
    );
    let open = after(closed, Event::Opened(closed.epoch));
    let pinned = after(open, Event::Settled(closed.epoch));
    assert_eq!((pinned.promoted, pinned.grip), (Some(writes(2, 10)), Grip::Pinned));
    let claimed = Event::Claimed { at: SourceId(2), by: writes(1, 50) };
    assert_eq!(pinned.step(claimed, Millis(0)), None);
    // Its own weight may change.
    assert_eq!(pinned.judge(SourceId(1), Weight(50), Payload::Other), Fate::Take);
    assert_eq!(after(pinned, Event::Heard(writes(2, 5))).grip, Grip::Pinned);
    let to = Heir { heard: writes(1, 50), fill: Fill::FromHeir, keeper: None };
    let looked = Event::Looked { at: SourceId(2), patience: Millis(0), heir: Some(to) };
    assert_eq!(after(pinned, looked).grip, Grip::Loose);
    assert_eq!(after(pinned, Event::Left(Lead::Nobody)).grip, Grip::Loose);
    let gripped = |grip| Event::Gripped { at: SourceId(2), grip };
    assert_eq!(pinned.step(gripped(Grip::Pinned), Millis(0)), None);
    let loose = after(pinned, gripped(Grip::Loose));
    assert_eq!((loose.promoted, loose.stage), (pinned.promoted, Stage::Steady));
    assert!(loose.step(claimed, Millis(0)).is_some());
}

#[test]
fn a_heavier_writer_is_held_until_it_may_claim_the_seat_and_the_old_one_keeps_its_voice() {
    let view = writing(1, 10);
    assert_eq!(view.judge(SourceId(2), Weight(50), WRITE), Fate::Hold);
    assert_eq!(view.step(Event::Heard(writes(2, 50)), Millis(0)), None);
    let claimed = |weight| Event::Claimed { at: SourceId(1), by: writes(2, weight) };
    assert_eq!(view.step(claimed(10), Millis(0)), None);
    let closed = after(view, claimed(50));
    assert_eq!(closed.judge(SourceId(1), Weight(10), WRITE), Fate::Park);
    let open = after(closed, Event::Opened(closed.epoch));
    assert_eq!(open.judge(SourceId(1), Weight(10), WRITE), Fate::Filter(Voice::Old));
    assert_eq!(open.judge(SourceId(3), Weight(10), WRITE), Fate::Hold);
}

#[test]
fn who_may_have_a_hole_waits_and_loses_the_seat_to_one_that_was_there_meanwhile() {
    let suspect = after(writing(1, 10), Event::Suspected(SourceId(1)));
    assert_eq!(suspect.judge(SourceId(2), Weight(0), WRITE), Fate::Hold);
    assert_eq!(suspect.judge(SourceId(1), Weight(10), WRITE), Fate::Park);
    assert_eq!(suspect.step(Event::Suspected(SourceId(1)), Millis(0)), None);
    let cleared = after(suspect, Event::Cleared(SourceId(1)));
    assert_eq!(cleared.judge(SourceId(1), Weight(10), WRITE), Fate::Forward);
    let returned = Event::Returned { at: SourceId(1), to: heir(writes(2, 0)) };
    assert_eq!(cleared.step(returned, Millis(0)), None);
    let passed = after(suspect, returned);
    assert_eq!(passed.promoted, Some(writes(2, 0)));
    let turn = passed.turn().expect("a hand-over");
    assert_eq!((turn.from, turn.keeper), (Some(SourceId(1)), None));
    assert_eq!(passed.judge(SourceId(1), Weight(10), WRITE), Fate::Park);
    let open = after(passed, Event::Opened(turn.epoch));
    assert_eq!(open.judge(SourceId(1), Weight(10), WRITE), Fate::Hold);
}

#[test]
fn a_suspicion_does_not_end_an_open_hand_over_and_one_that_ends_meanwhile_is_over() {
    let lost = writing(1, 10).step(looked(1, Some(writes(2, 0))), Millis(5000));
    let closed = lost.expect("it is silent");
    let open = after(closed, Event::Opened(closed.epoch));
    let suspect = after(open, Event::Suspected(SourceId(2)));
    assert_eq!(after(suspect, Event::Cleared(SourceId(2))).stage, open.stage);
    let settled = after(suspect, Event::Settled(closed.epoch));
    assert_eq!(after(settled, Event::Cleared(SourceId(2))).stage, Stage::Steady);
}

#[test]
fn a_suspicion_while_the_hand_over_is_closed_outlasts_its_opening() {
    let lost = writing(1, 10).step(looked(1, Some(writes(2, 0))), Millis(5000));
    let closed = lost.expect("it is silent");
    let suspect = after(closed, Event::Suspected(SourceId(2)));
    assert_eq!(suspect.turn(), closed.turn());
    assert_eq!(after(suspect, Event::Cleared(SourceId(2))).stage, closed.stage);
    let open = after(suspect, Event::Opened(closed.epoch));
    assert_eq!(open.judge(SourceId(2), Weight(0), WRITE), Fate::Park);
    let cleared = after(open, Event::Cleared(SourceId(2)));
    assert_eq!(cleared.judge(SourceId(2), Weight(0), WRITE), Fate::Filter(Voice::New));
}

#[test]
fn a_closed_hand_over_is_to_be_done_although_its_new_source_came_under_suspicion_at_once() {
    // The conductor may not have looked before: then it would never have heard of it.
    let heir = Some(writes(1, 10));
    let led = after(View::UNLED, Event::Led(Past::Known(Epoch(7), heir)));
    let turn = led.closed().expect("what is held here is to be sent on");
    let suspect = after(led, Event::Suspected(SourceId(1)));
    assert_eq!(suspect.closed(), Some(turn));
    assert_eq!(after(suspect, Event::Opened(turn.epoch)).closed(), None);
}

#[test]
fn a_keeper_that_may_have_a_hole_loses_its_voice_and_the_hand_over_goes_on() {
    let claimed = Event::Claimed { at: SourceId(1), by: writes(2, 50) };
    let closed = after(writing(1, 10), claimed);
    let open = after(closed, Event::Opened(closed.epoch));
    assert_eq!(open.judge(SourceId(1), Weight(10), WRITE), Fate::Filter(Voice::Old));
    for (view, fate) in [(closed, Fate::Park), (open, Fate::Hold)] {
        let mute = after(view, Event::Suspected(SourceId(1)));
        assert_eq!(mute.judge(SourceId(1), Weight(10), WRITE), fate);
        assert_eq!(mute.turn().map(|turn| turn.epoch), view.turn().map(|turn| turn.epoch));
        assert_eq!(mute.step(Event::Suspected(SourceId(1)), Millis(0)), None);
    }
}

#[test]
fn the_promoted_source_has_a_voice_and_the_keeper_of_a_hand_over_and_nobody_else() {
    let view = writing(1, 10);
    let claimed = Event::Claimed { at: SourceId(1), by: writes(2, 20) };
    let closed = after(view, claimed);
    let open = after(closed, Event::Opened(closed.epoch));
    let settled = after(open, Event::Settled(closed.epoch));
    let voices = |view: View| [1, 2, 3].map(|source| view.has_voice(SourceId(source)));
    assert_eq!(voices(view), [true, false, false]);
    assert_eq!([voices(closed), voices(open)], [[true, true, false]; 2]);
    assert_eq!(voices(settled), [false, true, false]);
}

#[test]
fn nobody_is_told_that_it_is_held_while_a_hand_over_from_all_is_closed() {
    let relies = Heir { fill: Fill::FromAll, ..heir(writes(2, 0)) };
    let event = Event::Looked { at: SourceId(1), patience: Millis(5000), heir: Some(relies) };
    let closed = writing(1, 10).step(event, Millis(5000)).expect("it is silent");
    assert_eq!(closed.judge(SourceId(3), Weight(10), WRITE), Fate::Park);
    let open = after(closed, Event::Opened(closed.epoch));
    assert_eq!(open.judge(SourceId(3), Weight(10), WRITE), Fate::Hold);
}

#[test]
fn a_seat_that_becomes_empty_is_handed_over_to_nobody_and_then_to_whoever_comes() {
    let empty = writing(1, 10).step(looked(1, None), Millis(5000)).expect("it is silent");
    assert_eq!(empty.promoted, None);
    assert_eq!(empty.turn().map(|turn| (turn.to, turn.fill)), Some((None, Fill::FromAll)));
    let taken = after(empty, Event::Heard(writes(3, 0))).turn().expect("a hand-over");
    assert_eq!((taken.to, taken.cause), (Some(SourceId(3)), Cause::Empty));
    assert!(taken.epoch > empty.epoch);
}
