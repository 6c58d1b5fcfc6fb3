//! A large backlog, in figures; `DRAIN_BACKLOG_MB=2000` for those of one that is large indeed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use highlander::base::time::UnixMillis;
use highlander::io::queue::append::Append;
use highlander::wire::queue::sequence::SourceKey;
use highlander::wire::remote_write::{snappy, v1};

use crate::child::{Process, Task};
use crate::rig::{Place, Plan, Rig, now_ms, written};
use crate::sink::Sink;

const SHARDS: u64 = 4;

/// A body as a shard of a Prometheus sends it.
fn body(shard: u64) -> Vec<u8> {
    let mut request = v1::WriteRequestBuilder::new();
    let mut dice = shard + 1;
    for number in 0..2000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (pod, path) = (format!("pod-{:x}", dice >> 20), format!("/v1/{shard}/{number}"));
        let labels =
            [("__name__", "http_requests_total"), ("job", "api"), ("pod", &pod), ("path", &path)];
        let sample = v1::Sample { value: (dice >> 40) as f64, timestamp_ms: 1_700_000_000_000 };
        request.push(&labels, &[sample]);
    }
    snappy::encode(&request.finish()).expect("it is short")
}

#[test]
fn a_backlog_is_drained_in_little_memory() {
    let mb = std::env::var("DRAIN_BACKLOG_MB").ok().and_then(|it| it.parse().ok()).unwrap_or(60);
    let bodies: Vec<Vec<u8>> = (0..SHARDS).map(body).collect();
    let count = mb * 1_000_000 / bodies[0].len() as u64;
    let request = |number: u64| {
        let shard = number % SHARDS;
        let push = written(&format!("X-Id: {shard}/{number}\r\n"), &bodies[shard as usize]);
        Append::of(push, SourceKey(1), UnixMillis(now_ms()), None)
    };
    let nowhere: SocketAddr = "127.0.0.1:9".parse().expect("an address");
    for in_flight in [1, 4] {
        let place = Place::new("backlog");
        let plan = Plan { queue: "max_size: 20GiB", ..Plan::before(nowhere) };
        let rig = Rig::start(&place.0, &plan);
        rig.append_all((1..=count).map(request));
        rig.stop_at_once();
        let sink = Sink::dropping();
        let task = Task { name: "drain", dir: &place.0, sink: sink.address, in_flight, from: &[] };
        let began = Instant::now();
        let lines = Process::start(&task).end();
        let figures = |what: &str| -> [u64; 2] {
            let line = lines.iter().find_map(|line| line.split(what).nth(1));
            let line = line.unwrap_or_else(|| panic!("{lines:?}"));
            let mut words = line.split(' ').map(|word| word.parse().expect("a number"));
            [words.next().expect("two"), words.next().expect("two")]
        };
        let ([started_ms, _], [drained_ms, peak_kb]) = (figures("started "), figures("drained "));
        println!(
            "{mb} MB, {count} requests, {in_flight} in flight: started in {started_ms} ms, drained in \
             {drained_ms} ms, {peak_kb} KB at most",
        );
        assert_eq!(sink.total(), count);
        assert!(started_ms < 1000, "{started_ms} ms");
        assert!(peak_kb < 100 * 1024, "{peak_kb} KB");
        assert!(began.elapsed() < Duration::from_secs(1800));
    }
}
