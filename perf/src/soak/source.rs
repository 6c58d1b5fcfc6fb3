//! A source that pushes like a Prometheus, at a steady rate, for as long as it is wanted.
//!
//! Each shard has its own series and its own connection with one request in flight, and tries again
//! what was refused before it goes on: what the proxy may rely on with a Prometheus it may rely on
//! here. One that has been held up does not skip scrapes but comes late with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::body::now_ms;
use crate::fault::Fault;
use crate::runner::http::Client;
use crate::scrape::Sheet;

/// A Prometheus gives an answer so long (`remote_timeout`).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The pauses of a Prometheus before it tries again (`min_backoff`, `max_backoff`).
const BACKOFF_MIN: Duration = Duration::from_millis(30);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a source pushes.
#[derive(Clone, Copy)]
pub struct Rate {
    /// How many series it has; a multiple of a body's.
    pub series: usize,
    /// How many of them one body takes.
    pub body_samples: usize,
    /// Samples a second, over all its connections.
    pub samples_per_s: usize,
    /// Its shards.
    pub connections: usize,
}

/// A running source. Dropping it ends it and closes its connections.
pub struct Source {
    /// What it has been answered.
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    shards: Vec<JoinHandle<()>>,
}

/// What a source has been answered. Relaxed throughout: numbers that guard nothing.
#[derive(Default)]
pub struct Counts {
    bodies: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    late_ms_max: AtomicU64,
    answer_ms_max: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
}

struct Shard {
    address: SocketAddr,
    path: &'static str,
    /// Each with when in a scrape interval its turn is.
    sheets: Vec<(Duration, Sheet)>,
    interval: Duration,
    began: Instant,
    began_ms: i64,
    client: Option<Client>,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

impl Rate {
    /// From one scrape of a series to its next.
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.series as f64 / self.samples_per_s as f64)
    }
}

impl Source {
    /// Starts to push to `path`; each scrape `phase` of an interval late, so that two sources do
    /// not have the same times.
    pub fn start(
        address: SocketAddr,
        path: &'static str,
        rate: Rate,
        phase: f64,
    ) -> Result<Self, Fault> {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let (interval, each) = (rate.interval(), rate.body_samples);
        let bodies = rate.series / each;
        let sheet = |number: usize| {
            let turn = interval.mul_f64((number as f64 / bodies as f64 + phase).fract());
            (turn, Sheet::new(number * each..(number + 1) * each, 1))
        };
        let mut shards: Vec<Shard> = Vec::new();
        for first in 0..rate.connections {
            let mut sheets: Vec<_> = (first..bodies).step_by(rate.connections).map(sheet).collect();
            sheets.sort_by_key(|(turn, _)| *turn);
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            let (began, began_ms, client) = (Instant::now(), 0, None);
            shards.push(Shard {
                address,
                path,
                sheets,
                interval,
                began,
                began_ms,
                client,
                counts,
                stop,
            });
        }
        // Laying out takes a while; the scrapes begin when all of it is there.
        let (began, began_ms) = (Instant::now(), now_ms()?.cast_signed());
        let start = |shard| thread::spawn(move || Shard { began, began_ms, ..shard }.run());
        Ok(Self { counts, stop, shards: shards.into_iter().map(start).collect() })
    }

    /// Ends it after the requests in flight.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for shard in self.shards.drain(..) {
            // One that panicked has said so on stderr.
            let _ = shard.join();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shard {
    fn run(mut self) {
        for turn in 0.. {
            for place in 0..self.sheets.len() {
                let due = self.interval * turn + self.sheets[place].0;
                while let Some(left) = due.checked_sub(self.began.elapsed()) {
                    if self.is_over() {
                        return;
                    }
                    thread::sleep(left.min(Duration::from_millis(100)));
                }
                let time_ms = self.began_ms + due.as_millis() as i64;
                let body = self.sheets[place].1.body(&[time_ms]);
                let body = body.expect("a body of some hundred kilobytes can be compressed");
                if !self.push(&body) {
                    return;
                }
                let late = self.began.elapsed().saturating_sub(due);
                self.counts.late_ms_max.fetch_max(late.as_millis() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Pushes until it is taken, or refused for good. False when it shall end.
    fn push(&mut self, body: &[u8]) -> bool {
        let mut backoff = BACKOFF_MIN;
        loop {
            if self.is_over() {
                return false;
            }
            let began = Instant::now();
            let status = self.try_push(body);
            let answer_ms = began.elapsed().as_millis() as u64;
            self.counts.answer_ms_max.fetch_max(answer_ms, Ordering::Relaxed);
            match status {
                Ok(status) => {
                    self.counts.on_answer(status, body.len());
                    if status / 100 != 5 && status != 429 {
                        return true;
                    }
                }
                Err(Fault(why)) => {
                    self.client = None;
                    self.counts.errors.fetch_add(1, Ordering::Relaxed);
                    eprintln!("{}: {why}", self.path);
                }
            }
            thread::sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn try_push(&mut self, body: &[u8]) -> Result<u16, Fault> {
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(Client::open_patient(self.address, ANSWER_TIMEOUT)?),
        };
        client.push_body(self.path, body)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Counts {
    fn on_answer(&self, status: u16, body_bytes: usize) {
        if (200..300).contains(&status) {
            self.bodies.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(body_bytes as u64, Ordering::Relaxed);
        }
        *self.statuses.lock().expect("nobody panics with it").entry(status).or_default() += 1;
    }

    /// Bodies that were taken.
    pub fn bodies(&self) -> u64 {
        self.bodies.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How late a body was answered, from when its scrape was due, at worst since this was last
    /// asked.
    pub fn take_late_ms_max(&self) -> u64 {
        self.late_ms_max.swap(0, Ordering::Relaxed)
    }

    /// The slowest answer since this was last asked.
    pub fn take_answer_ms_max(&self) -> u64 {
        self.answer_ms_max.swap(0, Ordering::Relaxed)
    }

    /// Answers by status, and requests without one.
    pub fn words(&self) -> String {
        let errors = self.errors.load(Ordering::Relaxed);
        let statuses = self.statuses.lock().expect("nobody panics with it");
        format!("{:?}, {errors} without an answer", *statuses)
    }
}
