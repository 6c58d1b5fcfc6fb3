//! What a connection sends to the node that leads: from where it was read, and the leader's answer back.

use std::net::SocketAddr;

use crate::io::answer;
use crate::io::conn::{Body, Conn, Onward, Request};
use crate::io::passage::{Fault, Passage, until_led_otherwise};
use crate::io::upstream;
use crate::logic::view::Fate;
use crate::shared::metrics::Counter;
use crate::shared::presence::Answered;
use crate::wire::http::head::{Framing, Persistence};
use crate::wire::http::reply::{MISDIRECTED, Refusal};
use crate::wire::http::rewrite::{add_pass, finish_head};
use crate::wire::remote_write::push::Push;

impl Conn {
    /// Sends a request to the node that takes requests at `to`. If it does not answer, or does not lead,
    /// remote write is tried again as long as a request may wait.
    pub(super) async fn relay(
        &mut self,
        request: &Request,
        body: Body,
        to: SocketAddr,
    ) -> Result<Persistence, Fault> {
        let pass = self.speaker.pass().filter(|_| request.onward == Onward::Perhaps);
        let Some(pass) = pass else {
            // Who leads has changed while its body came: there is no room for the pass where it lies.
            return match request.protocol {
                Some(protocol) => self.write(request, body, protocol, Fate::Park).await,
                None => {
                    self.drop_body(&body, request.keeping);
                    Err(Refusal::NoLeader.into())
                }
            };
        };
        let (plain_head, body_bytes) = (self.head_out.clone(), body.bytes);
        add_pass(request.framing, &pass, &mut self.head_out);
        let (outgoing, lent) = self.lend(request, body);
        let (core, slot) = (&self.core, &self.slot);
        let way = (to, self.speaker.connection());
        let relayed = upstream::relay(core, slot, way, outgoing);
        let result = until_led_otherwise(core, self.speaker.seat(), to, relayed).await;
        let (link, answer) = match result {
            Some(Ok((link, answer))) if answer.status != MISDIRECTED => (link, answer),
            other => {
                if let Some(Ok((link, answer))) = other {
                    upstream::discard(core, link, &answer);
                }
                core.handle.counters.add(Counter::RelayRetried, 1);
                let protocol = request.protocol.map(|protocol| {
                    let body = &lent.bytes[lent.range.end - body_bytes..lent.range.end];
                    let mut head = plain_head;
                    if request.framing == Framing::Chunked {
                        finish_head(body_bytes, &mut head);
                    }
                    let mut piece = core.store.piece(head.len() + body_bytes);
                    piece.extend_from_slice(&head);
                    piece.extend_from_slice(body);
                    Push::new(piece, head.len(), protocol)
                });
                self.take_back(lent);
                let Some(push) = protocol else { return Err(Refusal::NoLeader.into()) };
                let passage = Passage {
                    core: &self.core,
                    slot: &self.slot,
                    stream: &mut self.stream,
                    speaker: &self.speaker,
                    manner: request.manner(),
                    push,
                    is_held: false,
                };
                return passage.run(Fate::Park).await;
            }
        };
        self.take_back(lent);
        let is_refused = answer.status >= 500 || answer.status == 429;
        self.speaker.answered(if is_refused { Answered::Refused } else { Answered::Settled });
        self.count(Counter::Relayed, Counter::RelayedBytes, body_bytes);
        let (slot, stream) = (&self.slot, &mut self.stream);
        answer::pass_on(&self.core, slot, stream, link, answer, request.manner())
            .await
            .map_err(|_| Fault::Gone)
    }
}
