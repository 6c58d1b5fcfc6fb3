//! `highlander status` and `highlander ctl`: what the admin listener of a node shows and does, in a
//! terminal.

mod client;
mod table;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::base::limits::{LEAD_GIVEN_MAX, ORDER_PATIENCE};
use crate::cli::{Ctl, Door, Status};
use client::{Answer, Method};

/// How often it is asked whether something has come about.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// What is open for so long has not come about, or a series of the old source has not been spoken for.
const OPEN_MAX: Duration = Duration::from_secs(ORDER_PATIENCE.0 / 1000 + 30);
/// The same of a lead: for so long it is waited for its hand-over to be over, then for another to take it.
const GIVEN_MAX: Duration = Duration::from_millis(LEAD_GIVEN_MAX.0 * 2 + 1000);
/// What was asked for makes no sense.
const USAGE: u8 = 2;

/// Prints how a node stands. Fails if it is not ready.
pub fn status(options: &Status) -> ExitCode {
    let document = match look(&options.door()) {
        Ok(document) => document,
        Err(why) => return fail(&why),
    };
    print!("{}", table::of(&document));
    match document["ready"] {
        Value::Bool(true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Asks a node to do something, and waits until it is done.
pub fn ctl(options: &Ctl) -> ExitCode {
    if !["promote", "pin", "unpin", "drain", "handover", "reload"].contains(&options.act.as_str()) {
        let act = table::plain(&options.act);
        eprintln!("highlander: '{act}' is none of promote, pin, unpin, drain, handover and reload");
        return ExitCode::from(USAGE);
    }
    let door = options.door();
    let Answer { status, body } = match door.ask(Method::Post, &target(options)) {
        Ok(answer) => answer,
        Err(error) => return fail(&unreachable(&options.admin, &error)),
    };
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    match (status, said["message"].as_str(), said["error"].as_str()) {
        (200, Some(message), _) => {
            println!("{}", table::plain(message));
            ExitCode::SUCCESS
        }
        (202, Some(message), _) => {
            println!("{}", table::plain(message));
            if options.no_wait { ExitCode::SUCCESS } else { wait(options, &door) }
        }
        (_, _, Some(error)) => {
            error.lines().for_each(|line| _ = fail(&table::plain(line)));
            ExitCode::FAILURE
        }
        _ => fail(&format!("{} answers {status}: {}", options.admin, table::plain(body.trim()))),
    }
}

fn target(options: &Ctl) -> String {
    let mut target = format!("/-/{}", options.act);
    let parts =
        [("tenant", &options.tenant), ("group", &options.group), ("source", &options.source)];
    for (name, value) in parts {
        if let Some(value) = value {
            target.push(if target.contains('?') { '&' } else { '?' });
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            target += &format!("{name}={value}");
        }
    }
    target
}

/// Waits until nothing that was asked for is open any more, and says whether it has come about.
fn wait(options: &Ctl, door: &Door<'_>) -> ExitCode {
    let begun = Instant::now();
    loop {
        thread::sleep(ASK_EVERY);
        let document = match look(door) {
            Ok(document) => document,
            Err(why) => return fail(&why),
        };
        let groups: Vec<&Value> = groups(&document, options).collect();
        let waited = begun.elapsed();
        let open_max = if options.act == "handover" { GIVEN_MAX } else { OPEN_MAX };
        match groups.iter().map(|group| state(group, options)).max() {
            Some(State::Done) => {
                println!("done after {:.1} s", waited.as_secs_f64());
                return ExitCode::SUCCESS;
            }
            Some(State::GivenUp) => return fail("it was given up; the log of the node says more"),
            Some(State::Elsewhere) => return fail("another node leads now: ask that one"),
            None => return fail("the group is not known any more"),
            Some(State::Open) if waited > open_max => return fail("it is still open"),
            Some(State::Open) => {}
        }
    }
}

/// How far something has come, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Done,
    /// It is under way.
    Open,
    /// It did not come about.
    GivenUp,
    /// This node has no say in it any more.
    Elsewhere,
}

fn state(group: &Value, options: &Ctl) -> State {
    if options.act == "handover" {
        return match group["lead"].as_str() {
            Some("another") => State::Done,
            _ => State::Open,
        };
    }
    if group["lead"] != "us" {
        return State::Elsewhere;
    }
    let sits = group["promoted"].as_str() == options.source.as_deref();
    let is_pinned = group["pinned"] == true;
    let has_come = match options.act.as_str() {
        "promote" => sits,
        "pin" => is_pinned && (sits || options.source.is_none()),
        "unpin" => !is_pinned,
        _ => !sits && group["promoted"].is_string(),
    };
    match (group["wish"].is_null(), has_come, group["stage"] == "steady") {
        (true, true, true) => State::Done,
        (true, false, _) => State::GivenUp,
        (false, _, _) | (true, true, false) => State::Open,
    }
}

/// The groups that were meant.
fn groups<'d>(document: &'d Value, options: &Ctl) -> impl Iterator<Item = &'d Value> {
    let is_named = options.tenant.is_some() || options.group.is_some();
    let (tenant, group) = (options.tenant.clone(), options.group.clone());
    let all = document["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    // One that gives away what it sits in is in few of them.
    let drained = options.source.clone().filter(|_| options.act == "drain");
    all.iter().filter(move |it| {
        let is = |key: &str, wanted: &Option<String>| {
            it[key].as_str() == Some(wanted.as_deref().unwrap_or_default())
        };
        let sources = it["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has = |name: &String| sources.iter().any(|source| source["name"] == *name);
        (!is_named || (is("tenant", &tenant) && is("group", &group)))
            && drained.as_ref().is_none_or(has)
    })
}

/// The status of a node.
fn look(door: &Door<'_>) -> Result<Value, String> {
    let (admin, asked) = (door.admin, door.ask(Method::Get, "/status"));
    let answer = asked.map_err(|error| unreachable(admin, &error))?;
    let body = table::plain(answer.body.trim());
    match (answer.status, serde_json::from_str(&answer.body)) {
        (200, Ok(document)) => Ok(document),
        (status, _) => Err(format!("{admin} answers {status}: {body:.200}")),
    }
}

fn unreachable(admin: &str, error: &std::io::Error) -> String {
    format!("no answer from the admin listener at {admin}: {error}; the node needs --admin")
}

fn fail(why: &str) -> ExitCode {
    eprintln!("highlander: {why}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(act: &str, group: Option<&str>, source: &str) -> Ctl {
        Ctl {
            act: act.into(),
            group: group.map(str::to_owned),
            source: Some(source.into()),
            ..Ctl::default()
        }
    }

    #[test]
    fn names_are_written_as_a_query_has_them() {
        let target = target(&options("pin", Some("a&b"), "ü /7"));
        assert_eq!(target, "/-/pin?group=a%26b&source=%C3%BC%20%2F7");
    }

    #[test]
    fn what_was_asked_for_is_done_when_the_seat_says_so_and_this_node_has_a_say() {
        let group = |name: &str, promoted: &str, pinned: bool| {
            json!({ "tenant": "", "group": name, "promoted": promoted, "pinned": pinned, "wish": null,
                "lead": "us", "stage": "steady", "sources": [{ "name": "x" }, { "name": "y" }] })
        };
        let (a, b) = (group("a", "x", true), group("b", "y", false));
        let with = |key: &str, value: Value| {
            let mut group = a.clone();
            group[key] = value;
            group
        };
        let state =
            |act: &str, source: &str, group: &Value| state(group, &options(act, None, source));
        assert_eq!(state("promote", "x", &a), State::Done);
        assert_eq!(state("promote", "y", &a), State::GivenUp);
        assert_eq!(state("pin", "y", &b), State::GivenUp);
        assert_eq!(state("pin", "x", &a), State::Done);
        assert_eq!(state("unpin", "y", &b), State::Done);
        assert_eq!(state("drain", "y", &a), State::Done);
        assert_eq!(state("drain", "x", &a), State::GivenUp);
        assert_eq!(state("drain", "y", &with("promoted", Value::Null)), State::GivenUp);
        assert_eq!(state("promote", "x", &with("stage", "open".into())), State::Open);
        assert_eq!(state("promote", "y", &with("wish", json!({}))), State::Open);
        let elsewhere = with("lead", "another".into());
        assert_eq!(state("drain", "y", &elsewhere), State::Elsewhere);
        assert_eq!(state("handover", "", &elsewhere), State::Done);
        assert_eq!(state("handover", "", &with("lead", "nobody".into())), State::Open);
        let document = json!({ "groups": [a, b] });
        let named = |act, group, source| groups(&document, &options(act, group, source)).count();
        assert_eq!((named("pin", Some("a"), "x"), named("pin", None, "x")), (1, 2));
        assert_eq!((named("drain", None, "x"), named("drain", None, "z")), (2, 0));
    }
}
