//! One hand-over at a time, told what happens, asked what is to be done.

use super::*;
use crate::base::limits::REPLAY_BACKOFF_FIRST;
use crate::logic::desk::Covered;
use crate::logic::source::SourceId;
use crate::logic::view::Cause;
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::series::SeriesHasher;
use crate::wire::remote_write::snappy;
use crate::wire::remote_write::v1::{self, Sample, WriteRequestBuilder};

const A: SourceId = SourceId(1);
const B: SourceId = SourceId(2);
const C: SourceId = SourceId(3);
const WINDOW: Millis = Millis(120_000);
const NOW: Millis = Millis(1000);

fn turn(epoch: u64, from: SourceId, to: SourceId, keeper: Option<SourceId>) -> Turn {
    let (epoch, from, to) = (Epoch(epoch), Some(from), Some(to));
    Turn { epoch, from, to, keeper, cause: Cause::Silence, fill: Fill::FromHeir }
}

fn push(samples: &[(&str, i64)]) -> Push {
    let mut request = WriteRequestBuilder::new();
    for (series, timestamp_ms) in samples {
        let sample = Sample { value: 1.0, timestamp_ms: *timestamp_ms };
        request.push(&[("__name__", series)], &[sample]);
    }
    let body = snappy::encode(&request.finish()).expect("a small message");
    Push::new(body, 0, Protocol::V1)
}

fn kept(arrived: u64, samples: &[(&str, i64)]) -> Kept {
    Kept { arrived: Nanos(arrived), push: push(samples) }
}

/// The samples of a request, as `a10 b20`.
fn read(push: &Push) -> String {
    let Ok(body) = snappy::decode(push.body(), 1 << 20) else { return "torn".into() };
    let mut all = Vec::new();
    v1::walk(&body, &mut |series| {
        let name = series.labels().map(|(_, value)| String::from_utf8_lossy(value)).next();
        let name = name.expect("each has a name");
        all.extend(series.samples().map(|sample| format!("{name}{}", sample.timestamp_ms)));
    })
    .expect("ours");
    all.join(" ")
}

/// A machine with its tools.
struct Led {
    handover: Handover,
    lens: Lens,
}

impl Led {
    fn new() -> Led {
        let lens = Lens::new(SeriesHasher::new(1), 1 << 20);
        Led { handover: Handover::new(WINDOW), lens }
    }

    /// Begins a hand-over for which one core gives `gathered`.
    fn begin(&mut self, turn: Turn, gathered: Gathered) {
        self.handover.on_turn(turn, Covered::NOTHING, 1, NOW);
        assert!(matches!(self.next(NOW), Some(Effect::Gather(..))));
        self.handover.on_gathered(turn.epoch, 0, gathered, Covered::NOTHING);
    }

    fn next(&mut self, now: Millis) -> Option<Effect> {
        loop {
            match self.handover.poll(&mut self.lens, now) {
                Some(Effect::Busy) => {}
                effect => return effect,
            }
        }
    }

    fn sends(&mut self, now: Millis) -> String {
        match self.next(now) {
            Some(Effect::Send(push)) => read(&push),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, number: u64, voice: Voice, samples: &[(&str, i64)]) {
        self.handover.on_ask(AskId { core: 0, number }, voice, push(samples));
    }

    fn tells(&mut self, now: Millis) -> Option<(u64, String)> {
        match self.next(now) {
            Some(Effect::Tell(id, verdict)) => Some(match verdict {
                Verdict::Covered => (id.number, "covered".into()),
                Verdict::AsItIs => (id.number, "as it is".into()),
                Verdict::Changed(push) => (id.number, read(&push)),
                Verdict::Overtaken => (id.number, "overtaken".into()),
            }),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    fn done(&mut self, number: u64, outcome: Outcome) {
        self.handover.on_done(&mut self.lens, AskId { core: 0, number }, outcome);
    }
}

fn told(number: u64, what: &str) -> Option<(u64, String)> {
    Some((number, what.to_owned()))
}

#[test]
fn what_was_held_and_is_new_is_sent_on_in_the_order_in_which_it_came() {
    let mut led = Led::new();
    let held = vec![kept(3, &[("a", 12)]), kept(1, &[("a", 9), ("b", 9)]), kept(2, &[("a", 11)])];
    let delivered = vec![kept(1, &[("a", 10)]), kept(0, &[("b", 8)])];
    led.begin(turn(2, A, B, None), Gathered { delivered, held: vec![(B, held)], doubts: vec![] });
    for expected in ["b9", "a11", "a12"] {
        assert_eq!(led.sends(NOW), expected);
        assert!(led.next(NOW).is_none(), "one after the other");
        led.handover.on_sent(Outcome::Acknowledged, NOW);
    }
    let Some(Effect::Open(_, cost)) = led.next(NOW) else { panic!("all is sent on") };
    assert_eq!((cost.bodies, cost.replayed, cost.skipped, cost.lost), (3, 3, 1, 0));
    assert_eq!(cost.bridged, Millis(2));
}

#[test]
fn what_is_in_doubt_goes_first_and_again_until_it_is_certain() {
    let mut led = Led::new();
    let (doubts, held) =
        (vec![kept(9, &[("a", 10)])], vec![(B, vec![kept(1, &[("a", 10), ("b", 9)])])]);
    led.begin(turn(2, A, B, None), Gathered { doubts, held, ..Gathered::default() });
    assert_eq!(led.sends(NOW), "a10");
    led.handover.on_sent(Outcome::Doubtful, NOW);
    assert!(led.next(NOW).is_none());
    let later = NOW.after(REPLAY_BACKOFF_FIRST);
    assert_eq!(led.sends(later), "a10");
    led.handover.on_sent(Outcome::Acknowledged, later);
    assert_eq!(led.sends(later), "b9");
}

#[test]
fn a_body_that_cannot_be_read_is_sent_as_it_is_and_counted() {
    let mut led = Led::new();
    let torn = Push::new(b"torn".to_vec(), 0, Protocol::V1);
    let held = vec![(B, vec![Kept { arrived: Nanos(1), push: torn }])];
    led.begin(turn(2, A, B, None), Gathered { held, ..Gathered::default() });
    assert_eq!(led.sends(NOW), "torn");
    led.handover.on_sent(Outcome::Rejected, NOW);
    let Some(Effect::Open(_, cost)) = led.next(NOW) else { panic!("all is sent on") };
    assert_eq!((cost.unreadable, cost.lost), (1, 0));
}

#[test]
fn the_new_sources_requests_go_side_by_side_and_one_of_the_keeper_alone() {
    let mut led = Led::new();
    let delivered = vec![kept(1, &[("a", 10), ("b", 10)])];
    led.begin(turn(2, A, B, Some(A)), Gathered { delivered, ..Gathered::default() });
    assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
    led.ask(1, Voice::New, &[("a", 11)]);
    led.ask(2, Voice::New, &[("a", 9)]);
    led.ask(3, Voice::Old, &[("a", 12), ("b", 11)]);
    led.ask(4, Voice::New, &[("b", 12)]);
    assert_eq!(led.tells(NOW), told(1, "as it is"));
    assert_eq!(led.tells(NOW), told(2, "covered"));
    assert_eq!(led.tells(NOW), None, "the keeper waits for what is out");
    led.done(1, Outcome::Acknowledged);
    assert_eq!(led.tells(NOW), told(3, "b11"));
    assert_eq!(led.tells(NOW), None, "and the new one for the keeper");
    led.done(3, Outcome::Acknowledged);
    assert_eq!(led.tells(NOW), told(4, "as it is"));
    assert!(led.next(NOW).is_none(), "it is still out");
    led.done(4, Outcome::Acknowledged);
    assert!(led.next(NOW).is_none(), "a shard may still have something old");
    assert!(matches!(led.next(NOW.after(ALL_HEARD)), Some(Effect::Settle(..))));
}

#[test]
fn a_request_of_the_keeper_that_may_be_stored_is_made_certain_before_anything_else() {
    let mut led = Led::new();
    let delivered = vec![kept(1, &[("a", 10)])];
    led.begin(turn(2, A, B, Some(A)), Gathered { delivered, ..Gathered::default() });
    assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
    led.ask(1, Voice::Old, &[("a", 11)]);
    assert_eq!(led.tells(NOW), told(1, "as it is"));
    led.ask(2, Voice::New, &[("a", 12)]);
    led.done(1, Outcome::Doubtful);
    assert_eq!(led.sends(NOW), "a11");
    assert!(led.next(NOW).is_none());
    led.handover.on_sent(Outcome::Acknowledged, NOW);
    assert_eq!(led.tells(NOW), told(2, "as it is"));
}

#[test]
fn a_change_in_the_middle_begins_anew_and_sends_nothing_twice() {
    let mut led = Led::new();
    let of_b = || (B, vec![kept(1, &[("a", 11)]), kept(2, &[("a", 12)])]);
    let gathered = |held| Gathered { held, ..Gathered::default() };
    led.begin(turn(2, A, B, None), gathered(vec![of_b()]));
    assert_eq!(led.sends(NOW), "a11");
    led.handover.on_turn(turn(3, B, C, None), Covered::NOTHING, 1, NOW);
    led.ask(1, Voice::New, &[("a", 13)]);
    assert_eq!(led.tells(NOW), told(1, "overtaken"));
    let Some(Effect::Gather(_, Wanted::From(wanted))) = led.next(NOW) else { panic!("anew") };
    assert_eq!(wanted, [B, C], "what B held has not been sent yet");
    led.handover.on_gathered(Epoch(2), 0, gathered(vec![of_b()]), Covered::NOTHING);
    assert!(led.next(NOW).is_none(), "that was for the one before");
    let of_c = (C, vec![kept(1, &[("a", 12)]), kept(5, &[("a", 14)])]);
    led.handover.on_gathered(Epoch(3), 0, gathered(vec![of_c, of_b()]), Covered::NOTHING);
    assert!(led.next(NOW).is_none(), "one is still out");
    led.handover.on_sent(Outcome::Acknowledged, NOW);
    for expected in ["a12", "a14"] {
        assert_eq!(led.sends(NOW), expected);
        led.handover.on_sent(Outcome::Acknowledged, NOW);
    }
    assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
}

#[test]
fn what_was_delivered_before_something_was_let_go_of_does_not_count_wherever_it_comes_from() {
    // A series was delivered at 10, on a core that still has it, then at 20, on one that let go of it.
    // Whoever gives what it keeps says so, after the hand-over has begun.
    let covered = Covered { reach: UnixMillis(25), dropped: Nanos(5), ..Covered::NOTHING };
    for is_folded in [false, true] {
        let mut led = Led::new();
        led.handover.on_turn(turn(2, A, B, None), Covered::NOTHING, 1, NOW);
        assert!(matches!(led.next(NOW), Some(Effect::Gather(..))));
        let of_a = vec![kept(4, &[("a", 10)])];
        let (folded, delivered) = if is_folded { (of_a, vec![]) } else { (vec![], of_a) };
        let held = vec![(B, vec![kept(8, &[("a", 15)]), kept(9, &[("a", 26)])])];
        let gathered = Gathered { delivered, held, ..Gathered::default() };
        led.handover.on_gathered(Epoch(2), 0, gathered, covered);
        led.handover.on_folded(folded);
        assert_eq!(led.sends(NOW), "a26", "{is_folded}");
    }
}

#[test]
fn what_is_in_doubt_is_sent_by_a_later_hand_over_if_the_one_that_had_it_is_overtaken() {
    let mut led = Led::new();
    led.begin(turn(2, A, B, None), Gathered::default());
    assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
    led.ask(1, Voice::New, &[("a", 10)]);
    assert_eq!(led.tells(NOW), told(1, "as it is"));
    led.done(1, Outcome::Doubtful);
    // Another doubt comes before it in the line, and then another change.
    let doubts = vec![kept(0, &[("b", 9)])];
    led.begin(turn(3, B, A, None), Gathered { doubts: doubts.clone(), ..Gathered::default() });
    assert_eq!(led.sends(NOW), "b9");
    led.handover.on_sent(Outcome::Acknowledged, NOW);
    led.begin(turn(4, A, C, None), Gathered { doubts, ..Gathered::default() });
    assert_eq!(led.sends(NOW), "a10");
    led.handover.on_sent(Outcome::Acknowledged, NOW);
    assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
}

#[test]
fn it_is_over_when_the_new_source_is_done_with_what_is_old_though_a_series_has_ended() {
    let delivered = || vec![kept(1, &[("a", 10), ("ended", 10)])];
    for (keeper, silent_after) in [(None, Millis(0)), (Some(A), WINDOW)] {
        let mut led = Led::new();
        led.begin(
            turn(2, A, B, keeper),
            Gathered { delivered: delivered(), ..Gathered::default() },
        );
        assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
        let begin = NOW.after(ALL_HEARD);
        assert!(led.next(begin).is_none(), "it has not said anything");
        led.ask(1, Voice::New, &[("a", 9)]);
        assert_eq!(led.tells(begin), told(1, "covered"));
        let silent = begin.after(silent_after);
        assert!(led.next(silent).is_none(), "the keeper falls silent first");
        assert!(led.next(Millis(silent.0 + ALL_HEARD.0 - 1)).is_none());
        assert!(matches!(led.next(silent.after(ALL_HEARD)), Some(Effect::Settle(..))));
    }
}

#[test]
fn the_keeper_falls_silent_for_a_series_that_the_endpoint_may_have_of_the_new_source() {
    // One of them is new: nothing of it had been delivered when the hand-over began.
    let mut led = Led::new();
    let delivered = vec![kept(1, &[("a", 10)])];
    led.begin(turn(2, A, B, Some(A)), Gathered { delivered, ..Gathered::default() });
    assert!(matches!(led.next(NOW), Some(Effect::Open(..))));
    led.ask(1, Voice::New, &[("a", 12), ("new", 12)]);
    assert_eq!(led.tells(NOW), told(1, "as it is"));
    led.done(1, Outcome::Doubtful);
    led.ask(2, Voice::Old, &[("a", 11), ("new", 11), ("other", 11)]);
    assert_eq!(led.tells(NOW), told(2, "other11"));
    led.done(2, Outcome::Acknowledged);
    led.ask(3, Voice::New, &[("a", 12), ("new", 12)]);
    assert_eq!(led.tells(NOW), told(3, "as it is"), "it tries again");
}
