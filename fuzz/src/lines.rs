//! A head taken apart line by line, the slow and obvious way.
//!
//! It is for heads that a parser has accepted: there every line ends in CRLF and every line after
//! the first has a colon.

/// The headers that speak of one connection and not of the message.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
];

/// An accepted head.
#[derive(Debug)]
pub struct Lines<'h> {
    /// The request line or status line, without its CRLF.
    pub first: &'h [u8],
    /// The header lines in order.
    pub headers: Vec<Line<'h>>,
}

/// One header line.
#[derive(Debug)]
pub struct Line<'h> {
    /// In lower case.
    pub name: String,
    /// Without the white space around it.
    pub value: &'h [u8],
    /// As it stands, without its CRLF.
    pub whole: &'h [u8],
}

impl<'h> Lines<'h> {
    /// Takes apart a head that ends with its empty line.
    pub fn of(head: &'h [u8]) -> Lines<'h> {
        let head = head.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.next().expect("a split gives at least one piece");
        Lines { first, headers: lines.map(Line::of).collect() }
    }

    /// Whether the header speaks of the connection: by its name, or because `Connection` says so.
    /// The length of a body never does.
    pub fn is_hop_by_hop(&self, name: &str) -> bool {
        HOP_BY_HOP.contains(&name) || (name != "content-length" && self.connection_names(name))
    }

    fn connection_names(&self, name: &str) -> bool {
        self.headers
            .iter()
            .filter(|line| line.name == "connection")
            .flat_map(|line| line.value.split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    }
}

impl<'h> Line<'h> {
    fn of(whole: &'h [u8]) -> Line<'h> {
        let colon = whole.iter().position(|byte| *byte == b':').expect("a header has a colon");
        let name = String::from_utf8(whole[..colon].to_ascii_lowercase()).expect("a token");
        Line { name, value: whole[colon + 1..].trim_ascii(), whole }
    }
}
