//! A bare relay: bytes in, the same bytes out, no idea of HTTP.
//!
//! What it costs is the kernel's TCP and the event loop, which no proxy on this runtime gets rid
//! of. So it is the floor that the proxy is compared with, not a peer.

use std::io;
use std::net::SocketAddr;

use argh::FromArgs;
use monoio::io::{
    AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable,
};
use monoio::net::TcpStream;

use crate::fault::{During, Fault};
use crate::ring;

/// The proxy's own first buffer size: the floor must not win or lose by its buffers.
const BUFFER_BYTES: usize = 64 * 1024;

/// Copy bytes between each accepted connection and one to the target.
#[derive(FromArgs)]
#[argh(subcommand, name = "relay")]
pub struct Options {
    /// address to listen on
    #[argh(option)]
    listen: String,

    /// address to connect to
    #[argh(option)]
    target: SocketAddr,

    /// core to run on
    #[argh(option)]
    core: Option<usize>,
}

/// Relays until it is killed.
pub fn run(options: &Options) -> Result<(), Fault> {
    ring::pin(options.core)?;
    ring::block_on(|driver| async move {
        let listener = ring::listen(&options.listen)?;
        eprintln!("relay: {} on {driver}", options.listen);
        loop {
            let (client, _) = listener.accept().await.during("accept")?;
            monoio::spawn(relay(client, options.target));
        }
    })?
}

async fn relay(client: TcpStream, target: SocketAddr) {
    let server = match TcpStream::connect_addr(target).await {
        Ok(server) => server,
        Err(error) => return eprintln!("relay: {target}: {error}"),
    };
    // Without it a small write would wait for the peer's delayed acknowledgement. A socket that
    // refuses the option is on its way out, which the copy finds by itself.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    monoio::spawn(copy(from_server, to_client));
    copy(from_client, to_server).await;
}

async fn copy(mut from: OwnedReadHalf<TcpStream>, mut to: OwnedWriteHalf<TcpStream>) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    while let Ok(back) = copy_once(&mut from, &mut to, buffer).await {
        buffer = back;
    }
    // The end of one side, by whatever cause, is passed on as an end; the peer then ends the
    // other direction itself.
    let _ = to.shutdown().await;
}

async fn copy_once(
    from: &mut OwnedReadHalf<TcpStream>,
    to: &mut OwnedWriteHalf<TcpStream>,
    buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let (read, filled) = from.read(buffer).await;
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (written, back) = to.write_all(filled).await;
    written.map(|_| back)
}
