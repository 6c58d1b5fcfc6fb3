//! Cuts a stream of bytes into requests, and notices when it is not one.
//!
//! Bodies are counted down, not kept: a receiver that copied them would take the core's time that
//! the load needs. What is looked at is what a proxy could get wrong: the head, the length, and
//! the seal at the end of every body. So only this program's own pushes are welcome.

use crate::body::{SEAL_BYTES, seal};

/// Far above any head that a candidate sends; a longer one is a stream that has slipped.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Above what the candidates add to a Prometheus's headers.
const HEADERS_MAX: usize = 64;

/// Cuts one connection's bytes into requests.
pub struct Framer {
    state: State,
    /// A head that came in pieces; empty when heads come whole.
    head: Vec<u8>,
}

enum State {
    Head,
    Body { left: u64, body_bytes: u64, tail: [u8; SEAL_BYTES] },
}

/// What the next bytes were.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The input is used up in the middle of a request, or right between two.
    More,
    /// A push ended; its answer is due.
    Push { body_bytes: u64 },
    /// The counts are asked for.
    Stats,
}

/// Why the bytes are no stream of pushes.
#[derive(Debug, PartialEq, Eq)]
pub enum Slip {
    HeadTooLong,
    BadHead,
    NeitherPushNorStats,
    NoSingleLength,
    Chunked,
    BrokenSeal,
}

impl Framer {
    /// A framer at the start of a connection.
    pub fn new() -> Self {
        Self { state: State::Head, head: Vec::new() }
    }

    /// True when the stream may end here.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// Takes the next event's bytes off the front of `input`. After a slip the framer is of no
    /// more use.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Event, Slip> {
        loop {
            match &mut self.state {
                State::Head => match self.take_head(input)? {
                    None => return Ok(Event::More),
                    Some(Head::Stats) => return Ok(Event::Stats),
                    Some(Head::Push { body_bytes }) => {
                        let tail = [0; SEAL_BYTES];
                        self.state = State::Body { left: body_bytes, body_bytes, tail };
                    }
                },
                State::Body { left, body_bytes, tail } => {
                    let here = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (taken, rest) = input.split_at(here);
                    *input = rest;
                    *left -= here as u64;
                    push_tail(tail, taken);
                    if *left > 0 {
                        return Ok(Event::More);
                    }
                    let body_bytes = *body_bytes;
                    if body_bytes >= SEAL_BYTES as u64 && *tail != seal(body_bytes) {
                        return Err(Slip::BrokenSeal);
                    }
                    self.state = State::Head;
                    return Ok(Event::Push { body_bytes });
                }
            }
        }
    }

    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Slip> {
        if self.head.is_empty() {
            let Some(end) = head_end(input) else {
                return self.keep_piece(input);
            };
            let (head, rest) = input.split_at(end);
            *input = rest;
            return judge_head(head).map(Some);
        }
        let before = self.head.len();
        self.head.extend_from_slice(input);
        let Some(end) = head_end(&self.head) else {
            self.head.truncate(before);
            return self.keep_piece(input);
        };
        *input = &input[end - before..];
        let head = judge_head(&self.head[..end]);
        self.head.clear();
        head.map(Some)
    }

    fn keep_piece(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Slip> {
        self.head.extend_from_slice(input);
        *input = &[];
        if self.head.len() > HEAD_BYTES_MAX { Err(Slip::HeadTooLong) } else { Ok(None) }
    }
}

enum Head {
    Push { body_bytes: u64 },
    Stats,
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|start| start + 4)
}

fn judge_head(bytes: &[u8]) -> Result<Head, Slip> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(Slip::BadHead),
    }
    match (request.method, request.path) {
        (Some("POST"), Some(_)) => {}
        (Some("GET"), Some("/stats")) => return Ok(Head::Stats),
        _ => return Err(Slip::NeitherPushNorStats),
    }
    let mut length = None;
    for header in &*request.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(header.value).map_err(|_| Slip::NoSingleLength)?;
            let number = digits.parse::<u64>().map_err(|_| Slip::NoSingleLength)?;
            if length.replace(number).is_some() {
                return Err(Slip::NoSingleLength);
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Slip::Chunked);
        }
    }
    let body_bytes = length.ok_or(Slip::NoSingleLength)?;
    Ok(Head::Push { body_bytes })
}

/// Keeps the last bytes seen, over any cut of the stream.
fn push_tail(tail: &mut [u8; SEAL_BYTES], bytes: &[u8]) {
    if let Some(end) = bytes.last_chunk() {
        *tail = *end;
    } else {
        tail.rotate_left(bytes.len());
        tail[SEAL_BYTES - bytes.len()..].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::write_request;

    fn body(body_bytes: usize) -> Vec<u8> {
        write_request(body_bytes, 1_770_000_000_000)
    }

    fn push(body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: a\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// The events of `pieces`, fed one after the other.
    fn events(pieces: &[&[u8]]) -> Result<Vec<Event>, Slip> {
        let mut framer = Framer::new();
        let mut events = Vec::new();
        for mut input in pieces.iter().copied() {
            loop {
                match framer.next(&mut input)? {
                    Event::More => break,
                    event => events.push(event),
                }
            }
        }
        Ok(events)
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_requests() {
        let mut stream = push(&body(100));
        stream.extend(push(&body(3)));
        stream.extend(b"GET /stats HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.extend(push(b""));
        let whole = [100, 3].map(|body_bytes| Event::Push { body_bytes });
        let expected = whole.into_iter().chain([Event::Stats, Event::Push { body_bytes: 0 }]);
        let expected: Vec<_> = expected.collect();
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(events(&[left, right]).as_ref(), Ok(&expected), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&bytes), Ok(expected));
    }

    #[test]
    fn a_body_that_slipped_by_a_byte_breaks_its_seal() {
        let mut body = body(100);
        body.rotate_left(1);
        assert_eq!(events(&[&push(&body)]), Err(Slip::BrokenSeal));
    }

    #[test]
    fn what_is_no_push_is_a_slip() {
        let cases: [(&[u8], Slip); 6] = [
            (b"PUT / HTTP/1.1\r\n\r\n", Slip::NeitherPushNorStats),
            (b"POST / HTTP/1.1\r\n\r\n", Slip::NoSingleLength),
            (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", Slip::NoSingleLength),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Slip::NoSingleLength,
            ),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Slip::Chunked),
            (b"\x00\x01\x02\r\n\r\n", Slip::BadHead),
        ];
        for (bytes, slip) in cases {
            assert_eq!(events(&[bytes]), Err(slip));
        }
        assert_eq!(events(&[&vec![b'a'; HEAD_BYTES_MAX + 1]]), Err(Slip::HeadTooLong));
    }
}
