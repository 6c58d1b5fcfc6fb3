//! The status of a node as text, for a terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::base::time::Millis;

/// So many of the last hand-overs are shown.
const HANDOVERS_SHOWN: usize = 10;

/// The whole status.
pub fn of(document: &Value) -> String {
    let mut out = String::new();
    let up = seconds(&document["up"]);
    let _ = writeln!(out, "highlander {}, up for {up}", text(&document["version"]));
    match list(&document["wrong"]) {
        [] => out.push_str("all is well\n"),
        wrong => wrong.iter().for_each(|it| _ = writeln!(out, "wrong: {}", text(it))),
    }
    list(&document["groups"]).iter().for_each(|it| group(it, &document["now"], &mut out));
    endpoints(list(&document["endpoints"]), &mut out);
    handovers(list(&document["handovers"]), &document["now"], &mut out);
    if let Value::Object(cluster) = &document["cluster"] {
        let others: Vec<String> = list(&cluster["others"]).iter().map(text).collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        let _ = writeln!(out, "\nother nodes: {others}");
    }
    let hold = &document["hold"];
    let _ = writeln!(out, "\nheld: {} of {}", bytes(&hold["bytes"]), bytes(&hold["limit"]));
    out
}

fn group(group: &Value, now: &Value, out: &mut String) {
    let lead = match (text(&group["lead"]).as_str(), &group["relayed_to"]) {
        ("us", _) => "led here".to_owned(),
        ("another", Value::String(to)) => format!("led by the node at {}", plain(to)),
        ("another", _) => "led by another node".to_owned(),
        _ => "led by nobody".to_owned(),
    };
    let _ = write!(out, "\n{}: {lead}, {}", called(group), text(&group["stage"]));
    if group["pinned"] == true {
        out.push_str(", pinned");
    }
    if let Value::Object(wish) = &group["wish"] {
        let what = if wish["pin"] == true { "promoted and pinned" } else { "promoted" };
        let _ = write!(out, ", '{}' is to be {what}", text(&wish["source"]));
    }
    out.push('\n');
    let rows = list(&group["sources"]).iter().map(|source| {
        let is_promoted = source["promoted"] == true;
        let why = match is_promoted {
            true => "promoted".to_owned(),
            false => text(&source["why_not"]),
        };
        [
            if is_promoted { "*" } else { "" }.to_owned(),
            text(&source["name"]),
            text(&source["weight"]),
            text(&source["address"]),
            seconds(&source["silence"]),
            since(now, &source["newest"]),
            why,
        ]
    });
    let head = ["", "source", "weight", "address", "silent", "behind", ""];
    table(head, rows, out);
}

fn endpoints(endpoints: &[Value], out: &mut String) {
    out.push_str("\nendpoints\n");
    let rows = endpoints.iter().map(|endpoint| {
        let addresses: Vec<String> = list(&endpoint["addresses"]).iter().map(text).collect();
        let queue = match &endpoint["queue"] {
            Value::Null => "direct".to_owned(),
            queue => format!("{} requests, {}", text(&queue["requests"]), bytes(&queue["bytes"])),
        };
        let queue = if endpoint["removed"] == true { queue + ", removed" } else { queue };
        let said = endpoint["said"].as_object().into_iter().flatten();
        let said: Vec<String> = said.map(|(code, count)| format!("{count} x {code}")).collect();
        [text(&endpoint["name"]), addresses.join(", "), queue, said.join(", ")]
    });
    table(["name", "addresses", "queue", "said"], rows, out);
}

fn handovers(handovers: &[Value], now: &Value, out: &mut String) {
    if handovers.is_empty() {
        return;
    }
    out.push_str("\nlast hand-overs\n");
    let rows = handovers.iter().take(HANDOVERS_SHOWN).map(|it| {
        [
            format!("{} ago", since(now, &it["at"])),
            called(it),
            format!("{} -> {}", text(&it["from"]), text(&it["to"])),
            text(&it["reason"]),
            seconds(&it["bridged"]),
            text(&it["replayed"]),
            text(&it["skipped"]),
            text(&it["lost"]),
        ]
    });
    let head = ["when", "group", "from -> to", "reason", "bridged", "replayed", "skipped", "lost"];
    table(head, rows, out);
}

fn called(of: &Value) -> String {
    match (text(&of["tenant"]).as_str(), text(&of["group"]).as_str()) {
        ("", "") => "group without a name".to_owned(),
        ("", group) => format!("group '{group}'"),
        (tenant, group) => format!("group '{group}' of tenant '{tenant}'"),
    }
}

/// Columns as wide as what stands in them.
fn table<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    out: &mut String,
) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, " {cell:<width$} ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A terminal would do what a name says.
pub fn plain(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { '\u{fffd}' } else { sign }).collect()
}

/// Milliseconds, in tenths of a second or more.
fn seconds(value: &Value) -> String {
    let Some(ms) = value.as_u64() else { return "-".to_owned() };
    match ms {
        0..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => Millis(ms / 1000 * 1000).to_string(),
    }
}

fn since(now: &Value, at: &Value) -> String {
    match (now.as_i64(), at.as_i64()) {
        (Some(now), Some(at)) => seconds(&Value::from(now.saturating_sub(at).max(0))),
        _ => "-".to_owned(),
    }
}

fn bytes(value: &Value) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    value.as_f64().map_or_else(String::new, |bytes| format!("{:.1} MiB", bytes / MIB))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_told_in_columns_and_nothing_in_it_moves_the_terminal() {
        let document = json!({
            "version": "1", "now": 100_000, "up": 3_600_000, "ready": true, "wrong": [],
            "groups": [{
                "tenant": "", "group": "g", "lead": "us", "stage": "steady", "pinned": true,
                "wish": { "source": "b", "pin": true, "since": 1 },
                "sources": [
                    { "name": "a\u{1b}[2J", "weight": 50, "address": "10.0.0.1:9", "promoted": true,
                      "silence": 440, "newest": 99_000, "why_not": null },
                    { "name": "b", "weight": 5, "address": "10.0.0.2:9", "promoted": false,
                      "silence": 61_000, "newest": null, "why_not": "its weight is smaller" },
                ],
            }],
            "endpoints": [{ "name": "e", "addresses": ["10.0.0.3:1"], "queue": null,
                "said": { "2xx": 7, "5xx": 1 } }],
            "handovers": [{ "tenant": "t", "group": "g", "from": "b", "to": "a", "reason": "weight",
                "at": 40_000, "bridged": 0, "replayed": 3, "skipped": 4, "lost": 0 }],
            "hold": { "bytes": 1_048_576, "limit": 536_870_912 },
            "cluster": { "settled": true, "others": [] },
        });
        let expected = "\
highlander 1, up for 1h0m0s
all is well

group 'g': led here, steady, pinned, 'b' is to be promoted and pinned
     source  weight  address     silent  behind
  *  a\u{fffd}[2J   50      10.0.0.1:9  0.4s    1.0s    promoted
     b       5       10.0.0.2:9  1m1s    -       its weight is smaller

endpoints
  name  addresses   queue   said
  e     10.0.0.3:1  direct  7 x 2xx, 1 x 5xx

last hand-overs
  when      group                    from -> to  reason  bridged  replayed  skipped  lost
  1m0s ago  group 'g' of tenant 't'  b -> a      weight  0.0s     3         4        0

other nodes: none

held: 1.0 MiB of 512.0 MiB
";
        assert_eq!(of(&document), expected);
    }
}
