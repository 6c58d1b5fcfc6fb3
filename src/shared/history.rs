//! The last hand-overs of this process, for whoever asks what they cost.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::base::limits::HISTORY_MAX;
use crate::base::time::UnixMillis;
use crate::logic::cost::Cost;
use crate::logic::source::GroupName;
use crate::logic::view::Cause;

/// One hand-over, after everything held was sent on.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose seat.
    pub group: GroupName,
    /// Who sat in it, by name.
    pub from: String,
    /// Who took it, by name.
    pub to: String,
    /// Why.
    pub cause: Cause,
    /// When that was.
    pub at: UnixMillis,
    /// What it cost.
    pub cost: Cost,
}

/// The log line.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { group, from, to, cause, cost, .. } = self;
        write!(f, "hand-over :")?;
        for (name, value) in [("tenant", &group.tenant), ("group", &group.group)] {
            if !value.is_empty() {
                write!(f, " {name}={}", String::from_utf8_lossy(value).escape_debug())?;
            }
        }
        write!(f, " from={from} to={to} reason={cause} {cost}")
    }
}

/// The last [`HISTORY_MAX`] of them.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Record>>);

impl History {
    /// Keeps one more; the oldest goes.
    pub fn add(&self, record: Record) {
        // A thread that panics ends the process, so nobody finds it poisoned.
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == HISTORY_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
