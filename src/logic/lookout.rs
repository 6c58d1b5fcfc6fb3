//! How often, and how closely, the timestamps of one connection's requests are looked at.
//!
//! A body is not decoded on its way: to find the first timestamp takes half a microsecond, to find all
//! of them a fifth of a millisecond. Now and then the first is enough, for a source that is up to date.
//! The requests of one that is behind may span seconds, so that from first to first there seem to be
//! jumps, and may have a hole in their midst: each of them is read whole. Under load that happens in a
//! backlog only, for batches are full, and sent, before their samples are a second old.

use crate::base::limits::SAMPLE_EVERY;
use crate::base::time::{Millis, UnixMillis};

/// How much of a request is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Its first timestamp is enough.
    First,
    /// All of its timestamps.
    Whole,
}

/// What is remembered of the requests of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookout {
    looked: Millis,
    is_behind: bool,
    /// So many in a row that were looked at had no time.
    timeless: u8,
}

/// Metadata comes alone, and is tried again and again while the endpoint is down: the next request is
/// looked at in its place. More in a row are of somebody whose bodies can't be read.
const TIMELESS_MAX: u8 = 64;

impl Lookout {
    /// Whether the request that has come is to be looked at.
    pub fn is_due(&self, now: Millis) -> bool {
        let is_owed = self.is_behind || self.timeless > 0;
        is_owed && self.timeless < TIMELESS_MAX || now.since(self.looked) >= SAMPLE_EVERY
    }

    /// Its first timestamp is `first`: how much of it is to be read. `behind_max` is how old that of a
    /// source that is up to date may be.
    pub fn on_first(
        &mut self,
        first: UnixMillis,
        behind_max: Millis,
        now: Millis,
        unix_now: UnixMillis,
    ) -> Glance {
        self.looked = now;
        self.timeless = 0;
        self.is_behind = first.after(behind_max) < unix_now;
        match self.is_behind {
            true => Glance::Whole,
            false => Glance::First,
        }
    }

    /// It has none.
    pub fn on_none(&mut self, now: Millis) {
        self.timeless = TIMELESS_MAX.min(self.timeless + 1);
        self.looked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND_MAX: Millis = Millis(1000);

    /// Of requests that come every 10 ms for ten seconds, each `age` old: how many are looked at, and
    /// how many of those whole.
    fn looked(age: Option<i64>) -> (usize, usize) {
        let (mut lookout, mut due, mut whole) = (Lookout::default(), 0, 0);
        for now in (100_000..110_000).step_by(10) {
            let (now, unix_now) = (Millis(now), UnixMillis(now as i64));
            if !lookout.is_due(now) {
                continue;
            }
            due += 1;
            match age {
                None => lookout.on_none(now),
                Some(age) => {
                    let first = UnixMillis(unix_now.0 - age);
                    let glance = lookout.on_first(first, BEHIND_MAX, now, unix_now);
                    whole += usize::from(glance == Glance::Whole);
                }
            }
        }
        (due, whole)
    }

    #[test]
    fn of_fresh_requests_four_a_second_are_looked_at_and_none_whole() {
        assert_eq!(looked(Some(900)), (40, 0));
    }

    #[test]
    fn of_a_source_that_is_behind_every_request_is_read_whole() {
        assert_eq!(looked(Some(1100)), (1000, 1000));
    }

    #[test]
    fn requests_without_a_time_have_the_next_looked_at_in_their_place_but_not_for_ever() {
        let all = usize::from(TIMELESS_MAX);
        assert_eq!(looked(None), (all + (1000 - all) / 25, 0));
    }
}
