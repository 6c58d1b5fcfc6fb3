//! How full the memory for a hand-over is, and what gives way first.
//!
//! Delivered requests can be folded into a watermark, twenty times smaller and just as exact. Then
//! goes what is covered, before its window is over. What is neither is never let go of: a standby,
//! and at last the promoted source too, is told to come again.

/// How full the budget is, from nothing to do on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    Low,
    /// Delivered requests are to be folded.
    Fold,
    /// What is covered is to be released, however young.
    Shrink,
    /// No standby's request can be held.
    Full,
    /// No request of the promoted source can be kept either.
    Over,
}

impl Pressure {
    /// With `taken` of `budget` bytes in use.
    pub fn of(taken: usize, budget: usize) -> Pressure {
        let eighths = taken as u128 * 8 / (budget.max(1) as u128);
        match eighths {
            0..5 => Pressure::Low,
            5..7 => Pressure::Fold,
            7 => Pressure::Shrink,
            // Delivered requests are folded as fast as they can be read; that may take a while.
            8..10 => Pressure::Full,
            _ => Pressure::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_folded_gives_way_first_and_the_promoted_source_last() {
        let at = |percent: usize| Pressure::of(percent, 100);
        let all = [(0, Pressure::Low), (62, Pressure::Low), (63, Pressure::Fold)];
        let more = [(88, Pressure::Shrink), (100, Pressure::Full), (124, Pressure::Full)];
        for (percent, pressure) in all.into_iter().chain(more) {
            assert_eq!(at(percent), pressure, "{percent}");
        }
        assert_eq!(at(125), Pressure::Over);
        assert_eq!(Pressure::of(usize::MAX, usize::MAX), Pressure::Full);
        assert_eq!(Pressure::of(1, 0), Pressure::Full);
        assert_eq!(Pressure::of(0, 0), Pressure::Low);
    }
}
