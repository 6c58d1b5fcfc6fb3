//! A client of the admin listener: one request on one connection.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ClientConnection, StreamOwned};

use crate::cli::Door;
use crate::io::tls::files::{Belief, TlsFiles, client_config};
use crate::io::tls::server_name;

/// The listener makes its pages at once; a machine in trouble may be slower.
const PATIENCE: Duration = Duration::from_secs(10);
/// To read a configuration again it may open a queue, which is read to its end.
const ACT_PATIENCE: Duration = Duration::from_secs(60);
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

impl Door<'_> {
    /// Asks the listener.
    pub fn ask(&self, method: Method, target: &str) -> io::Result<Answer> {
        let (is_tls, place) = match self.admin.strip_prefix("https://") {
            Some(place) => (true, place.trim_end_matches('/')),
            None => (false, self.admin.trim_start_matches("http://").trim_end_matches('/')),
        };
        let (method, patience) = match method {
            Method::Get => ("GET", PATIENCE),
            Method::Post => ("POST", ACT_PATIENCE),
        };
        let authorization = self.authorization()?;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {place}\r\nAccept: application/json\r\n\
             {authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let stream = connect(place)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let answer = match is_tls {
            true => exchange(self.sealed(stream, place)?, &request)?,
            false => exchange(stream, &request)?,
        };
        parse(&answer).ok_or_else(|| io::Error::other("what answers there is no HTTP server"))
    }

    /// The header line.
    fn authorization(&self) -> io::Result<String> {
        let Some(user) = self.user else { return Ok(String::new()) };
        let password = match self.password_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| io::Error::other(format!("'{path}': {error}")))?,
            None => String::new(),
        };
        let both = BASE64_STANDARD.encode(format!("{user}:{}", password.trim_end_matches('\n')));
        Ok(format!("Authorization: Basic {both}\r\n"))
    }

    fn sealed(
        &self,
        stream: TcpStream,
        place: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let files = TlsFiles {
            authority: self.ca_file.map(PathBuf::from),
            certificate: self.certificate.map(|(one, other)| (one.into(), other.into())),
            belief: Belief::Proven,
        };
        let config = client_config(&files).map_err(|faults| {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.what).collect();
            io::Error::other(faults.join(", "))
        })?;
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        let name = server_name(host).ok_or(io::ErrorKind::InvalidInput)?;
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(session, stream))
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// To the first of its addresses that answers.
fn connect(place: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in place.to_socket_addrs()? {
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
