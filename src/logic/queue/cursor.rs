//! What has been given out to be sent, and up to where all of it has been.
//!
//! Records are given in order and come to their end in any. The mark moves over a whole prefix only:
//! what lies behind a record that has not been sent is sent once more after a crash, and nothing is
//! left out.

use std::collections::VecDeque;

use crate::base::limits::QUEUE_IN_FLIGHT_BYTES_MAX;
use crate::wire::queue::sequence::Sequence;

/// A record that has been given out.
#[derive(Debug)]
struct Given {
    sequence: Sequence,
    segment: Sequence,
    bytes: usize,
    sent: bool,
}

/// The place of the sender in the queue.
#[derive(Debug)]
pub struct Cursor {
    /// From the first that has not been sent on.
    given: VecDeque<Given>,
    unsent_bytes: usize,
    sent: Sequence,
    in_flight_max: usize,
}

impl Cursor {
    /// All up to `sent` have been sent.
    pub fn new(sent: Sequence, in_flight_max: usize) -> Cursor {
        let in_flight_max = in_flight_max.max(1);
        Cursor { given: VecDeque::new(), unsent_bytes: 0, sent, in_flight_max }
    }

    /// Whether one more may be given out.
    pub fn has_room(&self) -> bool {
        self.given.len() < self.in_flight_max && self.unsent_bytes < QUEUE_IN_FLIGHT_BYTES_MAX
    }

    /// Whether half of what may be given out has come to its end: then it is worth to look for more.
    pub fn has_much_room(&self) -> bool {
        self.given.len() <= self.in_flight_max / 2
            && self.unsent_bytes <= QUEUE_IN_FLIGHT_BYTES_MAX / 2
    }

    /// It has been given out, from this segment.
    pub fn on_given(&mut self, sequence: Sequence, segment: Sequence, bytes: usize) {
        let last = self.given.back().map_or(self.sent, |given| given.sequence);
        assert!(sequence > last, "records are given in order: {sequence} after {last}");
        self.given.push_back(Given { sequence, segment, bytes, sent: false });
        self.unsent_bytes += bytes;
    }

    /// It has been sent, or never will be. One that has not been given out, or was dropped since, is
    /// passed over.
    pub fn on_sent(&mut self, sequence: Sequence) {
        let Ok(place) = self.given.binary_search_by_key(&sequence, |given| given.sequence) else {
            return;
        };
        let given = &mut self.given[place];
        if !given.sent {
            given.sent = true;
            self.unsent_bytes -= given.bytes;
        }
        self.settle();
    }

    /// All up to `sequence` are dropped. Those that have been given out may end as they like.
    pub fn on_dropped(&mut self, sequence: Sequence) {
        for given in self.given.iter_mut().filter(|it| it.sequence <= sequence && !it.sent) {
            given.sent = true;
            self.unsent_bytes -= given.bytes;
        }
        self.settle();
        self.sent = self.sent.max(sequence);
    }

    fn settle(&mut self) {
        while self.given.front().is_some_and(|given| given.sent) {
            if let Some(given) = self.given.pop_front() {
                self.sent = given.sequence;
            }
        }
    }

    /// All up to this one have been sent.
    pub fn sent(&self) -> Sequence {
        self.sent
    }

    /// How many from `first` to `last` were given out and have not been sent.
    pub fn unsent_among(&self, first: Sequence, last: Sequence) -> u64 {
        let among = |given: &&Given| (first..=last).contains(&given.sequence) && !given.sent;
        self.given.iter().filter(among).count() as u64
    }

    /// The last that was given out.
    pub fn last_given(&self) -> Sequence {
        self.given.back().map_or(self.sent, |given| given.sequence)
    }

    /// The segment of the first that has not been sent, of those given out.
    pub fn segment(&self) -> Option<Sequence> {
        self.given.front().map(|given| given.segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(given: u64) -> Cursor {
        let mut cursor = Cursor::new(Sequence(10), 4);
        for number in 11..11 + given {
            cursor.on_given(Sequence(number), Sequence(1), 100);
        }
        cursor
    }

    #[test]
    fn the_mark_does_not_move_over_a_hole() {
        let mut cursor = cursor(3);
        cursor.on_sent(Sequence(13));
        cursor.on_sent(Sequence(12));
        assert_eq!((cursor.sent(), cursor.last_given()), (Sequence(10), Sequence(13)));
        assert_eq!(cursor.segment(), Some(Sequence(1)));
        cursor.on_sent(Sequence(11));
        assert_eq!((cursor.sent(), cursor.segment()), (Sequence(13), None));
    }

    #[test]
    fn no_more_are_given_out_than_are_to_be_repeated_after_a_crash() {
        let mut cursor = cursor(4);
        assert!(!cursor.has_room());
        for number in [12, 13, 14] {
            cursor.on_sent(Sequence(number));
        }
        assert!(!cursor.has_room(), "the first holds the mark");
        cursor.on_sent(Sequence(11));
        cursor.on_given(Sequence(15), Sequence(1), QUEUE_IN_FLIGHT_BYTES_MAX);
        assert!(!cursor.has_room(), "a large one is out");
        cursor.on_sent(Sequence(15));
        assert!(cursor.has_room());
    }

    #[test]
    fn there_is_much_room_when_half_of_it_has_been_sent() {
        let mut cursor = cursor(4);
        cursor.on_sent(Sequence(11));
        assert!(cursor.has_room() && !cursor.has_much_room());
        cursor.on_sent(Sequence(12));
        assert!(cursor.has_much_room());
        cursor.on_given(Sequence(15), Sequence(1), QUEUE_IN_FLIGHT_BYTES_MAX);
        cursor.on_sent(Sequence(13));
        assert!(!cursor.has_much_room(), "a large one is out");
    }

    #[test]
    fn what_is_dropped_or_said_twice_counts_once() {
        let mut cursor = cursor(3);
        cursor.on_sent(Sequence(12));
        cursor.on_sent(Sequence(12));
        cursor.on_sent(Sequence(99));
        let among = |first, last| cursor.unsent_among(Sequence(first), Sequence(last));
        assert_eq!([among(1, 99), among(12, 13), among(11, 12), among(12, 12)], [2, 1, 1, 0]);
        cursor.on_dropped(Sequence(12));
        assert_eq!(cursor.sent(), Sequence(12));
        cursor.on_sent(Sequence(11));
        cursor.on_sent(Sequence(13));
        assert_eq!((cursor.sent(), cursor.unsent_bytes), (Sequence(13), 0));
        cursor.on_dropped(Sequence(20));
        assert_eq!(cursor.last_given(), Sequence(20));
    }
}
