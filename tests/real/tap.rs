//! A tap between a node and the storage: it passes everything on, and tells what has come by.
//!
//! That a node that must be silent is silent cannot be read back from a storage: what it writes may
//! be what another one has written as well.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::door::Door;

/// A tap that passes on until it is dropped.
pub struct Tap {
    door: Door,
    requests: Arc<AtomicUsize>,
}

impl Tap {
    /// Listens on a free port of `ip` and passes on what comes to the one that listens at `to`.
    pub fn start(ip: IpAddr, to: SocketAddr) -> Tap {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        Tap { door: Door::open(ip, move |node| serve(node, to, &counted)), requests }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// How many requests have come by.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(node: TcpStream, to: SocketAddr, requests: &AtomicUsize) -> io::Result<()> {
    let storage = TcpStream::connect(to)?;
    let (answers, asker) = (storage.try_clone()?, node.try_clone()?);
    let back = thread::spawn(move || pass_on(answers, asker, |_| ()));
    let result = pass_on(node, storage, |bytes| {
        // Nobody here begins a request before the last one was answered.
        if bytes.starts_with(b"POST ") {
            requests.fetch_add(1, Ordering::SeqCst);
        }
    });
    let _ = back.join();
    result
}

/// Passes on what comes, until no more does. Then neither side goes on.
fn pass_on(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    to.set_nodelay(true)?;
    let result = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(bytes) => {
                see(&buffer[..bytes]);
                if let Err(error) = to.write_all(&buffer[..bytes]) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error),
        }
    };
    for stream in [from, to] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
    result
}
