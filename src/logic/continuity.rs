//! Since when a source has been there without a hole in its data, as far as its pauses tell.
//!
//! A Prometheus that dies or stands still and comes back before it is lost has not scraped
//! meanwhile. Nobody says so: what shows is a pause longer than its others, or that all of its
//! connections, which it otherwise keeps, were gone.

use crate::base::limits::{
    DISCONNECTED_LOOKS_PERCENT_MAX, HOLES_UNUSUAL_MAX, KNOWN_MIN, LOOKS_MIN, LOW_MARK_SPAN_MIN,
    MISSED_MIN, RHYTHM_SPAN, SENDER_BACKOFF_MAX, WAITING_LOOKS_MAX,
};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::expiry::{LongestTwo, Presence, Rhythm};

/// The longest step within a scrape interval is at least this part of it, as far as we look.
const STEPS_IN_INTERVAL_MAX: u64 = 8;

/// What is known of the pauses of one source.
#[derive(Clone, Copy, Debug)]
pub struct Continuity {
    whole_since: UnixMillis,
    hole_from: Option<UnixMillis>,
    usual: Rhythm,
    last_heard: Millis,
    is_missed: bool,
    /// How many holes have come one soon after the other, and when the last one ended.
    holes: u32,
    hole_ended: Millis,
    /// The longest usual steps from one first sample to the next.
    steps: LongestTwo,
    /// A longer one, and how often one of about that length has come.
    step_unusual: Millis,
    steps_unusual: u32,
    /// The sample behind the last of them.
    stepped: UnixMillis,
    looks: u32,
    looks_disconnected: u32,
    /// Looks since it was last heard at which it waited for an answer.
    looks_waiting: u32,
}

impl Continuity {
    /// Of a source that is looked at for the first time, and was heard at `last_heard`.
    pub fn new(last_heard: Millis, unix_now: UnixMillis) -> Continuity {
        Continuity {
            whole_since: unix_now,
            hole_from: None,
            usual: Rhythm::new(last_heard),
            last_heard,
            is_missed: false,
            holes: 0,
            hole_ended: Millis(0),
            steps: LongestTwo::default(),
            step_unusual: Millis(0),
            steps_unusual: 0,
            stepped: UnixMillis(0),
            looks: 0,
            looks_disconnected: 0,
            looks_waiting: 0,
        }
    }

    /// Takes in how it is now. To be called at every beat.
    pub fn on_look(&mut self, now: Millis, unix_now: UnixMillis, presence: &Presence) {
        if presence.last_heard > self.last_heard {
            self.on_heard(now, unix_now, presence.last_heard);
        }
        self.looks_waiting += u32::from(presence.in_flight);
        if presence.refused {
            self.looks_waiting = WAITING_LOOKS_MAX + 1;
        }
        let is_missed = self.is_missed || self.is_overdue(now, presence);
        if !is_missed && !presence.in_flight && !presence.reconnects {
            self.looks += 1;
            self.looks_disconnected += u32::from(!presence.connected);
            if self.looks >= 1000 {
                self.looks /= 2;
                self.looks_disconnected /= 2;
            }
        }
        self.is_missed = is_missed;
    }

    /// Its samples have gone on by so much at most since the last look, from the newest one seen to
    /// the first of the next request, or within one. A jump is a hole before `first`.
    pub fn on_step(&mut self, step: Millis, first: UnixMillis) {
        let jump_max = self.jump_max();
        if step > jump_max {
            self.whole_since = self.whole_since.max(first);
            self.hole_from = Some(first.before(step));
        }
        // A scrape or two that fail are not its interval: else one would lead to the next.
        let usual = self.steps.usual().0;
        if step.0 <= usual + usual / 2 || jump_max == Millis(u64::MAX) {
            self.steps = self.steps.with(step);
            return;
        }
        self.on_unusual_step(step, first);
        if self.steps_unusual > HOLES_UNUSUAL_MAX {
            self.steps = self.steps.with(step).with(step);
        }
    }

    /// Holes are rare and of any length. One that comes again and again, shorter steps between or not,
    /// is how its targets are spread over its interval now.
    fn on_unusual_step(&mut self, step: Millis, first: UnixMillis) {
        let known = self.step_unusual.0;
        let is_alike = step.0 >= known - known / 3 && step.0 <= known + known / 2;
        let is_soon = first <= self.stepped.after(step.times(STEPS_IN_INTERVAL_MAX));
        if !is_alike || !is_soon {
            (self.step_unusual, self.steps_unusual) = (step, 0);
        }
        self.stepped = first;
        self.steps_unusual += 1;
    }

    fn on_heard(&mut self, now: Millis, unix_now: UnixMillis, last_heard: Millis) {
        let silence = now.since(self.last_heard);
        self.last_heard = last_heard;
        let was_waiting = std::mem::take(&mut self.looks_waiting) > WAITING_LOOKS_MAX;
        if !std::mem::take(&mut self.is_missed) {
            // A pause that is the endpoint's or our own fault says nothing about its rhythm.
            return match was_waiting {
                true => self.usual.skip(last_heard),
                false => self.usual.on_look(now, last_heard),
            };
        }
        self.whole_since = self.whole_since.max(unix_now);
        self.hole_from = Some(unix_now.before(silence));
        if now.since(self.hole_ended) > RHYTHM_SPAN {
            self.holes = 0;
        }
        self.hole_ended = now;
        self.holes += 1;
        if self.holes > HOLES_UNUSUAL_MAX {
            // Its rhythm is another one now.
            self.holes = 0;
            (self.looks, self.looks_disconnected) = (0, 0);
            return self.usual.learn(now, last_heard);
        }
        self.usual.skip(last_heard);
    }

    fn is_overdue(&self, now: Millis, presence: &Presence) -> bool {
        let silence = presence.silence(now);
        // Whoever was refused has something to send and tries again soon, whatever its rhythm is.
        let longest = match presence.refused {
            true => MISSED_MIN.after(SENDER_BACKOFF_MAX),
            false => self.unless_new(self.usual.longest_two().usual(), self.usual.longest()),
        };
        let is_cut_off = self.keeps_connections() && !presence.connected && !presence.reconnects;
        !presence.in_flight && (is_cut_off || silence >= longest)
    }

    fn keeps_connections(&self) -> bool {
        self.looks >= LOOKS_MIN
            && self.looks_disconnected * 100 <= self.looks * DISCONNECTED_LOOKS_PERCENT_MAX
    }

    /// Whether it should have been heard by now, and has not.
    pub fn is_missed(&self) -> bool {
        self.is_missed
    }

    /// Since when it has been there without a hole.
    pub fn whole_since(&self) -> UnixMillis {
        self.whole_since
    }

    /// The longest of its usual pauses.
    pub fn pause(&self) -> Millis {
        self.usual.longest()
    }

    /// By how much its samples may jump without there being a hole between them. Longer pauses than
    /// that may be the endpoint's fault; a jump is its own.
    pub fn jump_max(&self) -> Millis {
        // What is longer than twice any pause is not its interval.
        let longest = self.steps.first.min(self.usual.longest().times(2));
        self.unless_new(self.steps.usual(), longest)
    }

    /// A request whose first sample is older than this is behind. It may span much time, so that
    /// from first sample to first sample there seem to be jumps: all of it is to be looked at.
    pub fn behind_max(&self) -> Millis {
        let jump_max = if self.is_known() { self.jump_max() } else { MISSED_MIN };
        Millis(jump_max.0 / 2).min(LOW_MARK_SPAN_MIN)
    }

    /// When the last hole began: the last sample before it, or when it was last heard.
    pub fn hole_from(&self) -> Option<UnixMillis> {
        self.hole_from
    }

    /// Whether a pause of it can be called unusual already.
    pub fn is_known(&self) -> bool {
        self.is_known_by(self.usual.longest())
    }

    fn is_known_by(&self, longest: Millis) -> bool {
        self.usual.known_for() >= KNOWN_MIN.max(longest.times(4))
    }

    /// Twice what is usual, once it is known for long enough to have shown what it does at longest.
    fn unless_new(&self, usual: Millis, longest: Millis) -> Millis {
        match self.is_known_by(longest) {
            true => MISSED_MIN.max(usual.times(2)),
            false => Millis(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Watched(Continuity, Presence);

    impl Watched {
        fn at(mut self, now: u64, heard: bool, connected: bool) -> Watched {
            if heard {
                self.1.last_heard = Millis(now);
            }
            self.1.connected = connected;
            self.0.on_look(Millis(now), UnixMillis(now as i64), &self.1);
            self
        }

        /// Heard every `pause`, looked at ten times a second.
        fn heard_every(mut self, pause: u64, from: u64, to: u64) -> Watched {
            for now in (from..to).step_by(100) {
                self = self.at(now, (now - from).is_multiple_of(pause), true);
            }
            self
        }
    }

    fn watched(pause: u64, until: u64) -> Watched {
        let first = Watched(Continuity::new(Millis(0), UnixMillis(0)), Presence::default());
        first.heard_every(pause, 0, until)
    }

    #[test]
    fn a_pause_within_the_usual_leaves_a_source_whole() {
        for pause in [100, 1000, 15_000, 60_000] {
            let Watched(continuity, _) = watched(pause, 400_000);
            assert!(!continuity.is_missed());
            assert_eq!(continuity.whole_since(), UnixMillis(0), "{pause}");
            assert_eq!(continuity.pause(), Millis(pause));
        }
    }

    #[test]
    fn a_pause_of_more_than_twice_the_usual_is_a_hole_whenever_it_happens() {
        let mut source = watched(1000, 20_000);
        for hole in 0..2 {
            let from = 19_000 + hole * 40_000;
            source = source.at(from + 1900, false, true);
            assert!(!source.0.is_missed());
            source = source.at(from + 2100, false, true);
            assert!(source.0.is_missed());
            source = source.at(from + 25_000, true, true);
            assert!(!source.0.is_missed());
            assert_eq!(source.0.whole_since(), UnixMillis(from as i64 + 25_000));
            assert_eq!(source.0.hole_from(), Some(UnixMillis(from as i64)));
            source = source.heard_every(1000, from + 26_000, from + 40_100);
        }
    }

    #[test]
    fn a_source_that_keeps_connections_is_missed_once_they_are_gone_and_others_are_not() {
        let source = watched(15_000, 60_000).at(60_100, false, false);
        assert!(source.0.is_missed());
        let mut closing = Watched(Continuity::new(Millis(0), UnixMillis(0)), Presence::default());
        for now in (0..100_000).step_by(100) {
            closing = closing.at(now, now.is_multiple_of(15_000), false);
        }
        assert!(!closing.0.is_missed());
    }

    #[test]
    fn a_hole_in_its_first_seconds_is_not_its_rhythm() {
        let mut source = watched(1000, 3_100).heard_every(1000, 12_000, 60_000);
        for _ in 0..20 {
            source.0.on_step(Millis(1000), UnixMillis(3_000));
        }
        source.0.on_step(Millis(9000), UnixMillis(12_000));
        assert_eq!(source.0.jump_max(), Millis(2000));
        source = source.at(60_900, false, true);
        assert!(!source.0.is_missed());
        source = source.at(61_100, false, true);
        assert!(source.0.is_missed());
    }

    #[test]
    fn a_pause_that_comes_again_and_again_is_the_new_rhythm() {
        let mut source = watched(1000, 20_000);
        for now in (20_000..400_000).step_by(100) {
            source = source.at(now, now.is_multiple_of(10_000), true);
        }
        assert!(!source.0.is_missed());
        assert!(source.0.whole_since() < UnixMillis(100_000), "{:?}", source.0);
    }

    #[test]
    fn a_jump_of_its_samples_is_a_hole_until_it_is_the_new_interval() {
        let mut source = watched(1000, 20_000);
        for _ in 0..20 {
            source.0.on_step(Millis(1000), UnixMillis(19_000));
        }
        assert_eq!((source.0.jump_max(), source.0.behind_max()), (Millis(2000), Millis(1000)));
        source.0.on_step(Millis(7000), UnixMillis(26_000));
        assert_eq!(source.0.whole_since(), UnixMillis(26_000));
        assert_eq!(source.0.hole_from(), Some(UnixMillis(19_000)));
        for _ in 0..HOLES_UNUSUAL_MAX {
            source.0.on_step(Millis(7000), UnixMillis(33_000));
        }
        assert_eq!(source.0.jump_max(), Millis(14_000));
    }

    #[test]
    fn a_long_step_between_short_ones_is_not_a_hole_for_ever() {
        let mut source = watched(1000, 20_000);
        for _ in 0..20 {
            source.0.on_step(Millis(1000), UnixMillis(19_000));
        }
        // Half of the targets are gone: from now on there is nothing for three seconds of each five.
        for cycle in 0..=i64::from(HOLES_UNUSUAL_MAX) {
            let first = UnixMillis(24_000 + 5_000 * cycle);
            source.0.on_step(Millis(3000), first);
            assert_eq!(source.0.whole_since(), first);
            source.0.on_step(Millis(1000), UnixMillis(first.0 + 1000));
        }
        let whole_since = source.0.whole_since();
        source.0.on_step(Millis(3000), UnixMillis(60_000));
        assert_eq!(source.0.whole_since(), whole_since);
    }

    #[test]
    fn holes_of_a_lifetime_are_no_rhythm() {
        let mut source = watched(1000, 20_000);
        for _ in 0..20 {
            source.0.on_step(Millis(1000), UnixMillis(19_000));
        }
        for day in 1..=10 {
            let (from, first) = (day * 86_400_000, UnixMillis(day as i64 * 86_400_000));
            // It was off at night.
            source = source.at(from - 31_000, false, true);
            source = source.heard_every(1000, from - 30_000, from);
            source.0.on_step(Millis(20_000), first);
            assert_eq!(source.0.whole_since(), first, "{day}");
            let after = from + 3_000;
            source = source.at(after, false, true);
            assert!(source.0.is_missed(), "{day}");
            source = source.at(after + 100, true, true);
        }
    }

    #[test]
    fn one_that_was_refused_and_does_not_try_again_has_a_hole_whatever_its_rhythm() {
        for known in [0, 400_000] {
            let source = watched(60_000, known);
            let mut source = Watched(source.0, Presence { refused: true, ..source.1 });
            let from = source.1.last_heard.0;
            source = source.at(from + 6900, false, true);
            assert!(!source.0.is_missed(), "{known}");
            source = source.at(from + 7000, false, true);
            assert!(source.0.is_missed(), "{known}");
        }
    }

    #[test]
    fn of_a_source_that_is_new_all_that_is_not_fresh_is_looked_at_whole() {
        let new = Continuity::new(Millis(0), UnixMillis(0));
        assert_eq!((new.is_known(), new.jump_max()), (false, Millis(u64::MAX)));
        assert_eq!(new.behind_max(), Millis(1000));
    }
}
