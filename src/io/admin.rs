//! The admin listener: what the process does, for people and for scrapers. It has threads of its own and
//! asks nobody, so that it answers when a core does not. Nothing is forwarded from here.

pub mod metrics;
pub mod sight;
pub mod status;
pub mod status_page;
pub mod steer;
pub mod why;
pub mod wire;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::base::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_CROWDED, ADMIN_CROWDED_IDLE_MAX,
    ADMIN_IDLE_MAX, ADMIN_TURN_MAX, LINGER_DEADLINE,
};
use crate::base::time::Millis;
use crate::io::access::Access;
use crate::io::log::Log;
use crate::io::users::Who;
use crate::wire::exposition;
use crate::wire::http::accept::wants_html;
use crate::wire::http::head::{Framing, Head, Persistence, Version, header_room};
use crate::wire::http::page::{Page, Status};
use crate::wire::http::reply::Refusal;

use sight::Sight;
use status_page::VARY;
use steer::{Act, Reload};
use wire::Wire;

const INDEX: &str = "highlander\n\n/status\n/api/v1/status\n/metrics\n/-/healthy\n/-/ready\n";

/// How often a connection looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The listener as it runs.
pub struct Running {
    address: SocketAddr,
    bell: UnixStream,
    thread: JoinHandle<()>,
}

/// Starts it.
pub fn start(
    listener: TcpListener,
    access: Access,
    sight: Arc<Sight>,
    reload: Reload,
    log: &Log,
) -> io::Result<Running> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (bell, heard) = UnixStream::pair()?;
    let log = log.clone();
    let thread = thread::Builder::new().name("admin".into());
    let door = Arc::new(Door { access, sight, reload });
    let thread = thread.spawn(move || accept(&listener, &heard, &door, &log))?;
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

/// Who comes in, and what there is for him.
struct Door {
    access: Access,
    sight: Arc<Sight>,
    reload: Reload,
}

/// What all connections share.
#[derive(Default)]
struct Shared {
    open: AtomicUsize,
    stops: AtomicBool,
    /// Held while a long page is made: however many ask at once, there is one at a time.
    one: Mutex<()>,
}

impl Shared {
    /// How long a connection may be there that asks nothing. Those that keep others away are closed soon.
    fn idle_max(&self, idle_max: Millis) -> Millis {
        // Relaxed: a lone number.
        match self.open.load(Ordering::Relaxed) >= ADMIN_CROWDED {
            true => ADMIN_CROWDED_IDLE_MAX.min(idle_max),
            false => idle_max,
        }
    }
}

fn accept(listener: &TcpListener, heard: &UnixStream, door: &Arc<Door>, log: &Log) {
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
        let (mine, door) = (shared.clone(), door.clone());
        let spawned = thread::Builder::new().name("admin-conn".into()).spawn(move || {
            // Whoever was connected has gone, or has been too slow.
            let _ = serve(stream, &door, &mine);
            mine.open.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            log.warn(&format!("an admin connection finds no thread: {error}"));
        }
    }
    shared.stops.store(true, Ordering::Relaxed);
}

fn turn_away(stream: TcpStream) {
    let page = Page::text(Status::Unavailable, "too many connections to the admin listener\n");
    let _ = stream.set_nonblocking(true);
    // What does not fit at once is not for waiting.
    let _ = (&stream).write_all(&[page.head(Persistence::Close), page.body].concat());
    let _ = stream.shutdown(Shutdown::Write);
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, door: &Door, shared: &Shared) -> io::Result<()> {
    let Door { access, sight, .. } = door;
    let (stops, from) = (&shared.stops, stream.peer_addr()?);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    stream.set_write_timeout(Some(LOOK_EVERY))?;
    let first = access.rules();
    let mut stream = Wire::new(stream, first.tls.as_ref().map(|tls| &tls.config))?;
    let (mut bytes, mut idle_max) = (Vec::new(), ADMIN_TURN_MAX);
    loop {
        let mut begun = Instant::now();
        let read = loop {
            let mut room = header_room();
            match Head::parse(&bytes, &mut room) {
                Ok(Some(head)) => break Ok(asked(&head)),
                Ok(None) => {}
                Err(error) => break Err(Refusal::Head(error).status().1),
            }
            let is_idle = bytes.is_empty();
            let patience = || if is_idle { shared.idle_max(idle_max) } else { ADMIN_TURN_MAX };
            if !more(&mut stream, &mut bytes, begun, patience, stops)? {
                return Ok(());
            }
            if is_idle {
                // From its first byte on a request has its time, however long nothing was asked.
                begun = Instant::now();
            }
        };
        let asked = match read {
            Ok(asked) => asked,
            Err(why) => {
                let page = Page::text(Status::BadRequest, &format!("{why}\n"));
                write(&mut stream, &page, false, Persistence::Close, stops)?;
                return linger(&mut stream, stops);
            }
        };
        let Some(whole) = asked.whole_bytes else {
            let page = Page::text(Status::TooLarge, "no request here needs such a body\n");
            write(&mut stream, &page, false, Persistence::Close, stops)?;
            return linger(&mut stream, stops);
        };
        // Whoever waits to be told to go on gets the answer, and need not send the rest.
        while bytes.len() < whole && asked.persistence == Persistence::KeepAlive {
            if !more(&mut stream, &mut bytes, begun, || ADMIN_TURN_MAX, stops)? {
                return Ok(());
            }
        }
        bytes.drain(..whole.min(bytes.len()));
        // Anew for each: whoever may not ask any more may not on an old connection either.
        let rules = access.rules();
        let who = rules.users.judge(asked.authorization.as_deref());
        let is_same = match (&rules.tls, &first.tls) {
            (Some(now), Some(first)) => Arc::ptr_eq(&now.config, &first.config),
            (now, first) => now.is_none() && first.is_none(),
        };
        let persistence = match (&who, is_same) {
            (Some(_), true) => asked.persistence,
            (None, _) | (_, false) => Persistence::Close,
        };
        let page = match (who, Act::of(asked.path())) {
            (None, _) => Page::text(Status::Unauthorized, "a name and a password are needed\n"),
            (Some(who), Some(act)) => do_it(act, &asked, door, &who, from),
            (Some(_), None) => show(&asked, sight, &shared.one),
        };
        write(&mut stream, &page, asked.is_head, persistence, stops)?;
        if persistence == Persistence::Close {
            return linger(&mut stream, stops);
        }
        idle_max = ADMIN_IDLE_MAX;
    }
}

/// Reads some more. False: nobody is there any more, or this is to end.
fn more(
    stream: &mut Wire,
    bytes: &mut Vec<u8>,
    begun: Instant,
    patience: impl Fn() -> Millis,
    stops: &AtomicBool,
) -> io::Result<bool> {
    let mut some = [0; 4096];
    loop {
        if stops.load(Ordering::Relaxed) || Millis::from(begun.elapsed()) >= patience() {
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

/// Writes a page, in [`ADMIN_TURN_MAX`] in all.
fn write(
    stream: &mut Wire,
    page: &Page,
    is_head: bool,
    persistence: Persistence,
    stops: &AtomicBool,
) -> io::Result<()> {
    let (head, begun) = (page.head(persistence), Instant::now());
    let body: &[u8] = if is_head { &[] } else { &page.body };
    for mut part in [&head[..], body] {
        while !part.is_empty() {
            if stops.load(Ordering::Relaxed) || Millis::from(begun.elapsed()) >= ADMIN_TURN_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match stream.write(part) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => part = &part[written..],
                Err(error) if is_empty(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    // Sealed, some of it may still be here.
    loop {
        match stream.flush() {
            Err(error) if is_empty(&error) => {}
            done => return done,
        }
        if stops.load(Ordering::Relaxed) || Millis::from(begun.elapsed()) >= ADMIN_TURN_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Reads away what is still coming: a close with unread bytes would take the answer with it.
fn linger(stream: &mut Wire, stops: &AtomicBool) -> io::Result<()> {
    stream.end()?;
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    while more(stream, &mut bytes, begun, || LINGER_DEADLINE, stops)? {
        bytes.clear();
    }
    Ok(())
}

fn is_empty(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// What a request asks for.
struct Asked {
    target: Vec<u8>,
    authorization: Option<Vec<u8>>,
    is_head: bool,
    is_read: bool,
    is_post: bool,
    /// Whether something stands in its body.
    has_body: bool,
    origin: Origin,
    /// Whether it comes from a browser.
    wants_html: bool,
    /// The bytes of head and body, `None` if there may be too many.
    whole_bytes: Option<usize>,
    persistence: Persistence,
}

impl Asked {
    fn path(&self) -> &[u8] {
        self.target.split(|byte| *byte == b'?').next().unwrap_or_default()
    }
}

fn asked(head: &Head<'_>) -> Asked {
    let body = match head.framing {
        Framing::Length(bytes) if bytes <= ADMIN_BODY_BYTES_MAX => usize::try_from(bytes).ok(),
        Framing::Length(_) | Framing::Chunked => None,
    };
    let stays = head.version == Version::Http11 && !head.expects_continue;
    Asked {
        target: head.target.to_vec(),
        authorization: header(head, "authorization").map(<[u8]>::to_vec),
        is_head: head.method == "HEAD",
        is_read: matches!(head.method, "GET" | "HEAD"),
        is_post: head.method == "POST",
        has_body: head.framing != Framing::Length(0),
        origin: Origin::of(head),
        wants_html: wants_html(head.headers),
        whole_bytes: body.map(|body| head.bytes + body),
        persistence: if stays { head.persistence } else { Persistence::Close },
    }
}

/// The value of the first header of this name.
fn header<'h>(head: &Head<'h>, name: &str) -> Option<&'h [u8]> {
    let line = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    line.map(|header| header.value)
}

/// Whose page had a browser ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// No browser: whoever is none does not say.
    None,
    /// A page from here, which was opened by an address.
    Address,
    /// A page that was opened by the name that this was asked by. Whoever has a name says where it leads, so
    /// that it may be anybody's page.
    Name,
    /// A page from elsewhere.
    Foreign,
}

impl Origin {
    fn of(head: &Head<'_>) -> Origin {
        let Some(origin) = header(head, "origin") else { return Origin::None };
        let schemes: [&[u8]; 2] = [b"http://", b"https://"];
        let host = schemes.iter().find_map(|scheme| origin.strip_prefix(*scheme));
        let Some(host) = host.filter(|host| Some(*host) == header(head, "host")) else {
            return Origin::Foreign;
        };
        let host = std::str::from_utf8(host).unwrap_or_default();
        let bare = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((bare, _)) => bare,
            None => host.rsplit_once(':').map_or(host, |(bare, _)| bare),
        };
        match bare == "localhost" || bare.parse::<IpAddr>().is_ok() {
            true => Origin::Address,
            false => Origin::Name,
        }
    }
}

fn do_it(act: Act, asked: &Asked, door: &Door, who: &Who, from: SocketAddr) -> Page {
    if !asked.is_post {
        let page = Page::text(Status::NotAllowed, "that is done with POST\n");
        return Page { allow: Some("POST"), ..page };
    }
    if asked.has_body {
        return Page::text(Status::BadRequest, "say it in the query: a body is not read\n");
    }
    match (asked.origin, who) {
        (Origin::Foreign, _) => {
            Page::text(Status::Forbidden, "that is not done for pages of others\n")
        }
        (Origin::Name, Who::Anybody) => Page::text(
            Status::Forbidden,
            "a page that was opened by a name may be anybody's: open it by its address, or have \
             users in --admin-web-config\n",
        ),
        (Origin::None | Origin::Address | Origin::Name, who) => {
            let Door { sight, reload, .. } = door;
            steer::steer(act, &asked.target, sight, reload, &who.at(from))
        }
    }
}

fn show(asked: &Asked, sight: &Sight, one: &Mutex<()>) -> Page {
    let (show, is_long): (fn(&Sight) -> Page, bool) = match asked.path() {
        b"/metrics" => {
            (|sight| Page::good(exposition::CONTENT_TYPE, metrics::exposition(sight)), true)
        }
        b"/" | b"/status" if asked.wants_html => (|_| status_page::page(), false),
        b"/status" | b"/api/v1/status" => {
            (|sight| Page::good("application/json", status::document(sight)).with(VARY), true)
        }
        b"/-/healthy" => (|sight| verdict(&sight.ailments(), "healthy\n"), false),
        b"/-/ready" => (|sight| verdict(&sight.obstacles(), "ready\n"), false),
        b"/" => (|_| Page::text(Status::Ok, INDEX).with(VARY), false),
        _ => return Page::text(Status::NotFound, "there is no such page\n"),
    };
    if !asked.is_read {
        let page = Page::text(Status::NotAllowed, "only to be read\n");
        return Page { allow: Some("GET, HEAD"), ..page };
    }
    // A thread that panics ends the process, so nobody finds it poisoned.
    let _one = is_long.then(|| one.lock().unwrap_or_else(PoisonError::into_inner));
    show(sight)
}

fn verdict(faults: &[String], good: &str) -> Page {
    match faults {
        [] => Page::text(Status::Ok, good),
        faults => Page::text(Status::Unavailable, &(faults.join("\n") + "\n")),
    }
}
