//! Deadlines, looked at once a beat.
//!
//! A timer per read and write would be set and cleared four times a request. Here a deadline is
//! one number in a cell that belongs to the connection; a sweep over all of them, ten times a
//! second, wakes those whose time has come. So deadlines are late by up to a beat, and that is
//! why none of them is shorter than a second.
//!
//! The same place sees whether a connection ever waits. On epoll a read of what is already there
//! is done at once, and whoever sends without end would have the core for itself: after a streak
//! of such, the connection steps back until the core has been round.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::base::time::Millis;

/// The time was up before the work was done. The work has been dropped: a socket it used may only
/// be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// What a sweep may do to a wait before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// The wait is for something that is under way.
    Busy,
    /// The wait is for something that may never come: it ends at once when we shut down.
    Idle,
}

/// The deadline of one connection.
#[derive(Debug)]
pub struct Slot {
    due: Cell<Millis>,
    patience: Cell<Patience>,
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// How many works in a row were done without a wait.
    streak: Cell<u32>,
    stepped_back: Rc<SteppedBack>,
}

/// The tasks that let others go first, and the bell that brings the core round to them.
#[derive(Debug)]
struct SteppedBack {
    wakers: RefCell<Vec<Waker>>,
    bell: UnixStream,
}

/// So many works may be done at once before others get their turn: a pipeline of small requests is
/// still quick, and a core goes round within a millisecond.
const STREAK_MAX: u32 = 64;

const NEVER: Millis = Millis(u64::MAX);

impl Slot {
    /// Does `work`, but not longer than until `due`.
    pub async fn within<T>(
        &self,
        due: Millis,
        patience: Patience,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        self.arm(due, patience);
        let mut work = pin!(work);
        let mut has_waited = false;
        let done = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => {
                has_waited = true;
                self.poll_over(context)
            }
        });
        let done = done.await;
        self.due.set(NEVER);
        self.streak.set(if has_waited { 0 } else { self.streak.get() + 1 });
        if self.streak.get() == STREAK_MAX {
            self.streak.set(0);
            self.step_back().await;
        }
        done
    }

    /// Waits until the core has been round. A task that woke itself would be the next to run.
    async fn step_back(&self) {
        let mut is_back = false;
        let round = poll_fn(|context| {
            if std::mem::replace(&mut is_back, true) {
                return Poll::Ready(());
            }
            self.stepped_back.wakers.borrow_mut().push(context.waker().clone());
            // A full pipe means that the core will be woken anyway.
            let _ = (&self.stepped_back.bell).write(&[1]);
            Poll::Pending
        });
        round.await;
    }

    /// Sets the deadline, for a wait that asks [`Slot::poll_over`] itself.
    pub fn arm(&self, due: Millis, patience: Patience) {
        self.is_over.set(false);
        self.patience.set(patience);
        self.due.set(due);
    }

    /// Ready with [`Elapsed`] when the time is up, else the task is woken when it is.
    pub fn poll_over<T>(&self, context: &mut Context<'_>) -> Poll<Result<T, Elapsed>> {
        if self.is_over.get() {
            return Poll::Ready(Err(Elapsed));
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn end(&self) {
        self.due.set(NEVER);
        self.is_over.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// All deadlines of one core.
#[derive(Debug)]
pub struct Deadlines {
    slots: RefCell<Vec<Rc<Slot>>>,
    stepped_back: Rc<SteppedBack>,
}

impl Deadlines {
    /// No deadlines yet. Whatever is written to `bell` makes the core call [`Deadlines::resume`].
    pub fn new(bell: UnixStream) -> Deadlines {
        let stepped_back = Rc::new(SteppedBack { wakers: RefCell::default(), bell });
        Deadlines { slots: RefCell::default(), stepped_back }
    }

    /// The core has been round: who stepped back goes on.
    pub fn resume(&self) {
        let wakers = std::mem::take(&mut *self.stepped_back.wakers.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A slot for a connection; it is given up by dropping it.
    pub fn slot(&self) -> Rc<Slot> {
        let slot = Rc::new(Slot {
            due: Cell::new(NEVER),
            patience: Cell::new(Patience::Busy),
            is_over: Cell::new(false),
            waker: RefCell::new(None),
            streak: Cell::new(0),
            stepped_back: self.stepped_back.clone(),
        });
        self.slots.borrow_mut().push(slot.clone());
        slot
    }

    /// Ends the waits whose time has come, and all idle ones when `draining`.
    pub fn sweep(&self, now: Millis, draining: bool) {
        self.slots.borrow_mut().retain(|slot| {
            let idle = draining && slot.patience.get() == Patience::Idle && slot.due.get() != NEVER;
            if idle || slot.due.get() <= now {
                slot.end();
            }
            // A slot that only we hold belongs to a connection that is gone.
            Rc::strong_count(slot) > 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> Deadlines {
        Deadlines::new(UnixStream::pair().expect("a pair of sockets").0)
    }

    fn poll<T>(work: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_wait_ends_at_its_time_and_not_before() {
        let deadlines = deadlines();
        let slot = deadlines.slot();
        let mut wait = pin!(slot.within(Millis(100), Patience::Busy, std::future::pending::<()>()));
        assert!(poll(&mut wait).is_pending());
        deadlines.sweep(Millis(99), true);
        assert!(poll(&mut wait).is_pending());
        deadlines.sweep(Millis(100), false);
        assert_eq!(poll(&mut wait), Poll::Ready(Err(Elapsed)));
    }

    #[test]
    fn an_idle_wait_ends_when_we_shut_down_and_a_busy_one_does_not() {
        let deadlines = deadlines();
        let (idle, busy) = (deadlines.slot(), deadlines.slot());
        let forever = std::future::pending::<()>;
        let mut idle = pin!(idle.within(Millis(1000), Patience::Idle, forever()));
        let mut busy = pin!(busy.within(Millis(1000), Patience::Busy, forever()));
        assert!(poll(&mut idle).is_pending() && poll(&mut busy).is_pending());
        deadlines.sweep(Millis(1), false);
        assert!(poll(&mut idle).is_pending());
        deadlines.sweep(Millis(1), true);
        assert_eq!(poll(&mut idle), Poll::Ready(Err(Elapsed)));
        assert!(poll(&mut busy).is_pending());
    }

    #[test]
    fn work_that_is_done_in_time_is_not_disturbed_by_an_old_deadline() {
        let deadlines = deadlines();
        let slot = deadlines.slot();
        let mut first = pin!(slot.within(Millis(10), Patience::Busy, async { 1 }));
        assert_eq!(poll(&mut first), Poll::Ready(Ok(1)));
        deadlines.sweep(Millis(1000), false);
        let mut second =
            pin!(slot.within(Millis(2000), Patience::Busy, std::future::pending::<()>()));
        assert!(poll(&mut second).is_pending());
    }

    #[test]
    fn who_never_waits_steps_back_until_the_core_has_been_round() {
        let deadlines = deadlines();
        let slot = deadlines.slot();
        let mut greedy = pin!(async {
            for _ in 0..STREAK_MAX {
                slot.within(NEVER, Patience::Busy, async {}).await.expect("there is no deadline");
            }
        });
        assert!(poll(&mut greedy).is_pending());
        assert_eq!(deadlines.stepped_back.wakers.borrow().len(), 1);
        deadlines.resume();
        assert!(poll(&mut greedy).is_ready());
    }

    #[test]
    fn slots_of_ended_connections_are_given_back() {
        let deadlines = deadlines();
        drop(deadlines.slot());
        let kept = deadlines.slot();
        deadlines.sweep(Millis(1), false);
        assert_eq!(deadlines.slots.borrow().len(), 1);
        drop(kept);
    }
}
