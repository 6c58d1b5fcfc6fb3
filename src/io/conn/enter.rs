//! How a connection begins.

use super::Conn;
use crate::base::limits::HEAD_DEADLINE;
use crate::io::deadline::{Elapsed, Patience};
use crate::io::passage::Fault;
use crate::io::tls::fault::TlsFault;
use crate::io::tls::session::Session;
use crate::shared::metrics::Counter;

impl Conn {
    /// Begins TLS, if it is to be spoken.
    pub(super) async fn shake_hands(&mut self) -> Result<(), Fault> {
        let Some(door) = &mut self.door else { return Ok(()) };
        let Some(tls) = &door.rules().tls else { return Ok(()) };
        let session = Session::accept(&tls.config).map_err(|_| Fault::Gone)?;
        self.channel.seal(session, self.inbound.bytes());
        self.inbound.replace(b"");
        let due = self.core.now().after(HEAD_DEADLINE);
        // Boxed: it is rare, and would make every connection larger.
        let shaking = Box::pin(self.channel.shake_hands());
        let fault = match self.slot.within(due, Patience::Idle, shaking).await {
            Ok(Ok(())) => {
                door.on_shaken(&self.channel);
                self.speaker.on_guest(door.guest());
                return Ok(());
            }
            Ok(Err(fault)) => Some(fault),
            Err(Elapsed) => None,
        };
        // A probe that has said nothing is not worth a word, nor what we end ourselves.
        if !self.channel.has_heard() || self.core.draining.get() {
            return Err(Fault::Gone);
        }
        self.core.handle.counters.add(Counter::HandshakesFailed, 1);
        let client = format!("a client at {}", self.speaker.peer());
        self.core.tell_fault(fault.unwrap_or(TlsFault::Slow), &client);
        // What else it has said, perhaps a whole request, would have a close reset the connection, and take
        // with it what it was told.
        self.channel.give_up();
        self.linger().await;
        Err(Fault::Gone)
    }
}
