//! What is given to operators beside the program: the alerts fire when they should and not when all is
//! well, each is explained, and each asks for metrics that there are.
//!
//! `tests/run` installs prometheus, which brings promtool with it; if it is missing the test fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool(args: &[&str]) {
    let mut command = Command::new("promtool");
    let output = command.args(args).current_dir(Path::new(&root()).join("dist")).output();
    let output = output.expect("tests/run installs prometheus, which brings promtool with it");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
}

/// The words of a text that begin so.
fn words<'t>(text: &'t str, begin: &str) -> BTreeSet<&'t str> {
    let is_apart = |sign: char| !sign.is_ascii_alphanumeric() && sign != '_';
    text.split(is_apart).filter(|word| word.starts_with(begin)).collect()
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

#[test]
fn alerts_and_runbook_name_metrics_that_there_are() {
    let shown = read("src/shared/metrics.rs") + &read("src/io/admin/metrics.rs");
    let shown = words(&shown, "highlander_");
    let rules = read("dist/alerts.yml") + &read("dist/RUNBOOK.md");
    let asked = words(&rules, "highlander_");
    // A parameter of a push.
    let unknown: Vec<_> =
        asked.iter().filter(|it| !shown.contains(*it) && **it != "highlander_group").collect();
    assert!(asked.len() > 10 && unknown.is_empty(), "{unknown:?}");
}
