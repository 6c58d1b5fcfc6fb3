//! What a trusted proxy says before a connection's first request: for whom it speaks on it.

use crate::base::limits::HEAD_DEADLINE;
use crate::io::conn::{Conn, End};
use crate::io::deadline::Patience;
use crate::io::inbound::ReadError;
use crate::io::passage::Fault;
use crate::shared::metrics::Counter;
use crate::wire::http::reply::Refusal;
use crate::wire::proxy_protocol::{self, Opening};

impl Conn {
    /// Reads the header of the PROXY protocol, if there is one, and leaves all that comes behind it. Of
    /// whoever is not trusted nothing is read here, so that there a header is what it is: no request.
    pub(super) async fn greet(&mut self) -> End {
        if !self.core.terms().recognition.trusts(self.speaker.peer().ip()) {
            return End::Next;
        }
        match self.read_opening().await {
            Ok(()) => End::Next,
            Err(fault) => self.refuse_unread(fault).await,
        }
    }

    async fn read_opening(&mut self) -> Result<(), Fault> {
        self.inbound.rewind(self.awaited());
        let due = self.core.now().after(HEAD_DEADLINE);
        loop {
            match proxy_protocol::parse(self.inbound.bytes()) {
                Ok(Some(Opening::Bare)) => return Ok(()),
                Ok(Some(Opening::Header { client, bytes })) => {
                    self.inbound.consume(bytes);
                    self.speaker.on_introduced(client);
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => {
                    self.core.handle.counters.add(Counter::ProxyHeadersMalformed, 1);
                    return Err(Refusal::ProxyHeader(error).into());
                }
            }
            let patience = match self.inbound.bytes() {
                [] if self.core.draining.get() => return Err(Fault::Gone),
                [] => Patience::Idle,
                _ => Patience::Busy,
            };
            self.inbound.grow_for_head();
            match self.inbound.read(&mut self.channel, &self.slot, due, patience).await {
                Ok(()) => {}
                Err(ReadError::TimedOut) if patience == Patience::Busy => {
                    self.inbound.replace(b"");
                    return Err(Refusal::HeadTimedOut.into());
                }
                Err(_) => return Err(Fault::Gone),
            }
        }
    }
}
