//! `kill -9`, again and again, while requests are appended and sent; and what the log says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::child::{Process, Task};
use crate::order::{assert_in_order, time_of};
use crate::rig::{Place, Plan, Rig};
use crate::sink::{Came, Id, NO_CONTENT, Sink, answer};
use crate::support::PATIENCE;

const ROUNDS: u64 = 10;
const SHARDS: usize = 4;

/// The shard and the number of a line, if it says that one is stored.
fn stored(line: &str) -> Option<Id> {
    // The first line may begin with what the test's frame says.
    let mut words = line.split("stored ").nth(1)?.split(' ');
    let mut number = || words.next()?.parse().ok();
    Some((number()?, number()?))
}

/// The value of a header that each request has.
fn value(head: &str, name: &str) -> String {
    let value = head.split(name).nth(1).and_then(|rest| rest.split("\r\n").next());
    value.expect("each has it").to_owned()
}

/// What came, in order, and how many of it a process had sent that was dead by then: what the kernel has
/// taken of it is read by the sink when its thread gets to it, perhaps after the next process has begun.
/// No sender can do anything about that.
fn without_late(came: &[Came]) -> (Vec<Id>, usize) {
    let (mut in_time, mut senders) = (Vec::new(), Vec::new());
    for came in came {
        let sender = value(&came.head, "X-Highlander-Instance: ");
        if !senders.contains(&sender) {
            senders.push(sender.clone());
        }
        if senders.last() == Some(&sender) {
            in_time.push(came.id);
        }
    }
    let late = came.len() - in_time.len();
    (in_time, late)
}

#[test]
fn after_each_kill_all_that_was_acknowledged_is_sent_and_in_order() {
    for in_flight in [1, 4] {
        let place = Place::new("kill");
        let sink = Sink::start(|id, before| {
            std::thread::sleep(time_of(id, before) / 2);
            if before % 29 == 28 { answer(503, "", "") } else { NO_CONTENT.to_vec() }
        });
        let mut next = [1; SHARDS];
        let mut failures = 0;
        for round in 0..ROUNDS {
            let task =
                Task { name: "append", dir: &place.0, sink: sink.address, in_flight, from: &next };
            let process = Process::start(&task);
            let start = Instant::now();
            let mut lines = Vec::new();
            let wanted = sink.count() + 1;
            while sink.count() < wanted || !lines.iter().any(|line: &String| stored(line).is_some())
            {
                lines.extend(process.lines.recv_timeout(PATIENCE));
                assert!(start.elapsed() < PATIENCE, "nothing is sent: {lines:?}");
            }
            std::thread::sleep(Duration::from_millis(30 + round * 37 % 150));
            lines.extend(process.kill());
            for (shard, number) in lines.iter().filter_map(|line| stored(line)) {
                assert_eq!(number, next[shard as usize], "each is acknowledged in its turn");
                next[shard as usize] = number + 1;
            }
            failures += lines.iter().filter(|line| line.contains("panicked")).count();
        }
        assert_eq!(failures, 0);
        let queue = if in_flight == 1 { "sync: always" } else { "sync: always, max_in_flight: 4" };
        let rig = Rig::start(&place.0, &Plan { queue, ..Plan::before(sink.address) });
        rig.await_drained();
        rig.stop();
        let mut came = sink.ids();
        let (in_time, late) = without_late(&sink.came());
        assert_in_order(&in_time);
        assert!(late <= ROUNDS as usize * in_flight, "{late} came late");
        let all = came.len();
        came.sort_unstable();
        came.dedup();
        for (shard, end) in (0..).zip(next) {
            let missing = (1..end).find(|number| came.binary_search(&(shard, *number)).is_err());
            assert_eq!(missing, None, "of shard {shard}, up to {end}");
        }
        // What came again as it was stored was repeated by us; the rest its source had no answer for.
        let stored: BTreeSet<(Id, String)> =
            sink.came().into_iter().map(|came| (came.id, value(&came.head, "X-Life: "))).collect();
        let repeated = (all - stored.len()).saturating_sub(all / 29);
        println!(
            "{in_flight} in flight: {next:?} stored, {} sent, {repeated} repeated",
            came.len()
        );
        assert!(repeated <= (ROUNDS as usize + 1) * in_flight, "{repeated}");
    }
}

#[test]
fn what_the_endpoint_rejects_is_dropped_counted_and_logged_once() {
    let place = Place::new("reject");
    let sink = Sink::start(|(_, number), _| match number % 3 {
        0 => answer(400, "", &format!("out of\norder {}", "x".repeat(5000))),
        _ => answer(200, "Transfer-Encoding: chunked\r\nX: ", "0\r\n\r\n"),
    });
    let task = Task { name: "reject", dir: &place.0, sink: sink.address, in_flight: 1, from: &[1] };
    let lines = Process::start(&task).end();
    assert!(lines.iter().any(|line| line.ends_with("sent 20 rejected 10")), "{lines:?}");
    let rejected: Vec<&String> =
        lines.iter().filter(|line| line.contains(" rejected a ")).collect();
    assert_eq!(rejected.len(), 1, "{lines:?}");
    let text = format!(
        "endpoint 'storage' rejected a request, which is dropped: 400: out of order {}",
        "x".repeat(1000 - "out of order ".len())
    );
    assert!(rejected[0].ends_with(&text), "{}", rejected[0]);
    assert_eq!(sink.count(), 30);
}
