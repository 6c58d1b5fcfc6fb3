//! A queue and its sender.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use highlander::base::limits::BEAT;
use highlander::base::time::{Millis, UnixMillis};
use highlander::config;
use highlander::config::queue::Delivery;
use highlander::io::clock::Clock;
use highlander::io::driver::{self, Choice, Kind};
use highlander::io::endpoint::Endpoint;
use highlander::io::link::{Edition, EndpointId};
use highlander::io::log::{Format, Level, Log};
use highlander::io::queue::append::{Append, Outcome};
use highlander::io::queue::bell::Bell;
use highlander::io::queue::order::{Ticket, Waiting};
use highlander::io::queue::sender::Sender;
use highlander::io::queue::thread::Running;
use highlander::io::queue::turning::{Near, Start, Work};
use highlander::io::resolver::Addresses;
use highlander::shared::metrics::{Counter, Counters};
use highlander::wire::http::rewrite::Route;
use highlander::wire::queue::sequence::{Salt, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;
use highlander::wire::remote_write::{snappy, v1};
use monoio::io::AsyncReadRent as _;

use crate::sink::Id;
use crate::support::PATIENCE;

/// Has a sender look at what is late, as a core does at each beat.
async fn beat(near: Near, kind: Kind) {
    let (mut bell, heard) = UnixStream::pair().expect("a pair of sockets");
    std::thread::spawn(move || {
        while bell.write_all(&[1]).is_ok() {
            std::thread::sleep(BEAT.into());
        }
    });
    heard.set_nonblocking(kind.wants_nonblocking()).expect("it is open");
    let mut heard = monoio::net::UnixStream::from_std(heard).expect("a loop takes it");
    let mut beats = vec![0; 1];
    while let (Ok(1), back) = heard.read(beats).await {
        beats = back;
        near.on_beat();
    }
}

/// A directory that goes with the test.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("highlander-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a new folder");
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is configured of the one endpoint.
#[derive(Clone)]
pub struct Plan {
    pub url: String,
    /// Further lines of its stanza, and of its queue's.
    pub stanza: &'static str,
    pub queue: &'static str,
    pub driver: Choice,
    pub level: Level,
}

impl Plan {
    pub fn before(sink: SocketAddr) -> Plan {
        Plan {
            url: format!("http://{sink}/own/path"),
            stanza: "",
            queue: "min_backoff: 20ms, max_backoff: 200ms",
            driver: Choice::Auto,
            level: Level::Error,
        }
    }
}

pub struct Rig {
    pub queue: Running,
    sender: Sender,
    counters: Arc<Counters>,
    pub clock: Clock,
    waiting: Arc<Waiting>,
    heard: Receiver<(u64, Outcome)>,
    /// As long as it is open, the sender's loop goes on.
    pub looping: UnixStream,
}

impl Rig {
    pub fn start(dir: &Path, plan: &Plan) -> Rig {
        let (rig, work, end) = Rig::prepare(dir, plan);
        let driver = plan.driver;
        let send = |kind: Kind| async move {
            let turning = work.begin(kind).expect("a loop takes it");
            monoio::spawn(beat(turning.near(), kind));
            turning.run().await;
            // The loop of a core goes on.
            end.set_nonblocking(kind.wants_nonblocking()).expect("it is open");
            let mut end = monoio::net::UnixStream::from_std(end).expect("a loop takes it");
            let _ = end.read(vec![0; 1]).await;
        };
        std::thread::spawn(move || driver::run(driver, send).expect("the driver is there"));
        rig
    }

    /// The same, but nobody does the sender's work yet; and the other end of `looping`.
    pub fn prepare(dir: &Path, plan: &Plan) -> (Rig, Work, UnixStream) {
        let endpoint = &planned(dir, plan);
        let Delivery::Queued(queue) = &endpoint.delivery else { panic!("it is queued") };
        let log = Log::start(plan.level, Format::Text).expect("a thread");
        let clock = Clock::start();
        let counters: Arc<Counters> = Arc::default();
        let (bell, heard) = Bell::new().expect("a pair of sockets");
        let setting = queue.setting(endpoint.out_of_order);
        let running =
            Running::start(&queue.dir, setting, Salt(7), Arc::new(move || bell.ring_if_wanted()));
        let running = running.expect("the directory is ours");
        let start = Start {
            endpoint: Arc::new(outside(endpoint, &log)),
            rule: queue.rule(endpoint.out_of_order),
            decoded_bytes_max: 32 << 20,
            seed: 5,
            clock,
            log,
            counters: counters.clone(),
        };
        let (sender, work) = Sender::new(&running, heard, start).expect("a thread");
        let (looping, end) = UnixStream::pair().expect("a pair of sockets");
        let (waiting, heard) = Waiting::new(Box::new(|| {}));
        let rig = Rig { queue: running, sender, counters, clock, waiting, heard, looping };
        (rig, work, end)
    }

    /// Appends requests, a thousand of which may be on their way, and waits until all are stored.
    pub fn append(&self, source: u64, ids: &[Id], body_bytes: usize) {
        self.append_all(ids.iter().map(|id| append(source, *id, body_bytes)));
    }

    pub fn append_all(&self, all: impl Iterator<Item = Append>) {
        let mut waiting = 0;
        for append in all {
            let ticket = Ticket { id: 0, waiting: self.waiting.clone() };
            self.queue.queue.append(append, ticket).expect("there is room");
            waiting += 1;
            if waiting == 100 {
                self.await_stored();
                waiting -= 1;
            }
        }
        (0..waiting).for_each(|_| self.await_stored());
    }

    fn await_stored(&self) {
        let (_, outcome) = self.heard.recv_timeout(PATIENCE).expect("each is told of");
        assert!(matches!(outcome, Outcome::Stored(_) | Outcome::Known(_)), "{outcome:?}");
    }

    /// Has the endpoint become what this plan says, as after a reload.
    pub fn change(&self, dir: &Path, plan: &Plan) {
        let log = Log::start(plan.level, Format::Text).expect("a thread");
        let endpoint = outside(&planned(dir, plan), &log);
        self.sender.change(Arc::new(Endpoint { edition: Edition(1), ..endpoint }));
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.counters.value(counter)
    }

    pub fn oldest(&self) -> Option<UnixMillis> {
        self.sender.oldest()
    }

    /// Waits until nothing is left.
    pub fn await_drained(&self) {
        let start = Instant::now();
        let depth = self.queue.queue.depth();
        while depth.records() > 0 {
            let (left, sent, now) = (depth.records(), self.count(Counter::QueueSent), depth.sent());
            let tried = self.count(Counter::QueueRetried);
            assert!(
                start.elapsed() < PATIENCE,
                "{left} are left, {sent} sent, {tried} tried again, up to {now}; {:?}",
                self.oldest()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn stop(self) {
        let deadline = self.clock.now().after(Millis(10_000));
        self.sender.stop(deadline).expect("it ends well");
        self.queue.stop();
    }

    /// The same, but what is under way is not waited for.
    pub fn stop_at_once(self) {
        self.sender.stop(Millis(0)).expect("it ends well");
        self.queue.stop();
    }
}

/// The endpoint, as it would be read.
fn planned(dir: &Path, plan: &Plan) -> config::endpoint::Endpoint {
    let text = format!(
        "remote_write:\n- url: {}\n  name: storage\n  delivery: queued\n  {}\n  queue: \
         {{dir: '{}', {}}}\n",
        plan.url,
        plan.stanza,
        dir.join("queue").display(),
        plan.queue
    );
    let read = |path: &Path| std::fs::read_to_string(path);
    config::file::parse(text.as_bytes(), read).expect("the plan is good").swap_remove(0)
}

fn outside(setting: &config::endpoint::Endpoint, log: &Log) -> Endpoint {
    Endpoint {
        id: EndpointId(0),
        edition: Edition::default(),
        name: setting.name.clone(),
        route: Arc::new(setting.route(&format!("test-{}", std::process::id()))),
        addresses: Addresses::start("endpoint", &setting.host, setting.port, log)
            .expect("an address"),
        tls: setting.tls.as_ref().map(|tls| tls.client(&setting.host).expect("good files")),
        remote_timeout: setting.remote_timeout,
    }
}

/// A request of a source, written as for all endpoints: one series of its shard's own, one sample.
pub fn append(source: u64, id: Id, body_bytes: usize) -> Append {
    let (shard, number) = id;
    let sample = v1::Sample { value: 1.0, timestamp_ms: number as i64 };
    let mut request = v1::WriteRequestBuilder::new();
    let shard_name = shard.to_string();
    // Nothing that a compressor finds anything in.
    let mut dice = number;
    let padding: String = (0..body_bytes)
        .map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + (dice >> 33) as u8 % 26)
        })
        .collect();
    request.push(&[("__name__", "up"), ("shard", &shard_name)], &[sample]);
    if body_bytes > 0 {
        let labels = [("__name__", "more"), ("shard", &shard_name), ("text", &padding)];
        request.push(&labels, &[sample]);
    }
    let body = snappy::encode(&request.finish()).expect("it is short");
    // Who sees it again can say whether its source sent it again, or we did.
    let life = std::process::id();
    let push = written(&format!("X-Id: {shard}/{number}\r\nX-Life: {life}\r\n"), &body);
    Append::of(push, SourceKey(source), UnixMillis(now_ms()), None)
}

/// A request as it is written for all endpoints.
pub fn written(lines: &str, body: &[u8]) -> Push {
    let common = String::from_utf8(Route::common().host).expect("text");
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: {common}\r\nUser-Agent: Prometheus/3.5.0\r\n\
         Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n{lines}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    Push::new([head.as_bytes(), body].concat(), head.len(), Protocol::V1)
}

pub fn now_ms() -> i64 {
    Clock::start().unix_now().0
}
