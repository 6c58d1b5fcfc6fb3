//! The thread of a queue: it has the files, and nobody else does, but for the mark, which is written by
//! whoever sends.
//!
//! A thread of its own with plain writes, not the ring of a core: a sync takes milliseconds and a full
//! disk seconds, and groups form by themselves while one is under way.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use crate::base::limits::{
    QUEUE_FRESH_OUT_MAX, QUEUE_GROUP_BYTES_MAX, QUEUE_GROUP_MAX, QUEUE_INBOX_BYTES_MAX,
    QUEUE_INBOX_MAX, QUEUE_READS_PER_TURN,
};
use crate::base::time::Millis;
use crate::logic::queue::setting::Setting;
use crate::wire::queue::sequence::{Salt, Sequence, SourceKey};

use super::append::{Append, Outcome};
use super::disk::Disk;
use super::files::Files;
use super::inbox::{Inbox, NotPut};
use super::progress::{Progress, Shared};
use super::reader::Entry;
use super::recovery::OpenError;
use super::store::{Notice, Read, Store};

/// The longest sleep: so long it may take until a disk that failed is tried again by itself.
const TURN_MAX: Duration = Duration::from_millis(500);

/// Who waits for what becomes of a request: its own number, and where to tell.
#[derive(Clone)]
pub struct Ticket {
    /// Whatever the one who waits knows the request by.
    pub id: u64,
    /// To be told.
    pub waiting: Arc<Waiting>,
}

/// Where outcomes are told: a channel, and a bell for who sleeps. One for each core.
pub struct Waiting {
    /// Holds no more than the core has requests under way.
    told: Sender<(u64, Outcome)>,
    bell: Box<dyn Fn() + Send + Sync>,
}

impl Waiting {
    /// A channel whose bell rings after a group has been told of.
    pub fn new(bell: Box<dyn Fn() + Send + Sync>) -> (Arc<Waiting>, Receiver<(u64, Outcome)>) {
        let (told, heard) = unbounded();
        (Arc::new(Waiting { told, bell }), heard)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Append(Append, Ticket),
    Settled(SourceKey, u128),
}

/// How full a queue is, for whoever asks.
#[derive(Debug)]
pub struct Depth {
    bytes: AtomicU64,
    /// Of bodies on their way into it.
    incoming: AtomicU64,
    records: AtomicU64,
    sent: AtomicU64,
}

impl Depth {
    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        // Relaxed, as all of these: lone numbers that guard no other data.
        self.bytes.load(Ordering::Relaxed)
    }

    /// All up to this one have been sent, or were dropped to make room.
    pub fn sent(&self) -> Sequence {
        Sequence(self.sent.load(Ordering::Relaxed))
    }

    /// Whether nothing is left to be sent, nor on its way in.
    pub fn is_empty(&self) -> bool {
        self.records() == 0 && self.incoming.load(Ordering::Relaxed) == 0
    }

    /// The records that have not been sent.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Says what there is now; up to where it has been sent.
    fn publish<D: Disk>(&self, progress: &Progress<D>) -> Sequence {
        let sent = progress.cursor.sent();
        self.records.store(progress.records(), Ordering::Relaxed);
        self.sent.store(sent.0, Ordering::Relaxed);
        sent
    }
}

/// The way into a queue, for cores and the sender. Cheap to clone, and never blocks.
#[derive(Clone, Debug)]
pub struct Queue {
    inbox: Arc<Inbox<Order>>,
    progress: Shared<Files>,
    depth: Arc<Depth>,
}

/// Why something was not even given to the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Too much is on its way already: 503.
    Busy,
    /// The thread is gone.
    Gone,
}

impl Queue {
    /// Stores it, and tells `ticket` what became of it. An error: nobody will be told.
    pub fn append(&self, append: Append, ticket: Ticket) -> Result<(), NotTaken> {
        // Whoever has waited too long has gone and comes again, and what he left is still in memory.
        let bytes = append.push.bytes_allocated() as u64;
        if self.depth.incoming.load(Ordering::Relaxed) > QUEUE_INBOX_BYTES_MAX {
            return Err(NotTaken::Busy);
        }
        self.depth.incoming.fetch_add(bytes, Ordering::Relaxed);
        self.inbox.put(Order::Append(append, ticket)).map_err(|error| {
            self.depth.incoming.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                NotPut::Full => NotTaken::Busy,
                NotPut::Ended => NotTaken::Gone,
            }
        })
    }

    /// All endpoints have the body of this source with this hash, see [`Append::hash`]: if it comes again,
    /// it is to be stored again.
    pub fn settled(&self, source: SourceKey, hash: u128) {
        // Nothing waits for it but what is stored next. With too much on its way it stays known, until it is
        // forgotten for its age.
        let _ = self.inbox.put_silently(Order::Settled(source, hash));
    }

    /// A record that was given has been sent, or never will be: the endpoint has rejected it for good.
    /// To be said once for each, in any order. Up to where all have been: no `kill -9` makes those come
    /// again, for the mark says so, unless the disk has failed.
    pub fn sent(&self, sequence: Sequence) -> Sequence {
        let mut progress = self.progress.lock();
        let is_room_wanted = progress.on_sent(sequence);
        let sent = self.depth.publish(&progress);
        drop(progress);
        if is_room_wanted {
            self.inbox.nudge();
        }
        sent
    }

    /// How full it is.
    pub fn depth(&self) -> &Depth {
        &self.depth
    }
}

/// A queue that runs.
#[derive(Debug)]
pub struct Running {
    /// The way in.
    pub queue: Queue,
    /// What is to be sent, in order, no more at a time than the setting allows.
    pub entries: Receiver<Entry>,
    /// What need not wait behind a backlog, where the setting lets samples go out of order. Nothing of
    /// it is given as one of `entries` too, before a restart.
    pub fresh: Receiver<Entry>,
    /// What an operator should know.
    pub notices: Receiver<Notice>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Opens the queue in the directory `path` and starts its thread. `bell` rings after entries have
    /// been given out. An error: another process has the directory, or the disk fails, or another
    /// version has written there.
    pub fn start(
        path: &Path,
        setting: Setting,
        salt: Salt,
        bell: Box<dyn Fn() + Send>,
    ) -> Result<Running, OpenError> {
        let store = Store::open(Files::open(path)?, setting, salt)?;
        let (inbox, progress) = (Arc::new(Inbox::new(QUEUE_INBOX_MAX)), store.progress().clone());
        // The store gives out no more than that, so that giving never blocks.
        let (give, entries) = bounded(setting.in_flight_max.max(1));
        let (give_fresh, fresh) = bounded(QUEUE_FRESH_OUT_MAX);
        let (tell, notices) = bounded(QUEUE_INBOX_MAX);
        // Who asks before the thread has turned must not hear that nothing is there.
        let (incoming, records, sent) = Default::default();
        let bytes = store.bytes().into();
        let depth = Arc::new(Depth { bytes, incoming, records, sent });
        depth.publish(&progress.lock());
        let began = Instant::now();
        let inside = Inside {
            store,
            inbox: inbox.clone(),
            give,
            give_fresh,
            tell,
            bell,
            depth: depth.clone(),
            began,
        };
        let thread = thread::Builder::new().name("queue".into()).spawn(move || inside.run())?;
        Ok(Running { queue: Queue { inbox, progress, depth }, entries, fresh, notices, thread })
    }

    /// Stores what is on its way, syncs and ends the thread.
    pub fn stop(self) {
        self.queue.inbox.end();
        let _ = self.thread.join();
    }
}

struct Inside<D: Disk + Clone> {
    store: Store<D>,
    inbox: Arc<Inbox<Order>>,
    give: Sender<Entry>,
    give_fresh: Sender<Entry>,
    tell: Sender<Notice>,
    bell: Box<dyn Fn() + Send>,
    depth: Arc<Depth>,
    began: Instant,
}

impl<D: Disk + Clone> Inside<D> {
    fn run(mut self) {
        let mut has_more = true;
        loop {
            if !has_more {
                self.wait();
            }
            let is_over = self.take_group();
            let now = self.now();
            self.store.turn(now);
            let given = if is_over { 0 } else { self.give_out(now) };
            has_more = given >= QUEUE_READS_PER_TURN;
            self.publish(given);
            if is_over {
                break;
            }
        }
        let now = self.now();
        self.store.close(now);
    }

    fn now(&self) -> Millis {
        self.began.elapsed().into()
    }

    /// Sleeps until something comes or is due.
    fn wait(&self) {
        let due = self.store.due().map(|due| Duration::from(due.since(self.now())));
        self.inbox.wait(due.map_or(TURN_MAX, |due| due.min(TURN_MAX)));
    }

    /// Takes what there is, as much as makes a group, and stores it. Whether that was all for ever.
    fn take_group(&mut self) -> bool {
        let (mut group, mut tickets, mut bytes) = (Vec::new(), Vec::new(), 0);
        let store = &mut self.store;
        let is_over = self.inbox.take_while(|order| {
            match order {
                Order::Append(append, ticket) => {
                    bytes += append.push.bytes_allocated();
                    group.push(append);
                    tickets.push(ticket);
                }
                // It was stored before this was said, with an earlier group.
                Order::Settled(source, hash) => store.on_settled(source, hash),
            }
            group.len() < QUEUE_GROUP_MAX && bytes < QUEUE_GROUP_BYTES_MAX
        });
        if !group.is_empty() {
            let outcomes = self.store.append(&group, self.now());
            self.depth.incoming.fetch_sub(bytes as u64, Ordering::Relaxed);
            // Whoever hears that it is stored must not see a queue in which it is not.
            self.publish_depth();
            // The core that hears of it is to be the last who has the request, and use its memory again.
            drop(group);
            tell(&tickets, outcomes);
        }
        is_over
    }

    /// Gives out some of what is to be sent; how much was looked at.
    fn give_out(&mut self, now: Millis) -> usize {
        let mut given = 0;
        // Whoever takes them may be gone; then they are sent after the restart.
        while let Some(entry) = self.store.next_fresh() {
            let _ = self.give_fresh.try_send(entry);
            given += 1;
        }
        for _ in 0..QUEUE_READS_PER_TURN {
            if self.give.is_full() {
                // Somebody nudges when there is room; or what lies there was dropped since to make room,
                // and is taken out at the next turn of who sends.
                let _ = self.store.progress().lock().has_room();
                break;
            }
            match self.store.read(now) {
                Read::Entry(entry) => drop(self.give.try_send(entry)),
                Read::Passed => {}
                Read::Nothing => break,
            }
            given += 1;
        }
        given
    }

    fn publish(&mut self, given: usize) {
        for notice in self.store.take_notices() {
            // Nobody has listened to so many before it.
            let _ = self.tell.try_send(notice);
        }
        self.publish_depth();
        if given > 0 {
            (self.bell)();
        }
    }

    fn publish_depth(&self) {
        self.depth.bytes.store(self.store.bytes(), Ordering::Relaxed);
        self.depth.publish(&self.store.progress().lock());
    }
}

impl<D: Disk + Clone> Drop for Inside<D> {
    fn drop(&mut self) {
        self.inbox.end();
    }
}

/// Tells each what became of it, and rings once for all of a core.
fn tell(tickets: &[Ticket], outcomes: Vec<Outcome>) {
    let mut rung: Vec<&Arc<Waiting>> = Vec::new();
    for (ticket, outcome) in tickets.iter().zip(outcomes) {
        // A core that is gone waits for nothing.
        let _ = ticket.waiting.told.send((ticket.id, outcome));
        if !rung.iter().any(|waiting| Arc::ptr_eq(waiting, &ticket.waiting)) {
            rung.push(&ticket.waiting);
        }
    }
    rung.into_iter().for_each(|waiting| (waiting.bell)());
}
