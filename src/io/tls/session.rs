//! One TLS connection without its socket: bytes that came go in, bytes to write come out.
//!
//! How it ended is remembered and said again to whoever asks: the end of the socket is the end of
//! what was said only behind a close_notify. Anybody on the way can cut a connection, and an answer
//! that ends with it would seem whole.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::io::tls::fault::TlsFault;

/// So much of a request is made into records at a time: four of them, and one write.
pub const SEALED_AT_ONCE_BYTES: usize = 64 * 1024;
/// What a record may take more than what is in it: the head, the kind, the seal, and of TLS 1.2 a nonce.
const RECORD_EXTRA_BYTES: usize = 64;
/// The kind, the version and the length that every record begins with.
const RECORD_HEAD_BYTES: usize = 5;
/// The most that a record has in it.
const RECORD_BYTES: usize = 16 * 1024;
/// After so many bytes in a row that bring no data the other end is taken for a babbler: a few tickets
/// and new keys are all that can be of use, and no record is longer than a quarter of this.
const BABBLE_BYTES_MAX: usize = 64 * 1024;

/// A connection, seen from one of its ends.
#[derive(Debug)]
pub struct Session {
    tls: Connection,
    end: Option<Result<(), TlsFault>>,
    babbled_bytes: usize,
    border: Border,
}

/// Where in the records the bytes that came have ended.
#[derive(Debug, Default)]
struct Border {
    head: [u8; RECORD_HEAD_BYTES],
    head_bytes: usize,
    /// What of a record is still to come behind its head.
    left: usize,
}

impl Border {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, behind)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.head[self.head_bytes] = *first;
            self.head_bytes += 1;
            bytes = behind;
            if let [_, _, _, high, low] = self.head
                && self.head_bytes == RECORD_HEAD_BYTES
            {
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.head_bytes = 0;
            }
        }
    }

    fn is_between_records(&self) -> bool {
        self.head_bytes == 0 && self.left == 0
    }
}

impl Session {
    /// A new one to whoever has `name`. The first bytes to write are [`Session::due`].
    pub fn start(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Session, TlsFault> {
        let tls = ClientConnection::new(config.clone(), name.clone())
            .map_err(|error| TlsFault::of(&error, true))?;
        Ok(Session::of(tls.into()))
    }

    /// A new one of somebody who comes to us, and speaks first.
    pub fn accept(config: &Arc<ServerConfig>) -> Result<Session, TlsFault> {
        let tls =
            ServerConnection::new(config.clone()).map_err(|error| TlsFault::of(&error, true))?;
        Ok(Session::of(tls.into()))
    }

    fn of(mut tls: Connection) -> Session {
        // What is sealed is taken out at once, so the bound is that of the caller's pieces.
        tls.set_buffer_limit(None);
        Session { tls, end: None, babbled_bytes: 0, border: Border::default() }
    }

    /// The certificates that the other end has shown, its own first; known after the handshake.
    pub fn shown(&self) -> &[CertificateDer<'static>] {
        self.tls.peer_certificates().unwrap_or_default()
    }

    /// Says that nothing more is to come; what is due behind it ends the connection.
    pub fn say_end(&mut self) {
        self.tls.send_close_notify();
    }

    /// Whether nothing can be sealed yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether an earlier connection was resumed; known after the handshake.
    pub fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Whether no record has come in part: what it holds is not known before it is whole.
    pub fn is_between_records(&self) -> bool {
        self.border.is_between_records()
    }

    /// How it ended, if it did: as the other end said, or for a fault.
    pub fn end(&self) -> Option<Result<(), TlsFault>> {
        self.end
    }

    /// Appends what is to be written without any data: of the handshake, or what is wrong.
    pub fn due(&mut self, sealed: &mut Vec<u8>) {
        while self.tls.wants_write() {
            let written = self.tls.write_tls(sealed);
            written.expect("a vector takes everything");
        }
    }

    /// Appends `plain` as records, behind what is due. Nothing is sealed before the end of the
    /// handshake; what can't be sealed any more is the end.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        assert!(!self.tls.is_handshaking(), "data is sealed behind the handshake");
        assert!(plain.len() <= SEALED_AT_ONCE_BYTES, "requests are sealed in pieces");
        sealed.reserve(sealed_bytes(plain.len()));
        let before = sealed.len();
        let taken = self.tls.writer().write(plain);
        self.due(sealed);
        // Where a key of TLS 1.2 has sealed as much as it may, rustls says that it took all, and gives
        // nothing out but the end.
        let is_sealed = sealed.len() - before >= plain.len();
        if !is_sealed || !matches!(taken, Ok(bytes) if bytes == plain.len()) {
            self.end.get_or_insert(Err(TlsFault::Broken));
        }
    }

    /// Takes bytes that came, and appends the data in them to `plain`. Returned is how much that was;
    /// more than came never, and one record that was begun before.
    pub fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> usize {
        let before = plain.len();
        self.open_up_to(sealed, plain, usize::MAX);
        plain.len() - before
    }

    /// Takes bytes that came as long as `plain` has not `to` bytes, and appends to it the data in them.
    /// Returned is how many were taken: what is left is to be given again, or nothing, for data that is
    /// left inside.
    pub fn open_up_to(&mut self, sealed: &[u8], plain: &mut Vec<u8>, to: usize) -> usize {
        let before = plain.len();
        let mut rest = sealed;
        self.take_plain(plain, to);
        while !rest.is_empty() && self.end.is_none() && plain.len() < to {
            self.take(&mut rest);
            // Also behind a fault: what came whole before it is good.
            self.take_plain(plain, to);
        }
        let taken = sealed.len() - rest.len();
        self.border.pass(&sealed[..taken]);
        self.listen(taken, plain.len() - before);
        taken
    }

    /// Takes bytes that came until hands are shaken. Returned is how many.
    pub fn shake(&mut self, sealed: &[u8]) -> usize {
        let mut rest = sealed;
        while !rest.is_empty() && self.end.is_none() && self.tls.is_handshaking() {
            self.take(&mut rest);
        }
        let taken = sealed.len() - rest.len();
        self.border.pass(&sealed[..taken]);
        taken
    }

    fn take(&mut self, rest: &mut &[u8]) {
        let is_handshake = self.tls.is_handshaking();
        let state = match self.tls.read_tls(rest) {
            Ok(_) => self.tls.process_new_packets(),
            // A message longer than any that there is: nothing else keeps bytes from it.
            Err(_) => Err(rustls::Error::PeerSentOversizedRecord),
        };
        self.end = match state {
            Ok(state) => state.peer_has_closed().then_some(Ok(())),
            Err(error) => Some(Err(TlsFault::of(&error, is_handshake))),
        };
    }

    /// The socket has ended.
    pub fn on_end(&mut self) {
        let fault = if self.is_handshaking() { TlsFault::Closed } else { TlsFault::Truncated };
        self.end.get_or_insert(Err(fault));
    }

    fn take_plain(&mut self, plain: &mut Vec<u8>, to: usize) {
        let mut reader = self.tls.reader();
        // Ends with an error where more may come, with nothing where the other end has said so.
        while plain.len() < to
            && let Ok(piece @ [_, ..]) = reader.fill_buf()
        {
            let bytes = piece.len().min(to - plain.len());
            plain.extend_from_slice(&piece[..bytes]);
            reader.consume(bytes);
        }
    }

    fn listen(&mut self, sealed_bytes: usize, opened_bytes: usize) {
        if opened_bytes > 0 || self.is_handshaking() {
            self.babbled_bytes = 0;
            return;
        }
        self.babbled_bytes += sealed_bytes;
        if self.babbled_bytes > BABBLE_BYTES_MAX {
            self.end.get_or_insert(Err(TlsFault::Broken));
        }
    }
}

/// The most that so many bytes of data become in records.
pub fn sealed_bytes(plain_bytes: usize) -> usize {
    plain_bytes + (plain_bytes / RECORD_BYTES + 1) * RECORD_EXTRA_BYTES
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
