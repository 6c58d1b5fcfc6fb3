//! A node that has something to show: several groups, hand-overs that are over, a standby that must wait.

use serde_json::{Value, json};

use crate::fake::{empty, group, handover, source};

/// What it shows.
pub fn document() -> Value {
    let mut document = empty();
    document["up"] = (3 * 86_400_000 + 4 * 3_600_000).into();
    document["groups"] = groups();
    document["handovers"] = handovers();
    document["endpoints"] = json!([
        { "name": "mimir", "addresses": ["10.20.4.11:8080", "10.20.4.12:8080"], "queue": null,
          "said": { "2xx": 8_123_456, "5xx": 12, "timeout": 1 } },
        { "name": "archive", "addresses": ["10.20.9.3:8428"],
          "queue": { "bytes": 48_300_000, "requests": 1_312 }, "said": { "2xx": 8_122_144 } },
    ]);
    document["hold"] = json!({ "bytes": 187_000_000, "limit": 536_870_912 });
    document["cluster"] =
        json!({ "settled": true, "others": ["10.20.0.2:6746", "10.20.0.3:6746"] });
    document["cores"] = json!([
        { "core": 0, "connections": 41, "beat_age": 12 },
        { "core": 1, "connections": 40, "beat_age": 7 },
    ]);
    document
}

fn groups() -> Value {
    let heavier = |name: &str| format!("{name} is heavier");
    let mut checkout = group(
        "shop",
        "checkout",
        "prom-fra-1",
        vec![
            source("prom-fra-1", 50, None, 420),
            source("prom-ams-1", 40, Some(&heavier("prom-fra-1")), 910),
            source("prom-dub-1", 30, Some(&heavier("prom-fra-1")), 8_400),
        ],
    );
    let mut gone = source("prom-fra-2", 50, Some("silent for too long"), 372_000);
    gone["connected"] = false.into();
    gone["in_flight"] = 0.into();
    let mut payments =
        group("shop", "payments", "prom-ams-2", vec![gone, source("prom-ams-2", 40, None, 210)]);
    payments["pinned"] = true.into();
    let mut edge = group(
        "",
        "edge",
        "vmagent-b",
        vec![
            source(
                "vmagent-a",
                20,
                Some("waits until vmagent-b has delivered what it began with"),
                640,
            ),
            source("vmagent-b", 10, None, 130),
        ],
    );
    edge["stage"] = "open".into();
    edge["wish"] = json!({ "source": "vmagent-a", "pin": false, "since": crate::stage::now_ms() - 3200,
        "waits_for": "vmagent-b to deliver its last 4 s" });
    checkout["low_mark"] = Value::Null;
    let batch = group(
        "research",
        "batch",
        "10.20.7.31",
        vec![
            source("10.20.7.31", 0, None, 2_300),
            source("10.20.7.32", 0, Some("equal weights do not take the seat"), 4_100),
        ],
    );
    json!([batch, checkout, edge, payments])
}

fn handovers() -> Value {
    let mut lossy = handover("edge", "vmagent-a", "vmagent-b", "silence", 61_000, 21_400);
    lossy["lost"] = 38.into();
    let mut all = json!([
        handover("checkout", "prom-ams-1", "prom-fra-1", "weight", 2_400, 0),
        handover("checkout", "prom-fra-1", "prom-ams-1", "silence", 3_100, 6_400),
        handover("payments", "prom-fra-2", "prom-ams-2", "silence", 372, 5_900),
        lossy,
        handover("batch", "10.20.7.32", "10.20.7.31", "return", 160_000, 11_700),
    ]);
    for place in [0, 1, 2] {
        all[place]["tenant"] = "shop".into();
    }
    all[4]["tenant"] = "research".into();
    let mut sorted = all.as_array().cloned().unwrap_or_default();
    sorted.sort_by_key(|it| -it["at"].as_i64().unwrap_or_default());
    sorted.into()
}
