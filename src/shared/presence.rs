//! What is known of a living source, written by the cores it speaks to, read by the tick.
//!
//! Every core has a cache line of its own per source and is its only writer, so that 50 shards on
//! all cores cost each request plain stores and no core waits for another's line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam::utils::CachePadded;

use crate::base::limits::{LOW_MARK_SPAN_MIN, RESERVED};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::expiry::Presence;
use crate::logic::source::{Payload, SourceId, SourceName, Weight};
use crate::logic::view::Heard;

/// Stands in `attached` for a source that has been forgotten: nobody may attach to it any more.
const FORGOTTEN: u32 = u32::MAX;

/// Stands in `lost_after` for a source that can't be lost now.
const NEVER: u64 = u64::MAX;

/// One source of a group, for as long as it is remembered.
#[derive(Debug)]
pub struct Source {
    /// Its number.
    pub id: SourceId,
    /// What tells it from the others of its group.
    pub name: SourceName,
    /// The connections that speak for it, over all cores; or [`FORGOTTEN`].
    attached: AtomicU32,
    /// Whether somebody between passes on what it sends, and what others do, on the same connections.
    passed_on: AtomicBool,
    weight: AtomicU64,
    /// Whether it has ever sent remote write.
    writes: AtomicBool,
    /// How long a step of its samples may be without there being a hole.
    jump_max: AtomicU64,
    /// How old the first sample of a request may be.
    behind_max: AtomicU64,
    /// How long it may be silent, should another node take the lead.
    own_patience: AtomicU64,
    /// How long it may be silent here; or [`NEVER`].
    lost_after: AtomicU64,
    address: ArcSwap<SocketAddr>,
    /// When it was heard elsewhere last, and how long it may be silent from then on.
    expected: AtomicU64,
    patience: AtomicU64,
    cores: Box<[CachePadded<Traces>]>,
}

/// What one core knows of one source. Written by that core alone, [`Source::forget_seen`] aside.
#[derive(Debug, Default)]
struct Traces {
    last_heard: AtomicU64,
    /// The whole requests so far.
    requests: AtomicU64,
    in_flight: AtomicU32,
    /// When the last answer was given, times two, plus one if it was a 5xx of our own.
    last_answer: AtomicU64,
    /// The newest first sample that was looked at; 0 if none was.
    newest: AtomicI64,
    /// The longest step from one first sample to the next since the control last asked.
    step: AtomicU64,
    /// The first sample after the last of those steps.
    step_to: AtomicI64,
    /// Requests that the endpoint may have stored without saying so, and that must be tried again.
    doubts: AtomicU32,
}

/// Whose fault an answer tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The endpoint's answer, or the one a standby gets.
    Settled,
    /// A 5xx, of our own or of the endpoint: the source will try again.
    Refused,
}

impl Answered {
    /// What an answer with this status tells: a 5xx makes the source wait and try again, whoever gave it.
    pub fn with(status: u16) -> Answered {
        match status {
            429 | 500.. => Answered::Refused,
            _ => Answered::Settled,
        }
    }
}

impl Source {
    /// A source that nobody is attached to yet.
    pub fn new(
        id: SourceId,
        name: SourceName,
        heard: (Weight, SocketAddr),
        cores: usize,
    ) -> Source {
        Source {
            id,
            name,
            attached: AtomicU32::new(0),
            passed_on: AtomicBool::new(false),
            weight: AtomicU64::new(heard.0.0),
            writes: AtomicBool::new(false),
            jump_max: AtomicU64::new(u64::MAX),
            behind_max: AtomicU64::new(LOW_MARK_SPAN_MIN.0),
            own_patience: AtomicU64::new(RESERVED.0),
            lost_after: AtomicU64::new(NEVER),
            address: ArcSwap::from_pointee(heard.1),
            expected: AtomicU64::new(0),
            patience: AtomicU64::new(0),
            cores: (0..cores).map(|_| CachePadded::default()).collect(),
        }
    }

    /// A connection begins to speak for this source. `false`: the source has been forgotten, look
    /// for it again.
    pub fn attach(&self, weight: Weight, address: SocketAddr) -> bool {
        // AcqRel: whoever forgets a source must see who attached before, and the other way round.
        let attached = self.attached.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count != FORGOTTEN).then(|| count + 1)
        });
        if attached.is_err() {
            return false;
        }
        // Relaxed: the weight guards no other data; the next tick reads it.
        self.weight.store(weight.0, Ordering::Relaxed);
        self.address.store(Arc::new(address));
        true
    }

    /// The connection that attached has ended, or speaks for another source now.
    pub fn detach(&self) {
        // AcqRel: see `attach`.
        let before = self.attached.fetch_sub(1, Ordering::AcqRel);
        assert!(before != 0 && before != FORGOTTEN, "detached more often than attached");
    }

    /// A balancer passes on what it sends over connections that are not the source's own: they speak
    /// for others too. Whether it still holds one is not seen here.
    pub fn on_passed_on(&self) {
        // Relaxed: it guards no other data. Read first: the line is shared by all cores.
        if !self.passed_on.load(Ordering::Relaxed) {
            self.passed_on.store(true, Ordering::Relaxed);
        }
    }

    /// Marks the source as forgotten if no connection speaks for it.
    pub fn forget(&self) -> bool {
        // AcqRel: see `attach`.
        self.attached.compare_exchange(0, FORGOTTEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A whole request was heard on `core`.
    pub fn on_heard(&self, core: usize, now: Millis) {
        let traces = &self.cores[core];
        // Relaxed: lone numbers that guard no other data, with one writer.
        traces.last_heard.store(now.0, Ordering::Relaxed);
        traces.requests.store(traces.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A request goes from `core` to the endpoint.
    pub fn on_sent(&self, core: usize) {
        let in_flight = &self.cores[core].in_flight;
        // Relaxed: a lone count with one writer.
        in_flight.store(in_flight.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The request that went from `core` to the endpoint has come back, or never will.
    pub fn on_returned(&self, core: usize) {
        let in_flight = &self.cores[core].in_flight;
        // Relaxed: a lone count with one writer.
        in_flight.store(in_flight.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    /// A request was answered on `core`.
    pub fn on_answered(&self, core: usize, now: Millis, answered: Answered) {
        let stamp = now.0 * 2 + u64::from(answered == Answered::Refused);
        // Relaxed: time and kind are one number, so they can't be seen apart.
        self.cores[core].last_answer.store(stamp, Ordering::Relaxed);
    }

    /// The whole requests so far, over all cores.
    pub fn requests(&self) -> u64 {
        // Relaxed: lone numbers.
        self.cores.iter().map(|core| core.requests.load(Ordering::Relaxed)).sum()
    }

    /// After how long a silence it is lost, as the last tick had it; `None`: it could not be then.
    pub fn lost_after(&self) -> Option<Millis> {
        // Relaxed: a lone number.
        let after = self.lost_after.load(Ordering::Relaxed);
        (after != NEVER).then_some(Millis(after))
    }

    /// Says after how long that is.
    pub fn set_lost_after(&self, after: Option<Millis>) {
        // Relaxed: a lone number. Read first: the line is shared.
        if self.lost_after() != after {
            self.lost_after.store(after.map_or(NEVER, |after| after.0), Ordering::Relaxed);
        }
    }

    /// How long it may be silent, should another node take the lead and not know its rhythm.
    pub fn patience(&self) -> Millis {
        // Relaxed: a lone number.
        Millis(self.own_patience.load(Ordering::Relaxed))
    }

    /// Says how long that is.
    pub fn set_patience(&self, patience: Millis) {
        // Relaxed: a lone number. Read first: the line is shared.
        if self.patience() != patience {
            self.own_patience.store(patience.0, Ordering::Relaxed);
        }
    }

    /// It was heard by another node until now, and is to be given so much time to come to this one.
    pub fn expect(&self, now: Millis, patience: Millis) {
        // Relaxed: lone numbers; a tick that sees one without the other sees both next time.
        self.patience.store(patience.0, Ordering::Relaxed);
        self.expected.store(now.0, Ordering::Relaxed);
    }

    /// It has sent remote write.
    pub fn on_write(&self) {
        // Relaxed: see `attach`. Read first: the line is shared by all cores.
        if !self.writes.load(Ordering::Relaxed) {
            self.writes.store(true, Ordering::Relaxed);
        }
    }

    /// A request with samples from `oldest` to `newest` has come to `core`; `gap` is the longest time
    /// in which it has none, and when that was over. True if the source has gone further from one
    /// sample to the next than there can be without a hole.
    pub fn on_seen(
        &self,
        core: usize,
        (oldest, newest): (UnixMillis, UnixMillis),
        gap: Option<(Millis, UnixMillis)>,
    ) -> bool {
        let seen = self.newest().unwrap_or(oldest);
        let since = |to: UnixMillis| Millis(u64::try_from(to.0 - seen.0).unwrap_or(0));
        // In a gap of one shard another may have been seen.
        let gap = gap.map(|(gap, to)| (gap.min(since(to)), to));
        let (step, to) =
            gap.map_or((since(oldest), oldest), |gap| gap.max((since(oldest), oldest)));
        let traces = &self.cores[core];
        // Relaxed: lone numbers. The step is taken away by the control, so it is exchanged.
        let known = traces.newest.load(Ordering::Relaxed);
        traces.newest.store(known.max(newest.0), Ordering::Relaxed);
        if traces.step.fetch_max(step.0, Ordering::Relaxed) < step.0 {
            traces.step_to.store(to.0, Ordering::Relaxed);
        }
        step.0 > self.jump_max.load(Ordering::Relaxed)
    }

    /// A request whose first sample is older than this is behind, and is to be looked at whole.
    pub fn behind_max(&self) -> Millis {
        // Relaxed: a lone number.
        Millis(self.behind_max.load(Ordering::Relaxed))
    }

    /// The longest step since this was last asked, and where it led.
    pub fn take_step(&self) -> Option<(Millis, UnixMillis)> {
        // Relaxed: see `on_first`.
        let of = |core: &CachePadded<Traces>| {
            let step = core.step.swap(0, Ordering::Relaxed);
            (Millis(step), UnixMillis(core.step_to.load(Ordering::Relaxed)))
        };
        self.cores.iter().map(of).max().filter(|(step, _)| *step > Millis(0))
    }

    /// Forgets which samples have been seen, and how far apart: others have seen some since. A core that
    /// sees one at the same time may be forgotten with it, or not.
    pub fn forget_seen(&self) {
        for core in &self.cores {
            // Relaxed: lone numbers.
            core.newest.store(0, Ordering::Relaxed);
            core.step.store(0, Ordering::Relaxed);
        }
    }

    /// Says how long a step may be without a hole, and how old the first sample of a request without
    /// being behind.
    pub fn set_steps_max(&self, jump_max: Millis, behind_max: Millis) {
        // Relaxed: lone numbers.
        self.jump_max.store(jump_max.0, Ordering::Relaxed);
        self.behind_max.store(behind_max.0, Ordering::Relaxed);
    }

    /// So many of its requests are in doubt on `core`.
    pub fn set_doubts(&self, core: usize, doubts: usize) {
        let doubts = u32::try_from(doubts).unwrap_or(u32::MAX);
        // Relaxed: a lone number with one writer.
        self.cores[core].doubts.store(doubts, Ordering::Relaxed);
    }

    /// Whether a request of it is in doubt.
    pub fn has_doubts(&self) -> bool {
        // Relaxed: see `presence`.
        self.cores.iter().any(|core| core.doubts.load(Ordering::Relaxed) > 0)
    }

    /// The newest first sample of all that were looked at.
    pub fn newest(&self) -> Option<UnixMillis> {
        // Relaxed: see `presence`.
        let newest = self.cores.iter().map(|core| core.newest.load(Ordering::Relaxed)).max();
        newest.filter(|newest| *newest > 0).map(UnixMillis)
    }

    /// The source as an election sees it.
    pub fn heard(&self) -> Heard {
        // Relaxed: see `attach`.
        let weight = Weight(self.weight.load(Ordering::Relaxed));
        let payload = match self.writes.load(Ordering::Relaxed) {
            true => Payload::RemoteWrite,
            false => Payload::Other,
        };
        Heard { source: self.id, weight, address: **self.address.load(), payload }
    }

    /// What all cores together know of it.
    pub fn presence(&self) -> Presence {
        // Relaxed: each is a lone number; a tick that sees one of them late sees it next time.
        let traces = |read: fn(&Traces) -> &AtomicU64| {
            self.cores.iter().map(|core| read(core).load(Ordering::Relaxed)).max().unwrap_or(0)
        };
        let last_answer = traces(|core| &core.last_answer);
        let last_heard = Millis(traces(|core| &core.last_heard));
        let expected = Millis(self.expected.load(Ordering::Relaxed));
        let granted = match last_heard < expected {
            true => Millis(self.patience.load(Ordering::Relaxed)),
            false => Millis(0),
        };
        Presence {
            last_heard: last_heard.max(expected),
            granted,
            last_answered: Millis(last_answer / 2),
            connected: !matches!(self.attached.load(Ordering::Relaxed), 0 | FORGOTTEN)
                || self.passed_on.load(Ordering::Relaxed),
            reconnects: false,
            in_flight: self.cores.iter().any(|core| core.in_flight.load(Ordering::Relaxed) > 0),
            refused: last_answer % 2 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        Source::new(SourceId(1), SourceName::Named((*b"a").into()), (Weight(0), address), 2)
    }

    #[test]
    fn a_source_that_is_spoken_for_is_not_forgotten() {
        let source = source();
        let address = SocketAddr::from(([10, 0, 0, 1], 2));
        assert!(source.attach(Weight(5), address));
        assert!(!source.forget());
        assert_eq!(
            source.heard(),
            Heard { source: SourceId(1), weight: Weight(5), address, payload: Payload::Other }
        );
        source.detach();
        assert!(source.forget());
        assert!(!source.attach(Weight(5), address));
        assert!(!source.presence().connected);
    }

    #[test]
    fn one_that_is_passed_on_counts_as_connected_and_is_forgotten_all_the_same() {
        let source = source();
        let address = SocketAddr::from(([10, 0, 0, 1], 2));
        assert!(source.attach(Weight(5), address));
        source.on_passed_on();
        source.detach();
        assert!(source.presence().connected);
        assert!(source.forget());
    }

    #[test]
    fn the_presence_is_the_latest_of_all_cores() {
        let source = source();
        source.on_heard(0, Millis(10));
        source.on_heard(1, Millis(7));
        source.on_sent(1);
        source.on_answered(0, Millis(5), Answered::Refused);
        let presence = source.presence();
        assert_eq!(presence.last_heard, Millis(10));
        assert!(presence.in_flight && presence.refused && !presence.connected);
        source.on_returned(1);
        source.on_answered(1, Millis(6), Answered::Settled);
        let presence = source.presence();
        assert!(!presence.in_flight && !presence.refused);
    }

    #[test]
    fn a_step_is_long_only_if_no_core_has_seen_anything_in_it() {
        let source = source();
        source.set_steps_max(Millis(2000), Millis(1000));
        let at = UnixMillis;
        assert!(!source.on_seen(0, (at(1000), at(1000)), None), "the first of all");
        assert!(!source.on_seen(1, (at(2000), at(3000)), None));
        assert!(!source.on_seen(0, (at(2000), at(9000)), Some((Millis(2000), at(5000)))));
        assert_eq!(source.take_step(), Some((Millis(2000), at(5000))));
        assert_eq!(source.take_step(), None);
        assert!(!source.on_seen(1, (at(3000), at(8000)), Some((Millis(5000), at(8000)))), "seen");
        assert!(source.on_seen(0, (at(11_500), at(12_000)), None));
        assert!(source.on_seen(1, (at(11_000), at(20_000)), Some((Millis(7000), at(19_000)))));
        assert_eq!(source.newest(), Some(at(20_000)));
    }
}
