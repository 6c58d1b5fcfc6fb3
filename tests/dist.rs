//! What is given to operators beside the program: the alerts fire when they should and not when all is
//! well, each is explained, and each asks for metrics that there are, as the dashboard does; the unit, the
//! configurations and the manual fit the program. `tests/package.rs` installs them.
//!
//! `tests/run` installs prometheus, which brings promtool with it, systemd and groff; if one is missing
//! the test fails.

#[path = "dist/dashboard.rs"]
mod dashboard;
#[path = "dist/kubernetes.rs"]
mod kubernetes;
#[path = "dist/manual.rs"]
mod manual;
#[path = "dist/service.rs"]
mod service;
#[path = "dist/yaml.rs"]
mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use highlander::base::limits::{LEAVE_MAX, LEAVE_STEADY_MAX};

/// `--shutdown-timeout`, if nobody sets it.
const SHUTDOWN_SECONDS: u64 = 30;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A folder of its own for what a test writes, empty.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a new folder");
    folder
}

/// Runs the program, and gives back its exit code and all that it has said.
fn highlander(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_highlander")).args(args).output();
    let output = output.expect("it was built");
    (output.status.code(), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// How long the program may take to end, with what `--shutdown-timeout` is if nobody sets it.
fn end_seconds() -> u64 {
    SHUTDOWN_SECONDS + (LEAVE_STEADY_MAX.0 + LEAVE_MAX.0) / 1000
}

fn promtool(args: &[&str]) {
    let mut command = Command::new("promtool");
    let output = command.args(args).current_dir(Path::new(&root()).join("dist")).output();
    let output = output.expect("tests/run installs prometheus, which brings promtool with it");
    assert!(output.status.success(), "{args:?}: {}", said(&output));
}

/// The words of a text that begin so.
fn words<'t>(text: &'t str, begin: &str) -> BTreeSet<&'t str> {
    let is_apart = |sign: char| !sign.is_ascii_alphanumeric() && sign != '_';
    text.split(is_apart).filter(|word| word.starts_with(begin)).collect()
}

/// The metrics of ours that a text names; a bucket is one of its histogram.
fn metrics(text: &str) -> BTreeSet<&str> {
    let all = words(text, "highlander_").into_iter();
    all.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect()
}

/// The names of the alerts, in order.
fn alerts(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn each_alert_fires_when_it_should_and_none_when_all_is_well() {
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
    let (rules, tests) = (read("dist/alerts.yml"), read("dist/alerts_test.yml"));
    for alert in alerts(&rules) {
        let is_tried = |what: &str| tests.contains(what);
        assert!(is_tried(&format!("alertname: {alert}, exp_alerts: []")), "{alert} at rest");
        assert!(is_tried(&format!("{{alertname=\"{alert}\"}}', value: 1")), "{alert} at work");
    }
}

#[test]
fn each_alert_is_explained_and_nothing_else_is() {
    let (rules, runbook) = (read("dist/alerts.yml"), read("dist/RUNBOOK.md"));
    let explained: Vec<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts(&rules), explained);
    for alert in explained {
        let place = format!("runbook: RUNBOOK.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&place), "{alert}");
    }
}

/// The source in which each metric is named.
fn shown() -> String {
    read("src/shared/metrics.rs") + &read("src/io/admin/metrics.rs")
}

#[test]
fn alerts_and_runbook_name_metrics_that_there_are() {
    let shown = shown();
    let shown = words(&shown, "highlander_");
    let rules = read("dist/alerts.yml") + &read("dist/RUNBOOK.md");
    let asked = metrics(&rules);
    let parameters = ["highlander_group", "highlander_source"];
    let is_unknown = |it: &&&str| !shown.contains(**it) && !parameters.contains(*it);
    let unknown: Vec<_> = asked.iter().filter(is_unknown).collect();
    assert!(asked.len() > 10 && unknown.is_empty(), "{unknown:?}");
}
