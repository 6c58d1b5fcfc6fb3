//! The admin listener: what the process does, for people and for scrapers. It has threads of its own and
//! asks nobody, so that it answers when a core does not. Nothing is forwarded from here.

pub mod metrics;
pub mod sight;
pub mod status;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::base::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_IDLE_MAX, ADMIN_TURN_MAX,
};
use crate::base::time::Millis;
use crate::io::log::Log;
use crate::wire::exposition;
use crate::wire::http::head::{Framing, Head, Persistence, header_room};
use crate::wire::http::page::{Page, Status};
use crate::wire::http::reply::Refusal;

use sight::Sight;

const INDEX: &str = "highlander\n\n/status\n/metrics\n/-/healthy\n/-/ready\n";

/// How often a connection looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The listener as it runs.
pub struct Running {
    address: SocketAddr,
    bell: UnixStream,
    thread: JoinHandle<()>,
}

/// Starts it.
pub fn start(listener: TcpListener, sight: Sight, log: &Log) -> io::Result<Running> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (bell, heard) = UnixStream::pair()?;
    let (sight, log) = (Arc::new(sight), log.clone());
    let thread = thread::Builder::new().name("admin".into());
    let thread = thread.spawn(move || accept(&listener, &heard, &sight, &log))?;
    Ok(Running { address, bell, thread })
}

impl Running {
    /// Where it listens, with its true port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener. Connections end by themselves, in a moment.
    pub fn stop(self) {
        drop(self.bell);
        // It has no panics of its own.
        let _ = self.thread.join();
    }
}

/// What all connections share.
#[derive(Default)]
struct Shared {
    open: AtomicUsize,
    stops: AtomicBool,
}

fn accept(listener: &TcpListener, heard: &UnixStream, sight: &Arc<Sight>, log: &Log) {
    let shared = Arc::new(Shared::default());
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(heard, PollFlags::IN)];
        // A signal ends the wait early, which does no harm.
        let _ = poll(&mut fds, None);
        if !fds[1].revents().is_empty() {
            break;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => {
                // For want of descriptors; it stays in the backlog.
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        // Relaxed, as all of these: lone numbers that guard no other data.
        if shared.open.fetch_add(1, Ordering::Relaxed) >= ADMIN_CONNECTIONS_MAX {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            turn_away(stream);
            continue;
        }
        let (mine, sight) = (shared.clone(), sight.clone());
        let spawned = thread::Builder::new().name("admin-conn".into()).spawn(move || {
            // Whoever was connected has gone, or has been too slow.
            let _ = serve(stream, &sight, &mine.stops);
            mine.open.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            log.warn(&format!("an admin connection finds no thread: {error}"));
        }
    }
    shared.stops.store(true, Ordering::Relaxed);
}

fn turn_away(mut stream: TcpStream) {
    let page = Page::text(Status::Unavailable, "too many connections to the admin listener\n");
    let _ = stream.set_nonblocking(true);
    // What does not fit at once is not for waiting.
    let _ = stream.write_all(&page.encode(false, Persistence::Close));
    let _ = stream.shutdown(Shutdown::Write);
}

/// Answers the requests of one connection, one after the other.
fn serve(mut stream: TcpStream, sight: &Sight, stops: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(ADMIN_TURN_MAX.into()))?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let mut bytes = Vec::new();
    loop {
        let begun = Instant::now();
        let read = loop {
            let mut room = header_room();
            match Head::parse(&bytes, &mut room) {
                Ok(Some(head)) => break Ok((answer(&head, sight), head.bytes, framing(&head))),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            let patience = if bytes.is_empty() { ADMIN_IDLE_MAX } else { ADMIN_TURN_MAX };
            if !more(&mut stream, &mut bytes, begun, patience, stops)? {
                return Ok(());
            }
        };
        let (reply, head_bytes, body) = match read {
            Ok(read) => read,
            Err(error) => {
                let (_, why) = Refusal::Head(error).status();
                let page = Page::text(Status::BadRequest, &format!("{why}\n"));
                return stream.write_all(&page.encode(false, Persistence::Close));
            }
        };
        let Some(body_bytes) = body else {
            let page = Page::text(Status::TooLarge, "no request here needs such a body\n");
            return stream.write_all(&page.encode(false, Persistence::Close));
        };
        let whole = head_bytes + body_bytes;
        while bytes.len() < whole {
            if !more(&mut stream, &mut bytes, begun, ADMIN_TURN_MAX, stops)? {
                return Ok(());
            }
        }
        bytes.drain(..whole);
        stream.write_all(&reply.0)?;
        if reply.1 == Persistence::Close {
            return stream.shutdown(Shutdown::Write);
        }
    }
}

/// Reads some more. False: nobody is there any more, or this is to end.
fn more(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    begun: Instant,
    patience: Millis,
    stops: &AtomicBool,
) -> io::Result<bool> {
    let mut some = [0; 4096];
    loop {
        if stops.load(Ordering::Relaxed) || Millis::from(begun.elapsed()) >= patience {
            return Ok(false);
        }
        match stream.read(&mut some) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                bytes.extend_from_slice(&some[..read]);
                return Ok(true);
            }
            Err(error) if is_empty(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_empty(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// The bytes of a request's body, `None` if there may be too many.
fn framing(head: &Head<'_>) -> Option<usize> {
    match head.framing {
        Framing::Length(bytes) if bytes <= ADMIN_BODY_BYTES_MAX => usize::try_from(bytes).ok(),
        Framing::Length(_) | Framing::Chunked => None,
    }
}

/// The answer to a request, and what becomes of the connection.
fn answer(head: &Head<'_>, sight: &Sight) -> (Vec<u8>, Persistence) {
    let is_head = head.method == "HEAD";
    (page(head, sight).encode(is_head, head.persistence), head.persistence)
}

fn page(head: &Head<'_>, sight: &Sight) -> Page {
    let path = head.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let show: fn(&Sight) -> Page = match path {
        b"/metrics" => |sight| Page {
            content_type: exposition::CONTENT_TYPE,
            ..Page::text(Status::Ok, &metrics::exposition(sight))
        },
        b"/status" => |sight| Page {
            content_type: "application/json",
            ..Page::text(Status::Ok, &status::document(sight))
        },
        b"/-/healthy" => |sight| verdict(&sight.ailments(), "healthy\n"),
        b"/-/ready" => |sight| verdict(&sight.obstacles(), "ready\n"),
        b"/" => |_| Page::text(Status::Ok, INDEX),
        _ => return Page::text(Status::NotFound, "there is no such page\n"),
    };
    match head.method {
        "GET" | "HEAD" => show(sight),
        _ => {
            Page { allow: Some("GET, HEAD"), ..Page::text(Status::NotAllowed, "only to be read\n") }
        }
    }
}

fn verdict(faults: &[String], good: &str) -> Page {
    match faults {
        [] => Page::text(Status::Ok, good),
        faults => Page::text(Status::Unavailable, &(faults.join("\n") + "\n")),
    }
}
