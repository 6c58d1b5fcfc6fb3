//! A hand-over as a view tells it: who follows whom, why, and whose requests are sent on.

use std::fmt;

use crate::logic::source::SourceId;

/// Counts the changes of a view. A higher epoch is a later decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// One hand-over, from its begin to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The change of the seat that began it: its name.
    pub epoch: Epoch,
    /// Who sat in the seat before, if anybody did.
    pub from: Option<SourceId>,
    /// Who takes the seat; nobody if there is no live standby, but what the dead ones have been
    /// told to be safe goes out all the same.
    pub to: Option<SourceId>,
    /// The live source that keeps its voice for each series until the new one has spoken for it.
    pub keeper: Option<SourceId>,
    /// Why.
    pub cause: Cause,
    /// Whose held requests are sent on.
    pub fill: Fill,
}

/// Why a seat changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The source before was silent for too long.
    Silence,
    /// A heavier source took it.
    Weight,
    /// It was empty.
    Empty,
    /// The source before came back from a pause, with a hole in its data.
    Return,
    /// The source before was too far behind, `--max-lag`.
    Lag,
    /// This node took the lead of the group: the source stays, as far as is known.
    Lead,
    /// An operator wanted it.
    Order,
}

impl Cause {
    /// Every cause.
    pub const ALL: &[Cause] = &[
        Cause::Silence,
        Cause::Weight,
        Cause::Empty,
        Cause::Return,
        Cause::Lag,
        Cause::Lead,
        Cause::Order,
    ];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Silence => "silence",
            Cause::Weight => "weight",
            Cause::Empty => "empty",
            Cause::Return => "return",
            Cause::Lag => "lag",
            Cause::Lead => "lead",
            Cause::Order => "order",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose held requests are sent on at a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// The new source's: it has been there since before the old one's last delivered sample.
    FromHeir,
    /// Everybody's, the new source's last: it may have a hole itself.
    FromAll,
}

impl Turn {
    /// This one, if that is its name.
    pub(super) fn named(self, epoch: Epoch) -> Option<Turn> {
        (self.epoch == epoch).then_some(self)
    }

    pub(super) fn without_keeper(self) -> Turn {
        Turn { keeper: None, ..self }
    }
}
