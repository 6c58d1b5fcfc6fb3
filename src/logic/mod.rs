//! Decisions. No socket, file, thread or clock: what a decision needs, it is given.

pub mod ask;
pub mod cluster;
pub mod continuity;
pub mod cost;
pub mod desk;
pub mod election;
pub mod expiry;
pub mod handover;
pub mod line;
pub mod lookout;
pub mod low_mark;
pub mod pressure;
pub mod progress;
pub mod queue;
pub mod recognition;
pub mod roster;
pub mod sending;
pub mod shelf;
pub mod source;
pub mod view;
pub mod watermark;
