//! The leases of an etcd, as the cluster's thread has to do with them: what the member wants is asked
//! for, and what is promised is passed on.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::time::Millis;
use crate::io::etcd::{Ask, Etcd};
use crate::logic::cluster::etcd_lease::Told;
use crate::logic::cluster::member::Member;
use crate::logic::cluster::standing::GroupKey;
use crate::wire::cluster::etcd::Key;

/// The leases of one member.
pub struct Leases {
    etcd: Etcd,
    wanted: BTreeSet<GroupKey>,
    /// How often each was released without having heard that it is: what is granted until then was so
    /// before.
    releasing: BTreeMap<GroupKey, u32>,
}

impl Leases {
    /// Nothing is wanted yet.
    pub fn new(etcd: Etcd) -> Leases {
        Leases { etcd, wanted: BTreeSet::new(), releasing: BTreeMap::new() }
    }

    /// Takes in what the etcd has said, and asks for what the member wants now.
    pub fn exchange(&mut self, member: &mut Member, now: Millis) {
        for told in self.etcd.told().try_iter() {
            match told {
                Told::Granted { key, until } => {
                    let key = GroupKey(key.0);
                    if !self.releasing.contains_key(&key) {
                        member.on_lease(key, until, now);
                    }
                }
                Told::Released { key } => {
                    if let Entry::Occupied(mut times) = self.releasing.entry(GroupKey(key.0)) {
                        *times.get_mut() -= 1;
                        if *times.get() == 0 {
                            times.remove();
                        }
                    }
                }
                Told::Taken { key, .. } | Told::Lost { key } => {
                    member.on_lease(GroupKey(key.0), Millis(0), now);
                }
                // It is asked for again.
                Told::Refused { key } => _ = self.wanted.remove(&GroupKey(key.0)),
                // What is promised ends by itself.
                Told::Unreachable(_) | Told::Again => {}
            }
        }
        let wanted: BTreeSet<GroupKey> = member.wanted(now).into_iter().collect();
        let more: Vec<GroupKey> = wanted.difference(&self.wanted).copied().collect();
        let less: Vec<GroupKey> = self.wanted.difference(&wanted).copied().collect();
        // What was promised does not count any more, though it may not be over.
        less.iter().for_each(|key| member.on_lease(*key, Millis(0), now));
        if self.ask(Ask::Want(more.iter().map(|key| Key(key.0)).collect())) {
            self.wanted.extend(more);
        }
        if self.release(&less) {
            self.wanted.retain(|key| wanted.contains(key));
        }
    }

    /// Groups are not led any more, and may be another's.
    pub fn free(&mut self, keys: &[GroupKey]) {
        let keys: Vec<GroupKey> =
            keys.iter().filter(|key| self.wanted.contains(*key)).copied().collect();
        if self.release(&keys) {
            keys.iter().for_each(|key| _ = self.wanted.remove(key));
        }
    }

    /// Gives all of them back.
    pub fn stop(self) {
        self.etcd.stop();
    }

    fn release(&mut self, keys: &[GroupKey]) -> bool {
        let is_asked = self.ask(Ask::Release(keys.iter().map(|key| Key(key.0)).collect()));
        if is_asked {
            keys.iter().for_each(|key| *self.releasing.entry(*key).or_default() += 1);
        }
        is_asked
    }

    /// Whether it was asked, or there was nothing to ask. If not, it is asked again.
    fn ask(&self, ask: Ask) -> bool {
        let (Ask::Want(keys) | Ask::Release(keys)) = &ask;
        keys.is_empty() || self.etcd.ask(ask).is_ok()
    }
}
