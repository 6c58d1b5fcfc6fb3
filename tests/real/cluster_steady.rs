//! Nothing fails in a cluster either: idle is not dead behind another node.

use std::thread;

use crate::cluster::{Cluster, Site};
use crate::program::LOCAL;
use crate::stage::watch;

#[test]
fn a_healthy_pair_at_slow_scrapes_loses_no_source_where_its_requests_are_relayed() {
    let mut cluster = Cluster::start("cluster-slow", &Site::local(2), LOCAL, &[]);
    let relaying = cluster.others(cluster.first())[0];
    let write = [cluster.addresses()[relaying]];
    cluster.start_sources_every(15, [&write, &write]);
    assert_eq!(cluster.leader(), cluster.first());
    thread::sleep(watch() * 2);
    cluster.assert_whole(1);
    assert_eq!(cluster.seats_taken(), 1, "a healthy source was taken for dead");
}
