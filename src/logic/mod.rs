//! Decisions. No socket, file, thread or clock: what a decision needs, it is given.

pub mod election;
pub mod expiry;
pub mod source;
pub mod view;
pub mod watermark;
