//! The way to an endpoint, and to another node: keep-alive connections of one thread, a core or another.
//!
//! The answer is awaited before the request is written, but for what of it goes at once (see
//! [`crate::io::dial`]): an endpoint may refuse a body early, with an answer and a close, and whoever
//! first writes to the end finds the answer reset away.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::base::limits::PARK_MAX;
use crate::base::time::Millis;
use crate::io::deadline::{Elapsed, Patience, Slot};
use crate::io::dial::dial;
use crate::io::endpoint::Outlet;
use crate::io::link::{EndpointId, Link, To};
use crate::io::tls::fault::TlsFault;
use crate::shared::labels::Code;
use crate::shared::metrics::Counter;
use crate::wire::http::answer::{self, Answer, AnswerError, AnswerFraming, Asked, Parsed};
use crate::wire::http::head::Persistence;

/// Why a request got no answer. All of it is the endpoint's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No address, or none that takes connections, or it broke off before it answered.
    Unreachable,
    /// There is no TLS connection with it.
    Tls(TlsFault),
    /// What it said is no answer.
    Unreadable,
    /// It did not connect, read or answer in time.
    TimedOut,
    /// It may not be sent any more: nothing was, or nothing again.
    NotLeading,
}

/// What an endpoint says to a request: the head of its answer, and the connection whose reader's
/// `bytes` start with it; or why it says nothing.
pub type Said = Result<(Link, Answer), SendError>;

/// A request on its way: `head`, and behind it `bytes[range]`, are what is written.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// A head that is no part of `bytes`, because those go to others too.
    pub head: Option<Arc<Vec<u8>>>,
    /// Counted: who sends it may keep it. A write that timed out holds it until the kernel is done.
    pub bytes: Arc<Vec<u8>>,
    /// The request in it, or what of it follows `head`.
    pub range: Range<usize>,
    /// Whether its answer has a body.
    pub asked: Asked,
}

/// How a request lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    InOnePiece,
    /// The head is not in front of its body: see [`crate::io::dial`].
    Apart,
}

impl Outgoing {
    fn layout(&self) -> Layout {
        if self.head.is_some() { Layout::Apart } else { Layout::InOnePiece }
    }
}

/// How one exchange on one connection ended.
enum Exchange {
    Answered(Answer),
    /// Closed or reset before the first byte of an answer: a reused connection may just have been
    /// closed by the other end.
    Dead,
    Failed(SendError),
}

impl Outgoing {
    /// A request that lies in one piece.
    pub fn whole(bytes: Arc<Vec<u8>>, range: Range<usize>, asked: Asked) -> Outgoing {
        Outgoing { head: None, bytes, range, asked }
    }
}

/// Sends a request to an endpoint and waits for the head of its answer.
///
/// Between a connection that turns out dead and the next one much time may pass: only who `may_send`
/// then writes to it.
pub async fn send(
    out: &Outlet<'_>,
    slot: &Slot,
    endpoint: EndpointId,
    may_send: impl Fn() -> bool,
    outgoing: Outgoing,
) -> Said {
    let (now, begun) = out.clock.both();
    let to = To::Endpoint(endpoint, out.endpoints.of(endpoint).edition);
    let said = try_send(out, slot, (to, now), may_send, outgoing).await;
    if let Some(code) = code_of(&said) {
        let span = said.is_ok().then(|| out.clock.nanos().since(begun));
        out.counters.add_said(endpoint.0, code, span);
    }
    note(out, endpoint, said.as_ref().err());
    said
}

/// What it is counted as; nothing if nothing was asked.
fn code_of(said: &Said) -> Option<Code> {
    match said {
        Ok((_, answer)) => Some(Code::of_status(answer.status)),
        Err(SendError::Unreachable) => Some(Code::Unreachable),
        Err(SendError::Tls(_)) => Some(Code::Tls),
        Err(SendError::Unreadable) => Some(Code::Unreadable),
        Err(SendError::TimedOut) => Some(Code::Timeout),
        Err(SendError::NotLeading) => None,
    }
}

/// The same to another node, for the connection of a source with this number.
pub async fn relay(
    out: &Outlet<'_>,
    slot: &Slot,
    (node, connection): (SocketAddr, u64),
    outgoing: Outgoing,
) -> Said {
    try_send(out, slot, (To::Node(node, connection), out.now()), || true, outgoing).await
}

/// Gives a connection back whose answer nobody wants to read. Only what is there already is read
/// away: a longer answer costs the connection.
pub fn discard(out: &Outlet<'_>, mut link: Link, answer: &Answer) {
    let AnswerFraming::Length(length) = answer.framing else { return };
    let is_whole = link.reader.bytes.len() as u64 == (answer.bytes as u64).saturating_add(length);
    if is_whole && answer.persistence == Persistence::KeepAlive {
        link.reader.bytes.clear();
        out.links.give(link, out.now());
    }
}

async fn try_send(
    out: &Outlet<'_>,
    slot: &Slot,
    (to, now): (To, Millis),
    may_send: impl Fn() -> bool,
    outgoing: Outgoing,
) -> Said {
    if let Some(mut link) = out.links.take(to) {
        match exchange(out, slot, &mut link, outgoing.clone(), now).await {
            Exchange::Answered(answer) => return Ok((link, answer)),
            Exchange::Failed(error) => return Err(error),
            Exchange::Dead => out.counters.add(Counter::EndpointRetried, 1),
        }
    }
    let layout = outgoing.layout();
    let mut link = match to {
        To::Endpoint(id, _) => connect_to_endpoint(out, slot, to, id, layout).await?,
        To::Node(node, _) => connect(out, slot, to, node, layout, NODE_CONNECTS_MAX).await?,
    };
    if !may_send() {
        return Err(SendError::NotLeading);
    }
    match exchange(out, slot, &mut link, outgoing, out.now()).await {
        Exchange::Answered(answer) => Ok((link, answer)),
        Exchange::Failed(error) => Err(error),
        Exchange::Dead => Err(broken(&link)),
    }
}

/// A fresh connection that broke off. TLS may only then refuse our certificate.
fn broken(link: &Link) -> SendError {
    match link.tls_fault() {
        None | Some(TlsFault::Truncated) => SendError::Unreachable,
        Some(fault) => SendError::Tls(fault),
    }
}

fn note(out: &Outlet<'_>, id: EndpointId, error: Option<&SendError>) {
    let tls = match error {
        Some(SendError::Tls(fault)) => Some(*fault),
        _ => None,
    };
    if !out.links.note(id, error.is_some(), tls) {
        return;
    }
    // Of one endpoint alone the name says nothing.
    let place = match out.endpoints.all() {
        [_] => out.thread.to_owned(),
        _ => format!("{}, {}", out.endpoints.of(id).name, out.thread),
    };
    match error {
        Some(SendError::Unreachable) => {
            out.log.warn(&format!("endpoint can't be reached ({place})"));
        }
        Some(SendError::Tls(fault)) => out.log.warn(&format!("{fault} ({place})")),
        Some(SendError::Unreadable) => {
            out.log.warn(&format!("endpoint's answer is not HTTP ({place})"));
        }
        Some(SendError::TimedOut) => {
            out.log.warn(&format!("endpoint does not answer in time ({place})"));
        }
        // That says nothing of the endpoint.
        Some(SendError::NotLeading) => {}
        None => out.log.info(&format!("endpoint answers again ({place})")),
    }
}

/// Reads more of an answer behind what is there.
pub async fn read_more(link: &mut Link, slot: &Slot, due: Millis) -> Result<usize, SendError> {
    match slot.within(due, Patience::Busy, link.reader.read_more()).await {
        Err(Elapsed) => Err(SendError::TimedOut),
        Ok(read) => read.map_err(|_| SendError::Unreachable),
    }
}

/// Tries all addresses in order until one takes the connection.
async fn connect_to_endpoint(
    out: &Outlet<'_>,
    slot: &Slot,
    to: To,
    id: EndpointId,
    layout: Layout,
) -> Result<Link, SendError> {
    let endpoint = out.endpoints.of(id);
    let addresses = endpoint.addresses.now();
    let mut error = SendError::Unreachable;
    // All of them together get the time of one.
    let each = endpoint.remote_timeout.0 / addresses.len().max(1) as u64;
    for address in addresses.iter() {
        match connect(out, slot, to, *address, layout, Millis(each.max(1000))).await {
            Ok(link) => {
                out.counters.add(Counter::EndpointConnections, 1);
                return Ok(link);
            }
            Err(SendError::Unreachable) => {}
            // Of several addresses the last that says more than nothing.
            Err(more) => error = more,
        }
    }
    endpoint.addresses.on_unreachable();
    Err(error)
}

async fn connect(
    out: &Outlet<'_>,
    slot: &Slot,
    to: To,
    address: SocketAddr,
    layout: Layout,
    patience: Millis,
) -> Result<Link, SendError> {
    let due = out.now().after(patience);
    let dialled = slot.within(due, Patience::Busy, dial(address, out.kind)).await;
    let (stream, second) = match dialled {
        Ok(Ok(both)) => both,
        Ok(Err(_)) => return Err(SendError::Unreachable),
        Err(Elapsed) => return Err(SendError::TimedOut),
    };
    let tls = match to {
        To::Endpoint(id, _) => out.endpoints.of(id).tls.as_ref(),
        To::Node(..) => out.nodes_tls,
    };
    let Some(tls) = tls else {
        return Ok(Link::new(to, stream, (layout == Layout::Apart).then_some(second)));
    };
    // A handshake that hangs needs no two.
    drop(second);
    let session = tls.session().map_err(SendError::Tls)?;
    // Boxed: it is rare, and would make the way of every request longer.
    Box::pin(shake_hands(slot, due, Link::over_tls(to, stream, session))).await
}

async fn shake_hands(slot: &Slot, due: Millis, mut link: Link) -> Result<Link, SendError> {
    match slot.within(due, Patience::Busy, link.shake_hands()).await {
        Ok(Ok(())) if link.reader.bytes.is_empty() => Ok(link),
        // It speaks before it was asked.
        Ok(Ok(())) => Err(SendError::Unreadable),
        Ok(Err(fault)) => Err(SendError::Tls(fault)),
        Err(Elapsed) => Err(SendError::TimedOut),
    }
}

/// Writes a request and reads until the head of its answer is whole.
async fn exchange(
    out: &Outlet<'_>,
    slot: &Slot,
    link: &mut Link,
    outgoing: Outgoing,
    now: Millis,
) -> Exchange {
    link.wrote_all = false;
    let asked = outgoing.asked;
    match write_and_read(out, slot, link, outgoing, now).await {
        Ok(0) | Err(SendError::Unreachable) if link.reader.bytes.is_empty() => Exchange::Dead,
        Ok(0) => Exchange::Failed(SendError::Unreachable),
        Err(error) => Exchange::Failed(error),
        Ok(_) => read_head(out, slot, link, asked).await,
    }
}

/// Reads on until the head is whole; the first bytes of it are there.
async fn read_head(out: &Outlet<'_>, slot: &Slot, link: &mut Link, asked: Asked) -> Exchange {
    let mut due = None;
    loop {
        match answer::parse(&link.reader.bytes, asked) {
            Ok(Parsed::Final(answer)) => return Exchange::Answered(answer),
            Ok(Parsed::Interim(bytes)) => {
                link.reader.bytes.drain(..bytes);
                continue;
            }
            Ok(Parsed::Partial) => {}
            Err(error) => return Exchange::Failed(of_answer(error)),
        }
        // Most come whole: the clock is not read for them.
        let now = out.now();
        let due = *due.get_or_insert_with(|| now.after(out.remote_timeout(link.to)));
        // What is there at once is read before the deadline is looked at.
        if now >= due {
            return Exchange::Failed(SendError::TimedOut);
        }
        match read_more(link, slot, due).await {
            Ok(0) => return Exchange::Failed(SendError::Unreachable),
            Ok(_) => {}
            Err(error) => return Exchange::Failed(error),
        }
    }
}

/// Writes a request while the first bytes of the answer are already awaited.
async fn write_and_read(
    out: &Outlet<'_>,
    slot: &Slot,
    link: &mut Link,
    outgoing: Outgoing,
    now: Millis,
) -> Result<usize, SendError> {
    let timeout = out.remote_timeout(link.to);
    let Outgoing { head, bytes, range, asked } = outgoing;
    let answered_in = match link.to {
        To::Endpoint(..) => timeout,
        // It parks the request, connects, sends, and waits itself, and is to be the one that gives up.
        To::Node(..) => timeout.times(3).after(PARK_MAX),
    };
    let Link { reader, writer, wrote_all, .. } = link;
    let mut write = pin!(writer.write_all(head, bytes, range));
    let (mut early, mut early_reads) = (None, 0);
    slot.arm(now.after(timeout), Patience::Busy);
    let written = poll_fn(|context| {
        if let Poll::Ready(written) = write.as_mut().poll(context) {
            return Poll::Ready(Ok(written));
        }
        while early.is_none()
            && let Poll::Ready(read) = reader.poll(context)
        {
            early_reads += 1;
            let is_answer = early_reads > EARLY_READS_MAX || has_answered(&mut reader.bytes, asked);
            if matches!(read, Ok(1..)) && !is_answer {
                continue;
            }
            early = Some(read);
            // It has answered or gone: it need not read the rest, so it is not waited for long.
            slot.arm(out.now().after(timeout.min(EARLY_ANSWER_PATIENCE)), Patience::Busy);
        }
        slot.poll_over(context)
    });
    let written = written.await;
    if let Ok(written) = &written {
        *wrote_all = written.is_ok();
    }
    let read = match (early, written) {
        (Some(read), _) => read,
        // Nothing was heard, and it does not even read.
        (None, Err(Elapsed)) => return Err(SendError::TimedOut),
        (None, Ok(_)) => {
            let due = out.now().after(answered_in);
            match slot.within(due, Patience::Busy, reader.read_more()).await {
                Ok(read) => read,
                Err(Elapsed) => return Err(SendError::TimedOut),
            }
        }
    };
    read.map_err(|_| SendError::Unreachable)
}

/// Whether `bytes` hold the head of an answer, or what can't become one. Interim answers are
/// dropped: an endpoint that says `100 Continue` wants the rest.
fn has_answered(bytes: &mut Vec<u8>, asked: Asked) -> bool {
    loop {
        match answer::parse(bytes, asked) {
            Ok(Parsed::Interim(interim)) => drop(bytes.drain(..interim)),
            Ok(Parsed::Partial) => return false,
            Ok(Parsed::Final(_)) | Err(_) => return true,
        }
    }
}

/// A node that is there takes a connection in this time: who waits longer finds another leader first.
const NODE_CONNECTS_MAX: Millis = Millis(2000);

/// After so many reads that brought no answer while the request is written, the rest is read when it is
/// written: interim answers without end would hold up the core.
const EARLY_READS_MAX: u32 = 64;

/// How long an endpoint that has answered early is given to read the rest of the request.
const EARLY_ANSWER_PATIENCE: Millis = Millis(2000);

fn of_answer(error: AnswerError) -> SendError {
    match error {
        AnswerError::TooLong
        | AnswerError::BadHead
        | AnswerError::BadFraming
        | AnswerError::Switched => SendError::Unreadable,
    }
}
