//! A tap between a node and the storage: it passes everything on, and tells what has come by.
//!
//! That a node that must be silent is silent cannot be read back from a storage: what it writes may
//! be what another one has written as well.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A tap that passes on until it is dropped.
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    requests: AtomicUsize,
    stop: AtomicBool,
}

impl Tap {
    /// Listens on a free port of `ip` and passes on what comes to the one that listens at `to`.
    pub fn start(ip: IpAddr, to: SocketAddr) -> Tap {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared =
            Arc::new(Shared { to, requests: AtomicUsize::new(0), stop: AtomicBool::new(false) });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                let Ok(stream) = stream else { continue };
                // Either side may go away at any time: no fault of ours.
                thread::spawn(move || serving.serve(stream).unwrap_or(()));
            }
        });
        Tap { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come by.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; when that fails it has ended already.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, node: TcpStream) -> io::Result<()> {
        let storage = TcpStream::connect(self.to)?;
        let (answers, asker) = (storage.try_clone()?, node.try_clone()?);
        let back = thread::spawn(move || pass_on(answers, asker, |_| ()));
        let result = pass_on(node, storage, |bytes| {
            // Nobody here begins a request before the last one was answered.
            if bytes.starts_with(b"POST ") {
                self.requests.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _ = back.join();
        result
    }
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
