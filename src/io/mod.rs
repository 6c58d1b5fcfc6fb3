//! Threads, sockets and clocks: the floor that does what the others decide.

pub mod acceptor;
pub mod answer;
pub mod buffers;
pub mod clock;
pub mod conn;
pub mod control;
pub mod core;
pub mod deadline;
pub mod descriptors;
pub mod driver;
pub mod inbound;
pub mod link;
pub mod links;
pub mod log;
pub mod resolver;
pub mod speaker;
pub mod upstream;
pub mod worker;
