//! What is seen, as metrics. Their labels are bounded as groups, sources, cores and endpoints are; none
//! is a series or a client's port.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::time::Millis;
use crate::io::admin::sight::{Seen, Sight, beat_age, name, text};
use crate::io::process;
use crate::logic::source::SourceName;
use crate::logic::view::{Cause, Lead};
use crate::shared::histogram::{BOUNDS, Histogram, Spans};
use crate::shared::labels::{Code, Course};
use crate::shared::marks::{Extent, Kind as Kept};
use crate::shared::metrics::Counter;
use crate::shared::state::Seat;
use crate::wire::exposition::{Exposition, Family, Kind};

/// The whole text.
pub fn exposition(sight: &Sight) -> String {
    let mut out = Exposition::default();
    let version = [("version", env!("CARGO_PKG_VERSION").into())];
    let help = "Which program this is; always 1.";
    out.family("highlander_build_info", Kind::Gauge, help).sample(&version, 1.0);
    for counter in Counter::ALL {
        let value = counter.in_its_unit(sight.count(*counter));
        out.single(counter.name(), Kind::Counter, counter.help(), value);
    }
    promotions(sight, &mut out);
    requests(sight, &mut out);
    endpoints(sight, &mut out);
    cores(sight, &mut out);
    let help = "Log lines that found no room.";
    let dropped = sight.log.dropped() as f64;
    out.single("highlander_log_lines_dropped_total", Kind::Counter, help, dropped);
    let (help, taken) = ("Bytes kept for hand-overs.", sight.memory.taken() as f64);
    out.single("highlander_hold_bytes", Kind::Gauge, help, taken);
    let (help, limit) = ("The most that may be kept, --hold-memory.", sight.memory.budget() as f64);
    out.single("highlander_hold_limit_bytes", Kind::Gauge, help, limit);
    groups(sight, &mut out);
    queues(sight, &mut out);
    if let Some(nodes) = &sight.nodes {
        let help = "Whether this node knows how the groups stand.";
        let settled = f64::from(u8::from(nodes.is_settled()));
        out.single("highlander_cluster_settled", Kind::Gauge, help, settled);
        let (help, members) = ("Nodes of the cluster, this one too.", nodes.others().len() + 1);
        out.single("highlander_cluster_members", Kind::Gauge, help, members as f64);
        let help = "Groups that this node leads by a lease which it has now.";
        let (now, seats) = (sight.clock.now(), sight.seats.all());
        let leases = seats.values().filter(|seat| seat.lease_ends().is_some_and(|end| now < end));
        out.single("highlander_cluster_leases", Kind::Gauge, help, leases.count() as f64);
    }
    reloads(sight, &mut out);
    process(sight, &mut out);
    out.into_text()
}

fn seconds(span: Millis) -> f64 {
    span.0 as f64 / 1000.0
}

fn promotions(sight: &Sight, out: &mut Exposition) {
    let mut family =
        out.family("highlander_promotions_total", Kind::Counter, "Changes of a seat, by why.");
    // When this node takes the lead the source stays: that is a change of the lead.
    for cause in Cause::ALL.iter().filter(|cause| **cause != Cause::Lead) {
        family.sample(&[("reason", cause.name().into())], sight.promotions(*cause) as f64);
    }
}

fn requests(sight: &Sight, out: &mut Exposition) {
    let help =
        "From the whole head of a request to the last byte of its answer, by what became of it.";
    let mut family = out.family("highlander_request_duration_seconds", Kind::Histogram, help);
    for course in Course::ALL {
        let all = sight.threads().map(|counters| counters.requests(*course));
        histogram(&mut family, ("outcome", course.name()), all);
    }
}

fn endpoints(sight: &Sight, out: &mut Exposition) {
    let help = "From the begin of a request to the head of the endpoint's answer, if one came.";
    let mut family = out.family("highlander_endpoint_duration_seconds", Kind::Histogram, help);
    let shown = sight.shown.load();
    for endpoint in &shown.endpoints {
        let all = sight.threads().filter_map(|counters| counters.endpoint(endpoint.id.0));
        histogram(&mut family, ("endpoint", &endpoint.name), all);
    }
    let help = "Requests to an endpoint by what it said: its status, or the class of it, or why it said nothing.";
    let mut family = out.family("highlander_endpoint_requests_total", Kind::Counter, help);
    for endpoint in &shown.endpoints {
        for code in Code::ALL {
            let count: u64 =
                sight.threads().map(|counters| counters.said(endpoint.id.0, *code)).sum();
            let labels =
                [("endpoint", text(endpoint.name.as_bytes())), ("code", code.name().into())];
            family.sample(&labels, count as f64);
        }
    }
}

fn histogram<'h>(
    family: &mut Family<'_>,
    label: (&str, &str),
    all: impl Iterator<Item = &'h Histogram>,
) {
    let mut spans = Spans::default();
    all.for_each(|histogram| histogram.add_to(&mut spans));
    family.histogram(label, &BOUNDS, &spans.buckets, spans.nanos.0 as f64 / 1e9);
}

fn cores(sight: &Sight, out: &mut Exposition) {
    let core = |index: usize| [("core", Cow::from(index.to_string()))];
    let mut family =
        out.family("highlander_core_connections", Kind::Gauge, "Connections that a core has.");
    for handle in &sight.cores {
        // Relaxed: a lone number.
        let connections = handle.load.connections.load(Ordering::Relaxed);
        family.sample(&core(handle.index), connections as f64);
    }
    let help = "How long ago a core last showed that it lives.";
    let mut family = out.family("highlander_core_beat_age_seconds", Kind::Gauge, help);
    for handle in &sight.cores {
        family.sample(&core(handle.index), seconds(beat_age(handle, sight.clock.now())));
    }
}

fn groups(sight: &Sight, out: &mut Exposition) {
    let all = sight.seats.all();
    let mut seats: Vec<&Arc<Seat>> = all.values().collect();
    seats.sort_by(|a, b| a.group.cmp(&b.group));
    let mut each = |name, help, value: &dyn Fn(&Seat) -> Option<f64>| {
        let mut family = out.family(name, Kind::Gauge, help);
        for seat in &seats {
            if let Some(value) = value(seat) {
                family.sample(&of_group(seat), value);
            }
        }
    };
    let of = |is: bool| Some(f64::from(u8::from(is)));
    each("highlander_leader", "Whether this node leads the group.", &|seat| {
        of(seat.view().lead == Lead::Us)
    });
    each("highlander_epoch", "Counts the changes of the group's view.", &|seat| {
        Some(seat.view().epoch.0 as f64)
    });
    let help = "Whether a hand-over of the group is under way.";
    each("highlander_handover_open", help, &|seat| of(seat.view().turn().is_some()));
    let help = "Up to when everything of the group has been delivered, in seconds since 1970.";
    each("highlander_low_mark_timestamp_seconds", help, &|seat| {
        seat.marks.low().map(|low| low.0 as f64 / 1000.0)
    });
    let now = sight.clock.nanos();
    let age = |extent: Extent| extent.since.map_or(0.0, |since| now.since(since).0 as f64 / 1e9);
    let help = "What is held of standbys takes so many bytes, as of the last beat.";
    each("highlander_group_held_bytes", help, &|seat| {
        Some(seat.marks.kept(Kept::Held).bytes as f64)
    });
    let help = "How old the oldest of it is.";
    each("highlander_group_held_age_seconds", help, &|seat| Some(age(seat.marks.kept(Kept::Held))));
    let help = "What is kept of the promoted source takes so many bytes, as of the last beat.";
    each("highlander_group_delivered_bytes", help, &|seat| {
        Some(seat.marks.kept(Kept::Delivered).bytes as f64)
    });
    let help = "How old the oldest of that is.";
    each("highlander_group_delivered_age_seconds", help, &|seat| {
        Some(age(seat.marks.kept(Kept::Delivered)))
    });
    sources(sight, &seats, out);
}

fn of_group(seat: &Seat) -> Vec<(&'static str, Cow<'_, str>)> {
    vec![("tenant", text(&seat.group.tenant)), ("group", text(&seat.group.group))]
}

fn sources(sight: &Sight, seats: &[&Arc<Seat>], out: &mut Exposition) {
    let mut family = out.family(
        "highlander_promoted_info",
        Kind::Gauge,
        "The source whose data goes out, by group; always 1.",
    );
    for seat in seats {
        let promoted = seat.view().promoted.map(|promoted| promoted.source);
        if let Some(source) = promoted.and_then(|source| seat.name(source)) {
            sample_of(&mut family, seat, name(&source), 1.0);
        }
    }
    let help = "Sources of the group that are remembered.";
    let mut family = out.family("highlander_sources", Kind::Gauge, help);
    for seat in seats {
        family.sample(&of_group(seat), seat.sources().all.len() as f64);
    }
    let now = sight.clock.now();
    let help = "How long ago a source was heard, here or by the node that led before.";
    let mut family = out.family("highlander_source_silence_seconds", Kind::Gauge, help);
    for seat in seats {
        for source in &seat.sources().all {
            let heard = source.presence().last_heard;
            // One that is a connection has no name that stays, and is many.
            if heard != Millis(0) && !matches!(source.name, SourceName::Connection(..)) {
                sample_of(&mut family, seat, name(&source.name), seconds(now.since(heard)));
            }
        }
    }
}

fn sample_of(family: &mut Family<'_>, seat: &Seat, source: String, value: f64) {
    let mut labels = of_group(seat);
    labels.push(("source", source.into()));
    family.sample(&labels, value);
}

fn queues(sight: &Sight, out: &mut Exposition) {
    let shown = sight.shown.load();
    if shown.queues.is_empty() {
        return;
    }
    let mut each = |name, help, value: &dyn Fn(&Seen) -> f64| {
        let mut family = out.family(name, Kind::Gauge, help);
        for seen in &shown.queues {
            family.sample(&[("endpoint", text(seen.endpoint.as_bytes()))], value(seen));
        }
    };
    each("highlander_queue_bytes", "Bytes on disk of an endpoint's queue.", &|seen| {
        seen.queue.depth().bytes() as f64
    });
    let help = "Requests in an endpoint's queue from the oldest that has not been sent on; some of them may \
                have been.";
    each("highlander_queue_requests", help, &|seen| seen.queue.depth().records() as f64);
    let help = "How long the oldest of them has waited.";
    let now = sight.clock.unix_now().0;
    each("highlander_queue_oldest_age_seconds", help, &|seen| {
        let oldest = seen.sender.oldest().map_or(now, |oldest| oldest.0);
        now.saturating_sub(oldest).max(0) as f64 / 1000.0
    });
}

/// As Prometheus calls them.
fn reloads(sight: &Sight, out: &mut Exposition) {
    let last = sight.reloads.last();
    let help = "Whether the configuration that was read last is the one that it runs with.";
    let is_good = f64::from(u8::from(last.faults.is_empty()));
    out.single("highlander_config_last_reload_successful", Kind::Gauge, help, is_good);
    let help = "When the one that it runs with was taken over, in seconds since 1970.";
    let name = "highlander_config_last_reload_success_timestamp_seconds";
    out.single(name, Kind::Gauge, help, last.taken_at.0 as f64 / 1000.0);
    let help = "Times that the configuration was read again, by what became of it.";
    let mut family = out.family("highlander_config_reloads_total", Kind::Counter, help);
    for (result, count) in [("taken", last.taken), ("refused", last.refused)] {
        family.sample(&[("result", result.into())], count as f64);
    }
}

fn process(sight: &Sight, out: &mut Exposition) {
    let Some(process) = process::look() else { return };
    for (name, kind, help, value) in [
        ("process_cpu_seconds_total", Kind::Counter, "CPU time used.", process.cpu_seconds),
        ("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", process.resident_bytes),
        ("process_threads", Kind::Gauge, "Threads.", process.threads),
        ("process_open_fds", Kind::Gauge, "Open file descriptors.", process.open_fds),
        ("process_max_fds", Kind::Gauge, "The most there may be of them.", process.max_fds),
        (
            "process_start_time_seconds",
            Kind::Gauge,
            "When the process began, in seconds since 1970.",
            sight.began.0 as f64 / 1000.0,
        ),
    ] {
        out.single(name, kind, help, value);
    }
}
