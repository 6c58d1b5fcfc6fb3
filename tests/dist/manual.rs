//! The manual page names the flags and commands that the program has, and no others.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{highlander, read, root, said};

/// The long flags in a text.
fn flags(text: &str) -> BTreeSet<&str> {
    let is_apart = |sign: char| !sign.is_ascii_alphanumeric() && sign != '-';
    let words = text.split(is_apart).filter(|word| word.starts_with("--") && word.len() > 2);
    words.collect()
}

#[test]
fn the_manual_has_each_flag_and_command_that_help_names_and_no_other() {
    let (code, help) = highlander(&["--help"]);
    assert_eq!(code, Some(0), "{help}");
    let manual = read("dist/highlander.1").replace("\\-", "-");
    let plain = manual.replace("\\fB", "").replace("\\fR", "");
    let commands = help.split("Commands:").nth(1).expect("help names the commands");
    let commands = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let commands: Vec<_> = commands
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(commands.len() >= 2, "{commands:?}");
    let helps: Vec<String> = commands.iter().map(|it| highlander(&[it, "--help"]).1).collect();
    let mut known = flags(&help);
    known.extend(helps.iter().flat_map(|help| flags(help)));
    let explained = flags(&plain);
    assert!(known.len() > 40, "only {} flags were read", known.len());
    assert_eq!(known, explained);
    for command in commands {
        let is_explained = manual.contains(&format!(".TP\n.B {command}\n"))
            || manual.contains(&format!(".TP\n.BI {command} "));
        assert!(is_explained, "{command}");
    }
    for flag in known {
        assert!(manual.contains(&format!("\\fB{flag}\\fR")), "{flag} has no paragraph");
    }
}

#[test]
fn groff_has_nothing_against_the_manual() {
    let page = root().join("dist/highlander.1");
    let output = Command::new("groff").args(["-man", "-ww", "-z"]).arg(page).output();
    let output = output.expect("tests/run installs groff");
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}
