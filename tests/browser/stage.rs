//! What the page is about: the proxy, its endpoint, and sources that push.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highlander::wire::remote_write::snappy;
use highlander::wire::remote_write::v1::{Sample, WriteRequestBuilder};

use crate::program::{Program, free_port, fresh_dir};
use crate::support::{Client, Endpoint};

/// How often a source pushes.
const INTERVAL: Duration = Duration::from_millis(250);

/// A proxy with its admin listener, before a storage that takes everything.
pub struct Stage {
    /// Where the files are.
    pub dir: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
    // For as long as the stage stands.
    _storage: Endpoint,
    proxy: Program,
}

impl Stage {
    /// Sets it up under the test's name.
    pub fn set(name: &str) -> Stage {
        let dir = fresh_dir(&format!("browser-{name}"));
        let storage = Endpoint::storage();
        let [address, admin] =
            [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let args = format!(
            "--listen {address} --admin {admin} --remote http://{} --health-tick 200ms \
             --health-expiry 1s --hold-memory 64MiB --cores 2",
            storage.address
        );
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let binary = Path::new(env!("CARGO_BIN_EXE_highlander"));
        let mut proxy = Program::start(&dir, "proxy", binary, &args);
        proxy.await_ready(|| {
            [address, admin].iter().all(|address| TcpStream::connect(address).is_ok())
        });
        Stage { dir, address, admin, _storage: storage, proxy }
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.admin)
    }

    /// Starts a source; the names are as they stand in a URL.
    pub fn source(&self, tenant: &str, group: &str, name: &str, weight: u64) -> Source {
        Source::start(self.address, tenant, group, name, weight)
    }

    /// Ends the proxy at once.
    pub fn kill(&mut self) {
        self.proxy.kill();
    }
}

/// A source that pushes three series until it is dropped. Its connection is closed then.
pub struct Source {
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    fn start(address: SocketAddr, tenant: &str, group: &str, name: &str, weight: u64) -> Source {
        let head = format!(
            "POST /api/v1/write?highlander_weight={weight}&highlander_source={name}\
             &highlander_group={group} HTTP/1.1\r\nHost: {address}\r\nX-Scope-OrgID: {tenant}\r\n\
             Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n"
        );
        let stops = Arc::new(AtomicBool::new(false));
        let told = stops.clone();
        let thread = thread::spawn(move || {
            let mut client = Client::connect(address);
            // Relaxed: it guards no other data.
            while !told.load(Ordering::Relaxed) {
                let body = body();
                let push = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
                client.send(&[push, body].concat());
                // Also 503 is an answer: while a seat changes hands.
                client.answer();
                thread::sleep(INTERVAL);
            }
        });
        Source { stops, thread: Some(thread) }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Relaxed: as above.
        self.stops.store(true, Ordering::Relaxed);
        // It panics where the proxy has gone before it, which is no fault of the test.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn body() -> Vec<u8> {
    let sample = [Sample { value: 1.0, timestamp_ms: now_ms() }];
    let mut request = WriteRequestBuilder::new();
    for job in ["a", "b", "c"] {
        request.push(&[("__name__", "up"), ("job", job)], &sample);
    }
    snappy::encode(&request.finish()).expect("it is small")
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64
}
