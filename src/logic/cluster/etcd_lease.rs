//! What a node holds in an etcd, and until when: a machine with the time passed in.
//!
//! One lease carries all keys of a node, and one range over all keys of the cluster says who holds
//! what. So nothing hangs on the answer to a single try: one that was lost, or that comes late, shows
//! in the next range.
//!
//! A member of etcd that was stopped, and does not know yet that another one leads, may keep a lease
//! alive that has ended, if it is of before November 2023 (etcd's issue 15247). So a renewal counts
//! only when ranges before and after it come from the same member in the same term: a range needs a
//! majority, and between two of one term nobody else has led. That such a member may also end a lease
//! that another keeps alive cannot be helped from here: with several members, take a newer etcd.

use std::collections::{BTreeMap, VecDeque};

use crate::base::limits::{
    GROUPS_MAX, LEASE_DRIFT_PERCENT, LEASE_KEYS_PER_REQUEST, LEASE_PROMISE_MAX, LEASE_RENEW_EVERY,
    LEASE_RETRY,
};
use crate::base::time::Millis;
use crate::wire::cluster::etcd::{Entry, Granted, Key, LeaseId, Origin, Renewed, Revision, Seen};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for a lease, then say [`EtcdLease::on_granted`].
    Grant,
    /// Keep this one alive, then say [`EtcdLease::on_renewed`].
    Renew(LeaseId),
    /// Read who holds what, then say [`EtcdLease::on_seen`].
    Look,
    /// Take these keys for this lease, then say [`EtcdLease::on_tried`].
    Take(LeaseId, Vec<Key>),
    /// Delete these keys, then say [`EtcdLease::on_tried`].
    Give(Vec<(Key, Revision)>),
    /// Nothing before this moment, unless something is asked for.
    Rest(Millis),
}

/// What the owner of the lease learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The key is ours, and nobody else's before `until`. It is said again with each renewal. After
    /// `until` it may be ours still, but who leads by it must not go on before that is said.
    Granted {
        /// Which.
        key: Key,
        /// Of the clock that the machine is given. The moment itself does not count any more.
        until: Millis,
    },
    /// A key that is wanted is another's. Said once for each holder; it is tried for again.
    Taken {
        /// Which.
        key: Key,
        /// What the holder calls itself.
        holder: String,
    },
    /// A key that was ours is not, whatever was said before. It is tried for again.
    Lost {
        /// Which.
        key: Key,
    },
    /// More keys are wanted than one node may have: this one is not tried for.
    Refused {
        /// Which.
        key: Key,
    },
    /// A key is not wanted any more, see [`EtcdLease::on_released`]: whatever was said of it before does not
    /// count.
    Released {
        /// Which.
        key: Key,
    },
    /// No etcd does what it is asked, and why. Nothing is prolonged until [`Told::Again`].
    Unreachable(String),
    /// All that was asked for was done, for the first time since it was not.
    Again,
}

/// The lease of one node.
#[derive(Debug)]
pub struct EtcdLease {
    /// What this node calls itself as a holder.
    identity: Vec<u8>,
    lease: Option<Lease>,
    /// The keys that are wanted, and whose they were at the last look.
    wanted: BTreeMap<Key, Standing>,
    /// Lives of keys that were ours and are to end. Until a look has shown that one has, a deletion may
    /// be under way: then the key must not be ours again, for it would be deleted behind our back.
    ending: BTreeMap<Key, Revision>,
    /// A renewal that no look has confirmed yet: when it was sent, what was answered.
    renewal: Option<(Millis, Renewed)>,
    /// Who answered the last look.
    origin: Option<Origin>,
    look_due: bool,
    /// After trouble: a lease whose keys nobody can read is not to live on.
    look_first: bool,
    free: Vec<Key>,
    give: Vec<(Key, Revision)>,
    /// What the last look found free or ending has been tried: not again before the next renewal.
    tried: bool,
    rest_until: Millis,
    reachable: bool,
    told: VecDeque<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: LeaseId,
    /// It lives at least until then.
    until: Millis,
    renew_at: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    Theirs(Vec<u8>),
    /// The life of the key that is ours, and until when that was said to last.
    Ours(Revision, Millis),
}

impl EtcdLease {
    /// Of a node that calls itself `identity`: nothing is held, nothing wanted.
    pub fn new(identity: &str) -> EtcdLease {
        EtcdLease {
            identity: identity.as_bytes().to_vec(),
            lease: None,
            wanted: BTreeMap::new(),
            ending: BTreeMap::new(),
            renewal: None,
            origin: None,
            look_due: false,
            look_first: false,
            free: Vec::new(),
            give: Vec::new(),
            tried: false,
            rest_until: Millis(0),
            reachable: true,
            told: VecDeque::new(),
        }
    }

    /// These keys are wanted too, from now on. More than [`GROUPS_MAX`] are not tried for: of those it is
    /// said at once that they are refused.
    pub fn on_wanted(&mut self, keys: &[Key]) {
        let before = self.wanted.len();
        for key in keys {
            if self.wanted.contains_key(key) {
                continue;
            }
            if self.wanted.len() < GROUPS_MAX {
                self.wanted.insert(*key, Standing::Open);
            } else {
                self.told.push_back(Told::Refused { key: *key });
            }
        }
        if self.wanted.len() > before {
            self.look_anew();
        }
    }

    /// These keys are wanted no more. Whoever acted for them has stopped: from now on they may be
    /// another's.
    pub fn on_released(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(Standing::Ours(life, _)) = self.wanted.remove(key) {
                self.ending.insert(*key, life);
            }
            self.told.push_back(Told::Released { key: *key });
        }
        self.look_anew();
    }

    /// What is to be done now.
    pub fn poll(&mut self, now: Millis) -> Step {
        if now < self.rest_until {
            return Step::Rest(self.rest_until);
        }
        let Some(lease) = self.lease else { return Step::Grant };
        if self.look_first {
            return Step::Look;
        }
        if now >= lease.renew_at && self.renewal.is_none() {
            return Step::Renew(lease.id);
        }
        if !self.give.is_empty() {
            let rest = self.give.len().saturating_sub(LEASE_KEYS_PER_REQUEST);
            return Step::Give(self.give.split_off(rest));
        }
        if !self.free.is_empty() {
            let rest = self.free.len().saturating_sub(LEASE_KEYS_PER_REQUEST);
            return Step::Take(lease.id, self.free.split_off(rest));
        }
        if self.look_due {
            return Step::Look;
        }
        if !self.reachable {
            self.reachable = true;
            self.told.push_back(Told::Again);
        }
        Step::Rest(lease.renew_at)
    }

    /// What the owner is to be told, in order.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// The lease that lives, or may live.
    pub fn lease(&self) -> Option<LeaseId> {
        self.lease.map(|lease| lease.id)
    }

    /// A lease was granted; its request was sent at `sent`, or later.
    pub fn on_granted(&mut self, sent: Millis, granted: Granted) {
        let until = promised(sent, granted.ttl_seconds);
        let renew_at = sent.after(LEASE_RENEW_EVERY);
        self.lease = Some(Lease { id: granted.lease, until, renew_at });
        self.renewal = None;
        self.look_anew();
    }

    /// The lease was kept alive, or is gone; the request was sent at `sent`, or later.
    pub fn on_renewed(&mut self, now: Millis, sent: Millis, renewed: Renewed) {
        if renewed.ttl_seconds == 0 {
            return self.on_lease_gone(now);
        }
        self.renewal = Some((sent, renewed));
        self.look_anew();
    }

    /// The lease has ended, and with it all keys are lost.
    pub fn on_lease_gone(&mut self, now: Millis) {
        self.lease = None;
        self.renewal = None;
        // The keys of a lease end with it.
        self.ending.clear();
        self.forget_found();
        for (key, standing) in &mut self.wanted {
            if let Standing::Ours(..) = std::mem::replace(standing, Standing::Open) {
                self.told.push_back(Told::Lost { key: *key });
            }
        }
        // An etcd whose leases end at once must not be asked without a pause.
        self.rest_until = now.after(LEASE_RETRY);
    }

    /// A [`Step::Take`] or [`Step::Give`] was answered: what came of it, the next look tells.
    pub fn on_tried(&mut self) {
        self.tried = true;
        self.look_due = true;
    }

    /// Who holds what.
    pub fn on_seen(&mut self, now: Millis, seen: Seen) {
        (self.look_due, self.look_first) = (false, false);
        let Some(id) = self.lease() else { return };
        self.confirm(now, seen.origin);
        let mut held: BTreeMap<Key, Entry> =
            seen.entries.into_iter().map(|entry| (entry.key, entry)).collect();
        let ours = |entry: &Entry| entry.lease == id && entry.holder == self.identity;
        self.ending.retain(|key, life| held.get(key).is_some_and(|entry| entry.created == *life));
        for entry in held.values().filter(|entry| ours(entry)) {
            if !self.wanted.contains_key(&entry.key) {
                self.ending.insert(entry.key, entry.created);
            }
        }
        self.forget_found();
        if !self.tried {
            self.give = self.ending.iter().map(|(key, life)| (*key, *life)).collect();
        }
        let keys: Vec<Key> = self.wanted.keys().copied().collect();
        for key in keys {
            let entry = held.remove(&key);
            if entry.is_none() && !self.tried {
                self.free.push(key);
            }
            let standing = match entry {
                None => Standing::Open,
                Some(_) if self.ending.contains_key(&key) => Standing::Open,
                Some(entry) if entry.lease == id && entry.holder == self.identity => {
                    Standing::Ours(entry.created, Millis(0))
                }
                Some(entry) => Standing::Theirs(entry.holder),
            };
            self.stand(now, key, standing);
        }
    }

    /// No etcd did the step.
    pub fn on_trouble(&mut self, now: Millis, reason: String) {
        if self.reachable {
            self.reachable = false;
            self.told.push_back(Told::Unreachable(reason));
        }
        self.rest_until = now.after(LEASE_RETRY);
        self.renewal = None;
        if let Some(lease) = &mut self.lease {
            lease.renew_at = now;
        }
        self.look_first = true;
        self.look_anew();
    }

    fn look_anew(&mut self) {
        self.look_due = true;
        self.tried = false;
        self.forget_found();
    }

    fn forget_found(&mut self) {
        self.free.clear();
        self.give.clear();
    }

    /// A look came from `origin`: does it confirm the renewal before it?
    fn confirm(&mut self, now: Millis, origin: Origin) {
        let before = self.origin.replace(origin);
        let Some((sent, renewed)) = self.renewal.take() else { return };
        let Some(lease) = &mut self.lease else { return };
        if renewed.origin == origin && before == Some(origin) {
            lease.until = lease.until.max(promised(sent, renewed.ttl_seconds));
            lease.renew_at = sent.after(LEASE_RENEW_EVERY);
        } else {
            // This look is the first of the two for the next renewal.
            lease.renew_at = now.after(LEASE_RETRY);
        }
    }

    /// `key` stands so now: tells what is new of it.
    fn stand(&mut self, now: Millis, key: Key, mut standing: Standing) {
        let Some(before) = self.wanted.get(&key) else { return };
        let until = self.lease.map_or(Millis(0), |lease| lease.until);
        let lost = match (before, &mut standing) {
            (Standing::Ours(life, said), Standing::Ours(life_now, said_now))
                if life == life_now =>
            {
                *said_now = *said;
                false
            }
            // Another life of it: in between, another may have had it.
            (before, _) => matches!(before, Standing::Ours(..)),
        };
        if lost {
            self.told.push_back(Told::Lost { key });
        }
        match &mut standing {
            Standing::Open => {}
            Standing::Theirs(holder) => {
                if *before != Standing::Theirs(holder.clone()) {
                    let holder = String::from_utf8_lossy(holder).into_owned();
                    self.told.push_back(Told::Taken { key, holder });
                }
            }
            Standing::Ours(_, said) => {
                if until > now && until > *said {
                    *said = until;
                    self.told.push_back(Told::Granted { key, until });
                }
            }
        }
        self.wanted.insert(key, standing);
    }
}

/// Until when the promise holds that was asked for at `sent`.
fn promised(sent: Millis, ttl_seconds: u64) -> Millis {
    let ttl = Millis(1_000).times(ttl_seconds).min(LEASE_PROMISE_MAX);
    sent.after(Millis(ttl.0 * (100 - LEASE_DRIFT_PERCENT) / 100))
}

#[cfg(test)]
#[path = "etcd_lease_tests.rs"]
mod tests;
