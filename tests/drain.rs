//! The queue of an endpoint and its sender, on real files, before an endpoint on a socket that plays a
//! part. Requests are appended as whoever acknowledges them would.

#[allow(dead_code)]
#[path = "proxy/authority.rs"]
mod authority;
#[path = "drain/backlog.rs"]
mod backlog;
#[path = "drain/child.rs"]
mod child;
#[path = "drain/kill.rs"]
mod kill;
#[path = "drain/order.rs"]
mod order;
#[path = "drain/rig.rs"]
mod rig;
#[path = "drain/sink.rs"]
mod sink;
#[allow(dead_code)]
#[path = "proxy/support.rs"]
mod support;
#[path = "drain/trouble.rs"]
mod trouble;
