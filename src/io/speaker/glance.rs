//! What is seen of the times in the bodies that a source sends.

use super::Speaker;
use crate::base::time::{Millis, UnixMillis};
use crate::io::core::Reader;
use crate::logic::lookout::Glance;
use crate::logic::view::Event;
use crate::wire::remote_write::first::first_timestamp;
use crate::wire::remote_write::points::Span;
use crate::wire::remote_write::protocol::Protocol;

impl Speaker {
    /// The oldest sample of a request, as far as it is looked at, see [`Lookout`](crate::logic::lookout::Lookout). If it jumps, the
    /// source is under suspicion after this, before anything of it has gone out.
    pub fn first(&self, protocol: Protocol, body: &[u8]) -> Option<UnixMillis> {
        let now = self.core.now();
        let mut lookout = self.lookout.get();
        if !lookout.is_due(now) {
            return None;
        }
        let known = self.known();
        let Some(first) = self.look_at(protocol, body) else {
            lookout.on_none(now);
            self.lookout.set(lookout);
            return None;
        };
        let unix_now = self.core.clock.unix_now();
        let glance = lookout.on_first(first, known.source.behind_max(), now, unix_now);
        self.lookout.set(lookout);
        let span = match glance {
            Glance::First => None,
            Glance::Whole => self.span(protocol, body),
        };
        let (ends, gap) = match span {
            Some(Span { oldest_ms, newest_ms, gap_ms, gap_to_ms }) => {
                let gap = (Millis(gap_ms), UnixMillis(gap_to_ms));
                ((UnixMillis(oldest_ms), UnixMillis(newest_ms)), Some(gap))
            }
            None => ((first, first), None),
        };
        if known.source.on_seen(self.core.handle.index, ends, gap) {
            let others = known.seat.sources().all.len() > 1;
            if others && known.seat.view().has_voice(known.source.id) {
                self.publish(known, Event::Suspected(known.source.id));
            }
        }
        Some(ends.0)
    }

    /// What times a request spans.
    fn span(&self, protocol: Protocol, body: &[u8]) -> Option<Span> {
        let mut reader = self.core.reader.borrow_mut();
        let Reader { decoder, times, .. } = &mut *reader;
        let limit = self.core.terms().decoded_bytes_max;
        Span::of_block(protocol, body, limit, decoder, times).ok().flatten()
    }

    /// The first sample of a request.
    pub fn look_at(&self, protocol: Protocol, body: &[u8]) -> Option<UnixMillis> {
        let mut reader = self.core.reader.borrow_mut();
        let limit = self.core.terms().decoded_bytes_max;
        first_timestamp(protocol, body, limit, &mut reader.front).map(UnixMillis)
    }
}
