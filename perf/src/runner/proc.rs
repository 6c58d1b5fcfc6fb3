//! What the kernel says about a process and all it has started.
//!
//! nginx does its work in a child, haproxy may; so everything is a sum over the process tree.

use std::collections::BTreeMap;
use std::fs;

use crate::fault::{During, Fault};

/// `/proc` counts CPU time in hundredths of a second on every Linux of today (USER_HZ).
const TICKS_PER_S: f64 = 100.0;

/// A process's line in `/proc`, as far as it is needed here.
struct Line {
    parent: u32,
    /// Its own time, and that of children that have ended.
    cpu_ticks: u64,
}

/// CPU seconds, user and system, that the process and its descendants have used so far.
pub fn cpu_s(root: u32) -> Result<f64, Fault> {
    let lines = lines()?;
    let ticks: u64 = tree_of(root, &lines)?.iter().map(|pid| lines[pid].cpu_ticks).sum();
    Ok(ticks as f64 / TICKS_PER_S)
}

/// Memory of the process and its descendants that is in RAM, in KiB.
pub fn rss_kib(root: u32) -> Result<u64, Fault> {
    let lines = lines()?;
    let mut sum = 0;
    for pid in tree_of(root, &lines)? {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).during("VmRSS")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = rss.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        sum += number.ok_or_else(|| Fault(format!("process {pid} has no VmRSS")))?;
    }
    Ok(sum)
}

/// The most memory that the process itself ever had in RAM, in KiB.
pub fn peak_kib(pid: u32) -> Result<u64, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).during("VmHWM")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.ok_or_else(|| Fault(format!("process {pid} has no VmHWM")))
}

/// The process and its descendants, the process first.
pub fn tree(root: u32) -> Result<Vec<u32>, Fault> {
    tree_of(root, &lines()?)
}

/// Seconds that a core was busy so far, with whomever.
pub fn core_busy_s(core: usize) -> Result<f64, Fault> {
    let stat = fs::read_to_string("/proc/stat").during("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    let line = line.ok_or_else(|| Fault(format!("no core {core} in /proc/stat")))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait. Guest time is part
    // of user time already.
    let busy = ticks.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
    Ok(busy.map(|(_, ticks)| ticks).sum::<u64>() as f64 / TICKS_PER_S)
}

fn lines() -> Result<BTreeMap<u32, Line>, Fault> {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir("/proc").during("/proc")? {
        let name = entry.during("/proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(line) = parse_stat(&stat) {
            lines.insert(pid, line);
        }
    }
    Ok(lines)
}

fn parse_stat(stat: &str) -> Option<Line> {
    // The command's name may hold spaces and brackets; nothing after the last bracket does.
    let (_, after_name) = stat.rsplit_once(')')?;
    let words: Vec<&str> = after_name.split_whitespace().collect();
    // State is word 0 here and field 3 in proc(5); so field n is word n - 3.
    let parent = words.get(1)?.parse().ok()?;
    let times = words.get(11..15)?;
    let cpu_ticks = times.iter().map(|word| word.parse::<u64>()).sum::<Result<u64, _>>().ok()?;
    Some(Line { parent, cpu_ticks })
}

fn tree_of(root: u32, lines: &BTreeMap<u32, Line>) -> Result<Vec<u32>, Fault> {
    if !lines.contains_key(&root) {
        return Err(Fault(format!("process {root} is gone")));
    }
    let mut tree = vec![root];
    let mut looked_at = 0;
    while let Some(&parent) = tree.get(looked_at) {
        tree.extend(lines.iter().filter(|(_, line)| line.parent == parent).map(|(pid, _)| *pid));
        looked_at += 1;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b)) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5";
        let line = parse_stat(stat).expect("a complete line");
        assert_eq!((line.parent, line.cpu_ticks), (3, 100));
    }

    #[test]
    fn a_tree_holds_grandchildren_and_no_strangers() {
        let parents = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1)];
        let lines = parents.map(|(pid, parent)| (pid, Line { parent, cpu_ticks: 0 })).into();
        assert_eq!(tree_of(5, &lines).expect("5 is there"), [5, 6, 7]);
        assert!(tree_of(9, &lines).is_err());
    }
}
