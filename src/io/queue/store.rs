//! The queue of an endpoint, all of it but the thread: what is appended, read, sent and let go.

use std::io;

use crate::base::limits::QUEUE_RETRY;
use crate::base::time::{Millis, UnixMillis};
use crate::logic::queue::ahead::Turn;
use crate::logic::queue::chain::{Chain, Room};
use crate::logic::queue::cursor::Cursor;
use crate::logic::queue::recent::Recent;
use crate::logic::queue::setting::{OnFull, OutOfOrder, Setting};
use crate::logic::queue::trouble::{Fault, Trouble};
use crate::wire::queue::record::{self, Label};
use crate::wire::queue::segment::{self, HEAD_BYTES};
use crate::wire::queue::sequence::{Salt, Sequence, SourceKey};
use crate::wire::remote_write::push::Push;

use super::disk::Disk;
use super::fresh::Fresh;
use super::mark_file::MarkFile;
use super::reader::{Entry, Reader};
use super::recovery::{OpenError, Recovered, recover};
use super::writer::Writer;

/// A request that is to be stored.
#[derive(Debug)]
pub struct Append {
    /// Head and body as they are to be sent.
    pub push: Push,
    /// Whose it is.
    pub source: SourceKey,
    /// When it came.
    pub time: UnixMillis,
    /// A hash of the body: what was stored for this source lately, and is not [`Store::on_settled`], is
    /// not stored again.
    pub hash: Option<u128>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where the setting of `sync` wants it: its source may be answered.
    Stored(Sequence),
    /// It was stored before, or stands in this group already: the same.
    Known(Sequence),
    /// It is not stored, as far as we know: its source must keep it.
    Refused(Refusal),
}

/// Why something is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `max_size` is reached.
    Full,
    /// The disk is full.
    DiskFull,
    /// The disk has failed.
    DiskFailed,
    /// No record can be so long.
    TooLong,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        match fault {
            Fault::Full => Refusal::DiskFull,
            Fault::Failed => Refusal::DiskFailed,
        }
    }
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The disk is full or has failed; the system's words.
    Fault(Fault, String),
    /// It does what it is told again.
    Mended,
    /// So many places were damaged; what was in them is lost.
    Damaged(u64),
    /// So many bytes were cut off behind the last whole record at the start.
    Cut(u64),
    /// How far the queue has been sent is not known: some of it is sent again.
    MarkLost,
    /// So many records that had not been sent made room for newer ones.
    Dropped(u64),
}

/// What a look at the next record gives.
#[derive(Debug)]
pub enum Read {
    /// It is to be sent.
    Entry(Entry),
    /// It was given out before its turn. There may be more behind it.
    Passed,
    /// There is none, or as many are out as may be.
    Nothing,
}

/// The queue.
#[derive(Debug)]
pub struct Store<D: Disk> {
    disk: D,
    setting: Setting,
    salt: Salt,
    next: Sequence,
    chain: Chain,
    cursor: Cursor,
    fresh: Fresh,
    recent: Recent,
    trouble: Trouble,
    /// The mark's own: what is appended does not wait for it.
    mark_trouble: Trouble,
    writer: Writer<D::File>,
    reader: Reader<D::File>,
    mark: MarkFile<D::File>,
    /// A group as it is written.
    group: Vec<u8>,
    read_not_before: Millis,
    /// Nothing was left when it was last read.
    is_drained: bool,
    notices: Vec<Notice>,
}

/// A group's buffer is given back if it has grown beyond twice what a group has.
const GROUP_KEPT_BYTES: usize = 2 * crate::base::limits::QUEUE_GROUP_BYTES_MAX;

impl<D: Disk> Store<D> {
    /// Opens what is in the directory. `fresh` is a random number, for a queue that begins.
    pub fn open(mut disk: D, setting: Setting, fresh: Salt) -> Result<Store<D>, OpenError> {
        let Recovered { plan, next, salt, mark, cut_bytes, is_mark_lost } =
            recover(&mut disk, &setting, fresh)?;
        let notices = [
            (cut_bytes > 0).then_some(Notice::Cut(cut_bytes)),
            is_mark_lost.then_some(Notice::MarkLost),
        ];
        Ok(Store {
            disk,
            setting,
            salt,
            next,
            cursor: Cursor::new(plan.sent, setting.in_flight_max),
            reader: Reader::new(salt, plan.sent, plan.start),
            chain: Chain::new(plan.links, &setting),
            fresh: Fresh::default(),
            recent: Recent::default(),
            trouble: Trouble::default(),
            mark_trouble: Trouble::default(),
            is_drained: false,
            writer: Writer::new(salt, setting.sync),
            mark,
            group: Vec::new(),
            read_not_before: Millis(0),
            notices: notices.into_iter().flatten().collect(),
        })
    }

    /// Stores a group, in this order, with one write and at most one sync; what became of each.
    pub fn append(&mut self, appends: &[Append], now: Millis) -> Vec<Outcome> {
        self.group.clear();
        self.group.resize(HEAD_BYTES, 0);
        let first = self.next;
        let mut outcomes: Vec<Outcome> =
            appends.iter().map(|append| self.take(append, first, now)).collect();
        if self.group.len() > HEAD_BYTES {
            let (disk, chain) = (&mut self.disk, &mut self.chain);
            let written = self.writer.append(disk, chain, first, &mut self.group, now);
            match written {
                Ok(()) => self.on_success(appends, &outcomes),
                Err(error) => self.undo(first, &error, now, &mut outcomes),
            }
        }
        if self.group.capacity() > GROUP_KEPT_BYTES {
            self.group = Vec::new();
        }
        outcomes
    }

    /// Puts one into the group, if it may be.
    fn take(&mut self, append: &Append, first: Sequence, now: Millis) -> Outcome {
        let known = append.hash.and_then(|hash| self.recent.place(append.source, hash));
        if let Some(sequence) = known {
            return Outcome::Known(sequence);
        }
        if let Some(fault) = self.trouble.judge(now) {
            return Outcome::Refused(fault.into());
        }
        let before = self.group.len();
        let label = Label { sequence: self.next, time: append.time, source: append.source };
        if record::append(label, &append.push, self.salt, &mut self.group).is_err() {
            return Outcome::Refused(Refusal::TooLong);
        }
        while self.chain.judge((self.group.len() - HEAD_BYTES) as u64) == Room::Full {
            if self.setting.on_full == OnFull::Refuse || !self.drop_oldest(first, now) {
                self.group.truncate(before);
                return Outcome::Refused(Refusal::Full);
            }
        }
        self.next = self.next.next();
        if let Some(hash) = append.hash {
            self.recent.on_stored(append.source, hash, label.sequence);
        }
        Outcome::Stored(label.sequence)
    }

    /// The group was not written.
    fn undo(&mut self, first: Sequence, error: &io::Error, now: Millis, all: &mut [Outcome]) {
        let fault = self.on_fault(error, now);
        self.recent.on_undone(first);
        for outcome in all {
            match outcome {
                Outcome::Stored(sequence) | Outcome::Known(sequence) if *sequence >= first => {
                    *outcome = Outcome::Refused(fault.into());
                }
                Outcome::Stored(_) | Outcome::Known(_) | Outcome::Refused(_) => {}
            }
        }
    }

    /// Removes the oldest segment, `first` being the first record that is not written yet. Whether that
    /// made room.
    fn drop_oldest(&mut self, first: Sequence, now: Millis) -> bool {
        let Some(link) = self.chain.first() else { return false };
        if self.chain.is_open(link.number) {
            let closed = self.writer.close(&mut self.disk, &mut self.chain);
            self.note(closed, now);
        }
        let removed = self.disk.remove(&segment::name(link.number));
        if !self.note(removed, now) {
            return false;
        }
        let behind = self.chain.after(link.number).map_or(first, |link| link.number);
        let through = Sequence(behind.0.saturating_sub(1));
        // Those that are out may still arrive, if this process lives as long.
        let sent = self.cursor.sent().0.max(link.number.0.saturating_sub(1));
        self.notices.push(Notice::Dropped(through.0.saturating_sub(sent)));
        self.cursor.on_dropped(through);
        self.recent.on_dropped(through);
        self.fresh.forget(through.next());
        self.reader.on_dropped(link.number, through);
        self.on_removed(now);
        true
    }

    fn on_removed(&mut self, now: Millis) {
        self.chain.on_removed();
        self.writer.on_removed(now);
        self.trouble.on_room(now);
    }

    /// A body of this source that has this hash lies at all endpoints. If it comes again, it is stored
    /// again.
    pub fn on_settled(&mut self, source: SourceKey, hash: u128) {
        self.recent.on_settled(source, hash);
    }

    /// The next record to be sent, if one is acknowledged and fewer than the setting allows are out.
    /// After a restart, what was given and not [`Store::on_sent`] before the last [`Store::turn`] is
    /// given again.
    pub fn next(&mut self, now: Millis) -> Option<Entry> {
        loop {
            match self.read(now) {
                Read::Entry(entry) => return Some(entry),
                Read::Passed => {}
                Read::Nothing => return None,
            }
        }
    }

    /// The same in one step: behind a long outage, much may have been sent before its turn.
    pub fn read(&mut self, now: Millis) -> Read {
        if !self.cursor.has_room() || now < self.read_not_before {
            return Read::Nothing;
        }
        let read = self.reader.next(&mut self.disk, &self.chain);
        let damaged = self.reader.take_damaged();
        if damaged > 0 {
            self.notices.push(Notice::Damaged(damaged));
        }
        match read {
            Ok(Some((entry, segment))) => self.on_turn(entry, segment),
            Ok(None) => {
                self.is_drained = true;
                Read::Nothing
            }
            Err(error) => {
                self.read_not_before = now.after(QUEUE_RETRY);
                self.notices.push(Notice::Fault(fault_of(&error), error.to_string()));
                Read::Nothing
            }
        }
    }

    fn on_turn(&mut self, entry: Entry, segment: Sequence) -> Read {
        self.is_drained = false;
        let sequence = entry.label.sequence;
        match self.fresh.on_turn(sequence) {
            Turn::New => {
                self.cursor.on_given(sequence, segment, entry.push.bytes_allocated());
                Read::Entry(entry)
            }
            Turn::Out => {
                self.cursor.on_given(sequence, segment, 0);
                Read::Passed
            }
            Turn::Sent => {
                self.cursor.on_given(sequence, segment, 0);
                self.cursor.on_sent(sequence);
                Read::Passed
            }
        }
    }

    /// The next record that need not wait for its turn, where the setting lets samples go out of order.
    /// It lies behind a backlog, and is not given again by [`Store::next`] before a restart.
    pub fn next_fresh(&mut self) -> Option<Entry> {
        self.fresh.give()
    }

    /// This one has been sent, or never will be: in any order, for any that was given.
    pub fn on_sent(&mut self, sequence: Sequence) {
        if !self.fresh.on_sent(sequence) {
            self.cursor.on_sent(sequence);
        }
    }

    /// All up to this one have been sent, or were dropped to make room. Since the last [`Store::turn`]
    /// the mark says so, unless the disk has failed.
    pub fn sent(&self) -> Sequence {
        self.cursor.sent()
    }

    /// Does what is due: syncs, writes down what was sent, removes segments. To be called after a group
    /// and after [`Store::on_sent`], before [`Store::next`].
    pub fn turn(&mut self, now: Millis) {
        let synced = self.writer.sync(&mut self.disk, &mut self.chain, now);
        self.note(synced, now);
        let kept = self.mark.keep(&mut self.disk, self.cursor.sent(), now);
        self.note_mark(kept, now);
        self.release(now);
    }

    /// Removes what has been sent. What the mark does not say yet is not needed for it: what a removed
    /// segment held is not sent again.
    fn release(&mut self, now: Millis) {
        let needed = self.cursor.segment().unwrap_or(self.reader.segment());
        while self.trouble.judge(now) != Some(Fault::Failed)
            && let Some(link) = self.chain.released(needed)
        {
            let removed = self.disk.remove(&segment::name(link.number));
            if !self.note(removed, now) {
                return;
            }
            self.on_removed(now);
        }
    }

    /// Syncs everything, as the setting wants it, and gives back what was preallocated.
    pub fn close(mut self, now: Millis) -> D {
        let closed = self.writer.close(&mut self.disk, &mut self.chain);
        self.note(closed, now);
        let kept = self.mark.keep(&mut self.disk, self.cursor.sent(), now);
        let kept = kept.and_then(|()| self.mark.sync(&mut self.disk));
        self.note_mark(kept, now);
        self.disk
    }

    /// Whether it was done; if not, it is noted.
    fn note(&mut self, done: io::Result<()>, now: Millis) -> bool {
        done.map_err(|error| self.on_fault(&error, now)).is_ok()
    }

    fn note_mark(&mut self, kept: io::Result<()>, now: Millis) {
        match kept {
            Ok(()) => drop(self.mark_trouble.on_success()),
            Err(error) if self.mark_trouble.on_fault(fault_of(&error), now) => {
                self.notices.push(Notice::Fault(fault_of(&error), error.to_string()));
            }
            Err(_) => {}
        }
    }

    fn on_fault(&mut self, error: &io::Error, now: Millis) -> Fault {
        let fault = fault_of(error);
        if self.trouble.on_fault(fault, now) {
            self.notices.push(Notice::Fault(fault, error.to_string()));
        }
        fault
    }

    fn on_success(&mut self, appends: &[Append], outcomes: &[Outcome]) {
        self.is_drained = false;
        if self.setting.out_of_order == OutOfOrder::Allowed {
            self.keep_fresh(appends, outcomes);
        }
        if self.trouble.on_success() {
            self.notices.push(Notice::Mended);
        }
    }

    /// Keeps what has just been stored, if it is far behind what is being sent.
    fn keep_fresh(&mut self, appends: &[Append], outcomes: &[Outcome]) {
        let (last_given, read_ahead_max) = (self.cursor.last_given(), self.setting.in_flight_max);
        for (append, outcome) in appends.iter().zip(outcomes) {
            let Outcome::Stored(sequence) = *outcome else { continue };
            if Fresh::is_behind(sequence, last_given, read_ahead_max) {
                let label = Label { sequence, time: append.time, source: append.source };
                self.fresh.on_stored(Entry { label, push: append.push.clone() });
            }
        }
    }

    /// When [`Store::turn`] has something to do, if nothing happens before.
    pub fn due(&self) -> Option<Millis> {
        [self.writer.due(), self.mark.due()].into_iter().flatten().min()
    }

    /// What there is to say since this was asked last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.chain.bytes()
    }

    /// The records that have not been sent, no fewer: numbers that were never given are among them.
    pub fn records(&self) -> u64 {
        if self.is_drained && self.cursor.segment().is_none() {
            return 0;
        }
        self.next.0.saturating_sub(self.cursor.sent().next().0)
    }
}

fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        _ => Fault::Failed,
    }
}
