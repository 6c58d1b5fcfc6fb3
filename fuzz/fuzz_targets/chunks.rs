//! A body in chunks.
//!
//! Claims, for any bytes:
//! * `Chunks::feed` does not panic, and gives no more data than it was fed.
//! * The result does not depend on where the bytes were cut.
//! * It is the result of a decoder that looks at the whole text at once; both refuse alike.
//! * A body without extensions and trailers is the same for the second parser.

#![no_main]

use highlander::base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use highlander::wire::http::body::{ChunkError, Chunks};
use highlander_fuzz::{cuts, second};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = fed(&[bytes]);
    check_cuts(bytes, &whole);
    check_bounds(bytes, &whole);
    check_reference_agrees(bytes, &whole);
});

/// Up to here an input is also fed byte by byte.
const SINGLE_BYTES_MAX: usize = 512;

/// What came of feeding: the data, and how many bytes were taken and whether that was all.
#[derive(Debug, PartialEq, Eq)]
struct Fed {
    data: Vec<u8>,
    end: Result<(usize, bool), ChunkError>,
}

fn fed(pieces: &[&[u8]]) -> Fed {
    let mut chunks = Chunks::default();
    let mut data = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let was_done = chunks.is_done();
        match chunks.feed(piece, |part| data.extend_from_slice(part)) {
            Err(error) => return Fed { data, end: Err(error) },
            Ok(bytes) => {
                assert!(bytes == piece.len() || chunks.is_done());
                assert!(bytes == 0 || !was_done, "after its end it takes nothing");
                taken += bytes;
            }
        }
    }
    Fed { data, end: Ok((taken, chunks.is_done())) }
}

fn check_cuts(bytes: &[u8], whole: &Fed) {
    let [first, second, third, fourth] = cuts::of(bytes);
    let ends = [0..first, first..second, second..third, third..fourth, fourth..bytes.len()];
    let pieces = ends.map(|range| &bytes[range]);
    assert_eq!(&fed(&pieces), whole);
    if bytes.len() <= SINGLE_BYTES_MAX {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(&fed(&pieces), whole);
    }
}

fn check_bounds(bytes: &[u8], whole: &Fed) {
    assert!(whole.data.len() <= bytes.len());
    if let Ok((taken, _)) = whole.end {
        assert!(whole.data.len() <= taken && taken <= bytes.len());
    }
}

fn check_reference_agrees(bytes: &[u8], whole: &Fed) {
    let data = whole.data.as_slice();
    match Reference::default().read(bytes) {
        Verdict::Whole { body, taken, is_plain } => {
            assert_eq!((whole.end, data), (Ok((taken, true)), body.as_slice()));
            if is_plain {
                assert_eq!(second::chunks(bytes), Some((body, taken)));
            }
        }
        Verdict::Unfinished { body } => {
            assert_eq!((whole.end, data), (Ok((bytes.len(), false)), body.as_slice()));
        }
        Verdict::Refused => assert!(whole.end.is_err(), "{whole:?}"),
        Verdict::Unclaimed => {}
    }
}

enum Verdict {
    /// A body to its end, which may lie before that of the input. A plain one has neither
    /// extensions nor trailers.
    Whole { body: Vec<u8>, taken: usize, is_plain: bool },
    /// Good so far.
    Unfinished { body: Vec<u8> },
    /// No body, whatever follows.
    Refused,
    /// A line of exactly the longest length: which of its bytes is one too many is not our concern.
    Unclaimed,
}

/// Reads line by line from the whole text: slow, and easy to hold against RFC 9112 7.1.
#[derive(Default)]
struct Reference {
    body: Vec<u8>,
    is_decorated: bool,
}

impl Reference {
    fn read(mut self, input: &[u8]) -> Verdict {
        let mut rest = input;
        loop {
            let Some(end) = find_line_end(rest) else {
                return self.unfinished_size_line(rest);
            };
            let line = &rest[..end];
            if line.len() >= CHUNK_LINE_BYTES_MAX {
                return too_long(line);
            }
            let Some(size) = size_of(line) else { return Verdict::Refused };
            self.is_decorated |= !line.iter().all(u8::is_ascii_hexdigit);
            rest = &rest[end + 2..];
            if size == 0 {
                return self.read_trailers(input, rest);
            }
            let data_bytes = rest.len().min(usize::try_from(size).unwrap_or(usize::MAX));
            self.body.extend_from_slice(&rest[..data_bytes]);
            rest = &rest[data_bytes..];
            match rest {
                [] | [b'\r'] => return Verdict::Unfinished { body: self.body },
                [b'\r', b'\n', ..] => rest = &rest[2..],
                _ => return Verdict::Refused,
            }
        }
    }

    fn unfinished_size_line(self, rest: &[u8]) -> Verdict {
        let line = rest.strip_suffix(b"\r").unwrap_or(rest);
        if line.len() >= CHUNK_LINE_BYTES_MAX {
            return too_long(line);
        }
        match could_become(rest, |line| size_of(line).is_some()) {
            true => Verdict::Unfinished { body: self.body },
            false => Verdict::Refused,
        }
    }

    fn read_trailers(mut self, input: &[u8], trailers: &[u8]) -> Verdict {
        let mut rest = trailers;
        loop {
            let read = trailers.len() - rest.len();
            let Some(end) = find_line_end(rest) else {
                let fits = trailers.len() <= TRAILER_BYTES_MAX;
                return match fits && could_become(rest, is_trailer_line) {
                    true => Verdict::Unfinished { body: self.body },
                    false => Verdict::Refused,
                };
            };
            if !is_trailer_line(&rest[..end]) || read + end + 2 > TRAILER_BYTES_MAX {
                return Verdict::Refused;
            }
            rest = &rest[end + 2..];
            if end == 0 {
                let is_plain = !self.is_decorated;
                return Verdict::Whole {
                    body: self.body,
                    taken: input.len() - rest.len(),
                    is_plain,
                };
            }
            self.is_decorated = true;
        }
    }
}

fn too_long(line: &[u8]) -> Verdict {
    if line.len() == CHUNK_LINE_BYTES_MAX { Verdict::Unclaimed } else { Verdict::Refused }
}

fn find_line_end(text: &[u8]) -> Option<usize> {
    text.windows(2).position(|pair| pair == b"\r\n")
}

/// Whether an unfinished line is the start of a good one: whether one of a few ends makes it good.
fn could_become(start: &[u8], is_good: impl Fn(&[u8]) -> bool) -> bool {
    ["\r\n", "\n", "0\r\n", ";\r\n", ":\r\n"].iter().any(|end| {
        let whole = [start, end.as_bytes()].concat();
        whole.strip_suffix(b"\r\n").is_some_and(&is_good)
    })
}

/// The size in a line that opens a chunk: one to fifteen digits, white space only before a `;`.
fn size_of(line: &[u8]) -> Option<u64> {
    let (size, extension) = match line.iter().position(|byte| *byte == b';') {
        Some(at) => (trim_end(&line[..at]), &line[at + 1..]),
        None => (line, &b""[..]),
    };
    let is_size = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
    if !is_size || !extension.iter().all(|byte| is_text(*byte)) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !b" \t".contains(byte));
    &text[..end.map_or(0, |last| last + 1)]
}

/// An empty line, or a header.
fn is_trailer_line(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return line.is_empty() };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    !name.is_empty() && name.iter().all(is_token) && value.iter().all(|byte| is_text(*byte))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}
