//! HTTP/1.1 as the demo's own two ends need it: one message at a time, its length declared.
//!
//! Lenient and slow on purpose, and apart from `wire::http`: the proxy's parser must not be checked
//! against itself.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// The most a head may take, far above what the ends send each other.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// The most a body may take; a scrape of the demo takes a few kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request or an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub first_line: String,
    /// What the Content-Length declares, nothing without one.
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Message {
    /// Reads the next message; none if the connection has ended before its first byte.
    pub fn read(from: &mut impl BufRead) -> Result<Option<Message>> {
        let mut head = from.by_ref().take(HEAD_BYTES_MAX);
        let Some(first_line) = line(&mut head)? else { return Ok(None) };
        let mut message = Message { first_line, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = line(&mut head)?.ok_or(ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = message.header("content-length").unwrap_or("0").parse::<usize>();
        let length = length.map_err(|_| ErrorKind::InvalidData)?;
        if length > BODY_BYTES_MAX {
            return Err(Error::from(ErrorKind::FileTooLarge));
        }
        message.body.resize(length, 0);
        from.read_exact(&mut message.body)?;
        Ok(Some(message))
    }

    /// The value of a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer, none if it has no such line.
    pub fn status(&self) -> Option<u16> {
        self.first_line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
    }

    /// Whether the connection ends with this message.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"))
    }
}

fn line(from: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix("\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    Ok(Some(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length:  3\r\n\r\nabc";
    const ANSWER: &[u8] = b"HTTP/1.1 503 No\r\nRetry-After: 2\r\nConnection: Close\r\n\r\n";

    #[test]
    fn messages_follow_each_other_on_one_connection() {
        let stream = [REQUEST, ANSWER].concat();
        let mut rest = stream.as_slice();
        let request = Message::read(&mut rest).expect("well-formed").expect("there is one");
        assert_eq!(request.first_line, "POST /x HTTP/1.1");
        assert_eq!(request.body, b"abc");
        assert_eq!((request.status(), request.closes()), (None, false));
        let answer = Message::read(&mut rest).expect("well-formed").expect("there is one");
        assert_eq!((answer.status(), answer.closes()), (Some(503), true));
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert_eq!(Message::read(&mut rest).expect("no error at the end"), None);
    }

    #[test]
    fn a_message_cut_at_any_byte_is_an_error() {
        for end in 1..REQUEST.len() {
            assert!(Message::read(&mut &REQUEST[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_body_beyond_the_bound_is_refused_before_it_is_read() {
        let head = b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n";
        let error = Message::read(&mut head.as_slice()).expect_err("far too long");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }
}
