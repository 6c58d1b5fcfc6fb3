//! How far the promoted source of a group has come, and what may be let go of for it.

use crate::base::limits::{LOW_MARK_SLACK, LOW_MARK_SPAN_MAX, LOW_MARK_SPAN_MIN};
use crate::base::time::{Millis, UnixMillis};
use crate::logic::pressure::Pressure;
use crate::logic::source::SourceId;
use crate::logic::view::{Stage, View};

/// How far back what is covered is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// As configured.
    Whole,
    /// There is no room for that.
    Shrunk,
}

/// The low mark of a group over time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    of: Option<SourceId>,
    /// It stays when the seat changes hands, until the new source's is known: what was delivered
    /// stays so.
    low: Option<UnixMillis>,
    steady_since: Millis,
}

/// How far back a low mark looks, at a source with such pauses.
pub fn span(pause: Millis) -> Millis {
    pause.times(2).clamp(LOW_MARK_SPAN_MIN, LOW_MARK_SPAN_MAX)
}

impl Progress {
    /// Takes in the oldest of what all cores see as the low mark, looking back `span`. To be called at
    /// every beat.
    pub fn on_look(
        &mut self,
        view: &View,
        (now, unix_now): (Millis, UnixMillis),
        span: Millis,
        of_cores: Option<UnixMillis>,
    ) {
        let promoted = view.promoted.map(|promoted| promoted.source);
        if self.of != promoted || view.stage != Stage::Steady {
            (self.of, self.steady_since) = (promoted, now);
        }
        // A beat more: the cores told of it at the last one.
        if self.steady_for(now) > span {
            // A source's clock may be ahead of ours.
            self.low = of_cores.map(|low| low.min(unix_now)).max(self.low);
        }
    }

    /// The low mark as last known: everything older has been delivered.
    pub fn low(&self) -> Option<UnixMillis> {
        self.low
    }

    /// For how long it has sat there undisturbed.
    pub fn steady_for(&self, now: Millis) -> Millis {
        now.since(self.steady_since)
    }

    /// Whose it is.
    pub fn source(&self) -> Option<SourceId> {
        self.of
    }

    /// What arrived before this may go: the window counts back from the low mark, and shrinks to what a
    /// slow scrape needs when there is no room. Nothing may during a hand-over. Of a source whose bodies
    /// can't be read all that can be said is when they came: before `unreadable_now`.
    pub fn release(
        &self,
        view: &View,
        window: Millis,
        pressure: Pressure,
        unreadable_now: Option<UnixMillis>,
    ) -> Option<(UnixMillis, Window)> {
        let is_known =
            view.stage == Stage::Steady && view.promoted.map(|promoted| promoted.source) == self.of;
        let low = self.low.or(unreadable_now).filter(|_| is_known)?;
        let (kept, window) = kept(window, pressure);
        Some((low.before(kept), window))
    }
}

/// How much of a window is kept.
pub fn kept(window: Millis, pressure: Pressure) -> (Millis, Window) {
    match pressure {
        Pressure::Low | Pressure::Fold => (window, Window::Whole),
        Pressure::Shrink | Pressure::Full | Pressure::Over => {
            (window.min(LOW_MARK_SLACK), Window::Shrunk)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::source::{Payload, Weight};
    use crate::logic::view::{Epoch, Heard};

    const WINDOW: Millis = Millis(120_000);

    fn view(source: u64) -> View {
        let promoted = Heard {
            source: SourceId(source),
            weight: Weight(1),
            address: ([10, 0, 0, 1], 1).into(),
            payload: Payload::RemoteWrite,
        };
        View { epoch: Epoch(source), promoted: Some(promoted), ..View::EMPTY }
    }

    /// Looked at ten times a second, with this low mark of the cores.
    fn look(progress: &mut Progress, source: u64, from: u64, to: u64, low: i64) {
        for now in (from..to).step_by(100) {
            let times = (Millis(now), UnixMillis(now as i64));
            progress.on_look(&view(source), times, span(Millis(1000)), Some(UnixMillis(low)));
        }
    }

    #[test]
    fn a_low_mark_is_known_when_each_shard_has_spoken_and_stays_when_the_seat_changes_hands() {
        let mut progress = Progress::default();
        look(&mut progress, 1, 100_000, 106_000, 99_000);
        assert_eq!(progress.low(), None);
        look(&mut progress, 1, 106_000, 107_000, 105_000);
        assert_eq!(progress.low(), Some(UnixMillis(105_000)));
        // The new source is behind, and nothing is known of its shards yet.
        look(&mut progress, 2, 107_000, 113_000, 90_000);
        assert_eq!(progress.low(), Some(UnixMillis(105_000)), "what was delivered stays so");
        look(&mut progress, 2, 113_000, 114_000, 110_000);
        assert_eq!(progress.low(), Some(UnixMillis(110_000)));
        look(&mut progress, 2, 114_000, 115_000, 900_000);
        assert_eq!(progress.low(), Some(UnixMillis(114_900)), "its clock is ahead");
    }

    #[test]
    fn nothing_is_let_go_of_while_a_seat_changes_hands_and_less_is_kept_without_room() {
        let mut progress = Progress::default();
        look(&mut progress, 1, 300_000, 308_000, 305_000);
        let release = |progress: &Progress, source, pressure| {
            progress.release(&view(source), WINDOW, pressure, None)
        };
        let whole = Some((UnixMillis(185_000), Window::Whole));
        assert_eq!(release(&progress, 1, Pressure::Fold), whole);
        let shrunk = Some((UnixMillis(295_000), Window::Shrunk));
        assert_eq!(release(&progress, 1, Pressure::Full), shrunk);
        assert_eq!(release(&progress, 2, Pressure::Low), None, "not looked at yet");
        let suspect = View {
            stage: Stage::Suspect { way: crate::logic::view::Way::Steady, silence: Millis(0) },
            ..view(1)
        };
        assert_eq!(progress.release(&suspect, WINDOW, Pressure::Low, None), None);
        let unknown = Progress { of: Some(SourceId(1)), ..Progress::default() };
        let now = Some(UnixMillis(400_000));
        let by_arrival = unknown.release(&view(1), WINDOW, Pressure::Low, now);
        assert_eq!(by_arrival, Some((UnixMillis(280_000), Window::Whole)));
    }
}
