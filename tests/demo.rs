//! The demo, run as a user runs it. Its figures come from its endpoint; here they are only read.

use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_demo_shows_a_failover_without_a_sample_lost_or_doubled_in_under_half_a_minute() {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_highlander")).arg("demo").output();
    let output = output.expect("the binary was built");
    let told = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}{log}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    for line in
        ["(0 -> 50)", "lost source : '", "(0 -> 10)", "(10 -> 50)", "hand-over : ", "lost=0 "]
    {
        assert!(log.contains(line), "{line} in {log}");
    }
    let figure = |name: &str| -> u64 {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("samples {name} ")));
        let number = line.map(str::trim);
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {told}"))
    };
    assert_eq!(figure("overlapping"), 0);
    assert_eq!(figure("missing"), 0, "{told}");
    // 100 series, 25 s, from two sources one after the other.
    assert!((2400..2900).contains(&figure("stored")), "{told}");
}
