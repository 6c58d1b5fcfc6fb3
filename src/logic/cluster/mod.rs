//! Who is in the cluster, and who leads what: machines with the time passed in. Datagrams come and go
//! as values.

pub mod codec;
pub mod etcd_lease;
pub mod group;
pub mod leadership;
pub mod lease;
pub mod member;
pub mod node;
pub mod notice;
pub mod pass;
pub mod replays;
pub mod settle;
pub mod standing;
pub mod swim;
