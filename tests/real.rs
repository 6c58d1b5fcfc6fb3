//! The proxy among real programs: Prometheus servers, old and new, and a vmagent, that scrape a
//! target of ours and write through it, and VictoriaMetrics or Prometheus as the storage behind it.
//!
//! Every test ends by reading the storage back and judging it series by series; a status code or a
//! counter of the proxy is no proof. `tests/run` installs the programs; one that is missing fails
//! the test, for a skipped test looks just like a passed one.
//!
//! `HIGHLANDER_REAL_SECONDS` is how long a steady state is watched: 25 if it is not given, so that
//! everything takes ten minutes; 60 and more before a release. The healthy pair at slow scrapes
//! is watched for three times that.
//!
//! Nodes of a cluster are killed, restarted, frozen, and cut off from each other. For the last, the tests
//! make networks of their own, in namespaces, and must be root. The leader is killed three times, or as
//! often as fits into `HIGHLANDER_REAL_SECONDS`.
//!
//! The tests run side by side, as many as libtest has threads, which is one per core: together, the
//! programs of one test need a fifth of a core, and most of its time is waiting.

#[path = "real/balancer.rs"]
mod balancer;
#[path = "real/cluster.rs"]
mod cluster;
#[path = "real/cluster_cut.rs"]
mod cluster_cut;
#[path = "real/cluster_freeze.rs"]
mod cluster_freeze;
#[path = "real/cluster_kill.rs"]
mod cluster_kill;
#[path = "real/cluster_restart.rs"]
mod cluster_restart;
#[path = "real/cluster_steady.rs"]
mod cluster_steady;
#[path = "real/comeback.rs"]
mod comeback;
#[path = "real/door.rs"]
mod door;
#[path = "real/endpoints.rs"]
mod endpoints;
#[path = "real/failover.rs"]
mod failover;
#[path = "real/http.rs"]
mod http;
#[path = "real/json.rs"]
mod json;
#[path = "real/judge.rs"]
mod judge;
#[path = "real/namespaces.rs"]
mod namespaces;
#[path = "real/pair.rs"]
mod pair;
#[path = "real/program.rs"]
mod program;
#[path = "real/prometheus.rs"]
mod prometheus;
#[path = "real/proxy.rs"]
mod proxy;
#[path = "real/proxy_restart.rs"]
mod proxy_restart;
#[path = "real/senders.rs"]
mod senders;
#[path = "real/series.rs"]
mod series;
#[path = "real/stage.rs"]
mod stage;
#[path = "real/steady.rs"]
mod steady;
#[path = "real/storage.rs"]
mod storage;
#[path = "real/storage_down.rs"]
mod storage_down;
#[path = "real/tap.rs"]
mod tap;
#[path = "real/target.rs"]
mod target;
