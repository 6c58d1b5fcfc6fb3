//! The queue of an endpoint on disk: its files, and the thread that has them.

pub mod disk;
pub mod files;
pub mod fresh;
pub mod mark_file;
pub mod reader;
pub mod recovery;
pub mod store;
pub mod thread;
pub mod walk;
pub mod writer;
