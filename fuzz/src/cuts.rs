//! Where an input is cut in two, as a network may cut it.
//!
//! The places follow from the input alone, so that what was found once is found again, and they
//! take none of its bytes: a seed is a request as it stands on the wire.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Four places in `bytes`, in ascending order, both ends among what is possible.
pub fn of(bytes: &[u8]) -> [usize; 4] {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let hash = hasher.finish();
    let mut cuts = [0, 16, 32, 48].map(|shift| (hash >> shift) as u16 as usize);
    for cut in &mut cuts {
        *cut %= bytes.len() + 1;
    }
    cuts.sort_unstable();
    cuts
}
