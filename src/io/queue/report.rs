//! What an operator should know of a queue, in the words of the log.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::Receiver;

use crate::io::log::{Level, Log};
use crate::io::queue::store::Notice;
use crate::logic::queue::trouble::Fault;
use crate::shared::metrics::{Counter, Counters};

/// Starts a thread that writes and counts what there is to say of the queue of the endpoint `name`. It
/// ends after the queue has.
pub fn start(
    name: &str,
    notices: Receiver<Notice>,
    log: &Log,
    counters: Arc<Counters>,
) -> io::Result<JoinHandle<()>> {
    let (name, log) = (name.to_owned(), log.clone());
    thread::Builder::new().name("queue-log".into()).spawn(move || {
        for notice in notices {
            match notice {
                Notice::Dropped(records) => counters.add(Counter::QueueDropped, records),
                Notice::Damaged(places) => counters.add(Counter::QueueDamaged, places),
                Notice::Fault(..) | Notice::Mended | Notice::Cut(_) | Notice::MarkLost => {}
            }
            let (level, words) = words(&notice);
            log.write(level, &format!("queue of {name}: {words}"));
        }
    })
}

fn words(notice: &Notice) -> (Level, String) {
    match notice {
        Notice::Fault(Fault::Full, why) => (Level::Error, format!("no room on the disk: {why}")),
        Notice::Fault(Fault::Failed, why) => (Level::Error, format!("the disk fails: {why}")),
        Notice::Mended => (Level::Info, "the disk works again".to_owned()),
        Notice::Damaged(places) => {
            (Level::Error, format!("damaged in {places} places, the requests there are lost"))
        }
        Notice::Cut(bytes) => {
            (Level::Warn, format!("{bytes} bytes behind its last whole request were cut off"))
        }
        Notice::MarkLost => {
            (Level::Warn, "how far it was sent is not known: some is sent again".to_owned())
        }
        Notice::Dropped(records) => (
            Level::Error,
            format!("{records} requests that were not sent made room for newer ones"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_an_error_and_what_comes_twice_is_not() {
        let lost = [Notice::Damaged(1), Notice::Dropped(1), Notice::Fault(Fault::Full, "".into())];
        assert!(lost.iter().all(|notice| words(notice).0 == Level::Error));
        assert_eq!(words(&Notice::MarkLost).0, Level::Warn);
        assert!(words(&Notice::Dropped(7)).1.starts_with("7 requests"));
    }
}
