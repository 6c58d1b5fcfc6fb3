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

    /// How it has ended at two endpoints together. What one may have or not has to be sent again, to
    /// both; what one has and the other will never take is done with.
    pub fn and(self, other: Outcome) -> Outcome {
        match (self, other) {
            (Outcome::Unsent, Outcome::Unsent) => Outcome::Unsent,
            (Outcome::Doubtful | Outcome::Unsent, _) | (_, Outcome::Doubtful | Outcome::Unsent) => {
                Outcome::Doubtful
            }
            (Outcome::Acknowledged, _) | (_, Outcome::Acknowledged) => Outcome::Acknowledged,
            (Outcome::Rejected, Outcome::Rejected) => Outcome::Rejected,
        }
    }
}

/// How bad for its source it is what an endpoint says to a request. The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It lies in the endpoint's queue.
    Stored,
    /// The endpoint has it.
    Acknowledged,
    /// It will never want it (4xx).
    Rejected,
    /// 429: it may be tried again, but many sources don't.
    TooMany,
    /// A 5xx: its source tries again.
    Failed,
    /// It has not answered.
    Unanswered,
}

impl Grade {
    /// That of an answer with this status.
    pub fn of(status: u16) -> Grade {
        match status {
            200..=299 => Grade::Acknowledged,
            429 => Grade::TooMany,
            500.. => Grade::Failed,
            _ => Grade::Rejected,
        }
    }

    /// What that says of whether the endpoint has it.
    pub fn outcome(self) -> Outcome {
        match self {
            Grade::Stored | Grade::Acknowledged => Outcome::Acknowledged,
            Grade::Rejected => Outcome::Rejected,
            Grade::TooMany | Grade::Failed | Grade::Unanswered => Outcome::Doubtful,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_endpoint_may_not_have_is_in_doubt_whatever_the_others_say() {
        use Outcome::*;
        let cases = [
            (Acknowledged, Acknowledged, Acknowledged),
            (Acknowledged, Rejected, Acknowledged),
            (Rejected, Rejected, Rejected),
            (Acknowledged, Doubtful, Doubtful),
            (Rejected, Doubtful, Doubtful),
            (Acknowledged, Unsent, Doubtful),
            (Unsent, Doubtful, Doubtful),
            (Unsent, Unsent, Unsent),
        ];
        for (one, other, both) in cases {
            assert_eq!((one.and(other), other.and(one)), (both, both), "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_worst_answer_is_the_one_after_which_most_is_sent_again() {
        let statuses = [204, 400, 429, 503];
        assert!(statuses.is_sorted_by(|one, next| Grade::of(*one) < Grade::of(*next)));
        assert!(Grade::of(599) < Grade::Unanswered && Grade::Stored < Grade::of(204));
        assert_eq!((Grade::of(301), Grade::of(499)), (Grade::Rejected, Grade::Rejected));
        let outcomes = statuses.map(|status| Grade::of(status).outcome());
        let [taken, rejected, many, failed] = outcomes;
        assert_eq!((taken, rejected), (Outcome::Acknowledged, Outcome::Rejected));
        assert_eq!((many, failed), (Outcome::Doubtful, Outcome::Doubtful));
    }
}
