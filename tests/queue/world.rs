//! One run: sources, a queue, a sender, and what happens to the disk under them.

use std::collections::{BTreeMap, BTreeSet};

use highlander::base::time::{Millis, UnixMillis};
use highlander::io::queue::append::{Append, Outcome};
use highlander::io::queue::notice::Notice;
use highlander::io::queue::reader::Entry;
use highlander::io::queue::store::Store;
use highlander::logic::queue::setting::{OnFull, OutOfOrder, Setting, Sync};
use highlander::wire::queue::mark::FILE_BYTES;
use highlander::wire::queue::sequence::{Salt, Sequence, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;

use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::list::{Id, List, Outage};
use crate::mutation::Mutation;

pub const SALT: Salt = Salt(0x51a1_7000);
const HEAD: &str = "POST /api/v1/write HTTP/1.1\r\n\r\n";
const EVERY: u64 = 200;

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    acknowledged: u64,
    known: u64,
    refused: u64,
    sent: u64,
    repeated: u64,
    kills: u64,
    power_cuts: u64,
    torn: u64,
    faults: u64,
    rotten: u64,
    damaged: u64,
    lost_to_rot: u64,
    dropped: u64,
    segments: u64,
    fresh: u64,
    quickly: u64,
    renamed: u64,
    away: u64,
}

impl Seen {
    fn numbers(&mut self) -> [&mut u64; 18] {
        [
            &mut self.acknowledged,
            &mut self.known,
            &mut self.refused,
            &mut self.sent,
            &mut self.repeated,
            &mut self.kills,
            &mut self.power_cuts,
            &mut self.torn,
            &mut self.faults,
            &mut self.rotten,
            &mut self.damaged,
            &mut self.lost_to_rot,
            &mut self.dropped,
            &mut self.segments,
            &mut self.fresh,
            &mut self.quickly,
            &mut self.renamed,
            &mut self.away,
        ]
    }

    pub fn with(mut self, mut other: Seen) -> Seen {
        for (sum, more) in self.numbers().into_iter().zip(other.numbers()) {
            *sum += *more;
        }
        self
    }

    pub fn assert_everything_happened(mut self) {
        assert!(self.numbers().into_iter().all(|number| *number > 0), "something never happened");
    }
}

pub struct World {
    dice: Dice,
    mutation: Mutation,
    disk: SimDisk,
    pub setting: Setting,
    store: Option<Store<SimDisk>>,
    list: List,
    now: u64,
    /// Of each source, the number of the next request, and whether the last one was answered.
    sources: BTreeMap<u64, (u64, bool)>,
    out: Vec<(Sequence, Id)>,
    ended: BTreeSet<Sequence>,
    /// What this process has acknowledged.
    known_since_start: BTreeSet<Id>,
    faults_before: (u64, u64),
    faulty: bool,
    /// The power was cut, or a process ended in the middle of a write.
    has_torn: bool,
    /// That may have taken what nobody had sent yet.
    may_have_lost: bool,
    /// Damage was told of where there was none.
    false_alarm: bool,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64, mutation: Mutation) -> World {
        let mut dice = Dice::new(seed);
        let syncs = [Sync::Always, Sync::Every(Millis(EVERY)), Sync::Never];
        let setting = Setting {
            sync: dice.one_of(&syncs),
            bytes_max: dice.one_of(&[16_000, 40_000, 1_000_000]),
            on_full: if dice.chance(25) { OnFull::DropOldest } else { OnFull::Refuse },
            in_flight_max: dice.one_of(&[1, 4, 16]),
            out_of_order: match dice.chance(30) {
                true => OutOfOrder::Allowed,
                false => OutOfOrder::Refused,
            },
        };
        let sources = (1..=dice.between(1, 4)).map(|source| (source, (1, true))).collect();
        let faulty = dice.chance(50);
        World {
            disk: SimDisk::new(seed, mutation),
            mutation,
            setting,
            store: None,
            list: List::of(setting.out_of_order),
            now: 1000,
            sources,
            out: Vec::new(),
            ended: BTreeSet::new(),
            known_since_start: BTreeSet::new(),
            faults_before: (0, 0),
            faulty,
            has_torn: false,
            may_have_lost: false,
            false_alarm: false,
            seen: Seen::default(),
            dice,
        }
    }

    pub fn run(mut self) -> Result<Seen, String> {
        for _ in 0..self.dice.between(30, 200) {
            self.choose_faults();
            self.act()?;
            if self.disk.0.borrow().faults.is_crashed {
                self.end(None);
            }
        }
        self.drain()?;
        self.judge()
    }

    fn choose_faults(&mut self) {
        let mut disk = self.disk.0.borrow_mut();
        disk.faults.per_mille = match self.faulty && self.dice.chance(30) {
            true => self.dice.one_of(&[10, 50, 150]),
            false => 0,
        };
        disk.capacity = match self.faulty && self.dice.chance(20) {
            true => self.dice.between(16_000, 60_000),
            false => u64::MAX,
        };
        if self.dice.chance(4) {
            disk.faults.acts_left = Some(self.dice.between(0, 12));
        }
    }

    fn act(&mut self) -> Result<(), String> {
        if self.store.is_none() {
            return self.open();
        }
        match self.dice.between(0, 99) {
            0..40 => self.append()?,
            40..75 => self.send()?,
            75..93 => {
                self.now += self.dice.one_of(&[1, 20, 150, 300, 1500]);
                self.turn();
            }
            93 => self.be_away()?,
            94..96 => self.end(Some(true)),
            96..98 => self.end(Some(false)),
            98 => self.rot(),
            _ => self.close(),
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        match Store::open(self.disk.clone(), self.setting, SALT) {
            Ok(store) => {
                self.store = Some(store);
                // What the process before has left was synced.
                if self.setting.sync != Sync::Never {
                    self.list.on_synced(self.now);
                }
            }
            Err(error) if self.disk.0.borrow().faults.all == 0 && !self.is_crashed() => {
                return Err(format!("it does not open: {error}"));
            }
            Err(_) => {}
        }
        self.hear();
        Ok(())
    }

    fn is_crashed(&self) -> bool {
        self.disk.0.borrow().faults.is_crashed
    }

    /// Takes down what the queue says, and which faults there were.
    fn hear(&mut self) {
        let (mut damaged, mut cut) = (0, 0);
        for notice in self.store.iter_mut().flat_map(Store::take_notices) {
            match notice {
                Notice::Damaged(places) => damaged += places,
                Notice::Cut(_) => cut += 1,
                Notice::Dropped(records) => self.seen.dropped += records,
                Notice::Fault(..) | Notice::Mended | Notice::MarkLost => {}
            }
        }
        let disk = self.disk.0.borrow();
        self.seen.damaged += damaged + cut;
        let has_reason = self.seen.rotten + disk.faults.all > 0;
        self.false_alarm |= cut > 0 && !has_reason && !self.has_torn;
        self.false_alarm |= damaged > 0 && !has_reason && !self.may_have_lost;
        let of_syncs = disk.faults.of_syncs;
        if of_syncs != self.faults_before.0 {
            self.list.on_sync_failed();
            self.faults_before.0 = of_syncs;
        }
        self.seen.segments = self.seen.segments.max(disk.segments() as u64);
    }

    fn append(&mut self) -> Result<(), String> {
        let mut group: Vec<(Id, bool)> = Vec::new();
        for source in self.sources.keys().copied().collect::<Vec<_>>() {
            if self.dice.chance(40) {
                continue;
            }
            let (next, is_answered) = self.sources[&source];
            // It was answered by us and not by another endpoint.
            let again = is_answered && next > 1 && self.dice.chance(10);
            group.push(((source, if again { next - 1 } else { next }), again));
        }
        let appends: Vec<Append> = group.iter().map(|(id, _)| self.request(*id)).collect();
        group.iter().for_each(|(id, _)| self.list.on_offered(*id));
        let outcomes = self.store_all(&appends);
        let crashed = self.is_crashed() && self.mutation != Mutation::AcknowledgeBeforeWrite;
        for ((id, again), outcome) in group.into_iter().zip(outcomes) {
            self.judge_outcome(id, again, outcome, crashed)?;
        }
        self.hear();
        if !self.is_crashed() && self.dice.chance(70) {
            self.turn();
        }
        Ok(())
    }

    /// What becomes of them; nothing while no process has the queue.
    fn store_all(&mut self, appends: &[Append]) -> Vec<Outcome> {
        let is_quick = appends.len() == 1 && self.dice.chance(60);
        let Some(store) = &mut self.store else { return Vec::new() };
        let now = Millis(self.now);
        // As a core does that finds the queue free.
        let quickly = appends.first().filter(|_| is_quick);
        match quickly.and_then(|append| store.append_quickly(append, now)) {
            Some(outcome) => {
                self.seen.quickly += 1;
                vec![outcome]
            }
            None => store.append(appends, now),
        }
    }

    fn judge_outcome(
        &mut self,
        id: Id,
        again: bool,
        outcome: Outcome,
        crashed: bool,
    ) -> Result<(), String> {
        let lies = matches!(
            self.mutation,
            Mutation::AcknowledgeBeforeWrite | Mutation::AcknowledgeRefused
        );
        let is_stored = match outcome {
            Outcome::Stored(_) | Outcome::Known(_) => !crashed,
            Outcome::Refused(_) => lies,
        };
        self.seen.known += u64::from(matches!(outcome, Outcome::Known(_)));
        self.seen.refused += u64::from(!is_stored);
        // Stored once more, or perhaps stored: then it may be given twice.
        if again && matches!(outcome, Outcome::Stored(_)) {
            let was_here = self.sources[&id.0].1 && self.known_since_start.contains(&id);
            if was_here && self.setting.on_full == OnFull::Refuse {
                return Err(format!("{id:?} is stored twice"));
            }
            self.list.on_doubt(id);
        }
        if !is_stored {
            self.list.on_doubt(id);
        }
        if is_stored {
            self.seen.acknowledged += 1;
            let is_safe = self.setting.sync == Sync::Always;
            self.list.on_acknowledged(id, self.now, is_safe);
            self.known_since_start.insert(id);
        }
        if !again {
            let (next, _) = self.sources[&id.0];
            self.sources.insert(id.0, (if is_stored { next + 1 } else { next }, is_stored));
        }
        Ok(())
    }

    fn request(&mut self, id: Id) -> Append {
        let body = body(id);
        let is_known = self.mutation != Mutation::ForgetBodies;
        let push = Push::new([HEAD.as_bytes(), &body].concat(), HEAD.len(), Protocol::V1);
        let hash = is_known.then(|| u128::from(id.1));
        Append::of(push, SourceKey(id.0), UnixMillis(id.1 as i64), hash)
    }

    fn send(&mut self) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut entries = Vec::new();
        for _ in 0..self.dice.between(1, 8) {
            entries.extend(store.next(Millis(self.now)));
        }
        if self.dice.chance(50) {
            let fresh: Vec<Entry> = std::iter::from_fn(|| store.next_fresh()).collect();
            self.seen.fresh += fresh.len() as u64;
            entries.extend(fresh);
        }
        if self.mutation == Mutation::GiveOutOfOrder {
            entries.reverse();
        }
        for entry in entries {
            self.on_entry(&entry)?;
        }
        if self.mutation == Mutation::RemoveEarly && !self.out.is_empty() {
            self.remove_oldest();
        }
        for _ in 0..self.dice.between(0, 8) {
            if !self.out.is_empty() {
                let place = (self.dice.next() % self.out.len() as u64) as usize;
                let (sequence, id) = self.out.swap_remove(place);
                self.on_sent(sequence, id);
            }
        }
        self.hear();
        // Before more is given out, what was sent is written down.
        self.turn();
        Ok(())
    }

    fn on_entry(&mut self, entry: &Entry) -> Result<(), String> {
        let read = entry.push.body();
        let number = |at: usize| {
            let bytes = read.get(at..at + 8).and_then(|it| it.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or("a body is too short")
        };
        let id = (number(0)?, number(8)?);
        if read != body(id) || entry.label.time != UnixMillis(id.1 as i64) {
            return Err(format!("{id:?} is not as it was"));
        }
        self.list.on_given(entry.label.sequence, entry.label.source, id)?;
        if let Some(store) = &mut self.store
            && self.mutation == Mutation::SentWhenGiven
        {
            store.progress().lock().on_sent(entry.label.sequence);
        }
        self.out.push((entry.label.sequence, id));
        Ok(())
    }

    fn on_sent(&mut self, sequence: Sequence, id: Id) {
        self.seen.sent += 1;
        self.list.on_sent(id);
        self.ended.insert(sequence);
        let Some(store) = &mut self.store else { return };
        let mut progress = store.progress().lock();
        progress.on_sent(sequence);
        if self.mutation == Mutation::MoveOverHole {
            self.out.iter().filter(|it| it.0 < sequence).for_each(|it| {
                progress.on_sent(it.0);
            });
        }
    }

    fn remove_oldest(&mut self) {
        let disk = self.disk.0.borrow();
        let oldest = disk.oldest_segment().filter(|_| disk.segments() > 1);
        drop(disk);
        if let Some(name) = oldest {
            let _ = highlander::io::queue::disk::Disk::remove(&mut self.disk, &name);
        }
    }

    fn turn(&mut self) {
        let Some(store) = &mut self.store else { return };
        store.turn(Millis(self.now));
        if self.is_crashed() {
            return;
        }
        self.hear();
        if let Sync::Every(span) = self.setting.sync
            // A sync that failed is tried again after a second, so nothing is said of when.
            && !self.faulty
        {
            self.list.on_synced(self.now.saturating_sub(span.0));
        }
        let mark = self.store.as_ref().map(Store::sent).unwrap_or_default();
        let ended = &self.ended;
        self.list.on_settled(&|sequence| ended.contains(&sequence), mark, self.now);
    }

    /// The process is gone, by itself or with the power.
    fn end(&mut self, power: Option<bool>) {
        let power = power.unwrap_or_else(|| self.dice.chance(50));
        self.hear();
        self.store = None;
        self.has_torn |= power || self.is_crashed();
        let is_answered = self.sources.values().all(|(_, is_answered)| *is_answered);
        self.may_have_lost |= self.is_crashed()
            || power
                && (self.list.has_unsafe() || !is_answered || self.setting.sync == Sync::Never);
        let mut disk = self.disk.0.borrow_mut();
        let of_mark = disk.faults.of_mark;
        let mark_failed = of_mark != self.faults_before.1 || self.seen.rotten > 0;
        self.faults_before.1 = of_mark;
        disk.faults.is_crashed = false;
        disk.faults.acts_left = None;
        if power {
            disk.cut_power();
            self.seen.power_cuts += 1;
        } else {
            self.seen.kills += 1;
        }
        drop(disk);
        let repeats_from = match self.setting.sync {
            _ if mark_failed => Some(0),
            Sync::Never if power => Some(0),
            Sync::Every(span) if power => Some(self.now.saturating_sub(span.0 + 1500)),
            // The mark is not synced for each request.
            Sync::Always if power => Some(self.now.saturating_sub(EVERY + 1500)),
            Sync::Always | Sync::Every(_) | Sync::Never => None,
        };
        self.list.on_outage(Outage { is_power_cut: power, repeats_from });
        self.forget();
    }

    /// What a new process does not know.
    fn forget(&mut self) {
        self.out.clear();
        self.ended.clear();
        self.known_since_start.clear();
    }

    fn close(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        store.turn(Millis(self.now));
        if !self.is_crashed() {
            store.close(Millis(self.now));
        }
        self.hear();
        // What was closed has been synced, as far as anybody wants that.
        self.end(Some(false));
    }

    /// The disk does nothing for a while, and has lost nothing.
    fn be_away(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        self.disk.0.borrow_mut().faults.per_mille = 1000;
        for _ in 0..self.dice.between(5, 60) {
            if self.is_crashed() {
                break;
            }
            self.now += self.dice.one_of(&[200, 500, 1000]);
            self.turn();
            self.send()?;
        }
        self.disk.0.borrow_mut().faults.per_mille = 0;
        self.seen.away += 1;
        Ok(())
    }

    fn rot(&mut self) {
        // Two places: the mark and the heads together say the salt in four.
        if self.seen.rotten < 2 && self.disk.0.borrow_mut().rot() {
            self.seen.rotten += 1;
        }
    }

    /// The faults are over: everything is offered again and sent.
    fn drain(&mut self) -> Result<(), String> {
        let mut disk = self.disk.0.borrow_mut();
        disk.faults.per_mille = 0;
        disk.faults.acts_left = None;
        // Somebody else may go on to fill the disk, but for what one segment takes.
        let segment = self.setting.segment_bytes().max(GROUP_BYTES_MAX);
        disk.capacity = match self.dice.chance(50) {
            true => FILE_BYTES + segment,
            false => u64::MAX,
        };
        drop(disk);
        for round in 0.. {
            self.now += 1500;
            if self.store.is_none() {
                self.open()?;
            }
            self.turn();
            let Some(store) = &mut self.store else { return Err("it does not open".to_owned()) };
            let mut entries: Vec<Entry> = std::iter::from_fn(|| store.next_fresh()).collect();
            entries.extend(std::iter::from_fn(|| store.next(Millis(self.now))));
            let is_idle = entries.is_empty() && self.out.is_empty();
            for entry in entries {
                self.on_entry(&entry)?;
            }
            for (sequence, id) in std::mem::take(&mut self.out) {
                self.on_sent(sequence, id);
            }
            self.turn();
            let waiting = self.sources.values().filter(|(_, is_answered)| !is_answered).count();
            if is_idle && waiting == 0 {
                break;
            }
            if round > 2000 {
                return Err(format!("{waiting} sources are never answered"));
            }
            if waiting > 0 {
                self.offer_again()?;
            }
        }
        self.hear();
        Ok(())
    }

    fn offer_again(&mut self) -> Result<(), String> {
        let waiting: Vec<Id> =
            self.sources.iter().filter(|it| !it.1.1).map(|it| (*it.0, it.1.0)).collect();
        let appends: Vec<Append> = waiting.iter().map(|id| self.request(*id)).collect();
        let outcomes = self.store_all(&appends);
        for (id, outcome) in waiting.into_iter().zip(outcomes) {
            self.judge_outcome(id, false, outcome, false)?;
        }
        Ok(())
    }

    fn judge(mut self) -> Result<Seen, String> {
        let lost = self.list.lost();
        let excused = self.seen.rotten + self.seen.dropped;
        if lost.len() as u64 > excused {
            return Err(format!(
                "{} lost, of which {excused} to rot and for want of room: {lost:?}",
                lost.len()
            ));
        }
        if lost.len() as u64 > self.seen.dropped {
            self.seen.lost_to_rot = lost.len() as u64 - self.seen.dropped;
            if self.seen.damaged == 0 {
                return Err(format!("{lost:?} are lost to rot, and nobody was told"));
            }
        }
        let store = self.store.as_ref().ok_or("it is not open")?;
        let records = store.progress().lock().records();
        if records > 0 {
            return Err(format!("{records} records are left"));
        }
        if self.false_alarm {
            return Err("damage was told of, and there was none".into());
        }
        let disk = self.disk.0.borrow();
        self.seen.faults = disk.faults.all;
        self.seen.torn = disk.torn;
        self.seen.renamed = disk.renamed;
        self.seen.repeated = self.list.repeated;
        Ok(self.seen)
    }
}

/// What a request of each source takes at most, and what a segment takes besides.
const GROUP_BYTES_MAX: u64 = 12_000;

/// What a request carries: who it is, and bytes that follow from it.
fn body(id: Id) -> Vec<u8> {
    let mut dice = Dice::new(id.0 << 32 | id.1);
    let length = match dice.next() % 8 {
        0 => 0,
        1..=5 => dice.between(1, 200),
        6 => dice.between(200, 1000),
        _ => dice.between(1000, 2500),
    };
    let mut body = [id.0.to_le_bytes(), id.1.to_le_bytes()].concat();
    body.extend((0..length).map(|_| dice.next() as u8));
    body
}
