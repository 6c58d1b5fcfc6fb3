//! A live request that asks an open hand-over to be let out, the answer, and what came of it.

use crate::logic::view::Voice;
use crate::wire::remote_write::push::Push;

/// A live request that waits to be let out, as its core numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId {
    /// The core.
    pub core: usize,
    /// Its number there.
    pub number: u64,
}

/// A live request that waits, or is out.
#[derive(Debug)]
pub struct Ask {
    /// Which.
    pub id: AskId,
    /// In whose name.
    pub voice: Voice,
    /// The request, or what of it is out.
    pub push: Push,
}

/// What becomes of a live request during an open hand-over.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// All of it has been delivered or is another's to say: answered, not sent.
    Covered,
    /// It goes out as it is.
    AsItIs,
    /// This goes out in its place.
    Changed(Push),
    /// There is no open hand-over: ask the view.
    Overtaken,
}

/// How a request to the endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has it.
    Acknowledged,
    /// The endpoint does not want it, now or ever (4xx).
    Rejected,
    /// It may have it or not: no answer, or a 5xx.
    Doubtful,
    /// It was not sent.
    Unsent,
}

impl Outcome {
    /// Whether the endpoint has said the last word: sent again, it would make no difference.
    pub fn is_certain(self) -> bool {
        match self {
            Outcome::Acknowledged | Outcome::Rejected => true,
            Outcome::Doubtful | Outcome::Unsent => false,
        }
    }
}
