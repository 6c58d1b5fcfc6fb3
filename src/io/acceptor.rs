//! The one thread that accepts, and hands each connection to the core with the fewest.
//!
//! A Prometheus holds few connections. Listeners of their own per core (SO_REUSEPORT) put them
//! where a hash falls: 8 connections on 2 cores all on one in one of 100 cases.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::limits::{ACCEPTS_MAX, LINGER_DEADLINE};
use crate::io::core::{Accepted, Handle};
use crate::io::gate::Gate;
use crate::io::log::Log;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::tuning::Tuned;
use crate::wire::http::answer::Asked;
use crate::wire::http::head::Persistence;
use crate::wire::http::reply::Refusal;

/// Refused connections that are held until the other end has read the refusal.
const LINGERING_MAX: usize = 1024;
/// A pause after an accept that failed for want of descriptors or memory: the connection stays in
/// the backlog, and a loop would only burn the core.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds `address`; a port that is taken is an error, never a second listener.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Only what std does too: a port whose last connections are still in TIME_WAIT can be bound.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // 50 shards of many Prometheus servers reconnect at once after a restart.
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The acceptor as it is started.
pub struct Acceptor {
    /// Where to accept.
    pub listeners: Vec<TcpListener>,
    /// The cores, and whether each wants non-blocking sockets.
    pub cores: Vec<(Arc<Handle>, bool)>,
    /// The most connections at a time, among others.
    pub tuned: Tuned,
    /// The way in, if not everybody may come.
    pub gate: Option<Arc<Gate>>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The log.
    pub log: Log,
}

/// The acceptor as it runs.
pub struct Running {
    bell: UnixStream,
    thread: JoinHandle<()>,
}

impl Running {
    /// Stops accepting and closes the listeners.
    pub fn stop(self) {
        drop(self.bell);
        // It has no panics of its own; a lost thread accepts nothing either.
        let _ = self.thread.join();
    }
}

impl Acceptor {
    /// Starts the thread.
    pub fn start(self) -> io::Result<Running> {
        let (bell, heard) = UnixStream::pair()?;
        let thread =
            thread::Builder::new().name("acceptor".into()).spawn(move || self.run(&heard))?;
        Ok(Running { bell, thread })
    }

    fn run(self, heard: &UnixStream) {
        let mut lingering: VecDeque<(Instant, TcpStream)> = VecDeque::new();
        let mut number = 0;
        let mut failing = false;
        loop {
            let mut wanted: Vec<PollFd<'_>> =
                self.listeners.iter().map(|l| PollFd::new(l, PollFlags::IN)).collect();
            wanted.push(PollFd::new(heard, PollFlags::IN));
            let timeout =
                (!lingering.is_empty()).then_some(Timespec { tv_sec: 0, tv_nsec: 200_000_000 });
            // An interrupted wait is a wait that ended early.
            let _ = poll(&mut wanted, timeout.as_ref());
            let is_over = wanted.last().is_some_and(|fd| !fd.revents().is_empty());
            drop(wanted);
            if is_over {
                return;
            }
            for listener in &self.listeners {
                match self.accept_all(listener, &mut number, &mut lingering) {
                    Ok(()) => failing = false,
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            self.log.error(&format!("connections can't be accepted: {error}"));
                        }
                        thread::sleep(PAUSE);
                    }
                }
            }
            release(&mut lingering);
        }
    }

    fn accept_all(
        &self,
        listener: &TcpListener,
        number: &mut u64,
        lingering: &mut VecDeque<(Instant, TcpStream)>,
    ) -> io::Result<()> {
        for _ in 0..ACCEPTS_MAX {
            match listener.accept() {
                Ok((stream, peer)) => {
                    *number += 1;
                    if let Some(stream) = self.hand(stream, peer, *number) {
                        self.refuse(stream, lingering);
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    // The other end was gone before we came to it.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Hands a connection to the least loaded core; gives it back if there are too many.
    fn hand(&self, stream: TcpStream, peer: SocketAddr, number: u64) -> Option<TcpStream> {
        // Relaxed: lone counts. Only this thread adds to them, so none is handed out twice.
        let of = |core: &Handle| core.load.connections.load(Ordering::Relaxed);
        let all: u64 = self.cores.iter().map(|(core, _)| of(core)).sum();
        if all >= self.tuned.load().connections_max as u64 {
            return Some(stream);
        }
        let (core, nonblocking) = self.cores.iter().min_by_key(|(core, _)| of(core))?;
        // Accepted sockets are blocking; both fail only on a socket that is gone.
        if stream.set_nodelay(true).is_err() || stream.set_nonblocking(*nonblocking).is_err() {
            return None;
        }
        core.hand(Accepted { stream, peer, number }).err().map(|accepted| accepted.stream)
    }

    fn refuse(&self, mut stream: TcpStream, lingering: &mut VecDeque<(Instant, TcpStream)>) {
        self.counters.add(Counter::ConnectionsRefused, 1);
        if self.gate.as_ref().is_some_and(|gate| gate.rules().tls.is_some()) {
            // An answer in the clear would only look like broken TLS.
            return;
        }
        let mut text = Vec::new();
        Refusal::TooManyConnections.append(Asked::Other, Persistence::Close, 5, &mut text);
        let sent = stream.set_nonblocking(true).and_then(|()| stream.write_all(&text));
        if sent.is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
            if lingering.len() == LINGERING_MAX {
                lingering.pop_front();
            }
            lingering.push_back((Instant::now(), stream));
        }
    }
}

/// Reads away what refused connections send, and closes those that are done or too old: a close
/// with unread bytes is a reset, which would take the refusal with it.
fn release(lingering: &mut VecDeque<(Instant, TcpStream)>) {
    let mut scrap = [0; 16 * 1024];
    lingering.retain_mut(|(since, stream)| {
        let ended = match stream.read(&mut scrap) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        !ended && since.elapsed() < Duration::from(LINGER_DEADLINE)
    });
}
