use super::*;
use crate::base::time::UnixMillis;
use crate::logic::source::{Payload, SourceName, Weight};

const NOW: Millis = Millis(100_000);

fn node(last: u8) -> Node {
    Node { address: SocketAddr::from(([10, 0, 0, last], 6746)), generation: 1 }
}

fn listen(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 9091))
}

fn group(name: &str) -> GroupName {
    GroupName { tenant: Box::default(), group: name.as_bytes().into() }
}

/// Node number `last` of those with the numbers 1 to `of`, settled.
fn one(last: u8, of: u8, leases: Leases) -> Leadership {
    let mut one = Leadership::new(node(last), listen(last), leases);
    let others = (1..=of).filter(|other| *other != last).map(node);
    one.on_members(node(last), others.collect(), NOW);
    one.settle(NOW);
    one
}

/// A group for which this node is the first of three.
fn group_of(last: u8) -> GroupName {
    let is_first = |name: &GroupName| {
        let score = |other: u8| GroupKey::of(name).score(node(other).address);
        (1..=3).max_by_key(|other| score(*other)) == Some(last)
    };
    (0..).map(|number| group(&number.to_string())).find(is_first).expect("each is first for many")
}

fn leads(one: &mut Leadership) -> Vec<(Lead, Option<Term>)> {
    let effects = one.take_effects();
    let led = effects.into_iter().filter_map(|effect| match effect {
        Effect::Led(_, lead, standing) => Some((lead, standing.map(|standing| standing.term))),
        Effect::Tell(..) | Effect::TellAll(_) | Effect::Free(_) => None,
    });
    led.collect()
}

/// That of the leader of this number, of all that a group has had.
fn term(leader: u64) -> Term {
    (0..leader).fold(Term::default(), |term, _| term.next())
}

fn standing(name: &GroupName, term: u64, last: u8) -> Standing {
    Standing {
        group: name.clone(),
        term: self::term(term),
        leader: node(last),
        listen: listen(last),
        epoch: Epoch(4),
        sitting: Some(Sitting {
            name: SourceName::Named((*b"p").into()),
            weight: Weight(5),
            address: listen(99),
            payload: Payload::RemoteWrite,
            patience: Millis(10_000),
        }),
        low: Some(UnixMillis(7)),
    }
}

#[test]
fn the_first_in_order_claims_a_new_group_and_the_others_tell_it_of_one() {
    let name = group_of(1);
    let mut first = one(1, 3, Leases::None);
    first.on_wanted(&name, NOW);
    assert_eq!(leads(&mut first), [(Lead::Us, None)]);
    let mut second = one(2, 3, Leases::None);
    second.on_wanted(&name, NOW);
    let wanted = Effect::Tell(node(1).address, Notice::Wanted(name.clone()));
    assert_eq!(second.take_effects(), [wanted]);
    second.on_standing(first.standing(&name).expect("it leads").clone(), NOW);
    assert_eq!(leads(&mut second), [(Lead::At(listen(1)), Some(term(1)))]);
}

#[test]
fn nobody_leads_before_it_has_settled() {
    let name = group_of(1);
    let mut one = Leadership::new(node(1), listen(1), Leases::None);
    one.on_wanted(&name, NOW);
    one.on_time(NOW.after(Millis(60_000)));
    assert_eq!((leads(&mut one), one.lead(&name)), (vec![], Lead::Nobody));
    one.on_standing(standing(&name, 3, 2), NOW);
    one.on_members(node(1), BTreeSet::from([node(2)]), NOW);
    one.settle(NOW);
    assert_eq!(leads(&mut one), [(Lead::At(listen(2)), Some(term(3)))], "it is led elsewhere");
}

#[test]
fn the_incumbent_stays_whoever_comes() {
    let name = group_of(2);
    let mut one = one(1, 1, Leases::None);
    one.on_wanted(&name, NOW);
    one.on_members(node(1), BTreeSet::from([node(2), node(3)]), NOW);
    one.on_time(NOW.after(Millis(60_000)));
    assert_eq!(leads(&mut one), [(Lead::Us, None)]);
}

#[test]
fn when_the_leader_dies_the_first_of_the_living_goes_on_from_how_the_group_stood() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_standing(standing(&name, 3, 2), NOW);
    assert_eq!(leads(&mut one), [(Lead::At(listen(2)), Some(term(3)))]);
    one.on_members(node(1), BTreeSet::from([node(3)]), NOW);
    assert_eq!(leads(&mut one).last(), Some(&(Lead::Us, Some(term(3)))));
    let own = one.standing(&name).expect("it leads").clone();
    assert_eq!((own.term, own.leader), (term(4), node(1)));
    assert_eq!(own.sitting, standing(&name, 3, 2).sitting);
}

#[test]
fn a_leader_that_begins_anew_is_followed_by_one_that_was_there() {
    let name = group_of(1);
    let again = Node { generation: 60_000, ..node(1) };
    // What it held is gone; the second and the third hold it still.
    let mut first = Leadership::new(again, listen(1), Leases::None);
    first.on_members(again, [node(2), node(3)].into(), NOW);
    first.on_standing(standing(&name, 3, 1), NOW);
    first.on_wanted(&name, NOW);
    first.settle(NOW);
    let others = [2, 3].map(|last| {
        let mut other = one(last, 3, Leases::None);
        other.on_standing(standing(&name, 3, 1), NOW);
        other.on_members(node(last), [again, node(5 - last)].into(), NOW);
        other.lead(&name) == Lead::Us
    });
    assert_eq!(others.iter().filter(|leads| **leads).count(), 1, "one of them at once");
    assert_eq!(first.lead(&name), Lead::Nobody);
    // With nobody else it goes on itself, and so does one that was only taken for dead.
    first.on_members(again, BTreeSet::new(), NOW);
    assert_eq!(first.lead(&name), Lead::Us);
    let mut suspected = one(1, 3, Leases::None);
    suspected.on_standing(standing(&name, 3, 1), NOW);
    let next = Node { generation: 2, ..node(1) };
    suspected.on_members(next, [node(2), node(3)].into(), NOW);
    assert_eq!(suspected.lead(&name), Lead::Us);
}

#[test]
fn if_the_first_cannot_the_next_one_does_after_a_while() {
    let name = group_of(2);
    let mut one = one(1, 2, Leases::None);
    one.on_standing(standing(&name, 3, 3), NOW);
    one.on_time(NOW.after(Millis(CLAIM_PATIENCE.0 - 1)));
    assert_eq!(leads(&mut one), []);
    one.on_time(NOW.after(CLAIM_PATIENCE));
    assert_eq!(leads(&mut one), [(Lead::Us, Some(term(3)))]);
}

#[test]
fn of_two_leaders_the_one_with_the_higher_term_stays_and_the_other_is_told() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_wanted(&name, NOW);
    one.take_effects();
    let own = one.standing(&name).expect("it leads").clone();
    let other = standing(&name, 1, 2);
    let later = NOW.after(ASK_EVERY);
    one.on_standing(other.clone(), later);
    let is_told = Effect::Tell(node(2).address, Notice::Standings(vec![own.clone()]));
    match own.overrules(&other) {
        true => assert_eq!(one.take_effects(), [is_told]),
        false => assert_eq!(leads(&mut one), [(Lead::At(listen(2)), Some(term(1)))]),
    }
    one.on_standing(standing(&name, 2, 3), later);
    assert_eq!(leads(&mut one), [(Lead::At(listen(3)), Some(term(2)))]);
}

#[test]
fn with_leases_nobody_claims_or_leads_without_one() {
    let name = group_of(1);
    let key = GroupKey::of(&name);
    let mut one = one(1, 3, Leases::Needed);
    one.on_wanted(&name, NOW);
    assert_eq!((leads(&mut one), one.wanted(NOW)), (vec![], vec![(key, term(0))]));
    one.on_lease(key, NOW.after(Millis(1000)), NOW);
    assert_eq!(leads(&mut one), [(Lead::Us, None)]);
    one.on_time(NOW.after(Millis(1000)));
    assert_eq!(leads(&mut one), [(Lead::Nobody, Some(term(1)))]);
    let later = NOW.after(Millis(2000));
    one.on_lease(key, later.after(Millis(1000)), later);
    assert_eq!(leads(&mut one), [(Lead::Us, Some(term(1)))], "nobody has led it since");
}

/// A node that leads a group, and has lost the lease of it at that moment.
fn unleased() -> (Leadership, GroupName, Millis) {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::Needed);
    one.on_wanted(&name, NOW);
    let lost = NOW.after(Millis(1000));
    one.on_lease(GroupKey::of(&name), lost, NOW);
    one.on_time(lost);
    (one, name, lost)
}

#[test]
fn a_leader_that_can_get_no_lease_gives_the_group_to_one_that_perhaps_can() {
    let (mut one, name, lost) = unleased();
    let key = GroupKey::of(&name);
    one.on_time(lost.after(Millis(CLAIM_PATIENCE.0 - 1)));
    one.take_effects();
    let later = lost.after(CLAIM_PATIENCE);
    one.on_time(later);
    let is_give = |effect: &Effect| matches!(effect, Effect::Tell(_, Notice::Give(..)));
    assert!(one.take_effects().iter().any(is_give));
    assert_eq!(one.wanted(later), []);
    one.on_members(node(1), BTreeSet::new(), later);
    assert_eq!(one.wanted(later), [(key, term(1))], "nobody is there to take it");
}

#[test]
fn a_lease_that_was_under_way_when_the_group_was_given_away_revives_nothing() {
    let (mut one, name, lost) = unleased();
    let key = GroupKey::of(&name);
    let given = lost.after(CLAIM_PATIENCE);
    one.on_time(given);
    one.on_lease(key, given.after(Millis(3000)), given);
    assert_eq!(one.lead(&name), Lead::Nobody);
}

#[test]
fn a_group_that_was_given_to_one_that_does_not_lead_it_is_taken_back_after_a_while() {
    let (mut one, name, lost) = unleased();
    let key = GroupKey::of(&name);
    one.on_time(lost.after(CLAIM_PATIENCE));
    assert_eq!(one.wanted(lost.after(CLAIM_PATIENCE)), []);
    let mut other = self::one(2, 3, Leases::Needed);
    other.on_given(one.standing(&name).expect("it is known").clone(), lost);
    assert_eq!(other.lead(&name), Lead::Nobody);
    let later = lost.after(CLAIM_PATIENCE.times(3));
    one.on_time(later);
    assert_eq!(one.wanted(later), [(key, term(1))]);
    one.on_lease(key, later.after(Millis(3000)), later);
    assert_eq!(one.lead(&name), Lead::Us);
    // The other one has not been told again, and does not want it any more.
    other.on_time(later);
    assert_eq!(other.lead(&name), Lead::At(listen(1)));
}

#[test]
fn a_lease_is_not_promised_to_one_that_has_missed_a_term() {
    let name = group_of(1);
    let key = GroupKey::of(&name);
    let mut one = one(1, 3, Leases::Needed);
    one.on_standing(standing(&name, 3, 2), NOW);
    assert_eq!(one.objection(key, node(3), term(2)).map(|it| it.term), Some(term(3)));
    assert_eq!(one.objection(key, node(3), term(3)), None);
    assert_eq!(one.objection(key, node(2), term(0)), None, "it leads it");
}

#[test]
fn one_that_goes_gives_its_groups_away_and_asks_until_they_are_taken() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_wanted(&name, NOW);
    one.take_effects();
    one.leave(NOW);
    let effects = one.take_effects();
    let Some(Effect::Tell(to, Notice::Give(_, given))) = effects.last().cloned() else {
        panic!("{effects:?}")
    };
    assert!(matches!(effects[0], Effect::Led(_, Lead::Nobody, _)), "before anybody hears of it");
    assert!(!one.has_left());
    one.on_time(NOW.after(ASK_EVERY));
    assert!(
        matches!(one.take_effects()[..], [Effect::Tell(again, Notice::Give(..))] if again == to)
    );

    let last = if to == node(2).address { 2 } else { 3 };
    let mut next = self::one(last, 3, Leases::None);
    next.on_given(given, NOW);
    assert_eq!(next.lead(&name), Lead::Us, "though the other one lives");
    one.on_standing(next.standing(&name).expect("it leads").clone(), NOW);
    assert_eq!(one.lead(&name), Lead::At(listen(last)));
    assert!(one.has_left());
}

#[test]
fn a_group_that_an_operator_gives_away_is_led_again_if_nobody_takes_it() {
    let name = group_of(1);
    for is_taken in [true, false] {
        let mut one = one(1, 3, Leases::None);
        one.on_wanted(&name, NOW);
        one.take_effects();
        let until = NOW.after(Millis(10_000));
        one.hand_over(&name, until, NOW);
        assert_eq!(one.lead(&name), Lead::Nobody);
        let effects = one.take_effects();
        let Some(Effect::Tell(to, Notice::Give(_, given))) = effects.last().cloned() else {
            panic!("{effects:?}")
        };
        if is_taken {
            let last = if to == node(2).address { 2 } else { 3 };
            let mut next = self::one(last, 3, Leases::None);
            next.on_given(given, NOW);
            assert_eq!(next.lead(&name), Lead::Us);
            one.on_standing(next.standing(&name).expect("it leads").clone(), NOW);
            assert_eq!(one.lead(&name), Lead::At(listen(last)));
            // And back again, though the time is not over.
            next.hand_over(&name, until, NOW);
            one.on_given(next.standing(&name).expect("it led").clone(), NOW);
            assert_eq!(one.lead(&name), Lead::Us);
            continue;
        }
        one.on_time(until.after(Millis(0)));
        assert_eq!(one.lead(&name), Lead::Us, "nobody has taken it");
        one.on_time(until.after(Millis(100)));
        assert!(
            !one.take_effects().iter().any(|it| matches!(it, Effect::Tell(_, Notice::Give(..))))
        );
    }
}

#[test]
fn one_that_goes_and_is_alone_leads_to_its_end() {
    let name = group_of(1);
    let mut one = one(1, 1, Leases::None);
    one.on_wanted(&name, NOW);
    one.leave(NOW);
    assert_eq!((one.lead(&name), one.has_left()), (Lead::Us, true));
}

#[test]
fn a_given_group_that_is_given_late_is_not_taken_from_whoever_leads_it_now() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_standing(standing(&name, 5, 3), NOW);
    one.on_given(standing(&name, 4, 2), NOW);
    assert_eq!(one.lead(&name), Lead::At(listen(3)));
}

#[test]
fn a_node_that_was_taken_for_dead_does_not_go_on_with_what_it_led() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_wanted(&name, NOW);
    one.take_effects();
    let renewed = Node { generation: 2, ..node(1) };
    one.unsettle(NOW);
    one.on_members(renewed, BTreeSet::from([node(2), node(3)]), NOW);
    assert_eq!(leads(&mut one), [(Lead::Nobody, Some(term(1)))]);
    one.on_standing(standing(&name, 2, 3), NOW);
    one.settle(NOW);
    assert_eq!(leads(&mut one), [(Lead::At(listen(3)), Some(term(2)))]);
}

#[test]
fn a_node_that_was_taken_for_dead_leads_on_what_it_has_the_lease_of() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::Needed);
    one.on_wanted(&name, NOW);
    one.on_lease(GroupKey::of(&name), NOW.after(Millis(1000)), NOW);
    one.take_effects();
    let renewed = Node { generation: 2, ..node(1) };
    one.on_members(renewed, BTreeSet::from([node(2), node(3)]), NOW);
    assert_eq!((leads(&mut one), one.lead(&name)), (vec![], Lead::Us));
    let standing = one.standing(&name).expect("it leads");
    assert_eq!((standing.term, standing.leader), (term(1).renewed(), renewed));
}

#[test]
fn a_leader_that_goes_on_cut_off_gives_way_to_the_one_who_took_the_group_meanwhile() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::Needed);
    one.on_wanted(&name, NOW);
    one.on_lease(GroupKey::of(&name), NOW.after(Millis(1000)), NOW);
    let renewed = Node { generation: 2, ..node(1) };
    one.on_members(renewed, BTreeSet::from([node(2), node(3)]), NOW);
    let (later, taken) = (NOW.after(Millis(5000)), standing(&name, 2, 2));
    // Of one and the same term that of the first in the order would count.
    assert!(
        GroupKey::of(&name).score(node(1).address) > GroupKey::of(&name).score(node(2).address)
    );
    one.on_standing(taken, later);
    assert_eq!(one.lead(&name), Lead::At(listen(2)));
}

#[test]
fn what_changes_is_told_soon_and_everything_now_and_then() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_wanted(&name, NOW);
    assert_eq!(one.take_news(NOW), []);
    let sitting = standing(&name, 1, 1).sitting;
    one.on_seat(&name, Epoch(1), sitting.clone(), None);
    assert_eq!(one.take_news(NOW).len(), 1);
    one.on_seat(&name, Epoch(1), sitting, Some(UnixMillis(9)));
    assert_eq!(one.take_news(NOW), []);
    assert_eq!(one.marks().collect::<Vec<_>>(), [(GroupKey::of(&name), UnixMillis(9))]);
    assert_eq!(one.take_news(NOW.after(GOSSIP_WHOLE)).len(), 1);
}

#[test]
fn a_group_to_which_nobody_comes_here_is_known_all_the_same() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_standing(standing(&name, 3, 2), NOW);
    one.on_wanted(&name, NOW);
    one.take_effects();
    one.on_forgotten(&name, NOW);
    one.on_wanted(&name, NOW);
    let again = (Lead::At(listen(2)), Some(term(3)));
    assert_eq!(leads(&mut one), [again], "its new seat is to be told");
    one.on_forgotten(&name, NOW);
    one.on_members(node(1), BTreeSet::from([node(3)]), NOW);
    assert_eq!(leads(&mut one).last(), Some(&(Lead::Us, Some(term(3)))));
}

#[test]
fn a_group_that_this_node_leads_and_nobody_comes_to_is_given_up_after_a_while() {
    let name = group_of(1);
    let mut one = one(1, 3, Leases::None);
    one.on_wanted(&name, NOW);
    one.on_time(NOW.after(STANDING_FORGOTTEN.times(2)));
    assert_eq!(one.lead(&name), Lead::Us);
    one.take_effects();
    let forgotten = NOW.after(STANDING_FORGOTTEN.times(2));
    one.on_forgotten(&name, forgotten);
    one.on_time(forgotten.after(STANDING_FORGOTTEN));
    assert_eq!(one.take_effects(), [Effect::Free(GroupKey::of(&name))]);
    assert_eq!(one.standings(None).count(), 0);
}

#[test]
fn groups_are_bounded_and_forgotten_when_nobody_tells_of_them() {
    let mut one = one(1, 3, Leases::None);
    for number in 0..2 * STANDINGS_MAX {
        one.on_standing(standing(&group(&number.to_string()), 1, 2), NOW);
    }
    assert_eq!(one.standings(None).count(), STANDINGS_MAX);
    one.on_time(NOW.after(STANDING_FORGOTTEN));
    assert_eq!(one.standings(None).count(), 0);
}
