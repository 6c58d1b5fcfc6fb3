//! The decisions of an endpoint's queue on disk: what is acknowledged when, what is read, what may go.

pub mod ahead;
pub mod backoff;
pub mod chain;
pub mod claim;
pub mod commit;
pub mod cursor;
pub mod dispatch;
pub mod plan;
pub mod recent;
pub mod setting;
pub mod trouble;
pub mod unsynced;
