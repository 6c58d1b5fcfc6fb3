//! One connection of the load: a request out, its answer in.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use monoio::io::sink::SinkExt;
use monoio::io::stream::Stream;
use monoio::io::{AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use monoio_http::common::error::HttpError;
use monoio_http::common::request::{RequestHeadRef, RequestRef};
use monoio_http::h1::codec::decoder::{FillPayload, ResponseDecoder};
use monoio_http::h1::codec::encoder::GenericEncoder;
use monoio_http::h1::payload::{FixedPayload, Payload};
use rustls::ClientConfig;

use super::sealed::Sealed;
use crate::body::{now_ms, write_request};
use crate::fault::{During, Fault};

/// How a request goes onto the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As monoio-http's encoder does it: above 8 KiB the head first, then the body.
    Codec,
    /// Head and body in one piece.
    Whole,
}

impl Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Codec => "codec",
            Self::Whole => "whole",
        })
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "codec" => Ok(Self::Codec),
            "whole" => Ok(Self::Whole),
            _ => Err(format!("{word}: neither codec nor whole")),
        }
    }
}

/// The request that every connection sends over and over.
pub struct Request {
    /// When its samples were taken.
    pub made: Instant,
    head: http::Request<()>,
    body: Bytes,
    whole: Bytes,
    /// How it goes onto the wire.
    pub shape: Shape,
}

/// What an answer said.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// True when the peer closes the connection after it.
    pub is_last: bool,
}

/// An open connection.
pub struct Connection {
    way: Way,
    pushed: u64,
}

enum Way {
    Clear(Box<Clear>),
    Sealed(Box<Sealed>),
}

struct Clear {
    writer: Writer,
    reader: ResponseDecoder<OwnedReadHalf<TcpStream>>,
}

enum Writer {
    Codec(GenericEncoder<OwnedWriteHalf<TcpStream>>),
    Whole(OwnedWriteHalf<TcpStream>),
}

impl Request {
    /// A push with a Prometheus's headers and a body of this size.
    pub fn new(host: &str, path: &str, body_bytes: usize, shape: Shape) -> Result<Self, Fault> {
        let head = http::Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, "Prometheus/3.5.0")
            .header(CONTENT_ENCODING, "snappy")
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(HeaderName::from_static("x-prometheus-remote-write-version"), "0.1.0")
            .body(())
            .during(path)?;
        let mut whole = format!("POST {path} HTTP/1.1\r\nContent-Length: {body_bytes}\r\n");
        for (name, value) in head.headers() {
            whole.push_str(&format!("{name}: {}\r\n", value.to_str().during(name)?));
        }
        whole.push_str("\r\n");
        Self::made(head, whole.as_bytes(), body_bytes, shape)
    }

    /// The same with samples of now.
    pub fn again(&self) -> Result<Self, Fault> {
        let head = &self.whole[..self.whole.len() - self.body.len()];
        Self::made(self.head.clone(), head, self.body.len(), self.shape)
    }

    fn made(
        head: http::Request<()>,
        text: &[u8],
        body_bytes: usize,
        shape: Shape,
    ) -> Result<Self, Fault> {
        let (made, body) = (Instant::now(), write_request(body_bytes, now_ms()?));
        let whole = Bytes::from([text, &body].concat());
        Ok(Self { made, head, body: Bytes::from(body), whole, shape })
    }
}

impl Connection {
    /// Connects, for requests of this shape. Over TLS they are always whole.
    pub async fn open(
        address: SocketAddr,
        shape: Shape,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, Fault> {
        let stream = TcpStream::connect_addr(address).await?;
        stream.set_nodelay(true)?;
        let way = match tls {
            None => Way::Clear(Box::new(Clear::new(stream, shape))),
            Some(tls) => Way::Sealed(Box::new(Sealed::open(stream, tls, address).await?)),
        };
        Ok(Self { way, pushed: 0 })
    }

    /// The requests answered so far.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Sends the request and waits for its whole answer. After a fault the connection is of no
    /// more use.
    pub async fn push(&mut self, request: &Request) -> Result<Answer, Fault> {
        let answer = match &mut self.way {
            Way::Clear(clear) => clear.push(request).await?,
            Way::Sealed(sealed) => sealed.push(&request.whole).await?,
        };
        self.pushed += 1;
        Ok(answer)
    }
}

impl Clear {
    fn new(stream: TcpStream, shape: Shape) -> Self {
        let (reader, writer) = stream.into_split();
        let writer = match shape {
            Shape::Codec => Writer::Codec(GenericEncoder::new(writer)),
            Shape::Whole => Writer::Whole(writer),
        };
        Self { writer, reader: ResponseDecoder::new(reader) }
    }

    async fn push(&mut self, request: &Request) -> Result<Answer, Fault> {
        match &mut self.writer {
            Writer::Codec(encoder) => {
                let body: FixedPayload<Bytes, HttpError> = FixedPayload::new(request.body.clone());
                let parts = RequestHeadRef::from_http(&request.head);
                let body = Payload::Fixed(body);
                encoder.send_and_flush(RequestRef { parts, body }).await.during("send")?;
            }
            Writer::Whole(writer) => {
                writer.write_all(request.whole.clone()).await.0.during("send")?;
            }
        }
        let answer = match self.reader.next().await {
            Some(answer) => answer.during("answer")?,
            None => return Err(Fault(String::from("answer: the peer has closed"))),
        };
        let status = answer.status().as_u16();
        let connection = answer.headers().get(CONNECTION);
        let is_last =
            connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        // The body is read to keep the stream in step; with its receiver gone it is let go of.
        drop(answer);
        self.reader.fill_payload().await.during("answer's body")?;
        Ok(Answer { status, is_last })
    }
}
