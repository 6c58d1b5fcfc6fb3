//! What a connection refuses, and how it ends.

use monoio::buf::IoBufMut as _;

use super::{Conn, End, Request};
use crate::base::limits::LINGER_DEADLINE;
use crate::io::deadline::Patience;
use crate::io::passage::Fault;
use crate::shared::labels::Course;
use crate::shared::metrics::Counter;
use crate::shared::presence::Answered;
use crate::wire::http::answer::Asked;
use crate::wire::http::head::{Persistence, Version};
use crate::wire::http::reply::{MISDIRECTED, Refusal};

impl Conn {
    /// Refuses a request that was read to its end.
    pub(super) async fn refuse(&mut self, refusal: Refusal, request: &Request) -> End {
        self.speaker.answered(Answered::Refused);
        let persistence = match (request.persistence, refusal.persistence()) {
            (Persistence::KeepAlive, Persistence::KeepAlive) => Persistence::KeepAlive,
            (Persistence::Close, _) | (_, Persistence::Close) => Persistence::Close,
        };
        let written = self.write_refusal(refusal, request.asked, persistence).await;
        if written.is_ok() {
            self.core.on_answered(course_of(refusal), request.begun);
        }
        match (written, persistence) {
            (Err(_), _) => End::Close,
            (Ok(()), Persistence::KeepAlive) if request.version == Version::Http11 => End::Next,
            (Ok(()), _) => End::Linger,
        }
    }

    /// Refuses a request whose end was not found: nothing behind it can be trusted.
    pub(super) async fn refuse_unread(&mut self, fault: Fault) -> End {
        let Fault::Refused(refusal) = fault else { return End::Close };
        if refusal.status().0 == 503 {
            // It is alive, and will try again when we say; it must not lose its seat for that.
            self.speaker.refused_unread();
        }
        match self.write_refusal(refusal, Asked::Other, Persistence::Close).await {
            Ok(()) => End::Linger,
            Err(_) => End::Close,
        }
    }

    async fn write_refusal(
        &mut self,
        refusal: Refusal,
        asked: Asked,
        persistence: Persistence,
    ) -> Result<(), Fault> {
        let counter = match course_of(refusal) {
            Course::Failed => Counter::EndpointFailed,
            _ if refusal.status().0 == MISDIRECTED => Counter::Misdirected,
            Course::Refused => Counter::Refused,
            _ if refusal == Refusal::Unauthorized => Counter::Unauthorized,
            _ => Counter::Malformed,
        };
        self.core.handle.counters.add(counter, 1);
        let mut text = Vec::new();
        refusal.append(asked, persistence, self.core.retry_after_seconds(), &mut text);
        self.say(text).await
    }

    /// Says that nothing more comes, and reads away what the other end still sends: closing with
    /// unread bytes would reset the connection and take our answer with it.
    pub(super) async fn linger(&mut self) {
        let due = self.core.now().after(LINGER_DEADLINE);
        // With TLS the end is said, which whoever does not read would hold up.
        let ending = self.slot.within(due, Patience::Idle, self.channel.shutdown()).await;
        if !matches!(ending, Ok(Ok(()))) {
            return;
        }
        let mut buffer = Vec::with_capacity(4096);
        // Whoever sends fast enough is never waited for, so the time is looked at here too.
        while self.core.now() < due && !self.core.draining.get() {
            let room = buffer.capacity();
            let work = self.channel.read(buffer.slice_mut(..room));
            match self.slot.within(due, Patience::Idle, work).await {
                Ok((Ok(bytes), back)) if bytes > 0 => {
                    buffer = back.into_inner();
                    buffer.clear();
                }
                Ok(_) | Err(_) => return,
            }
        }
    }
}

fn course_of(refusal: Refusal) -> Course {
    match refusal.status().0 {
        502 | 504 => Course::Failed,
        503 | MISDIRECTED => Course::Refused,
        _ => Course::Malformed,
    }
}
