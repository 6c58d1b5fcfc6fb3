//! A connection of the load with TLS: a request sealed and sent in one piece, its answer read.

use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::Arc;

use httparse::Status;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection};

use super::client::Answer;
use crate::fault::{During, Fault};
use crate::tls;

/// Takes a handshake's answer, and any answer to a push, in one read.
const READ_BYTES: usize = 16 * 1024;

/// Lines in the head of an answer; the candidates send three.
const LINES_MAX: usize = 32;

/// An open connection, hands shaken.
pub struct Sealed {
    stream: TcpStream,
    tls: ClientConnection,
    /// Lent to each read.
    came: Vec<u8>,
    /// Lent to each write.
    due: Vec<u8>,
    /// The start of an answer, in the clear.
    plain: Vec<u8>,
}

impl Sealed {
    /// Shakes hands, and looks at what was agreed on.
    pub async fn open(
        stream: TcpStream,
        config: &Arc<ClientConfig>,
        address: SocketAddr,
    ) -> Result<Self, Fault> {
        let mut tls = tls::begin(config, address)?;
        // A request is sealed whole, however long it is.
        tls.set_buffer_limit(None);
        let came = Vec::with_capacity(READ_BYTES);
        let mut sealed = Self { stream, tls, came, due: Vec::new(), plain: Vec::new() };
        loop {
            sealed.write_due().await.during("handshake")?;
            if !sealed.tls.is_handshaking() {
                break;
            }
            sealed.read().await.during("handshake")?;
        }
        tls::check(&sealed.tls)?;
        Ok(sealed)
    }

    /// Sends the request and waits for its whole answer. After a fault the connection is of no more
    /// use.
    pub async fn push(&mut self, request: &[u8]) -> Result<Answer, Fault> {
        std::io::Write::write_all(&mut self.tls.writer(), request).during("seal")?;
        self.write_due().await.during("send")?;
        loop {
            self.read().await.during("answer")?;
            let Some((answer, bytes)) = parse(&self.plain)? else { continue };
            if bytes < self.plain.len() {
                return Err(Fault(String::from("answer: more than one")));
            }
            self.plain.clear();
            return Ok(answer);
        }
    }

    async fn write_due(&mut self) -> Result<(), Fault> {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut due)?;
        }
        let (written, room) = self.stream.write_all(due).await;
        self.due = room;
        written?;
        Ok(())
    }

    /// Reads once. What was in it, if it was more than a ticket, is behind what is in `plain`.
    async fn read(&mut self) -> Result<(), Fault> {
        let (read, came) = self.stream.read(std::mem::take(&mut self.came)).await;
        let bytes = read?;
        if bytes == 0 {
            return Err(Fault(String::from("the peer has closed")));
        }
        let mut rest = &came[..bytes];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The peer is told why, as far as it still listens.
                let _ = self.write_due().await;
                return Err(Fault(error.to_string()));
            }
            // Ends with an error where more may come.
            let mut reader = self.tls.reader();
            while let Ok(piece @ [_, ..]) = reader.fill_buf() {
                self.plain.extend_from_slice(piece);
                let bytes = piece.len();
                reader.consume(bytes);
            }
        }
        self.came = came;
        Ok(())
    }
}

/// The answer at the start of `plain` and how many bytes it has; none as long as it is not whole.
fn parse(plain: &[u8]) -> Result<Option<(Answer, usize)>, Fault> {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut head = httparse::Response::new(&mut lines);
    let Status::Complete(head_bytes) = head.parse(plain).during("answer")? else {
        return Ok(None);
    };
    let status = head.code.ok_or_else(|| Fault(String::from("answer: no status")))?;
    let mut body_bytes = (status == 204).then_some(0);
    let mut is_last = false;
    for line in head.headers {
        if line.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(line.value).during("content-length")?;
            body_bytes = Some(length.trim().parse::<usize>().during("content-length")?);
        } else if line.name.eq_ignore_ascii_case("connection") {
            is_last |= line.value.eq_ignore_ascii_case(b"close");
        }
    }
    // No candidate has a reason for chunks here, nor for a body up to its end.
    let body_bytes =
        body_bytes.ok_or_else(|| Fault(format!("answer {status} of unknown length")))?;
    let bytes = head_bytes + body_bytes;
    Ok((bytes <= plain.len()).then_some((Answer { status, is_last }, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_seen_when_it_is_whole_wherever_it_is_cut() {
        let answers: [(&str, Answer); 3] = [
            ("HTTP/1.1 204 No Content\r\n\r\n", Answer { status: 204, is_last: false }),
            (
                "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlater",
                Answer { status: 503, is_last: true },
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Answer { status: 200, is_last: false },
            ),
        ];
        for (text, answer) in answers {
            for cut in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..cut]).expect("good"), None, "{text} {cut}");
            }
            let two = [text, "HTTP/1.1"].concat();
            let parsed = parse(two.as_bytes()).expect("good");
            assert_eq!(parsed, Some((answer, text.len())));
        }
    }

    #[test]
    fn an_answer_without_a_length_is_a_fault() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(parse(chunked).is_err());
        assert!(parse(b"220 mail.example.org ESMTP\r\n").is_err());
    }
}
