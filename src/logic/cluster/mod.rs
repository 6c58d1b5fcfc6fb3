//! Who is in the cluster: machines with the time passed in. Datagrams come and go as values. The server
//! does not use it yet.

pub mod codec;
pub mod etcd_lease;
pub mod node;
pub mod replays;
pub mod swim;
