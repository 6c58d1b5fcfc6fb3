//! A started program, ended by its process id whatever happens.
//!
//! Ending waits in Drop, so a fault half-way through a run leaves no proxy behind on the measured
//! core. Should the runner itself be killed, `setpriv` has asked the kernel to end the children.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::proc;
use crate::fault::{During, Fault};

/// From SIGTERM to SIGKILL. A proxy that is asked to finish has nothing in flight by then.
const GRACE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(5);

/// The end of a log that is shown when its program has failed.
const LOG_BYTES_SHOWN: usize = 2000;

/// What to start, and where.
pub struct Recipe {
    /// What it is called in messages.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The cores it may run on, as `taskset` takes them.
    pub cores: String,
}

/// A running program. Dropping it ends it and all it has started.
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

/// What a child's stdin and stdout are connected to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pipes {
    /// Both with the runner.
    Open,
    /// Nothing, and the log.
    None,
}

impl Child {
    /// Starts the recipe; stderr, and stdout without pipes, go to a log in `folder`.
    pub fn start(recipe: &Recipe, folder: &Path, pipes: Pipes) -> Result<Self, Fault> {
        let log = folder.join(format!("{}.log", recipe.name));
        let file = File::create(&log).during(&recipe.name)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &recipe.cores]);
        command.args(&recipe.argv).current_dir(folder);
        if pipes == Pipes::Open {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(file.try_clone().during(&recipe.name)?);
        }
        command.stderr(file);
        let process = command.spawn().during(format_args!("{}: setpriv", recipe.name))?;
        Ok(Self { name: recipe.name.clone(), process, log })
    }

    /// Its process id: setpriv and taskset have become the program itself.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> Result<String, Fault> {
        let log = fs::read(&self.log).during(&self.name)?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Its pipes, for the first caller.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.process.stdin.take()?, self.process.stdout.take()?))
    }

    /// Says so, with the end of its log, when it is no longer running.
    pub fn check(&mut self) -> Result<(), Fault> {
        match self.process.try_wait().during(&self.name)? {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("ended by itself ({status})"))),
        }
    }

    /// A fault of this program, with the end of its log.
    pub fn failure(&self, what: &str) -> Fault {
        let log = fs::read(&self.log).unwrap_or_default();
        let shown = &log[log.len().saturating_sub(LOG_BYTES_SHOWN)..];
        Fault(format!("{} {what}\n{}", self.name, String::from_utf8_lossy(shown)))
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        let tree = proc::tree(self.pid())?;
        signal(self.pid(), Signal::TERM);
        let since = Instant::now();
        while since.elapsed() < GRACE {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        eprintln!("{} did not end on SIGTERM within {} s; killed", self.name, GRACE.as_secs());
        for pid in tree {
            signal(pid, Signal::KILL);
        }
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(Fault(why)) = self.end() {
            eprintln!("ending {}: {why}", self.name);
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may be gone already, which is what is wanted.
        let _ = kill_process(pid, signal);
    }
}
