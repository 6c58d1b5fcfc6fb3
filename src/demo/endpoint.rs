//! A remote write endpoint that keeps every sample in memory, as it came.
//!
//! Senders put their number into the value, since their labels must be the same: that is how the
//! account can tell whose sample a stored one is.

use std::collections::HashMap;
use std::io::{BufReader, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::account::Stored;
use super::clock::Clock;
use super::message::Message;
use crate::wire::remote_write::{snappy, v1};

/// The most a body may decode to; a scrape of the demo takes a few kilobytes.
const DECODED_BYTES_MAX: usize = 1 << 20;

/// A running endpoint, on a thread of its own and one for each connection.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

struct Shared {
    clock: Clock,
    storage: Mutex<Storage>,
    stopping: AtomicBool,
}

impl Endpoint {
    /// Listens on a free port of the loopback interface.
    pub fn start(clock: Clock) -> Result<Endpoint> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let storage = Mutex::default();
        let shared = Arc::new(Shared { clock, storage, stopping: AtomicBool::new(false) });
        let serving = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &serving));
        Ok(Endpoint { address, shared, acceptor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections and gives what was stored, in the order of arrival.
    pub fn stop(self) -> Vec<Stored> {
        // SeqCst: once in a run, the cost is nothing and the acceptor surely sees it when woken.
        self.shared.stopping.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(self.address).is_ok();
        if woken && self.acceptor.join().is_err() {
            eprintln!("highlander demo: the endpoint's acceptor ended badly");
        }
        let mut storage = self.shared.storage.lock().expect(NOT_POISONED);
        std::mem::take(&mut storage.samples)
    }
}

/// Why locking cannot fail.
const NOT_POISONED: &str = "no code that holds the lock panics";

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open = Vec::new();
    for stream in listener.incoming() {
        // SeqCst: see `Endpoint::stop`.
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok((stream, handle)) = stream.and_then(|it| Ok((it.try_clone()?, it))) else {
            continue;
        };
        let serving = Arc::clone(shared);
        open.push((handle, thread::spawn(move || serve(stream, &serving))));
    }
    for (handle, thread) in open {
        // Either may be over already, which is just as well.
        let _ = handle.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

/// Answers the requests of one connection until it ends or breaks.
fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    while let Some(request) = Message::read(&mut requests)? {
        let now_ms = shared.clock.now_ms();
        let status = shared.storage.lock().expect(NOT_POISONED).take(&request, now_ms);
        answers.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())?;
        if request.closes() {
            break;
        }
    }
    Ok(())
}

/// What was stored, in the order of arrival.
#[derive(Default)]
struct Storage {
    samples: Vec<Stored>,
    /// The number of each series, by its labels.
    series: HashMap<Labels, usize>,
}

/// Names and values, in the order of the body.
type Labels = Vec<(Vec<u8>, Vec<u8>)>;

impl Storage {
    /// Stores what a request carries, all of it or nothing; gives the status to answer with.
    fn take(&mut self, request: &Message, arrived_ms: i64) -> &'static str {
        if !request.first_line.starts_with("POST ") {
            return "405 Method Not Allowed\r\nContent-Length: 0";
        }
        let Ok(message) = snappy::decode(&request.body, DECODED_BYTES_MAX) else {
            return "400 Bad Request\r\nContent-Length: 0";
        };
        let before = self.samples.len();
        if v1::walk(&message, &mut |series| self.store(&series, arrived_ms)).is_err() {
            self.samples.truncate(before);
            return "400 Bad Request\r\nContent-Length: 0";
        }
        "204 No Content"
    }

    fn store(&mut self, series: &v1::Series<'_>, arrived_ms: i64) {
        let labels = series.labels().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let next = self.series.len();
        let number = *self.series.entry(labels).or_insert(next);
        self.samples.extend(series.samples().map(|sample| Stored {
            series: number,
            sender: sample.value as u32,
            timestamp_ms: sample.timestamp_ms,
            arrived_ms,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(first_line: &str, body: &[u8]) -> Message {
        let head = format!("{first_line}\r\nContent-Length: {}\r\n\r\n", body.len());
        let bytes = [head.as_bytes(), body].concat();
        Message::read(&mut bytes.as_slice()).expect("well-formed").expect("there is one")
    }

    fn write(series: &[(&str, f64, i64)]) -> Vec<u8> {
        let mut builder = v1::WriteRequestBuilder::new();
        for (name, value, timestamp_ms) in series {
            let sample = v1::Sample { value: *value, timestamp_ms: *timestamp_ms };
            builder.push(&[("__name__", name)], &[sample]);
        }
        builder.finish()
    }

    #[test]
    fn samples_are_stored_with_their_series_and_sender() {
        let mut storage = Storage::default();
        for (body, arrived_ms) in
            [(write(&[("a", 1.0, 10), ("b", 1.0, 10)]), 100), (write(&[("b", 2.0, 20)]), 200)]
        {
            let body = snappy::encode(&body).expect("a small message");
            let request = request("POST /api/v1/write HTTP/1.1", &body);
            assert_eq!(storage.take(&request, arrived_ms), "204 No Content");
        }
        let expected = [(0, 1, 10, 100), (1, 1, 10, 100), (1, 2, 20, 200)];
        let expected = expected.map(|(series, sender, timestamp_ms, arrived_ms)| Stored {
            series,
            sender,
            timestamp_ms,
            arrived_ms,
        });
        assert_eq!(storage.samples, expected);
    }

    #[test]
    fn of_what_is_no_remote_write_nothing_is_stored() {
        let mut storage = Storage::default();
        let good = write(&[("a", 1.0, 10)]);
        let cut = snappy::encode(&[&good[..], &good[..good.len() - 1]].concat()).expect("small");
        let whole = snappy::encode(&good).expect("a small message");
        for (request, status) in [
            (request("GET / HTTP/1.1", &whole), "405"),
            (request("POST / HTTP/1.1", &good), "400"),
            (request("POST / HTTP/1.1", &cut), "400"),
        ] {
            assert!(storage.take(&request, 0).starts_with(status), "{request:?}");
            assert_eq!(storage.samples, []);
        }
    }
}
