//! The `Retry-After` of an answer: seconds, or a date in one of the three ways HTTP writes it.

use crate::base::time::{Millis, UnixMillis};

/// How long an endpoint wants to be left alone, `now` being the time by the wall clock. `None`: the head
/// of its answer does not say, or says what can't be read. A date that is over is no time at all.
pub fn retry_after(head: &[u8], now: UnixMillis) -> Option<Millis> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let is_it = line[..colon].eq_ignore_ascii_case(b"retry-after");
        is_it.then(|| line[colon + 1..].trim_ascii())
    })?;
    let text = std::str::from_utf8(value).ok()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time, too.
        return Some(Millis(text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000)));
    }
    let ahead = date(text)?.0.saturating_sub(now.0);
    Some(Millis(u64::try_from(ahead).unwrap_or_default()))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
fn date(text: &str) -> Option<UnixMillis> {
    let words: Vec<&str> = text.split([' ', '-', ',']).filter(|word| !word.is_empty()).collect();
    let (day, month, year, time) = match words[..] {
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let year = match (number(year)?, year.len()) {
        // As RFC 9110 wants it of two digits: not far in the future. Nobody sends them any more.
        (short, 2) if short < 70 => short + 2000,
        (short, 2) => short + 1900,
        (year, _) => year,
    };
    let mut parts = time.split(':').map(number);
    let mut part = |end: i64| parts.next().flatten().filter(|part| *part < end);
    // A minute may have a second more.
    let (hours, minutes, seconds) = (part(24)?, part(60)?, part(61)?);
    let days = days_since_1970(year, month, day);
    Some(UnixMillis((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000))
}

fn number(text: &str) -> Option<i64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Of the Gregorian calendar; a year begins in March, so that the day that leaps is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str, now_ms: i64) -> Option<Millis> {
        let head = format!("HTTP/1.1 429 Slow\r\nA: b\r\nretry-AFTER:{value}\r\n\r\n");
        retry_after(head.as_bytes(), UnixMillis(now_ms))
    }

    #[test]
    fn seconds_and_dates_are_read() {
        const THEN: i64 = 784_111_777_000;
        let long = "9".repeat(30);
        let seconds = [("0", 0), (" 7 ", 7000), ("120", 120_000), (&long, u64::MAX)];
        for (value, expected) in seconds {
            assert_eq!(of(value, 5), Some(Millis(expected)), "{value}");
        }
        let dates = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ];
        for value in dates {
            assert_eq!(of(value, THEN - 2500), Some(Millis(2500)), "{value}");
            assert_eq!(of(value, THEN + 1), Some(Millis(0)), "{value}");
        }
        assert_eq!(of("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800_000), Some(Millis(0)));
        assert_eq!(of("Fri, 01 Mar 2024 00:00:01 GMT", 1_709_251_200_000), Some(Millis(1000)));
        assert_eq!(of("Thu, 01 Jan 1970 00:00:00 GMT", 0), Some(Millis(0)));
    }

    #[test]
    fn what_is_no_time_says_nothing() {
        for value in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 6 Nov 1994"] {
            assert_eq!(of(value, 0), None, "{value}");
        }
        assert_eq!(retry_after(b"HTTP/1.1 429 X\r\nX-Retry-After: 5\r\n\r\n", UnixMillis(0)), None);
    }
}
