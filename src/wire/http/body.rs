//! A body in chunks, read piece by piece.
//!
//! Extensions and trailers are understood and dropped: what goes on carries a Content-Length. A
//! byte where the grammar has none is an error, because it is where two parsers would part.

use crate::base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A size that is no hexadecimal number, or too large to be one.
    BadSize,
    /// A line that opens a chunk is too long or holds a forbidden byte.
    BadExtension,
    /// A chunk is not followed by CRLF.
    BadEnd,
    /// A trailer is no header, or all of them are too long.
    BadTrailer,
}

/// Where in a chunked body the next byte stands. Fed with any cut of the bytes, it gives the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Bytes of the current line, or of all trailers.
    line_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    /// White space between a size and its extension.
    SpaceAfterSize {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer {
        colon: bool,
    },
    TrailerLf,
    EndLf,
    Done,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks { state: SIZE, line_bytes: 0 }
    }
}

const SIZE: State = State::Size { size: 0, digits: 0 };

impl Chunks {
    /// Whether the last byte of the body has been taken in.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes in `input` up to the end of the body and gives the data in it to `data`, in pieces.
    /// Returns how many bytes belong to the body; the rest is the next request's.
    pub fn feed(&mut self, input: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let piece = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                data(&input[at..at + piece]);
                at += piece;
                let left = left - piece as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.line_bytes += 1;
        match self.state {
            State::Size { size, digits } => self.on_size(byte, size, digits),
            State::SpaceAfterSize { size } => match byte {
                b' ' | b'\t' if self.line_bytes < CHUNK_LINE_BYTES_MAX => Ok(self.state),
                b';' => Ok(State::Extension { size }),
                _ => Err(ChunkError::BadExtension),
            },
            State::Extension { size } => match byte {
                b'\r' => Ok(State::SizeLf { size }),
                _ if is_text(byte) && self.line_bytes < CHUNK_LINE_BYTES_MAX => Ok(self.state),
                _ => Err(ChunkError::BadExtension),
            },
            State::SizeLf { size } => {
                self.line_bytes = 0;
                match (byte, size) {
                    (b'\n', 0) => Ok(State::TrailerStart),
                    (b'\n', left) => Ok(State::Data { left }),
                    _ => Err(ChunkError::BadExtension),
                }
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.line_bytes = 0;
                Ok(SIZE)
            }
            State::DataCr | State::DataLf => Err(ChunkError::BadEnd),
            State::TrailerStart | State::Trailer { .. } | State::TrailerLf | State::EndLf => {
                self.on_trailer(byte)
            }
            State::Data { .. } | State::Done => Ok(self.state),
        }
    }

    fn on_size(&self, byte: u8, size: u64, digits: u8) -> Result<State, ChunkError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            // 15 digits are a petabyte; more could overflow.
            if digits == 15 {
                return Err(ChunkError::BadSize);
            }
            return Ok(State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 });
        }
        match byte {
            _ if digits == 0 => Err(ChunkError::BadSize),
            b'\r' => Ok(State::SizeLf { size }),
            b';' => Ok(State::Extension { size }),
            b' ' | b'\t' => Ok(State::SpaceAfterSize { size }),
            _ => Err(ChunkError::BadSize),
        }
    }

    fn on_trailer(&self, byte: u8) -> Result<State, ChunkError> {
        if self.line_bytes > TRAILER_BYTES_MAX {
            return Err(ChunkError::BadTrailer);
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, _) if is_token(byte) => Ok(State::Trailer { colon: false }),
            (State::Trailer { colon: false }, b':') => Ok(State::Trailer { colon: true }),
            (State::Trailer { colon: false }, _) if is_token(byte) => Ok(self.state),
            (State::Trailer { colon: true }, b'\r') => Ok(State::TrailerLf),
            (State::Trailer { colon: true }, _) if is_text(byte) => Ok(self.state),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::Done),
            _ => Err(ChunkError::BadTrailer),
        }
    }
}

/// What may stand in a value: visible bytes, space, tab, and bytes above ASCII.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], cut: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        let mut taken = 0;
        for part in [&input[..cut], &input[cut..]] {
            taken += chunks.feed(part, |data| body.extend_from_slice(data))?;
        }
        Ok((body, taken, chunks.is_done()))
    }

    /// The result must not depend on where the bytes were cut.
    fn read_all_cuts(input: &[u8]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let whole = read(input, 0);
        for cut in 0..=input.len() {
            assert_eq!(read(input, cut), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn chunks_are_put_together() {
        let input = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nPOST";
        let (body, taken, done) = read_all_cuts(input).expect("it is good");
        assert_eq!((body.as_slice(), taken, done), (&b"abc0123456789"[..], input.len() - 4, true));
    }

    #[test]
    fn extensions_and_trailers_are_understood_and_dropped() {
        let input = b"3;a=b;c=\"d\"\r\nabc\r\n0 ;x\r\nX-Sum: 1\r\nY:\r\n\r\n";
        let (body, taken, done) = read_all_cuts(input).expect("it is good");
        assert_eq!((body.as_slice(), taken, done), (&b"abc"[..], input.len(), true));
    }

    #[test]
    fn an_unfinished_body_is_not_done() {
        for input in [&b""[..], b"3", b"3\r\n", b"3\r\nab", b"3\r\nabc\r\n", b"0\r\n", b"0\r\n\r"] {
            let (_, taken, done) = read_all_cuts(input).expect("nothing is wrong yet");
            assert_eq!((taken, done), (input.len(), false));
        }
    }

    #[test]
    fn hostile_chunks_are_refused() {
        use ChunkError::*;
        let cases: [(&[u8], ChunkError); 20] = [
            (b"\r\n", BadSize),
            (b"-1\r\n", BadSize),
            (b"+1\r\n", BadSize),
            (b"0x1\r\n", BadSize),
            (b" 1\r\n", BadSize),
            (b"g\r\n", BadSize),
            (b"1\n", BadSize),
            (b"1000000000000000\r\n", BadSize),
            (b"1 \r\n", BadExtension),
            (b"1\ra", BadExtension),
            (b"1;a\n", BadExtension),
            (b"1;a\0\r\n", BadExtension),
            (b"1\r\nab\r\n", BadEnd),
            (b"1\r\na\n0\r\n", BadEnd),
            (b"1\r\na0\r\n\r\n", BadEnd),
            (b"0\r\n\n", BadTrailer),
            (b"0\r\nX: a\n\r\n", BadTrailer),
            (b"0\r\n X: a\r\n\r\n", BadTrailer),
            (b"0\r\nX : a\r\n\r\n", BadTrailer),
            (b"0\r\nX\r\n\r\n", BadTrailer),
        ];
        for (input, error) in cases {
            assert_eq!(read_all_cuts(input), Err(error), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn lines_are_bounded() {
        let extension = [b"1;".to_vec(), vec![b'a'; CHUNK_LINE_BYTES_MAX]].concat();
        assert_eq!(read(&extension, 0), Err(ChunkError::BadExtension));
        let trailers = [b"0\r\n".to_vec(), b"X: a\r\n".repeat(TRAILER_BYTES_MAX / 5)].concat();
        assert_eq!(read(&trailers, 0), Err(ChunkError::BadTrailer));
    }
}
