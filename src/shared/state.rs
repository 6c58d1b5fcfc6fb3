//! The seats: one per group, read without a lock by every request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::base::limits::{GROUPS_MAX, SOURCES_MAX};
use crate::base::time::Millis;
use crate::logic::election::Change;
use crate::logic::source::{GroupName, SourceId, SourceName, Weight};
use crate::logic::view::{Event, View};
use crate::shared::presence::Source;

/// The seat of one group: who is promoted, and who could be.
#[derive(Debug)]
pub struct Seat {
    /// Whose seat.
    pub group: GroupName,
    view: ArcSwap<View>,
    sources: ArcSwap<Vec<Arc<Source>>>,
}

impl Seat {
    fn new(group: GroupName) -> Seat {
        Seat {
            group,
            view: ArcSwap::from_pointee(View::EMPTY),
            sources: ArcSwap::from_pointee(Vec::new()),
        }
    }

    /// The view as it is now. The guard is to be dropped before anything is awaited.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// The sources that are remembered.
    pub fn sources(&self) -> Guard<Arc<Vec<Arc<Source>>>> {
        self.sources.load()
    }

    /// Publishes what `event` makes of the view. `None`: it changes nothing. The only place that
    /// writes it.
    pub fn on_event(&self, event: Event, silence: Millis) -> Option<Change> {
        loop {
            let current = self.view.load();
            let next = current.step(event, silence)?;
            let seen = self.view.compare_and_swap(&*current, Arc::new(next));
            if Arc::ptr_eq(&seen, &current) {
                return Some(Change::new(**current, next, event));
            }
        }
    }

    /// Forgets the sources that `is_gone` and that no connection speaks for.
    pub fn forget(&self, is_gone: impl Fn(&Source) -> bool) {
        let sources = self.sources.load();
        if !sources.iter().any(|source| is_gone(source)) {
            return;
        }
        let gone: Vec<SourceId> = sources
            .iter()
            .filter(|source| is_gone(source) && source.forget())
            .map(|source| source.id)
            .collect();
        self.sources.rcu(|sources| {
            let kept = sources.iter().filter(|source| !gone.contains(&source.id));
            kept.cloned().collect::<Vec<_>>()
        });
    }
}

/// Why a source can't be taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`GROUPS_MAX`] seats are kept.
    Groups,
    /// [`SOURCES_MAX`] sources of this group are remembered.
    Sources,
}

/// All seats of the process. A seat, once made, stays.
#[derive(Debug)]
pub struct Seats {
    seats: ArcSwap<HashMap<GroupName, Arc<Seat>>>,
    next_source: AtomicU64,
    cores: usize,
}

impl Seats {
    /// No seats yet; `cores` is how many cores will speak of their sources.
    pub fn new(cores: usize) -> Seats {
        let seats = ArcSwap::from_pointee(HashMap::new());
        Seats { seats, next_source: AtomicU64::new(1), cores }
    }

    /// All seats as they are now.
    pub fn all(&self) -> Guard<Arc<HashMap<GroupName, Arc<Seat>>>> {
        self.seats.load()
    }

    /// The seat of `group`, made if it is new.
    pub fn seat(&self, group: &GroupName) -> Result<Arc<Seat>, Full> {
        loop {
            let seats = self.seats.load();
            if let Some(seat) = seats.get(group) {
                return Ok(seat.clone());
            }
            if seats.len() >= GROUPS_MAX {
                return Err(Full::Groups);
            }
            let mut more = HashMap::clone(&seats);
            more.insert(group.clone(), Arc::new(Seat::new(group.clone())));
            self.seats.compare_and_swap(&*seats, Arc::new(more));
        }
    }

    /// The source `name` of `seat`, taken on if it is new, with one more connection attached to
    /// it: the caller owes it a [`Source::detach`].
    pub fn attach(
        &self,
        seat: &Seat,
        name: &SourceName,
        weight: Weight,
        address: SocketAddr,
    ) -> Result<Arc<Source>, Full> {
        loop {
            let sources = seat.sources.load();
            let known = sources.iter().find(|source| source.name == *name);
            if let Some(source) = known
                && source.attach(weight, address)
            {
                return Ok(source.clone());
            }
            // A source that was forgotten a moment ago is replaced by a new one of its name.
            let others = sources.iter().filter(|source| source.name != *name);
            let mut more: Vec<Arc<Source>> = others.cloned().collect();
            if more.len() >= SOURCES_MAX {
                return Err(Full::Sources);
            }
            // Relaxed: only that no number is given twice matters.
            let id = SourceId(self.next_source.fetch_add(1, Ordering::Relaxed));
            let source = Source::new(id, name.clone(), (weight, address), self.cores);
            more.push(Arc::new(source));
            seat.sources.compare_and_swap(&*sources, Arc::new(more));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let seats = Seats::new(1);
        let seat = seats.seat(&group("a")).expect("there is room");
        assert!(Arc::ptr_eq(&seat, &seats.seat(&group("a")).expect("it is there")));
        assert!(!Arc::ptr_eq(&seat, &seats.seat(&group("b")).expect("there is room")));
        let attach = |name: &str| {
            seats.attach(&seat, &named(name.into()), Weight(1), AT).expect("there is room")
        };
        assert_eq!(attach("x").id, attach("x").id);
        assert_ne!(attach("x").id, attach("y").id);
        assert_eq!(seat.sources().len(), 2);
    }

    #[test]
    fn groups_and_sources_are_bounded() {
        let seats = Seats::new(1);
        for number in 0..GROUPS_MAX {
            seats.seat(&group(&number.to_string())).expect("there is room");
        }
        assert_eq!(seats.seat(&group("one more")).err(), Some(Full::Groups));
        let seat = seats.seat(&group("0")).expect("it is there");
        for number in 0..SOURCES_MAX {
            seats.attach(&seat, &named(number.to_string()), Weight(0), AT).expect("there is room");
        }
        let more = seats.attach(&seat, &named("one more".into()), Weight(0), AT);
        assert_eq!(more.err(), Some(Full::Sources));
    }

    #[test]
    fn a_forgotten_source_makes_room_and_comes_back_as_another() {
        let seats = Seats::new(1);
        let seat = seats.seat(&group("a")).expect("there is room");
        let attach = || seats.attach(&seat, &named("x".into()), Weight(0), AT).expect("room");
        let first = attach();
        seat.forget(|_| true);
        assert_eq!(seat.sources().len(), 1, "a connection speaks for it");
        first.detach();
        seat.forget(|_| true);
        assert_eq!(seat.sources().len(), 0);
        assert_ne!(attach().id, first.id);
    }

    #[test]
    fn of_many_threads_that_take_an_empty_seat_one_wins_and_each_change_is_told_once() {
        let seats = Seats::new(4);
        let seat = seats.seat(&group("a")).expect("there is room");
        let changes: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4)
                .map(|number| {
                    let seat = &seat;
                    let event = Event::Heard(Heard {
                        source: SourceId(number),
                        weight: Weight(7),
                        address: AT,
                    });
                    scope.spawn(move || seat.on_event(event, Millis(0)).iter().count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(changes, 1);
        assert_eq!(seat.view().epoch.0, 1);
        let winner = seat.view().promoted.expect("somebody won").source;
        assert_eq!(seat.view().judge(winner, Weight(7)), Fate::Forward);
    }
}
