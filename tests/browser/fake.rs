//! An admin listener that shows the page over a document that a test has made up, and remembers what it
//! was asked to do.

use std::sync::{Arc, Mutex};

use highlander::io::admin::status_page;
use highlander::wire::http::head::Persistence;
use highlander::wire::http::page::{Page, Status};
use serde_json::{Value, json};

use crate::stage::now_ms;
use crate::support::{Endpoint, Got};

/// It runs until the test ends.
pub struct Fake {
    listener: Endpoint,
    document: Arc<Mutex<Value>>,
}

impl Fake {
    /// Starts it.
    pub fn start(document: Value) -> Fake {
        let document = Arc::new(Mutex::new(document));
        let shown = document.clone();
        let listener = Endpoint::start(move |got| {
            let page = answer(got, &shown.lock().expect("no test panics in here"));
            [page.head(Persistence::KeepAlive), page.body].concat()
        });
        Fake { listener, document }
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.listener.address)
    }

    /// Changes what it shows.
    pub fn show(&self, document: Value) {
        *self.document.lock().expect("no test panics in here") = document;
    }

    /// How often it was asked for its document.
    pub fn looks(&self) -> usize {
        self.listener.got().iter().filter(|got| got.head.starts_with("GET /status ")).count()
    }

    /// The heads of the requests that would change something.
    pub fn wishes(&self) -> Vec<String> {
        let got = self.listener.got().into_iter().map(|got| got.head);
        got.filter(|head| !head.starts_with("GET ")).collect()
    }
}

fn answer(got: &Got, document: &Value) -> Page {
    let target = got.head.split(' ').nth(1).unwrap_or_default();
    let json = |body: &Value| Page::good("application/json", body.to_string());
    match target.split('?').next().unwrap_or_default() {
        "/" => status_page::page(),
        "/status" => json(document),
        "/-/promote" => json(&json!({ "message": "<b>it</b> has the seat" })),
        _ => Page {
            status: Status::NotFound,
            ..json(&json!({ "error": "there is no such source" }))
        },
    }
}

/// A document in which all is well and nothing is known.
pub fn empty() -> Value {
    json!({
        "version": "0.1.0", "now": now_ms(), "up": 1000, "ready": true, "wrong": [], "groups": [],
        "handovers": [], "endpoints": [], "hold": { "bytes": 0, "limit": 1 }, "cluster": null, "cores": [],
    })
}

/// A group that is well, led here.
pub fn group(tenant: &str, name: &str, promoted: &str, sources: Vec<Value>) -> Value {
    json!({
        "tenant": tenant, "group": name, "lead": "us", "relayed_to": null, "epoch": 3, "stage": "steady",
        "promoted": promoted, "low_mark": now_ms(), "sources": sources, "pinned": false, "wish": null,
    })
}

/// A source that was heard lately; `why_not` says why it is not promoted, if it is not.
pub fn source(name: &str, weight: u64, why_not: Option<&str>, silence: u64) -> Value {
    let address = format!("10.20.{weight}.7:{}", 40_000 + 37 * silence % 9000);
    json!({
        "name": name, "weight": weight, "address": address, "promoted": why_not.is_none(),
        "connected": true, "in_flight": 1, "refused": false, "silence": silence,
        "lost_after": 10_000, "patience_elsewhere": 10_000, "requests": now_ms() / 50, "newest": now_ms() - silence as i64, "why_not": why_not,
    })
}

/// A hand-over so many seconds ago.
pub fn handover(group: &str, from: &str, to: &str, reason: &str, ago: i64, bridged: u64) -> Value {
    json!({
        "tenant": "", "group": group, "from": from, "to": to, "reason": reason, "at": now_ms() - ago * 1000,
        "bridged": bridged, "bodies": 6, "replayed": bridged / 2, "skipped": bridged / 3, "lost": 0,
        "unreadable": 0, "duration": 90 + bridged / 20, "peak_bytes": 1_000_000,
    })
}

/// So many groups of four sources, seen for the `turn`th time: the figures of all of them differ each time.
pub fn many(groups: usize, turn: u64) -> Value {
    let of = |number: usize| {
        let sources = (0..4).map(|at| {
            let why_not = (at > 0).then_some("the promoted one is heavier");
            let silence = 100 * (turn * 7 + number as u64 + at) % 4000;
            source(&format!("prometheus-{at}"), 50 - at, why_not, silence)
        });
        group("acme", &format!("group-{number:03}"), "prometheus-0", sources.collect())
    };
    let mut document = empty();
    document["groups"] = (0..groups).map(of).collect();
    document["up"] = (turn * 1000).into();
    document
}
