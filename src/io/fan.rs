//! A remote write request on its way to all endpoints: one body for all of them, each with a head of its
//! own.
//!
//! They get it at once, and all are waited for. Its source is told the worst of what they say, and sends
//! the same again to all: who has it already gets the same samples once more.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use crate::io::core::Core;
use crate::io::deadline::Slot;
use crate::io::endpoint::Outlet;
use crate::io::link::{EndpointId, Link};
use crate::io::upstream::{self, Outgoing, SendError};
use crate::logic::ask::{Grade, Outcome};
use crate::shared::state::Seat;
use crate::wire::http::answer::{Answer, Asked};
use crate::wire::http::head::HeadError;
use crate::wire::http::reply::Refusal;
use crate::wire::http::rewrite::Route;
use crate::wire::remote_write::push::Push;

/// How a request has ended.
pub struct Ending {
    /// What its source is to be told, and the connection that it came on.
    pub answer: Result<(Link, Answer), Refusal>,
    /// Whether the endpoints have it.
    pub outcome: Outcome,
}

impl Ending {
    /// At the only endpoint that gets it.
    pub fn of(said: Said) -> Ending {
        let outcome = grade_of(&said).outcome();
        Ending { answer: said.map_err(refusal_of), outcome }
    }
}

/// What one endpoint says.
type Said = Result<(Link, Answer), SendError>;
type Sending<'s> = Pin<Box<dyn Future<Output = Said> + 's>>;

/// What an endpoint that did not answer makes of a request.
pub fn refusal_of(error: SendError) -> Refusal {
    match error {
        SendError::Unreachable | SendError::Tls(_) => Refusal::EndpointUnreachable,
        SendError::Unreadable => Refusal::EndpointUnreadable,
        SendError::TimedOut => Refusal::EndpointTimedOut,
        SendError::NotLeading => Refusal::NoLeader,
    }
}

/// Sends a request to every endpoint, as long as this node leads the group of `seat`.
pub async fn send(core: &Core, slot: &Slot, seat: &Seat, push: &Push) -> Ending {
    if let Some(alone) = core.settings.alone() {
        let (bytes, range) = push.bytes();
        let outgoing = Outgoing::whole(bytes, range, Asked::Other);
        let may_send = || seat.may_send(|| core.now());
        return Ending::of(upstream::send(&core.outlet(), slot, alone, may_send, outgoing).await);
    }
    // Boxed: the way to one endpoint is not to be longer for it.
    Box::pin(send_to_each(core, seat, push)).await
}

fn grade_of(said: &Said) -> Grade {
    // Even one that could not be connected to: its source tries again, and if that dies, we do.
    said.as_ref().map_or(Grade::Unanswered, |(_, answer)| Grade::of(answer.status))
}

async fn send_to_each(core: &Core, seat: &Seat, push: &Push) -> Ending {
    let out = core.outlet();
    let mut under_way = match sendings(core, &out, seat, push) {
        Ok(under_way) => under_way,
        // It is none that we have written, and no endpoint would get it.
        Err(error) => {
            let answer = Err(Refusal::Head(error));
            return Ending { answer, outcome: Outcome::Rejected };
        }
    };
    let mut heard = Vec::new();
    poll_fn(|context| {
        under_way.retain_mut(|(id, sending)| match sending.as_mut().poll(context) {
            Poll::Ready(said) => {
                heard.push((*id, said));
                false
            }
            Poll::Pending => true,
        });
        if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    worst(&out, heard)
}

/// The request, written for each endpoint.
fn sendings<'s>(
    core: &'s Core,
    out: &'s Outlet<'s>,
    seat: &'s Seat,
    push: &Push,
) -> Result<Vec<(EndpointId, Sending<'s>)>, HeadError> {
    let sending = |id: &EndpointId| -> Result<(EndpointId, Sending<'s>), HeadError> {
        let (id, own) = (*id, written_for(&out.endpoints[id.0].route, push)?);
        // A deadline each: one that hangs does not cost the others theirs.
        let slot = core.deadlines.slot();
        let sending = Box::pin(async move {
            let may_send = || seat.may_send(|| core.now());
            upstream::send(out, &slot, id, may_send, own).await
        });
        Ok((id, sending))
    };
    core.settings.direct.iter().map(sending).collect()
}

/// The same body behind a head of its own.
fn written_for(route: &Route, push: &Push) -> Result<Outgoing, HeadError> {
    let (bytes, range) = push.bytes();
    let body = range.end - push.body().len()..range.end;
    let head = route.own_head(&bytes[range.start..body.start])?;
    Ok(Outgoing { head: Some(Arc::new(head)), bytes, range: body, asked: Asked::Other })
}

/// The worst of what was said, of two that are as bad that of the endpoint which is named first.
fn worst(out: &Outlet<'_>, mut heard: Vec<(EndpointId, Said)>) -> Ending {
    let outcomes = heard.iter().map(|(_, said)| grade_of(said).outcome());
    let outcome = outcomes.reduce(Outcome::and).unwrap_or(Outcome::Unsent);
    heard.sort_by_key(|(id, said)| (std::cmp::Reverse(grade_of(said)), id.0));
    let mut heard = heard.into_iter().map(|(_, said)| said);
    let answer = heard.next().unwrap_or(Err(SendError::NotLeading)).map_err(refusal_of);
    for (link, answer) in heard.flatten() {
        upstream::discard(out, link, &answer);
    }
    Ending { answer, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;

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
