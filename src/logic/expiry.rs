//! When silence means death.
//!
//! Idle is not dead: all requests of a scrape come within 100 ms, then a healthy Prometheus is
//! silent until its next scrape, 15 to 60 s. So a source is given twice the longest silence that
//! is known of it, as long as it holds a connection open. One that is known for less than
//! `expiry_max` may have a longer rhythm than we have seen, and is given `expiry_max`.

use crate::base::limits::{RHYTHM_SPAN, SENDER_BACKOFF_MAX};
use crate::base::time::Millis;

/// The configured bounds of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `--health-expiry`: the patience with a source that holds no connection.
    pub expiry: Millis,
    /// `--health-expiry-max`: the most patience with a source that holds one.
    pub expiry_max: Millis,
}

/// What is known of a source at the moment its silence is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// When it was last heard: the end of its last whole request.
    pub last_heard: Millis,
    /// When it was last answered: before that it was waiting, not silent.
    pub last_answered: Millis,
    /// Whether it holds a connection open, or may: of one behind a balancer it is not known.
    pub connected: bool,
    /// Whether its connections may have gone with nodes that relayed them: that it has none says nothing.
    pub reconnects: bool,
    /// Whether a request of it is on its way to the endpoint and back.
    pub in_flight: bool,
    /// Whether its last answer was a 5xx of our own: it is waiting to try again.
    pub refused: bool,
    /// What patience another node had with it, where it was heard until it was expected here.
    pub granted: Millis,
}

impl Presence {
    /// How long it has been silent.
    pub fn silence(&self, now: Millis) -> Millis {
        now.since(self.last_heard.max(self.last_answered))
    }

    /// Whether this process has heard it, and not longer ago than `span`.
    pub fn was_heard_within(&self, span: Millis, now: Millis) -> bool {
        self.last_heard != Millis(0) && now.since(self.last_heard) < span
    }
}

/// How long the pauses of one source are, learned by looking at it once a tick.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    first_heard: Millis,
    last_heard: Millis,
    longest: LongestTwo,
    longest_before: LongestTwo,
    span_start: Millis,
}

/// The longest of some lengths of time, and the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongestTwo {
    /// The longest.
    pub first: Millis,
    /// The longest of the others: it came twice, or something longer did.
    pub second: Millis,
}

impl LongestTwo {
    /// The longest, unless it is an exception: it came once only, and all others are less than half of
    /// it. It may have been a hole.
    pub fn usual(self) -> Millis {
        if self.first > self.second.times(2) { self.second } else { self.first }
    }

    /// The same with one more.
    pub fn with(self, length: Millis) -> LongestTwo {
        LongestTwo {
            first: self.first.max(length),
            second: self.second.max(self.first.min(length)),
        }
    }
}

impl Rhythm {
    /// The rhythm of a source that was heard for the first time at `now`.
    pub fn new(now: Millis) -> Rhythm {
        Rhythm {
            first_heard: now,
            last_heard: now,
            longest: LongestTwo::default(),
            longest_before: LongestTwo::default(),
            span_start: now,
        }
    }

    /// Takes in when the source was last heard. To be called at every tick: a pause between two
    /// ticks is found too long by one tick at most, which errs on the side of patience.
    pub fn on_look(&mut self, now: Millis, last_heard: Millis) {
        if now.since(self.span_start) >= RHYTHM_SPAN {
            self.longest_before = std::mem::take(&mut self.longest);
            self.span_start = now;
        }
        self.longest = self.longest.with(last_heard.since(self.last_heard));
        self.last_heard = self.last_heard.max(last_heard);
    }

    /// The same after a pause that has come again and again.
    pub fn learn(&mut self, now: Millis, last_heard: Millis) {
        let pause = last_heard.since(self.last_heard);
        self.on_look(now, last_heard);
        self.longest = self.longest.with(pause);
    }

    /// Takes in that it was heard after a pause that is not to be remembered.
    pub fn skip(&mut self, last_heard: Millis) {
        self.last_heard = self.last_heard.max(last_heard);
    }

    /// The longest pause that is remembered.
    pub fn longest(&self) -> Millis {
        self.longest_two().first
    }

    /// It and the next one: what came once only may have been a hole.
    pub fn longest_two(&self) -> LongestTwo {
        self.longest.with(self.longest_before.first).with(self.longest_before.second)
    }

    /// How long the source has been known.
    pub fn known_for(&self) -> Millis {
        self.last_heard.since(self.first_heard)
    }

    /// How long this source may be silent before it is lost, `None` if it can't be lost now.
    pub fn patience(&self, presence: &Presence, expiry: &Expiry) -> Option<Millis> {
        if presence.in_flight {
            return None;
        }
        let patience = match (presence.connected || presence.reconnects, presence.refused) {
            (true, true) => expiry.expiry_max.max(expiry.expiry),
            (true, false) => self.connected_patience(expiry),
            (false, true) => expiry.expiry.after(SENDER_BACKOFF_MAX),
            (false, false) => expiry.expiry,
        };
        Some(patience.max(presence.granted))
    }

    fn connected_patience(&self, expiry: &Expiry) -> Millis {
        if self.known_for() < expiry.expiry_max {
            return expiry.expiry_max.max(expiry.expiry);
        }
        let twice_longest = self.longest().times(2);
        twice_longest.min(expiry.expiry_max).max(expiry.expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Expiry = Expiry { expiry: Millis(5000), expiry_max: Millis(90_000) };
    const OPEN: Presence = Presence {
        last_heard: Millis(0),
        last_answered: Millis(0),
        connected: true,
        reconnects: false,
        in_flight: false,
        refused: false,
        granted: Millis(0),
    };

    /// Looks once a second, from `start` for `span`, at a source that is heard every `pause`.
    fn hear(rhythm: &mut Rhythm, start: u64, span: u64, pause: u64) {
        for now in (start..=start + span).step_by(1000) {
            rhythm.on_look(Millis(now), Millis(start + (now - start) / pause * pause));
        }
    }

    #[test]
    fn without_a_connection_the_expiry_counts() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 300_000, 30_000);
        let gone = Presence { connected: false, ..OPEN };
        assert_eq!(rhythm.patience(&gone, &EXPIRY), Some(Millis(5000)));
    }

    #[test]
    fn a_source_heard_every_second_is_lost_after_the_expiry() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 100_000, 1000);
        assert_eq!(rhythm.patience(&OPEN, &EXPIRY), Some(Millis(5000)));
    }

    #[test]
    fn a_source_heard_every_15_seconds_is_given_30() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 120_000, 15_000);
        assert_eq!(rhythm.patience(&OPEN, &EXPIRY), Some(Millis(30_000)));
    }

    #[test]
    fn a_source_whose_rhythm_is_not_known_yet_is_given_the_most() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 60_000, 1000);
        assert_eq!(rhythm.patience(&OPEN, &EXPIRY), Some(Millis(90_000)));
        // It does not become known by being silent.
        rhythm.on_look(Millis(200_000), Millis(60_000));
        assert_eq!(rhythm.patience(&OPEN, &EXPIRY), Some(Millis(90_000)));
    }

    #[test]
    fn patience_is_bounded_and_a_long_silence_is_forgotten() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 240_000, 80_000);
        assert_eq!(rhythm.patience(&OPEN, &EXPIRY), Some(Millis(90_000)));
        hear(&mut rhythm, 240_000, 700_000, 1000);
        assert_eq!(rhythm.patience(&OPEN, &EXPIRY), Some(Millis(5000)));
    }

    #[test]
    fn a_pause_that_came_once_is_the_longest_but_not_the_next() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 5_000, 1000);
        hear(&mut rhythm, 15_000, 280_000, 2000);
        let longest = rhythm.longest_two();
        assert_eq!((longest.first, longest.second), (Millis(10_000), Millis(2000)));
        // One in each of two spans are two.
        hear(&mut rhythm, 305_000, 10_000, 1000);
        assert_eq!(rhythm.longest_two().second, Millis(10_000));
    }

    #[test]
    fn one_that_was_never_heard_was_not_heard_lately_however_young_the_process_is() {
        let never = Presence { last_heard: Millis(0), ..OPEN };
        assert!(!never.was_heard_within(Millis(10_000), Millis(300)));
        let heard = Presence { last_heard: Millis(100), ..OPEN };
        assert!(heard.was_heard_within(Millis(10_000), Millis(300)));
        assert!(!heard.was_heard_within(Millis(200), Millis(300)));
    }

    #[test]
    fn a_source_is_not_lost_because_the_endpoint_is_down() {
        let mut rhythm = Rhythm::new(Millis(0));
        hear(&mut rhythm, 0, 100_000, 1000);
        let waiting = Presence { in_flight: true, ..OPEN };
        assert_eq!(rhythm.patience(&waiting, &EXPIRY), None);
        let refused = Presence { refused: true, ..OPEN };
        assert_eq!(rhythm.patience(&refused, &EXPIRY), Some(Millis(90_000)));
        // But it is lost when it has gone: its connection is closed and it did not try again.
        let gone = Presence { connected: false, ..refused };
        assert_eq!(rhythm.patience(&gone, &EXPIRY), Some(Millis(10_000)));
    }
}
