//! What the Prometheus servers scrape: a target with many series, in the test's own process.
//!
//! It answers `/replica/N`, and every value of the answer says N and how often N has been here (see
//! [`crate::series`]). The address is the same for all, so the series of all replicas are the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::door::Door;
use crate::program::LOCAL;
use crate::series::{LOAD, VOICE_STEP};

/// A target that serves until it is dropped.
pub struct Target {
    door: Door,
    shared: Arc<Shared>,
}

struct Shared {
    /// Each series up to its value.
    lines: Vec<String>,
    /// When each replica's scrapes came, in milliseconds since 1970.
    scrapes: Mutex<BTreeMap<u64, Vec<i64>>>,
}

impl Target {
    /// Serves this number of series on a free port of the loopback.
    pub fn start(series: usize) -> Target {
        // Labels as long as they are in life: a request of 2000 samples is then 187 KB decoded.
        let lines = (0..series)
            .map(|n| {
                let zone = n % 3;
                format!("{LOAD}{{handler=\"/api/v1/part/{n:05}\",zone=\"eu-west-1{zone}\"}} ")
            })
            .collect();
        let shared = Arc::new(Shared { lines, scrapes: Mutex::new(BTreeMap::new()) });
        let serving = Arc::clone(&shared);
        Target { door: Door::open(LOCAL, move |stream| serving.serve(stream)), shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.door.address().port()
    }

    /// When this replica has scraped, in milliseconds since 1970.
    pub fn scrapes_ms(&self, replica: u64) -> Vec<i64> {
        let scrapes = self.shared.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        scrapes.get(&replica).cloned().unwrap_or_default()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let mut line = String::new();
            while reader.read_line(&mut line)? > 2 {
                line.clear();
            }
            let answer = self.answer(&first);
            reader.get_mut().write_all(answer.as_bytes())?;
        }
    }

    /// The answer to a request with this first line, e.g. `GET /replica/1?salt=3 HTTP/1.1`.
    fn answer(&self, first: &str) -> String {
        let replica = first
            .strip_prefix("GET /replica/")
            .and_then(|rest| rest.split(['?', ' ']).next())
            .and_then(|number| number.parse::<u64>().ok());
        let Some(replica) = replica else {
            return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
        };
        let body = self.body(replica * VOICE_STEP + self.count(replica));
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Notes a scrape; how many there were before it.
    fn count(&self, replica: u64) -> u64 {
        let mut scrapes = self.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        let times = scrapes.entry(replica).or_default();
        times.push(now_ms());
        times.len() as u64 - 1
    }

    fn body(&self, value: u64) -> String {
        let value = value.to_string();
        let mut body = format!("# TYPE {LOAD} gauge\n");
        for line in &self.lines {
            body.push_str(line);
            body.push_str(&value);
            body.push('\n');
        }
        writeln!(body, "# EOF").expect("a string takes everything");
        body
    }
}

/// The wall clock, in milliseconds since 1970: the clock of timestamps.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}
