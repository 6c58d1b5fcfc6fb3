//! Promises broken on purpose, in the test's own hands: whether the checks are worth anything.

use highlander::base::time::Millis;
use highlander::logic::desk::{Covered, Lens};
use highlander::logic::handover::{Effect, Handover};
use highlander::logic::shelf::Gathered;
use highlander::logic::view::Turn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// The watermark knows nothing: everything held goes out.
    SkipFilter,
    /// Held requests are let go of although they are not covered.
    ReleaseEarly,
    /// They are let go of while a hand-over is under way.
    ReleaseUnsteady,
    /// A standby is told 204 and nothing is kept.
    AcknowledgeBeforeHolding,
    /// A hand-over does not wait for what is in flight.
    ForgetInFlight,
    /// What the endpoint may have stored is not sent again.
    ForgetDoubtful,
    /// The new source's live requests pass while the held ones are still being sent on.
    DoNotPark,
    /// The old source falls silent at once after a weight change.
    SilenceOld,
    /// The old source goes on with all of its series.
    LetOldTalk,
    /// The hand-over is over as soon as it is open.
    SettleAtOnce,
    /// A heavier source takes the seat without waiting.
    ClaimAtOnce,
    /// So does one that an operator wants.
    OrderAtOnce,
    /// A promoted source that may have a hole goes on.
    IgnoreSuspicion,
    /// Held requests are sent on in another order than they came.
    SendOutOfOrder,
    /// What was sent on is not in the watermark.
    NoteNothing,
    /// Series that are not in the watermark have nothing covered.
    DropFloor,
    /// What had no room as delivered is not in the watermark.
    ForgetFolded,
    /// What was delivered by a source that was alone is dropped, and nobody knows.
    ForgetReach,
}

impl Mutation {
    pub const ALL: &[Mutation] = &[
        Mutation::SkipFilter,
        Mutation::ReleaseEarly,
        Mutation::ReleaseUnsteady,
        Mutation::AcknowledgeBeforeHolding,
        Mutation::ForgetInFlight,
        Mutation::ForgetDoubtful,
        Mutation::DoNotPark,
        Mutation::SilenceOld,
        Mutation::LetOldTalk,
        Mutation::SettleAtOnce,
        Mutation::ClaimAtOnce,
        Mutation::OrderAtOnce,
        Mutation::IgnoreSuspicion,
        Mutation::SendOutOfOrder,
        Mutation::NoteNothing,
        Mutation::DropFloor,
        Mutation::ForgetFolded,
        Mutation::ForgetReach,
    ];
}

/// A machine at the same turn, which has seen what was delivered and nothing of what was sent on.
pub fn without_replayed(
    turn: Turn,
    covered: Covered,
    told: Vec<(usize, Gathered)>,
    lens: &mut Lens,
    now: u64,
) -> Handover {
    let mut fresh = Handover::new(Millis(30_000));
    fresh.on_turn(turn, covered, told.len(), Millis(now));
    let mut told = told.into_iter();
    loop {
        match fresh.poll(lens, Millis(now)) {
            Some(Effect::Gather(..)) => {
                for (core, gathered) in told.by_ref() {
                    let delivered = gathered.delivered;
                    let gathered = Gathered { delivered, ..Gathered::default() };
                    fresh.on_gathered(turn.epoch, core, gathered, covered);
                }
            }
            Some(Effect::Open(..)) | None => return fresh,
            Some(_) => {}
        }
    }
}
