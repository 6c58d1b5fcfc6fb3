//! What the system says of this process.

use std::fs;

/// How it is now.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// CPU time of all threads.
    pub cpu_seconds: f64,
    /// Memory that is in RAM.
    pub resident_bytes: f64,
    /// Threads.
    pub threads: f64,
    /// Open file descriptors.
    pub open_fds: f64,
    /// The most there may be.
    pub max_fds: f64,
}

/// `None` where `/proc` can't be read.
pub fn look() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program comes second, in brackets, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        threads: field(20)?,
        resident_bytes: field(24)? * rustix::param::page_size() as f64,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        max_fds: max.map_or(f64::INFINITY, |max| max as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_this_process() {
        let process = look().expect("there is /proc");
        assert!(process.resident_bytes > 1e6 && process.threads >= 1.0);
        assert!(process.open_fds >= 3.0 && process.max_fds >= process.open_fds);
        assert!(process.cpu_seconds >= 0.0);
    }
}
