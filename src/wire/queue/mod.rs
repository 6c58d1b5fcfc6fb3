//! What a queue has on disk: segments of records, and how far it has been sent.

pub mod mark;
pub mod record;
pub mod segment;
pub mod sequence;
