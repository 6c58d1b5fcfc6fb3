//! Time as a number one can add to.
//!
//! Nothing below the I/O floor reads a clock: `Millis` are handed in. They count from the start of
//! the process, so that a step of the wall clock can neither expire a source nor revive one.

use std::fmt;
use std::time::Duration;

/// Milliseconds, as a point in time since the process started or as a span between two such points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The time from `earlier` to `self`, zero if `earlier` is later: clocks of two cores may be
    /// read in either order.
    pub fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// This point in time, `span` later.
    pub fn after(self, span: Millis) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }

    /// `factor` times this span.
    pub fn times(self, factor: u64) -> Millis {
        Millis(self.0.saturating_mul(factor))
    }
}

/// A moment of the wall clock, in milliseconds since 1970: when a sample was taken. Two clocks that
/// must never be mixed: [`Millis`] decide who is alive, these where the cut goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Before everything.
    pub const MIN: UnixMillis = UnixMillis(i64::MIN);
    /// After everything.
    pub const MAX: UnixMillis = UnixMillis(i64::MAX);

    /// `span` earlier.
    pub fn before(self, span: Millis) -> UnixMillis {
        UnixMillis(self.0.saturating_sub_unsigned(span.0))
    }

    /// `span` later.
    pub fn after(self, span: Millis) -> UnixMillis {
        UnixMillis(self.0.saturating_add_unsigned(span.0))
    }
}

/// Nanoseconds since the process started: the order in which requests came, on whatever core. A
/// source sends its next request only after the answer to the last one, so two that carry the same
/// series never share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<Millis> for Nanos {
    fn from(millis: Millis) -> Self {
        Nanos(millis.0.saturating_mul(1_000_000))
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        Duration::from_millis(millis.0)
    }
}

/// Written as the original wrote it, in Go's notation: `5s`, `1m30s`, `250ms`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if whole == 0 {
            return match rest {
                0 => f.write_str("0s"),
                _ => write!(f, "{rest}ms"),
            };
        }
        let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if whole >= 60 {
            write!(f, "{minutes}m")?;
        }
        match rest {
            0 => write!(f, "{seconds}s"),
            _ => write!(f, "{}s", format!("{seconds}.{rest:03}").trim_end_matches('0')),
        }
    }
}

/// What is wrong with a written duration.
#[derive(Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Nothing was written.
    Empty,
    /// A number or a unit is missing or unknown.
    Malformed,
    /// More than `u64` milliseconds.
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DurationError::Empty => "is empty",
            DurationError::Malformed => "is not a duration such as 500ms, 5s or 1m30s",
            DurationError::TooLong => "is too long",
        })
    }
}

/// Reads a duration in Go's and Prometheus's notation: one or more of `1d`, `2h`, `30m`, `5s`,
/// `250ms`, with decimal fractions (`1.5s`); parts of a millisecond are cut off.
///
/// ```
/// use highlander::base::time::{Millis, parse_duration};
/// assert_eq!(parse_duration("1m30s"), Ok(Millis(90_000)));
/// ```
pub fn parse_duration(text: &str) -> Result<Millis, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(Millis(0));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (amount, after) = split_number(rest)?;
        let (unit_ms, after) = split_unit(after)?;
        let part = amount * unit_ms;
        if part >= u64::MAX as f64 {
            return Err(DurationError::TooLong);
        }
        total = total.checked_add(part as u64).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(Millis(total))
}

fn split_number(text: &str) -> Result<(f64, &str), DurationError> {
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError::Malformed)?;
    let number: f64 = text[..end].parse().map_err(|_| DurationError::Malformed)?;
    Ok((number, &text[end..]))
}

fn split_unit(text: &str) -> Result<(f64, &str), DurationError> {
    const UNITS: [(&str, f64); 5] =
        [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3), ("d", 86_400e3)];
    UNITS
        .iter()
        .find_map(|(name, unit_ms)| text.strip_prefix(name).map(|after| (*unit_ms, after)))
        .ok_or(DurationError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_gos_notation() {
        let cases = [
            ("1s", 1000, "1s"),
            ("500ms", 500, "500ms"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("1.5s", 1500, "1.5s"),
            ("2h", 7_200_000, "2h0m0s"),
            ("1d", 86_400_000, "24h0m0s"),
            ("0", 0, "0s"),
        ];
        for (text, millis, written) in cases {
            assert_eq!(parse_duration(text), Ok(Millis(millis)), "{text}");
            assert_eq!(Millis(millis).to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "5", "s", "1x", "-1s", "1s 2s", "1..2s", "99999999999999999999h", "é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
