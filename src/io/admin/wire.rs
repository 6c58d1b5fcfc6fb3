//! A connection of the admin listener, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The connection. Reads and writes end with an error of a socket's time when there is nothing to do, and
/// may be tried again.
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Sealed.
    Tls(Box<StreamOwned<ServerConnection, Timed>>),
}

/// A socket below TLS, which would go on for as long as single bytes come: it gives back the control after
/// a while, whatever comes.
pub struct Timed {
    stream: TcpStream,
    until: Instant,
}

/// So long at the most, as a socket waits for a byte.
const TURN_MAX: Duration = Duration::from_millis(250);

impl Timed {
    fn begin(&mut self) {
        self.until = Instant::now() + TURN_MAX;
    }

    fn go_on(&self) -> io::Result<()> {
        match Instant::now() >= self.until {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.go_on()?;
        self.stream.read(bytes)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.go_on()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Wire {
    /// Begins it.
    pub fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Wire> {
        let Some(tls) = tls else { return Ok(Wire::Plain(stream)) };
        let session = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
        let timed = Timed { stream, until: Instant::now() };
        Ok(Wire::Tls(Box::new(StreamOwned::new(session, timed))))
    }

    /// What is below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock.stream,
        }
    }

    /// Nothing more is written.
    pub fn end(&mut self) -> io::Result<()> {
        if let Wire::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.sock.begin();
            // Whoever does not read it has what it was for.
            let _ = stream.flush();
        }
        self.socket().shutdown(Shutdown::Write)
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(bytes),
            Wire::Tls(stream) => {
                stream.sock.begin();
                stream.read(bytes)
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => {
                stream.sock.begin();
                stream.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => {
                stream.sock.begin();
                stream.flush()
            }
        }
    }
}
