//! What the nodes of a cluster send each other, and an etcd.

pub mod etcd;
pub mod seal;
