//! How a connection begins.

use super::Conn;
use crate::base::limits::HEAD_DEADLINE;
use crate::io::deadline::{Elapsed, Patience};
use crate::io::door::FAULTS_TOLD_EVERY;
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
            Ok(Err(fault)) => fault,
            Err(Elapsed) => TlsFault::Closed,
        };
        self.core.handle.counters.add(Counter::HandshakesFailed, 1);
        let now = self.core.now();
        if self.core.fault_told.get().is_none_or(|told| now.since(told) >= FAULTS_TOLD_EVERY) {
            self.core.fault_told.set(Some(now));
            self.core.log.warn(&fault.of_whom(&format!("a client at {}", self.speaker.peer())));
        }
        Err(Fault::Gone)
    }
}
