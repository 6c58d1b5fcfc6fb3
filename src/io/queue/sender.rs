//! A sender, from outside: whoever starts it, changes it and ends it.
//!
//! What it does is in [`crate::io::queue::turning`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender as Way, bounded, unbounded};

use crate::base::limits::BEAT;
use crate::base::time::{Millis, UnixMillis};
use crate::io::clock::Clock;
use crate::io::endpoint::Endpoint;
use crate::io::queue::bell::{Alarm, Bell, Heard};
use crate::io::queue::thread::Running;
use crate::io::queue::turning::{Inlets, Shared, Start, Work};

/// A sender, for whoever looks after it.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    /// The endpoint as it becomes.
    changes: Way<Arc<Endpoint>>,
    bell: Bell,
    clock: Clock,
    ended: Receiver<io::Result<()>>,
}

/// Looks at a sender from outside.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// See [`Sender::oldest`].
    pub fn oldest(&self) -> Option<UnixMillis> {
        self.0.oldest()
    }
}

impl Sender {
    /// Of what `queue` gives out; it begins when its work does. `heard` is of the bell that the queue was
    /// started with:
    ///
    /// ```text
    /// let (bell, heard) = Bell::new()?;
    /// let queue = Running::start(dir, setting, salt, Arc::new(move || bell.ring_if_wanted()))?;
    /// let (sender, work) = Sender::new(&queue, heard, start)?;
    /// … work.begin(kind)?.run().await … // on some loop, which beats
    /// sender.stop(deadline); // first: what it says last is written down
    /// queue.stop();
    /// ```
    ///
    /// It takes the queue's entries and notices; nobody else may. An error: no thread can be started.
    pub fn new(queue: &Running, heard: Heard, start: Start) -> io::Result<(Sender, Work)> {
        let shared = Arc::new(Shared::new());
        // As many as there are reloads before it turns.
        let (changes, changed) = unbounded();
        let inlets = Inlets {
            changed,
            queue: queue.queue.clone(),
            entries: queue.entries.clone(),
            fresh: queue.fresh.clone(),
            notices: queue.notices.clone(),
        };
        let (bell, clock) = (heard.bell.clone(), start.clock);
        let alarm = Alarm::start(bell.clone())?;
        let (end, ended) = bounded(1);
        let sender = Sender { shared: shared.clone(), changes, bell, clock, ended };
        Ok((sender, Work { start, inlets, shared, heard, alarm, ended: end }))
    }

    /// When the oldest record came that was not sent, if any is known to wait.
    pub fn oldest(&self) -> Option<UnixMillis> {
        self.watch().oldest()
    }

    /// The same for whoever outlives it.
    pub fn watch(&self) -> Watch {
        Watch(self.shared.clone())
    }

    /// From now on the endpoint is as it is here. What is under way to it ends as it began, and what fails
    /// is tried again as it is now.
    pub fn change(&self, endpoint: Arc<Endpoint>) {
        // One that has ended sends nothing more.
        let _ = self.changes.send(endpoint);
        self.bell.ring();
    }

    /// Begins no more requests, waits for what is under way, until `deadline` at the latest, and ends.
    /// What was not answered by then is sent again after the restart.
    pub fn stop(self, deadline: Millis) -> io::Result<()> {
        self.shared.stop_at(deadline);
        self.bell.ring();
        let late = deadline.max(self.clock.now()).after(LATE);
        loop {
            match self.ended.recv_timeout(Duration::from(BEAT)) {
                Ok(ended) => return ended,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("its core has ended before it"));
                }
                Err(RecvTimeoutError::Timeout) if self.clock.now() >= late => {
                    return Err(io::Error::other("its core does not turn"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// A loop that turns does so ten times a second.
const LATE: Millis = Millis(2_000);
