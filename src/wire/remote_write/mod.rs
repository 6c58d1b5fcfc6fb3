//! The body of a remote write request: a snappy block around a protobuf message.
//!
//! Nothing here runs for a forwarded request, which is never decoded. It serves whoever has to know
//! what a body says, and so each step has a bound and borrows instead of copying.

#[cfg(any(test, feature = "reference"))]
pub mod bodies;
pub mod error;
pub mod filter;
pub mod first;
mod labels;
pub mod points;
mod prefix;
pub mod protobuf;
pub mod protocol;
pub mod push;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
pub mod series;
pub mod snappy;
pub mod survey;
mod symbols;
pub mod v1;
pub mod v2;

#[cfg(test)]
mod reference_tests;
