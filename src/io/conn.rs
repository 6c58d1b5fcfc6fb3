//! One connection of a source: read a request, find out who speaks, decide, answer, again.

mod enter;
mod forward;
mod greet;
mod refuse;
mod relay;

use std::net::SocketAddr;
use std::rc::Rc;

use monoio::buf::IoBuf;
use monoio::net::TcpStream;

use crate::base::limits::{
    ANSWER_DEADLINE, BUFFER_BYTES, BUFFER_BYTES_TRUSTED, DIRECT_BYTES_MIN, HEAD_DEADLINE,
    IDLE_DEADLINE, LARGE_READ_CONNECTIONS_MAX,
};
use crate::base::time::Nanos;
use crate::io::answer::Manner;
use crate::io::buffers::Share;
use crate::io::channel::Channel;
use crate::io::core::Core;
use crate::io::deadline::{Patience, Slot};
use crate::io::door::{Door, Step};
use crate::io::inbound::{Awaited, Inbound, Keeping, ReadError};
use crate::io::passage::Fault;
use crate::io::settings::Terms;
use crate::io::speaker::Speaker;
use crate::io::users::Stranger;
use crate::logic::source::Payload;
use crate::logic::view::Fate;
use crate::shared::labels::Course;
use crate::shared::metrics::Counter;
use crate::shared::presence::Answered;
use crate::wire::http::answer::Asked;
use crate::wire::http::form::Form;
use crate::wire::http::head::{Framing, Head, Persistence, Version, header_room};
use crate::wire::http::reply::{self, Refusal};
use crate::wire::http::rewrite::{LENGTH_LINE_BYTES_MAX, PASS_LINE_BYTES_MAX};
use crate::wire::remote_write::protocol::Protocol;

/// One connection and all it owns.
pub struct Conn {
    core: Rc<Core>,
    slot: Rc<Slot>,
    channel: Channel,
    /// Who may come, if not everybody.
    door: Option<Door>,
    inbound: Inbound,
    speaker: Speaker,
    /// The head for the endpoint, written as soon as the source's is read.
    head_out: Vec<u8>,
    /// Whether a whole request has come from it: only then it gets large buffers.
    is_proven: bool,
    /// How long its last request was, if the next one is to be read into a buffer for just that.
    like: Option<usize>,
}

/// What is remembered of a request's head once its bytes may move.
struct Request {
    /// Under which it is read.
    terms: Terms,
    head_bytes: usize,
    framing: Framing,
    asked: Asked,
    version: Version,
    persistence: Persistence,
    expects_continue: bool,
    keeping: Keeping,
    onward: Onward,
    /// As what the head for the endpoint was written.
    form: Form,
    /// The remote write that it speaks, if it does.
    protocol: Option<Protocol>,
    /// When its head had been read.
    begun: Nanos,
}

/// What was read of a head.
enum Parsed {
    /// A part of it.
    Part,
    /// All of it, and whether somebody with this password may come in is to be asked.
    From(Stranger),
    /// All of it.
    Whole(Request),
}

/// Where a request goes, as far as that is known when its head has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onward {
    /// Not to another node.
    Here,
    /// Perhaps to another node: there must be room for its pass.
    Perhaps,
}

impl Request {
    fn payload(&self) -> Payload {
        match self.protocol {
            Some(_) => Payload::RemoteWrite,
            None => Payload::Other,
        }
    }

    fn manner(&self) -> Manner {
        Manner { version: self.version, persistence: self.persistence }
    }
}

/// Where a body is that has been kept.
struct Body {
    bytes: usize,
    /// Chunks, and what had no room behind its head, are gathered into a buffer of their own; other
    /// bodies lie where they were read.
    gathered: Option<Vec<u8>>,
    /// Whether the buffer is a piece that may be kept as it is, with the endpoint's head in front.
    is_piece: bool,
    /// What they take of the budget, for as long as they are on their way.
    share: Option<Share>,
}

impl Body {
    /// One of so many bytes that lies where it was read.
    fn in_place(bytes: usize) -> Body {
        Body { bytes, gathered: None, is_piece: false, share: None }
    }
}

/// How a turn ended.
enum End {
    /// Answered; the connection stays open.
    Next,
    /// There is nobody to answer, or the last answer said so.
    Close,
    /// Answered, and what else comes is to be read away before the close.
    Linger,
}

/// Serves a connection to its end.
pub async fn serve(core: Rc<Core>, stream: TcpStream, peer: SocketAddr, number: u64) {
    let mut conn = Conn {
        slot: core.deadlines.slot(),
        channel: Channel::new(stream),
        door: Door::new(&core),
        inbound: Inbound::new(core.clone()),
        speaker: Speaker::new(core.clone(), peer, number),
        head_out: Vec::new(),
        is_proven: false,
        like: None,
        core,
    };
    let mut end = conn.greet().await;
    if matches!(end, End::Next) && conn.door.is_some() && conn.shake_hands().await.is_err() {
        return;
    }
    loop {
        match end {
            End::Next => end = conn.turn().await,
            End::Close => return,
            End::Linger => return conn.linger().await,
        }
    }
}

impl Conn {
    /// One request, from its first byte to the last of its answer.
    async fn turn(&mut self) -> End {
        self.inbound.rewind(self.awaited());
        let request = match self.read_head().await {
            Ok(request) => request,
            Err(fault) => return self.refuse_unread(fault).await,
        };
        let body = match self.read_body(&request).await {
            Ok(body) => body,
            Err(fault) => return self.refuse_unread(fault).await,
        };
        self.is_proven = true;
        let fate = self.speaker.hear(request.payload());
        let done = match (fate, request.keeping, request.protocol) {
            (Ok(Fate::Relay(to)), Keeping::Keep, _) => self.relay(&request, body, to).await,
            (Ok(Fate::Forward), Keeping::Keep, Some(protocol)) if self.is_thin(&request) => {
                self.forward_unkept(&request, body, protocol).await
            }
            (Ok(fate), Keeping::Keep, Some(protocol)) => {
                self.write(&request, body, protocol, fate).await
            }
            (Ok(Fate::Forward), Keeping::Keep, None) => self.forward(&request, body).await,
            (Ok(Fate::Take), keeping, _) => self.take(&request, body, keeping).await,
            (Ok(Fate::Park), keeping, None) => {
                self.drop_body(&body, keeping);
                Err(Refusal::NoLeader.into())
            }
            // It took the seat while its body was read away, or the seat changed twice meanwhile:
            // the source has it still.
            (Ok(_), keeping, _) => {
                self.drop_body(&body, keeping);
                Err(Refusal::SeatChanged.into())
            }
            (Err(refusal), keeping, _) => {
                self.drop_body(&body, keeping);
                Err(refusal.into())
            }
        };
        match done {
            Ok(Persistence::KeepAlive) => End::Next,
            Ok(Persistence::Close) => End::Linger,
            Err(Fault::Gone) => End::Close,
            Err(Fault::Refused(refusal)) => self.refuse(refusal, &request).await,
        }
    }

    fn awaited(&self) -> Awaited {
        let connections = &self.core.handle.load.connections;
        // Relaxed: a rule of thumb.
        let connections = connections.load(std::sync::atomic::Ordering::Relaxed);
        let all = |bytes: usize| connections.saturating_mul(bytes as u64);
        let fits = |bytes| all(bytes) <= (LARGE_READ_CONNECTIONS_MAX * BUFFER_BYTES) as u64;
        match self.like {
            _ if !self.is_proven => Awaited::Small,
            Some(bytes) if fits(bytes) => Awaited::Like(bytes),
            _ if fits(BUFFER_BYTES) => Awaited::Large,
            _ => Awaited::Small,
        }
    }

    async fn read_head(&mut self) -> Result<Request, Fault> {
        // A connection that has never sent a request is not waited on for long: silent ones must
        // not use up the descriptors.
        let mut due = match self.is_proven {
            // That of this connection, a moment ago: the clock need not be read again.
            true => self.core.last_answer.get().after(IDLE_DEADLINE),
            false => self.core.now().after(HEAD_DEADLINE),
        };
        let mut patience = Patience::Idle;
        loop {
            if !self.inbound.bytes().is_empty() {
                match self.parse_head()? {
                    Parsed::Whole(request) => return Ok(request),
                    Parsed::From(stranger) => {
                        if let Some(door) = &self.door {
                            let from = self.speaker.peer().ip();
                            Box::pin(door.ask(&self.core, &self.slot, stranger, from)).await?;
                        }
                        continue;
                    }
                    Parsed::Part => {}
                }
                // An empty line is not yet the beginning of a request.
                let has_begun = !b"\r\n".starts_with(self.inbound.bytes());
                if patience == Patience::Idle && has_begun {
                    due = self.core.now().after(HEAD_DEADLINE);
                    patience = Patience::Busy;
                }
            } else if self.core.draining.get() {
                return Err(Fault::Gone);
            }
            self.inbound.grow_for_head();
            let read = self.inbound.read(&mut self.channel, &self.slot, due, patience).await;
            match (read, patience) {
                (Ok(()), _) => {}
                (Err(ReadError::TimedOut), Patience::Busy) => {
                    self.inbound.replace(b"");
                    return Err(Refusal::HeadTimedOut.into());
                }
                (Err(_), _) => return Err(Fault::Gone),
            }
        }
    }

    /// Parses a head, finds out who speaks and writes the head for the endpoint.
    fn parse_head(&mut self) -> Result<Parsed, Fault> {
        let mut room = header_room();
        let head = Head::parse(self.inbound.bytes(), &mut room).map_err(Refusal::Head)?;
        let Some(head) = head else { return Ok(Parsed::Part) };
        if let Some(door) = &mut self.door
            // A node of ours has let in whom it relays for.
            && !self.speaker.is_vouched_for(&head)
        {
            match door.judge(&head, &self.channel) {
                Ok(Step::In) => {}
                Ok(Step::Ask(stranger)) => return Ok(Parsed::From(stranger)),
                // A node whose key we do not know may have relayed it, and kept the password: a 401 would
                // have its source drop it.
                Err(Fault::Refused(Refusal::Unauthorized)) if self.speaker.is_relayed(&head) => {
                    return Err(Refusal::PassForeign.into());
                }
                Err(fault) => return Err(fault),
            }
            self.speaker.on_guest(door.guest());
        }
        self.speaker.identify(&head)?;
        let protocol = protocol_of(&head);
        let payload = protocol.map_or(Payload::Other, |_| Payload::RemoteWrite);
        let fate = self.speaker.judge(payload);
        let terms = self.core.terms();
        let onward = match fate {
            Fate::Relay(_) | Fate::Contend | Fate::Park if terms.relaying.is_some() => {
                Onward::Perhaps
            }
            _ => Onward::Here,
        };
        let request = Request {
            head_bytes: head.bytes,
            framing: head.framing,
            asked: if head.method == "HEAD" { Asked::Head } else { Asked::Other },
            version: head.version,
            persistence: match self.core.draining.get() {
                true => Persistence::Close,
                false => head.persistence,
            },
            expects_continue: head.expects_continue,
            keeping: match fate {
                Fate::Take => Keeping::Skip,
                _ => Keeping::Keep,
            },
            onward,
            form: match (onward, fate) {
                // It is written anew for whoever gets it when it is sent.
                (Onward::Perhaps, _) | (Onward::Here, Fate::Hold) => Form::Common,
                (Onward::Here, _) => terms.form(&head, protocol),
            },
            protocol,
            begun: self.core.clock.nanos(),
            terms,
        };
        if let Framing::Length(length) = head.framing
            && length > request.terms.body_bytes_max as u64
        {
            return Err(Refusal::BodyTooLarge.into());
        }
        self.head_out.clear();
        if request.keeping == Keeping::Keep {
            request.terms.route(request.form).append_head(&head, &mut self.head_out);
        }
        self.inbound.consume(request.head_bytes);
        Ok(Parsed::Whole(request))
    }

    async fn read_body(&mut self, request: &Request) -> Result<Body, Fault> {
        if request.expects_continue && self.inbound.bytes().is_empty() {
            self.say(reply::CONTINUE).await?;
        }
        // The head for the endpoint, and the Content-Length that it gets in place of chunks.
        let pass_bytes = match request.onward {
            Onward::Here => 0,
            Onward::Perhaps => PASS_LINE_BYTES_MAX,
        };
        let front = self.head_out.len() + LENGTH_LINE_BYTES_MAX + pass_bytes;
        let at_once = if self.is_proven { BUFFER_BYTES_TRUSTED } else { BUFFER_BYTES };
        let length = self.trusted_length(request);
        // A small one is copied: its own head and the room for the endpoint's would be kept with it.
        let is_kept =
            request.protocol.is_some() && request.onward == Onward::Here && !self.is_thin(request);
        let kept = length.filter(|bytes| is_kept && *bytes >= DIRECT_BYTES_MIN);
        // In a pooled buffer most of a large one would have to be moved.
        let large = length.filter(|bytes| *bytes >= BUFFER_BYTES);
        self.like = kept.or(large).map(|bytes| request.head_bytes + bytes);
        let apart = kept.filter(|bytes| !self.inbound.has_room(*bytes));
        let (channel, slot) = (&mut self.channel, &self.slot);
        let read = match (request.framing, request.keeping, apart) {
            (Framing::Length(_), Keeping::Keep, Some(bytes)) => {
                let mut piece = self.core.store.piece(self.head_out.len() + bytes);
                piece.extend_from_slice(&self.head_out);
                let read = self.inbound.read_piece(channel, slot, piece, bytes).await;
                read.map(|(piece, share)| Body {
                    bytes,
                    gathered: Some(piece),
                    is_piece: true,
                    share,
                })
            }
            (Framing::Length(length), Keeping::Keep, None) => {
                // It was compared with the limit, which is a usize.
                let bytes = length as usize;
                let read = self.inbound.read_body(channel, slot, (front, bytes), at_once).await;
                read.map(|()| Body::in_place(bytes))
            }
            (Framing::Length(length), Keeping::Skip, _) => {
                let bytes = length as usize;
                let read = self.inbound.skip_body(channel, slot, bytes).await;
                read.map(|()| Body::in_place(bytes))
            }
            (Framing::Chunked, keeping, _) => {
                let limit = request.terms.body_bytes_max;
                let read = self.inbound.read_chunks(channel, slot, (front, limit), keeping).await;
                read.map(|gathered| Body {
                    bytes: gathered.data_bytes,
                    gathered: Some(gathered.buffer),
                    is_piece: false,
                    share: gathered.share,
                })
            }
        };
        read.map_err(|error| match error {
            ReadError::Gone => Fault::Gone,
            ReadError::TimedOut => {
                self.inbound.replace(b"");
                Refusal::BodyTimedOut.into()
            }
            ReadError::TooLarge => Refusal::BodyTooLarge.into(),
            ReadError::NoRoom => Refusal::NoRoom.into(),
            ReadError::Chunks(error) => Refusal::Body(error).into(),
        })
    }

    /// Whether nothing of a request is kept. What goes to more than one endpoint is in a piece of its own
    /// in any case.
    fn is_thin(&self, request: &Request) -> bool {
        self.speaker.is_thin() && request.terms.alone().is_some()
    }

    /// The length of a body that is not to be forgotten and for which memory is taken at once.
    fn trusted_length(&self, request: &Request) -> Option<usize> {
        let Framing::Length(length) = request.framing else { return None };
        let is_trusted = self.is_proven && length <= BUFFER_BYTES_TRUSTED as u64;
        (is_trusted && request.keeping == Keeping::Keep).then_some(length as usize)
    }

    /// A body that was kept and is not sent: what comes behind it is the next request.
    fn drop_body(&mut self, body: &Body, keeping: Keeping) {
        if keeping == Keeping::Keep && body.gathered.is_none() {
            self.inbound.consume(body.bytes);
        }
    }

    /// A standby's request: taken.
    async fn take(
        &mut self,
        request: &Request,
        body: Body,
        keeping: Keeping,
    ) -> Result<Persistence, Fault> {
        self.drop_body(&body, keeping);
        self.count(Counter::Standby, Counter::StandbyBytes, body.bytes);
        self.speaker.answered(Answered::Settled);
        let text = match (request.version, request.persistence) {
            (Version::Http10, Persistence::KeepAlive) => reply::TAKEN_KEEP_ALIVE,
            (_, persistence) => reply::taken(persistence),
        };
        self.say(text).await?;
        self.core.on_answered(Course::Standby, request.begun);
        Ok(request.persistence)
    }

    async fn say(&mut self, text: impl IoBuf + AsRef<[u8]>) -> Result<(), Fault> {
        let due = self.core.now().after(ANSWER_DEADLINE);
        let work = self.channel.write_all(text);
        let written = self.slot.within(due, Patience::Busy, work).await.map_err(|_| Fault::Gone)?;
        written.map_err(|_| Fault::Gone)
    }

    fn count(&self, requests: Counter, bytes: Counter, body_bytes: usize) {
        self.core.handle.counters.add(requests, 1);
        self.core.handle.counters.add(bytes, body_bytes as u64);
    }
}

/// The remote write that a request speaks, if its head says so.
fn protocol_of(head: &Head<'_>) -> Option<Protocol> {
    let (content_type, encoding) = head.content_type.zip(head.content_encoding)?;
    if head.method == "POST" { Protocol::of(content_type, encoding) } else { None }
}
