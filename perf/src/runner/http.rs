//! A blocking client for the few requests that the runner makes itself.
//!
//! It asks whether a candidate is ready, reads the sink's counts and keeps a seat.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::body::{now_ms, write_request};
use crate::fault::{During, Fault};
use crate::sink::Stats;
use crate::tls;

/// Far above any answer on the same machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer body that is longer is not from one of ours.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A push of the runner's own: one or two series.
const PUSH_BYTES: usize = 256;

/// How often the holder of the seat speaks: as often as a Prometheus that scrapes every second.
const HOLD_INTERVAL: Duration = Duration::from_secs(1);

/// One connection.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

/// A socket, or TLS on one.
trait Stream: Read + Write + Send {}

impl Stream for TcpStream {}

impl Stream for StreamOwned<ClientConnection, TcpStream> {}

impl Client {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self, Fault> {
        Self::open_patient(address, ANSWER_TIMEOUT)
    }

    /// Connects, and waits so long for an answer.
    pub fn open_patient(address: SocketAddr, patience: Duration) -> Result<Self, Fault> {
        Ok(Self { stream: BufReader::new(Box::new(connect(address, patience)?)) })
    }

    /// Connects and shakes hands.
    pub fn open_sealed(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self, Fault> {
        let mut stream = connect(address, ANSWER_TIMEOUT)?;
        let mut tls = tls::begin(config, address)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).during("handshake")?;
        }
        tls::check(&tls)?;
        Ok(Self { stream: BufReader::new(Box::new(StreamOwned::new(tls, stream))) })
    }

    /// Pushes one small, true remote-write request and gives the answer's status.
    pub fn push(&mut self, path: &str) -> Result<u16, Fault> {
        self.push_body(path, &write_request(PUSH_BYTES, now_ms()?))
    }

    /// Pushes this body and gives the answer's status.
    pub fn push_body(&mut self, path: &str, body: &[u8]) -> Result<u16, Fault> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: perf\r\nUser-Agent: highlander-perf\r\n\
             Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
             X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&[head.as_bytes(), body].concat()).map(|(status, _)| status)
    }

    /// The sink's counts.
    pub fn stats(&mut self) -> Result<Stats, Fault> {
        let (_, body) = self.ask(b"GET /stats HTTP/1.1\r\nHost: perf\r\n\r\n")?;
        serde_json::from_slice(&body).during("the sink's counts")
    }

    fn ask(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>), Fault> {
        self.stream.get_mut().write_all(request)?;
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| Fault(format!("no status line: {first}")))?;
        let mut body_bytes = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_bytes = value.trim().parse::<usize>().during("content-length")?;
            }
        }
        let mut body = vec![0; body_bytes.min(BODY_BYTES_MAX)];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(Fault(String::from("the peer has closed")));
        }
        Ok(line.trim_end().to_owned())
    }
}

fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A source with the bigger weight that keeps the seat, so that the load is a standby.
pub struct Holder {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Holder {
    /// Takes the seat and speaks every second from then on.
    pub fn start(address: SocketAddr, path: String) -> Result<Self, Fault> {
        let mut client = Client::open(address).during("holder")?;
        let status = client.push(&path).during("holder")?;
        if !(200..300).contains(&status) {
            return Err(Fault(format!("holder: answered {status}")));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&refused));
        let thread = thread::spawn(move || {
            loop {
                thread::park_timeout(HOLD_INTERVAL);
                // Relaxed: a lone flag; the park that precedes it is only a pause.
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if !client.push(&path).is_ok_and(|status| (200..300).contains(&status)) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { stop, refused, thread: Some(thread) })
    }

    /// Pushes so far without a 2xx: the seat may have been lost.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A holder that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}
