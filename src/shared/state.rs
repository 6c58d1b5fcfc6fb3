//! The seats: one per group, read without a lock by every request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use crossbeam::utils::CachePadded;

use crate::base::limits::GROUPS_MAX;
use crate::base::time::{Millis, UnixMillis};
use crate::logic::election::{Change, Wish};
use crate::logic::source::{GroupName, SourceId, SourceName, Weight};
use crate::logic::view::{Event, Lead, Stage, View};
use crate::shared::marks::Marks;
use crate::shared::presence::Source;

/// The seat of one group: who is promoted, and who could be.
#[derive(Debug)]
pub struct Seat {
    /// Its number; never used twice in one process.
    pub id: SeatId,
    /// Whose seat.
    pub group: GroupName,
    /// Up to where its data is known to be delivered.
    pub marks: Marks,
    view: ArcSwap<View>,
    sources: ArcSwap<Sources>,
    /// Until when this node may act as the leader that its view says it is; `u64::MAX` for ever.
    leads_until: CachePadded<AtomicU64>,
    /// Until when what this node does not hear says something; `u64::MAX` for ever.
    sure_until: AtomicU64,
    /// Until when it says nothing of a source that none of its connections is left.
    reconnects_until: AtomicU64,
    order: ArcSwapOption<Order>,
}

/// What an operator wants of a seat: done as soon as it costs no sample, given up when that takes too
/// long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub wish: Wish,
    /// Since when.
    pub since: UnixMillis,
    /// Until when.
    pub until: Millis,
}

/// The number under which this process knows a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(pub u64);

/// The sources that a seat remembers.
#[derive(Debug, Default)]
pub struct Sources {
    /// In no order.
    pub all: Vec<Arc<Source>>,
    /// The seat itself has been forgotten: nobody may be taken on any more.
    is_closed: bool,
}

impl Seat {
    fn new(id: SeatId, group: GroupName, cores: usize, view: View) -> Seat {
        let until = match view.lead {
            Lead::Us => u64::MAX,
            Lead::Relay(_) | Lead::Mirror | Lead::Orphan | Lead::Nobody => 0,
        };
        Seat {
            id,
            group,
            marks: Marks::new(cores),
            view: ArcSwap::from_pointee(view),
            sources: ArcSwap::default(),
            leads_until: CachePadded::new(AtomicU64::new(until)),
            sure_until: AtomicU64::new(u64::MAX),
            reconnects_until: AtomicU64::new(0),
            order: ArcSwapOption::empty(),
        }
    }

    /// What an operator wants of it.
    pub fn order(&self) -> Option<Arc<Order>> {
        self.order.load_full()
    }

    /// From now on this is wanted, and nothing that was wanted before.
    pub fn set_order(&self, order: Order) {
        self.order.store(Some(Arc::new(order)));
    }

    /// It has come about, or is given up.
    pub fn end_order(&self, order: &Arc<Order>) {
        // Another may have come meanwhile, and stays.
        self.order.compare_and_swap(order, None);
    }

    /// Whether this node, if the view says that it leads, may still do so: it has perhaps not run for a
    /// while, or has lost its lease, and nothing has said so yet. The clock is not asked where there are
    /// no other nodes.
    pub fn leads(&self, now: impl FnOnce() -> Millis) -> bool {
        // Relaxed: a lone number; what it guards is judged by the time, not by other data.
        let until = self.leads_until.load(Ordering::Relaxed);
        until == u64::MAX || now().0 < until
    }

    /// Whether the view says that this node leads, and it still may.
    pub fn may_send(&self, now: impl FnOnce() -> Millis) -> bool {
        self.view().lead == Lead::Us && self.leads(now)
    }

    /// Whether what this node does not hear is to be relied on: it has no lease, or could renew it lately.
    pub fn is_sure(&self, now: Millis) -> bool {
        // Relaxed: see `leads`.
        now.0 < self.sure_until.load(Ordering::Relaxed)
    }

    /// Says until when it is.
    pub fn set_sure_until(&self, until: Millis) {
        // Relaxed: see `leads`.
        self.sure_until.store(until.0, Ordering::Relaxed);
    }

    /// Until when it may, if not for ever. It is over if it never might.
    pub fn lease_ends(&self) -> Option<Millis> {
        // Relaxed: see `leads`.
        let until = self.leads_until.load(Ordering::Relaxed);
        (until != u64::MAX).then_some(Millis(until))
    }

    /// Says until when it may.
    pub fn set_leads_until(&self, until: Millis) {
        // Relaxed: see `leads`.
        self.leads_until.store(until.0, Ordering::Relaxed);
    }

    /// Whether sources may be without a connection because the nodes that relayed them have gone, or
    /// relay elsewhere for a moment.
    pub fn reconnects(&self, now: Millis) -> bool {
        // Relaxed: see `leads`.
        now.0 < self.reconnects_until.load(Ordering::Relaxed)
    }

    /// Says until when they may.
    pub fn set_reconnects_until(&self, until: Millis) {
        // Relaxed: see `leads`.
        self.reconnects_until.store(until.0, Ordering::Relaxed);
    }

    /// The name of a source that is remembered.
    pub fn name(&self, source: SourceId) -> Option<SourceName> {
        let sources = self.sources.load();
        let source = sources.all.iter().find(|other| other.id == source)?;
        Some(source.name.clone())
    }

    /// The view as it is now. The guard is to be dropped before anything is awaited.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// The sources that are remembered.
    pub fn sources(&self) -> Guard<Arc<Sources>> {
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
        if !sources.all.iter().any(|source| is_gone(source)) {
            return;
        }
        let gone: Vec<SourceId> = sources
            .all
            .iter()
            .filter(|source| is_gone(source) && source.forget())
            .map(|source| source.id)
            .collect();
        self.sources.rcu(|sources| {
            let kept = sources.all.iter().filter(|source| !gone.contains(&source.id));
            Sources { all: kept.cloned().collect(), is_closed: sources.is_closed }
        });
    }

    /// Whether the seat has been forgotten: whoever looks for it again gets another.
    pub fn is_forgotten(&self) -> bool {
        self.sources.load().is_closed
    }

    /// Closes the seat if nobody sits in it and nobody could. A seat that is closed stays so; whoever
    /// looks for it again gets another.
    fn close(&self) -> bool {
        let sources = self.sources.load();
        let view = **self.view.load();
        if !sources.all.is_empty() || view.promoted.is_some() || view.stage != Stage::Steady {
            return false;
        }
        let closed = Arc::new(Sources { all: Vec::new(), is_closed: true });
        // Whoever was taken on meanwhile has changed the sources: then it stays open.
        Arc::ptr_eq(&self.sources.compare_and_swap(&*sources, closed), &sources)
    }
}

/// Why a source can't be taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// So many seats are kept as may be.
    Groups,
    /// So many sources of this group are remembered as may be.
    Sources,
}

/// All seats of the process.
#[derive(Debug)]
pub struct Seats {
    seats: ArcSwap<HashMap<GroupName, Arc<Seat>>>,
    next_source: AtomicU64,
    next_seat: AtomicU64,
    cores: usize,
    groups_max: AtomicUsize,
    sources_max: AtomicUsize,
    reserved: Reserved,
    /// How each begins.
    view: View,
}

/// Who sat in which seat before a restart, and until when the seats are kept for them.
#[derive(Debug, Default)]
pub struct Reserved {
    /// By group.
    pub seats: HashMap<GroupName, SourceName>,
    /// When nobody waits for them any more.
    pub until: Millis,
}

impl Seats {
    /// No seats yet; `cores` is how many cores will speak of their sources, of which each group
    /// may have `sources_max`.
    pub fn new(cores: usize, sources_max: usize) -> Seats {
        let seats = ArcSwap::from_pointee(HashMap::new());
        let (next_source, next_seat) = (AtomicU64::new(1), AtomicU64::new(1));
        let reserved = Reserved::default();
        let (view, groups_max) = (View::EMPTY, AtomicUsize::new(GROUPS_MAX));
        let sources_max = AtomicUsize::new(sources_max);
        Seats { seats, next_source, next_seat, cores, groups_max, sources_max, reserved, view }
    }

    /// From now on there may be so many groups, with so many sources each. Those that there are stay.
    pub fn set_bounds(&self, groups_max: usize, sources_max: usize) {
        // Relaxed: lone numbers.
        self.groups_max.store(groups_max, Ordering::Relaxed);
        self.sources_max.store(sources_max, Ordering::Relaxed);
    }

    /// The same in a cluster, where it must be learned first who leads a group.
    pub fn unled(self) -> Seats {
        Seats { view: View::UNLED, ..self }
    }

    /// The same, with seats that are kept for those who sat in them before.
    pub fn with_reserved(self, reserved: Reserved) -> Seats {
        Seats { reserved, ..self }
    }

    /// Whether a seat is kept for another than `name`: nobody has taken it yet.
    pub fn is_reserved(&self, seat: &Seat, name: &SourceName, now: Millis) -> bool {
        now < self.reserved.until
            && seat.view().epoch == View::EMPTY.epoch
            && self.reserved.seats.get(&seat.group).is_some_and(|before| before != name)
    }

    /// All seats as they are now.
    pub fn all(&self) -> Guard<Arc<HashMap<GroupName, Arc<Seat>>>> {
        self.seats.load()
    }

    /// Forgets the seats in which nobody sits and nobody could.
    pub fn forget_empty(&self) {
        let closed: Vec<Arc<Seat>> =
            self.seats.load().values().filter(|seat| seat.close()).cloned().collect();
        if closed.is_empty() {
            return;
        }
        self.seats.rcu(|seats| {
            let mut kept = HashMap::clone(seats);
            kept.retain(|_, seat| !closed.iter().any(|closed| Arc::ptr_eq(closed, seat)));
            kept
        });
    }

    /// The seat of `group`, made if it is new.
    pub fn seat(&self, group: &GroupName) -> Result<Arc<Seat>, Full> {
        loop {
            let seats = self.seats.load();
            if let Some(seat) = seats.get(group) {
                return Ok(seat.clone());
            }
            if seats.len() >= self.groups_max.load(Ordering::Relaxed) {
                return Err(Full::Groups);
            }
            let mut more = HashMap::clone(&seats);
            // Relaxed: only that no number is given twice matters.
            let id = SeatId(self.next_seat.fetch_add(1, Ordering::Relaxed));
            more.insert(
                group.clone(),
                Arc::new(Seat::new(id, group.clone(), self.cores, self.view)),
            );
            self.seats.compare_and_swap(&*seats, Arc::new(more));
        }
    }

    /// The source `name` of `group`, taken on if it is new, with one more connection attached to
    /// it: the caller owes it a [`Source::detach`].
    pub fn attach(
        &self,
        group: &GroupName,
        name: &SourceName,
        weight: Weight,
        address: SocketAddr,
    ) -> Result<(Arc<Seat>, Arc<Source>), Full> {
        loop {
            let seat = self.seat(group)?;
            let sources = seat.sources.load();
            if sources.is_closed {
                // It is being taken out of the map by another thread, which is quick.
                std::hint::spin_loop();
                continue;
            }
            let known = sources.all.iter().find(|source| source.name == *name);
            if let Some(source) = known
                && source.attach(weight, address)
            {
                let source = source.clone();
                drop(sources);
                return Ok((seat, source));
            }
            // A source that was forgotten a moment ago is replaced by a new one of its name.
            let others = sources.all.iter().filter(|source| source.name != *name);
            let mut more: Vec<Arc<Source>> = others.cloned().collect();
            if more.len() >= self.sources_max.load(Ordering::Relaxed) {
                return Err(Full::Sources);
            }
            // Relaxed: only that no number is given twice matters.
            let id = SourceId(self.next_source.fetch_add(1, Ordering::Relaxed));
            let source = Source::new(id, name.clone(), (weight, address), self.cores);
            more.push(Arc::new(source));
            let more = Sources { all: more, is_closed: false };
            seat.sources.compare_and_swap(&*sources, Arc::new(more));
        }
    }
}

#[cfg(test)]
mod tests {
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
}
