//! The seats: one per group, read without a lock by every request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

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
    /// Whether it was there at an earlier look for what can be forgotten.
    was_there: AtomicBool,
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
            was_there: AtomicBool::new(false),
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

    /// Closes the seat if nobody sits in it and nobody could, but not one that is new. A seat that is closed
    /// stays so; whoever looks for it again gets another.
    fn close(&self) -> bool {
        // Of a group that this node begins to lead, the first request may be on its way from another node.
        // Relaxed: one thread asks.
        if !self.was_there.swap(true, Ordering::Relaxed) {
            return false;
        }
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
#[path = "state_tests.rs"]
mod tests;
