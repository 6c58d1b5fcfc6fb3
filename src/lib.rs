//! Highlander: there can be only one.

pub mod base;
pub mod logic;
pub mod shared;
pub mod wire;
