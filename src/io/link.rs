//! One connection to the endpoint, or to another node.
//!
//! It is always being read, also while it is idle: what comes then belongs to no request. A byte
//! taken for the start of the next answer would hand every later answer to the wrong source.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use monoio::buf::IoBufMut as _;
use monoio::io::{AsyncReadRent as _, OwnedReadHalf, OwnedWriteHalf, Splitable as _};
use monoio::net::TcpStream;

use crate::base::limits::{FIRST_READ_BYTES, HEAD_BYTES_MAX};

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// To the endpoint.
    Endpoint,
    /// To the node that takes requests here, for what comes on this connection of a source and for
    /// nothing else: the leader sees it open and closed as the source's own.
    Node(SocketAddr, u64),
}

/// A connection to the endpoint or to a node: a reader, and the half to write to.
pub struct Link {
    /// Where it leads.
    pub to: To,
    /// Reads from it.
    pub reader: Reader,
    /// Writes to it.
    pub write: OwnedWriteHalf<TcpStream>,
    /// Whether the last request was written whole.
    pub wrote_all: bool,
}

/// The reading side: at most one read is under way at a time.
pub struct Reader {
    /// What was read and not used up. Empty while a read is under way.
    pub bytes: Vec<u8>,
    half: Option<OwnedReadHalf<TcpStream>>,
    under_way: Option<Pin<Box<UnderWay>>>,
}

type UnderWay = dyn Future<Output = (io::Result<usize>, Vec<u8>, OwnedReadHalf<TcpStream>)>;

impl Link {
    /// A fresh connection.
    pub fn new(to: To, stream: TcpStream) -> Link {
        let (read, write) = stream.into_split();
        let bytes = Vec::with_capacity(FIRST_READ_BYTES);
        let reader = Reader { bytes, half: Some(read), under_way: None };
        Link { to, reader, write, wrote_all: true }
    }

    /// Whether the next request may be written to it: the last one was written and answered whole,
    /// and nothing, not even its end, has come since.
    pub fn is_clean(&mut self) -> bool {
        self.wrote_all
            && self.reader.bytes.is_empty()
            && self.reader.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Reader {
    /// Reads behind what is there: ready with the number of bytes, 0 at the end. A read that was
    /// begun goes on, whoever asks next.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let under_way = match &mut self.under_way {
            Some(under_way) => under_way,
            None => {
                let half = self.half.take().expect("no read is under way");
                let bytes = with_room(std::mem::take(&mut self.bytes));
                self.under_way.insert(Box::pin(read(half, bytes)))
            }
        };
        let Poll::Ready((result, bytes, half)) = under_way.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.under_way = None;
        self.half = Some(half);
        self.bytes = bytes;
        Poll::Ready(result)
    }

    /// The same as a future.
    pub async fn read_more(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll(context)).await
    }
}

async fn read(
    mut half: OwnedReadHalf<TcpStream>,
    bytes: Vec<u8>,
) -> (io::Result<usize>, Vec<u8>, OwnedReadHalf<TcpStream>) {
    let (from, to) = (bytes.len(), bytes.capacity());
    let (result, slice) = half.read(bytes.slice_mut(from..to)).await;
    (result, slice.into_inner(), half)
}

/// A buffer that can be read into: an answer's head must fit, however small its pieces.
fn with_room(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.capacity() == bytes.len() {
        bytes.reserve(bytes.len().clamp(FIRST_READ_BYTES, HEAD_BYTES_MAX));
    }
    bytes
}
