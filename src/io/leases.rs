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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use crossbeam::channel::{Receiver, Sender};

    use super::*;
    use crate::logic::cluster::group::Lead;
    use crate::logic::cluster::member::{LeaseKind, Setting};
    use crate::logic::cluster::node::Node;
    use crate::logic::source::GroupName;

    const UNTIL: Millis = Millis(60_000);

    fn group(name: &str) -> GroupName {
        GroupName { tenant: Box::default(), group: name.as_bytes().into() }
    }

    fn key(name: &str) -> Key {
        Key(GroupKey::of(&group(name)).0)
    }

    /// A member that is alone and has settled, and its leases, with room for so many asks.
    fn alone(room: usize) -> (Member, Leases, Receiver<Ask>, Sender<Told>) {
        let me = Node::at(SocketAddr::from(([10, 0, 0, 1], 1)));
        let leases = LeaseKind::Elsewhere;
        let setting = Setting { me, listen: me.address, leases, settle_max: Millis(0), seed: 1 };
        let mut member = Member::new(setting, &[], Millis(1));
        member.on_time(Millis(1));
        let (etcd, asked, telling) = Etcd::unkept(room);
        (member, Leases::new(etcd), asked, telling)
    }

    /// The same; it wants these groups.
    fn wanting(names: &[&str], room: usize) -> (Member, Leases, Receiver<Ask>, Sender<Told>) {
        let (mut member, mut leases, asked, telling) = alone(room);
        names.iter().for_each(|name| assert!(member.on_wanted(&group(name), Millis(1))));
        leases.exchange(&mut member, Millis(1));
        let Ok(Ask::Want(keys)) = asked.try_recv() else { panic!("it wants nothing") };
        assert_eq!(keys.len(), names.len());
        (member, leases, asked, telling)
    }

    fn leads(member: &Member, name: &str) -> bool {
        member.lead(&group(name)) == Lead::Us
    }

    #[test]
    fn what_was_granted_before_a_release_was_heard_does_not_count() {
        let (mut member, mut leases, asked, telling) = wanting(&["a"], 9);
        leases.free(&[GroupKey(key("a").0)]);
        assert_eq!(asked.try_recv(), Ok(Ask::Release(vec![key("a")])));
        // It is wanted again at once; what was under way is of the life that is released.
        let granted = || Told::Granted { key: key("a"), until: UNTIL };
        telling.send(granted()).expect("there is room");
        leases.exchange(&mut member, Millis(2));
        assert_eq!(asked.try_recv(), Ok(Ask::Want(vec![key("a")])));
        assert!(!leads(&member, "a"));
        telling.send(Told::Released { key: key("a") }).expect("there is room");
        telling.send(granted()).expect("there is room");
        leases.exchange(&mut member, Millis(3));
        assert!(leads(&member, "a"));
    }

    #[test]
    fn a_want_that_was_asked_is_remembered_though_its_release_finds_no_room() {
        let (mut member, mut leases, asked, _telling) = wanting(&["a"], 1);
        member.on_forgotten(&group("a"), Millis(1));
        member.on_time(Millis(120_000));
        assert!(member.on_wanted(&group("b"), Millis(120_000)));
        leases.exchange(&mut member, Millis(120_000));
        assert_eq!(
            asked.try_recv(),
            Ok(Ask::Want(vec![key("b")])),
            "that is all there was room for"
        );
        leases.exchange(&mut member, Millis(120_001));
        assert_eq!(asked.try_recv(), Ok(Ask::Release(vec![key("a")])));
        leases.free(&[GroupKey(key("b").0)]);
        assert_eq!(asked.try_recv(), Ok(Ask::Release(vec![key("b")])), "it is known to be wanted");
    }

    #[test]
    fn what_was_refused_is_asked_for_again_and_what_is_given_away_goes_in_one_ask() {
        let (mut member, mut leases, asked, telling) = wanting(&["a", "b"], 9);
        telling.send(Told::Refused { key: key("b") }).expect("there is room");
        leases.exchange(&mut member, Millis(2));
        assert_eq!(asked.try_recv(), Ok(Ask::Want(vec![key("b")])));
        leases.free(&[GroupKey(key("a").0), GroupKey(key("b").0), GroupKey(7)]);
        assert_eq!(asked.try_recv(), Ok(Ask::Release(vec![key("a"), key("b")])));
        assert!(asked.is_empty());
    }
}
