//! Tests of the state that all threads share.

use super::*;
use crate::base::limits::SOURCES_MAX;
use crate::logic::source::Payload;
use crate::logic::view::{Fate, Heard};

const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

fn group(name: &str) -> GroupName {
    GroupName { tenant: Box::default(), group: name.as_bytes().into() }
}

fn named(name: String) -> SourceName {
    SourceName::Named(name.into_bytes().into())
}

#[test]
fn a_group_has_one_seat_and_a_name_one_source() {
    let seats = Seats::new(1, SOURCES_MAX);
    let seat = seats.seat(&group("a")).expect("there is room");
    assert!(Arc::ptr_eq(&seat, &seats.seat(&group("a")).expect("it is there")));
    assert!(!Arc::ptr_eq(&seat, &seats.seat(&group("b")).expect("there is room")));
    let attach = |name: &str| {
        seats.attach(&group("a"), &named(name.into()), Weight(1), AT).expect("there is room").1
    };
    assert_eq!(attach("x").id, attach("x").id);
    assert_ne!(attach("x").id, attach("y").id);
    assert_eq!(seat.sources().all.len(), 2);
}

#[test]
fn groups_and_sources_are_bounded() {
    let seats = Seats::new(1, 3);
    seats.set_bounds(2, 3);
    for number in 0..2 {
        seats.seat(&group(&number.to_string())).expect("there is room");
    }
    assert_eq!(seats.seat(&group("one more")).err(), Some(Full::Groups));
    let of = group("0");
    for number in 0..3 {
        seats.attach(&of, &named(number.to_string()), Weight(0), AT).expect("there is room");
    }
    let more = seats.attach(&of, &named("one more".into()), Weight(0), AT);
    assert_eq!(more.err(), Some(Full::Sources));
}

#[test]
fn a_forgotten_source_makes_room_and_comes_back_as_another() {
    let seats = Seats::new(1, SOURCES_MAX);
    let attach = || seats.attach(&group("a"), &named("x".into()), Weight(0), AT).expect("room");
    let (seat, first) = attach();
    seat.forget(|_| true);
    assert_eq!(seat.sources().all.len(), 1, "a connection speaks for it");
    first.detach();
    seat.forget(|_| true);
    assert_eq!(seat.sources().all.len(), 0);
    assert_ne!(attach().1.id, first.id);
}

#[test]
fn an_empty_seat_is_forgotten_and_one_that_is_taken_is_not() {
    let seats = Seats::new(1, SOURCES_MAX);
    let attach = || seats.attach(&group("a"), &named("x".into()), Weight(0), AT).expect("room");
    let (seat, source) = attach();
    let heard = Event::Heard(source.heard());
    seat.on_event(heard, Millis(0)).expect("the seat was empty");
    source.detach();
    seat.forget(|_| true);
    seats.forget_empty();
    assert!(Arc::ptr_eq(&seat, &attach().0), "somebody sits in it");
    let looked = Event::Looked { at: source.id, patience: Millis(0), heir: None };
    seat.on_event(looked, Millis(0)).expect("it is lost");
    let (_, again) = attach();
    seats.forget_empty();
    assert!(Arc::ptr_eq(&seat, &attach().0), "somebody may take it");
    again.detach();
    again.detach();
    again.detach();
    seat.forget(|_| true);
    seats.forget_empty();
    assert_eq!(seats.all().len(), 0);
    assert!(!Arc::ptr_eq(&seat, &attach().0));
}

/// Once the seat of a leader was forgotten, and the lead with it, if the look for empty ones came before the
/// first request that another node relayed to it.
#[test]
fn a_seat_that_is_new_is_not_forgotten_before_anybody_could_come_to_it() {
    let seats = Seats::new(1, SOURCES_MAX);
    let seat = seats.seat(&group("a")).expect("there is room");
    seats.forget_empty();
    assert!(Arc::ptr_eq(&seat, &seats.seat(&group("a")).expect("there is room")));
    seats.forget_empty();
    assert_eq!(seats.all().len(), 0, "nobody has come");
}

#[test]
fn seats_that_are_forgotten_and_found_by_many_threads_are_never_two_for_one_group() {
    let seats = Seats::new(1, SOURCES_MAX);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let seats = &seats;
            scope.spawn(move || {
                for _ in 0..2000 {
                    let name = named(format!("{thread}"));
                    let (seat, source) =
                        seats.attach(&group("a"), &name, Weight(0), AT).expect("room");
                    let now = seats.seat(&group("a")).expect("room");
                    assert!(Arc::ptr_eq(&seat, &now), "it was attached to a forgotten seat");
                    source.detach();
                    seat.forget(|other| other.id == source.id);
                    seats.forget_empty();
                }
            });
        }
    });
}

#[test]
fn of_many_threads_that_take_an_empty_seat_one_wins_and_each_change_is_told_once() {
    let seats = Seats::new(4, SOURCES_MAX);
    let seat = seats.seat(&group("a")).expect("there is room");
    let changes: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|number| {
                let seat = &seat;
                let event = Event::Heard(Heard {
                    source: SourceId(number),
                    weight: Weight(7),
                    address: AT,
                    payload: Payload::Other,
                });
                scope.spawn(move || seat.on_event(event, Millis(0)).iter().count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(changes, 1);
    assert_eq!(seat.view().epoch.0, 1);
    let winner = seat.view().promoted.expect("somebody won").source;
    assert_eq!(seat.view().judge(winner, Weight(7), Payload::Other), Fate::Forward);
}
