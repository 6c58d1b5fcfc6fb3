//! A disk that is full or fails: it is left alone for a while, and tried again.
//!
//! Nothing is lost meanwhile: what can't be written is refused, and its source keeps it.

use crate::base::limits::QUEUE_RETRY;
use crate::base::time::Millis;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no room on it.
    Full,
    /// It does not do what it is told.
    Failed,
}

/// How the disk is doing.
#[derive(Debug, Default)]
pub struct Trouble {
    now: Option<(Fault, Millis)>,
}

impl Trouble {
    /// It has failed. Whether that is news: one line in the log for all of the same.
    pub fn on_fault(&mut self, fault: Fault, now: Millis) -> bool {
        let before = self.now.replace((fault, now.after(QUEUE_RETRY)));
        before.is_none_or(|(before, _)| before != fault)
    }

    /// It has done what it was told. Whether that is news.
    pub fn on_success(&mut self) -> bool {
        self.now.take().is_some()
    }

    /// A file is gone: there may be room again.
    pub fn on_room(&mut self, now: Millis) {
        if let Some((Fault::Full, until)) = &mut self.now {
            *until = now;
        }
    }

    /// Whether nothing is known to be wrong.
    pub fn is_none(&self) -> bool {
        self.now.is_none()
    }

    /// What keeps from trying now, if anything does.
    pub fn judge(&self, now: Millis) -> Option<Fault> {
        self.now.filter(|(_, until)| now < *until).map(|(fault, _)| fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_failed_is_tried_again_after_a_while() {
        let mut trouble = Trouble::default();
        assert!(trouble.is_none() && trouble.on_fault(Fault::Failed, Millis(0)));
        assert!(!trouble.on_fault(Fault::Failed, Millis(0)), "it is known");
        trouble.on_room(Millis(10));
        assert_eq!(trouble.judge(Millis(999)), Some(Fault::Failed));
        assert_eq!(trouble.judge(Millis(1000)), None);
        assert!(trouble.on_success() && !trouble.on_success());
    }

    #[test]
    fn a_full_disk_is_tried_again_as_soon_as_a_file_is_gone() {
        let mut trouble = Trouble::default();
        trouble.on_fault(Fault::Full, Millis(0));
        assert_eq!(trouble.judge(Millis(10)), Some(Fault::Full));
        trouble.on_room(Millis(10));
        assert_eq!(trouble.judge(Millis(10)), None);
    }
}
