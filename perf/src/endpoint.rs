//! A receiver in this process that keeps what arrives, to be read when the measuring is over.
//!
//! Not the sink: that one wants a seal at the end of each body and keeps nothing. What is rewritten
//! by a hand-over has no seal, and that every sample is there exactly once cannot be told from
//! counts. While it is measured it only copies bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::fault::{During, Fault};

/// Takes a usual body with its head in one read.
const BUFFER_BYTES: usize = 128 * 1024;

/// Far above any body of these scenarios.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

const ACCEPTED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A running endpoint. Its threads end with the process.
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// Relaxed throughout: counts that guard nothing, and a flag that may be seen a request late.
#[derive(Default)]
struct Shared {
    bodies: AtomicU64,
    bytes: AtomicU64,
    is_keeping: AtomicBool,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Endpoint {
    /// Listens on a free port of the loopback interface and answers 204, so long after a request.
    pub fn start(delay: Duration) -> Result<Self, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("endpoint")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = Arc::clone(&serving);
                // The end of a connection is the proxy's business; requests are counted whole.
                thread::spawn(move || drop(serve(stream, delay, &serving)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Keeps what arrives from now on.
    pub fn keep(&self) {
        self.shared.is_keeping.store(true, Ordering::Relaxed);
    }

    /// What was kept, in the order of arrival.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.shared.kept.lock().expect("no holder of the lock panics"))
    }

    /// Bodies so far.
    pub fn bodies(&self) -> u64 {
        self.shared.bodies.load(Ordering::Relaxed)
    }

    /// Their bytes, as they came.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, delay: Duration, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?);
    while let Some(body) = read_request(&mut requests)? {
        shared.bodies.fetch_add(1, Ordering::Relaxed);
        shared.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        // Before it is answered: what the proxy sends next must stand behind it.
        if shared.is_keeping.load(Ordering::Relaxed) {
            shared.kept.lock().expect("no holder of the lock panics").push(body);
        }
        if delay > Duration::ZERO {
            thread::sleep(delay);
        }
        stream.write_all(ACCEPTED)?;
    }
    Ok(())
}

/// The body of the next request; `None` at the end of the stream.
fn read_request(requests: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    if requests.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut body_bytes = None;
    loop {
        line.clear();
        requests.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                body_bytes = value.trim().parse::<usize>().ok();
            }
            Some(_) => {}
            None => break,
        }
    }
    let body_bytes = body_bytes.filter(|bytes| *bytes <= BODY_BYTES_MAX);
    let body_bytes = body_bytes.ok_or_else(|| io::Error::other("no length"))?;
    let mut body = Vec::with_capacity(body_bytes);
    if requests.take(body_bytes as u64).read_to_end(&mut body)? < body_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_each_other_and_a_cut_one_is_no_request() {
        let mut stream: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 3\r\nA: b\r\n\r\nabc\
            POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n\
            POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\ncut";
        assert_eq!(read_request(&mut stream).expect("whole"), Some(b"abc".to_vec()));
        assert_eq!(read_request(&mut stream).expect("whole"), Some(Vec::new()));
        assert!(read_request(&mut stream).is_err());
        assert_eq!(read_request(&mut stream).expect("the end"), None);
        assert!(read_request(&mut &b"POST / HTTP/1.1\r\n\r\n"[..]).is_err(), "no length");
    }
}
