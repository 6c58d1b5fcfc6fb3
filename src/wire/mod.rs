//! Bytes to values and back. Nothing here reads or writes a socket.

pub mod cluster;
pub mod exposition;
pub mod http;
pub mod proxy_protocol;
pub mod queue;
pub mod remote_write;
