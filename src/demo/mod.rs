//! `highlander demo`: the failover, shown with nothing else installed.
//!
//! Three built-in senders push through the real proxy, in this process, to a built-in endpoint. The
//! promoted one is killed and brought back. What the table says is counted at the endpoint.

mod account;
mod clock;
mod endpoint;
mod message;
mod push;
mod sender;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use account::{Account, Period};
use clock::Clock;
use endpoint::Endpoint;
use push::Profile;
use sender::{Plan, Sender, Tally};

use crate::cli::Cli;
use crate::config::Config;
use crate::server;

/// The senders. The heaviest scrapes first in each second, so that it is the first one heard.
const PROFILES: [Profile; 3] = [
    Profile { name: "prometheus-a", number: 1, weight: 50, phase_ms: 0 },
    Profile { name: "prometheus-b", number: 2, weight: 10, phase_ms: 400 },
    Profile { name: "prometheus-c", number: 3, weight: 0, phase_ms: 700 },
];

const SERIES: usize = 100;
const INTERVAL_MS: i64 = 1000;

// The script, counted from its start. Each turn lies between two scrapes, and the lead sets the
// scrapes apart from the ticks of the proxy, so that the figures hardly differ between runs. From
// the kill to the return there is time for the expiry and to see the successor at work; after the return,
// for the end of the first hand-over, and for the successor to deliver up to where the returned one
// began.
const LEAD_MS: i64 = 300;
const KILL_MS: i64 = 3_200;
const RETURN_MS: i64 = 9_200;
const END_MS: i64 = 25_200;

/// How long the last answers may take.
const FINISH_MS: i64 = 2_000;

const _: () = assert!(RETURN_MS - KILL_MS >= 3_000 + 3 * INTERVAL_MS, "expiry, tick, some scrapes");
const _: () = assert!(LEAD_MS + END_MS + FINISH_MS + 2_000 < 30_000, "with the shutdown");

/// Shorter than the default of 5 s, so that all of it fits into half a minute.
const EXPIRY: &str = "3s";

/// Plays the failover and prints the table. Succeeds only when something was stored, nothing of it is
/// missing and nothing overlaps.
pub fn run() -> ExitCode {
    match play() {
        Ok(account) if is_good(&account) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("highlander demo: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn is_good(account: &Account) -> bool {
    account.stored_total() > 0 && account.missing == 0 && account.overlapping == 0
}

fn play() -> Result<Account, String> {
    let clock = Clock::start();
    let endpoint = Endpoint::start(clock).map_err(|error| format!("no endpoint: {error}"))?;
    let config = Config::from_cli(&flags(endpoint.address())).map_err(|all| all.join("; "))?;
    let running = server::start(config).map_err(|error| error.to_string())?;
    let proxy = *running.addresses().first().ok_or("the proxy listens nowhere")?;

    let start_ms = clock.now_ms() + LEAD_MS;
    let plan = Plan { proxy, clock, start_ms, interval_ms: INTERVAL_MS, series: SERIES };
    let tallies = perform(&plan);
    running.stop();
    let stored = endpoint.stop();

    let end_ms = start_ms + END_MS;
    let period = Period { start_ms, end_ms, interval_ms: INTERVAL_MS };
    let account = Account::of(&stored, SERIES, &period);
    print(&table(&tallies, &account));
    Ok(account)
}

/// The proxy's command line: on free ports, and done with the last requests soon enough.
fn flags(endpoint: SocketAddr) -> Cli {
    Cli {
        listen: vec!["127.0.0.1:0".to_owned()],
        remote: Some(format!("http://{endpoint}")),
        cores: Some("1".to_owned()),
        instance_id: Some("demo".to_owned()),
        health_expiry: Some(EXPIRY.to_owned()),
        shutdown_timeout: Some("2s".to_owned()),
        ..Cli::default()
    }
}

/// Runs the senders through the script; gives what each of them has done.
fn perform(plan: &Plan) -> [Tally; 3] {
    let at = |after_ms| plan.clock.sleep_until(plan.start_ms + after_ms);
    for Profile { name, weight, .. } in PROFILES {
        announce(&format!("demo: start '{name}', weight {weight}, {SERIES} series each second"));
    }
    let [a, b, c] = PROFILES.map(|profile| Sender::start(profile, *plan));
    let [first, ..] = PROFILES;

    at(KILL_MS);
    announce(&format!("demo: kill '{}'", first.name));
    let before = a.kill();
    at(RETURN_MS);
    announce(&format!("demo: bring '{}' back", first.name));
    let a = Sender::start(first, *plan);
    at(END_MS);
    announce("demo: stop");
    let deadline_ms = plan.start_ms + END_MS + FINISH_MS;
    let [a, b, c] = [a, b, c].map(|sender| sender.finish(deadline_ms));
    [before.plus(a), b, c]
}

/// Prints a line of the demo's own as the proxy writes its log.
fn announce(action: &str) {
    print(&format!("{} {action}\n", chrono::Local::now().format("%Y/%m/%d %H:%M:%S")));
}

fn print(text: &str) {
    // Where stdout is gone there is nobody left to tell; the exit code still says it.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn table(tallies: &[Tally; 3], account: &Account) -> String {
    let mut text = format!(
        "\n{:<14}{:>8}{:>14}{:>14}{:>9}{:>9}{:>9}\n",
        "sender", "weight", "samples sent", "acknowledged", "failed", "retries", "stored"
    );
    // Writing to a String cannot fail.
    for (Profile { name, number, weight, .. }, tally) in PROFILES.iter().zip(tallies) {
        let Tally { sent, acknowledged, failed, retries } = tally;
        let stored = account.stored.get(number).copied().unwrap_or(0);
        let _ = writeln!(
            text,
            "{name:<14}{weight:>8}{sent:>14}{acknowledged:>14}{failed:>9}{retries:>9}{stored:>9}"
        );
    }
    let seconds = account.silence_ms as f64 / 1000.0;
    let _ = write!(
        text,
        "\ncounted at the endpoint, {SERIES} series, one sample a second of each expected\n\
        {:<24}{:>8}\n{:<24}{:>8}\n{:<24}{:>8}\n{:<24}{seconds:>8.1} s\n",
        "samples stored",
        account.stored_total(),
        "samples missing",
        account.missing,
        "samples overlapping",
        account.overlapping,
        "seat empty for",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_given_flags_it_accepts() {
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 9090));
        assert_eq!(Config::from_cli(&flags(endpoint)).err(), None);
    }

    #[test]
    fn nobody_scrapes_close_to_a_turn_of_the_script() {
        for moment_ms in [KILL_MS, RETURN_MS, END_MS] {
            let since_ms = |it: &Profile| (moment_ms - it.phase_ms).rem_euclid(INTERVAL_MS);
            assert!(PROFILES.iter().all(|it| (100..=900).contains(&since_ms(it))), "{moment_ms}");
        }
    }

    #[test]
    fn the_table_says_who_sent_what_and_what_came_of_it() {
        let tally = Tally { sent: 1500, acknowledged: 1400, failed: 0, retries: 2 };
        let stored = [(1, 1400), (2, 600)].into();
        let account = Account { stored, missing: 400, overlapping: 7, silence_ms: 5432 };
        let text = table(&[tally, tally, Tally::default()], &account);
        for line in [
            "prometheus-a        50          1500          1400        0        2     1400",
            "prometheus-c         0             0             0        0        0        0",
            "samples stored              2000",
            "samples missing              400",
            "samples overlapping            7",
            "seat empty for               5.4 s",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn one_sample_that_is_missing_or_overlaps_fails_it() {
        let stored = || [(1, 1400)].into();
        let account = |missing, overlapping| Account {
            stored: stored(),
            missing,
            overlapping,
            silence_ms: 0,
        };
        assert!(is_good(&account(0, 0)));
        assert!(!is_good(&account(1, 0)) && !is_good(&account(0, 1)));
        assert!(!is_good(&Account { stored: Default::default(), ..account(0, 0) }));
    }
}
