//! An endpoint that writes down what comes.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Got, PATIENCE, read_request};

/// A request: the how-many-eth of which shard.
pub type Id = (u64, u64);

pub const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Who counts from here on keeps nothing.
const KEEP_NOTHING: u64 = 1 << 60;

/// What came, and when.
#[derive(Clone, Debug)]
pub struct Came {
    pub id: Id,
    pub at: Instant,
    pub head: String,
    pub body: Vec<u8>,
}

/// The endpoint.
#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    total: Arc<AtomicU64>,
}

impl Sink {
    /// Writes what `answer` gives for each request, of which so many came before; an empty answer
    /// closes instead.
    pub fn start(answer: impl Fn(Id, usize) -> Vec<u8> + Send + Sync + 'static) -> Sink {
        Sink::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), answer)
    }

    pub fn on(
        listener: TcpListener,
        answer: impl Fn(Id, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Sink {
        let address = listener.local_addr().expect("a bound socket");
        let sink = Sink { address, came: Arc::default(), total: Arc::default() };
        let (inside, answer) = (sink.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (inside, answer) = (inside.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut unread = Vec::new();
                    while let Some(got) = read_request(&mut stream, &mut unread, 0) {
                        let id = id_of(&got);
                        let bytes = answer(id, inside.note(got));
                        if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        sink
    }

    /// Takes everything, each request in this time.
    pub fn taking(time: Duration) -> Sink {
        Sink::start(move |_, _| {
            std::thread::sleep(time);
            NO_CONTENT.to_vec()
        })
    }

    /// Takes everything and keeps nothing.
    pub fn dropping() -> Sink {
        let sink = Sink::start(|_, _| NO_CONTENT.to_vec());
        sink.total.fetch_add(KEEP_NOTHING, Ordering::SeqCst);
        sink
    }

    /// How many have come to one that keeps nothing.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::SeqCst) - KEEP_NOTHING
    }

    fn note(&self, got: Got) -> usize {
        if self.total.load(Ordering::SeqCst) >= KEEP_NOTHING {
            return self.total.fetch_add(1, Ordering::SeqCst) as usize;
        }
        let mut came = self.came.lock().expect("no test panics in here");
        let (id, at) = (id_of(&got), Instant::now());
        came.push(Came { id, at, head: got.head, body: got.body });
        came.len() - 1
    }

    pub fn came(&self) -> Vec<Came> {
        self.came.lock().expect("no test panics in here").clone()
    }

    pub fn count(&self) -> usize {
        self.came.lock().expect("no test panics in here").len()
    }

    pub fn ids(&self) -> Vec<Id> {
        self.came.lock().expect("no test panics in here").iter().map(|came| came.id).collect()
    }

    /// Waits until so many have come.
    pub fn await_count(&self, count: usize) {
        let start = Instant::now();
        while self.count() < count {
            assert!(start.elapsed() < PATIENCE, "only {} of {count} have come", self.count());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub fn id_of(got: &Got) -> Id {
    let text = got.head.split("X-Id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let (shard, number) = text.and_then(|text| text.split_once('/')).expect("each says who it is");
    (shard.parse().expect("a number"), number.parse().expect("a number"))
}

/// An answer with this status, these lines and a body.
pub fn answer(status: u16, lines: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{lines}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}
