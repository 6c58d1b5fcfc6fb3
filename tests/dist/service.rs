//! The unit and the configuration that the package installs.
//!
//! `systemd-analyze verify` wants the program to be in its place: it is asked in `tests/package.rs`.

use std::fs;
use std::process::Command;

use crate::{end_seconds, highlander, read, root, said, scratch};

/// What a unit says of a key; the last line counts.
fn said_of<'t>(unit: &'t str, key: &str) -> &'t str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.next_back().unwrap_or_else(|| panic!("the unit says nothing of {key}"))
}

#[test]
fn the_unit_leaves_the_program_no_more_rights_than_it_needs() {
    let unit = root().join("dist/highlander.service");
    // In tenths: 2.0 at most, of 10.
    let args = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let output = Command::new("systemd-analyze").args(args).arg(unit).output();
    let output = output.expect("tests/run installs systemd");
    let said = said(&output);
    assert!(output.status.success() && said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_unit_gives_the_program_time_to_end_and_io_uring() {
    let unit = read("dist/highlander.service");
    let stop = said_of(&unit, "TimeoutStopSec").trim_end_matches('s').parse::<u64>();
    assert!(stop.is_ok_and(|stop| stop > end_seconds()), "{} s are needed", end_seconds());
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        let list = "SystemCallFilter=@system-service";
        let allowed = unit.lines().any(|line| line.starts_with(list) && line.contains(call));
        assert!(allowed, "{call}");
    }
    // A fault of the configuration, which stays one.
    assert_eq!(said_of(&unit, "RestartPreventExitStatus"), "2");
    assert_eq!(highlander(&["--health-tick", "soon"]).0, Some(2));
    assert!(highlander(&["--help"]).1.contains("end (default 30s)"));
}

#[test]
fn the_unit_has_descriptors_for_10000_connections_to_five_endpoints() {
    let limit = said_of(&read("dist/highlander.service"), "LimitNOFILE").parse::<usize>();
    // Each connection has one, and two for each endpoint; as many as 1000 are for other things.
    assert!(limit.is_ok_and(|limit| limit >= 10_000 * (1 + 2 * 5) + 1000));
}

#[test]
fn the_configuration_of_the_package_is_good() {
    let folder = scratch("service");
    let written = read("dist/highlander.yml");
    let unit = read("dist/highlander.service");
    let state = format!("/var/lib/{}", said_of(&unit, "StateDirectory"));
    assert!(written.contains(&format!("\nstate: {state}/promoted\n")));
    assert!(written.contains("\nadmin: 127.0.0.1:9092\n"));
    // What is only shown there must be right too.
    let shown: String = written
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest) if is_setting(rest) => line.replacen("# ", "", 1) + "\n",
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(
        shown.contains("\n    queue:\n") && shown.contains("\ncluster_bind: 10.0.0.1"),
        "{shown}"
    );
    fs::write(folder.join("password"), "geheim\n").expect("a new file");
    fs::write(folder.join("keys"), "A".repeat(43) + "=\n").expect("a new file");
    fs::write(folder.join("web.yml"), "basic_auth_users: {}\n").expect("a new file");
    for (name, text) in [("as-installed.yml", &written), ("all-shown.yml", &shown)] {
        let file = folder.join(name);
        // Here nothing is installed.
        fs::write(&file, text.replace(&state, &folder.to_string_lossy())).expect("a new file");
        let (code, said) = highlander(&["check", &file.to_string_lossy()]);
        assert_eq!(code, Some(0), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name} is warned of: {said}");
    }
}

/// A line of YAML, and not of prose: a key in small letters, then a colon.
fn is_setting(line: &str) -> bool {
    let key = line.trim_start().split(':').next().unwrap_or_default();
    let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    line.contains(':') && !key.is_empty() && is_key
}
