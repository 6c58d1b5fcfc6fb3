//! Promises broken on purpose, in the test's own hands: whether the checks are worth anything.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// A sync of a file comes back at once.
    SkipSync,
    /// A sync of the directory does.
    SkipDirectorySync,
    /// A sync that has failed is said to have worked.
    HideSyncFault,
    /// So is a write.
    HideWriteFault,
    /// A source is answered before its record is written.
    AcknowledgeBeforeWrite,
    /// A refusal is taken for an answer.
    AcknowledgeRefused,
    /// The oldest segment goes when it has been read.
    RemoveEarly,
    /// What lies before a record that was sent is taken for sent.
    MoveOverHole,
    /// What is given out is taken for sent.
    SentWhenGiven,
    /// The mark is not written.
    ForgetMark,
    /// Both slots of the mark are the same.
    OneSlot,
    /// The lengths of a damaged frame are believed.
    TrustLength,
    /// A body that is damaged is believed.
    TrustBody,
    /// No body is known to have been stored.
    ForgetBodies,
    /// What is given out is not in order.
    GiveOutOfOrder,
    /// A disk that does nothing else seems to keep the mark.
    SeemWell,
}

impl Mutation {
    pub const ALL: &[Mutation] = &[
        Mutation::SkipSync,
        Mutation::SkipDirectorySync,
        Mutation::HideSyncFault,
        Mutation::HideWriteFault,
        Mutation::AcknowledgeBeforeWrite,
        Mutation::AcknowledgeRefused,
        Mutation::RemoveEarly,
        Mutation::MoveOverHole,
        Mutation::SentWhenGiven,
        Mutation::ForgetMark,
        Mutation::OneSlot,
        Mutation::TrustLength,
        Mutation::TrustBody,
        Mutation::ForgetBodies,
        Mutation::GiveOutOfOrder,
        Mutation::SeemWell,
    ];
}
