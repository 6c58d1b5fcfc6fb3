//! The segments that there are, from the oldest to the one that is appended to.

use std::collections::VecDeque;

use crate::logic::queue::setting::Setting;
use crate::wire::queue::segment::HEAD_BYTES;
use crate::wire::queue::sequence::Sequence;

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The sequence of its first record.
    pub number: Sequence,
    /// Up to here it may be read. What is preallocated behind that does not count.
    pub bytes: u64,
    /// Its last record, as far as that is known: of one that was there at the start it is not. Numbers behind
    /// it that the next segment has not may be of no record: they were given, and then not written.
    pub last: Option<Sequence>,
}

/// Where a group of records goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Behind what is there.
    Here,
    /// Into a segment of its own.
    Next,
    /// Nowhere, as long as nothing goes.
    Full,
}

/// All of them.
#[derive(Debug)]
pub struct Chain {
    links: VecDeque<Link>,
    bytes: u64,
    bytes_max: u64,
    segment_bytes: u64,
    /// Whether the last one is appended to. One that was there at the start never is: what lies behind
    /// its end is nobody's.
    open: bool,
}

impl Chain {
    /// Those that were there at the start, by their numbers.
    pub fn new(links: Vec<Link>, setting: &Setting) -> Chain {
        let bytes = links.iter().map(|link| link.bytes).sum();
        let (bytes_max, segment_bytes) = (setting.bytes_max, setting.segment_bytes());
        Chain { links: links.into(), bytes, bytes_max, segment_bytes, open: false }
    }

    /// Where so many bytes of records may go.
    pub fn judge(&self, bytes: u64) -> Room {
        let open = self.links.back().filter(|_| self.open);
        let fits = open.is_some_and(|link| link.bytes + bytes <= self.segment_bytes);
        let head = if fits { 0 } else { HEAD_BYTES as u64 };
        match self.bytes + bytes + head {
            all if all > self.bytes_max => Room::Full,
            _ if fits => Room::Here,
            _ => Room::Next,
        }
    }

    /// Whether so many bytes of records could ever go anywhere.
    pub fn can_hold(&self, bytes: u64) -> bool {
        bytes + HEAD_BYTES as u64 <= self.bytes_max
    }

    /// What to preallocate for a segment that begins with so many bytes.
    pub fn room_bytes(&self, bytes: u64) -> u64 {
        let left = self.bytes_max.saturating_sub(self.bytes);
        self.segment_bytes.min(left).max(bytes)
    }

    /// How long a file for one more may be, if besides all segments files of so many bytes stay and the one
    /// that is appended to grows to its end. `None`: there is no room for it.
    pub fn spare_bytes(&self, others: u64) -> Option<u64> {
        let all = self.bytes + others + 2 * self.segment_bytes;
        (all <= self.bytes_max).then_some(self.segment_bytes)
    }

    /// A segment of this number is there, with a head.
    pub fn on_begun(&mut self, number: Sequence) {
        assert!(self.links.back().is_none_or(|last| last.number < number), "numbers rise");
        assert!(!self.open, "one segment at a time is appended to");
        self.links.push_back(Link { number, bytes: HEAD_BYTES as u64, last: None });
        self.bytes += HEAD_BYTES as u64;
        self.open = true;
    }

    /// So many bytes have been appended, up to the record `last`, and acknowledged.
    pub fn on_appended(&mut self, bytes: u64, last: Sequence) {
        if let Some(link) = self.links.back_mut() {
            link.bytes += bytes;
            link.last = Some(last);
            self.bytes += bytes;
        }
    }

    /// Nothing more is appended to the last one.
    pub fn on_closed(&mut self) {
        self.open = false;
    }

    /// Whether this one is appended to.
    pub fn is_open(&self, number: Sequence) -> bool {
        self.open && self.links.back().is_some_and(|last| last.number == number)
    }

    /// The oldest.
    pub fn first(&self) -> Option<Link> {
        self.links.front().copied()
    }

    /// The oldest, if it lies before the segment `needed` and may go.
    pub fn released(&self, needed: Sequence) -> Option<Link> {
        self.first().filter(|link| link.number < needed && !self.is_open(link.number))
    }

    /// The oldest is gone.
    pub fn on_removed(&mut self) {
        if let Some(link) = self.links.pop_front() {
            self.bytes -= link.bytes;
        }
    }

    /// The one of this number.
    pub fn link(&self, number: Sequence) -> Option<Link> {
        let place = self.links.binary_search_by_key(&number, |link| link.number).ok()?;
        self.links.get(place).copied()
    }

    /// The one behind that of this number.
    pub fn after(&self, number: Sequence) -> Option<Link> {
        let place = self.links.partition_point(|link| link.number <= number);
        self.links.get(place).copied()
    }

    /// The newest.
    pub fn last(&self) -> Option<Link> {
        self.links.back().copied()
    }

    /// What the last one takes.
    pub fn last_bytes(&self) -> u64 {
        self.last().map_or(0, |link| link.bytes)
    }

    /// What all of them take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        let links = [(1, 100), (5, 200)].map(|(number, bytes)| Link {
            number: Sequence(number),
            bytes,
            last: None,
        });
        Chain::new(links.into(), &Setting { bytes_max: 4000, ..Setting::default() })
    }

    #[test]
    fn a_segment_that_was_there_is_not_appended_to() {
        let mut chain = chain();
        assert_eq!(chain.judge(10), Room::Next);
        chain.on_begun(Sequence(9));
        chain.on_appended(10, Sequence(12));
        assert_eq!(chain.last().and_then(|link| link.last), Some(Sequence(12)));
        assert_eq!((chain.judge(450), chain.judge(451)), (Room::Here, Room::Next));
        assert_eq!(chain.bytes(), 350);
        chain.on_closed();
        assert_eq!(chain.judge(10), Room::Next);
    }

    #[test]
    fn what_does_not_fit_under_the_maximum_is_full() {
        let mut chain = chain();
        assert_eq!((chain.judge(3660), chain.judge(3661)), (Room::Next, Room::Full));
        chain.on_removed();
        assert_eq!(chain.judge(3661), Room::Next);
        assert_eq!(chain.room_bytes(10), 500);
        assert_eq!((chain.spare_bytes(2800), chain.spare_bytes(2801)), (Some(500), None));
        assert_eq!(chain.room_bytes(1000), 1000);
        assert!(chain.can_hold(3960) && !chain.can_hold(3961));
    }

    #[test]
    fn only_what_lies_before_the_needed_one_is_released() {
        let mut chain = chain();
        chain.on_begun(Sequence(9));
        assert_eq!(chain.released(Sequence(1)), None);
        assert_eq!(chain.released(Sequence(5)).map(|it| it.number), Some(Sequence(1)));
        chain.on_removed();
        chain.on_removed();
        assert_eq!(chain.released(Sequence(99)), None, "it is appended to");
        assert_eq!((chain.after(Sequence(5)), chain.after(Sequence(9))), (chain.first(), None));
        assert_eq!(chain.link(Sequence(9)), chain.first());
        assert_eq!(chain.link(Sequence(8)), None);
    }
}
