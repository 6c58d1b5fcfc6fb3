//! The queue of an endpoint on disk: its files, the thread that looks after them, and who sends.

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
pub mod walk;
pub mod works;
pub mod writer;
