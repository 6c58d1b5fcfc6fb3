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
pub struct SecondHandle(Handle);

impl SecondHandle {
    /// Writes what there is room for now, of both pieces in turn: how many bytes that was. Whatever is
    /// wrong is left to whoever writes the rest, and waits for it.
    pub fn write_at_once(&self, pieces: [&[u8]; 2]) -> usize {
        let pieces = pieces.map(IoSlice::new);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.0, &pieces, &mut SendAncillaryBuffer::default(), flags).unwrap_or(0)
    }
}

/// Opens a connection, on a loop of this kind, that sends what is written to it without delay.
pub async fn dial(address: SocketAddr, kind: Kind) -> io::Result<(TcpStream, SecondHandle)> {
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
    Ok((stream, SecondHandle(handle)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::io::driver::{self, Choice};

    #[test]
    fn what_there_is_room_for_is_written_at_once_and_nothing_is_waited_for() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let body = vec![7; 64 << 20];
            // Nobody reads, and nobody needs to.
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("its address");
            let written = driver::run(choice, |kind| async move {
                dial(address, kind).await.map(|(_stream, second)| {
                    let write = |bytes: &[u8]| second.write_at_once([b"head", bytes]);
                    // What was sent makes room when the kernel hears of it, some time.
                    (write(&body[..1000]), write(&body), (0..1000).any(|_| write(&body) == 0))
                })
            });
            let (small, large, is_full) = written.expect("a loop").expect("it connects");
            assert!(small == 1004 && is_full, "{choice:?}: {small}, {is_full}");
            assert!((4..64 << 20).contains(&large), "{choice:?}: {large}");
        }
    }

    #[test]
    fn an_address_of_either_version_is_dialled_without_delay() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port of each version");
            let address = listener.local_addr().expect("its address");
            let dialled = driver::run(Choice::Auto, |kind| dial(address, kind)).expect("a loop");
            let (_stream, second) = dialled.expect("it connects");
            assert!(second.0.nodelay().expect("it is open"));
        }
    }

    #[test]
    fn what_takes_no_connections_is_an_error_of_the_dialling() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let closed = closed.expect("a port");
            let dialled = driver::run(choice, |kind| dial(closed, kind)).expect("a loop");
            let error = dialled.map(drop).expect_err("nobody listens");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{choice:?}");
        }
    }
}
