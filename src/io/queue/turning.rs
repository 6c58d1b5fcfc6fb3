//! The inside of a sender: takes records in order and sends them to the endpoint, on the loop of a core.
//!
//! Of a core, not of a thread of its own: what that core has stored is on its way at once, and the loop
//! that waits for the endpoint's answer is the one that waits for the next request anyway.
//!
//! Which record goes when is not decided here but in [`crate::logic::queue::dispatch`]; what an answer
//! means, in [`crate::io::queue::exchange`].

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender as Way};
use monoio::io::AsyncReadRent as _;
use monoio::net::UnixStream;

use crate::base::limits::QUEUE_TAKEN_PER_TURN;
use crate::base::time::{Millis, UnixMillis};
use crate::io::clock::Clock;
use crate::io::deadline::Deadlines;
use crate::io::driver::Kind;
use crate::io::endpoint::{Endpoint, Endpoints, Outlet};
use crate::io::link::EndpointId;
use crate::io::links::Links;
use crate::io::log::Log;
use crate::io::queue::bell::{Alarm, Bell, Heard};
use crate::io::queue::exchange::{Verdict, exchange};
use crate::io::queue::notice::Notice;
use crate::io::queue::reader::Entry;
use crate::io::queue::report::Report;
use crate::io::queue::thread::Queue;
use crate::logic::queue::claim::{Claim, ClaimReader};
use crate::logic::queue::dispatch::{Dispatch, Rule};
use crate::shared::metrics::{Counter, Counters};
use crate::wire::queue::sequence::Sequence;
use crate::wire::remote_write::push::Push;
use crate::wire::remote_write::series::SeriesHasher;

/// What a sender is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Whose queue it is.
    pub endpoint: Arc<Endpoint>,
    /// What was configured of sending.
    pub rule: Rule,
    /// The largest message that a body may decode to; what is larger goes alone.
    pub decoded_bytes_max: usize,
    /// A random number, of jitter and of the identities of series.
    pub seed: u64,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// What counts it; nobody else may.
    pub counters: Arc<Counters>,
}

/// What a sender does, on its way to the loop that does it.
#[derive(Debug)]
pub struct Work {
    /// What it is started with.
    pub(super) start: Start,
    pub(super) inlets: Inlets,
    pub(super) shared: Arc<Shared>,
    pub(super) heard: Heard,
    pub(super) alarm: Alarm,
    /// Where it says that it has ended.
    pub(super) ended: Way<io::Result<()>>,
}

/// The same, on its loop, which sees to [`Near::on_beat`].
pub struct Turning {
    inside: Rc<Inside>,
    bell: UnixStream,
    ended: Way<io::Result<()>>,
}

/// Has a sender turn at once that is on the same loop. Cheap to clone.
#[derive(Clone)]
pub struct Near(Rc<Inside>);

/// What it has in common with whoever looks after it from another thread.
#[derive(Debug)]
pub(super) struct Shared {
    stop_at: AtomicU64,
    oldest: AtomicI64,
}

/// Nothing is known to wait.
const NONE: i64 = i64::MAX;
/// Nobody wants it to stop.
const NEVER: u64 = u64::MAX;

impl Shared {
    /// It goes on, and nothing is known to wait.
    pub(super) fn new() -> Shared {
        Shared { stop_at: AtomicU64::new(NEVER), oldest: AtomicI64::new(NONE) }
    }

    /// When the oldest record came that was not sent, if any is known to wait.
    pub(super) fn oldest(&self) -> Option<UnixMillis> {
        // Relaxed: a lone number.
        let oldest = self.oldest.load(Ordering::Relaxed);
        (oldest != NONE).then_some(UnixMillis(oldest))
    }

    fn set_oldest(&self, oldest: Option<UnixMillis>) {
        // Relaxed: a lone number.
        self.oldest.store(oldest.map_or(NONE, |oldest| oldest.0), Ordering::Relaxed);
    }

    /// It is to end by then, or before if that was said.
    pub(super) fn stop_at(&self, deadline: Millis) {
        // Relaxed: a lone number.
        self.stop_at.fetch_min(deadline.0, Ordering::Relaxed);
    }
}

impl Work {
    /// Begins, on this thread's loop, of this kind.
    pub fn begin(self, kind: Kind) -> io::Result<Turning> {
        let Work { start, inlets, shared, heard, alarm, ended } = self;
        let Heard { stream, bell, rung_by_deadlines } = heard;
        let deadlines = Deadlines::new(rung_by_deadlines);
        // If it does not begin, whatever there is waits from now on, and that is to be seen.
        shared.set_oldest(Some(start.clock.unix_now()));
        stream.set_nonblocking(kind.wants_nonblocking())?;
        let stream = UnixStream::from_std(stream)?;
        let inside = Inside::new(start, inlets, shared, bell, deadlines, alarm, kind);
        Ok(Turning { inside: Rc::new(inside), bell: stream, ended })
    }

    /// Whose queue it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.start.endpoint
    }
}

/// Whether it is the same sender.
impl PartialEq for Near {
    fn eq(&self, other: &Near) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Turning {
    /// For whoever is on the same loop.
    pub fn near(&self) -> Near {
        Near(self.inside.clone())
    }

    /// Sends until it is told to stop, and says so when it has.
    pub async fn run(self) {
        let done = run(self.inside, self.bell).await;
        // Whoever has started it may have gone.
        let _ = self.ended.send(done);
    }
}

impl Near {
    /// Looks for something to be sent.
    pub fn turn(&self) {
        if turn(&self.0) {
            // Whoever waits for the bell is to end.
            self.0.bell.ring();
        }
    }

    /// Looks at what is late, too. To be called ten times a second.
    pub fn on_beat(&self) {
        self.0.beat(self.0.now());
        self.turn();
    }

    /// Has it end by then, as [`Sender::stop`](super::sender::Sender::stop) does; this does not wait.
    pub fn stop(&self, deadline: Millis) {
        self.0.shared.stop_at(deadline);
        self.0.bell.ring();
    }

    /// Whether it is that of this endpoint.
    pub fn is_of(&self, endpoint: EndpointId) -> bool {
        self.0.start.endpoint.id == endpoint
    }
}

/// What comes from the queue, and the way back.
#[derive(Debug)]
pub(super) struct Inlets {
    /// The endpoint as it becomes.
    pub(super) changed: Receiver<Arc<Endpoint>>,
    pub(super) queue: Queue,
    pub(super) entries: Receiver<Entry>,
    pub(super) fresh: Receiver<Entry>,
    pub(super) notices: Receiver<Notice>,
}

/// The inside of a sender: shared by its tasks.
struct Inside {
    start: Start,
    inlets: Inlets,
    shared: Arc<Shared>,
    name: String,
    /// The endpoint as it is now, alone.
    endpoints: RefCell<Endpoints>,
    dispatch: RefCell<Dispatch>,
    claims: RefCell<ClaimReader>,
    report: RefCell<Report>,
    links: Links,
    kind: Kind,
    deadlines: Deadlines,
    bell: Bell,
    alarm: Alarm,
}

/// Turns whenever the bell rings, until it is told to stop and nothing is under way.
async fn run(inside: Rc<Inside>, mut bell: UnixStream) -> io::Result<()> {
    let mut rings = vec![0; 64];
    loop {
        inside.deadlines.resume();
        if turn(&inside) {
            if inside.dispatch.borrow().in_flight() == 0 {
                break;
            }
            // The loop goes on without us: what is under way is not to go on with it, and arrive behind what
            // another sender has sent by then.
            inside.deadlines.sweep(Millis(u64::MAX), true);
        }
        let (read, back) = bell.read(rings).await;
        rings = back;
        if read? == 0 {
            return Err(io::Error::other("a sender has lost its bell"));
        }
    }
    inside.links.close();
    Ok(())
}

/// Does what there is to do. Whether that was all for ever.
fn turn(inside: &Rc<Inside>) -> bool {
    let now = inside.now();
    inside.take_changes();
    // Relaxed: a lone number.
    let stop_at = inside.shared.stop_at.load(Ordering::Relaxed);
    if stop_at != NEVER {
        return inside.dispatch.borrow().in_flight() == 0 || now.0 >= stop_at;
    }
    inside.dispatch.borrow_mut().on_covered(inside.inlets.queue.depth().sent());
    loop {
        start_all(inside);
        // One at a time: reading what a record speaks of takes longer than starting another.
        let mut taken = 0;
        while inside.take_one() {
            start_all(inside);
            taken += 1;
            if taken == QUEUE_TAKEN_PER_TURN {
                // Others on this loop have their turn first.
                inside.bell.ring();
                return false;
            }
        }
        let (has_slot, waits_for_mark) = {
            let dispatch = inside.dispatch.borrow();
            (dispatch.has_slot(), dispatch.waits_for_mark())
        };
        inside.bell.want(has_slot || waits_for_mark);
        // Or it came before that was said, and did not ring.
        let sent = inside.inlets.queue.depth().sent();
        let is_marked = waits_for_mark && inside.dispatch.borrow_mut().on_covered(sent);
        if !is_marked && (!has_slot || inside.inlets.are_empty()) {
            break;
        }
    }
    if let Some(due) = inside.dispatch.borrow().due(now) {
        inside.alarm.ring_in(due.since(now).into());
    }
    false
}

/// Starts all that may be.
fn start_all(inside: &Rc<Inside>) {
    loop {
        let started = inside.dispatch.borrow_mut().poll_start(inside.now());
        let Some((sequence, push)) = started else { return };
        let inside = inside.clone();
        monoio::spawn(async move {
            let slot = inside.deadlines.slot();
            let endpoints = inside.endpoints.borrow().clone();
            let id = inside.start.endpoint.id;
            let verdict = exchange(&inside.outlet(&endpoints), &slot, id, &push).await;
            inside.on_verdict(sequence, &push, verdict, endpoints.of(id));
            Near(inside).turn();
        });
    }
}

impl Inlets {
    fn are_empty(&self) -> bool {
        self.entries.is_empty() && self.fresh.is_empty()
    }
}

impl Inside {
    fn new(
        start: Start,
        inlets: Inlets,
        shared: Arc<Shared>,
        bell: Bell,
        deadlines: Deadlines,
        alarm: Alarm,
        kind: Kind,
    ) -> Inside {
        let name = &start.endpoint.name;
        let hasher = SeriesHasher::new(start.seed);
        Inside {
            name: format!("queue of '{name}'"),
            dispatch: RefCell::new(Dispatch::new(start.rule, start.seed)),
            claims: RefCell::new(ClaimReader::new(hasher, start.decoded_bytes_max)),
            report: RefCell::new(Report::new(name, start.log.clone())),
            endpoints: RefCell::new(Endpoints::new(vec![start.endpoint.clone()])),
            links: Links::default(),
            kind,
            deadlines,
            alarm,
            bell,
            shared,
            inlets,
            start,
        }
    }

    fn now(&self) -> Millis {
        self.start.clock.now()
    }

    /// The endpoint may have become another.
    fn take_changes(&self) {
        if let Some(endpoint) = self.inlets.changed.try_iter().last() {
            let is_moved = self.is_left(&endpoint);
            let endpoints = Endpoints::new(vec![endpoint]);
            self.links.leave(|to| endpoints.has(to));
            self.endpoints.replace(endpoints);
            if is_moved {
                self.dispatch.borrow_mut().on_moved();
            }
        }
    }

    /// Whether the endpoint is somewhere else now than this one.
    fn is_left(&self, other: &Endpoint) -> bool {
        !self.endpoints.borrow().of(self.start.endpoint.id).is_where(other)
    }

    fn outlet<'o>(&'o self, endpoints: &'o Endpoints) -> Outlet<'o> {
        Outlet {
            endpoints,
            links: &self.links,
            kind: self.kind,
            clock: self.start.clock,
            counters: &self.start.counters,
            log: &self.start.log,
            // Other nodes are not sent to from here.
            nodes_tls: None,
            thread: &self.name,
        }
    }

    /// Looks at what is late.
    fn beat(&self, now: Millis) {
        self.deadlines.sweep(now, false);
        self.links.prune(now);
        let oldest = self.oldest();
        self.shared.set_oldest(oldest);
        let mut report = self.report.borrow_mut();
        report.on_beat(self.inlets.queue.depth(), oldest, self.start.clock.unix_now(), now);
        let notices = self.inlets.notices.try_iter();
        notices.for_each(|notice| report.on_notice(&notice, &self.start.counters));
    }

    /// When the oldest record came that has not been sent. As long as none is here although some are left, it
    /// is not known, and no older than the last that was; or as old as this looks for it in vain.
    fn oldest(&self) -> Option<UnixMillis> {
        let in_line = self.dispatch.borrow().oldest();
        let is_any_left = self.inlets.queue.depth().records() > 0;
        let before = || self.shared.oldest().unwrap_or(self.start.clock.unix_now());
        in_line.or_else(|| is_any_left.then(before))
    }

    /// Takes one record of each kind. Whether there was any.
    fn take_one(&self) -> bool {
        let mut dispatch = self.dispatch.borrow_mut();
        let fresh = self.inlets.fresh.try_recv().ok();
        let entry = self.inlets.entries.try_recv().ok();
        let is_any = fresh.is_some() || entry.is_some();
        if let Some(Entry { label, push }) = fresh {
            dispatch.on_fresh(label, push);
        }
        if let Some(Entry { label, push }) = entry {
            let claim = match dispatch.needs_claims() {
                true => self.claims.borrow_mut().read(&push),
                false => Claim::All,
            };
            dispatch.on_read(label, push, claim);
        }
        is_any
    }

    /// A try at the endpoint, as it was then, has come to its end.
    fn on_verdict(&self, sequence: Sequence, push: &Push, verdict: Verdict, tried: &Endpoint) {
        let (now, counters) = (self.now(), &self.start.counters);
        let mut report = self.report.borrow_mut();
        match verdict {
            Verdict::Taken => {
                counters.add(Counter::QueueSent, 1);
                counters.add(Counter::QueueSentBytes, push.body().len() as u64);
                self.on_ended(sequence);
            }
            Verdict::Rejected(reason) => {
                counters.add(Counter::QueueRejected, 1);
                report.on_rejected(&reason, now);
                self.on_ended(sequence);
            }
            Verdict::Unsendable(error) => {
                counters.add(Counter::QueueUnsendable, 1);
                report.on_unsendable(&format!("its head is not what was written: {error:?}"), now);
                self.on_ended(sequence);
            }
            Verdict::Refused(reason, retry_after) => {
                report.on_refused(&reason, now);
                // One that has been left has no say in when the next one is asked.
                let retry_after = retry_after.filter(|_| !self.is_left(tried));
                self.on_failed(sequence, retry_after, now);
            }
            // That is in the log already.
            Verdict::Unanswered(_) => self.on_failed(sequence, None, now),
        }
    }

    fn on_ended(&self, sequence: Sequence) {
        let covered = self.inlets.queue.sent(sequence);
        let mut dispatch = self.dispatch.borrow_mut();
        dispatch.on_ended(sequence);
        dispatch.on_covered(covered);
    }

    fn on_failed(&self, sequence: Sequence, retry_after: Option<Millis>, now: Millis) {
        self.start.counters.add(Counter::QueueRetried, 1);
        self.dispatch.borrow_mut().on_failed(sequence, retry_after, now);
    }
}
