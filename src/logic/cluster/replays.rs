//! Datagrams that have come before. A sealed one can be recorded and sent again by anybody.
//!
//! Membership itself survives old datagrams: what they say of a node's life is older than what is
//! known. But each one costs an answer, and what is gossiped later need not be as patient.

use std::collections::VecDeque;

use crate::base::limits::CLUSTER_PROCESSES_MAX;
use crate::wire::cluster::seal::Stamp;

/// Datagrams may overtake each other by so many.
const WINDOW: u64 = 64;

/// What has come from each process that has been heard lately.
#[derive(Debug, Default)]
pub struct Replays {
    /// The one heard last comes last.
    known: VecDeque<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    process: u64,
    newest: u64,
    /// Bit `n` stands for the datagram `n` before the newest.
    seen: u64,
}

impl Replays {
    /// Whether a datagram with this stamp comes for the first time. One that is too old to tell counts
    /// as a replay.
    pub fn is_new(&mut self, stamp: Stamp) -> bool {
        let place = self.known.iter().position(|known| known.process == stamp.process);
        let known = place.and_then(|place| self.known.remove(place));
        let new = Known { process: stamp.process, newest: stamp.sequence, seen: 0 };
        let mut known = known.unwrap_or(new);
        let is_new = known.take(stamp.sequence);
        if self.known.len() >= CLUSTER_PROCESSES_MAX {
            self.known.pop_front();
        }
        self.known.push_back(known);
        is_new
    }
}

impl Known {
    fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            let step = sequence - self.newest;
            self.seen = if step < WINDOW { self.seen << step } else { 0 };
            self.newest = sequence;
        }
        let age = self.newest - sequence;
        if age >= WINDOW || self.seen & (1 << age) != 0 {
            return false;
        }
        self.seen |= 1 << age;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(replays: &mut Replays, process: u64, sequences: &[u64]) -> Vec<bool> {
        let stamp = |sequence: &u64| Stamp { process, sequence: *sequence };
        sequences.iter().map(|sequence| replays.is_new(stamp(sequence))).collect()
    }

    #[test]
    fn each_datagram_is_new_once_in_whatever_order_they_come() {
        let mut replays = Replays::default();
        assert_eq!(taken(&mut replays, 1, &[5, 3, 4, 6]), [true; 4]);
        assert_eq!(taken(&mut replays, 1, &[3, 4, 5, 6]), [false; 4]);
        assert_eq!(taken(&mut replays, 2, &[3, 4, 3]), [true, true, false]);
        assert_eq!(taken(&mut replays, 1, &[69, 6, 7, 5]), [true, false, true, false]);
        assert_eq!(taken(&mut replays, 1, &[u64::MAX, 69, u64::MAX]), [true, false, false]);
    }

    #[test]
    fn those_heard_lately_are_remembered_and_no_more_than_a_bound() {
        let mut replays = Replays::default();
        for process in 0..10 * CLUSTER_PROCESSES_MAX as u64 {
            assert_eq!(taken(&mut replays, process, &[1]), [true]);
            // It keeps talking.
            taken(&mut replays, 0, &[process + 2]);
        }
        assert_eq!(replays.known.len(), CLUSTER_PROCESSES_MAX);
        assert_eq!(taken(&mut replays, 0, &[2]), [false]);
    }
}
