//! The list that the queue is checked against: each request of each source, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};

use highlander::logic::queue::setting::OutOfOrder;
use highlander::wire::queue::sequence::{Sequence, SourceKey};

/// A request: the how-many-eth of which source.
pub type Id = (u64, u64);

#[derive(Clone, Copy, Debug, Default)]
struct Item {
    /// Its source was answered, in this run of the process or before, and when.
    acknowledged: Option<u64>,
    /// No power cut may take it.
    is_safe: bool,
    /// A power cut or a fault took it, as the setting lets it.
    is_excused: bool,
    is_given: bool,
    is_sent: bool,
    /// The mark covers it: since then it must not be given again.
    settled: Option<u64>,
    /// It may be given again all the same: it may lie there twice.
    may_repeat: bool,
}

/// What an outage may take and bring again.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub is_power_cut: bool,
    /// What was settled after this may come again.
    pub repeats_from: Option<u64>,
}

#[derive(Debug, Default)]
pub struct List {
    /// They may come in any order, but each only once.
    is_free: bool,
    given_once: BTreeSet<Sequence>,
    items: BTreeMap<Id, Item>,
    /// What was given out in this run, in order, from the first that was not sent on.
    given: Vec<(Sequence, Id)>,
    last_given: Sequence,
    newest: BTreeMap<u64, u64>,
    pub repeated: u64,
}

impl List {
    pub fn of(out_of_order: OutOfOrder) -> List {
        List { is_free: out_of_order == OutOfOrder::Allowed, ..List::default() }
    }

    pub fn on_offered(&mut self, id: Id) {
        self.items.entry(id).or_default();
    }

    pub fn on_acknowledged(&mut self, id: Id, now: u64, is_safe: bool) {
        let item = self.items.entry(id).or_default();
        item.acknowledged.get_or_insert(now);
        item.is_safe |= is_safe;
    }

    /// It may or may not be there, or be there twice.
    pub fn on_doubt(&mut self, id: Id) {
        self.items.entry(id).or_default().may_repeat = true;
    }

    /// Everything acknowledged until then is synced.
    pub fn on_synced(&mut self, until: u64) {
        for item in self.items.values_mut().filter(|it| !it.is_excused) {
            item.is_safe |= item.acknowledged.is_some_and(|at| at <= until);
        }
    }

    /// Whether a power cut could take something that was acknowledged.
    pub fn has_unsafe(&self) -> bool {
        self.items.values().any(|it| it.acknowledged.is_some() && !it.is_safe)
    }

    /// A sync has failed: what waited for one may be lost with the next power cut.
    pub fn on_sync_failed(&mut self) {
        for item in self.items.values_mut().filter(|it| it.acknowledged.is_some() && !it.is_safe) {
            item.is_excused = true;
        }
    }

    pub fn on_given(
        &mut self,
        sequence: Sequence,
        source: SourceKey,
        id: Id,
    ) -> Result<(), String> {
        if !self.given_once.insert(sequence) {
            return Err(format!("{sequence} is given twice"));
        }
        if sequence <= self.last_given && !self.is_free {
            return Err(format!("out of order: {sequence} after {}", self.last_given));
        }
        self.last_given = sequence;
        let Some(item) = self.items.get_mut(&id) else {
            return Err(format!("{id:?} was never offered"));
        };
        if source.0 != id.0 {
            return Err(format!("{id:?} is given as of {source:?}"));
        }
        let newest = self.newest.entry(id.0).or_default();
        if id.1 < *newest && !self.is_free {
            return Err(format!("of one source, {id:?} is given after {newest}"));
        }
        *newest = id.1;
        if item.settled.is_some() && !item.may_repeat {
            return Err(format!("{id:?} had been sent, and is given again"));
        }
        self.repeated += u64::from(item.is_given);
        item.is_given = true;
        self.given.push((sequence, id));
        Ok(())
    }

    pub fn on_sent(&mut self, id: Id) {
        if let Some(item) = self.items.get_mut(&id) {
            item.is_sent = true;
        }
    }

    /// The mark has been written: what was sent up to the first that was not is settled.
    ///
    /// What went before its turn is settled when its turn is over: up to `mark`.
    pub fn on_settled(&mut self, sent: &dyn Fn(Sequence) -> bool, mark: Sequence, now: u64) {
        if self.is_free {
            let settled = self.given.iter().filter(|(sequence, _)| *sequence <= mark);
            for (_, id) in settled {
                if let Some(item) = self.items.get_mut(id) {
                    item.settled.get_or_insert(now);
                }
            }
            return self.given.retain(|(sequence, _)| *sequence > mark);
        }
        let unsent = self.given.iter().position(|(sequence, _)| !sent(*sequence));
        for (_, id) in self.given.drain(..unsent.unwrap_or(self.given.len())) {
            if let Some(item) = self.items.get_mut(&id) {
                item.settled.get_or_insert(now);
            }
        }
    }

    /// The process is gone.
    pub fn on_outage(&mut self, outage: Outage) {
        self.given.clear();
        self.given_once.clear();
        self.last_given = Sequence(0);
        self.newest.clear();
        for item in self.items.values_mut() {
            if outage.is_power_cut && item.acknowledged.is_some() && !item.is_safe {
                item.is_excused = true;
            }
            if let (Some(at), Some(from)) = (item.settled, outage.repeats_from)
                && at >= from
            {
                item.settled = None;
            }
            // What survived a power cut lies on the disk.
            let survived = outage.is_power_cut && !item.is_excused;
            item.is_safe |= item.acknowledged.is_some() && survived;
        }
        for (id, item) in &self.items {
            if item.settled.is_some() && !item.may_repeat {
                let newest = self.newest.entry(id.0).or_default();
                *newest = id.1.max(*newest);
            }
        }
    }

    /// What was acknowledged and not sent, although nothing excuses it.
    pub fn lost(&self) -> Vec<Id> {
        let lost = |it: &Item| it.acknowledged.is_some() && !it.is_excused && !it.is_sent;
        self.items.iter().filter(|(_, it)| lost(it)).map(|(id, _)| *id).collect()
    }
}
