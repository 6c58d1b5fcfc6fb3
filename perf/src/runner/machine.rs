//! Where and with what the figures were taken: without it they mean nothing.
//!
//! No path of the machine and no name of it gets into the text: results are committed.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fault::{During, Fault};

/// The head of a results file, with what else is to be said of the run.
pub fn describe(title: &str, more: &[(&str, String)]) -> Result<String, Fault> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").during("kernel")?;
    let load = fs::read_to_string("/proc/loadavg").during("load average")?;
    let load = load.split(' ').next().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").during("CPU")?;
    let field = |name| cpus.lines().find(|line| line.starts_with(name))?.split_once(": ");
    let cpu = field("model name").map_or("unknown", |(_, value)| value);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count().max(cores);
    let mut text = format!("# {title}\n\n");
    let before = [
        ("commit", commit()),
        ("kernel", kernel.trim().to_owned()),
        ("CPU", format!("{cpu}, {count} cores")),
        ("load average at the start", load.to_owned()),
    ];
    let after = [("command", command())];
    for (name, value) in before.iter().chain(more).chain(&after) {
        let _ = writeln!(text, "* {name}: {value}");
    }
    Ok(text)
}

fn commit() -> String {
    let package = env!("CARGO_MANIFEST_DIR");
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(package).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return String::from("none") };
    let changes = git(&["status", "--porcelain"]).unwrap_or_default();
    if changes.is_empty() { commit } else { format!("{commit}, with uncommitted changes") }
}

/// The first line of what a peer says about itself.
pub fn version(program: &str, flag: &str) -> String {
    said(program, flag, "")
}

/// The first line with this in it of what a peer says. A peer that is not there is no fault here: it
/// may not be among the candidates.
pub fn said(program: &str, flag: &str, part: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else {
        return String::from("not installed");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().find(|line| line.contains(part)).unwrap_or("unknown").to_owned()
}

/// The command line, with only the last part of each path.
fn command() -> String {
    let args = std::env::args().skip(1).map(|arg| {
        let name = Path::new(&arg).file_name().filter(|_| arg.contains('/'));
        name.map_or_else(|| arg.clone(), |name| name.to_string_lossy().into_owned())
    });
    let words: Vec<String> = std::iter::once(String::from("highlander-perf")).chain(args).collect();
    format!("`{}`", words.join(" "))
}
