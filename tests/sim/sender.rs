//! A Prometheus: scrapes, shards, a queue that is kept until it is acknowledged.

use std::collections::VecDeque;

use highlander::wire::remote_write::protobuf::put_bytes;
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;
use highlander::wire::remote_write::snappy;
use highlander::wire::remote_write::v1::{Sample, WriteRequestBuilder};
use highlander::wire::remote_write::v2::RequestBuilder;

/// The most replicas: the time of a sample says whose it is, as its rest by this.
pub const REPLICAS_MAX: usize = 4;
/// The bits of a stale marker.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// One Prometheus.
#[derive(Clone, Debug)]
pub struct Source {
    pub weight: u64,
    /// When its first scrape is, within the interval.
    pub phase: u64,
    pub shards: usize,
    pub protocol: Protocol,
    pub batch_max: usize,
    /// How long a sample waits for others, at most.
    pub batch_wait: u64,
    /// How much later than it is scraped a sample comes to its queue, always.
    pub lag: u64,
    /// How many of a hundred scrapes are slow.
    pub slow_percent: u64,
    /// When it reaches the proxy for the first time: until then its queue grows.
    pub joins: u64,
    /// After a restart it finds one of its targets so much later than the others.
    pub late: u64,
}

/// What a Prometheus that dies does with what was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Lost,
    /// It sends the same batches when it is back.
    Kept,
}

/// One sample as the test knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub series: usize,
    pub at: i64,
    pub is_stale: bool,
}

impl Point {
    pub fn replica(&self) -> usize {
        replica_of(self.at)
    }
}

pub fn replica_of(at: i64) -> usize {
    at as usize % REPLICAS_MAX
}

/// A moment as `replica` writes it.
pub fn stamp(now: u64, replica: usize) -> i64 {
    (now / REPLICAS_MAX as u64) as i64 * REPLICAS_MAX as i64 + replica as i64
}

/// A request and what is in it.
#[derive(Clone, Debug)]
pub struct Batch {
    pub push: Push,
    pub points: Vec<Point>,
}

#[derive(Debug, Default)]
pub struct Shard {
    pub queue: VecDeque<Point>,
    pub owes_metadata: bool,
    /// What is sent until it is acknowledged, always the same bytes.
    pub out: Option<Batch>,
    /// The ticket of the try that is out.
    pub awaited: Option<u64>,
    pub backoff: u64,
}

impl Shard {
    /// It is told a status: what is acknowledged by that, and after how long it sends again.
    pub fn on_answer(&mut self, status: u16) -> (Vec<Point>, u64) {
        self.awaited = None;
        if status >= 500 {
            self.backoff = (self.backoff * 2).clamp(30, 5000);
            return (Vec::new(), self.backoff);
        }
        let batch = self.out.take().expect("it was sent");
        self.backoff = 0;
        (if status < 300 { batch.points } else { Vec::new() }, 0)
    }
}

#[derive(Debug)]
pub struct Replica {
    pub alive: bool,
    pub frozen: bool,
    pub cut: bool,
    pub life: u64,
    pub shards: Vec<Shard>,
    protocol: Protocol,
    batch_max: usize,
}

impl Replica {
    pub fn new(source: &Source) -> Replica {
        Replica {
            alive: true,
            frozen: false,
            cut: source.joins > 0,
            life: 0,
            shards: shards(source.shards),
            protocol: source.protocol,
            batch_max: source.batch_max,
        }
    }

    pub fn is_running(&self) -> bool {
        self.alive && !self.frozen
    }

    /// Puts what was scraped into the queue of the series' shard, and says which that is.
    pub fn scrape(&mut self, point: Point) -> usize {
        let shard = point.series % self.shards.len();
        self.shards[shard].queue.push_back(point);
        shard
    }

    /// What the shard sends next.
    pub fn load(&mut self, shard: usize) -> Option<&Batch> {
        let (protocol, batch_max) = (self.protocol, self.batch_max);
        let shard = &mut self.shards[shard];
        if shard.out.is_none() {
            if std::mem::take(&mut shard.owes_metadata) {
                shard.out = Some(Batch { push: metadata(), points: Vec::new() });
            } else if !shard.queue.is_empty() {
                let count = shard.queue.len().min(batch_max);
                let points: Vec<Point> = shard.queue.drain(..count).collect();
                shard.out = Some(Batch { push: encode(&points, protocol), points });
            }
        }
        shard.out.as_ref()
    }

    pub fn crash(&mut self, queue: Queue) {
        self.alive = false;
        self.frozen = false;
        self.life += 1;
        for shard in &mut self.shards {
            match queue {
                Queue::Lost => *shard = Shard::default(),
                Queue::Kept => (shard.awaited, shard.backoff) = (None, 0),
            }
        }
    }

    /// The answers that it waits for never come.
    pub fn cut(&mut self) {
        self.cut = true;
        self.shards.iter_mut().for_each(|shard| shard.awaited = None);
    }

    /// Another number of shards: what was queued, and what was out, makes other batches.
    pub fn reshard(&mut self, count: usize) {
        let old = std::mem::replace(&mut self.shards, shards(count));
        let mut points: Vec<Point> = Vec::new();
        for shard in old {
            points.extend(shard.out.map(|batch| batch.points).unwrap_or_default());
            points.extend(shard.queue);
        }
        for point in points {
            self.scrape(point);
        }
    }
}

fn shards(count: usize) -> Vec<Shard> {
    (0..count).map(|_| Shard::default()).collect()
}

/// A request of these samples.
pub fn encode(points: &[Point], protocol: Protocol) -> Push {
    let (mut one, mut two) = (WriteRequestBuilder::new(), RequestBuilder::new());
    for point in points {
        let number = point.series.to_string();
        let value = if point.is_stale { f64::from_bits(STALE) } else { point.at as f64 };
        let sample = [Sample { value, timestamp_ms: point.at }];
        let labels = [("__name__", "m"), ("i", number.as_str())];
        match protocol {
            Protocol::V1 => one.push(&labels, &sample),
            Protocol::V2 => two.push(&labels, &sample),
        }
    }
    request(
        protocol,
        match protocol {
            Protocol::V1 => one.finish(),
            Protocol::V2 => two.finish(),
        },
    )
}

/// Metadata comes alone, without a series.
fn metadata() -> Push {
    let mut body = Vec::new();
    put_bytes(&mut body, 3, b"\x08\x01\x12\x01m\x22\x04help");
    request(Protocol::V1, body)
}

fn request(protocol: Protocol, body: Vec<u8>) -> Push {
    let body = snappy::encode(&body).expect("it is small");
    let head = format!("POST /w HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    let head_bytes = head.len();
    Push::new([head, body].concat(), head_bytes, protocol)
}
