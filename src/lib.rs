//! Highlander: there can be only one.

pub mod base;
pub mod cli;
pub mod config;
pub mod io;
pub mod logic;
pub mod server;
pub mod shared;
pub mod wire;
