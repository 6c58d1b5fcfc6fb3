//! This test program as another process, to be killed, or to be asked what it takes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use highlander::io::log::Level;
use highlander::io::queue::append::Outcome;
use highlander::io::queue::order::{Ticket, Waiting};
use highlander::shared::metrics::Counter;

use crate::rig::{Plan, Rig, append};
use crate::support::PATIENCE;

/// The process, which ends with the test.
pub struct Process {
    child: Child,
    /// What it says, on both of its outputs.
    pub lines: Receiver<String>,
}

/// What it is to do.
#[derive(Clone, Copy, Debug)]
pub struct Task<'t> {
    pub name: &'t str,
    pub dir: &'t Path,
    pub sink: SocketAddr,
    pub in_flight: usize,
    /// Of each shard, the first number.
    pub from: &'t [u64],
}

impl Process {
    pub fn start(task: &Task<'_>) -> Process {
        let from: Vec<String> = task.from.iter().map(u64::to_string).collect();
        let program = std::env::current_exe().expect("this one");
        let mut child = Command::new(program)
            .args(["child::the_child", "--exact", "--nocapture"])
            .env("DRAIN_TASK", task.name)
            .env("DRAIN_DIR", task.dir)
            .env("DRAIN_SINK", task.sink.to_string())
            .env("DRAIN_IN_FLIGHT", task.in_flight.to_string())
            .env("DRAIN_FROM", from.join(","))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is there");
        let (told, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let other = told.clone();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(told.send(line)));
        });
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(other.send(line)));
        });
        Process { child, lines }
    }

    /// `kill -9`; what it had said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("it runs");
        self.end()
    }

    /// Waits for its end; what it has said.
    pub fn end(mut self) -> Vec<String> {
        self.child.wait().expect("it is ours");
        self.lines.iter().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("the parent says")
}

/// Does what another process of this program wants; nothing, if none does.
#[test]
fn the_child() {
    let Ok(task) = std::env::var("DRAIN_TASK") else { return };
    let began = Instant::now();
    let sink = variable("DRAIN_SINK").parse().expect("an address");
    let in_flight = variable("DRAIN_IN_FLIGHT");
    let queue = format!(
        "sync: {}, max_size: 20GiB, max_in_flight: {in_flight}, min_backoff: 5ms, max_backoff: 50ms",
        if task == "append" { "always" } else { "200ms" }
    );
    let plan = Plan { queue: queue.leak(), level: Level::Warn, ..Plan::before(sink) };
    let rig = Rig::start(Path::new(&variable("DRAIN_DIR")), &plan);
    match task.as_str() {
        "append" => append_for_ever(&rig),
        "reject" => {
            let ids: Vec<_> = (1..=30).map(|number| (1, number)).collect();
            rig.append(1, &ids, 0);
            rig.await_drained();
            let [sent, rejected] =
                [Counter::QueueSent, Counter::QueueRejected].map(|it| rig.count(it));
            say(&format!("sent {sent} rejected {rejected}"));
            rig.stop();
        }
        "drain" => {
            let (started, records) = (began.elapsed(), rig.queue.queue.depth().records());
            say(&format!("started {} {records}", started.as_millis()));
            while rig.queue.queue.depth().records() > 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            say(&format!("drained {} {}", began.elapsed().as_millis(), peak_kb()));
            rig.stop();
        }
        other => panic!("{other}?"),
    }
}

/// One request of each shard at a time, as its source has it, until somebody ends it.
fn append_for_ever(rig: &Rig) {
    let from = variable("DRAIN_FROM");
    std::thread::scope(|scope| {
        for (shard, first) in (0..).zip(from.split(',')) {
            let first: u64 = first.parse().expect("a number");
            scope.spawn(move || {
                let (waiting, heard) = Waiting::new(Box::new(|| {}));
                for number in first.. {
                    let ticket = Ticket { id: number, waiting: Arc::clone(&waiting) };
                    let append = append(1, (shard, number), 200);
                    rig.queue.queue.append(append, ticket).expect("there is room");
                    let (_, outcome) = heard.recv_timeout(PATIENCE).expect("it is told of");
                    assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
                    say(&format!("stored {shard} {number}"));
                    // A fast disk takes far more than the sink.
                    std::thread::sleep(Duration::from_millis(3));
                }
            });
        }
    });
}

/// In one write: half a line is none.
fn say(line: &str) {
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
