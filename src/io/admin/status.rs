//! What is seen, as JSON: all that a page, or a person with `jq`, needs to see why it does what it does.
//! Times are milliseconds, moments since 1970.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::base::time::Millis;
use crate::io::admin::sight::{Sight, beat_age, name, text};
use crate::io::admin::why::why_not;
use crate::logic::view::{Grip, Lead, Stage, View};
use crate::shared::history::Record;
use crate::shared::labels::Code;
use crate::shared::presence::Source;
use crate::shared::state::{Order, Seat};

/// The whole document.
pub fn document(sight: &Sight) -> String {
    let all = sight.seats.all();
    let mut seats: Vec<&Arc<Seat>> = all.values().collect();
    seats.sort_by(|a, b| a.group.cmp(&b.group));
    let groups: Vec<Value> = seats.into_iter().map(|seat| group(sight, seat)).collect();
    let cores = sight.cores.iter().map(|core| {
        json!({
            "core": core.index,
            // Relaxed: a lone number.
            "connections": core.load.connections.load(Ordering::Relaxed),
            "beat_age": beat_age(core, sight.clock.now()).0,
        })
    });
    let cluster = sight.nodes.as_ref().map(|nodes| {
        let others: Vec<String> = nodes.others().iter().map(ToString::to_string).collect();
        json!({ "settled": nodes.is_settled(), "others": others })
    });
    let last = sight.reloads.last();
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": sight.clock.unix_now().0,
        "up": sight.clock.now().0,
        "ready": sight.obstacles().is_empty(),
        "wrong": sight.faults(),
        "groups": groups,
        "handovers": sight.history.all().iter().rev().map(handover).collect::<Vec<_>>(),
        "endpoints": endpoints(sight),
        "hold": { "bytes": sight.memory.taken(), "limit": sight.memory.budget() },
        "cluster": cluster,
        "config": { "taken_at": last.taken_at.0, "faults": last.faults },
        "cores": cores.collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn group(sight: &Sight, seat: &Seat) -> Value {
    let view = **seat.view();
    let (lead, relayed_to) = match view.lead {
        Lead::Us => ("us", None),
        Lead::Relay(to) => ("another", Some(to.to_string())),
        Lead::Mirror => ("another", None),
        Lead::Orphan | Lead::Nobody => ("nobody", None),
    };
    let stage = match view.stage {
        Stage::Steady => "steady",
        Stage::Suspect { .. } => "suspect",
        Stage::Closed(_) => "closed",
        Stage::Open(_) => "open",
    };
    let promoted = view.promoted.and_then(|promoted| seat.name(promoted.source));
    let now = sight.clock.now();
    let order = seat.order();
    let wanted = order.as_ref().map(|order| order.wish.source);
    let sources = seat.sources();
    let mut known: Vec<&Arc<Source>> = sources.all.iter().collect();
    known.sort_by(|a, b| a.name.cmp(&b.name));
    let sources = known.into_iter().map(|it| source(it, &view, wanted == Some(it.id), now));
    json!({
        "tenant": text(&seat.group.tenant),
        "group": text(&seat.group.group),
        "lead": lead,
        "relayed_to": relayed_to,
        "epoch": view.epoch.0,
        "stage": stage,
        "promoted": promoted.map(|promoted| name(&promoted)),
        "pinned": view.grip == Grip::Pinned,
        "wish": order.map(|order| wish(seat, &order)),
        "low_mark": seat.marks.low().map(|low| low.0),
        "sources": sources.collect::<Vec<_>>(),
    })
}

fn wish(seat: &Seat, order: &Order) -> Value {
    json!({
        "source": seat.name(order.wish.source).map(|source| name(&source)),
        "pin": order.wish.grip == Grip::Pinned,
        "since": order.since.0,
    })
}

fn source(source: &Source, view: &View, is_wanted: bool, now: Millis) -> Value {
    let (presence, heard) = (source.presence(), source.heard());
    let was_heard = presence.last_heard != Millis(0);
    json!({
        "name": name(&source.name),
        "weight": heard.weight.0,
        "address": heard.address.to_string(),
        "promoted": view.promoted.is_some_and(|promoted| promoted.source == source.id),
        "connected": presence.connected,
        "in_flight": presence.in_flight,
        "refused": presence.refused,
        "silence": was_heard.then(|| presence.silence(now).0),
        "lost_after": source.lost_after().map(|after| after.0),
        "patience_elsewhere": source.patience().0,
        "requests": source.requests(),
        "why_not": why_not(source, view, is_wanted, now),
        "newest": source.newest().map(|newest| newest.0),
    })
}

fn handover(record: &Record) -> Value {
    let cost = record.cost;
    json!({
        "tenant": text(&record.group.tenant),
        "group": text(&record.group.group),
        "from": record.from,
        "to": record.to,
        "reason": record.cause.to_string(),
        "at": record.at.0,
        "bridged": cost.bridged.0,
        "bodies": cost.bodies,
        "replayed": cost.replayed,
        "skipped": cost.skipped,
        "lost": cost.lost,
        "unreadable": cost.unreadable,
        "duration": cost.duration.0,
        "peak_bytes": cost.peak_bytes,
    })
}

fn endpoints(sight: &Sight) -> Vec<Value> {
    let shown = sight.shown.load();
    let of = |name: &str| shown.queues.iter().find(|it| it.endpoint == *name);
    let each = shown.endpoints.iter().map(|endpoint| {
        let (place, queue) = (endpoint.id.0, of(&endpoint.name));
        let known = endpoint.addresses.now();
        let said = |code: &Code| {
            let count: u64 = sight.threads().map(|counters| counters.said(place, *code)).sum();
            (count > 0).then(|| (code.name().to_owned(), Value::from(count)))
        };
        json!({
            "name": endpoint.name,
            "addresses": known.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "queue": queue.map(|it| {
                let depth = it.queue.depth();
                json!({ "bytes": depth.bytes(), "requests": depth.records() })
            }),
            "removed": queue.is_some_and(|it| it.is_leaving),
            "said": Code::ALL.iter().filter_map(said).collect::<serde_json::Map<_, _>>(),
        })
    });
    each.collect()
}
