//! Promises broken on purpose, in the test's own hands: whether the checks are worth anything.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// A node leads without a lease.
    LeadWithoutLease,
    /// A node promises a group to whoever asks.
    PromiseTwice,
    /// What was promised is forgotten before its time.
    ReleasePromises,
    /// A node that wakes goes on sending.
    IgnoreUntil,
    /// A node that begins does not ask how the groups stand.
    ClaimUnsettled,
    /// A node that takes the lead does not know what has been delivered.
    SkipFloor,
    /// It takes for delivered what is older than now.
    RaiseFloor,
    /// A follower lets go of what it holds without the leader's word.
    ReleaseAlone,
    /// What was relayed is relayed again.
    RelayTwice,
    /// A relayed request is answered before the leader has answered.
    AnswerRelayed,
    /// A follower answers and holds nothing.
    AcknowledgeBeforeHolding,
    /// A node that takes the lead does not know who sat in the seat.
    ForgetSitting,
    /// A hand-over goes on when the lead is lost.
    KeepHandover,
}

impl Mutation {
    pub const ALL: &[Mutation] = &[
        Mutation::LeadWithoutLease,
        Mutation::PromiseTwice,
        Mutation::ReleasePromises,
        Mutation::IgnoreUntil,
        Mutation::ClaimUnsettled,
        Mutation::SkipFloor,
        Mutation::RaiseFloor,
        Mutation::ReleaseAlone,
        Mutation::RelayTwice,
        Mutation::AnswerRelayed,
        Mutation::AcknowledgeBeforeHolding,
        Mutation::ForgetSitting,
        Mutation::KeepHandover,
    ];
}
