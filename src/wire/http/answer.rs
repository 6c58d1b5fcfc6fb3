//! The head of an endpoint's answer.
//!
//! In the usual case its bytes go to the source as they came. It is written anew only where a line
//! speaks of the connection to the endpoint, or the source's connection is to be closed.

use httparse::Header;

use crate::base::limits::HEAD_BYTES_MAX;
use crate::wire::http::head::{Persistence, Version, header_room};
use crate::wire::http::rewrite::is_hop_by_hop;

/// What is wrong with an answer. All of it is the endpoint's fault: 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The head is longer than [`HEAD_BYTES_MAX`] or has too many lines.
    TooLong,
    /// No HTTP/1 answer.
    BadHead,
    /// Content-Length and Transfer-Encoding contradict each other, themselves or the grammar.
    BadFraming,
    /// 101: we have asked for no other protocol.
    Switched,
}

/// How the end of an answer's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    /// So many bytes; 0 for HEAD, 204 and 304, whatever their head says.
    Length(u64),
    /// In chunks.
    Chunked,
    /// When the endpoint closes the connection.
    UntilClose,
}

/// What has to be known of an answer to pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status; never 1xx.
    pub status: u16,
    /// How long the body is.
    pub framing: AnswerFraming,
    /// Whether the endpoint keeps the connection open.
    pub persistence: Persistence,
    /// Whether the head may go to the source as it came.
    pub verbatim: bool,
    /// Bytes of the head, the empty line included.
    pub bytes: usize,
}

/// What stands at the start of the bytes from an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not yet a whole head.
    Partial,
    /// An interim answer (1xx) of so many bytes: to be skipped.
    Interim(usize),
    /// The answer.
    Final(Answer),
}

/// Whether the request was one whose answer has no body, whatever its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// HEAD.
    Head,
    /// Any other method.
    Other,
}

/// Reads the head of an answer from the start of `bytes`.
pub fn parse(bytes: &[u8], asked: Asked) -> Result<Parsed, AnswerError> {
    let mut room = header_room();
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let parsed = config.parse_response_with_uninit_headers(&mut response, within, &mut room);
    let head_bytes = match parsed {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => {
            return Err(AnswerError::TooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => return Err(AnswerError::TooLong),
        Err(_) => return Err(AnswerError::BadHead),
    };
    // A bare LF passes httparse; the source's parser may see other lines than we do.
    let raw = &bytes[..head_bytes];
    if memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r') {
        return Err(AnswerError::BadHead);
    }
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(AnswerError::BadHead);
    };
    match status {
        101 => Err(AnswerError::Switched),
        100..=199 => Ok(Parsed::Interim(head_bytes)),
        200..=999 if raw.starts_with(b"HTTP/1.") => {
            let version = if version == 0 { Version::Http10 } else { Version::Http11 };
            let found = Found::scan(response.headers)?;
            Ok(Parsed::Final(Answer {
                status,
                framing: found.framing(status, version, asked)?,
                persistence: found.persistence(version),
                verbatim: found.hop_by_hop == 0 && version == Version::Http11,
                bytes: head_bytes,
            }))
        }
        _ => Err(AnswerError::BadHead),
    }
}

impl Answer {
    /// Appends the head for the source to `out`, written anew. `raw` are the bytes that were
    /// parsed, `framing` says how the body goes on to the source.
    pub fn append_head(
        &self,
        raw: &[u8],
        framing: AnswerFraming,
        version: Version,
        persistence: Persistence,
        out: &mut Vec<u8>,
    ) {
        let head = &raw[..self.bytes];
        let mut lines = head[..self.bytes - 2].split_inclusive(|byte| *byte == b'\n');
        let status_line = lines.next().unwrap_or_default();
        out.extend_from_slice(b"HTTP/1.1");
        out.extend_from_slice(status_line.get(b"HTTP/1.1".len()..).unwrap_or_default());
        let named = connection_tokens(head);
        for line in lines {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = std::str::from_utf8(name).unwrap_or_default();
            let chunked =
                name.eq_ignore_ascii_case("transfer-encoding") && framing == AnswerFraming::Chunked;
            let is_named = named.iter().any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
                && !name.eq_ignore_ascii_case("content-length");
            if chunked || !(is_hop_by_hop(name) || is_named) {
                out.extend_from_slice(line);
            }
        }
        if self.framing == AnswerFraming::UntilClose && framing == AnswerFraming::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        match (version, persistence) {
            (_, Persistence::Close) => out.extend_from_slice(b"Connection: close\r\n"),
            (Version::Http10, Persistence::KeepAlive) => {
                out.extend_from_slice(b"Connection: keep-alive\r\n");
            }
            (Version::Http11, Persistence::KeepAlive) => {}
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The tokens of all `Connection` lines of a head that has been parsed.
fn connection_tokens(head: &[u8]) -> Vec<&[u8]> {
    head.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            line[..colon].eq_ignore_ascii_case(b"connection").then(|| &line[colon + 1..])
        })
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect()
}

#[derive(Default)]
struct Found {
    length: Option<u64>,
    encodings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    hop_by_hop: usize,
}

impl Found {
    fn scan(headers: &[Header<'_>]) -> Result<Found, AnswerError> {
        let mut found = Found::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if header.name.len() == 14 && is("content-length") {
                let digits = std::str::from_utf8(header.value).ok();
                let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length = digits.and_then(|text| text.parse().ok());
                let length = length.ok_or(AnswerError::BadFraming)?;
                if found.length.replace(length).is_some() {
                    return Err(AnswerError::BadFraming);
                }
            } else if header.name.len() == 17 && is("transfer-encoding") {
                found.encodings += 1;
                found.chunked = header.value.eq_ignore_ascii_case(b"chunked");
            } else if is_hop_by_hop(header.name) {
                found.hop_by_hop += 1;
                if is("connection") {
                    found.take_connection(header.value);
                }
            }
        }
        Ok(found)
    }

    fn take_connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn framing(
        &self,
        status: u16,
        version: Version,
        asked: Asked,
    ) -> Result<AnswerFraming, AnswerError> {
        let bodiless = asked == Asked::Head || status == 204 || status == 304;
        match (self.encodings, self.length) {
            (1.., Some(_)) | (2.., None) => Err(AnswerError::BadFraming),
            (1, None) if !self.chunked || version == Version::Http10 => {
                Err(AnswerError::BadFraming)
            }
            _ if bodiless => Ok(AnswerFraming::Length(0)),
            (1, None) => Ok(AnswerFraming::Chunked),
            (_, Some(length)) => Ok(AnswerFraming::Length(length)),
            (_, None) => Ok(AnswerFraming::UntilClose),
        }
    }

    fn persistence(&self, version: Version) -> Persistence {
        let keeps = match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        };
        if keeps { Persistence::KeepAlive } else { Persistence::Close }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &str, asked: Asked) -> Answer {
        match parse(bytes.as_bytes(), asked) {
            Ok(Parsed::Final(answer)) => answer,
            other => panic!("{bytes:?} is {other:?}"),
        }
    }

    /// Cut at each byte, the first part is partial or wrong, and wrong only if the whole is.
    fn assert_cuts_agree(bytes: &[u8]) {
        let whole = parse(bytes, Asked::Other);
        for cut in 0..bytes.len() {
            match (parse(&bytes[..cut], Asked::Other), whole) {
                (Ok(Parsed::Partial), _) => {}
                (Ok(part), Ok(whole)) => assert_eq!(part, whole, "cut at {cut}"),
                (Err(_), Err(_)) => {}
                (part, whole) => panic!("cut at {cut}: {part:?}, whole: {whole:?}"),
            }
        }
    }

    #[test]
    fn a_plain_answer_goes_on_as_it_is() {
        let bytes = "HTTP/1.1 204 No Content\r\nDate: today\r\n\r\n";
        let answer = answer(bytes, Asked::Other);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.framing, AnswerFraming::Length(0));
        assert_eq!(answer.persistence, Persistence::KeepAlive);
        assert!(answer.verbatim);
        assert_eq!(answer.bytes, bytes.len());
        assert_cuts_agree(bytes.as_bytes());
    }

    #[test]
    fn the_end_of_a_body_is_found_as_the_rfc_says() {
        use AnswerFraming::*;
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Other, Length(5)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Head, Length(0)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Asked::Other, Length(0)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Asked::Other, Chunked),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Asked::Head, Length(0)),
            ("HTTP/1.1 200 OK\r\n\r\n", Asked::Other, UntilClose),
            ("HTTP/1.0 200 OK\r\n\r\n", Asked::Other, UntilClose),
            ("HTTP/1.1 400\r\nContent-Length: 0\r\n\r\n", Asked::Other, Length(0)),
        ];
        for (bytes, asked, framing) in cases {
            assert_eq!(answer(bytes, asked).framing, framing, "{bytes:?} {asked:?}");
            assert_cuts_agree(bytes.as_bytes());
        }
    }

    #[test]
    fn interim_answers_are_told_apart() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(parse(bytes, Asked::Other), Ok(Parsed::Interim(25)));
        assert_eq!(
            parse(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Asked::Other),
            Err(AnswerError::Switched)
        );
    }

    #[test]
    fn answers_that_could_be_read_in_two_ways_are_refused() {
        use AnswerError::*;
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", BadFraming),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", BadFraming),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", BadFraming),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                BadFraming,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", BadFraming),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BadFraming),
            ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", BadHead),
            ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", BadHead),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", BadHead),
            ("HTTP/2.0 200 OK\r\n\r\n", BadHead),
            ("SSH-2.0-OpenSSH_9.2\r\n", BadHead),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(bytes.as_bytes(), Asked::Other), Err(error), "{bytes:?}");
            assert_cuts_agree(bytes.as_bytes());
        }
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse(long.as_bytes(), Asked::Other), Err(TooLong));
    }

    #[test]
    fn lines_about_the_connection_stay_behind() {
        let bytes = "HTTP/1.0 200 Fine so far\r\nA: 1\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
                     Keep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello";
        let answer = answer(bytes, Asked::Other);
        assert!(!answer.verbatim);
        assert_eq!(answer.persistence, Persistence::Close);
        let written = |version, persistence| {
            let mut out = Vec::new();
            answer.append_head(bytes.as_bytes(), answer.framing, version, persistence, &mut out);
            String::from_utf8(out).expect("text stays text")
        };
        let kept = "HTTP/1.1 200 Fine so far\r\nA: 1\r\nContent-Length: 5\r\n";
        assert_eq!(written(Version::Http11, Persistence::KeepAlive), format!("{kept}\r\n"));
        assert_eq!(
            written(Version::Http11, Persistence::Close),
            format!("{kept}Connection: close\r\n\r\n")
        );
        assert_eq!(
            written(Version::Http10, Persistence::KeepAlive),
            format!("{kept}Connection: keep-alive\r\n\r\n")
        );
    }
}
