//! What the log hears of the queue of an endpoint: a line a minute of each kind, not one per request.

use crate::base::time::{Millis, UnixMillis};
use crate::io::log::Log;
use crate::io::queue::depth::Depth;
use crate::io::queue::exchange::Reason;
use crate::io::queue::notice::Notice;
use crate::logic::queue::trouble::Fault;
use crate::shared::metrics::{Counter, Counters};

/// How often each kind may have a line.
const EVERY: Millis = Millis(60_000);

/// What has been said of one endpoint.
#[derive(Debug)]
pub struct Report {
    /// The endpoint.
    name: String,
    log: Log,
    rejected: Kind,
    unsendable: Kind,
    refused: Kind,
    behind_at: Option<Millis>,
}

/// Lines of one kind.
#[derive(Debug, Default)]
struct Kind {
    at: Option<Millis>,
    silent: u64,
}

impl Kind {
    /// Whether there may be a line now; of how many that had none it then has to speak.
    fn poll(&mut self, now: Millis) -> Option<u64> {
        if self.at.is_some_and(|at| now.since(at) < EVERY) {
            self.silent += 1;
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

impl Report {
    /// Nothing has been said.
    pub fn new(name: &str, log: Log) -> Report {
        let (rejected, unsendable, refused) = Default::default();
        Report { name: name.to_owned(), log, rejected, unsendable, refused, behind_at: None }
    }

    /// A request is dropped, because the endpoint does not want it.
    pub fn on_rejected(&mut self, reason: &Reason, now: Millis) {
        if let Some(silent) = self.rejected.poll(now) {
            let Reason { status, text } = reason;
            let name = &self.name;
            self.log.error(&format!(
                "endpoint '{name}' rejected a request, which is dropped{}: {status}: {text}",
                more(silent)
            ));
        }
    }

    /// A request is dropped, because it is none.
    pub fn on_unsendable(&mut self, what: &str, now: Millis) {
        if let Some(silent) = self.unsendable.poll(now) {
            let name = &self.name;
            self.log.error(&format!(
                "a request for endpoint '{name}' can't be sent and is dropped{}: {what}",
                more(silent)
            ));
        }
    }

    /// A request is to be tried again.
    pub fn on_refused(&mut self, reason: &Reason, now: Millis) {
        if let Some(silent) = self.refused.poll(now) {
            let (Reason { status, text }, name) = (reason, &self.name);
            self.log.warn(&format!(
                "endpoint '{name}' takes no requests now{}: {status}: {text}",
                more(silent)
            ));
        }
    }

    /// The oldest record that has not been sent came at `oldest`.
    pub fn on_beat(
        &mut self,
        depth: &Depth,
        oldest: Option<UnixMillis>,
        at: UnixMillis,
        now: Millis,
    ) {
        let age = oldest.map(|oldest| at.0.saturating_sub(oldest.0));
        let age = Millis(age.and_then(|age| u64::try_from(age).ok()).unwrap_or_default());
        let name = &self.name;
        if age < EVERY {
            if self.behind_at.take().is_some() {
                self.log.info(&format!("queue of endpoint '{name}' has caught up"));
            }
        } else if self.behind_at.is_none_or(|at| now.since(at) >= EVERY) {
            self.behind_at = Some(now);
            let (records, bytes) = (depth.records(), depth.bytes());
            self.log.warn(&format!(
                "queue of endpoint '{name}' is behind: {records} records, {bytes} bytes on disk, \
                 the oldest is {} old",
                Millis(age.0 / 1000 * 1000)
            ));
        }
    }

    /// The queue itself has something to say.
    pub fn on_notice(&self, notice: &Notice, counters: &Counters) {
        match notice {
            Notice::Dropped(records) => counters.add(Counter::QueueDropped, *records),
            Notice::Damaged(places) => counters.add(Counter::QueueDamaged, *places),
            Notice::Fault(..) | Notice::Mended | Notice::Cut(_) | Notice::MarkLost => {}
        }
        let name = &self.name;
        let say = |what: String| format!("queue of endpoint '{name}': {what}");
        match notice {
            Notice::Fault(Fault::Full, error) => {
                self.log
                    .error(&say(format!("the disk is full, new requests are refused: {error}")));
            }
            Notice::Fault(Fault::Failed, error) => {
                self.log.error(&say(format!("the disk has failed: {error}")));
            }
            Notice::Mended => self.log.info(&say("the disk works again".to_owned())),
            Notice::Damaged(places) => {
                self.log
                    .error(&say(format!("{places} places were damaged: what was there is lost")));
            }
            Notice::Cut(bytes) => {
                self.log.warn(&say(format!(
                    "{bytes} bytes that were no whole record were cut off; some of that may have been \
                     sent"
                )));
            }
            Notice::MarkLost => {
                self.log
                    .warn(&say("how far it was sent is not known: some is sent again".to_owned()));
            }
            Notice::Dropped(records) => {
                self.log.error(&say(format!("{records} records were dropped to make room")));
            }
        }
    }
}

fn more(silent: u64) -> String {
    if silent == 0 { String::new() } else { format!(" (and {silent} more since the last line)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_line_a_minute_and_counts_what_had_none() {
        let mut kind = Kind::default();
        let lines = [0, 1, 59_999, 60_000, 60_001, 200_000].map(|now| kind.poll(Millis(now)));
        assert_eq!(lines, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!((more(0), more(3)), (String::new(), " (and 3 more since the last line)".into()));
    }
}
