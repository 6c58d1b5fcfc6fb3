//! The dashboard: Grafana can read it, and Prometheus what it asks for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::{metrics, promtool, read, scratch, shown, words};

const ROWS: &[&str] = &[
    "In and out",
    "Who is promoted",
    "Hand-overs and their cost",
    "Endpoints and queues",
    "Memory for hand-overs",
    "Cluster",
    "Process",
];

fn dashboard() -> Value {
    serde_json::from_str(&read("dist/grafana.json")).expect("it is JSON")
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// All that it asks a Prometheus, with Grafana's variables filled in.
fn asked(dashboard: &Value) -> Vec<String> {
    let panels = list(dashboard, "panels").iter().flat_map(|panel| list(panel, "targets"));
    let notes = list(&dashboard["annotations"], "list");
    let exprs = panels.chain(notes).map(|target| text(target, "expr"));
    exprs.map(|expr| expr.replace("$__rate_interval", "5m").replace("$instance", ".*")).collect()
}

#[test]
fn each_row_has_panels_and_each_panel_a_place_and_a_question() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
    let variables: Vec<_> =
        list(&dashboard["templating"], "list").iter().map(|it| text(it, "name")).collect();
    assert_eq!(variables, ["datasource", "instance"]);
    let panels = list(&dashboard, "panels");
    let is_row = |panel: &&Value| text(panel, "type") == "row";
    let rows: Vec<_> = panels.iter().filter(is_row).map(|row| text(row, "title")).collect();
    assert_eq!(rows, ROWS);
    assert!(panels.last().is_some_and(|panel| !is_row(&panel)));
    assert!(panels.windows(2).all(|two| !two.iter().all(|panel| is_row(&panel))), "an empty row");

    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is another's");
        let [x, y, w, h] = ["x", "y", "w", "h"]
            .map(|key| panel["gridPos"][key].as_u64().expect("each panel has a place"));
        assert!(x + w <= 24, "{title} is out of the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies over another panel");
        }
        if !is_row(&panel) {
            assert!(!list(panel, "targets").is_empty(), "{title} asks nothing");
            for target in list(panel, "targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
                assert!(text(target, "expr").contains("$instance"), "{title} is of all instances");
            }
        }
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are_and_prometheus_understands_it() {
    let (asked, shown) = (asked(&dashboard()), shown());
    let all = asked.join("\n");
    let own = metrics(&all);
    assert!(own.len() > 40, "only {} metrics are looked at", own.len());
    for (of, begin) in [(own, "highlander_"), (words(&all, "process_"), "process_")] {
        let unknown: Vec<_> = of.difference(&words(&shown, begin)).copied().collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    let rule = |(number, expr)| json!({"record": format!("panel:{number}"), "expr": expr});
    let rules: Vec<Value> = asked.iter().enumerate().map(rule).collect();
    let file = scratch("dashboard").join("rules.yml");
    // JSON is YAML too.
    let text = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(&file, text).expect("a new file");
    promtool(&["check", "rules", &file.to_string_lossy()]);
}
