//! What comes to a thread from others: a bounded line, and a sleep until something is in it.
//!
//! Not a channel: those look for a while before they sleep, which for a thread that has something to do
//! every few hundred microseconds costs more than the work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The line.
#[derive(Debug)]
pub struct Inbox<T> {
    inside: Mutex<Inside<T>>,
    wake: Condvar,
    length_max: usize,
}

#[derive(Debug)]
struct Inside<T> {
    line: VecDeque<T>,
    /// Somebody wants the thread to look around, whether or not anything is in the line.
    is_nudged: bool,
    is_ended: bool,
}

/// Why nothing was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPut {
    /// It is full.
    Full,
    /// Nobody takes anything out any more.
    Ended,
}

impl<T> Inbox<T> {
    /// An empty one, of `length_max` at most.
    pub fn new(length_max: usize) -> Inbox<T> {
        let inside = Inside { line: VecDeque::new(), is_nudged: false, is_ended: false };
        Inbox { inside: Mutex::new(inside), wake: Condvar::new(), length_max }
    }

    fn inside(&self) -> MutexGuard<'_, Inside<T>> {
        // Nothing in here can panic half way.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something behind what is there, and wakes the thread. Never blocks.
    pub fn put(&self, thing: T) -> Result<(), NotPut> {
        self.put_silently(thing)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Puts something behind what is there; if the thread sleeps, it goes on to.
    pub fn put_silently(&self, thing: T) -> Result<(), NotPut> {
        let mut inside = self.inside();
        match inside.is_ended {
            true => return Err(NotPut::Ended),
            false if inside.line.len() >= self.length_max => return Err(NotPut::Full),
            false => inside.line.push_back(thing),
        }
        Ok(())
    }

    /// Wakes the thread.
    pub fn nudge(&self) {
        self.inside().is_nudged = true;
        self.wake.notify_one();
    }

    /// Takes what is in front, in order, as long as `takes` says so of each. Whether that was all for ever.
    pub fn take_while(&self, mut takes: impl FnMut(T) -> bool) -> bool {
        let mut inside = self.inside();
        while let Some(thing) = inside.line.pop_front() {
            if !takes(thing) {
                break;
            }
        }
        inside.is_ended && inside.line.is_empty()
    }

    /// Takes what is in front as long as `takes` takes it; whether nothing is left.
    pub fn take_leading(&self, mut takes: impl FnMut(&T) -> bool) -> bool {
        let mut inside = self.inside();
        while inside.line.front().is_some_and(&mut takes) {
            inside.line.pop_front();
        }
        inside.line.is_empty()
    }

    /// Sleeps until something is there or somebody nudges, no longer than `span`.
    pub fn wait(&self, span: Duration) {
        let idle = |inside: &mut Inside<T>| {
            inside.line.is_empty() && !inside.is_nudged && !inside.is_ended
        };
        let waited = self.wake.wait_timeout_while(self.inside(), span, idle);
        let (mut inside, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inside.is_nudged = false;
    }

    /// Lets nothing more in.
    pub fn end(&self) {
        self.inside().is_ended = true;
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_put_comes_out_in_order_and_no_more_goes_in_than_may() {
        let inbox = Inbox::new(3);
        assert_eq!([1, 2, 3, 4].map(|it| inbox.put(it).is_ok()), [true, true, true, false]);
        let mut taken = Vec::new();
        let mut take = |it| {
            taken.push(it);
            it < 2
        };
        assert!(!inbox.take_while(&mut take));
        assert_eq!(taken, [1, 2]);
        assert_eq!((inbox.put(4), inbox.put(5), inbox.put(6)), (Ok(()), Ok(()), Err(NotPut::Full)));
        assert!(!inbox.take_leading(|it| *it < 4), "there is more");
        assert!(inbox.take_leading(|_| true));
        assert_eq!((inbox.put(4), inbox.put(5)), (Ok(()), Ok(())));
        inbox.end();
        assert_eq!(inbox.put(7), Err(NotPut::Ended));
        assert!(!inbox.take_while(|it| it < 3), "there is more");
        assert!(inbox.take_while(|_| true));
    }

    #[test]
    fn who_sleeps_is_woken_by_what_comes_and_by_a_nudge() {
        let inbox = Inbox::new(3);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for wakes in [|inbox: &Inbox<u8>| inbox.put(1).expect("there is room"), Inbox::nudge] {
                scope.spawn(|| inbox.wait(Duration::from_secs(60)));
                std::thread::sleep(Duration::from_millis(5));
                wakes(&inbox);
            }
        });
        inbox.nudge();
        inbox.wait(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(30));
        inbox.take_while(|_| true);
        inbox.wait(Duration::from_millis(1));
        inbox.put_silently(2).expect("there is room");
        inbox.wait(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(30), "who is awake sees it");
    }
}
