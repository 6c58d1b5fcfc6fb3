//! The order in which a hand-over sends on what was gathered.
//!
//! What may be stored comes before everything else, then the held requests of one source after the
//! other, those of the live ones last: they go on from where their held requests end.

use std::collections::{BTreeMap, VecDeque};

use crate::base::time::Nanos;
use crate::logic::shelf::{Gathered, Kept};
use crate::logic::source::SourceId;
use crate::logic::view::{Turn, Voice};

/// Who had a seat before its hand-over was done, and until when.
pub type Former = BTreeMap<SourceId, Nanos>;

/// What is to be sent on, in this order, and in whose name.
pub fn line_up(gathered: Gathered, turn: Option<Turn>, former: &Former) -> VecDeque<(Voice, Kept)> {
    let Gathered { mut doubts, mut held, .. } = gathered;
    let (to, keeper) = turn.map_or((None, None), |turn| (turn.to, turn.keeper));
    // Who had the seat may be back, with a hole in what it has pushed since.
    let from = turn.and_then(|turn| turn.from);
    for (source, kept) in held.iter_mut().filter(|(source, _)| Some(*source) != to) {
        match former.get(source) {
            Some(until) => kept.retain(|kept| kept.arrived < *until),
            None if Some(*source) == from => kept.clear(),
            None => {}
        }
    }
    held.sort_by_key(|(source, _)| {
        let is_live = (Some(*source) == to, Some(*source) == keeper);
        (is_live, !former.contains_key(source), *source)
    });
    doubts.sort_by_key(|kept| kept.arrived);
    let mut line: VecDeque<_> = doubts.into_iter().map(|kept| (Voice::Old, kept)).collect();
    for of_one in held.chunk_by(|one, other| one.0 == other.0) {
        let mut all: Vec<Kept> = of_one.iter().flat_map(|(_, kept)| kept).cloned().collect();
        all.sort_by_key(|kept| kept.arrived);
        let is_new = of_one.first().is_some_and(|(source, _)| Some(*source) == to);
        let voice = if is_new { Voice::New } else { Voice::Old };
        line.extend(all.into_iter().map(|kept| (voice, kept)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::view::{Cause, Epoch, Fill};
    use crate::wire::remote_write::protocol::Protocol;
    use crate::wire::remote_write::push::Push;

    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);
    const C: SourceId = SourceId(3);
    const TURN: Turn = Turn {
        epoch: Epoch(9),
        from: Some(A),
        to: Some(B),
        keeper: None,
        cause: Cause::Return,
        fill: Fill::FromAll,
    };

    fn kept(arrived: u64) -> Kept {
        let body = arrived.to_string().into_bytes();
        Kept { arrived: Nanos(arrived), push: Push::new(body, 0, Protocol::V1) }
    }

    fn order(held: &[(SourceId, &[u64])], turn: Turn, former: &Former) -> Vec<(Voice, u64)> {
        let held = held.iter().map(|(source, all)| (*source, all.iter().copied().map(kept)));
        let held = held.map(|(source, all)| (source, all.collect())).collect();
        let gathered = Gathered { doubts: vec![kept(99), kept(98)], held, ..Gathered::default() };
        let line = line_up(gathered, Some(turn), former);
        line.into_iter().map(|(voice, kept)| (voice, kept.arrived.0)).collect()
    }

    #[test]
    fn doubts_come_first_then_the_others_then_the_keeper_then_the_new_one_across_cores() {
        let held: &[(SourceId, &[u64])] = &[(B, &[5]), (C, &[7]), (SourceId(4), &[8]), (B, &[2])];
        let turn = Turn { keeper: Some(C), ..TURN };
        let (old, new) = (Voice::Old, Voice::New);
        let expected = [(old, 98), (old, 99), (old, 8), (old, 7), (new, 2), (new, 5)];
        assert_eq!(order(held, turn, &Former::new()), expected);
    }

    #[test]
    fn what_a_source_pushed_after_it_lost_the_seat_is_not_sent_on() {
        let held: &[(SourceId, &[u64])] = &[(A, &[1, 20]), (B, &[3])];
        let doubts = [(Voice::Old, 98), (Voice::Old, 99)];
        let gone = [&doubts[..], &[(Voice::New, 3)]].concat();
        assert_eq!(order(held, TURN, &Former::new()), gone);
        // Its own hand-over was overtaken: what it held before that was never sent on.
        let overtaken = [&doubts[..], &[(Voice::Old, 1), (Voice::New, 3)]].concat();
        assert_eq!(order(held, TURN, &Former::from([(A, Nanos(10))])), overtaken);
    }
}
