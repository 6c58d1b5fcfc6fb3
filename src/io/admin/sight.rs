//! What can be seen of the process from outside: gathered when it is asked for, from what the threads
//! have left where anybody may read it. Nobody is asked, so that a thread that hangs hides nothing.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::base::limits::CORE_STUCK;
use crate::base::time::{Millis, UnixMillis};
use crate::io::clock::Clock;
use crate::io::core::Handle;
use crate::io::endpoint::Endpoint;
use crate::io::log::Log;
use crate::io::queue::sender::Watch;
use crate::io::queue::thread::Queue;
use crate::logic::source::{GroupName, SourceName};
use crate::logic::view::{Cause, Lead};
use crate::shared::history::History;
use crate::shared::memory::Memory;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::nodes::Nodes;
use crate::shared::reloads::Reloads;
use crate::shared::state::{Seat, Seats};

/// Everything that is looked at.
pub struct Sight {
    /// The seats.
    pub seats: Arc<Seats>,
    /// The cores.
    pub cores: Vec<Arc<Handle>>,
    /// The counters of all other threads but the senders of queues.
    pub counters: Vec<Arc<Counters>>,
    /// Those of these, by the number of their endpoint; they outlive the queues.
    pub senders: Box<[OnceLock<Arc<Counters>>]>,
    /// What is held.
    pub memory: Arc<Memory>,
    /// The last hand-overs.
    pub history: Arc<History>,
    /// The endpoints and their queues, as they are now.
    pub shown: ArcSwap<Shown>,
    /// How often the configuration was read again, and what came of it.
    pub reloads: Reloads,
    /// The nodes, if this is one of a cluster.
    pub nodes: Option<Arc<Nodes>>,
    /// The clock.
    pub clock: Clock,
    /// When the process began.
    pub began: UnixMillis,
    /// The log.
    pub log: Log,
    /// Whether the process is about to end.
    pub is_ending: AtomicBool,
}

/// What a reload changes of it.
#[derive(Default)]
pub struct Shown {
    /// The endpoints, and then those that have been removed and whose queue is not closed yet.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The queues of those that have one.
    pub queues: Vec<Seen>,
}

/// What is looked at of one queue.
pub struct Seen {
    /// The name of its endpoint.
    pub endpoint: String,
    /// How full it is.
    pub queue: Queue,
    /// How old what waits in it is.
    pub sender: Watch,
    /// Whether its endpoint has been removed.
    pub is_leaving: bool,
}

impl Sight {
    /// The sum of a counter over all threads.
    pub fn count(&self, counter: Counter) -> u64 {
        self.threads().map(|counters| counters.value(counter)).sum()
    }

    /// The changes of a seat for this cause.
    pub fn promotions(&self, cause: Cause) -> u64 {
        self.threads().map(|counters| counters.promotions(cause)).sum()
    }

    /// The counters of all threads.
    pub fn threads(&self) -> impl Iterator<Item = &Counters> {
        let cores = self.cores.iter().map(|core| &core.counters);
        let senders = self.senders.iter().filter_map(OnceLock::get);
        cores.chain(self.counters.iter().chain(senders).map(|counters| &**counters))
    }

    /// What is wrong with the process itself, in plain words; nothing if it is healthy.
    pub fn ailments(&self) -> Vec<String> {
        // Cores that have ended do not move.
        if self.is_ending() {
            return Vec::new();
        }
        stuck(&self.cores, self.clock.now())
    }

    /// From now on the process is about to end.
    pub fn say_ending(&self) {
        // Relaxed: it guards no other data.
        self.is_ending.store(true, Ordering::Relaxed);
    }

    fn is_ending(&self) -> bool {
        // Relaxed: as above.
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Why it does not take requests, in plain words; nothing if it is ready. One group among several is no
    /// reason to send all others elsewhere.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = self.ailments();
        if self.is_ending() {
            obstacles.push("it is about to end".into());
        }
        if self.nodes.as_ref().is_some_and(|nodes| !nodes.is_settled()) {
            obstacles.push("it does not know yet how the groups of the cluster stand".into());
        }
        let shown = self.shown.load();
        // What has a queue is stored all the same.
        let is_queued =
            |it: &&Arc<Endpoint>| shown.queues.iter().any(|queue| queue.endpoint == it.name);
        let direct = shown.endpoints.iter().filter(|it| !is_queued(it));
        obstacles.extend(direct.filter_map(|it| unknown(it)));
        let seats = self.seats.all();
        if !seats.is_empty() && seats.values().all(|seat| is_unled(seat)) {
            obstacles.push("nobody leads any group, as far as is known here".into());
        }
        obstacles
    }

    /// All that is wrong right now, in plain words, also where it takes requests.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.obstacles();
        let shown = self.shown.load();
        let queued = shown.endpoints.iter().filter_map(|it| unknown(it));
        let further: Vec<String> = queued.filter(|it| !faults.contains(it)).collect();
        faults.extend(further);
        faults.extend(self.reloads.last().fault());
        let seats = self.seats.all();
        let unled = seats.values().filter(|seat| is_unled(seat));
        let mut unled: Vec<&GroupName> = unled.map(|seat| &seat.group).collect();
        unled.sort();
        match (unled.len(), unled.first()) {
            (1, Some(group)) => faults.push(format!("nobody leads {}", called(group))),
            (more, Some(group)) => {
                faults.push(format!("nobody leads {more} groups, {} first", called(group)));
            }
            (_, None) => {}
        }
        faults
    }
}

/// How long ago a core last showed that it lives.
pub fn beat_age(core: &Handle, now: Millis) -> Millis {
    // Relaxed: a lone timestamp.
    now.since(Millis(core.load.beat.load(Ordering::Relaxed)))
}

fn unknown(endpoint: &Endpoint) -> Option<String> {
    let is_known = !endpoint.addresses.now().is_empty();
    (!is_known).then(|| format!("no address of endpoint '{}' is known", endpoint.name))
}

fn is_unled(seat: &Seat) -> bool {
    matches!(seat.view().lead, Lead::Nobody | Lead::Orphan)
}

fn stuck(cores: &[Arc<Handle>], now: Millis) -> Vec<String> {
    let stuck = cores.iter().filter_map(|core| {
        let age = beat_age(core, now);
        (age >= CORE_STUCK).then(|| format!("core {} has not moved for {age}", core.index))
    });
    stuck.collect()
}

/// A name that came from outside, as text.
pub fn text(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// What a source is called where it stays the same: a port of a client does not.
pub fn name(source: &SourceName) -> String {
    match source {
        SourceName::Named(name) => text(name).into_owned(),
        SourceName::Address(..) => source.to_string(),
        SourceName::Connection(address, _) => address.ip().to_string(),
    }
}

/// What a group is called, in a sentence.
pub fn called(group: &GroupName) -> String {
    match (&*group.tenant, &*group.group) {
        ([], []) => "the group without a name".into(),
        ([], group) => format!("group '{}'", text(group).escape_debug()),
        (tenant, group) => format!(
            "group '{}' of tenant '{}'",
            text(group).escape_debug(),
            text(tenant).escape_debug()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_core_that_does_not_beat_is_no_healthy_one() {
        let core = |index, beat| {
            let handle = Handle::new(index, UnixStream::pair().expect("two descriptors").0);
            handle.load.beat.store(beat, Ordering::Relaxed);
            Arc::new(handle)
        };
        let cores = [core(0, 10_000), core(1, 6_000)];
        assert!(stuck(&cores, Millis(10_999)).is_empty());
        assert_eq!(stuck(&cores, Millis(11_000)), ["core 1 has not moved for 5s"]);
    }

    #[test]
    fn a_name_that_is_no_text_is_shown_all_the_same() {
        let group = GroupName { tenant: Box::default(), group: (*b"a\xff\n").into() };
        assert_eq!(called(&group), "group 'a\u{fffd}\\n'");
        let connection = SourceName::Connection(([10, 0, 0, 1], 4711).into(), 3);
        assert_eq!(name(&connection), "10.0.0.1", "a port does not stay");
    }
}
