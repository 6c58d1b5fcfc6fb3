//! How often the configuration was read again while the program ran, and what came of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::time::UnixMillis;

/// All that is remembered.
#[derive(Debug)]
pub struct Reloads(Mutex<Last>);

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// How many were taken over.
    pub taken: u64,
    /// How many were refused.
    pub refused: u64,
    /// When the configuration that is in force was taken over: at the start, or by a reload.
    pub taken_at: UnixMillis,
    /// What was wrong with the last one, if it was refused.
    pub faults: Vec<String>,
}

impl Reloads {
    /// The program began with its configuration.
    pub fn since(began: UnixMillis) -> Reloads {
        let (taken, refused, faults) = Default::default();
        Reloads(Mutex::new(Last { taken, refused, taken_at: began, faults }))
    }

    /// What came of the last one.
    pub fn last(&self) -> Last {
        self.lock().clone()
    }

    /// One was taken over.
    pub fn on_taken(&self, now: UnixMillis) {
        let mut last = self.lock();
        (last.taken, last.taken_at) = (last.taken + 1, now);
        last.faults.clear();
    }

    /// One was refused, for these reasons.
    pub fn on_refused(&self, faults: Vec<String>) {
        let mut last = self.lock();
        last.refused += 1;
        last.faults = faults;
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        // Nothing in here can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    /// The same in plain words, if the last one was refused.
    pub fn fault(&self) -> Option<String> {
        let (first, others) = self.faults.split_first()?;
        let more = match others.len() {
            0 => String::new(),
            more => format!(" ({more} more)"),
        };
        Some(format!("the configuration that was read again is refused: {first}{more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_until_one_is_taken_over() {
        let reloads = Reloads::since(UnixMillis(5));
        assert_eq!(reloads.last().fault(), None);
        reloads.on_refused(vec!["a is bad".into(), "b too".into()]);
        let last = reloads.last();
        let told = "the configuration that was read again is refused: a is bad (1 more)";
        assert_eq!(last.fault().as_deref(), Some(told));
        assert_eq!((last.taken, last.refused, last.taken_at), (0, 1, UnixMillis(5)));
        reloads.on_taken(UnixMillis(9));
        let last = reloads.last();
        assert_eq!((last.taken, last.refused, last.taken_at), (1, 1, UnixMillis(9)));
        assert_eq!(last.fault(), None);
    }
}
