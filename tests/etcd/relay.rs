//! A way to an etcd that can be cut: what was on it hangs, as behind a dead network.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The way.
pub struct Relay {
    host: String,
    cut: Arc<AtomicBool>,
}

impl Relay {
    /// Passes connections on to `to`; its threads end with the test process.
    pub fn start(to: &str) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("it is bound").to_string();
        let cut = Arc::new(AtomicBool::new(false));
        let (to, gate) = (to.to_owned(), cut.clone());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&to) else { continue };
                let pair = near.try_clone().and_then(|near| Ok((near, far.try_clone()?)));
                let Ok((back_to, back_from)) = pair else { continue };
                let gates = (gate.clone(), gate.clone());
                thread::spawn(move || pass(near, far, &gates.0));
                thread::spawn(move || pass(back_from, back_to, &gates.1));
            }
        });
        Relay { host, cut }
    }

    /// Where it listens.
    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// From now on nothing gets through.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// All gets through again, what hung on the way too.
    pub fn heal(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = io::Read::read(&mut from, &mut bytes) {
        while cut.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        if io::Write::write_all(&mut to, &bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
