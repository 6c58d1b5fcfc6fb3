//! What has been written and not synced, and when that has to happen.

use crate::base::limits::QUEUE_RETRY;
use crate::base::time::Millis;
use crate::logic::queue::setting::Sync;

/// What waits for a sync, of one file.
#[derive(Debug)]
pub struct Commit {
    sync: Sync,
    due: Option<Millis>,
}

impl Commit {
    /// Nothing waits.
    pub fn new(sync: Sync) -> Commit {
        Commit { sync, due: None }
    }

    /// Something has been written. What nobody wants synced waits for nothing.
    pub fn on_written(&mut self, now: Millis) {
        let due = match self.sync {
            Sync::Always => now,
            Sync::Every(span) => now.after(span),
            Sync::Never => return,
        };
        self.due.get_or_insert(due);
    }

    /// What waits is to wait no longer.
    pub fn hurry(&mut self, now: Millis) {
        self.due = self.due.map(|due| due.min(now));
    }

    /// Whether it is time.
    pub fn is_due(&self, now: Millis) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether anything waits.
    pub fn waits(&self) -> bool {
        self.due.is_some()
    }

    /// When it will be time.
    pub fn due(&self) -> Option<Millis> {
        self.due
    }

    /// All that was written has been synced, or is given up.
    pub fn on_synced(&mut self) {
        self.due = None;
    }

    /// It could not be; it is tried again, but not at once.
    pub fn on_failed(&mut self, now: Millis) {
        self.due = Some(now.after(QUEUE_RETRY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_write_says_when_a_sync_is_due() {
        let mut commit = Commit::new(Sync::Every(Millis(200)));
        assert_eq!(commit.due(), None);
        commit.on_written(Millis(1000));
        commit.on_written(Millis(1150));
        assert!(!commit.is_due(Millis(1199)) && commit.is_due(Millis(1200)));
        commit.hurry(Millis(1150));
        assert!(commit.is_due(Millis(1150)));
        commit.on_synced();
        commit.hurry(Millis(1150));
        assert!(!commit.waits());
        commit.on_written(Millis(2000));
        commit.on_failed(Millis(2200));
        assert_eq!(commit.due(), Some(Millis(3200)));
    }

    #[test]
    fn always_is_due_at_once_and_never_is_not() {
        let mut always = Commit::new(Sync::Always);
        always.on_written(Millis(5));
        assert!(always.is_due(Millis(5)));
        let mut never = Commit::new(Sync::Never);
        never.on_written(Millis(5));
        assert!(!never.waits());
    }
}
