//! The second opinion on heads and chunks: the codecs of `monoio-http`.
//!
//! It is more lenient than a proxy may be (Content-Length beside chunks, two lengths, no bounds),
//! and panics on a header name of 64 KiB. So it is asked only about what our parser has accepted,
//! which is far shorter; where ours refuses, its opinion does not matter.

use bytes::{Bytes, BytesMut};
use monoio_codec::{Decoded, Decoder};
use monoio_http::common::error::HttpError;
use monoio_http::common::request::RequestHead;
use monoio_http::common::response::ResponseHead;
use monoio_http::h1::codec::decoder::{
    ChunkedBodyDecoder, DecodeError, DirectWrapper, FixedBodyDecoder, GenericHeadDecoder,
    PayloadDecoder, RequestHeadDecoder, ResponseHeadDecoder,
};

type Requests = GenericHeadDecoder<(), RequestHeadDecoder, DirectWrapper>;
type Responses = GenericHeadDecoder<(), ResponseHeadDecoder, DirectWrapper>;
type BodyDecoder = PayloadDecoder<FixedBodyDecoder, ChunkedBodyDecoder>;

/// More header lines it cannot read.
pub const HEADERS_MAX: usize = 96;

/// The length of a fixed body is hidden in its decoder; up to here it is found out by decoding.
const LENGTH_TRIED_MAX: u64 = 4096;

/// A head as the second parser reads it.
pub struct Second<H> {
    /// Its lines.
    pub head: H,
    /// How it would read the body.
    pub body: Body,
    /// How many bytes it took for the head.
    pub bytes: usize,
}

/// How the second parser would read a body.
pub enum Body {
    /// There is none, or its end is not told.
    None,
    /// Of so many bytes.
    Fixed(FixedBodyDecoder),
    /// In chunks.
    Chunked,
}

impl Body {
    /// Whether it takes exactly `length` bytes. Of a long one it is only seen that it is long.
    pub fn is_fixed(self, length: u64) -> bool {
        match self {
            Body::None => length == 0,
            Body::Chunked => false,
            Body::Fixed(mut decoder) => {
                let mut takes = |bytes: u64| {
                    let mut zeros = BytesMut::zeroed(bytes as usize);
                    matches!(decoder.decode(&mut zeros), Ok(Decoded::Some(_)))
                };
                match length {
                    0 => false,
                    1..=LENGTH_TRIED_MAX => !takes(length - 1) && takes(length),
                    _ => !takes(LENGTH_TRIED_MAX),
                }
            }
        }
    }
}

/// Why the second parser has no opinion.
#[derive(Debug)]
pub enum Refused {
    /// Its type for targets does not take this one.
    Target,
    /// Anything else.
    Otherwise(String),
}

/// Reads a request's head.
pub fn request(bytes: &[u8]) -> Result<Second<RequestHead>, Refused> {
    read(Requests::default(), bytes)
}

/// Reads the head of an answer.
pub fn response(bytes: &[u8]) -> Result<Second<ResponseHead>, Refused> {
    read(Responses::default(), bytes)
}

/// Reads a body in chunks. It knows neither extensions nor trailers. Returned are the data and how
/// many bytes they stood in.
pub fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut rest = BytesMut::from(bytes);
    let mut decoder = ChunkedBodyDecoder::default();
    let mut data = Vec::new();
    loop {
        let piece: Option<Bytes> = match decoder.decode(&mut rest) {
            Ok(Decoded::Some(piece)) => piece,
            Ok(_) | Err(_) => return None,
        };
        match piece {
            Some(piece) => data.extend_from_slice(&piece),
            None => return Some((data, bytes.len() - rest.len())),
        }
    }
}

fn read<D, H>(mut decoder: D, bytes: &[u8]) -> Result<Second<H>, Refused>
where
    D: Decoder<Item = (H, BodyDecoder), Error = HttpError>,
{
    let mut rest = BytesMut::from(bytes);
    let (head, body) = match decoder.decode(&mut rest) {
        Ok(Decoded::Some(read)) => read,
        Ok(_) => return Err(Refused::Otherwise("it waits for more".to_owned())),
        Err(HttpError::H1DecodeError(DecodeError::Uri(_))) => return Err(Refused::Target),
        Err(error) => return Err(Refused::Otherwise(error.to_string())),
    };
    let body = match body {
        PayloadDecoder::None => Body::None,
        PayloadDecoder::Fixed(decoder) => Body::Fixed(decoder),
        PayloadDecoder::Streamed(_) => Body::Chunked,
    };
    Ok(Second { head, body, bytes: bytes.len() - rest.len() })
}
