//! The body of a remote write request: a snappy block around a protobuf message.
//!
//! Nothing here runs for a forwarded request, which is never decoded. It serves whoever has to know
//! what a body says, and so each step has a bound and borrows instead of copying.

pub mod protobuf;
pub mod snappy;
pub mod v1;
