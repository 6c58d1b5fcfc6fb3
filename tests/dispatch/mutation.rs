//! Promises broken on purpose, in the test's own hands: whether the checks are worth anything.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// A record is said to speak of nothing.
    ForgetClaims,
    /// Of what it speaks of, one series is left out.
    ForgetOneSeries,
    /// All records are said to be of one source.
    ForgetSource,
    /// What was sent is taken for covered by the mark, which is written later.
    CoverEarly,
    /// The mark is taken for further than it is: over a record that is still to be sent.
    CoverTooMuch,
    /// A try that failed is taken for a success.
    TakeFailureForSuccess,
    /// What failed is not tried again.
    ForgetFailure,
    /// One more may be under way than the setting says.
    OneMoreInFlight,
    /// No pause is made after a failure.
    SkipBackoff,
    /// The endpoint's own pause is not told.
    SkipRetryAfter,
    /// A restart begins behind what was read, not behind what was sent.
    RestartBehindRead,
    /// What went before its turn is not known when its turn comes.
    ForgetAhead,
    /// Fresh records are not given to be sent.
    HoldFresh,
}

impl Mutation {
    pub const ALL: &[Mutation] = &[
        Mutation::ForgetClaims,
        Mutation::ForgetOneSeries,
        Mutation::ForgetSource,
        Mutation::CoverEarly,
        Mutation::CoverTooMuch,
        Mutation::TakeFailureForSuccess,
        Mutation::ForgetFailure,
        Mutation::OneMoreInFlight,
        Mutation::SkipBackoff,
        Mutation::SkipRetryAfter,
        Mutation::RestartBehindRead,
        Mutation::ForgetAhead,
        Mutation::HoldFresh,
    ];
}
