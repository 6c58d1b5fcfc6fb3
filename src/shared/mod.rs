//! What the cores share: the seats and the counters. Nothing else; everything else has one owner.

pub mod histogram;
pub mod history;
pub mod labels;
pub mod marks;
pub mod memory;
pub mod metrics;
pub mod nodes;
pub mod presence;
pub mod reloads;
pub mod state;
pub mod tuning;
