//! What the thread of a queue is told, and whom it tells what became of it.

use std::fmt;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::wire::queue::sequence::{Sequence, SourceKey};

use super::append::{Append, Outcome};

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
pub enum Order {
    /// Store this, and tell.
    Append(Append, Ticket),
    /// See [`Queue::settled`](super::thread::Queue::settled).
    Settled(SourceKey, u128),
    /// See [`Queue::sent`](super::thread::Queue::sent).
    Sent(Sequence),
}

/// Tells each what became of it, and rings once for all of a core.
pub fn tell(tickets: &[Ticket], outcomes: Vec<Outcome>) {
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
