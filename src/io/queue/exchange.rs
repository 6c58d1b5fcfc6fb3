//! One try of a record: its request, and what the endpoint makes of it.
//!
//! As Prometheus has it: 2xx is taken; 4xx is rejected for good, 401 and 403 among them, because sending
//! the same again will not help, and one request must not hold up all behind it; everything else is
//! tried again. Unlike Prometheus, 429 is tried again without being asked for: nothing is lost. And so
//! is 3xx: it says that the URL is wrong, not the data.

use std::sync::Arc;

use crate::base::time::Millis;
use crate::io::deadline::Slot;
use crate::io::endpoint::Outlet;
use crate::io::link::{EndpointId, Link};
use crate::io::upstream::{self, Outgoing, SendError};
use crate::wire::http::answer::{Answer, AnswerFraming, Asked};
use crate::wire::http::body::Chunks;
use crate::wire::http::head::{HeadError, Persistence};
use crate::wire::http::retry_after::retry_after;
use crate::wire::remote_write::push::Push;

/// What became of a try.
#[derive(Debug)]
pub enum Verdict {
    /// The endpoint has it.
    Taken,
    /// It does not want it, now or ever.
    Rejected(Reason),
    /// It has said to try again, perhaps when.
    Refused(Reason, Option<Millis>),
    /// It has said nothing.
    Unanswered(SendError),
    /// It is no request.
    Unsendable(HeadError),
}

/// What an endpoint says of a request that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The status of its answer.
    pub status: u16,
    /// How its answer begins, [`REASON_CHARS_MAX`] at most, in one line.
    pub text: String,
}

/// So much of an answer is logged.
pub const REASON_CHARS_MAX: usize = 1000;

/// So much of an answer is read to keep the connection; a longer one costs it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends a request to an endpoint, once.
pub async fn exchange(out: &Outlet<'_>, slot: &Slot, id: EndpointId, push: &Push) -> Verdict {
    let (bytes, range) = push.bytes();
    let head = match out.endpoints.of(id).route.own_head(push.head()) {
        Ok(head) => head,
        Err(error) => return Verdict::Unsendable(error),
    };
    let range = range.end - push.body().len()..range.end;
    let outgoing = Outgoing { head: Some(Arc::new(head)), bytes, range, asked: Asked::Other };
    let (link, answer) = match upstream::send(out, slot, id, || true, outgoing).await {
        Ok(answered) => answered,
        Err(error) => return Verdict::Unanswered(error),
    };
    let head = link.reader.bytes.get(..answer.bytes).unwrap_or_default();
    let asked = retry_after(head, out.clock.unix_now());
    let text = read_text(out, slot, link, &answer).await;
    let reason = Reason { status: answer.status, text };
    match answer.status {
        200..=299 => Verdict::Taken,
        429 => Verdict::Refused(reason, asked),
        400..=499 => Verdict::Rejected(reason),
        _ => Verdict::Refused(reason, asked),
    }
}

/// Reads an answer to its end and gives the connection back; how it begins, as text. What is wrong with
/// it does not change what its status says.
async fn read_text(out: &Outlet<'_>, slot: &Slot, mut link: Link, answer: &Answer) -> String {
    let mut body = Vec::new();
    let mut chunks = Chunks::default();
    link.reader.bytes.drain(..answer.bytes);
    let due = out.now().after(out.remote_timeout(link.to));
    let is_whole = loop {
        let read = &mut link.reader.bytes;
        let is_done = match answer.framing {
            AnswerFraming::Length(length) => {
                let left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(body.len());
                body.extend(read.drain(..left.min(read.len())));
                body.len() as u64 == length
            }
            AnswerFraming::Chunked => {
                let Ok(taken) = chunks.feed(read, |piece| body.extend_from_slice(piece)) else {
                    break false;
                };
                read.drain(..taken);
                chunks.is_done()
            }
            AnswerFraming::UntilClose => {
                body.append(read);
                false
            }
        };
        if is_done || body.len() > ANSWER_BYTES_MAX {
            break is_done;
        }
        match upstream::read_more(&mut link, slot, due).await {
            Ok(0) | Err(_) => break false,
            Ok(_) => {}
        }
    };
    if is_whole && link.reader.bytes.is_empty() && answer.persistence == Persistence::KeepAlive {
        out.links.give(link, out.now());
    }
    in_one_line(&body)
}

fn in_one_line(body: &[u8]) -> String {
    // No sign takes more than four bytes.
    let front = &body[..body.len().min(4 * REASON_CHARS_MAX)];
    let text = String::from_utf8_lossy(front);
    let signs = text.trim().chars().take(REASON_CHARS_MAX);
    // What an endpoint says must not look like a line of ours.
    signs.map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_a_thousand_signs() {
        assert_eq!(in_one_line(b" out of\norder\x1b[0m\n"), "out of order [0m");
        assert_eq!(in_one_line("\u{fc}".repeat(5000).as_bytes()).chars().count(), 1000);
        assert_eq!(in_one_line(b"\xff"), "\u{fffd}");
    }
}
