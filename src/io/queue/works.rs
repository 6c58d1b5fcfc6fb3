//! What is done with a queue's store, by whoever has it: its thread, or a core that finds it free.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::base::limits::{
    QUEUE_FRESH_OUT_MAX, QUEUE_GROUP_BYTES_MAX, QUEUE_GROUP_MAX, QUEUE_INBOX_MAX,
    QUEUE_READS_PER_TURN,
};
use crate::base::time::Millis;
use crate::logic::queue::setting::Setting;
use crate::wire::queue::sequence::SourceKey;

use super::append::{Append, Outcome};
use super::depth::Depth;
use super::disk::Disk;
use super::inbox::Inbox;
use super::notice::Notice;
use super::order::{Order, tell};
use super::pace::Pace;
use super::reader::{Entry, Read};
use super::store::Store;

/// A store, and where goes what it gives out.
#[derive(Debug)]
pub struct Works<D: Disk> {
    store: Store<D>,
    give: Sender<Entry>,
    give_fresh: Sender<Entry>,
    tell: Sender<Notice>,
    depth: Arc<Depth>,
    pace: Arc<Pace>,
}

/// What a store gives out, for whoever sends.
#[derive(Debug)]
pub struct Given {
    /// See [`Running::entries`](super::thread::Running::entries).
    pub entries: Receiver<Entry>,
    /// See [`Running::fresh`](super::thread::Running::fresh).
    pub fresh: Receiver<Entry>,
    /// See [`Running::notices`](super::thread::Running::notices).
    pub notices: Receiver<Notice>,
}

/// How a turn of the thread has ended.
#[derive(Debug)]
pub struct Turned {
    /// Nothing will come any more.
    pub is_over: bool,
    /// So much was looked at to be given out.
    pub given: usize,
    /// Whoever sends has said of something that it was sent, and may go on.
    has_marked: bool,
}

/// What storing something at once has come to.
#[derive(Debug)]
pub struct Now {
    /// What became of it.
    pub outcome: Outcome,
    /// There is something new for whoever sends.
    pub is_given: bool,
    /// The thread is to look: something is to be synced before anything else was, or to be read.
    pub wakes_thread: bool,
}

impl Turned {
    /// Whether whoever sends has something to do.
    pub fn is_news(&self) -> bool {
        self.given > 0 || self.has_marked
    }
}

impl<D: Disk + Clone> Works<D> {
    /// Of a store of this setting.
    pub fn new(store: Store<D>, setting: Setting) -> (Works<D>, Given) {
        // The store gives out no more than that, so that giving never blocks.
        let (give, entries) = bounded(setting.in_flight_max.max(1));
        let (give_fresh, fresh) = bounded(QUEUE_FRESH_OUT_MAX);
        let (tell, notices) = bounded(QUEUE_INBOX_MAX);
        let depth = Arc::new(Depth::default());
        let pace = Arc::new(Pace::start());
        let works = Works { store, give, give_fresh, tell, depth, pace };
        // Who asks before the thread has turned must not hear that nothing is there.
        works.publish_depth();
        (works, Given { entries, fresh, notices })
    }

    /// How full it is.
    pub fn depth(&self) -> Arc<Depth> {
        self.depth.clone()
    }

    /// How quick its disk is.
    pub fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// Since this was made.
    pub fn now(&self) -> Millis {
        self.pace.now()
    }

    /// When [`Works::turn`] has something to do.
    pub fn due(&self) -> Option<Millis> {
        self.store.due()
    }

    /// Stores a group of what there is, does what is due, and gives out some of what is to be sent. A turn
    /// of the thread.
    pub fn turn(&mut self, inbox: &Inbox<Order>) -> Turned {
        let (is_over, has_marked) = self.take_group(inbox);
        let now = self.now();
        self.store.turn(now);
        let given = if is_over { 0 } else { self.give_out(now) };
        self.tell_notices();
        self.publish_depth();
        Turned { is_over, given, has_marked }
    }

    /// Stores one at once, if that is no more than a write to the page cache of a disk that has been quick
    /// lately. `None`: it is more, and is the thread's.
    pub fn append_now(&mut self, append: &Append) -> Option<Now> {
        let now = self.now();
        if self.pace.is_slow(now) {
            return None;
        }
        let (due, is_all_read) = (self.store.due(), self.store.is_all_read());
        let store = &mut self.store;
        let outcome = self.pace.watch(now, || store.append_quickly(append, now))?;
        let mut given = self.give_fresh();
        // Behind a backlog it has its turn when the thread has read that.
        if is_all_read {
            given += self.give(usize::MAX, Store::read_passing);
        }
        self.tell_notices();
        self.publish_depth();
        let is_due_before =
            self.store.due().is_some_and(|now| due.is_none_or(|before| now < before));
        // What had no room in memory is to be read.
        let is_left = is_all_read && !self.store.is_all_read();
        Some(Now { outcome, is_given: given > 0, wakes_thread: is_due_before || is_left })
    }

    /// See [`Queue::settled`](super::thread::Queue::settled).
    pub fn on_settled(&mut self, source: SourceKey, hash: u128) {
        self.store.on_settled(source, hash);
    }

    /// Syncs everything, as the setting wants it.
    pub fn close(mut self) {
        let now = self.now();
        self.store.close(now);
    }

    /// Takes what there is, as much as makes a group, and stores it. Whether that was all for ever, and
    /// whether something has been sent.
    fn take_group(&mut self, inbox: &Inbox<Order>) -> (bool, bool) {
        let (mut group, mut tickets) = (Vec::new(), Vec::new());
        let (mut bytes, mut sent) = (0, Vec::new());
        let store = &mut self.store;
        let is_over = inbox.take_while(|order| {
            match order {
                Order::Append(append, ticket) => {
                    bytes += append.push.bytes_allocated();
                    group.push(append);
                    tickets.push(ticket);
                }
                // It was stored before this was said, with an earlier group.
                Order::Settled(source, hash) => store.on_settled(source, hash),
                // Whoever wants to put something in does not wait for the disk.
                Order::Sent(sequence) => sent.push(sequence),
            }
            group.len() < QUEUE_GROUP_MAX && bytes < QUEUE_GROUP_BYTES_MAX
        });
        let has_marked = !sent.is_empty();
        for sequence in sent {
            // There is room or not when more is given out, in this turn.
            let _ = self.store.progress().lock().on_sent(sequence);
        }
        if !group.is_empty() {
            let outcomes = self.store.append(&group, self.now());
            self.depth.on_come(bytes as u64);
            // Whoever hears that it is stored must not see a queue in which it is not.
            self.publish_depth();
            // The core that hears of it is to be the last who has the request, and use its memory again.
            drop(group);
            tell(&tickets, outcomes);
        }
        (is_over, has_marked)
    }

    /// Gives out some of what is to be sent; how much was looked at.
    fn give_out(&mut self, now: Millis) -> usize {
        self.give_fresh() + self.give(QUEUE_READS_PER_TURN, |store| store.read(now))
    }

    /// The same of what `read` gives, no more than so much.
    fn give(&mut self, reads_max: usize, read: impl Fn(&mut Store<D>) -> Read) -> usize {
        let mut given = 0;
        while given < reads_max && !self.is_full() {
            match read(&mut self.store) {
                Read::Entry(entry) => drop(self.give.try_send(entry)),
                Read::Passed => {}
                Read::Nothing => break,
            }
            given += 1;
        }
        given
    }

    fn give_fresh(&mut self) -> usize {
        let mut given = 0;
        // Whoever takes them may be gone; then they are sent after the restart.
        while let Some(entry) = self.store.next_fresh() {
            let _ = self.give_fresh.try_send(entry);
            given += 1;
        }
        given
    }

    /// Whether nothing more can be given out now. Then somebody nudges when there is room; or what lies there
    /// was dropped since to make room, and is taken out at the next turn of who sends.
    fn is_full(&self) -> bool {
        let is_full = self.give.is_full();
        if is_full {
            let _ = self.store.progress().lock().has_room();
        }
        is_full
    }

    fn tell_notices(&mut self) {
        for notice in self.store.take_notices() {
            // Nobody has listened to so many before it.
            let _ = self.tell.try_send(notice);
        }
    }

    fn publish_depth(&self) {
        self.depth.set_bytes(self.store.bytes());
        self.depth.publish(&self.store.progress().lock());
    }
}
