//! The head of a request.
//!
//! `httparse` splits it into lines; what it lets pass and a second parser might read otherwise
//! (bare LF, a target with bytes above ASCII, two lengths, length and chunks) is refused here.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::Header;

use crate::base::limits::{
    CONNECTION_TOKENS_MAX, HEAD_BYTES_MAX, HEAD_RELAYED_BYTES, HEADERS_MAX, HEADERS_RELAYED,
    METHOD_BYTES_MAX, TARGET_BYTES_MAX,
};

/// Room for the header lines of one head, on the stack of whoever parses.
pub type HeaderRoom<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX + HEADERS_RELAYED];

/// Fresh [`HeaderRoom`].
pub const fn header_room<'b>() -> HeaderRoom<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX + HEADERS_RELAYED]
}

/// What is wrong with a request's head. All of it is the source's fault, and closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// More than [`HEAD_BYTES_MAX`].
    TooLong,
    /// More than [`HEADERS_MAX`] header lines.
    TooManyHeaders,
    /// A target of more than [`TARGET_BYTES_MAX`].
    TargetTooLong,
    /// No request line of HTTP/1.0 or HTTP/1.1: another protocol, or bytes where none may be.
    BadLine,
    /// A line that ends in a bare LF or holds a bare CR.
    BareLineEnd,
    /// A header that is none, is folded, has a space before its colon or a forbidden byte.
    BadHeader,
    /// A target that is no path, or holds bytes that a URL may not.
    BadTarget,
    /// None or two Hosts, or one that is no host.
    BadHost,
    /// A Content-Length that is not one plain number.
    BadLength,
    /// A Transfer-Encoding other than `chunked` alone, or in HTTP/1.0.
    BadEncoding,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndChunked,
    /// An expectation other than `100-continue`.
    BadExpectation,
}

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; 0 if the head does not say.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// What follows from an answered request for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The next request may follow.
    KeepAlive,
    /// The source wants it closed.
    Close,
}

/// The protocol version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request's head, borrowed from the bytes it was read from.
#[derive(Debug)]
pub struct Head<'b> {
    /// The method as received.
    pub method: &'b str,
    /// Path and query; of an absolute target the scheme and the authority are cut off.
    pub target: &'b [u8],
    /// The protocol version.
    pub version: Version,
    /// Every header line in order.
    pub headers: &'b [Header<'b>],
    /// How long the body is.
    pub framing: Framing,
    /// Whether the connection may stay open.
    pub persistence: Persistence,
    /// Whether the source waits for `100 Continue`.
    pub expects_continue: bool,
    /// The `Connection` header names others that must stay behind.
    pub names_hop_by_hop: bool,
    /// The `X-Scope-OrgID` header, if there is exactly one.
    pub tenant: Option<&'b [u8]>,
    /// The `Content-Type` header, if there is exactly one.
    pub content_type: Option<&'b [u8]>,
    /// The `Content-Encoding` header, if there is exactly one.
    pub content_encoding: Option<&'b [u8]>,
    /// The `X-Highlander-Pass` header, if there is exactly one.
    pub pass: Option<&'b [u8]>,
    /// The head as received, from the request line to the empty line.
    pub raw: &'b [u8],
    /// Bytes that the head took up in what was read: `raw`, and an empty line before it.
    pub bytes: usize,
}

impl<'b> Head<'b> {
    /// Reads a head from the start of `bytes`. `Ok(None)`: it is not whole yet, and nothing in it
    /// is wrong so far.
    ///
    /// `room` is where the header lines are kept; the caller lends it so that it is neither
    /// allocated nor cleared.
    pub fn parse(
        bytes: &'b [u8],
        room: &'b mut HeaderRoom<'b>,
    ) -> Result<Option<Head<'b>>, HeadError> {
        // One empty line before a request is forgiven, as RFC 9112 2.2 asks.
        let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let bytes = &bytes[skipped..];
        let is_empty_line_begun = skipped == 0 && bytes == b"\r";
        // httparse would skip any number of further empty lines.
        if bytes.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) && !is_empty_line_begun {
            return Err(if bytes[0] == b'\r' {
                HeadError::BadLine
            } else {
                HeadError::BareLineEnd
            });
        }
        // Whether another node has relayed it shows at its end.
        let bytes_max = HEAD_BYTES_MAX + HEAD_RELAYED_BYTES;
        let within = &bytes[..bytes.len().min(bytes_max)];
        let Some(head_bytes) = memchr::memmem::find(within, b"\r\n\r\n").map(|at| at + 4) else {
            check_unfinished(within, room)?;
            return match bytes.len() >= bytes_max {
                true => Err(HeadError::TooLong),
                false => Ok(None),
            };
        };
        let head = Head::parse_whole(&bytes[..head_bytes], room)?;
        if head.pass.is_none() && head_bytes > HEAD_BYTES_MAX {
            return Err(HeadError::TooLong);
        }
        if head.pass.is_none() && head.headers.len() > HEADERS_MAX {
            return Err(HeadError::TooManyHeaders);
        }
        Ok(Some(Head { bytes: skipped + head_bytes, ..head }))
    }

    /// Where in `raw` the header line number `at` stands, its CRLF included.
    pub fn line(&self, at: usize) -> Range<usize> {
        // Every name is a part of `raw`, so the difference of their addresses is its place.
        let start = |header: &Header<'_>| header.name.as_ptr().addr() - self.raw.as_ptr().addr();
        let end = self.headers.get(at + 1).map_or(self.raw.len() - 2, start);
        start(&self.headers[at])..end
    }

    /// Reads a whole head that was written here: it may be longer than a source's, by what was added.
    pub fn parse_own(bytes: &'b [u8], room: &'b mut HeaderRoom<'b>) -> Result<Head<'b>, HeadError> {
        Head::parse_whole(bytes, room)
    }

    fn parse_whole(bytes: &'b [u8], room: &'b mut HeaderRoom<'b>) -> Result<Head<'b>, HeadError> {
        check_line_ends(bytes)?;
        check_request_line(bytes)?;
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(bytes, room).map_err(of_httparse)?;
        if parsed != httparse::Status::Complete(bytes.len()) {
            // The empty line came earlier than where we found it, or not at all.
            return Err(HeadError::BadLine);
        }
        let method = request.method.ok_or(HeadError::BadLine)?;
        let version = match request.version {
            Some(0) => Version::Http10,
            Some(1) => Version::Http11,
            _ => return Err(HeadError::BadLine),
        };
        let target = origin_form(method, request.path.ok_or(HeadError::BadLine)?.as_bytes())?;
        let headers: &'b [Header<'b>] = request.headers;
        let found = Found::scan(headers)?;
        found.check_host(version)?;
        Ok(Head {
            method,
            target,
            version,
            headers,
            framing: found.framing(version)?,
            persistence: found.persistence(version),
            expects_continue: found.expects_continue(version),
            names_hop_by_hop: found.names_hop_by_hop,
            tenant: found.tenant,
            content_type: found.content_type.filter(|_| found.types == 1),
            content_encoding: found.content_encoding.filter(|_| found.encodings_of_content == 1),
            pass: found.pass.filter(|_| found.passes == 1),
            raw: bytes,
            bytes: bytes.len(),
        })
    }
}

/// The headers that decide something, picked out in one pass.
#[derive(Default)]
struct Found<'b> {
    hosts: usize,
    host: &'b [u8],
    length: Option<u64>,
    encodings: usize,
    chunked: bool,
    tokens: usize,
    close: bool,
    keep_alive: bool,
    names_hop_by_hop: bool,
    expects_continue: bool,
    tenants: usize,
    tenant: Option<&'b [u8]>,
    types: usize,
    content_type: Option<&'b [u8]>,
    encodings_of_content: usize,
    content_encoding: Option<&'b [u8]>,
    passes: usize,
    pass: Option<&'b [u8]>,
}

impl<'b> Found<'b> {
    fn scan(headers: &'b [Header<'b>]) -> Result<Found<'b>, HeadError> {
        let mut found = Found::default();
        for header in headers {
            found.take(header.name, header.value)?;
        }
        Ok(found)
    }

    fn take(&mut self, name: &str, value: &'b [u8]) -> Result<(), HeadError> {
        // The length sorts out nearly every header before a name is compared.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                self.host = value;
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadError::BadExpectation);
                }
                self.expects_continue = true;
            }
            10 if name.eq_ignore_ascii_case("connection") => self.take_connection(value)?,
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = parse_length(value).ok_or(HeadError::BadLength)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadError::BadLength);
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.encodings += 1;
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            17 if name.eq_ignore_ascii_case("x-highlander-pass") => {
                self.passes += 1;
                self.pass = Some(value);
            }
            12 if name.eq_ignore_ascii_case("content-type") => {
                self.types += 1;
                self.content_type = Some(value);
            }
            16 if name.eq_ignore_ascii_case("content-encoding") => {
                self.encodings_of_content += 1;
                self.content_encoding = Some(value);
            }
            13 if name.eq_ignore_ascii_case("x-scope-orgid") => {
                self.tenants += 1;
                self.tenant = Some(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.tokens += 1;
            if self.tokens > CONNECTION_TOKENS_MAX {
                return Err(HeadError::BadHeader);
            }
            match token {
                _ if token.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if token.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                [] => {}
                _ => self.names_hop_by_hop = true,
            }
        }
        Ok(())
    }

    fn check_host(&self, version: Version) -> Result<(), HeadError> {
        let number_right = match version {
            Version::Http11 => self.hosts == 1,
            Version::Http10 => self.hosts <= 1,
        };
        let is_host = self
            .host
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(byte));
        if number_right && is_host && self.tenants <= 1 { Ok(()) } else { Err(HeadError::BadHost) }
    }

    fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.encodings, self.length) {
            (0, length) => Ok(Framing::Length(length.unwrap_or(0))),
            (_, Some(_)) => Err(HeadError::LengthAndChunked),
            (1, None) if self.chunked && version == Version::Http11 => Ok(Framing::Chunked),
            (_, None) => Err(HeadError::BadEncoding),
        }
    }

    fn persistence(&self, version: Version) -> Persistence {
        let keeps = match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        };
        if keeps { Persistence::KeepAlive } else { Persistence::Close }
    }

    fn expects_continue(&self, version: Version) -> bool {
        // RFC 9110 10.1.1: an HTTP/1.0 client cannot mean it.
        self.expects_continue && version == Version::Http11
    }
}

/// Refuses at once what can't become a head any more, so that a TLS hello is answered and closed
/// instead of waited on.
fn check_unfinished<'b>(bytes: &'b [u8], room: &'b mut HeaderRoom<'b>) -> Result<(), HeadError> {
    check_line_ends(bytes)?;
    check_request_line(bytes)?;
    let mut request = httparse::Request::new(&mut []);
    request.parse_with_uninit_headers(bytes, room).map_err(of_httparse)?;
    // Each is there as soon as it is whole.
    if let (Some(method), Some(target)) = (request.method, request.path) {
        origin_form(method, target.as_bytes())?;
    }
    Ok(())
}

/// Every LF follows a CR. That a CR is followed by an LF is what `httparse` checks.
fn check_line_ends(bytes: &[u8]) -> Result<(), HeadError> {
    let bare = memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r');
    if bare { Err(HeadError::BareLineEnd) } else { Ok(()) }
}

/// The method and the target of a request line, whole or not, are not too long.
fn check_request_line(bytes: &[u8]) -> Result<(), HeadError> {
    if bytes.len() <= METHOD_BYTES_MAX {
        return Ok(());
    }
    let line = &bytes[..memchr::memchr(b'\r', bytes).unwrap_or(bytes.len())];
    let method_bytes = memchr::memchr(b' ', line).unwrap_or(line.len());
    if method_bytes > METHOD_BYTES_MAX {
        return Err(HeadError::BadLine);
    }
    let after_method = line.get(method_bytes + 1..).unwrap_or_default();
    let target_bytes = memchr::memchr(b' ', after_method).unwrap_or(after_method.len());
    if target_bytes > TARGET_BYTES_MAX { Err(HeadError::TargetTooLong) } else { Ok(()) }
}

/// Path and query of a target. A proxy is asked with an absolute one by some clients.
fn origin_form<'b>(method: &str, target: &'b [u8]) -> Result<&'b [u8], HeadError> {
    if method == "CONNECT" || !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(HeadError::BadTarget);
    }
    if target.starts_with(b"/") {
        return Ok(target);
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"http://"));
    let after = scheme.map(|scheme| &target[scheme.len()..]).ok_or(HeadError::BadTarget)?;
    // A query may hold slashes, but the authority ends before it.
    let end = memchr::memchr2(b'/', b'?', after).filter(|end| *end > 0);
    let rest = end.map(|end| &after[end..]);
    rest.filter(|rest| rest.starts_with(b"/")).ok_or(HeadError::BadTarget)
}

/// A Content-Length: digits only, and few enough to be a number. More is a body nobody takes, and
/// is told apart by its size, not by its spelling.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(value).ok()?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn of_httparse(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HeadError::BadHeader,
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => HeadError::BadLine,
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
