//! A request that is sent on until the endpoint has answered for good.
//!
//! Its source has been told that it is safe, so nobody else would try again.

use crate::base::limits::{REPLAY_BACKOFF_FIRST, REPLAY_BACKOFF_MAX};
use crate::base::time::Millis;
use crate::wire::remote_write::push::Push;

/// One request, from its first try on.
#[derive(Debug)]
pub struct Sending {
    /// The request.
    pub push: Push,
    /// Its samples and histograms.
    pub points: u64,
    /// The pause before the next try, if one is needed.
    backoff: Millis,
    /// When the next try is due; `None` while it is out.
    pub due: Option<Millis>,
}

impl Sending {
    /// It is out.
    pub fn new(push: Push, points: u64) -> Sending {
        Sending { push, points, backoff: REPLAY_BACKOFF_FIRST, due: None }
    }

    /// It has to be tried again.
    pub fn put_off(&mut self, now: Millis) {
        self.due = Some(now.after(self.backoff));
        self.backoff = self.backoff.times(2).min(REPLAY_BACKOFF_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write::protocol::Protocol;

    #[test]
    fn the_pauses_between_tries_double_up_to_a_bound() {
        let mut sending = Sending::new(Push::new(Vec::new(), 0, Protocol::V1), 0);
        assert_eq!(sending.due, None);
        for pause in [30, 60, 120] {
            sending.put_off(Millis(1000));
            assert_eq!(sending.due, Some(Millis(1000 + pause)));
        }
        (0..10).for_each(|_| sending.put_off(Millis(0)));
        assert_eq!(sending.due, Some(REPLAY_BACKOFF_MAX));
    }
}
