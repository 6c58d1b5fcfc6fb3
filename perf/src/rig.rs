//! The proxy with its own flags before an endpoint that keeps what arrives, and what its log says.
//!
//! Unlike a candidate of the runner it has all cores, as it has by itself, and nobody pushes to
//! find out whether it is ready: the first push would take the seat.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;
use crate::fault::{During, Fault};
use crate::runner::bench::{Folder, free_ports, wait_until_ready};
use crate::runner::child::{Child, Pipes, Recipe};
use crate::runner::proc;

/// How often the log is read while something is waited for.
const POLL: Duration = Duration::from_millis(20);

/// Where the promoted source and the standby push to.
pub const PROMOTED: &str = "/api/v1/write?highlander_source=a&highlander_weight=50";
/// See [`PROMOTED`].
pub const STANDBY: &str = "/api/v1/write?highlander_source=b&highlander_weight=10";

/// A proxy and its endpoint, running.
pub struct Rig {
    /// The proxy.
    pub proxy: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it sends to.
    pub endpoint: Endpoint,
    _folder: Folder,
}

/// The line that a hand-over leaves in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// As it stands there.
    pub text: String,
    /// Why the seat has changed.
    pub reason: String,
    /// Requests sent on.
    pub bodies: u64,
    /// Samples sent on.
    pub replayed: u64,
    /// Samples that had been delivered already.
    pub skipped: u64,
    /// Samples that the endpoint rejected.
    pub lost: u64,
    /// From the change of the seat to the end.
    pub duration_ms: f64,
    /// Bytes that it took, as it says itself.
    pub peak_bytes: u64,
}

/// Busy time of the machine at one moment.
pub struct Busy {
    at: Instant,
    machine_s: f64,
    proxy_s: f64,
    own_s: f64,
}

/// The proxy's binary: the one that is named, or the release build of the repository.
pub fn binary(named: Option<&Path>) -> Result<PathBuf, Fault> {
    let path = match named {
        // It runs in a folder of its own.
        Some(path) => std::path::absolute(path).during(path.display())?,
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/highlander"),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(Fault(format!("{}: not there; build it first", path.display()))),
    }
}

impl Rig {
    /// Starts both; `flags` are separated by spaces, and the endpoint takes `delay` to answer.
    pub fn start(binary: &Path, flags: &str, delay: Duration) -> Result<Self, Fault> {
        let folder = Folder::create()?;
        let endpoint = Endpoint::start(delay)?;
        let (port, _) = free_ports()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (listen, remote) = (address.to_string(), format!("http://{}", endpoint.address));
        let own = ["-l", listen.as_str(), "-r", remote.as_str(), "-i", "perf"];
        let binary = binary.to_string_lossy();
        let argv = std::iter::once(&*binary).chain(own);
        let argv = argv.chain(flags.split_whitespace()).map(str::to_owned).collect();
        let cores = format!("0-{}", cores()?.saturating_sub(1));
        let recipe = Recipe { name: String::from("highlander"), argv, cores };
        let mut proxy = Child::start(&recipe, &folder.0, Pipes::None)?;
        wait_until_ready(&mut proxy, || TcpStream::connect(address).map(drop).during(address))?;
        Ok(Self { proxy, address, endpoint, _folder: folder })
    }

    /// Waits until the log has a line with this text, and gives it from there on.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<String, Fault> {
        let since = Instant::now();
        loop {
            self.proxy.check()?;
            let log = self.proxy.log()?;
            // The last line may still be on its way.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let found =
                whole.lines().find_map(|line| line.find(text).map(|at| line[at..].to_owned()));
            match found {
                Some(line) => return Ok(line),
                None if since.elapsed() > patience => {
                    let what = format!("has not said {text:?} in {} s", patience.as_secs());
                    return Err(self.proxy.failure(&what));
                }
                None => thread::sleep(POLL),
            }
        }
    }

    /// Waits for the end of a hand-over.
    pub fn wait_for_hand_over(&mut self, patience: Duration) -> Result<Line, Fault> {
        let text = self.wait_for("hand-over :", patience)?;
        Line::parse(&text).ok_or_else(|| Fault(format!("can't read {text:?}")))
    }

    /// Busy time so far.
    pub fn busy(&self) -> Result<Busy, Fault> {
        Ok(Busy {
            at: Instant::now(),
            machine_s: (0..cores()?).map(proc::core_busy_s).sum::<Result<f64, Fault>>()?,
            proxy_s: proc::cpu_s(self.proxy.pid())?,
            own_s: proc::cpu_s(std::process::id())?,
        })
    }
}

impl Busy {
    /// Seconds since `before`.
    pub fn s_since(&self, before: &Busy) -> f64 {
        (self.at - before.at).as_secs_f64()
    }

    /// CPU seconds of the proxy since `before`.
    pub fn proxy_s_since(&self, before: &Busy) -> f64 {
        self.proxy_s - before.proxy_s
    }

    /// CPU seconds of all that is neither this program nor its proxy since `before`.
    pub fn others_s_since(&self, before: &Busy) -> f64 {
        (self.machine_s - before.machine_s - (self.own_s - before.own_s)).max(0.0)
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let number = |name| field(name)?.parse().ok();
        Some(Self {
            text: text.to_owned(),
            reason: field("reason")?.to_owned(),
            bodies: number("bodies")?,
            replayed: number("replayed")?,
            skipped: number("skipped")?,
            lost: number("lost")?,
            duration_ms: milliseconds(field("duration")?)?,
            peak_bytes: number("peak")?,
        })
    }
}

fn cores() -> Result<usize, Fault> {
    std::thread::available_parallelism().map(usize::from).during("cores")
}

/// A span in Go's notation.
fn milliseconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(digits);
        let (unit, after) =
            after.split_at(after.find(|it: char| it.is_ascii_digit()).unwrap_or(after.len()));
        let unit_ms = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit_ms;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read_and_half_a_line_is_not() {
        let text = "hand-over : from=a to=b reason=silence bridged=6.4s bodies=6 replayed=600 \
                    skipped=1800 lost=0 duration=669ms peak=32948";
        let line = Line::parse(text).expect("a whole line");
        assert_eq!((line.bodies, line.replayed, line.skipped, line.lost), (6, 600, 1800, 0));
        assert_eq!((line.duration_ms, line.peak_bytes), (669.0, 32_948));
        assert_eq!(line.reason, "silence");
        assert_eq!(Line::parse(&text[..100]), None);
    }

    #[test]
    fn spans_are_read_in_gos_notation() {
        for (text, ms) in [("0s", 0.0), ("669ms", 669.0), ("1.25s", 1250.0), ("1m2.5s", 62_500.0)] {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        assert!(["", "5", "s", "1x"].into_iter().all(|text| milliseconds(text).is_none()));
    }
}
