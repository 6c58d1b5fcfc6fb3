//! What the threads of a node tell each other.

use std::sync::Arc;

use highlander::logic::ask::{AskId, Outcome, Verdict};
use highlander::logic::shelf::{Gathered, Wanted};
use highlander::logic::source::SourceId;
use highlander::logic::view::{Epoch, Voice};
use highlander::shared::state::Seat;
use highlander::wire::remote_write::push::Push;

#[derive(Clone, Debug)]
pub enum Order {
    // To the conductor.
    Changed(Arc<Seat>),
    Gathered(Arc<Seat>, Epoch, usize, Gathered),
    Asked(Arc<Seat>, AskId, Voice, Push),
    Done(Arc<Seat>, AskId, Outcome),
    Sent(Arc<Seat>, Outcome),
    // To a core.
    Gather(Arc<Seat>, usize, Epoch, Wanted),
    Send(Arc<Seat>, usize, Push),
    Tell(Arc<Seat>, AskId, Verdict),
    Replayed(Arc<Seat>, usize, Option<SourceId>),
}

impl Order {
    /// The channel of who publishes a view.
    pub const CHANGES: usize = 0;

    /// The channel from a core, and the one to it.
    pub fn from_core(core: usize) -> usize {
        1 + 2 * core
    }

    pub fn to_core(core: usize) -> usize {
        2 + 2 * core
    }
}
