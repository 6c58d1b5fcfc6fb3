//! The thread of a queue, and the way into it.
//!
//! What takes one write to the page cache is done by the core that has the request: waking a thread, and
//! being woken by it, costs several times that. Everything else is the thread's: a sync takes
//! milliseconds and a full disk seconds, and groups form by themselves while one is under way. Nobody
//! waits for anybody: a core that finds the queue with somebody else, or something before it in line,
//! puts its request into the line. So a disk that is slow holds up the thread, which syncs it several times a
//! second, and no core for longer than one write to the page cache in a while. A disk that hangs holds up
//! whoever meets it first, which mostly is the thread.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::Receiver;

use crate::base::limits::{QUEUE_INBOX_BYTES_MAX, QUEUE_INBOX_MAX, QUEUE_READS_PER_TURN};
use crate::logic::queue::setting::Setting;
use crate::wire::queue::sequence::{Salt, Sequence, SourceKey};

use super::append::{Append, Outcome};
use super::depth::Depth;
use super::files::Files;
use super::inbox::{Inbox, NotPut};
use super::notice::Notice;
use super::order::{Order, Ticket};
use super::pace::Pace;
use super::progress::Shared;
use super::reader::Entry;
use super::recovery::OpenError;
use super::store::Store;
use super::works::{Given, Now, Turned, Works};

/// The longest sleep: so long it may take until a disk that failed is tried again by itself.
const TURN_MAX: Duration = Duration::from_millis(500);

/// The way into a queue, for cores and the sender. Cheap to clone. Nothing here waits for a sync.
#[derive(Clone, Debug)]
pub struct Queue {
    inbox: Arc<Inbox<Order>>,
    works: Arc<Mutex<Option<Works<Files>>>>,
    progress: Shared<Files>,
    depth: Arc<Depth>,
    pace: Arc<Pace>,
    ring: Ring,
}

/// Rings for whoever sends.
#[derive(Clone)]
struct Ring(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
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
    /// Stores it at once, if that takes no more than a write to the page cache and nothing is before it; see
    /// the module. `None`: it is to be given to [`Queue::append`]. If there is something to be sent then,
    /// `sends` is asked whether it has been seen to; if not, the bell rings.
    pub fn append_now(&self, append: &Append, sends: impl FnOnce() -> bool) -> Option<Outcome> {
        let Now { outcome, is_given, wakes_thread } = {
            let mut works = self.works_if_free()?;
            let works = works.as_mut()?;
            if !self.take_settled(works) {
                return None;
            }
            works.append_now(append)?
        };
        if wakes_thread {
            self.inbox.nudge();
        }
        if is_given && !sends() {
            (self.ring.0)();
        }
        Some(outcome)
    }

    /// Nobody waits for it. `None` in it: it is closed.
    fn works_if_free(&self) -> Option<MutexGuard<'_, Option<Works<Files>>>> {
        match self.works.try_lock() {
            Ok(works) => Some(works),
            // A thread that panics ends the process.
            Err(TryLockError::Poisoned(works)) => Some(works.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes what nobody wants to hear of out of the line; whether nothing else is in it.
    fn take_settled(&self, works: &mut Works<Files>) -> bool {
        self.inbox.take_leading(|order| match order {
            Order::Settled(source, hash) => {
                works.on_settled(*source, *hash);
                true
            }
            Order::Append(..) | Order::Sent(_) => false,
        })
    }

    /// Stores it, and tells `ticket` what became of it. An error: nobody will be told.
    pub fn append(&self, append: Append, ticket: Ticket) -> Result<(), NotTaken> {
        // Whoever has waited too long has gone and comes again, and what he left is still in memory.
        let bytes = append.push.bytes_allocated() as u64;
        if self.depth.incoming() > QUEUE_INBOX_BYTES_MAX {
            return Err(NotTaken::Busy);
        }
        self.depth.on_coming(bytes);
        self.inbox.put(Order::Append(append, ticket)).map_err(|error| {
            self.depth.on_come(bytes);
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
    /// again, for the mark says so, unless the disk has failed. On a disk that is slow it is the thread that
    /// writes the mark, and the bell rings when it has.
    pub fn sent(&self, sequence: Sequence) -> Sequence {
        let now = self.pace.now();
        let progress = self.progress.try_lock().filter(|_| !self.pace.is_slow(now));
        if progress.is_none() && self.inbox.put(Order::Sent(sequence)).is_ok() {
            return self.depth.sent();
        }
        let mut progress = progress.unwrap_or_else(|| self.progress.lock());
        let is_room_wanted = self.pace.watch(now, || progress.on_sent(sequence));
        let sent = self.depth.publish(&progress);
        drop(progress);
        if is_room_wanted {
            self.inbox.nudge();
        }
        sent
    }

    /// How quick its disk is.
    pub fn pace(&self) -> &Pace {
        &self.pace
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
        bell: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Running, OpenError> {
        let store = Store::open(Files::open(path)?, setting, salt)?;
        let (inbox, progress) = (Arc::new(Inbox::new(QUEUE_INBOX_MAX)), store.progress().clone());
        let (works, Given { entries, fresh, notices }) = Works::new(store, setting);
        let (depth, pace) = (works.depth(), works.pace());
        let works = Arc::new(Mutex::new(Some(works)));
        let queue = Queue { inbox, works, progress, depth, pace, ring: Ring(bell) };
        let own = Own(queue.clone());
        let thread = thread::Builder::new().name("queue".into()).spawn(move || own.run())?;
        Ok(Running { queue, entries, fresh, notices, thread })
    }

    /// Stores what is on its way, syncs and ends the thread.
    pub fn stop(self) {
        self.queue.inbox.end();
        let _ = self.thread.join();
    }
}

/// The queue, of its own thread.
struct Own(Queue);

impl Own {
    fn run(self) {
        let mut has_more = true;
        loop {
            if !has_more {
                self.0.inbox.wait(self.until_due());
            }
            let Some(turned) = self.turn() else { return };
            if turned.is_news() {
                (self.0.ring.0)();
            }
            if turned.is_over {
                return self.close();
            }
            has_more = turned.given >= QUEUE_READS_PER_TURN;
        }
    }

    fn works(&self) -> MutexGuard<'_, Option<Works<Files>>> {
        self.0.works.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No longer than until something is due. What a core stores meanwhile, and is to be synced first, nudges.
    fn until_due(&self) -> Duration {
        let works = self.works();
        let due = works.as_ref().and_then(|works| works.due().map(|due| due.since(works.now())));
        due.map_or(TURN_MAX, |span| Duration::from(span).min(TURN_MAX))
    }

    fn turn(&self) -> Option<Turned> {
        self.works().as_mut().map(|works| works.turn(&self.0.inbox))
    }

    /// Gives the directory back, too: who still has the way in finds nothing behind it.
    fn close(&self) {
        let works = self.works().take();
        works.into_iter().for_each(Works::close);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.inbox.end();
    }
}
