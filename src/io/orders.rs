//! What the conductor and the cores say to each other about hand-overs. Nothing of it is said for a
//! request that is forwarded or held.

use std::sync::Arc;

use crossbeam::channel::Sender;

use crate::io::queue::turning::Work;
use crate::io::settings::Settings;
use crate::logic::ask::{AskId, Outcome, Verdict};
use crate::logic::shelf::{Gathered, Kept, Wanted};
use crate::logic::source::SourceId;
use crate::logic::view::{Epoch, Voice};
use crate::shared::state::Seat;
use crate::wire::remote_write::push::Push;

/// To a core.
#[derive(Debug)]
pub enum Order {
    /// Give what is kept, once nothing is in flight.
    Gather(Arc<Seat>, Epoch, Wanted),
    /// Send this on, and tell how it ended.
    Send(Arc<Seat>, Push),
    /// What becomes of a live request.
    Tell(Arc<Seat>, AskId, Verdict),
    /// Everything held by the new source has been sent on.
    Replayed(Arc<Seat>, Option<SourceId>),
    /// Take these from now on, and say that you have.
    Take(Arc<Settings>, Sender<()>),
    /// Send from a queue.
    Begin(Box<Work>),
}

/// To the conductor.
#[derive(Debug)]
pub enum Word {
    /// The view of a seat has changed.
    Changed(Arc<Seat>),
    /// What a core keeps for a hand-over.
    Gathered(Arc<Seat>, Epoch, usize, Gathered),
    /// Delivered requests that a core has no room for.
    Folded(Arc<Seat>, Vec<Kept>),
    /// A live request asks to be let out.
    Asked(Arc<Seat>, AskId, Voice, Push),
    /// One that was let out has come to its end.
    Done(Arc<Seat>, AskId, Outcome),
    /// What was to be sent on has come to its end.
    Sent(Arc<Seat>, Outcome),
}

impl Word {
    /// Whose seat it is about.
    pub fn seat(&self) -> &Arc<Seat> {
        match self {
            Word::Changed(seat)
            | Word::Gathered(seat, ..)
            | Word::Folded(seat, _)
            | Word::Asked(seat, ..)
            | Word::Done(seat, ..)
            | Word::Sent(seat, _) => seat,
        }
    }
}
