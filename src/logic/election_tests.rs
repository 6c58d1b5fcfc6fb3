use std::net::SocketAddr;

use super::*;

const EXPIRY: Expiry = Expiry { expiry: Millis(5000), expiry_max: Millis(90_000) };

fn candidate(source: u64, weight: u64, last_heard: u64) -> Candidate {
    let address = SocketAddr::from(([10, 0, 0, source as u8], 1000));
    Candidate {
        heard: Heard {
            source: SourceId(source),
            weight: Weight(weight),
            address,
            payload: Payload::Other,
        },
        presence: Presence { last_heard: Millis(last_heard), ..Presence::default() },
        rhythm: Rhythm::new(Millis(0)),
        continuity: Continuity::new(Millis(0), UnixMillis(0)),
        newest: None,
        owes: false,
    }
}

fn writer(source: u64, weight: u64, whole_since: i64, newest: i64) -> Candidate {
    let mut candidate = candidate(source, weight, 99_000);
    candidate.heard.payload = Payload::RemoteWrite;
    candidate.continuity = heard_every_second(whole_since);
    candidate.newest = Some(UnixMillis(newest));
    candidate
}

/// For the last ten seconds of 99, and for longer as far as its hole says.
fn heard_every_second(whole_since: i64) -> Continuity {
    let mut continuity = Continuity::new(Millis(89_000), UnixMillis(whole_since));
    for second in 90..100 {
        let last_heard = Millis(second * 1000);
        let presence = Presence { last_heard, connected: true, ..Presence::default() };
        continuity.on_look(last_heard, UnixMillis(second as i64 * 1000), &presence);
        continuity.on_step(Millis(1000), UnixMillis(second as i64 * 1000));
    }
    continuity
}

/// At 100 s, with the first of `candidates` in the seat.
fn group(candidates: &[Candidate], low: i64) -> Group<'_> {
    Group {
        view: seat_of(&candidates[0]),
        candidates,
        low: Some(UnixMillis(low)),
        wish: None,
        is_sure: true,
        now: Millis(100_000),
        unix_now: UnixMillis(100_000),
    }
}

fn seat_of(candidate: &Candidate) -> View {
    View::EMPTY.step(Event::Heard(candidate.heard), Millis(0)).expect("the seat was empty")
}

fn looked(view: &View, candidates: &[Candidate], now: u64) -> Option<(Event, Millis)> {
    let (now, unix_now) = (Millis(now), UnixMillis(now as i64));
    Group { view: *view, candidates, low: None, wish: None, is_sure: true, now, unix_now }
        .tick(&EXPIRY)
}

fn after_tick(view: &View, candidates: &[Candidate], now: u64) -> Option<View> {
    let (event, silence) = looked(view, candidates, now)?;
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

    let (event, silence) = looked(&seat, &[heavy, light], 10_000).expect("the seat is taken");
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

#[test]
fn a_heavier_writer_claims_the_seat_once_the_other_has_delivered_up_to_its_first_push() {
    let all = [writer(1, 10, 0, 99_000), writer(2, 50, 60_000, 99_000)];
    assert_eq!(group(&all, 60_999).beat(&EXPIRY, None), None);
    let claimed = Event::Claimed { at: SourceId(1), by: all[1].heard };
    assert_eq!(group(&all, 61_000).beat(&EXPIRY, None), Some((claimed, Millis(1000))));
    let behind = [all[0], writer(2, 50, 60_000, 20_000)];
    assert_eq!(group(&behind, 60_000).beat(&EXPIRY, Some(Millis(30_000))), None);
}

#[test]
fn a_source_that_an_operator_wants_takes_the_seat_as_if_it_were_heavier() {
    let all = [writer(1, 50, 0, 99_000), writer(2, 10, 60_000, 99_000)];
    let wish = |source, grip| Some(Wish { source: SourceId(source), grip });
    let beat = |low, wish| {
        let group = Group { wish, ..group(&all, low) };
        group.beat(&EXPIRY, None).map(|(event, _)| event)
    };
    assert_eq!(beat(60_999, wish(2, Grip::Pinned)), None, "the other has more to deliver");
    let ordered = Event::Ordered { at: SourceId(1), by: all[1].heard, grip: Grip::Pinned };
    assert_eq!(beat(61_000, wish(2, Grip::Pinned)), Some(ordered));
    assert_eq!(beat(61_000, wish(3, Grip::Pinned)), None, "nobody knows it");
    let gripped = Event::Gripped { at: SourceId(1), grip: Grip::Pinned };
    assert_eq!(beat(61_000, wish(1, Grip::Pinned)), Some(gripped));
    assert_eq!(beat(61_000, wish(1, Grip::Loose)), None, "it sits there");
    let view = seat_of(&all[0]);
    let change = Change::new(view, view.step(ordered, Millis(0)).expect("a change"), ordered);
    let line = "new source : '10.0.0.2:1000' (wanted by an operator) (50 -> 10)";
    assert_eq!(change.lines(), [line]);
    assert_eq!(change.grip().as_deref(), Some("source pinned : '10.0.0.2:1000'"));
    // Of what is no remote write nothing is waited for.
    let others = [candidate(1, 50, 99_000), candidate(2, 10, 99_000)];
    let group = Group { wish: wish(2, Grip::Loose), ..group(&others, 0) };
    let ordered = Event::Ordered { at: SourceId(1), by: others[1].heard, grip: Grip::Loose };
    assert_eq!(group.beat(&EXPIRY, None).map(|(event, _)| event), Some(ordered));
}

#[test]
fn a_pinned_source_is_not_claimed_from() {
    let all = [writer(1, 10, 0, 99_000), writer(2, 50, 60_000, 99_000)];
    let gripped = Event::Gripped { at: SourceId(1), grip: Grip::Pinned };
    let view = seat_of(&all[0]).step(gripped, Millis(0)).expect("a change");
    assert_eq!(Group { view, ..group(&all, 90_000) }.beat(&EXPIRY, None), None);
}

#[test]
fn a_promoted_source_that_is_too_far_behind_gives_the_seat_to_a_fresher_one() {
    let all = [writer(1, 50, 0, 60_000), writer(2, 10, 0, 99_000)];
    assert_eq!(group(&all, 60_000).beat(&EXPIRY, None), None);
    assert_eq!(group(&all, 60_000).beat(&EXPIRY, Some(Millis(50_000))), None);
    let lagged = group(&all, 60_000).beat(&EXPIRY, Some(Millis(30_000)));
    let to = Heir { heard: all[1].heard, fill: Fill::FromHeir, keeper: None };
    assert_eq!(lagged, Some((Event::Lagged { at: SourceId(1), to }, Millis(1000))));
    let stale = [all[0], writer(2, 10, 0, 61_000)];
    assert_eq!(group(&stale, 60_000).beat(&EXPIRY, Some(Millis(30_000))), None);
}

#[test]
fn a_heavier_writer_that_is_new_or_has_fallen_silent_claims_nothing() {
    let all = [writer(1, 10, 0, 99_000), writer(2, 50, 60_000, 99_000)];
    let mut new = all[1];
    new.continuity = Continuity::new(Millis(89_000), UnixMillis(60_000));
    assert_eq!(group(&[all[0], new], 61_000).beat(&EXPIRY, None), None);
    let silent = writer(2, 50, 60_000, 97_000);
    assert_eq!(group(&[all[0], silent], 61_000).beat(&EXPIRY, None), None);
}

#[test]
fn a_fresher_source_with_a_hole_does_not_get_the_seat_of_one_that_is_behind() {
    let all = [writer(1, 50, 0, 60_000), writer(2, 10, 61_000, 99_000)];
    assert_eq!(group(&all, 60_000).beat(&EXPIRY, Some(Millis(30_000))), None);
    assert!(group(&all, 61_000).beat(&EXPIRY, Some(Millis(30_000))).is_some());
}

fn heir_of(all: &[Candidate], low: i64) -> (SourceId, Fill, Option<SourceId>) {
    match group(all, low).tick(&EXPIRY) {
        Some((Event::Looked { heir: Some(heir), .. }, _)) => {
            (heir.heard.source, heir.fill, heir.keeper)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_heir_with_a_hole_relies_on_the_others() {
    let all = [writer(1, 50, 0, 0), writer(2, 40, 70_000, 0), writer(3, 10, 80_000, 0)];
    assert_eq!(heir_of(&all, 70_000), (SourceId(2), Fill::FromHeir, None));
    assert_eq!(heir_of(&all, 69_000), (SourceId(2), Fill::FromAll, Some(SourceId(3))));
}

#[test]
fn a_lighter_heir_without_a_hole_comes_before_a_heavier_one_with_one() {
    let all = [writer(1, 50, 0, 0), writer(2, 40, 70_000, 0), writer(3, 10, 0, 0)];
    assert_eq!(heir_of(&all, 70_000), (SourceId(2), Fill::FromHeir, None));
    assert_eq!(heir_of(&all, 69_000), (SourceId(3), Fill::FromHeir, None));
}

#[test]
fn of_two_heirs_without_a_hole_the_one_that_is_not_behind_comes_first() {
    let all = [writer(1, 50, 0, 0), writer(2, 40, 0, 60_000), writer(3, 10, 0, 99_000)];
    assert_eq!(heir_of(&all, 70_000), (SourceId(3), Fill::FromHeir, None));
}

/// What becomes of the suspicion that the first of `all` is under.
fn verdict(all: &[Candidate], low: i64, silence: Millis) -> Option<Event> {
    let at = all[0].heard.source;
    let seat = seat_of(&all[0]);
    let view = seat.step(Event::Suspected(at), silence).expect("it is in the seat");
    Group { view, ..group(all, low) }.beat(&EXPIRY, None).map(|(event, _)| event)
}

#[test]
fn a_jump_gives_the_seat_only_to_one_that_had_spoken_for_its_series_before_it() {
    let mut jumped = writer(1, 50, 0, 99_000);
    jumped.continuity.on_step(Millis(4000), UnixMillis(99_000));
    let to = |since| verdict(&[jumped, writer(2, 10, since, 99_000)], 50_000, Millis(0));
    assert!(matches!(to(94_000), Some(Event::Returned { .. })));
    // A batch of one that was behind, or a new series: what looks like a jump may be none, and what
    // the one in the seat has still to send would be nobody's.
    assert_eq!(to(95_001), Some(Event::Cleared(SourceId(1))));
}

#[test]
fn who_was_behind_when_it_fell_silent_goes_on_until_its_samples_jump() {
    let mut back = writer(1, 50, 0, 99_000);
    let presence = Presence { last_heard: Millis(99_000), connected: true, ..Presence::default() };
    back.continuity.on_look(Millis(102_000), UnixMillis(102_000), &presence);
    let presence = Presence { last_heard: Millis(109_900), ..presence };
    back.continuity.on_look(Millis(109_900), UnixMillis(109_900), &presence);
    assert_eq!(back.continuity.hole_from(), Some(UnixMillis(99_000)));
    let standby = writer(2, 10, 80_000, 99_000);
    let after = |newest| {
        let back = Candidate { newest: Some(UnixMillis(newest)), ..back };
        verdict(&[back, standby], 50_000, Millis(5000))
    };
    assert!(matches!(after(99_000), Some(Event::Returned { .. })));
    assert_eq!(after(70_000), Some(Event::Cleared(SourceId(1))));
    // One that began in the middle of the hole fills the rest of it, if that is worth it.
    let in_it = |since| verdict(&[back, writer(2, 10, since, 99_000)], 50_000, Millis(5000));
    assert!(matches!(in_it(105_900), Some(Event::Returned { .. })));
    assert_eq!(in_it(105_901), Some(Event::Cleared(SourceId(1))));
}

#[test]
fn a_keeper_that_is_missed_is_suspected() {
    let mut all = [writer(1, 10, 0, 99_000), writer(2, 50, 60_000, 99_000)];
    let claimed = Event::Claimed { at: SourceId(1), by: all[1].heard };
    let view = seat_of(&all[0]).step(claimed, Millis(0)).expect("it is heavier");
    let beat = |all: &[Candidate]| Group { view, ..group(all, 61_000) }.beat(&EXPIRY, None);
    assert_eq!(beat(&all), None);
    let presence = Presence { last_heard: Millis(99_000), connected: true, ..Presence::default() };
    all[0].continuity.on_look(Millis(102_000), UnixMillis(102_000), &presence);
    assert_eq!(beat(&all), Some((Event::Suspected(SourceId(1)), Millis(0))));
}

#[test]
fn a_node_that_may_be_cut_off_takes_nobody_for_silent() {
    let all = [writer(1, 50, 0, 99_000), writer(2, 40, 0, 99_000)];
    let suspected = Event::Suspected(SourceId(1));
    let view = seat_of(&all[0]).step(suspected, Millis(1)).expect("it is in the seat");
    let changes = |is_sure| {
        let late = Group { is_sure, now: Millis(500_000), ..group(&all, 70_000) };
        (late.tick(&EXPIRY).is_some(), Group { view, ..late }.beat(&EXPIRY, None).is_some())
    };
    assert_eq!(changes(true), (true, true));
    assert_eq!(changes(false), (false, false));
}
