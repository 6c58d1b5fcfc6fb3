//! The queue of an endpoint on disk: its files, the thread that looks after them, and who sends.
//!
//! Three crates were looked at before it was written. `okaywal` (0.3.1) calls its file format unstable and
//! itself not for production, and knows of no place up to which records were sent. `yaque` (0.6.6) writes
//! its state when it is dropped, and syncs nothing. `queue-file` (1.4) is one ring without checksums.

pub mod append;
pub mod bell;
pub mod depth;
pub mod disk;
pub mod exchange;
pub mod files;
pub mod fresh;
pub mod group;
pub mod inbox;
pub mod mark_file;
pub mod mark_keeper;
pub mod notice;
pub mod order;
pub mod pace;
pub mod passing;
pub mod progress;
pub mod reader;
pub mod recovery;
pub mod report;
pub mod sender;
pub mod spares;
pub mod store;
pub mod thread;
pub mod turning;
pub mod walk;
pub mod works;
pub mod writer;
