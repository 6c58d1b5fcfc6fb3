//! A blocking HTTP client, just enough to ask the programs under test.
//!
//! It speaks HTTP/1.0: the answer is then neither chunked nor kept alive, and ends where the
//! connection does.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for an answer; reading a whole storage back is the slowest of them.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Asks the loopback's `port` for `target`; the body of a 2xx answer.
pub fn get(port: u16, target: &str) -> io::Result<String> {
    ask(port, &format!("GET {target} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"))
}

/// Posts `body` to `target` on the loopback's `port`; the body of a 2xx answer.
pub fn post(port: u16, target: &str, body: &str) -> io::Result<String> {
    let length = body.len();
    ask(
        port,
        &format!(
            "POST {target} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Asks whoever listens at `address` for `target`; the status of its answer.
pub fn status(address: SocketAddr, target: &str) -> io::Result<u16> {
    let (status, _) =
        exchange(address, &format!("GET {target} HTTP/1.0\r\nHost: {address}\r\n\r\n"))?;
    Ok(status)
}

fn ask(port: u16, request: &str) -> io::Result<String> {
    let (status, body) = exchange(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), request)?;
    match status {
        200..=299 => Ok(body),
        _ => Err(io::Error::other(format!("status {status}: {body}"))),
    }
}

fn exchange(address: SocketAddr, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(io::Error::other)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// `text` as it may stand in a query.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
