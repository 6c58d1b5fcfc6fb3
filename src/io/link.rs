//! One connection to an endpoint, or to another node.
//!
//! It is always being read, also while it is idle: what comes then belongs to no request. A byte
//! taken for the start of the next answer would hand every later answer to the wrong source.
//!
//! With TLS the same holds of what is in the records. Both sides of a connection use one session; it
//! is borrowed between two waits and never across one.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use monoio::buf::{IoBuf as _, IoBufMut as _};
use monoio::io::{
    AsyncReadRent as _, AsyncWriteRent, AsyncWriteRentExt as _, OwnedReadHalf, OwnedWriteHalf,
    Splitable as _,
};
use monoio::net::TcpStream;

use crate::base::limits::{BUFFER_BYTES, FIRST_READ_BYTES, HEAD_BYTES_MAX};
use crate::io::dial::SecondHandle;
use crate::io::tls::fault::TlsFault;
use crate::io::tls::session::{SEALED_AT_ONCE_BYTES, Session};

/// An endpoint: its name has this number for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub usize);

/// How often endpoints had been made when this one was made as it is: what leads to another edition of an
/// endpoint leads perhaps elsewhere, or was opened with another certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Edition(pub u32);

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// To this endpoint.
    Endpoint(EndpointId, Edition),
    /// To the node that takes requests here, for what comes on this connection of a source and for
    /// nothing else: the leader sees it open and closed as the source's own.
    Node(SocketAddr, u64),
}

/// A connection to an endpoint or to a node: a reader, and a writer.
pub struct Link {
    /// Where it leads.
    pub to: To,
    /// Reads from it.
    pub reader: Reader,
    /// Writes to it.
    pub writer: Writer,
    /// Whether the last request was written whole.
    pub wrote_all: bool,
}

/// The reading side: at most one read is under way at a time.
pub struct Reader {
    /// What was read and not used up. Without TLS empty while a read is under way.
    pub bytes: Vec<u8>,
    socket: Socket,
    opening: Option<Box<Opening>>,
}

/// The writing side.
pub struct Writer {
    half: OwnedWriteHalf<TcpStream>,
    way: Way,
}

/// How it writes.
enum Way {
    /// In the clear: what lies apart perhaps at once, see [`crate::io::dial`].
    Clear(Option<SecondHandle>),
    /// In records of this session.
    Tls(Rc<RefCell<Session>>),
}

/// What is read from, and the read that is under way.
struct Socket {
    half: Option<OwnedReadHalf<TcpStream>>,
    under_way: Option<Pin<Box<UnderWay>>>,
}

type UnderWay = dyn Future<Output = (io::Result<usize>, Vec<u8>, OwnedReadHalf<TcpStream>)>;

/// Takes data out of records.
struct Opening {
    session: Rc<RefCell<Session>>,
    /// What was read last. Empty while a read is under way, and before the next one.
    sealed: Vec<u8>,
}

impl Link {
    /// A fresh connection without TLS.
    pub fn new(to: To, stream: TcpStream, second: Option<SecondHandle>) -> Link {
        Link::with(to, stream, Way::Clear(second))
    }

    /// A fresh connection that is to shake hands before anything else.
    pub fn over_tls(to: To, stream: TcpStream, session: Session) -> Link {
        Link::with(to, stream, Way::Tls(Rc::new(RefCell::new(session))))
    }

    fn with(to: To, stream: TcpStream, way: Way) -> Link {
        let (read, half) = stream.into_split();
        let opening = match &way {
            Way::Clear(_) => None,
            Way::Tls(session) => {
                let sealed = Vec::with_capacity(FIRST_READ_BYTES);
                Some(Box::new(Opening { session: session.clone(), sealed }))
            }
        };
        let socket = Socket { half: Some(read), under_way: None };
        let reader = Reader { bytes: Vec::with_capacity(FIRST_READ_BYTES), socket, opening };
        Link { to, reader, writer: Writer { half, way }, wrote_all: true }
    }

    /// Whether the next request may be written to it: the last one was written and answered whole,
    /// and nothing, not even its end, has come since.
    pub fn is_clean(&mut self) -> bool {
        self.wrote_all
            && self.reader.bytes.is_empty()
            && self.reader.poll(&mut Context::from_waker(Waker::noop())).is_pending()
            && self.reader.is_between_records()
    }

    /// Shakes hands. After a fault the other end has been told what is wrong, and the connection may
    /// only be closed.
    pub async fn shake_hands(&mut self) -> Result<(), TlsFault> {
        let Reader { bytes, socket, opening: Some(opening) } = &mut self.reader else {
            return Ok(());
        };
        loop {
            let mut due = Vec::new();
            opening.session.borrow_mut().due(&mut due);
            if !due.is_empty() {
                // If it can't be written, what can be read says why.
                let _ = self.writer.half.write_all(due).await;
            }
            let (end, is_handshaking) = {
                let session = opening.session.borrow();
                (session.end(), session.is_handshaking())
            };
            match end {
                Some(end) => return Err(end.err().unwrap_or(TlsFault::Closed)),
                None if !is_handshaking => return Ok(()),
                None => {}
            }
            let read = poll_fn(|context| opening.poll(socket, bytes, context)).await;
            read.map_err(|_| TlsFault::Closed)?;
        }
    }

    /// What TLS says of why nothing more can be read.
    pub fn tls_fault(&self) -> Option<TlsFault> {
        let opening = self.reader.opening.as_ref()?;
        opening.session.borrow().end()?.err()
    }
}

impl Reader {
    /// Reads behind what is there: ready with the number of bytes, 0 at the end. A read that was
    /// begun goes on, whoever asks next. With TLS an end that was not announced is an error.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.opening {
            None => self.socket.poll(&mut self.bytes, context),
            Some(opening) => opening.poll_data(&mut self.socket, &mut self.bytes, context),
        }
    }

    fn is_between_records(&self) -> bool {
        let is_between = |it: &Opening| it.session.borrow().is_between_records();
        self.opening.as_deref().is_none_or(is_between)
    }

    /// The same as a future.
    pub async fn read_more(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll(context)).await
    }
}

impl Writer {
    /// Writes `head`, if there is one, and `bytes[range]` behind it: with TLS a piece at a time is sealed,
    /// as the socket takes them.
    pub async fn write_all(
        &mut self,
        head: Option<Arc<Vec<u8>>>,
        bytes: Arc<Vec<u8>>,
        range: Range<usize>,
    ) -> io::Result<()> {
        let Some(head) = head else { return self.write(bytes, range).await };
        let written = match &self.way {
            Way::Clear(Some(second)) => second.write_at_once([&head, &bytes[range.clone()]]),
            Way::Clear(None) | Way::Tls(_) => 0,
        };
        let of_head = written.min(head.len());
        let (rest_of_head, rest) =
            (of_head..head.len(), range.start + written - of_head..range.end);
        self.write(head, rest_of_head).await?;
        self.write(bytes, rest).await
    }

    async fn write(&mut self, bytes: Arc<Vec<u8>>, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match &self.way {
            Way::Clear(_) => self.half.write_all(bytes.slice(range)).await.0.map(drop),
            Way::Tls(session) => {
                let seal = |piece: &[u8], sealed: &mut Vec<u8>| {
                    let mut session = session.borrow_mut();
                    session.seal(piece, sealed);
                    session.end()
                };
                write_sealed(&mut self.half, &bytes[range], seal).await
            }
        }
    }
}

impl Socket {
    /// Reads behind what is in `bytes`, which must be the same ones as long as a read is under way.
    fn poll(&mut self, bytes: &mut Vec<u8>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let under_way = match &mut self.under_way {
            Some(under_way) => under_way,
            None => {
                let half = self.half.take().expect("no read is under way");
                let bytes = with_room(std::mem::take(bytes));
                self.under_way.insert(Box::pin(read(half, bytes)))
            }
        };
        let Poll::Ready((result, read, half)) = under_way.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.under_way = None;
        self.half = Some(half);
        *bytes = read;
        Poll::Ready(result)
    }
}

impl Opening {
    /// Reads until there is data behind what is in `plain`, or an end.
    fn poll_data(
        &mut self,
        socket: &mut Socket,
        plain: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(end) = self.session.borrow().end() {
                return Poll::Ready(end.map(|()| 0).map_err(io::Error::other));
            }
            match self.poll(socket, plain, context) {
                // Tickets, or a part of a record. Who sends them without end is stopped by the session.
                Poll::Ready(Ok(0)) => {}
                done => return done,
            }
        }
    }

    /// Reads once, and gives the session what came: ready with how much data was in it.
    fn poll(
        &mut self,
        socket: &mut Socket,
        plain: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let read = match socket.poll(&mut self.sealed, context) {
            Poll::Ready(Ok(read)) => read,
            failed_or_pending => return failed_or_pending,
        };
        let mut session = self.session.borrow_mut();
        if read == 0 {
            session.on_end();
            return Poll::Ready(Ok(0));
        }
        let opened = session.open(&self.sealed, plain);
        if read == self.sealed.capacity() && read < BUFFER_BYTES {
            // The answer is long: take larger pieces.
            self.sealed = Vec::with_capacity(2 * read);
        }
        self.sealed.clear();
        Poll::Ready(Ok(opened))
    }
}

/// Writes data as records that `seal` makes of a piece at a time, as the socket takes them; it says how the
/// session has ended, if it has.
pub async fn write_sealed(
    socket: &mut impl AsyncWriteRent,
    plain: &[u8],
    mut seal: impl FnMut(&[u8], &mut Vec<u8>) -> Option<Result<(), TlsFault>>,
) -> io::Result<()> {
    let mut sealed = Vec::new();
    for piece in plain.chunks(SEALED_AT_ONCE_BYTES) {
        if let Some(Err(fault)) = seal(piece, &mut sealed) {
            return Err(io::Error::other(fault));
        }
        let (written, room) = socket.write_all(sealed).await;
        written?;
        sealed = room;
        sealed.clear();
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::io::dial::dial;
    use crate::io::driver::{self, Choice};

    #[test]
    fn a_head_and_a_body_that_lie_apart_arrive_in_order_however_little_there_is_room_for() {
        let head = b"the head ".to_vec();
        for choice in [Choice::Auto, Choice::Epoll] {
            for length in [0, 1, 70_000, 16 << 20] {
                let body: Vec<u8> = (0..length).map(|at: u32| (at / 7) as u8).collect();
                let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
                let address = listener.local_addr().expect("its address");
                let reader = thread::spawn(move || {
                    let mut came = Vec::new();
                    let (mut stream, _) = listener.accept().expect("a connection");
                    stream.read_to_end(&mut came).expect("what comes");
                    came
                });
                let (front, range) = (Arc::new(head.clone()), 3..body.len() + 3);
                let bytes = Arc::new([b"...".to_vec(), body.clone(), b"...".to_vec()].concat());
                let written = driver::run(choice, |kind| async move {
                    let (stream, second) = dial(address, kind).await?;
                    let to = To::Node(address, 0);
                    let mut link = Link::new(to, stream, Some(second));
                    link.writer.write_all(Some(front), bytes, range).await
                });
                written.expect("a loop").expect("it is written");
                let came = reader.join().expect("it reads");
                assert!(came == [head.clone(), body].concat(), "{choice:?}: {length}");
            }
        }
    }
}
