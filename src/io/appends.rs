//! What one core has given to queues, and waits for.

use std::sync::Arc;

use crossbeam::channel::Receiver;

use crate::base::time::Millis;
use crate::io::asks::Asks;
use crate::io::deadline::{Elapsed, Patience, Slot};
use crate::io::queue::append::{Append, Outcome, Refusal as Unstored};
use crate::io::queue::order::{Ticket, Waiting};
use crate::io::queue::thread::{NotTaken, Queue};
use crate::shared::metrics::{Counter, Counters};
use crate::wire::http::reply::Refusal;

/// The requests of one core that are on their way into queues.
pub struct Appends {
    waiting: Arc<Waiting>,
    told: Receiver<(u64, Outcome)>,
    asks: Asks<Outcome>,
}

impl Appends {
    /// None is on its way. After `bell` has rung, [`Appends::on_rung`] is to be called.
    pub fn new(bell: Box<dyn Fn() + Send + Sync>) -> Appends {
        let (waiting, told) = Waiting::new(bell);
        Appends { waiting, told, asks: Asks::new() }
    }

    /// Stores it, and waits until it lies where the queue's setting wants it, no longer than until `due`.
    /// After a refusal it may be stored all the same: its source has to send it again.
    pub async fn append(
        &self,
        queue: &Queue,
        append: Append,
        slot: &Slot,
        due: Millis,
        counters: &Counters,
    ) -> Result<(), Refusal> {
        let bytes = append.push.body().len();
        let outcome = self.outcome(queue, append, slot, due).await;
        counted(outcome, bytes, counters)
    }

    /// The same at once, if nobody has to be waited for; `sends` as in [`Queue::append_now`].
    pub fn append_now(
        queue: &Queue,
        append: &Append,
        sends: impl FnOnce() -> bool,
        counters: &Counters,
    ) -> Option<Result<(), Refusal>> {
        let outcome = queue.append_now(append, sends)?;
        Some(counted(Ok(outcome), append.push.body().len(), counters))
    }

    async fn outcome(
        &self,
        queue: &Queue,
        append: Append,
        slot: &Slot,
        due: Millis,
    ) -> Result<Outcome, Refusal> {
        let asked = self.asks.open();
        let ticket = Ticket { id: asked.number, waiting: self.waiting.clone() };
        queue.append(append, ticket).map_err(|not_taken| match not_taken {
            NotTaken::Busy => Refusal::QueueBusy,
            NotTaken::Gone => Refusal::QueueFailed,
        })?;
        let outcome = slot.within(due, Patience::Busy, asked.told()).await;
        outcome.map_err(|Elapsed| Refusal::QueueBusy)
    }

    /// Wakes whoever waits for what queues have told since.
    pub fn on_rung(&self) {
        for (id, outcome) in self.told.try_iter() {
            // Who has waited too long does not wait any more.
            let _ = self.asks.tell(id, outcome);
        }
    }
}

/// What a source is told of what became of its request, which is counted.
fn counted(
    outcome: Result<Outcome, Refusal>,
    bytes: usize,
    counters: &Counters,
) -> Result<(), Refusal> {
    let done = outcome.and_then(|outcome| match outcome {
        Outcome::Stored(_) => {
            counters.add(Counter::QueueStored, 1);
            counters.add(Counter::QueueStoredBytes, bytes as u64);
            Ok(())
        }
        Outcome::Known(_) => {
            counters.add(Counter::QueueKnown, 1);
            Ok(())
        }
        Outcome::Refused(Unstored::Full) => Err(Refusal::QueueFull),
        Outcome::Refused(Unstored::DiskFull | Unstored::DiskFailed) => Err(Refusal::QueueFailed),
        Outcome::Refused(Unstored::TooLong) => Err(Refusal::QueueTooSmall),
    });
    if done.is_err() {
        counters.add(Counter::QueueRefused, 1);
    }
    done
}
