//! The nodes are restarted one after the other, as they are for a new version: nobody is refused.

use std::thread;

use crate::balancer::Balancer;
use crate::cluster::{CAUGHT_UP, Cluster, Site};
use crate::pair::HEARD;
use crate::program::LOCAL;

#[test]
fn the_nodes_are_restarted_one_after_the_other_and_no_request_is_refused() {
    let mut cluster = Cluster::start("cluster-rolling", &Site::local(2), LOCAL, &[]);
    let balancer = Balancer::start(cluster.dir(), &cluster.addresses());
    let write = [balancer.address()];
    cluster.start_sources([&write, &write]);
    let before = cluster.samples_retried();
    // The leader goes twice: whoever leads after the first, and the one that led at first again.
    for _ in 0..3 {
        let leader = cluster.leader();
        let status = cluster.nodes[leader].proxy.restart();
        assert!(status.success(), "{status}");
        cluster.await_members();
        thread::sleep(HEARD);
    }
    thread::sleep(CAUGHT_UP);
    let answers = balancer.answers();
    cluster.note(&format_args!("answers at the balancer {answers:?}"));
    let retried = cluster.samples_retried() - before;
    cluster.assert_whole(4);
    let refused = answers.iter().filter(|(answer, _)| answer.starts_with("503"));
    assert_eq!(refused.count(), 0, "{answers:?}");
    // A connection may break at the end of a process, under a request of a hundred samples.
    cluster.note(&format_args!("sent again {retried}"));
}
