//! What tasks of one core have asked other threads, and wait to be told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The open questions of one core, by number.
#[derive(Debug)]
pub struct Asks<T> {
    open: RefCell<HashMap<u64, Slip<T>>>,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Slip<T> {
    told: Option<T>,
    waker: Option<Waker>,
}

/// One question, until it is dropped.
#[derive(Debug)]
pub struct Ask<'a, T> {
    asks: &'a Asks<T>,
    /// Its number; never used twice.
    pub number: u64,
}

impl<T> Asks<T> {
    /// Nobody waits.
    pub fn new() -> Asks<T> {
        Asks { open: RefCell::default(), next: Cell::new(0) }
    }

    /// A question, whose number is to be passed on with it.
    pub fn open(&self) -> Ask<'_, T> {
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.borrow_mut().insert(number, Slip { told: None, waker: None });
        Ask { asks: self, number }
    }

    /// Tells whoever waits for it. Given back if nobody does any more.
    pub fn tell(&self, number: u64, told: T) -> Result<(), T> {
        match self.open.borrow_mut().get_mut(&number) {
            None => Err(told),
            Some(slip) => {
                slip.told = Some(told);
                slip.waker.take().into_iter().for_each(Waker::wake);
                Ok(())
            }
        }
    }
}

impl<T> Default for Asks<T> {
    fn default() -> Asks<T> {
        Asks::new()
    }
}

impl<T> Ask<'_, T> {
    /// What it is told.
    pub async fn told(&self) -> T {
        poll_fn(|context| {
            let mut open = self.asks.open.borrow_mut();
            let slip = open.get_mut(&self.number);
            let slip = slip.expect("it stays for as long as this does");
            if let Some(told) = slip.told.take() {
                return Poll::Ready(told);
            }
            slip.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Ask<'_, T> {
    fn drop(&mut self) {
        self.asks.open.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn each_is_told_its_own_and_who_has_gone_is_not_told() {
        let asks = Asks::new();
        let (one, other) = (asks.open(), asks.open());
        let number = other.number;
        assert_ne!(one.number, number);
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut waiting = pin!(one.told());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            assert_eq!(asks.tell(one.number, "one"), Ok(()));
            assert_eq!(waiting.poll(&mut context), Poll::Ready("one"));
        }
        drop(other);
        assert_eq!(asks.tell(number, "late"), Err("late"));
        drop(one);
        assert!(asks.open.borrow().is_empty());
    }
}
