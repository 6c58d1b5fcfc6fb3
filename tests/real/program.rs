//! A real program, run on a port and in a directory of its own.
//!
//! It is killed by its own process id when it is dropped, so a failed assertion leaves nothing
//! behind; should the whole test process be killed, the kernel does the same (`setpriv
//! --pdeathsig`). What it said is kept in a file and its end is shown when the test fails, for the
//! reason of a failure is nearly always in the log of another program.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take until it answers: they start in under a second, but the machine may
/// be busy with a compiler.
pub const START_MAX: Duration = Duration::from_secs(30);

/// The loopback.
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How much of a line of a log is shown: enough to see what it is about.
const LINE_SIGNS: usize = 200;

/// How many lines of a log are shown when a test fails.
const TAIL_LINES: usize = 20;

/// A running program.
pub struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts `binary` with `args`; everything it prints goes to the end of NAME.log in `dir`.
    pub fn start(dir: &Path, name: &str, binary: &Path, args: &[String]) -> Program {
        assert!(
            binary.is_file(),
            "{} is missing: tests/run installs what these tests need",
            binary.display()
        );
        let log = dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let err = out.try_clone().expect("a second handle of the log file");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("setpriv, of Debian's essential util-linux");
        Program { name: name.to_owned(), log, child }
    }

    /// Waits until `ready` holds; a program that ends or stays silent fails the test.
    pub fn await_ready(&mut self, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + START_MAX;
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                panic!("{} ended at its start: {status}", self.name);
            }
            assert!(Instant::now() < deadline, "{} does not get ready", self.name);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where everything it prints goes.
    pub fn log_file(&self) -> PathBuf {
        self.log.clone()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).expect("the log file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name without SIG. The shell's own `kill` does it, for a bare Debian
    /// has no other.
    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &id])
            .status()
            .expect("a shell");
        assert!(status.success(), "SIG{signal} to {} failed", self.name);
    }

    /// Kills it without a word of warning and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Asks it to end, and gives back how it did; the test fails when it is still there after
    /// `wait_max`.
    pub fn stop(&mut self, wait_max: Duration) -> ExitStatus {
        self.signal("TERM");
        let deadline = Instant::now() + wait_max;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end after SIGTERM", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is to be done about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of {}:", self.log.display());
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                eprintln!("{line:.LINE_SIGNS$}");
            }
        }
    }
}

/// An empty directory of this name below cargo's own place for the files of tests. It stays after
/// the test, to be read.
pub fn fresh_dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real").join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).expect("the directory of an earlier run goes");
    }
    fs::create_dir_all(&dir).expect("a directory for the test");
    dir
}

/// A port of the loopback that is free now and not handed out twice. Below the range from which
/// the kernel takes the ports of outgoing connections, or one of those might be quicker.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another test process at the same time starts elsewhere.
    let own = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        // Relaxed: a counter that guards nothing.
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + own.wrapping_mul(31).wrapping_add(step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
