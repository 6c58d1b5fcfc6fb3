//! A proxy in this process, an endpoint that plays a part, a client that writes raw bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highlander::cli::Cli;
use highlander::config::Config;
use highlander::server::{self, Running};

/// Longer than anything a test waits for on purpose; shorter than a person waits for a test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on both drivers. A kernel without io_uring fails it, loudly.
pub fn on_both_drivers(test: impl Fn(&str)) {
    for driver in ["uring", "epoll"] {
        eprintln!("driver: {driver}");
        test(driver);
    }
}

/// An empty folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("highlander-proxy-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a new folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A proxy on a port of its own, before `endpoint`.
pub struct Proxy {
    pub running: Running,
    pub address: SocketAddr,
}

impl Proxy {
    pub fn start(driver: &str, endpoint: SocketAddr) -> Proxy {
        Proxy::with(driver, endpoint, |_| {})
    }

    pub fn with(driver: &str, endpoint: SocketAddr, change: impl FnOnce(&mut Cli)) -> Proxy {
        Proxy::run(Proxy::config(driver, endpoint, change))
    }

    /// What [`Proxy::with`] starts.
    pub fn config(driver: &str, endpoint: SocketAddr, change: impl FnOnce(&mut Cli)) -> Config {
        let mut cli = Cli {
            listen: vec!["127.0.0.1:0".into()],
            remote: Some(format!("http://{endpoint}")),
            instance_id: Some("test".into()),
            driver: Some(driver.into()),
            cores: Some("2".into()),
            log_level: Some("error".into()),
            ..Cli::default()
        };
        change(&mut cli);
        Config::from_cli(&cli).expect("the test's flags are good")
    }

    pub fn run(config: Config) -> Proxy {
        let running = server::start(config).expect("the driver is there and the port is free");
        let address = running.addresses()[0];
        Proxy { running, address }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

/// A client that writes what a test says and reads whole answers.
pub struct Client<S = TcpStream> {
    pub stream: S,
    unread: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect(address).expect("the proxy listens"))
    }

    pub fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_nodelay(true).expect("a live socket");
        Client::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Client<S> {
        Client { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy reads");
    }

    /// Reads one answer: Content-Length, chunks, none, or until the close.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("POST")
    }

    pub fn answer_to(&mut self, method: &str) -> Answer {
        let head_bytes = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.fill() > 0,
                "closed in a head: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        };
        let head: Vec<u8> = self.unread.drain(..head_bytes).collect();
        let head = String::from_utf8(head).expect("heads in tests are text");
        let status: u16 = head[9..12].parse().expect("a status");
        let lower = head.to_lowercase();
        let length =
            lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let body = if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            Vec::new()
        } else if lower.contains("transfer-encoding: chunked") {
            self.chunks()
        } else if let Some(length) = length {
            self.exactly(length.parse().expect("a length"))
        } else {
            while self.fill() > 0 {}
            std::mem::take(&mut self.unread)
        };
        Answer { status, head, body }
    }

    /// Sends one request and reads its answer.
    pub fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// Asserts that the other end closes, with nothing more to read.
    pub fn assert_closed(&mut self) {
        while self.fill() > 0 {}
        assert_eq!(String::from_utf8_lossy(&self.unread), "");
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match find(&self.unread, b"\r\n") {
                    Some(at) => break at,
                    None => assert!(self.fill() > 0, "closed in chunks"),
                }
            };
            let size: Vec<u8> = self.unread.drain(..line + 2).collect();
            let size = String::from_utf8_lossy(&size[..line]).into_owned();
            let size = usize::from_str_radix(&size, 16).expect("a chunk size");
            let data = self.exactly(size + 2);
            body.extend_from_slice(&data[..size]);
            if size == 0 {
                return body;
            }
        }
    }

    fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        while self.unread.len() < bytes {
            assert!(self.fill() > 0, "closed in a body");
        }
        self.unread.drain(..bytes).collect()
    }

    fn fill(&mut self) -> usize {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(bytes) => {
                self.unread.extend_from_slice(&piece[..bytes]);
                bytes
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("no answer in time: {error}"),
        }
    }
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A request of a source with `weight`. It says nothing of snappy, so its body may be anything.
pub fn push(weight: u64, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/write?highlander_weight={weight} HTTP/1.1\r\nHost: proxy:9091\r\n\
         User-Agent: Prometheus/3.5.0\r\nContent-Length: {}\r\n\
         Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A remote write request of a source with `weight`, if its body is one.
pub fn remote_write(source: &str, weight: u64, message: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/write?highlander_weight={weight}&highlander_source={source} HTTP/1.1\r\n\
         Host: proxy:9091\r\nContent-Length: {}\r\nContent-Encoding: snappy\r\n\
         Content-Type: application/x-protobuf;proto={message}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What the endpoint got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub head: String,
    pub body: Vec<u8>,
    /// Which of the endpoint's connections it came on.
    pub connection: usize,
}

/// An endpoint that plays a part on each of its connections.
pub struct Endpoint {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Endpoint {
    /// Reads requests and writes what `answer` gives for each; an empty answer closes instead.
    pub fn start(answer: impl Fn(&Got) -> Vec<u8> + Send + Sync + 'static) -> Endpoint {
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let record = got.clone();
        let answer = Arc::new(answer);
        Endpoint::play(got, move |mut stream, connection| {
            let mut unread = Vec::new();
            while let Some(request) = read_request(&mut stream, &mut unread, connection) {
                record.lock().expect("no test panics in here").push(request.clone());
                let bytes = answer(&request);
                if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers 204 to everything.
    pub fn storage() -> Endpoint {
        Endpoint::start(|_| b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
    }

    /// A port at which nobody listens.
    pub fn nowhere() -> Endpoint {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound socket");
        Endpoint { address, got: Arc::default() }
    }

    /// Gives each connection to `part`, with its number.
    pub fn raw(part: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Endpoint {
        Endpoint::play(Arc::default(), part)
    }

    fn play(
        got: Arc<Mutex<Vec<Got>>>,
        part: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let part = Arc::new(part);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let part = part.clone();
                std::thread::spawn(move || part(stream, connection));
            }
        });
        Endpoint { address, got }
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no test panics in here").clone()
    }
}

/// Reads one request with a Content-Length, `None` at the end of the connection.
pub fn read_request(
    stream: &mut impl Read,
    unread: &mut Vec<u8>,
    connection: usize,
) -> Option<Got> {
    let mut fill = |unread: &mut Vec<u8>| {
        let mut piece = [0; 64 * 1024];
        let bytes = stream.read(&mut piece).unwrap_or(0);
        unread.extend_from_slice(&piece[..bytes]);
        bytes > 0
    };
    let head_bytes = loop {
        match find(unread, b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if fill(unread) => {}
            None => return None,
        }
    };
    let head = String::from_utf8_lossy(&unread[..head_bytes]).into_owned();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "bodies come with a length");
    let lower = head.to_lowercase();
    let length = lower.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
    while unread.len() < head_bytes + length {
        if !fill(unread) {
            return None;
        }
    }
    let body = unread[head_bytes..head_bytes + length].to_vec();
    unread.drain(..head_bytes + length);
    Some(Got { head, body, connection })
}

/// Asks again and again until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// A body that differs at each place, so that a shifted copy is noticed.
pub fn body(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
