//! A remote write request on its way to all endpoints: one body for all of them, each with a head of its
//! own.
//!
//! They get it at once, and all are waited for: those that answer themselves, and the queues of the
//! others. Its source is told the worst of what they say, and sends the same again to all: who has it
//! already gets the same samples once more, but not a queue in which it lies.

use std::cmp::Reverse;
use std::future::{Future, poll_fn};
use std::hash::Hasher as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::io::appends::Appends;
use crate::io::core::Core;
use crate::io::deadline::Slot;
use crate::io::endpoint::Outlet;
use crate::io::link::{EndpointId, Link};
use crate::io::queue::append::Append;
use crate::io::queue::thread::Queue;
use crate::io::settings::{Settings, Terms};
use crate::io::upstream::{self, Outgoing, Said, SendError};
use crate::logic::ask::{Grade, Outcome};
use crate::shared::state::Seat;
use crate::wire::http::answer::{Answer, Asked};
use crate::wire::http::form::Form;
use crate::wire::http::head::HeadError;
use crate::wire::http::reply::Refusal;
use crate::wire::http::rewrite::Route;
use crate::wire::queue::sequence::SourceKey;
use crate::wire::remote_write::push::Push;

/// How a request has ended.
pub struct Ending {
    /// What its source is to be told, and the connection that it came on. `None`: that it is taken, for
    /// it lies in queues, and there is nobody else who would say something.
    pub answer: Told,
    /// Whether the endpoints have it.
    pub outcome: Outcome,
}

/// What one endpoint, or its queue, makes of a request.
type Told = Result<Option<(Link, Answer)>, Refusal>;
type Sending<'s> = (EndpointId, Pin<Box<dyn Future<Output = Told> + 's>>);

/// What an endpoint that did not answer makes of a request.
pub fn refusal_of(error: SendError) -> Refusal {
    match error {
        SendError::Unreachable | SendError::Tls(_) => Refusal::EndpointUnreachable,
        SendError::Unreadable => Refusal::EndpointUnreadable,
        SendError::TimedOut => Refusal::EndpointTimedOut,
        SendError::NotLeading => Refusal::NoLeader,
    }
}

/// What an answer, or none, says of whether the endpoint has a request.
pub fn outcome_of(said: &Said) -> Outcome {
    // Even one that could not be connected to: its source tries again, and if that dies, we do.
    said.as_ref().map_or(Grade::Unanswered, |(_, answer)| Grade::of(answer.status)).outcome()
}

/// Sends a request to every endpoint, as long as this node leads the group of `seat`.
pub async fn send(core: &Core, slot: &Slot, seat: &Seat, push: &Push) -> Ending {
    // Those of now, whatever there was when it came: it may have been kept for long.
    let terms = core.terms();
    let alone = terms.alone().filter(|(_, own)| push.form() == Form::Own(*own));
    let Some((alone, _)) = alone else {
        // Boxed: the way to one endpoint is not to be longer for it.
        return Box::pin(send_to_each(core, &terms, seat, push)).await;
    };
    let (bytes, range) = push.bytes();
    let outgoing = Outgoing::whole(bytes, range, Asked::Other);
    let may_send = || seat.may_send(|| core.now());
    let said = upstream::send(&core.outlet(&terms), slot, alone, may_send, outgoing).await;
    let outcome = outcome_of(&said);
    Ending { answer: said.map(Some).map_err(refusal_of), outcome }
}

async fn send_to_each(core: &Core, terms: &Terms, seat: &Seat, push: &Push) -> Ending {
    let out = core.outlet(terms);
    let common = terms.in_common(push);
    let written = common.and_then(|push| Ok((sendings(core, terms, &out, seat, &push)?, push)));
    let (mut under_way, push) = match written {
        Ok(written) => written,
        // It is none that we have written, and no endpoint would get it.
        Err(error) => {
            let answer = Err(Refusal::Head(error));
            return Ending { answer, outcome: Outcome::Rejected };
        }
    };
    let (source, body) = (source_of(seat), Body::of(terms, &push));
    let mut told = Vec::new();
    for (id, queue) in &terms.queued {
        let append = append(core, &push, source, body);
        let (sends, counters) = (|| core.senders.turn(*id), &core.handle.counters);
        match Appends::append_now(queue, &append, sends, counters) {
            Some(of_one) => told.push((*id, of_one.map(|()| None))),
            None => under_way.push((*id, appending(core, terms, *id, queue, append))),
        }
    }
    poll_fn(|context| {
        under_way.retain_mut(|(id, sending)| match sending.as_mut().poll(context) {
            Poll::Ready(of_one) => {
                told.push((*id, of_one));
                false
            }
            Poll::Pending => true,
        });
        if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let ending = worst(&out, told);
    if ending.outcome.is_certain() {
        terms.queued.iter().for_each(|(_, queue)| queue.settled(source, body.hash));
    }
    ending
}

/// The request, written for each endpoint that answers itself.
fn sendings<'s>(
    core: &'s Core,
    terms: &Settings,
    out: &'s Outlet<'s>,
    seat: &'s Seat,
    push: &Push,
) -> Result<Vec<Sending<'s>>, HeadError> {
    let sending = |id: &EndpointId| -> Result<Sending<'s>, HeadError> {
        let (id, own) = (*id, written_for(&out.endpoints.of(*id).route, push)?);
        // A deadline each: one that hangs does not cost the others theirs.
        let slot = core.deadlines.slot();
        let has_queue = !terms.queued.is_empty();
        let sending = async move {
            let may_send = || seat.may_send(|| core.now());
            // What was stored before it may have waited for the disk.
            if has_queue && !may_send() {
                return Err(Refusal::NoLeader);
            }
            let said = upstream::send(out, &slot, id, may_send, own).await;
            said.map(Some).map_err(refusal_of)
        };
        Ok((id, Box::pin(sending)))
    };
    terms.direct.iter().map(sending).collect()
}

/// The same body behind a head of its own.
fn written_for(route: &Route, push: &Push) -> Result<Outgoing, HeadError> {
    let (bytes, range) = push.bytes();
    let (head, body) = (route.own_head(push.head())?, range.end - push.body().len()..range.end);
    Ok(Outgoing { head: Some(Arc::new(head)), bytes, range: body, asked: Asked::Other })
}

/// Whose a request is: of a group, not of a source of it. A hand-over sends again what one of them had sent.
fn source_of(seat: &Seat) -> SourceKey {
    SourceKey::of(&[&seat.group.tenant, &seat.group.group])
}

/// What queues know a request by. Nothing, where there is none.
#[derive(Clone, Copy, Default)]
struct Body {
    digest: u128,
    hash: u128,
}

impl Body {
    fn of(terms: &Settings, push: &Push) -> Body {
        if terms.queued.is_empty() {
            return Body::default();
        }
        let digest = push.digest();
        Body { digest, hash: hash_of(push.head(), digest) }
    }
}

/// Of all that gives a request its meaning: where it goes, its body, and what headers say of that. The same
/// samples with another address or of another tenant are another request.
///
/// All other headers are left out: whoever stands before us may write some of them anew at each try, to trace
/// it, and each try would be stored.
fn hash_of(head: &[u8], digest: u128) -> u128 {
    let mut meaning = XxHash3_64::default();
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    meaning.write(lines.next().unwrap_or_default());
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if MEANINGFUL.iter().any(|meaningful| name.eq_ignore_ascii_case(meaningful)) {
            meaning.write(line);
        }
    }
    XxHash3_128::oneshot_with_seed(meaning.finish(), &digest.to_le_bytes())
}

/// Headers that say what a body is or whose it is. To leave out one of the latter would lose samples: of two
/// tenants who send the same at the same time, the second would be taken for the first who tries again.
const MEANINGFUL: [&[u8]; 10] = [
    b"content-type",
    b"content-encoding",
    b"x-prometheus-remote-write-version",
    b"authorization",
    // Tenants, as Mimir, Thanos, VictoriaMetrics and New Relic are told of them.
    b"x-scope-orgid",
    b"thanos-tenant",
    b"accountid",
    b"projectid",
    b"api-key",
    b"x-api-key",
];

/// The request as it is stored: the head for the endpoint is written when it is sent.
fn append(core: &Core, push: &Push, source: SourceKey, Body { digest, hash }: Body) -> Append {
    let (push, time) = (push.clone(), core.clock.unix_now());
    Append { push, source, time, digest, hash: Some(hash) }
}

/// It, on its way into the queue of one endpoint.
fn appending<'s>(
    core: &'s Core,
    terms: &Settings,
    id: EndpointId,
    queue: &'s Queue,
    append: Append,
) -> Pin<Box<dyn Future<Output = Told> + 's>> {
    let (slot, due) = (core.deadlines.slot(), terms.endpoints.of(id).remote_timeout);
    let due = core.now().after(due);
    Box::pin(async move {
        let counters = &core.handle.counters;
        core.appends.append(queue, append, &slot, due, counters).await.map(|()| None)
    })
}

fn grade_of(told: &Told) -> Grade {
    match told {
        Ok(None) => Grade::Stored,
        Ok(Some((_, answer))) => Grade::of(answer.status),
        // In doubt, a hand-over would try it for ever.
        Err(Refusal::QueueTooSmall) => Grade::Rejected,
        Err(_) => Grade::Unanswered,
    }
}

/// The worst of what was told, of two that are as bad that of the endpoint which is named first.
fn worst(out: &Outlet<'_>, mut told: Vec<(EndpointId, Told)>) -> Ending {
    let outcomes = told.iter().map(|(_, told)| grade_of(told).outcome());
    let outcome = outcomes.reduce(Outcome::and).unwrap_or(Outcome::Unsent);
    told.sort_by_key(|(id, told)| (Reverse(grade_of(told)), out.endpoints.place(*id)));
    let mut told = told.into_iter().map(|(_, told)| told);
    let answer = told.next().unwrap_or(Ok(None));
    for (link, answer) in told.flatten().flatten() {
        upstream::discard(out, link, &answer);
    }
    Ending { answer, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;

    fn hash(target: &str, lines: &str, body: &[u8]) -> u128 {
        let head = format!("POST {target} HTTP/1.1\r\n{lines}\r\n");
        let push = Push::new([head.as_bytes(), body].concat(), head.len(), Protocol::V1);
        hash_of(push.head(), push.digest())
    }

    #[test]
    fn a_request_is_known_by_where_it_goes_what_it_is_and_whose() {
        let one = hash("/w", "X-Scope-OrgID: 1\r\n", b"body");
        let others = [
            ("/w", "X-Scope-OrgID: 1\r\n", "other"),
            ("/w?a=b", "X-Scope-OrgID: 1\r\n", "body"),
            ("/w", "X-Scope-OrgID: 2\r\n", "body"),
            ("/w", "THANOS-TENANT: 1\r\n", "body"),
            ("/w", "X-Scope-OrgID: 1\r\nauthorization: Bearer a\r\n", "body"),
            ("/w", "X-Scope-OrgID: 1\r\nAUTHORIZATION: Bearer b\r\n", "body"),
            ("/w", "X-Scope-OrgID: 1\r\nContent-Type: a\r\n", "body"),
            ("/w", "X-Scope-OrgID: 1\r\nContent-Encoding: a\r\n", "body"),
            ("/w", "X-Scope-OrgID: 1\r\nX-Prometheus-Remote-Write-Version: 2\r\n", "body"),
            ("/w", "", "body"),
        ];
        let mut known = vec![one];
        for (target, lines, body) in others {
            let hash = hash(target, lines, body.as_bytes());
            assert!(!known.contains(&hash), "{target} {lines} {body}");
            known.push(hash);
        }
    }

    #[test]
    fn what_is_written_anew_at_each_try_makes_no_other_request_of_it() {
        let own = "X-Scope-OrgID: 1\r\nContent-Type: a\r\n";
        let one = hash("/w", own, b"body");
        for line in [
            "Retry-Attempt: 3",
            "traceparent: 00-1",
            "X-Request-Id: 1",
            "X-Amzn-Trace-Id: Root=1",
            "X-B3-TraceId: 1",
            "uber-trace-id: 1",
            "X-Forwarded-For: 10.0.0.1",
        ] {
            assert_eq!(hash("/w", &format!("{line}\r\n{own}"), b"body"), one, "{line}");
        }
    }

    #[test]
    fn all_endpoints_get_one_body_and_none_the_head_of_another() {
        let head = "POST /w HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
        let bytes = format!("rest {head}body").into_bytes();
        let push = Push::behind(5, bytes, head.len(), Protocol::V1);
        for host in ["one", "other"] {
            let route = Route { host: host.into(), ..Route::default() };
            let own = written_for(&route, &push).expect("a head");
            assert!(Arc::ptr_eq(&own.bytes, &push.bytes().0));
            assert_eq!(&own.bytes[own.range], b"body");
            let own_head = String::from_utf8(own.head.expect("a head").to_vec());
            assert_eq!(own_head, Ok(head.replace("Host: a", &format!("Host: {host}"))));
        }
    }
}
