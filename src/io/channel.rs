//! A connection of a source, in the clear or with TLS: reads come out in the clear, writes go in so.
//!
//! In the clear nothing stands between a read and the socket. With TLS the records are opened behind what
//! is in the caller's own buffer, and never more than it has room for.

use std::io;

use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut as _, SliceMut};
use monoio::io::{AsyncReadRent as _, AsyncWriteRent as _, AsyncWriteRentExt as _};
use monoio::net::TcpStream;
use rustls::pki_types::CertificateDer;

use crate::base::limits::{BUFFER_BYTES, FIRST_READ_BYTES};
use crate::io::link::write_sealed;
use crate::io::tls::fault::TlsFault;
use crate::io::tls::session::{Session, sealed_bytes};

/// A connection of a source.
pub struct Channel {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    session: Session,
    /// What came; from `at` on it has not been opened yet.
    sealed: Vec<u8>,
    at: usize,
    has_heard: bool,
}

impl Channel {
    /// One in the clear.
    pub fn new(stream: TcpStream) -> Channel {
        Channel { stream, tls: None }
    }

    /// Goes on with TLS; `came` was read already. Hands are to be shaken before anything else is done.
    pub fn seal(&mut self, session: Session, came: &[u8]) {
        self.tls = Some(Box::new(Tls {
            session,
            sealed: came.to_vec(),
            at: 0,
            has_heard: !came.is_empty(),
        }));
    }

    /// The certificates that the other end has shown, its own first; without TLS none.
    pub fn shown(&self) -> &[CertificateDer<'static>] {
        self.tls.as_ref().map(|tls| tls.session.shown()).unwrap_or_default()
    }

    /// Whether anything has come with TLS.
    pub fn has_heard(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_heard)
    }

    /// Goes on without TLS, of which nothing can come any more: to be closed.
    pub fn give_up(&mut self) {
        self.tls = None;
    }

    /// Shakes hands. After a fault the other end has been told what is wrong, and the connection may only be
    /// closed.
    pub async fn shake_hands(&mut self) -> Result<(), TlsFault> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        loop {
            tls.at += tls.session.shake(&tls.sealed[tls.at..]);
            // If it can't be written, what can be read says why.
            let _ = tls.write_due(&mut self.stream).await;
            match tls.session.end() {
                Some(end) => return Err(end.err().unwrap_or(TlsFault::Closed)),
                None if !tls.session.is_handshaking() => return Ok(()),
                None => {}
            }
            tls.read_sealed(&mut self.stream, FIRST_READ_BYTES)
                .await
                .map_err(|_| TlsFault::Closed)?;
        }
    }

    /// Reads once: ready with the number of bytes, 0 at the end. The slice begins where the bytes of its
    /// buffer end. With TLS an end that was not announced is an error.
    pub async fn read(&mut self, buffer: SliceMut<Vec<u8>>) -> BufResult<usize, SliceMut<Vec<u8>>> {
        match &mut self.tls {
            None => self.stream.read(buffer).await,
            Some(tls) => {
                let (from, to) = (buffer.begin(), buffer.end());
                let mut plain = buffer.into_inner();
                plain.truncate(from);
                let read = tls.read(&mut self.stream, &mut plain, to).await;
                (read, plain.slice_mut(from..to))
            }
        }
    }

    /// Writes all of `text`.
    pub async fn write_all(&mut self, text: impl IoBuf + AsRef<[u8]>) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(text).await.0.map(drop),
            Some(tls) => tls.write(&mut self.stream, text.as_ref()).await,
        }
    }

    /// Writes the first `piece` bytes of `bytes`, and gives all of them back.
    pub async fn write_front(&mut self, bytes: Vec<u8>, piece: usize) -> BufResult<(), Vec<u8>> {
        match &mut self.tls {
            None => {
                let (written, slice) = self.stream.write_all(bytes.slice(..piece)).await;
                (written.map(drop), slice.into_inner())
            }
            Some(tls) => {
                let written = tls.write(&mut self.stream, &bytes[..piece]).await;
                (written, bytes)
            }
        }
    }

    /// Says that nothing more will be written.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.session.say_end();
            tls.write_due(&mut self.stream).await?;
        }
        self.stream.shutdown().await
    }
}

impl Tls {
    /// Opens what comes behind what is in `plain`, until there is more of that, up to `to` bytes.
    async fn read(
        &mut self,
        stream: &mut TcpStream,
        plain: &mut Vec<u8>,
        to: usize,
    ) -> io::Result<usize> {
        let from = plain.len();
        loop {
            self.at += self.session.open_up_to(&self.sealed[self.at..], plain, to);
            if plain.len() > from {
                return Ok(plain.len() - from);
            }
            match self.session.end() {
                None => {}
                Some(Ok(())) => return Ok(0),
                Some(Err(fault)) => {
                    // It is told what is wrong with what it said, if it still listens.
                    let _ = self.write_due(stream).await;
                    return Err(io::Error::other(fault));
                }
            }
            self.read_sealed(stream, to - from).await?;
        }
    }

    /// Reads once what is opened then, when all before it has been: about as much as there is room for
    /// what is in it.
    async fn read_sealed(&mut self, stream: &mut TcpStream, room: usize) -> io::Result<()> {
        let wanted = sealed_bytes(room.min(BUFFER_BYTES)).max(FIRST_READ_BYTES);
        let mut sealed = std::mem::take(&mut self.sealed);
        self.at = 0;
        // One that waits for little is not to keep much.
        if sealed.capacity() < wanted || sealed.capacity() > wanted.max(FIRST_READ_BYTES) * 8 {
            sealed = Vec::with_capacity(wanted);
        }
        sealed.clear();
        let (read, sealed) = stream.read(sealed).await;
        self.sealed = sealed;
        match read? {
            0 => {
                self.sealed.clear();
                self.session.on_end();
            }
            _ => self.has_heard = true,
        }
        Ok(())
    }

    async fn write(&mut self, stream: &mut TcpStream, plain: &[u8]) -> io::Result<()> {
        let session = &mut self.session;
        let seal = |piece: &[u8], sealed: &mut Vec<u8>| {
            session.seal(piece, sealed);
            session.end()
        };
        write_sealed(stream, plain, seal).await
    }

    async fn write_due(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut due = Vec::new();
        self.session.due(&mut due);
        if due.is_empty() { Ok(()) } else { stream.write_all(due).await.0.map(drop) }
    }
}
