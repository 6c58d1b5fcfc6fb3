//! What cores and conductor tell each other, and how a request reads.

use highlander::base::time::UnixMillis;
use highlander::logic::shelf::{Gathered, Kept, Wanted};
use highlander::logic::source::SourceId;
use highlander::logic::view::Epoch;
use highlander::wire::remote_write::first::first_timestamp;
use highlander::wire::remote_write::points::Span;
use highlander::wire::remote_write::push::Push;
use highlander::wire::remote_write::snappy::Decoder;

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

pub fn span_of(push: &Push) -> Option<Span> {
    let (decoder, times) = (&mut Decoder::default(), &mut Vec::new());
    Span::of_block(push.protocol(), push.body(), 1 << 20, decoder, times).ok()?
}

pub fn first_of(push: &Push) -> Option<UnixMillis> {
    first_timestamp(push.protocol(), push.body(), 1 << 20, &mut Vec::new()).map(UnixMillis)
}
