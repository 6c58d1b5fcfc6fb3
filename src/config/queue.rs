//! How an endpoint gets its requests: at once, or out of a queue of its own.

use std::path::PathBuf;

use super::faults::Faults;
use super::named::Named;
use super::section::Section;
use crate::base::limits::{
    BACKOFF, IN_FLIGHT_MAX, QUEUE_BESIDE_BODY_MAX, QUEUE_BYTES_MAX, QUEUE_IN_FLIGHT_MAX,
    QUEUE_READ_AHEAD, QUEUE_SYNC_EVERY,
};
use crate::base::time::Millis;
use crate::logic::queue::dispatch::Rule;
use crate::logic::queue::setting::Setting;
pub use crate::logic::queue::setting::{OnFull, OutOfOrder, Sync};

/// When a request is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When the endpoint has acknowledged it.
    Direct,
    /// When it lies in the endpoint's queue.
    Queued(QueueSetting),
}

/// The queue of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSetting {
    /// Its folder, its alone.
    pub dir: PathBuf,
    /// What it may take on disk.
    pub bytes_max: u64,
    /// When what was written is synced.
    pub sync: Sync,
    /// How many requests may be under way to the endpoint at once, as far as its order lets them.
    pub in_flight_max: usize,
    /// The first pause before it is tried again.
    pub backoff_min: Millis,
    /// The longest one; not shorter than the first.
    pub backoff_max: Millis,
    /// What becomes of a request for which there is no room.
    pub on_full: OnFull,
    /// What becomes of what lies in it when its endpoint is named no more.
    pub on_removed: OnRemoved,
}

/// What becomes of a queue whose endpoint a reload has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoved {
    /// Nothing of it is sent any more, and its folder stays as it is.
    Keep,
    /// It takes nothing new and is sent to its end.
    Drain,
}

impl QueueSetting {
    /// What the queue on disk is told, of an endpoint with this `out_of_order`.
    pub fn setting(&self, out_of_order: OutOfOrder) -> Setting {
        let in_flight_max = match self.in_flight_max {
            // Nothing is looked for that could go beside it.
            1 => QUEUE_READ_AHEAD,
            _ => QUEUE_IN_FLIGHT_MAX,
        };
        Setting {
            sync: self.sync,
            bytes_max: self.bytes_max,
            on_full: self.on_full,
            in_flight_max,
            out_of_order,
        }
    }

    /// What its sender is told.
    pub fn rule(&self, out_of_order: OutOfOrder) -> Rule {
        Rule {
            out_of_order,
            in_flight_max: self.in_flight_max,
            backoff_min: self.backoff_min,
            backoff_max: self.backoff_max,
        }
    }
}

const KEYS: &[&str] = &[
    "dir",
    "max_size",
    "sync",
    "max_in_flight",
    "min_backoff",
    "max_backoff",
    "on_full",
    "on_removed",
];

/// Reads `delivery`, `queue` and `out_of_order` of an endpoint.
pub fn delivery(
    section: &Section<'_>,
    named: &Named,
    faults: &mut Faults,
) -> (Delivery, OutOfOrder) {
    let order = section.text("out_of_order", faults);
    let order = faults.choice(
        &section.path("out_of_order"),
        &order,
        &[("refused", OutOfOrder::Refused), ("allowed", OutOfOrder::Allowed)],
    );
    let text = section.text("delivery", faults);
    let is_queued =
        faults.choice(&section.path("delivery"), &text, &[("direct", false), ("queued", true)]);
    let queue = section.section("queue", faults);
    let queue = queue.map(|queue| queue_of(&queue, named, faults));
    match (is_queued, queue) {
        (true, Some(queue)) => (Delivery::Queued(queue), order),
        (true, None) => {
            if section.node("queue").is_none() {
                section.fault("delivery", "queued needs a queue with a dir beside it", faults);
            }
            (Delivery::Direct, order)
        }
        (false, queue) => {
            if queue.is_some() && text.as_deref().is_none_or(|text| text == "direct") {
                section.fault("queue", "needs delivery: queued beside it", faults);
            }
            (Delivery::Direct, order)
        }
    }
}

/// A queue that can't hold every request would have its source drop those that it can't, or wait for ever.
pub fn refuse_small<'d>(
    deliveries: impl Iterator<Item = &'d Delivery>,
    body_bytes_max: usize,
    faults: &mut Faults,
) {
    let least = (body_bytes_max + QUEUE_BESIDE_BODY_MAX).div_ceil(1024);
    for (index, delivery) in deliveries.enumerate() {
        if let Delivery::Queued(queue) = delivery
            && queue.bytes_max < 1024 * least as u64
        {
            let what =
                format_args!("is less than a request may take: {least}KiB, with this --max-body");
            faults.add(&format!("remote_write[{index}].queue.max_size"), what);
        }
    }
}

fn queue_of(section: &Section<'_>, named: &Named, faults: &mut Faults) -> QueueSetting {
    section.refuse_others(KEYS, &[], faults);
    if section.node("dir").is_none() {
        section.fault("dir", "is missing: a queue needs a folder of its own", faults);
    }
    let dir = section.text("dir", faults).unwrap_or_default();
    if dir.is_empty() && section.node("dir").is_some() {
        section.fault("dir", "names no folder", faults);
    }
    let mut duration = |key: &str, default: Millis| {
        let text = section.text(key, faults);
        faults.duration(&section.path(key), &text, default.0)
    };
    let backoff_min = duration("min_backoff", BACKOFF.0);
    let backoff_max = duration("max_backoff", BACKOFF.1.max(backoff_min));
    if backoff_max < backoff_min {
        section.fault("max_backoff", "is shorter than min_backoff", faults);
    }
    let size = section.text("max_size", faults);
    let on_full = section.text("on_full", faults);
    let on_removed = section.text("on_removed", faults);
    QueueSetting {
        dir: named.path(&dir),
        bytes_max: faults.size(&section.path("max_size"), &size, QUEUE_BYTES_MAX as usize) as u64,
        sync: sync(section, faults),
        in_flight_max: in_flight(section, faults),
        backoff_min,
        backoff_max,
        on_full: faults.choice(
            &section.path("on_full"),
            &on_full,
            &[("refuse", OnFull::Refuse), ("drop_oldest", OnFull::DropOldest)],
        ),
        on_removed: faults.choice(
            &section.path("on_removed"),
            &on_removed,
            &[("keep", OnRemoved::Keep), ("drain", OnRemoved::Drain)],
        ),
    }
}

fn sync(section: &Section<'_>, faults: &mut Faults) -> Sync {
    let text = section.text("sync", faults);
    match text.as_deref() {
        Some("always") => Sync::Always,
        Some("never") => Sync::Never,
        Some(word) if !word.starts_with(|c: char| c.is_ascii_digit()) => {
            let what =
                format_args!("'{word}' is none of always, never, or a duration such as 200ms");
            section.fault("sync", what, faults);
            Sync::Every(QUEUE_SYNC_EVERY)
        }
        Some(_) | None => {
            Sync::Every(faults.duration(&section.path("sync"), &text, QUEUE_SYNC_EVERY.0))
        }
    }
}

fn in_flight(section: &Section<'_>, faults: &mut Faults) -> usize {
    let text = section.text("max_in_flight", faults);
    let number = faults.number(&section.path("max_in_flight"), &text).unwrap_or(1);
    if number > IN_FLIGHT_MAX {
        section.fault("max_in_flight", format_args!("is more than {IN_FLIGHT_MAX}"), faults);
    }
    number
}
