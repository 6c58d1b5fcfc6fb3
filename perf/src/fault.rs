//! What went wrong, in words.
//!
//! The proxy has an enum per module because its answer depends on the fault. A measuring tool has
//! one answer to every fault: say it and stop. So a sentence is enough here.

use std::fmt::Display;
use std::io;

/// A fault that ends the program; the sentence is for the one who started it.
#[derive(Debug)]
pub struct Fault(pub String);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Says during what a fault came up, so that "connection refused" names its peer.
pub trait During<T> {
    /// Puts `what` before the fault's own words.
    fn during(self, what: impl Display) -> Result<T, Fault>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Result<T, Fault> {
        self.map_err(|error| Fault(format!("{what}: {error}")))
    }
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
