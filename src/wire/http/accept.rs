//! The `Accept` of a request, as far as it tells a browser from a program.
//!
//! Only one question is asked of it: whether HTML is wanted more than JSON. Whoever says neither, or takes
//! both alike as curl's `*/*` does, is a program.

use httparse::Header;

/// The most ranges that are looked at; a browser sends about eight.
const RANGES_MAX: usize = 64;

/// How much something is wanted, in thousandths.
type Quality = u16;

const WANTED: Quality = 1000;

/// Whether these header lines ask for `text/html` rather than `application/json`.
pub fn wants_html(headers: &[Header<'_>]) -> bool {
    let lines = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
    let ranges = lines.flat_map(|header| header.value.split(|byte| *byte == b','));
    let (mut html, mut json) = (Wish::default(), Wish::default());
    for (range, quality) in ranges.take(RANGES_MAX).filter_map(range) {
        html.take(range, quality, b"text/*", b"text/html");
        json.take(range, quality, b"application/*", b"application/json");
    }
    html.quality > json.quality
}

/// What is known so far of how much one type is wanted.
#[derive(Default)]
struct Wish {
    /// How exact the range was that said so: the type itself counts for more than `*/*`.
    rank: u8,
    quality: Quality,
}

impl Wish {
    fn take(&mut self, range: &[u8], quality: Quality, family: &[u8], exact: &[u8]) {
        let rank = match range {
            _ if range.eq_ignore_ascii_case(exact) => 3,
            _ if range.eq_ignore_ascii_case(family) => 2,
            b"*/*" => 1,
            _ => return,
        };
        if (rank, quality) > (self.rank, self.quality) {
            *self = Wish { rank, quality };
        }
    }
}

/// A range without its parameters, and how much it is wanted. `None`: it says that in no way that HTTP
/// knows, and counts for nothing.
fn range(text: &[u8]) -> Option<(&[u8], Quality)> {
    let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let range = parts.next()?;
    let mut quality = WANTED;
    for part in parts {
        if let [b'q' | b'Q', b'=', digits @ ..] = part {
            quality = thousandths(digits)?;
        }
    }
    Some((range, quality))
}

/// `1`, `0.8`, `0.123`, never above 1.
fn thousandths(text: &[u8]) -> Option<Quality> {
    let (whole, part) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', part @ ..] => (whole, part),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || part.len() > 3 || !part.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut quality = Quality::from(whole - b'0');
    for place in 0..3 {
        quality = quality * 10 + part.get(place).map_or(0, |digit| Quality::from(digit - b'0'));
    }
    Some(quality).filter(|quality| *quality <= WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> bool {
        let header = |line: &&'static str| Header { name: "aCCept", value: line.as_bytes() };
        let lines: Vec<&'static str> = lines.iter().map(|line| &*line.to_string().leak()).collect();
        wants_html(&lines.iter().map(header).collect::<Vec<_>>())
    }

    #[test]
    fn a_browser_wants_html_and_a_program_does_not() {
        let browsers = [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html, application/xml;q=0.9, image/avif, image/webp, */*; q=0.8,\
             application/signed-exchange;v=b3;q=0.7",
            "TEXT/HTML",
            "text/*",
            "text/html;charset=utf-8",
            "application/json;q=0.5, text/html;q=0.501",
            "text/html, application/json;q=0",
        ];
        for accept in browsers {
            assert!(of(&[accept]), "{accept}");
        }
        let programs = [
            "",
            "*/*",
            "application/json",
            "application/json, text/html",
            "application/json, text/html;q=0.9",
            "text/html;q=0.5, */*",
            "text/html;q=0, text/*, application/json;q=0.1",
            "text/html;q=0",
            "application/*, text/html; Q=0.2",
            "text/htmlx, texthtml, html, text/",
        ];
        for accept in programs {
            assert!(!of(&[accept]), "{accept}");
        }
        assert!(!of(&[]), "who says nothing is a program");
        assert!(of(&["application/json;q=0.1", "text/html"]), "two lines are one list");
    }

    #[test]
    fn what_is_no_quality_makes_the_range_count_for_nothing() {
        for quality in ["2", "1.001", "0.1234", "-1", ".5", "0,5", "1e0", "", "00"] {
            assert!(!of(&[&format!("text/html;q={quality}")]), "{quality}");
        }
        for (text, quality) in [("1", 1000), ("1.000", 1000), ("0.", 0), ("0.07", 70), ("0.8", 800)]
        {
            assert_eq!(thousandths(text.as_bytes()), Some(quality), "{text}");
        }
    }

    #[test]
    fn no_more_ranges_are_looked_at_than_there_may_be() {
        let many = |before: usize| of(&[&("a/b,".repeat(before) + "text/html")]);
        assert!(many(RANGES_MAX - 1));
        assert!(!many(RANGES_MAX));
    }
}
