//! Up to where a group's data is known to be delivered, and what may be let go of for it.
//!
//! Each core writes its own low mark on a line of its own; the control puts them together once a
//! beat and says what follows. All are wall-clock milliseconds, and lone numbers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::base::limits::{LOW_MARK_SPAN_MAX, LOW_MARK_SPAN_MIN};
use crate::base::time::{Millis, Nanos, UnixMillis};
use crate::logic::desk::Covered;

/// The marks of one group.
#[derive(Debug)]
pub struct Marks {
    /// As each core sees it.
    cores: Box<[CachePadded<OfCore>]>,
    /// How far the cores look back for it.
    span: AtomicU64,
    /// The low mark of the promoted source, `i64::MIN` if it is not known.
    low: AtomicI64,
    /// What arrived before this is covered and its window is over.
    release: AtomicI64,
    /// What is older than this has been delivered, and may have been let go of.
    floor: AtomicI64,
    /// Of what was held: what is older than this has been delivered by another node.
    held: AtomicI64,
    /// When the last of the delivered requests had been delivered that were let go of without being
    /// covered.
    reach: AtomicI64,
    /// The same, by the order of arrival.
    dropped: AtomicU64,
}

/// What one core sees of a group.
#[derive(Debug)]
struct OfCore {
    /// The low mark, `i64::MAX` if it sees none.
    low: AtomicI64,
    /// Of what is held, and of what was delivered.
    kept: [OfKind; 2],
}

/// Requests of one kind that a core keeps.
#[derive(Debug)]
struct OfKind {
    bytes: AtomicU64,
    /// When the oldest came, `u64::MAX` if there is none.
    since: AtomicU64,
}

/// How much is kept of a group, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// What it takes, as allocated.
    pub bytes: usize,
    /// When the oldest came.
    pub since: Option<Nanos>,
}

/// What is kept for a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What standbys have sent.
    Held,
    /// What the promoted source has sent.
    Delivered,
}

// Relaxed everywhere: each is a lone number, a core that sees it a beat late keeps more for a beat.
impl Marks {
    /// Nothing is known, on so many cores.
    pub fn new(cores: usize) -> Marks {
        let nothing = || OfKind { bytes: AtomicU64::new(0), since: AtomicU64::new(u64::MAX) };
        let low = || AtomicI64::new(i64::MAX);
        let none = || CachePadded::new(OfCore { low: low(), kept: [nothing(), nothing()] });
        Marks {
            cores: (0..cores).map(|_| none()).collect(),
            span: AtomicU64::new(LOW_MARK_SPAN_MIN.0),
            low: AtomicI64::new(i64::MIN),
            release: AtomicI64::new(i64::MIN),
            floor: AtomicI64::new(i64::MIN),
            held: AtomicI64::new(i64::MIN),
            reach: AtomicI64::new(i64::MIN),
            dropped: AtomicU64::new(0),
        }
    }

    /// What `core` sees of the low mark.
    pub fn set_core(&self, core: usize, low: Option<UnixMillis>) {
        self.cores[core].low.store(low.map_or(i64::MAX, |low| low.0), Ordering::Relaxed);
    }

    /// What all cores together see of it.
    pub fn of_cores(&self) -> Option<UnixMillis> {
        let lows = self.cores.iter().map(|core| core.low.load(Ordering::Relaxed));
        lows.min().filter(|low| *low != i64::MAX).map(UnixMillis)
    }

    /// What `core` keeps, to be told at every beat.
    pub fn set_kept(&self, core: usize, kind: Kind, extent: Extent) {
        let OfKind { bytes, since } = &self.cores[core].kept[kind as usize];
        bytes.store(extent.bytes as u64, Ordering::Relaxed);
        since.store(extent.since.map_or(u64::MAX, |since| since.0), Ordering::Relaxed);
    }

    /// What all cores together keep.
    pub fn kept(&self, kind: Kind) -> Extent {
        let all = || self.cores.iter().map(|core| &core.kept[kind as usize]);
        let bytes: u64 = all().map(|it| it.bytes.load(Ordering::Relaxed)).sum();
        let since = all().map(|it| it.since.load(Ordering::Relaxed)).min();
        let since = since.filter(|since| *since != u64::MAX).map(Nanos);
        Extent { bytes: bytes as usize, since }
    }

    /// How far the cores look back.
    pub fn span(&self) -> Millis {
        Millis(self.span.load(Ordering::Relaxed))
    }

    /// Says how far the cores look back.
    pub fn set_span(&self, span: Millis) {
        self.span.store(span.0, Ordering::Relaxed);
    }

    /// The low mark of the promoted source, as the control last knew it.
    pub fn low(&self) -> Option<UnixMillis> {
        let low = self.low.load(Ordering::Relaxed);
        (low != i64::MIN).then_some(UnixMillis(low))
    }

    /// Says what the low mark is.
    pub fn set_low(&self, low: Option<UnixMillis>) {
        self.low.store(low.map_or(i64::MIN, |low| low.0), Ordering::Relaxed);
    }

    /// What arrived before this may go.
    pub fn release(&self) -> UnixMillis {
        UnixMillis(self.release.load(Ordering::Relaxed))
    }

    /// Says what may go. It never takes anything back.
    pub fn raise_release(&self, mark: UnixMillis) {
        self.release.fetch_max(mark.0, Ordering::Relaxed);
        self.floor.fetch_max(mark.0, Ordering::Relaxed);
    }

    /// The same of what is held for another node that leads, where there is no room: of what is live it
    /// says nothing.
    pub fn raise_release_held(&self, mark: UnixMillis) {
        self.release.fetch_max(mark.0, Ordering::Relaxed);
    }

    /// Of what was held, what is older has been delivered by another node. It never takes anything back.
    pub fn raise_held(&self, mark: UnixMillis) {
        self.held.fetch_max(mark.0, Ordering::Relaxed);
    }

    /// What is covered by what has been delivered.
    pub fn covered(&self) -> Covered {
        let of = |mark: &AtomicI64| UnixMillis(mark.load(Ordering::Relaxed));
        let dropped = Nanos(self.dropped.load(Ordering::Relaxed));
        Covered { floor: of(&self.floor), held: of(&self.held), reach: of(&self.reach), dropped }
    }

    /// Requests were let go of that had been delivered before `dropped`, which was `reach` by the wall
    /// clock: only what is newer can be told from them.
    pub fn on_dropped(&self, dropped: Nanos, reach: UnixMillis) {
        self.reach.fetch_max(reach.0, Ordering::Relaxed);
        self.dropped.fetch_max(dropped.0, Ordering::Relaxed);
    }

    /// Whether what a standby has pushed can be told from what has been delivered. After a while it
    /// is: the low mark of a source whose bodies can't be read will never come.
    pub fn reaches_back(&self, now: UnixMillis) -> bool {
        let reach = UnixMillis(self.reach.load(Ordering::Relaxed));
        reach == UnixMillis::MIN
            || self.low.load(Ordering::Relaxed) >= reach.0
            || now >= reach.after(LOW_MARK_SPAN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_mark_is_that_of_the_core_that_is_furthest_behind() {
        let marks = Marks::new(3);
        assert_eq!(marks.of_cores(), None);
        marks.set_core(1, Some(UnixMillis(70)));
        marks.set_core(2, Some(UnixMillis(50)));
        assert_eq!(marks.of_cores(), Some(UnixMillis(50)));
        marks.set_core(2, None);
        assert_eq!(marks.of_cores(), Some(UnixMillis(70)));
    }

    #[test]
    fn what_the_cores_keep_is_added_up_and_as_old_as_the_oldest_of_it() {
        let marks = Marks::new(2);
        assert_eq!(marks.kept(Kind::Held), Extent::default());
        let extent = |bytes, since| Extent { bytes, since: Some(Nanos(since)) };
        marks.set_kept(0, Kind::Held, extent(5, 70));
        marks.set_kept(1, Kind::Held, extent(7, 50));
        assert_eq!(marks.kept(Kind::Held), extent(12, 50));
        assert_eq!(marks.kept(Kind::Delivered), Extent::default());
        marks.set_kept(1, Kind::Held, Extent::default());
        assert_eq!(marks.kept(Kind::Held), extent(5, 70));
    }

    const NOW: UnixMillis = UnixMillis(1000);

    #[test]
    fn after_something_was_dropped_nothing_can_be_told_apart_until_the_low_mark_is_there() {
        let marks = Marks::new(1);
        assert!(marks.reaches_back(NOW));
        marks.on_dropped(Nanos(1), UnixMillis(100));
        assert!(!marks.reaches_back(NOW));
        marks.set_low(Some(UnixMillis(99)));
        assert!(!marks.reaches_back(NOW));
        marks.set_low(Some(UnixMillis(100)));
        assert!(marks.reaches_back(NOW));
        assert_eq!(marks.covered().reach, UnixMillis(100));
        marks.set_low(None);
        assert!(marks.reaches_back(NOW.after(LOW_MARK_SPAN_MAX)));
        marks.raise_release(UnixMillis(150));
        marks.raise_release(UnixMillis(120));
        assert_eq!((marks.covered().floor, marks.release()), (UnixMillis(150), UnixMillis(150)));
    }
}
