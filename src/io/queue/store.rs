//! The queue of an endpoint, all of it but the thread: what is appended, read, sent and let go.

use std::io;

use crate::base::limits::QUEUE_RETRY;
use crate::base::time::Millis;
use crate::logic::queue::ahead::Turn;
use crate::logic::queue::chain::{Chain, Room};
use crate::logic::queue::cursor::Cursor;
use crate::logic::queue::recent::Recent;
use crate::logic::queue::setting::{OnFull, OutOfOrder, Setting, Sync};
use crate::logic::queue::trouble::{Fault, Trouble};
use crate::wire::queue::record::{FRAME_BYTES, Frame};
use crate::wire::queue::segment;
use crate::wire::queue::sequence::{Salt, Sequence, SourceKey};

use super::append::{Append, Outcome, Refusal};
use super::disk::Disk;
use super::fresh::Fresh;
use super::group::Group;
use super::mark_keeper::MarkKeeper;
use super::notice::{Notice, fault_of};
use super::passing::Passing;
use super::progress::{Progress, Shared};
use super::reader::{Entry, Read, Reader};
use super::recovery::{OpenError, Recovered, recover};
use super::writer::Writer;

/// The queue.
#[derive(Debug)]
pub struct Store<D: Disk> {
    disk: D,
    setting: Setting,
    salt: Salt,
    chain: Chain,
    progress: Shared<D>,
    passing: Passing,
    fresh: Fresh,
    recent: Recent,
    trouble: Trouble,
    /// Of what is read: neither what is appended nor what is sent waits for it.
    read_trouble: Trouble,
    writer: Writer<D::File>,
    reader: Reader<D::File>,
    mark_keeper: MarkKeeper<D>,
    /// What is written next.
    group: Group,
    read_not_before: Millis,
    notices: Vec<Notice>,
}

impl<D: Disk + Clone> Store<D> {
    /// Opens what is in the directory. `fresh` is a random number, for a queue that begins.
    pub fn open(mut disk: D, setting: Setting, fresh: Salt) -> Result<Store<D>, OpenError> {
        let Recovered { plan, next, salt, mark, mark_sync, cut_bytes, is_mark_lost } =
            recover(&mut disk, &setting, fresh)?;
        let notices = [
            (cut_bytes > 0).then_some(Notice::Cut(cut_bytes)),
            is_mark_lost.then_some(Notice::MarkLost),
        ];
        let cursor = Cursor::new(plan.sent, setting.in_flight_max);
        let progress = Shared::new(Progress::new(disk.clone(), cursor, mark, next));
        Ok(Store {
            disk,
            setting,
            salt,
            passing: Passing::default(),
            reader: Reader::new(salt, plan.sent, plan.start),
            chain: Chain::new(plan.links, &setting),
            fresh: Fresh::default(),
            recent: Recent::default(),
            trouble: Trouble::default(),
            read_trouble: Trouble::default(),
            writer: Writer::new(salt, setting.sync),
            mark_keeper: MarkKeeper::new(progress.clone(), mark_sync),
            progress,
            group: Group::default(),
            read_not_before: Millis(0),
            notices: notices.into_iter().flatten().collect(),
        })
    }

    /// The progress of who sends.
    pub fn progress(&self) -> &Shared<D> {
        &self.progress
    }

    /// Stores a group, in this order, with one write and at most one sync; what became of each.
    pub fn append(&mut self, appends: &[Append], now: Millis) -> Vec<Outcome> {
        self.release(now);
        self.append_group(appends, now)
    }

    /// The same for one, if that is no more than a write to the page cache: no sync, no other segment,
    /// nothing to be removed. If the write fails, all that is left for [`Store::turn`]. `None`: nothing was done, it is more.
    pub fn append_quickly(&mut self, append: &Append, now: Millis) -> Option<Outcome> {
        let bytes = (FRAME_BYTES + append.push.whole().len()) as u64;
        let is_quick = self.setting.sync != Sync::Always
            && self.trouble.is_none()
            && self.chain.judge(bytes) == Room::Here;
        if !is_quick {
            return None;
        }
        self.append_group(std::slice::from_ref(append), now).pop()
    }

    fn append_group(&mut self, appends: &[Append], now: Millis) -> Vec<Outcome> {
        self.group.clear();
        let first = self.next_sequence();
        let mut outcomes: Vec<Outcome> =
            (0..appends.len()).map(|place| self.take(appends, place, first, now)).collect();
        if self.group.bytes() > 0 {
            let is_at_end = self.reader.is_at_end(&self.chain);
            let next = self.next_sequence();
            let (disk, chain) = (&mut self.disk, &mut self.chain);
            let parts = self.group.parts(appends);
            let last = Sequence(next.0 - 1);
            let written = self.writer.append(disk, chain, (first, last), &parts, now);
            match written {
                Ok(()) => self.on_success(appends, &outcomes, is_at_end),
                Err(error) => self.undo(first, &error, now, &mut outcomes),
            }
        }
        outcomes
    }

    /// Puts one into the group, if it may be.
    fn take(&mut self, appends: &[Append], place: usize, first: Sequence, now: Millis) -> Outcome {
        let append = &appends[place];
        let known = append.hash.and_then(|hash| self.recent.place(append.source, hash));
        if let Some(sequence) = known {
            return Outcome::Known(sequence);
        }
        if let Some(fault) = self.trouble.judge(now) {
            return Outcome::Refused(fault.into());
        }
        let sequence = self.next_sequence();
        let Ok(frame) = Frame::of(append.label(sequence), &append.push, append.digest, self.salt)
        else {
            return Outcome::Refused(Refusal::TooLong);
        };
        self.group.push(&frame, self.salt, place);
        let can_hold = self.chain.can_hold(self.group.bytes());
        if can_hold && self.chain.judge(self.group.bytes()) == Room::Full && self.is_all_sent() {
            self.leave_sent(now);
        }
        if !can_hold && self.group.bytes() == frame.record_bytes() as u64 {
            self.group.pop(&frame);
            return Outcome::Refused(Refusal::TooLong);
        }
        while self.chain.judge(self.group.bytes()) == Room::Full {
            // To make room for what does not fit all the same would lose the rest for nothing.
            if !can_hold || self.setting.on_full == OnFull::Refuse || !self.drop_oldest(first, now)
            {
                self.group.pop(&frame);
                return Outcome::Refused(Refusal::Full);
            }
        }
        self.progress.lock().next = sequence.next();
        if let Some(hash) = append.hash {
            self.recent.on_stored(append.source, hash, sequence);
        }
        Outcome::Stored(sequence)
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
            let left = self.writer.leave(&mut self.disk, &mut self.chain, now);
            self.note(left, now);
        }
        let removed = self.disk.remove_if_there(&segment::name(link.number));
        if !self.note(removed, now) {
            return false;
        }
        self.writer.forget(link.number);
        let behind = self.chain.after(link.number).map_or(first, |link| link.number);
        let through = Sequence(behind.0.saturating_sub(1));
        // Those that are out may still arrive, if this process lives as long.
        let mut progress = self.progress.lock();
        let dropped = progress.unsent_among(link.number, link.last.unwrap_or(through));
        self.notices.extend((dropped > 0).then_some(Notice::Dropped(dropped)));
        progress.cursor.on_dropped(through);
        progress.write_mark();
        drop(progress);
        self.passing.on_dropped(through);
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
    /// After a restart, what was given and has not been sent, see [`Progress::on_sent`], is given
    /// again.
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
        if !self.progress.lock().has_room() {
            return Read::Nothing;
        }
        match self.read_passing() {
            Read::Nothing => {}
            read => return read,
        }
        if now < self.read_not_before {
            return Read::Nothing;
        }
        let (disk, keeper) = (&mut self.disk, &mut self.mark_keeper);
        let read = self.reader.next(disk, &self.chain).inspect_err(|error| {
            self.reader.on_unreadable(error, &self.chain, || keeper.is_disk_well(disk));
        });
        self.leave_passed(now);
        let damaged = self.reader.take_damaged();
        if damaged > 0 {
            self.notices.push(Notice::Damaged(damaged));
        }
        if read.is_ok() && self.read_trouble.on_success() {
            self.on_mended();
        }
        match read {
            Ok(Some((entry, segment))) => self.on_turn(entry, segment),
            Ok(None) => {
                self.progress.lock().is_drained = true;
                Read::Nothing
            }
            Err(error) => {
                self.read_not_before = now.after(QUEUE_RETRY);
                if self.read_trouble.on_fault(fault_of(&error), now) {
                    self.notices.push(Notice::Fault(fault_of(&error), error.to_string()));
                }
                Read::Nothing
            }
        }
    }

    /// The same of what is still in memory.
    pub fn read_passing(&mut self) -> Read {
        if !self.progress.lock().has_room() {
            return Read::Nothing;
        }
        self.passing.take().map_or(Read::Nothing, |(entry, segment)| self.on_turn(entry, segment))
    }

    fn on_turn(&mut self, entry: Entry, segment: Sequence) -> Read {
        let sequence = entry.label.sequence;
        self.fresh.forget(sequence.next());
        let mut progress = self.progress.lock();
        progress.is_drained = false;
        let turn = progress.ahead.on_turn(sequence);
        let bytes = if turn == Turn::New { entry.push.bytes_allocated() } else { 0 };
        progress.cursor.on_given(sequence, segment, bytes);
        match turn {
            Turn::New => return Read::Entry(entry),
            Turn::Out => {}
            Turn::Sent => {
                progress.cursor.on_sent(sequence);
                progress.write_mark();
            }
        }
        Read::Passed
    }

    /// What is appended to a segment that was passed, as it can't be opened or is gone, would never be read.
    fn leave_passed(&mut self, now: Millis) {
        let Some(last) = self.chain.last().filter(|last| self.chain.is_open(last.number)) else {
            return;
        };
        if self.reader.has_left(last.number) {
            let left = self.writer.leave(&mut self.disk, &mut self.chain, now);
            self.note(left, now);
        }
    }

    /// Whether everything that there is has been read, or is in memory.
    pub fn is_all_read(&self) -> bool {
        self.reader.is_at_end(&self.chain)
    }

    /// The next record that need not wait for its turn, where the setting lets samples go out of order.
    /// It lies behind a backlog, and is not given again by [`Store::next`] before a restart.
    pub fn next_fresh(&mut self) -> Option<Entry> {
        let mut progress = self.progress.lock();
        if self.fresh.is_empty() || !progress.has_room_ahead() {
            return None;
        }
        let entry = self.fresh.give()?;
        progress.ahead.on_given(entry.label.sequence, entry.push.bytes_allocated());
        Some(entry)
    }

    /// The number of the next record that is stored.
    fn next_sequence(&self) -> Sequence {
        self.progress.lock().next
    }

    /// All up to this one have been sent, or were dropped to make room. The mark says so, unless the disk
    /// has failed.
    pub fn sent(&self) -> Sequence {
        self.progress.lock().cursor.sent()
    }

    /// Does what is due: syncs, writes the mark once more if that has failed, removes segments. To be
    /// called after a group, and now and then.
    pub fn turn(&mut self, now: Millis) {
        let notice = self.mark_keeper.turn(&mut self.disk, now);
        self.note_of_mark(notice);
        self.keep_records(now);
        self.release(now);
    }

    /// Syncs the records for which it is time. For those that have been sent it is enough that the mark says
    /// so, which is less to sync.
    fn keep_records(&mut self, now: Millis) {
        self.writer.on_safe(self.mark_keeper.safe());
        if let Some(through) = self.writer.due_through(now) {
            let notice = self.mark_keeper.settle(&mut self.disk, through, now);
            self.note_of_mark(notice);
            self.writer.on_safe(self.mark_keeper.safe());
        }
        let synced = self.writer.sync(&mut self.disk, &mut self.chain, now);
        self.note(synced, now);
    }

    /// Removes what has been sent. What the mark does not say yet is not needed for it: what a removed
    /// segment held is not sent again.
    fn release(&mut self, now: Millis) {
        self.leave_last();
        let given = self.progress.lock().cursor.segment();
        let needed = given.or(self.passing.segment()).unwrap_or(self.reader.segment());
        while self.trouble.judge(now) != Some(Fault::Failed)
            && let Some(link) = self.chain.released(needed)
        {
            let gone = self.writer.let_go(&mut self.disk, &self.chain, link);
            if !self.note(gone, now) {
                return;
            }
            self.on_removed(now);
        }
    }

    /// The last segment is needed no more if it is closed and all of it has been sent. What it takes may be
    /// all the room that a full disk has.
    fn leave_last(&mut self) {
        let Some(last) = self.chain.last().filter(|last| !self.chain.is_open(last.number)) else {
            return;
        };
        if self.is_all_sent() {
            self.reader.on_dropped(last.number, self.sent());
        }
    }

    fn is_all_sent(&self) -> bool {
        let is_given = self.progress.lock().cursor.segment().is_some();
        !is_given && self.passing.segment().is_none() && self.reader.is_at_end(&self.chain)
    }

    /// The segment that is appended to may take the room of a large one, also when all of it has been sent.
    fn leave_sent(&mut self, now: Millis) {
        let left = self.writer.leave(&mut self.disk, &mut self.chain, now);
        if self.note(left, now) {
            self.release(now);
        }
    }

    /// Syncs everything, as the setting wants it, and gives back what was preallocated. Nothing is written
    /// after that.
    pub fn close(&mut self, now: Millis) {
        let closed = self.writer.close(&mut self.disk, &mut self.chain, now);
        self.note(closed, now);
        let notice = self.mark_keeper.close(&mut self.disk, now);
        self.note_of_mark(notice);
        self.writer.end(&mut self.disk);
        self.progress.lock().end();
    }

    /// Whether it was done; if not, it is noted.
    fn note(&mut self, done: io::Result<()>, now: Millis) -> bool {
        done.map_err(|error| self.on_fault(&error, now)).is_ok()
    }

    fn on_fault(&mut self, error: &io::Error, now: Millis) -> Fault {
        let fault = fault_of(error);
        if self.trouble.on_fault(fault, now) {
            self.notices.push(Notice::Fault(fault, error.to_string()));
        }
        fault
    }

    fn note_of_mark(&mut self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Mended) => self.on_mended(),
            other => self.notices.extend(other),
        }
    }

    /// One kind of trouble is over. As long as there is another, the disk does not work again.
    fn on_mended(&mut self) {
        let is_well = self.trouble.is_none() && self.read_trouble.is_none();
        if is_well && self.mark_keeper.is_well() {
            self.notices.push(Notice::Mended);
        }
    }

    fn on_success(&mut self, appends: &[Append], outcomes: &[Outcome], is_at_end: bool) {
        self.progress.lock().is_drained = false;
        if is_at_end {
            self.pass_on(appends, outcomes);
        }
        if self.setting.out_of_order == OutOfOrder::Allowed {
            self.keep_fresh(appends, outcomes);
        }
        if self.trouble.on_success() {
            self.on_mended();
        }
    }

    /// What has just been stored need not be read, if everything before it has been: as much of it as
    /// may wait in memory.
    fn pass_on(&mut self, appends: &[Append], outcomes: &[Outcome]) {
        let Some(link) = self.chain.last() else { return };
        let mut end = link.bytes - self.group.bytes();
        for (append, outcome) in appends.iter().zip(outcomes) {
            let Outcome::Stored(sequence) = *outcome else { continue };
            if !self.passing.has_room() {
                return;
            }
            end += (FRAME_BYTES + append.push.whole().len()) as u64;
            let entry = Entry { label: append.label(sequence), push: append.push.clone() };
            self.passing.on_stored(entry, link.number);
            self.reader.pass_to(link.number, end, sequence);
        }
    }

    /// Keeps what has just been stored, if it is far behind what is being sent.
    fn keep_fresh(&mut self, appends: &[Append], outcomes: &[Outcome]) {
        let last_given = self.progress.lock().cursor.last_given();
        let read_ahead_max = self.setting.in_flight_max;
        for (append, outcome) in appends.iter().zip(outcomes) {
            let Outcome::Stored(sequence) = *outcome else { continue };
            if Fresh::is_behind(sequence, last_given, read_ahead_max) {
                let entry = Entry { label: append.label(sequence), push: append.push.clone() };
                self.fresh.on_stored(entry);
            }
        }
    }

    /// When [`Store::turn`] has something to do, if nothing happens before.
    pub fn due(&self) -> Option<Millis> {
        [self.writer.due(), self.mark_keeper.due()].into_iter().flatten().min()
    }

    /// What there is to say since this was asked last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.chain.bytes()
    }
}
