//! The lowest floor: the vocabulary everything else speaks. Plain numbers and bounds, no I/O.

pub mod limits;
pub mod net;
pub mod secret;
pub mod time;
