//! Connecting to an endpoint, or to another node.
//!
//! Where a head and its body lie apart, and there is no TLS, the socket gets a second handle, by which as
//! much of both as it has room for is written at once: on the ring they would be two packets and two turns
//! of the loop. What lies in one piece is better left to the ring, which sends that of several connections
//! in one call.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream as Handle};

use monoio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::io::driver::Kind;

/// A second handle of a connection, by which nothing is waited for.
#[derive(Debug)]
pub struct AtOnce(Handle);

impl AtOnce {
    /// Writes what there is room for now, of both pieces in turn: how many bytes that was. Whatever is
    /// wrong is left to whoever writes the rest, and waits for it.
    pub fn write(&self, pieces: [&[u8]; 2]) -> usize {
        let pieces = pieces.map(IoSlice::new);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.0, &pieces, &mut SendAncillaryBuffer::default(), flags).unwrap_or(0)
    }
}

/// Opens a connection, on a loop of this kind, that sends what is written to it without delay.
pub async fn dial(address: SocketAddr, kind: Kind) -> io::Result<(TcpStream, AtOnce)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let is_under_way = match socket.connect(&address.into()) {
        Ok(()) => false,
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => true,
        Err(error) => return Err(error),
    };
    let handle = Handle::from(socket.try_clone()?);
    let stream = TcpStream::from_std(socket.into())?;
    if is_under_way {
        stream.writable(false).await?;
        if let Some(error) = handle.take_error()? {
            return Err(error);
        }
    }
    handle.set_nonblocking(kind.wants_nonblocking())?;
    Ok((stream, AtOnce(handle)))
}
