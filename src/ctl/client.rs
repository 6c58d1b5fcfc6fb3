//! A client of the admin listener: one request on one connection.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// The listener makes its pages at once; a machine in trouble may be slower.
const PATIENCE: Duration = Duration::from_secs(10);
/// The status of a node with all the groups and sources that there may be is far smaller.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// To see something.
    Get,
    /// To have something done.
    Post,
}

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks the listener at `admin`, a host and a port.
pub fn ask(admin: &str, method: Method, target: &str) -> io::Result<Answer> {
    let mut stream = connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let method = match method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {admin}\r\nAccept: application/json\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("what answers there is no HTTP server"))
}

/// To the first of its addresses that answers.
fn connect(admin: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in admin.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads an answer that ends with its connection.
fn parse(answer: &[u8]) -> Option<Answer> {
    let head_bytes = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_bytes]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let body = String::from_utf8_lossy(&answer[head_bytes + 4..]).into_owned();
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_what_is_none_is_not() {
        let answer = parse(b"HTTP/1.1 409 Conflict\r\nA: b\r\n\r\n{}\r\n\r\n");
        assert_eq!(answer, Some(Answer { status: 409, body: "{}\r\n\r\n".into() }));
        for other in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"", b"HTTP/1.1 xx\r\n\r\n"] {
            assert_eq!(parse(other), None);
        }
    }
}
