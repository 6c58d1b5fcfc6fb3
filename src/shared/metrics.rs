//! Counters and histograms: a block per thread, each with one writer, added up by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::base::time::Nanos;
use crate::logic::view::Cause;
use crate::shared::histogram::Histogram;
use crate::shared::labels::{Code, Course};

macro_rules! counters {
    ($($name:ident = $text:literal: $doc:literal,)*) => {
        /// What is counted. `name` is the metric's name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $doc] $name,)*
        }

        impl Counter {
            /// Every counter.
            pub const ALL: &[Counter] = &[$(Counter::$name,)*];

            /// The metric's name.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$name => $text,)* }
            }

            /// What it counts, in a sentence.
            pub fn help(self) -> &'static str {
                match self { $(Counter::$name => $doc,)* }
            }
        }
    };
}

counters! {
    Connections = "highlander_connections_total": "Connections accepted.",
    ConnectionsRefused = "highlander_connections_refused_total":
        "Connections beyond the limit, answered 503.",
    Forwarded = "highlander_requests_forwarded_total":
        "Requests of a promoted source that were answered by the endpoint.",
    ForwardedBytes = "highlander_forwarded_bytes_total": "Body bytes of those.",
    Standby = "highlander_requests_standby_total":
        "Requests of a standby that are not remote write, read and answered 204.",
    StandbyBytes = "highlander_standby_bytes_total": "Body bytes of those.",
    Held = "highlander_requests_held_total":
        "Remote write requests of a standby, kept for a hand-over.",
    HeldBytes = "highlander_held_bytes_total": "Body bytes of those.",
    HoldRefused = "highlander_requests_not_held_total":
        "Remote write requests of a standby that there was no room for, answered 503.",
    Parked = "highlander_requests_parked_total":
        "Requests that waited for a hand-over, or for a leader.",
    Filtered = "highlander_requests_filtered_total":
        "Live requests that went through the filter of an open hand-over.",
    Covered = "highlander_requests_covered_total":
        "Those of which nothing was new, answered and not sent on.",
    Folded = "highlander_delivered_folded_total":
        "Delivered requests that were read into a watermark early, for want of room.",
    DeliveredDropped = "highlander_delivered_dropped_total":
        "Times that delivered requests of a source alone in its group were let go of for want of use.",
    WindowShrunk = "highlander_hold_window_shrunk_total":
        "Beats at which covered requests were released before their window was over.",
    DoubtsForgotten = "highlander_doubts_forgotten_total":
        "Requests in doubt that were forgotten because there were too many.",
    HandOvers = "highlander_handovers_total": "Hand-overs in which everything held was sent on.",
    Replayed = "highlander_handover_samples_replayed_total": "Held samples that were sent on.",
    Skipped = "highlander_handover_samples_skipped_total":
        "Held samples that had been delivered already.",
    Lost = "highlander_handover_samples_lost_total": "Held samples that the endpoint rejected.",
    BridgedMillis = "highlander_handover_bridged_seconds_total":
        "From the newest sample delivered before a hand-over to the newest one sent on.",
    HandOverMillis = "highlander_handover_duration_seconds_total":
        "From a change of a seat to the endpoint's last answer to what was held.",
    Unreadable = "highlander_bodies_unreadable_total":
        "Remote write bodies that could not be read, and were sent as they were.",
    Relayed = "highlander_requests_relayed_total":
        "Requests that were answered by the node that leads.",
    RelayedBytes = "highlander_relayed_bytes_total": "Body bytes of those.",
    RelayRetried = "highlander_relay_retries_total":
        "Times that a relayed request had to be tried again.",
    Misdirected = "highlander_requests_misdirected_total":
        "Requests that another node relayed to us while we did not lead.",
    PassesForged = "highlander_passes_forged_total":
        "Passes that no node of ours has made, or that are too old.",
    Datagrams = "highlander_cluster_datagrams_total": "Datagrams of other nodes that were taken.",
    DatagramsForeign = "highlander_cluster_datagrams_foreign_total":
        "Datagrams that were sealed by nobody of ours.",
    DatagramsReplayed = "highlander_cluster_datagrams_replayed_total":
        "Datagrams that had come before.",
    DatagramsUnreadable = "highlander_cluster_datagrams_unreadable_total":
        "Datagrams of another version.",
    DatagramsSent = "highlander_cluster_datagrams_sent_total": "Datagrams sent to other nodes.",
    DatagramBytesSent = "highlander_cluster_sent_bytes_total": "Bytes of those.",
    DatagramsUnsent = "highlander_cluster_datagrams_unsent_total":
        "Datagrams that could not be sent.",
    LeadChanges = "highlander_cluster_lead_changes_total":
        "Times that this node took or lost the lead of a group.",
    Malformed = "highlander_requests_malformed_total": "Requests answered 4xx by ourselves.",
    Unauthorized = "highlander_requests_unauthorized_total":
        "Requests answered 401: no name and password, or wrong ones.",
    HandshakesFailed = "highlander_tls_handshakes_failed_total":
        "Connections of sources that did not get past the TLS handshake.",
    ProxyHeadersMalformed = "highlander_proxy_headers_malformed_total":
        "Connections of trusted proxies with a malformed PROXY header, answered 400.",
    Refused = "highlander_requests_refused_total": "Requests answered 503 by ourselves.",
    GroupsRefused = "highlander_groups_refused_total":
        "Those of groups beyond --max-groups.",
    SourcesRefused = "highlander_sources_refused_total":
        "Those of sources beyond --max-sources.",
    EndpointFailed = "highlander_endpoint_failures_total":
        "Requests answered 502 or 504 by ourselves: an endpoint did not answer.",
    EndpointRefused = "highlander_endpoint_refusals_total":
        "Forwarded requests that an endpoint answered 429 or 5xx, which was passed on.",
    EndpointRetried = "highlander_endpoint_retries_total":
        "Requests sent again because a reused connection was dead.",
    EndpointConnections = "highlander_endpoint_connections_total": "Connections to the endpoint.",
    QueueStored = "highlander_queue_requests_stored_total": "Requests stored in a queue.",
    QueueStoredBytes = "highlander_queue_stored_bytes_total": "Body bytes of those.",
    QueueKnown = "highlander_queue_requests_known_total":
        "Requests that came again and lay in a queue already.",
    QueueRefused = "highlander_queue_requests_refused_total":
        "Requests that a queue did not take, or not in time.",
    QueueDropped = "highlander_queue_requests_dropped_total":
        "Requests in a queue that made room for newer ones, and were not known to be sent.",
    QueueDamaged = "highlander_queue_places_damaged_total":
        "Damaged places in queues: a request or more is lost in each.",
    QueueSent = "highlander_queue_requests_sent_total":
        "Requests out of a queue that their endpoint has taken.",
    QueueSentBytes = "highlander_queue_sent_bytes_total": "Body bytes of those.",
    QueueRejected = "highlander_queue_requests_rejected_total":
        "Requests out of a queue that their endpoint answered 4xx, and that were dropped.",
    QueueUnsendable = "highlander_queue_requests_unsendable_total":
        "Requests out of a queue that can't be sent, and were dropped.",
    QueueRetried = "highlander_queue_retries_total":
        "Tries of a request out of a queue that will be tried again.",
    WeightsUnreadable = "highlander_weights_unreadable_total":
        "Weights that are no number and count as 0.",
}

impl Counter {
    /// What is counted, in the unit of the metric's name.
    pub fn in_its_unit(self, count: u64) -> f64 {
        match self {
            Counter::BridgedMillis | Counter::HandOverMillis => count as f64 / 1000.0,
            _ => count as f64,
        }
    }
}

/// What one thread has seen of one endpoint.
#[derive(Debug, Default)]
pub struct Tally {
    codes: [AtomicU64; Code::ALL.len()],
    /// From the begin of a request to the head of its answer, if one came.
    pub duration: Histogram,
}

/// The counters of one thread. Two threads never write to one line of the cache.
#[derive(Debug)]
pub struct Counters {
    counters: CachePadded<[AtomicU64; Counter::ALL.len()]>,
    promotions: CachePadded<[AtomicU64; Cause::ALL.len()]>,
    requests: CachePadded<[Histogram; Course::ALL.len()]>,
    endpoints: Box<[CachePadded<Tally>]>,
}

impl Default for Counters {
    fn default() -> Self {
        Counters::of_endpoints(0)
    }
}

impl Counters {
    /// Of a thread that sends to so many endpoints.
    pub fn of_endpoints(endpoints: usize) -> Counters {
        Counters {
            counters: CachePadded::new([const { AtomicU64::new(0) }; Counter::ALL.len()]),
            promotions: CachePadded::default(),
            requests: CachePadded::default(),
            endpoints: (0..endpoints).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Adds `amount`. To be called by the owning thread only, as all that begins with `add`.
    pub fn add(&self, counter: Counter, amount: u64) {
        add(&self.counters[counter as usize], amount);
    }

    /// A seat has changed.
    pub fn add_promotion(&self, cause: Cause) {
        add(&self.promotions[cause as usize], 1);
    }

    /// A request has been answered, so long after its head had been read.
    pub fn add_request(&self, course: Course, span: Nanos) {
        self.requests[course as usize].add(span);
    }

    /// The endpoint in this place has said something, so long after the request had been begun, or has said
    /// nothing. An endpoint that was not asked for at the start is not counted.
    pub fn add_said(&self, endpoint: usize, code: Code, span: Option<Nanos>) {
        if let Some(tally) = self.endpoints.get(endpoint) {
            add(&tally.codes[code as usize], 1);
            span.into_iter().for_each(|span| tally.duration.add(span));
        }
    }

    /// The value now; any thread may ask, for this and all below.
    pub fn value(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Changes of a seat for this cause.
    pub fn promotions(&self, cause: Cause) -> u64 {
        self.promotions[cause as usize].load(Ordering::Relaxed)
    }

    /// How long requests took.
    pub fn requests(&self, course: Course) -> &Histogram {
        &self.requests[course as usize]
    }

    /// How often the endpoint in this place has said so.
    pub fn said(&self, endpoint: usize, code: Code) -> u64 {
        let tally = self.endpoints.get(endpoint);
        tally.map_or(0, |tally| tally.codes[code as usize].load(Ordering::Relaxed))
    }

    /// How long it took.
    pub fn endpoint(&self, endpoint: usize) -> Option<&Histogram> {
        self.endpoints.get(endpoint).map(|tally| &tally.duration)
    }
}

fn add(place: &AtomicU64, amount: u64) {
    // Two plain moves in place of a locked add: there is one writer.
    place.store(place.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// How much a core has to do, for whoever hands out connections.
#[derive(Debug, Default)]
pub struct Load {
    /// Connections that the core has, or that are on their way to it.
    pub connections: CachePadded<AtomicU64>,
    /// When the core last showed that it lives, in milliseconds.
    pub beat: CachePadded<AtomicU64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::histogram::Spans;

    #[test]
    fn every_counter_has_a_place_and_a_name_of_its_own() {
        let counters = Counters::default();
        for (place, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, place);
            counters.add(*counter, place as u64);
            counters.add(*counter, 1);
            assert_eq!(counters.value(*counter), place as u64 + 1);
            assert!(
                counter.name().starts_with("highlander_") && counter.name().ends_with("_total")
            );
        }
        let names: std::collections::BTreeSet<_> = Counter::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
    }

    #[test]
    fn what_each_endpoint_has_said_is_counted_in_a_place_of_its_own() {
        let counters = Counters::of_endpoints(2);
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place);
            counters.add_said(1, *code, (place == 0).then_some(Nanos(1)));
            counters.add_said(2, *code, None);
        }
        assert!(Code::ALL.iter().all(|code| counters.said(1, *code) == 1));
        assert!(
            Code::ALL.iter().all(|code| counters.said(0, *code) + counters.said(2, *code) == 0)
        );
        let mut spans = Spans::default();
        counters.endpoint(1).expect("there are two").add_to(&mut spans);
        assert_eq!(
            spans.buckets.iter().sum::<u64>(),
            1,
            "an endpoint that says nothing has no span"
        );
    }

    #[test]
    fn every_cause_and_course_has_a_place_of_its_own() {
        let counters = Counters::default();
        for (place, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, place);
            (0..=place).for_each(|_| counters.add_promotion(*cause));
            assert_eq!(counters.promotions(*cause), place as u64 + 1);
        }
        for (place, course) in Course::ALL.iter().enumerate() {
            assert_eq!(*course as usize, place);
            let mut spans = Spans::default();
            counters.add_request(*course, Nanos(1));
            counters.requests(*course).add_to(&mut spans);
            assert_eq!(spans.buckets.iter().sum::<u64>(), 1);
        }
    }
}
