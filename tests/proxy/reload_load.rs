//! The configuration read again a hundred times while sources push: every request is answered as taken, and
//! at the endpoint that stays there is each sample, once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use highlander::shared::metrics::Counter;
use highlander::wire::remote_write::protocol::Protocol;

use crate::fan::quick;
use crate::handover::{await_hand_overs, now_ms, stored as all_stored, write};
use crate::reload::{ANN, ANNS, BOB, Rig, heads, queued, remote_write};
use crate::support::{Endpoint, Proxy, find, on_both_drivers, until};

/// A source that pushes until it is told to stop.
struct Source {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<i64>, usize)>,
}

impl Source {
    /// The value of its samples is its own.
    fn start(
        proxy: &Proxy,
        name: &'static str,
        group: &'static str,
        weight: u64,
        value: f64,
    ) -> Source {
        let (mut client, stop) = (proxy.connect(), Arc::<AtomicBool>::default());
        let stopped = stop.clone();
        let of_group = format!("highlander_source={name}&highlander_group={group} ").into_bytes();
        let named = format!("highlander_source={name} ").into_bytes();
        let thread = thread::spawn(move || {
            let (mut pushed, mut failed) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let at = now_ms();
                let request = write(name, weight, Protocol::V1, at, value);
                let place = find(&request, &named).expect("it says its name");
                let rest = &request[place + named.len()..];
                let answer = client.ask(&[&request[..place], &of_group, rest].concat());
                failed += usize::from(!(200..300).contains(&answer.status));
                pushed.push(at);
                thread::sleep(Duration::from_millis(3));
            }
            (pushed, failed)
        });
        Source { stop, thread }
    }

    /// When its samples were from, and how many were not taken.
    fn stop(self) -> (Vec<i64>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it is always answered")
    }
}

/// The samples of either group.
fn of_groups(stored: &[(i64, f64)]) -> [Vec<(i64, f64)>; 2] {
    [[1.0, 2.0], [3.0, 4.0]]
        .map(|values| stored.iter().filter(|(_, value)| values.contains(value)).copied().collect())
}

/// The constant endpoint has always the same name and place, but not the same path, credentials or company.
fn turns([constant, other, third, behind]: &[Endpoint; 4]) -> [String; 6] {
    let drain = queued("drain");
    let drain = [drain[0].as_str(), drain[1].as_str()];
    [
        remote_write(&[("a", constant, "", &[])]),
        remote_write(&[("a", constant, "/api/v1/write", ANN), ("b", other, "/x", BOB)]),
        remote_write(&[("a", constant, "", BOB)]),
        remote_write(&[("q", behind, "", &drain), ("a", constant, "/api/v1/write?k=v", ANN)]),
        remote_write(&[("a", constant, "/api/v1/write", ANN)]),
        remote_write(&[("b", third, "", &[]), ("a", constant, "", &[]), ("c", other, "", &[])]),
    ]
}

#[test]
fn a_hundred_reloads_under_load_fail_nothing_and_lose_nothing() {
    on_both_drivers(|driver| {
        let endpoints = [(); 4].map(|()| Endpoint::storage());
        let turns = turns(&endpoints);
        let [constant, other, third, behind] = &endpoints;
        let rig = Rig::start(driver, &turns[0], quick);
        // Two groups: in one the promoted source dies half way, in the other nobody does.
        let heavy = Source::start(&rig.proxy, "heavy", "one", 50, 1.0);
        let steady = Source::start(&rig.proxy, "steady", "two", 50, 3.0);
        until("they are promoted", || {
            let values: Vec<f64> = all_stored(constant).iter().map(|(_, value)| *value).collect();
            values.contains(&1.0) && values.contains(&3.0)
        });
        let light = Source::start(&rig.proxy, "light", "one", 5, 2.0);
        let spare = Source::start(&rig.proxy, "spare", "two", 5, 4.0);
        let mut heavy = Some(heavy);
        let mut of_heavy = (Vec::new(), 0);
        for turn in 1..=100 {
            if turn == 40 {
                of_heavy = heavy.take().map(Source::stop).unwrap_or_default();
            }
            rig.reload(&turns[turn % turns.len()]).unwrap_or_else(|faults| panic!("{faults:?}"));
            thread::sleep(Duration::from_millis(15));
        }
        await_hand_overs(&rig.proxy, 1);
        // Once more in peace, so that the last of it is steady.
        thread::sleep(Duration::from_millis(200));
        let of_others = [light, steady, spare].map(Source::stop);
        let failed = of_heavy.1 + of_others.iter().map(|(_, failed)| failed).sum::<usize>();
        let [(of_light, _), (of_steady, _), _] = &of_others;
        let last = of_heavy.0[of_heavy.0.len() - 1];
        let after = of_light.iter().filter(|at| **at > last);
        let of_one = of_heavy.0.iter().map(|at| (*at, 1.0)).chain(after.map(|at| (*at, 2.0)));
        let expected: [Vec<(i64, f64)>; 2] =
            [of_one.collect(), of_steady.iter().map(|at| (*at, 3.0)).collect()];
        let stored = all_stored(constant);
        let got = of_groups(&stored);
        let pairs = expected.iter().zip(&got);
        let missing: usize =
            pairs.map(|(all, got)| all.iter().filter(|it| !got.contains(it)).count()).sum();
        let pushed = of_heavy.0.len() + of_others.iter().map(|(all, _)| all.len()).sum::<usize>();
        eprintln!(
            "100 reloads on {driver}: {pushed} pushed, {} at the constant endpoint, failed {failed}, \
             missing {missing}",
            stored.len()
        );
        assert_eq!((failed, missing), (0, 0));
        assert_eq!(got, expected, "each of them once, and in order");
        assert_eq!(rig.metric("highlander_config_reloads_total{result=\"taken\"}"), Some(100.0));
        // What was taken for the one that came and went, with a queue, is there too.
        rig.reload(&turns[0]).expect("all others are removed");
        until("the last of its queues is closed", || {
            thread::sleep(Duration::from_millis(20));
            rig.endpoints() == 1
        });
        let count = |counter| rig.proxy.running.count(counter);
        assert_eq!(count(Counter::QueueSent), count(Counter::QueueStored));
        let queued = all_stored(behind);
        assert!(queued.len() > 50 && queued.len() as u64 == count(Counter::QueueStored));
        for (queued, all) in of_groups(&queued).iter().zip(&expected) {
            assert!(queued.windows(2).all(|two| two[0].0 < two[1].0), "in order, and none twice");
            assert!(queued.iter().all(|it| all.contains(it)));
        }
        // None saw what belongs to another.
        for (endpoint, foreign) in
            [(other, ANNS), (third, ANNS), (third, "of-bob"), (behind, "of-bob")]
        {
            let heads = heads(endpoint);
            assert!(heads.len() > 20 && !heads.concat().contains(foreign), "{foreign}");
        }
        rig.proxy.running.stop();
    });
}
