//! What a connection sends to the node that leads: from where it was read, and the leader's answer back.

use std::net::SocketAddr;

use crate::io::conn::{Body, Conn, Onward, Request};
use crate::io::passage::{Fault, RELAYED};
use crate::io::relay;
use crate::logic::view::Fate;
use crate::wire::http::head::{Framing, Persistence};
use crate::wire::http::reply::Refusal;
use crate::wire::http::rewrite::{add_pass, finish_head};
use crate::wire::remote_write::protocol::Protocol;
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
        let (outgoing, lent) = self.lend(request, request.framing, body);
        let exchange = relay::exchange(&self.core, &self.slot, &self.speaker, to, outgoing);
        let answered = exchange.await;
        let push = match (&answered, request.protocol) {
            (None, Some(protocol)) => {
                let body = &lent.bytes[lent.range.end - body_bytes..lent.range.end];
                Some(self.gather(plain_head, request.framing, body, protocol))
            }
            (Some(_), _) | (None, None) => None,
        };
        self.take_back(lent);
        match (answered, push) {
            (Some((link, answer)), _) => {
                self.answer_with(request, body_bytes, RELAYED, link, answer).await
            }
            (None, Some(push)) => self.passage(request, push).run(Fate::Park).await,
            (None, None) => Err(Refusal::NoLeader.into()),
        }
    }

    /// A request as it goes to the endpoint, should this node have to send it.
    fn gather(&self, mut head: Vec<u8>, framing: Framing, body: &[u8], protocol: Protocol) -> Push {
        if framing == Framing::Chunked {
            finish_head(body.len(), &mut head);
        }
        let mut piece = self.core.store.piece(head.len() + body.len());
        piece.extend_from_slice(&head);
        piece.extend_from_slice(body);
        // What may go to another node is written for nobody yet.
        Push::new(piece, head.len(), protocol)
    }
}
