//! What a hand-over cost, for the log and for whoever asks later.

use std::fmt;

use crate::base::time::Millis;

/// The cost of one hand-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From the newest sample delivered before it to the newest one sent on.
    pub bridged: Millis,
    /// Requests sent on.
    pub bodies: u64,
    /// Samples and histograms sent on.
    pub replayed: u64,
    /// Samples and histograms of held requests that had been delivered already.
    pub skipped: u64,
    /// Samples and histograms that the endpoint rejected.
    pub lost: u64,
    /// Requests that could not be read and were sent on as they were.
    pub unreadable: u64,
    /// From the change of the seat to the endpoint's last answer to what was held.
    pub duration: Millis,
    /// The most bytes that it took at a time.
    pub peak_bytes: usize,
}

/// The fields of a log line.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { bridged, bodies, replayed, skipped, lost, duration, peak_bytes, .. } = self;
        write!(
            f,
            "bridged={bridged} bodies={bodies} replayed={replayed} skipped={skipped} lost={lost} \
             duration={duration} peak={peak_bytes}"
        )?;
        match self.unreadable {
            0 => Ok(()),
            unreadable => write!(f, " unreadable={unreadable}"),
        }
    }
}
