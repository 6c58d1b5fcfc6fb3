//! What cores and conductor tell each other, and how it reads.

use highlander::logic::shelf::{Gathered, Kept, Wanted};
use highlander::logic::source::SourceId;
use highlander::logic::view::Epoch;

/// A message between a core and the conductor.
#[derive(Clone, Debug)]
pub enum Then {
    Ask(usize, Epoch, Wanted),
    Gathered(usize, Epoch, Gathered),
    Replayed(usize, Option<SourceId>),
    Fold(usize, Vec<Kept>),
}

impl Then {
    /// The channel that it takes: one from each core, one to it.
    pub fn way(&self) -> usize {
        match self {
            Then::Ask(core, ..) | Then::Replayed(core, _) => 2 * core,
            Then::Gathered(core, ..) | Then::Fold(core, _) => 2 * core + 1,
        }
    }
}

pub fn describe(gathered: &Gathered) -> String {
    let of = |all: &[Kept]| {
        let points = all.iter().flat_map(|kept| crate::endpoint::read(&kept.push));
        format!("{:?}", points.map(|it| (it.series, it.at, it.replica())).collect::<Vec<_>>())
    };
    let held = gathered.held.iter().map(|(source, kept)| format!("\n  {source:?} {}", of(kept)));
    let (delivered, doubts) = (of(&gathered.delivered), of(&gathered.doubts));
    format!("\n  delivered {delivered}\n  doubts {doubts}{}", held.collect::<String>())
}
