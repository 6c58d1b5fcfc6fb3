//! Threads, sockets and clocks: the floor that does what the others decide.

pub mod acceptor;
pub mod answer;
pub mod buffers;
pub mod clock;
pub mod conductor;
pub mod conn;
pub mod control;
pub mod core;
pub mod deadline;
pub mod descriptors;
pub mod driver;
pub mod etcd;
pub mod inbound;
pub mod link;
pub mod links;
pub mod log;
pub mod orders;
pub mod passage;
pub mod pieces;
pub mod resolver;
pub mod speaker;
pub mod state_file;
pub mod store;
pub mod upstream;
pub mod watch;
pub mod worker;
