//! Nothing fails in a cluster either: a source is the same one whichever node its requests go to, and
//! idle is not dead behind another node or a balancer.

use std::thread;

use crate::balancer::Balancer;
use crate::cluster::{Cluster, Site};
use crate::pair::HEAVY;
use crate::program::LOCAL;
use crate::stage::watch;

#[test]
fn a_healthy_pair_at_slow_scrapes_loses_no_source_where_its_requests_are_relayed() {
    let mut cluster = Cluster::start("cluster-slow", &Site::local(2), LOCAL, &[]);
    let relaying = cluster.others(cluster.first())[0];
    let write = [cluster.addresses()[relaying]];
    cluster.start_sources_every(15, [&write, &write]);
    assert_eq!(cluster.leader(), cluster.first());
    thread::sleep(watch() * 3);
    cluster.assert_whole(1);
    assert_eq!(cluster.seats_taken(), 1, "a healthy source was taken for dead");
}

#[test]
fn a_healthy_pair_loses_no_source_where_each_request_goes_to_another_node() {
    let mut cluster = Cluster::start("cluster-balanced", &Site::local(2), LOCAL, &[]);
    let balancer = Balancer::start(cluster.dir(), &cluster.addresses());
    let write = [balancer.address()];
    cluster.start_sources([&write, &write]);
    thread::sleep(watch());
    cluster.note(&format_args!("answers at the balancer {:?}", balancer.answers()));
    assert_eq!(cluster.source(HEAVY).samples_retried(), 0.0);
    cluster.assert_whole(1);
    assert_eq!(cluster.seats_taken(), 1, "a healthy source was taken for dead");
}
