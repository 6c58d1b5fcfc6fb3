//! The watermark: of each series, the newest time that was delivered.
//!
//! It is built from the bodies of one source and asked for each sample of another, for a million
//! series and more, so it does not fit in a cache and nothing but misses counts. An entry is 20
//! bytes, three of them and their flags make one cache line, and that line is all that an operation
//! touches, nearly always. A batch of series has its lines fetched together before they are used:
//! the misses overlap. The place of a series follows the order of the hashes, so growing and merging
//! walk through memory from front to back.
//!
//! Of the 128 bits of an identity 96 are kept. That any two of ten million series share them has a
//! chance of 6·10⁻¹⁶; that one of a million series that are not in a watermark of ten million is
//! taken for one that is, 10⁻¹⁶. Either would drop samples of one series until the hand-over is done.

use std::hint::black_box;

use crate::wire::remote_write::error::BodyError;
use crate::wire::remote_write::filter::{Filter, Outcome};
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::series::SeriesId;
use crate::wire::remote_write::survey::{Mention, Surveyor};

/// Entries of a bucket.
const SLOTS: usize = 3;

/// The slots that may be taken, of 20. A fuller table has longer ways to a free slot, an emptier
/// one takes more memory: at 17 an entry has 25 bytes, and 31 after the table has grown.
const TAKEN_OF_20_MAX: usize = 17;

/// How many buckets a table has at least: with fewer it would grow again and again at the start.
const BUCKETS_MIN: usize = 64;

/// How many lines are fetched together: more than a core can wait for at a time, and few enough
/// that the first are still in the fastest cache when the last has come.
const FETCHED: usize = 64;

/// Bits of [`Bucket::flags`]: how many slots are taken, which have been spoken for, and for which the
/// new source is about to speak.
const TAKEN: u32 = 0b11;
const SPOKEN: u32 = 0b100;
const NEAR: u32 = SPOKEN << SLOTS;

/// Series and the newest time of each, and which of them the new source has spoken for.
#[derive(Clone, Debug)]
pub struct Watermark {
    buckets: Vec<Bucket>,
    entries: usize,
    spoken: usize,
}

/// Three entries on one cache line. Slots are taken from the front and never freed.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    high: [u64; SLOTS],
    newest_ms: [i64; SLOTS],
    low: [u32; SLOTS],
    flags: u32,
}

/// The bits of an identity that are kept.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// Its order is the order of the table.
    high: u64,
    low: u32,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
struct Place {
    bucket: usize,
    slot: usize,
}

impl Watermark {
    /// Without a series, and without memory of its own yet.
    pub fn new() -> Watermark {
        Watermark { buckets: Vec::new(), entries: 0, spoken: 0 }
    }

    /// With room for so many series, so that it need not grow on the way there.
    pub fn with_capacity(series: usize) -> Watermark {
        let mut watermark = Watermark::new();
        watermark.reserve(series);
        watermark
    }

    /// Notes that samples of a series up to `timestamp_ms` were delivered. Older than what is known
    /// changes nothing.
    pub fn note(&mut self, id: SeriesId, timestamp_ms: i64) {
        self.reserve(1);
        self.note_key(Key::of(id), timestamp_ms);
    }

    /// Notes what a batch of a delivered body says.
    pub fn note_all(&mut self, batch: &[Mention]) {
        self.reserve(batch.len());
        for mentions in batch.chunks(FETCHED) {
            self.fetch(mentions);
            for mention in mentions.iter().filter(|mention| mention.counts.dated() > 0) {
                self.note_key(Key::of(mention.id), mention.newest_ms);
            }
        }
    }

    /// The newest time delivered of a series, `None` if it is not known.
    pub fn newest(&self, id: SeriesId) -> Option<i64> {
        let place = self.find(Key::of(id))?;
        Some(self.buckets[place.bucket].newest_ms[place.slot])
    }

    /// The newest times delivered of a batch of series, in its order, in place of what `newest_ms`
    /// held.
    pub fn look_up(&self, batch: &[Mention], newest_ms: &mut Vec<Option<i64>>) {
        newest_ms.clear();
        for mentions in batch.chunks(FETCHED) {
            self.fetch(mentions);
            newest_ms.extend(mentions.iter().map(|mention| self.newest(mention.id)));
        }
    }

    /// Marks that the new source has spoken for a series. True if it had not before; false too for
    /// a series that is not known, which nobody waits for.
    pub fn mark_spoken(&mut self, id: SeriesId) -> bool {
        let Some(place) = self.find(Key::of(id)) else { return false };
        let flags = &mut self.buckets[place.bucket].flags;
        let is_first = *flags & SPOKEN << place.slot == 0;
        *flags |= SPOKEN << place.slot;
        self.spoken += usize::from(is_first);
        is_first
    }

    /// Marks that the new source has spoken for all series of a batch of which it has samples or
    /// histograms: exemplars alone do not continue a series.
    pub fn mark_all_spoken(&mut self, batch: &[Mention]) {
        for mentions in batch.chunks(FETCHED) {
            self.fetch(mentions);
            for mention in mentions.iter().filter(|mention| mention.counts.dated() > 0) {
                self.mark_spoken(mention.id);
            }
        }
    }

    /// Marks that the new source is about to speak for a series; without effect for one that is not
    /// known.
    pub fn mark_near(&mut self, id: SeriesId) {
        if let Some(place) = self.find(Key::of(id)) {
            self.buckets[place.bucket].flags |= NEAR << place.slot;
        }
    }

    /// Whether the new source has spoken for a series or is about to; false for one that is not known.
    pub fn is_near(&self, id: SeriesId) -> bool {
        let either = SPOKEN | NEAR;
        let of = |place: Place| self.buckets[place.bucket].flags & either << place.slot != 0;
        self.find(Key::of(id)).is_some_and(of)
    }

    /// Forgets for which series the new source has spoken: there is another new one.
    pub fn forget_who_spoke(&mut self) {
        self.spoken = 0;
        self.buckets.iter_mut().for_each(|bucket| bucket.flags &= TAKEN);
    }

    /// Whether the new source has spoken for a series; false for one that is not known.
    pub fn is_spoken(&self, id: SeriesId) -> bool {
        self.find(Key::of(id)).is_some_and(|place| self.buckets[place.bucket].is_spoken(place.slot))
    }

    /// How many series the new source has not spoken for.
    pub fn unspoken(&self) -> usize {
        self.entries - self.spoken
    }

    /// How many series are known.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether no series is known.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The bytes allocated. While the table grows, the old one is there too for a moment.
    pub fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Notes a delivered body. After an error, what stands before the fault is noted: the endpoint
    /// has taken it.
    pub fn learn(
        &mut self,
        protocol: Protocol,
        body: &[u8],
        surveyor: &mut Surveyor,
    ) -> Result<(), BodyError> {
        let mut survey = surveyor.open(protocol, body)?;
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                return Ok(());
            }
            self.note_all(batch);
        }
    }

    /// Filters a decoded body: of a known series only what is newer passes, of another everything.
    /// `newest_ms` is scratch.
    pub fn filter(
        &self,
        protocol: Protocol,
        body: &[u8],
        surveyor: &mut Surveyor,
        newest_ms: &mut Vec<Option<i64>>,
    ) -> Result<Outcome, BodyError> {
        let mut survey = surveyor.open(protocol, body)?;
        let mut filter = Filter::of(protocol, body);
        loop {
            let batch = survey.next_batch()?;
            if batch.is_empty() {
                return Ok(filter.finish(survey.has_metadata()));
            }
            self.look_up(batch, newest_ms);
            for (mention, newest_ms) in batch.iter().zip(newest_ms.iter()) {
                filter
                    .take(mention, |timestamp_ms| newest_ms.is_none_or(|it| timestamp_ms > it))?;
            }
        }
    }

    /// Takes over all entries of another watermark: of a series in both, the newer time, and that
    /// it was spoken for if either says so.
    pub fn merge(&mut self, other: &Watermark) {
        for bucket in &other.buckets {
            for slot in 0..bucket.taken() {
                self.reserve(1);
                self.take_over(bucket, slot);
            }
        }
    }

    /// Forgets all series whose newest time is before `timestamp_ms`, and gives memory back: series
    /// come and go, and a watermark kept for long would hold all there ever were.
    pub fn forget_before(&mut self, timestamp_ms: i64) {
        let stays = |bucket: &Bucket, slot: usize| bucket.newest_ms[slot] >= timestamp_ms;
        let slots = |bucket: &Bucket| 0..bucket.taken();
        let count = |bucket: &Bucket| slots(bucket).filter(|slot| stays(bucket, *slot)).count();
        let left = self.buckets.iter().map(count).sum();
        let old = std::mem::replace(self, Watermark::with_capacity(left));
        for bucket in &old.buckets {
            for slot in slots(bucket).filter(|slot| stays(bucket, *slot)) {
                self.take_over(bucket, slot);
            }
        }
    }

    /// Takes over an entry of another table; there must be room.
    fn take_over(&mut self, from: &Bucket, slot: usize) {
        let key = Key { high: from.high[slot], low: from.low[slot] };
        let place = self.note_key(key, from.newest_ms[slot]);
        let bucket = &mut self.buckets[place.bucket];
        bucket.flags |= (from.flags >> slot & NEAR) << place.slot;
        if from.is_spoken(slot) && !bucket.is_spoken(place.slot) {
            bucket.flags |= SPOKEN << place.slot;
            self.spoken += 1;
        }
    }

    /// Makes room for so many series more.
    fn reserve(&mut self, more: usize) {
        let needed = (self.entries + more) * 20;
        if needed <= self.buckets.len() * SLOTS * TAKEN_OF_20_MAX {
            return;
        }
        // By a quarter at a time: doubling would leave half of the memory unused at worst, and
        // moving entries in the order of the table is cheap.
        let grown = self.buckets.len() + self.buckets.len() / 4;
        let buckets = needed.div_ceil(SLOTS * TAKEN_OF_20_MAX).max(grown).max(BUCKETS_MIN);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        (self.entries, self.spoken) = (0, 0);
        for bucket in &old {
            for slot in 0..bucket.taken() {
                self.take_over(bucket, slot);
            }
        }
    }

    /// Reads a part of the line of each of the series, and so has all of them fetched: none of the
    /// reads waits for another, as it would behind a comparison that the processor must guess.
    #[inline]
    fn fetch(&self, mentions: &[Mention]) {
        let flags = mentions.iter().filter_map(|mention| {
            let bucket = self.buckets.get(self.home(Key::of(mention.id)))?;
            Some(bucket.flags)
        });
        black_box(flags.fold(0, |all, flags| all ^ flags));
    }

    /// The bucket where the search for a key begins: the table stretched over all hashes.
    #[inline]
    fn home(&self, key: Key) -> usize {
        ((u128::from(key.high) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    fn find(&self, key: Key) -> Option<Place> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut bucket = self.home(key);
        loop {
            match self.buckets[bucket].find(key) {
                Some(slot) => return Some(Place { bucket, slot }),
                // A free slot: had the key come this far, it would be there.
                None if self.buckets[bucket].taken() < SLOTS => return None,
                None => bucket = self.after(bucket),
            }
        }
    }

    /// Notes a time; there must be room.
    #[inline]
    fn note_key(&mut self, key: Key, timestamp_ms: i64) -> Place {
        let mut bucket = self.home(key);
        loop {
            let line = &mut self.buckets[bucket];
            if let Some(slot) = line.find(key) {
                line.newest_ms[slot] = line.newest_ms[slot].max(timestamp_ms);
                return Place { bucket, slot };
            }
            let slot = line.taken();
            if slot < SLOTS {
                line.high[slot] = key.high;
                line.low[slot] = key.low;
                line.newest_ms[slot] = timestamp_ms;
                line.flags += 1;
                self.entries += 1;
                return Place { bucket, slot };
            }
            bucket = self.after(bucket);
        }
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }
}

impl Default for Watermark {
    fn default() -> Watermark {
        Watermark::new()
    }
}

impl Bucket {
    #[inline]
    fn taken(&self) -> usize {
        (self.flags & TAKEN) as usize
    }

    #[inline]
    fn is_spoken(&self, slot: usize) -> bool {
        self.flags & SPOKEN << slot != 0
    }

    #[inline]
    fn find(&self, key: Key) -> Option<usize> {
        let taken = self.taken();
        (0..SLOTS).find(|slot| {
            self.high[*slot] == key.high && self.low[*slot] == key.low && *slot < taken
        })
    }
}

impl Key {
    #[inline]
    fn of(id: SeriesId) -> Key {
        Key { high: (id.0 >> 64) as u64, low: id.0 as u32 }
    }
}

#[cfg(test)]
#[path = "watermark_tests.rs"]
mod tests;
