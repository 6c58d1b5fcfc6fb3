//! A request on its way to the node that leads.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use crate::io::core::Core;
use crate::io::deadline::Slot;
use crate::io::link::Link;
use crate::io::speaker::Speaker;
use crate::io::upstream::{self, Outgoing, SendError};
use crate::logic::view::Lead;
use crate::shared::metrics::Counter;
use crate::shared::state::Seat;
use crate::wire::http::answer::Answer;
use crate::wire::http::reply::is_misdirected;

/// Sends a request with its pass to the node that takes requests at `to`, and waits for the head of the
/// answer. `None`: that node does not answer, or does not lead. It may or may not be done.
pub async fn exchange(
    core: &Core,
    slot: &Slot,
    speaker: &Speaker,
    to: SocketAddr,
    outgoing: Outgoing,
) -> Option<(Link, Answer)> {
    let terms = core.terms();
    let out = core.outlet(&terms);
    let relayed = upstream::relay(&out, slot, (to, speaker.connection()), outgoing);
    let relayed = until_led_otherwise(core, speaker.seat(), to, relayed).await;
    if let Some(Err(SendError::Tls(fault))) = relayed {
        core.tell_fault(fault, &format!("node at {to}"));
    }
    if let Some(Ok((link, answer))) = relayed {
        let head = link.reader.bytes.get(..answer.bytes).unwrap_or_default();
        if !is_misdirected(answer.status, head) {
            return Some((link, answer));
        }
        upstream::discard(&out, link, &answer);
    }
    core.handle.counters.add(Counter::RelayRetried, 1);
    None
}

/// Does `work`, but only as long as the node that takes requests at `to` leads the group.
async fn until_led_otherwise<T>(
    core: &Core,
    seat: &Seat,
    to: SocketAddr,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if seat.view().lead != Lead::Relay(to) {
            return Poll::Ready(None);
        }
        core.store.wake_later(context.waker());
        Poll::Pending
    })
    .await
}
