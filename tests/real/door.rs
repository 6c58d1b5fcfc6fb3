//! A listener in the test's own process, with a thread for each that comes in.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Open until it is dropped.
pub struct Door {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Door {
    /// Listens on a free port of `ip` and serves each connection. One that goes away in the middle is
    /// killed by a test: no fault of ours.
    pub fn open(
        ip: IpAddr,
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Door {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, serve) = (Arc::clone(&stop), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let serve = Arc::clone(&serve);
                let Ok(stream) = stream else { continue };
                thread::spawn(move || serve(stream).unwrap_or(()));
            }
        });
        Door { address, stop }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; when that fails it has ended already.
        let _ = TcpStream::connect(self.address);
    }
}
