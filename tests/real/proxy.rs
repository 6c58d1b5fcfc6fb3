//! The program under test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Program, free_port};
use crate::target::now_ms;

/// How long a hand-over may go on after the samples of the next few scrapes are stored.
const HAND_OVER_MAX: Duration = Duration::from_secs(15);

/// A running Highlander.
pub struct Proxy {
    program: Program,
    place: Place,
}

/// Where one runs, and with what.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where its files are.
    pub dir: PathBuf,
    /// What its log is called.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The program that it is started by, and that program's arguments: nothing for none.
    pub by: Vec<String>,
    /// Its own arguments.
    pub args: Vec<String>,
}

impl Proxy {
    /// Starts it in front of the storage on the loopback's port `remote`.
    pub fn start(dir: &Path, remote: u16, flags: &[&str]) -> Proxy {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut args: Vec<String> = vec!["--listen".into(), address.to_string()];
        args.extend(["--remote".into(), format!("http://127.0.0.1:{remote}")]);
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let name = "proxy".to_owned();
        Proxy::start_at(Place { dir: dir.to_owned(), name, address, by: Vec::new(), args })
    }

    /// Starts it there.
    pub fn start_at(place: Place) -> Proxy {
        Proxy { program: serve(&place), place }
    }

    /// Asks it to end and starts it again on the same port; how it did end.
    pub fn restart(&mut self) -> ExitStatus {
        let status = self.stop();
        self.start_again();
        status
    }

    /// Asks it to end and waits; how it did end.
    pub fn stop(&mut self) -> ExitStatus {
        // Longer than its own default `--shutdown-timeout`, and what it needs before that.
        self.program.stop(Duration::from_secs(50))
    }

    /// Kills it without a word of warning.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again, on the same port and with the same flags, after it has ended.
    pub fn start_again(&mut self) {
        self.program = serve(&self.place);
    }

    /// Stops it as an overloaded machine would: its connections stay, and nothing comes.
    pub fn freeze(&self) {
        self.program.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.program.signal("CONT");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// The log of all its lives.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// The lines of its log that tell of the election, without the time in front.
    pub fn election(&self) -> Vec<String> {
        let log = self.program.log();
        let told = log.lines().filter_map(|line| {
            let at = line.find("new source : '").or_else(|| line.find("lost source : '"))?;
            Some(line[at..].to_owned())
        });
        told.collect()
    }

    /// Waits until the log has at least `count` lines of the election; the last of these, and when
    /// it was seen, in milliseconds since 1970.
    pub fn await_election(&self, count: usize, wait_max: Duration) -> (String, i64) {
        let deadline = Instant::now() + wait_max;
        loop {
            let told = self.election();
            if let Some(line) = told.get(count - 1) {
                return (line.clone(), now_ms());
            }
            let waited = wait_max.as_secs();
            assert!(Instant::now() < deadline, "no {count} lines in {waited} s, but {told:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The claim about its log: at least `count_min` hand-overs are told, with all that they have
    /// cost, and none of them has lost a sample.
    pub fn assert_handed_over(&self, count_min: usize) {
        const FIELDS: [&str; 10] = [
            "reason", "from", "to", "bridged", "bodies", "replayed", "skipped", "lost", "duration",
            "peak",
        ];
        let deadline = Instant::now() + HAND_OVER_MAX;
        let told = loop {
            let told = self.hand_overs();
            if told.len() >= count_min || Instant::now() >= deadline {
                break told;
            }
            thread::sleep(Duration::from_millis(100));
        };
        assert!(told.len() >= count_min, "{count_min} hand-overs are due, but {told:#?}");
        for line in &told {
            for name in FIELDS {
                assert!(field(line, name).is_some(), "no field {name} in {line}");
            }
            assert_eq!(field(line, "lost"), Some("0"), "{line}");
        }
    }

    /// The lines of its log that tell what a hand-over has cost.
    pub fn hand_overs(&self) -> Vec<String> {
        let log = self.program.log();
        let told = log.lines().filter(|line| line.contains("hand-over") && line.contains(" lost="));
        told.map(str::to_owned).collect()
    }
}

/// Starts it and waits until it says that it listens, and does. After a restart the log of the time
/// before is still there and says so too.
fn serve(place: &Place) -> Program {
    let Place { dir, name, address, by, args } = place;
    let says_so = |log: &str| log.matches(&format!("binding address: {address}")).count();
    let before = says_so(&fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default());
    let binary = env!("CARGO_BIN_EXE_highlander");
    let mut program = match by.split_first() {
        None => Program::start(dir, name, Path::new(binary), args),
        Some((first, rest)) => {
            let args = [rest, &[binary.to_owned()], args].concat();
            Program::start(dir, name, Path::new(first), &args)
        }
    };
    let log = program.log_file();
    program.await_ready(|| {
        let log = fs::read_to_string(&log).unwrap_or_default();
        says_so(&log) > before && TcpStream::connect(address).is_ok()
    });
    program
}

/// The value of a field of a line of the log, as far as it has no space in it.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn the_fields_of_a_line_of_the_log_are_read() {
    let line = "2026/01/31 17:03:55 hand-over reason=lost from='a b' lost=0 peak=1MiB";
    assert_eq!(field(line, "reason"), Some("lost"));
    assert_eq!(field(line, "lost"), Some("0"));
    assert_eq!(field(line, "peak"), Some("1MiB"));
    assert_eq!(field(line, "skipped"), None);
}
