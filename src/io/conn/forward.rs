//! What a connection sends on: from where it was read if nothing of it is kept, else in one piece of
//! its own.

use std::ops::Range;
use std::sync::Arc;

use crate::io::answer;
use crate::io::buffers::Share;
use crate::io::conn::{Body, Conn, Request};
use crate::io::fan::{outcome_of, refusal_of};
use crate::io::link::{EndpointId, Link};
use crate::io::passage::{Counted, FORWARDED, Fault, Passage};
use crate::io::upstream::{self, Outgoing, Said};
use crate::logic::shelf::{Kept, Sent};
use crate::logic::source::Payload;
use crate::logic::view::Fate;
use crate::shared::presence::Answered;
use crate::wire::http::answer::Answer;
use crate::wire::http::form::Form;
use crate::wire::http::head::{Framing, Persistence};
use crate::wire::http::reply::Refusal;
use crate::wire::http::rewrite::finish_head;
use crate::wire::remote_write::protocol::Protocol;
use crate::wire::remote_write::push::Push;

/// The buffer of a request that is on its way to the endpoint, or to another node.
pub(super) struct Lent {
    /// What had no room before the body.
    head: Arc<Vec<u8>>,
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) range: Range<usize>,
    /// What of it lies behind the request: the beginning of the next one.
    rest: usize,
    /// The same, should the buffer be lost to a timeout.
    spare: Vec<u8>,
    /// Whether it is the connection's. A gathered body's is freed.
    is_own: bool,
    _share: Option<Share>,
}

impl Conn {
    /// What the promoted source sends and is not remote write: to the first endpoint, and its answer
    /// back.
    pub(super) async fn forward(
        &mut self,
        request: &Request,
        body: Body,
    ) -> Result<Persistence, Fault> {
        let Some((first, _)) = request.terms.first else {
            self.drop_body(&body, request.keeping);
            return Err(Refusal::RemoteWriteOnly.into());
        };
        let body_bytes = body.bytes;
        let framing = match request.form {
            Form::Own(_) => request.framing,
            // It might have gone to another node.
            Form::Common => self.write_own_head(request, body_bytes, first)?,
        };
        let (said, lent) = self.send(request, framing, body, first).await;
        self.take_back(lent);
        let (link, answer) = said.map_err(refusal_of)?;
        self.answer_with(request, body_bytes, FORWARDED, link, answer).await
    }

    /// Remote write of which nothing is kept, see [`Speaker::is_thin`]: to the only endpoint.
    ///
    /// [`Speaker::is_thin`]: crate::io::speaker::Speaker::is_thin
    pub(super) async fn forward_unkept(
        &mut self,
        request: &Request,
        body: Body,
        protocol: Protocol,
    ) -> Result<Persistence, Fault> {
        let alone = request.terms.alone().filter(|(_, own)| request.form == Form::Own(*own));
        let Some((alone, _)) = alone else {
            return self.write(request, body, protocol, Fate::Forward).await;
        };
        let first = self.speaker.first(protocol, self.content(&body));
        if first.is_some() {
            // A jump of its samples may just have put its source under suspicion.
            let fate = self.speaker.decide(Payload::RemoteWrite)?;
            if fate != Fate::Forward {
                return self.write(request, body, protocol, fate).await;
            }
        }
        let (stock, source) = (self.speaker.stock().clone(), self.speaker.source().clone());
        self.core.store.on_sent(&stock, &source, first);
        let body_bytes = body.bytes;
        let (said, lent) = self.send(request, request.framing, body, alone).await;
        let (core, outcome) = (&self.core, outcome_of(&said));
        let counters = &core.handle.counters;
        if stock.may_leave(outcome) {
            core.store.on_unkept(&stock, &source, first, lent.range.len(), counters);
        } else {
            // Only now it is made a piece of its own.
            let mut bytes = core.store.piece(lent.head.len() + lent.range.len());
            bytes.extend_from_slice(&lent.head);
            bytes.extend_from_slice(&lent.bytes[lent.range.clone()]);
            let push = Push::new(bytes, lent.head.len() + lent.range.len() - body_bytes, protocol);
            let push = push.in_form(request.form);
            let sent = Sent { kept: Kept { arrived: core.store.nanos(), push }, first };
            let look = |push: &Push| self.speaker.look_at(push.protocol(), push.body());
            core.store.on_forwarded(&stock, &source, sent, outcome, counters, look);
        }
        self.take_back(lent);
        let (link, answer) = said.map_err(refusal_of)?;
        self.answer_with(request, body_bytes, FORWARDED, link, answer).await
    }

    /// A remote write request: in one piece of its own, which may be kept.
    pub(super) async fn write(
        &mut self,
        request: &Request,
        mut body: Body,
        protocol: Protocol,
        fate: Fate,
    ) -> Result<Persistence, Fault> {
        let share = body.share.take();
        if request.framing == Framing::Chunked {
            finish_head(body.bytes, &mut self.head_out);
        }
        let head_bytes = self.head_out.len();
        let (start, bytes) = match body.gathered.take_if(|_| body.is_piece) {
            Some(piece) => (0, piece),
            None => self.piece(request, &body),
        };
        drop((share, body));
        let push = Push::behind(start, bytes, head_bytes, protocol).in_form(request.form);
        self.passage(request, push).run(fate).await
    }

    /// The way of a remote write request.
    pub(super) fn passage(&mut self, request: &Request, push: Push) -> Passage<'_> {
        Passage {
            core: &self.core,
            slot: &self.slot,
            channel: &mut self.channel,
            speaker: &self.speaker,
            manner: request.manner(),
            begun: request.begun,
            push,
            is_held: false,
            has_parked: false,
        }
    }

    /// Puts the head for the endpoint right before the body, where that was read if it can stay there.
    fn piece(&mut self, request: &Request, body: &Body) -> (usize, Vec<u8>) {
        let head = &self.head_out;
        if let (Some(_), None) = (self.like, &body.gathered)
            // See `outgoing`.
            && self.inbound.used_bytes() >= head.len()
            && let Some((mut piece, body_start)) = self.inbound.give_away(body.bytes)
        {
            let start = body_start - head.len();
            piece[start..body_start].copy_from_slice(head);
            return (start, piece);
        }
        let mut piece = self.core.store.piece(head.len() + body.bytes);
        piece.extend_from_slice(head);
        piece.extend_from_slice(self.content(body));
        self.drop_body(body, request.keeping);
        (0, piece)
    }

    /// The bytes of a body that was read to its end.
    fn content<'b>(&'b self, body: &'b Body) -> &'b [u8] {
        match &body.gathered {
            Some(gathered) => &gathered[gathered.len() - body.bytes..],
            None => &self.inbound.bytes()[..body.bytes],
        }
    }

    /// Makes a common head the endpoint's own. With that it is whole, whatever the body came in.
    fn write_own_head(
        &mut self,
        request: &Request,
        body_bytes: usize,
        to: EndpointId,
    ) -> Result<Framing, Fault> {
        if request.framing == Framing::Chunked {
            finish_head(body_bytes, &mut self.head_out);
        }
        let own = request.terms.endpoints.of(to).route.own_head(&self.head_out);
        self.head_out = own.map_err(Refusal::Head)?;
        Ok(Framing::Length(body_bytes as u64))
    }

    async fn send(
        &mut self,
        request: &Request,
        framing: Framing,
        body: Body,
        to: EndpointId,
    ) -> (Said, Lent) {
        let (outgoing, lent) = self.lend(request, framing, body);
        let said = {
            let _in_flight = self.speaker.in_flight();
            let may_send = || self.speaker.seat().may_send(|| self.core.now());
            let out = self.core.outlet(&request.terms);
            upstream::send(&out, &self.slot, to, may_send, outgoing).await
        };
        (said, lent)
    }

    /// The request as it goes out, from where it was read.
    pub(super) fn lend(
        &mut self,
        request: &Request,
        framing: Framing,
        mut body: Body,
    ) -> (Outgoing, Lent) {
        let (share, is_own) = (body.share.take(), body.gathered.is_none());
        let (outgoing, rest) = self.outgoing(request, framing, body);
        let (bytes, range) = (outgoing.bytes.clone(), outgoing.range.clone());
        let spare = bytes[range.end..].to_vec();
        let head = outgoing.head.clone().unwrap_or_default();
        (outgoing, Lent { head, bytes, range, rest, spare, is_own, _share: share })
    }

    /// The buffer is the connection's again, or what was read of the next request in a new one.
    pub(super) fn take_back(&mut self, lent: Lent) {
        match (Arc::try_unwrap(lent.bytes), lent.is_own) {
            (Ok(buffer), true) => self.inbound.restore(buffer, lent.rest),
            (Err(_), true) => self.inbound.replace(&lent.spare),
            (_, false) => {}
        }
    }

    /// The answer of the endpoint, or of another node, back to the source.
    pub(super) async fn answer_with(
        &mut self,
        request: &Request,
        body_bytes: usize,
        (requests, bytes, course): Counted,
        link: Link,
        answer: Answer,
    ) -> Result<Persistence, Fault> {
        self.speaker.answered(Answered::with(answer.status));
        self.count(requests, bytes, body_bytes);
        answer::count(&self.core.handle.counters, requests, &answer);
        let (slot, channel) = (&self.slot, &mut self.channel);
        let passed = answer::pass_on(&self.core, slot, channel, link, answer, request.manner());
        let persistence = passed.await.map_err(|_| Fault::Gone)?;
        self.core.on_answered(course, request.begun);
        Ok(persistence)
    }

    /// Puts the head for the endpoint right before the body, if there is room for it. With it comes how
    /// many bytes of the next request lie behind the body.
    fn outgoing(&mut self, request: &Request, framing: Framing, body: Body) -> (Outgoing, usize) {
        let (mut buffer, start) = match body.gathered {
            Some(gathered) => {
                let start = gathered.len() - body.bytes;
                (gathered, start)
            }
            None => self.inbound.lend(),
        };
        if framing == Framing::Chunked {
            finish_head(body.bytes, &mut self.head_out);
        }
        let (end, asked) = (start + body.bytes, request.asked);
        let rest = buffer.len() - end;
        // Where the body was read behind its own head, that and the headroom are room enough, unless a
        // reload has made the route longer; where it was moved, `front` was asked for.
        let Some(head_start) = start.checked_sub(self.head_out.len()) else {
            let head = Some(Arc::new(std::mem::take(&mut self.head_out)));
            return (Outgoing { head, bytes: Arc::new(buffer), range: start..end, asked }, rest);
        };
        buffer[head_start..start].copy_from_slice(&self.head_out);
        (Outgoing::whole(Arc::new(buffer), head_start..end, asked), rest)
    }
}
