//! The proxy over real sockets, on io_uring and on epoll: what goes in, what comes out, and what
//! is refused. The endpoint is a thread of the test that does what each test needs.

#[path = "proxy/access.rs"]
mod access;
#[path = "proxy/admin.rs"]
mod admin;
#[path = "proxy/admin_metrics.rs"]
mod admin_metrics;
#[path = "proxy/answers.rs"]
mod answers;
#[path = "proxy/arrival.rs"]
mod arrival;
#[path = "proxy/authority.rs"]
mod authority;
#[path = "proxy/balancer.rs"]
mod balancer;
#[path = "proxy/bounds.rs"]
mod bounds;
#[path = "proxy/cluster.rs"]
mod cluster;
#[path = "proxy/election.rs"]
mod election;
#[path = "proxy/fan.rs"]
mod fan;
#[path = "proxy/guests.rs"]
mod guests;
#[path = "proxy/handover.rs"]
mod handover;
#[path = "proxy/hostile.rs"]
mod hostile;
#[path = "proxy/queued.rs"]
mod queued;
#[path = "proxy/reload.rs"]
mod reload;
#[path = "proxy/reload_load.rs"]
mod reload_load;
#[path = "proxy/requests.rs"]
mod requests;
#[path = "proxy/steer.rs"]
mod steer;
#[path = "proxy/support.rs"]
mod support;
#[path = "proxy/tls.rs"]
mod tls;
#[path = "proxy/tls_faults.rs"]
mod tls_faults;
#[path = "proxy/trouble.rs"]
mod trouble;
