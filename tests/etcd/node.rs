//! A node that wants keys, and remembers all it is told.

use std::thread;
use std::time::{Duration, Instant};

use highlander::base::time::Millis;
use highlander::io::clock::Clock;
use highlander::io::etcd::client::EtcdConfig;
use highlander::io::etcd::{Ask, Etcd};
use highlander::io::log::{Format, Level, Log};
use highlander::logic::cluster::etcd_lease::Told;
use highlander::wire::cluster::etcd::Key;

use crate::program::START_MAX;

/// Plain HTTP to these hosts.
pub fn config(hosts: &[String]) -> EtcdConfig {
    EtcdConfig { hosts: hosts.to_vec(), tls: None, login: None }
}

/// A node.
pub struct Node {
    name: String,
    clock: Clock,
    etcd: Option<Etcd>,
    told: Vec<(Millis, Told)>,
}

impl Node {
    /// Starts it; it wants nothing yet.
    pub fn start(config: &EtcdConfig, name: &str, clock: Clock) -> Node {
        let log = Log::start(Level::Info, Format::Text).expect("a log thread");
        let etcd = Etcd::start(config, "cluster", name, clock, &log).expect("a good configuration");
        Node { name: name.to_owned(), clock, etcd: Some(etcd), told: Vec::new() }
    }

    /// Asks for something, for which there must be room.
    pub fn ask(&self, ask: Ask) {
        let etcd = self.etcd.as_ref().expect("it was not stopped");
        assert_eq!(etcd.ask(ask), Ok(()));
    }

    /// Wants these keys too.
    pub fn want(&self, keys: &[Key]) {
        self.ask(Ask::Want(keys.to_vec()));
    }

    /// Hears what it has been told so far.
    pub fn take_in(&mut self) {
        let etcd = self.etcd.as_ref().expect("it was not stopped");
        let heard = etcd.told().try_iter();
        self.told.extend(heard.map(|told| (self.clock.now(), told)));
    }

    /// Hears what it is told until `what` holds of it.
    pub fn wait(&mut self, what: &str, holds: impl Fn(&Node) -> bool) {
        let deadline = Instant::now() + START_MAX;
        loop {
            self.take_in();
            if holds(self) {
                return;
            }
            let name = &self.name;
            assert!(Instant::now() < deadline, "{name} waits for {what}: {:?}", self.told);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in good order, and hears what it was told before.
    pub fn stop(mut self) -> Node {
        self.take_in();
        let started = Instant::now();
        self.etcd.take().expect("it was not stopped").stop();
        assert!(started.elapsed() < Duration::from_millis(1_500));
        self
    }

    /// The latest moment that it was promised `key` until; nothing it is told takes that back here.
    pub fn until(&self, key: Key) -> Option<Millis> {
        self.promises(key).map(|(_, until)| until).max()
    }

    /// When it was first promised `key`.
    pub fn granted_at(&self, key: Key) -> Option<Millis> {
        self.promises(key).map(|(at, _)| at).min()
    }

    /// All promises so far.
    pub fn renewals(&self) -> usize {
        self.told.iter().filter(|(_, told)| matches!(told, Told::Granted { .. })).count()
    }

    /// It has the key, or knows who has.
    pub fn knows(&self, key: Key) -> bool {
        let of_it = |told: &Told| match told {
            Told::Granted { key: of, .. } | Told::Taken { key: of, .. } => *of == key,
            Told::Lost { .. }
            | Told::Refused { .. }
            | Told::Released { .. }
            | Told::Unreachable(_)
            | Told::Again => false,
        };
        self.told.iter().any(|(_, told)| of_it(told))
    }

    /// It was told that this one has the key.
    pub fn knows_holder(&self, key: Key, holder: &str) -> bool {
        self.was_told(&Told::Taken { key, holder: holder.to_owned() })
    }

    /// It was told exactly this.
    pub fn was_told(&self, what: &Told) -> bool {
        self.told.iter().any(|(_, told)| told == what)
    }

    /// The last it was told of etcd is that there is none.
    pub fn is_unreachable(&self) -> bool {
        self.trouble().is_some()
    }

    /// And why.
    pub fn trouble(&self) -> Option<&str> {
        let of_etcd = self.told.iter().rev().find_map(|(_, told)| match told {
            Told::Unreachable(reason) => Some(Some(reason.as_str())),
            Told::Again => Some(None),
            Told::Granted { .. }
            | Told::Taken { .. }
            | Told::Lost { .. }
            | Told::Refused { .. }
            | Told::Released { .. } => None,
        });
        of_etcd.flatten()
    }

    /// When it was promised `key`, and until when.
    fn promises(&self, key: Key) -> impl Iterator<Item = (Millis, Millis)> {
        self.told.iter().filter_map(move |(at, told)| match told {
            Told::Granted { key: of, until } if *of == key => Some((*at, *until)),
            _ => None,
        })
    }
}

/// No promise to the one overlaps a promise of the same key to the other.
pub fn never_two(a: &Node, b: &Node) {
    let keys = a.told.iter().filter_map(|(_, told)| match told {
        Told::Granted { key, .. } => Some(*key),
        _ => None,
    });
    for key in keys {
        for (a_from, a_until) in a.promises(key) {
            for (b_from, b_until) in b.promises(key) {
                let apart = a_until <= b_from || b_until <= a_from;
                assert!(apart, "{key:?}: {a_from:?}-{a_until:?} and {b_from:?}-{b_until:?}");
            }
        }
    }
}
