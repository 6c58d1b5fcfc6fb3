//! The answers that are our own. One `match` says which fault becomes which status.

use std::fmt::Write as _;

use crate::wire::http::answer::Asked;
use crate::wire::http::body::ChunkError;
use crate::wire::http::head::{HeadError, Persistence, Version};
use crate::wire::proxy_protocol::OpeningError;

/// Why a request was neither forwarded nor taken from a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head is wrong.
    Head(HeadError),
    /// The header of the PROXY protocol before it is wrong.
    ProxyHeader(OpeningError),
    /// The chunked body is wrong.
    Body(ChunkError),
    /// The head did not come in time.
    HeadTimedOut,
    /// The body did not come in time.
    BodyTimedOut,
    /// The body is larger than `--max-body`.
    BodyTooLarge,
    /// No name and password, or wrong ones.
    Unauthorized,
    /// Too many passwords have to be checked.
    DoorBusy,
    /// A group, a source or a tenant with a name longer than we keep.
    NameTooLong,
    /// Anything else than remote write, while every endpoint has a queue, which takes nothing else.
    RemoteWriteOnly,
    /// The queue of an endpoint has reached its size.
    QueueFull,
    /// The queue of an endpoint could not hold it if it were empty.
    QueueTooSmall,
    /// The queue of an endpoint can't be written.
    QueueFailed,
    /// The queue of an endpoint has too much to write, or did not write it in time.
    QueueBusy,
    /// The endpoint could not be reached, or broke off.
    EndpointUnreachable,
    /// What the endpoint said is no HTTP answer.
    EndpointUnreadable,
    /// The endpoint did not answer in time.
    EndpointTimedOut,
    /// The bodies under way take all the memory there is for them.
    NoRoom,
    /// More groups than `--max-groups`.
    TooManyGroups,
    /// More sources in one than `--max-sources`.
    TooManySources,
    /// The seat changed hands while the request came in.
    SeatChanged,
    /// The seat is being handed over, and that takes long.
    HandOver,
    /// After a restart the seat is kept for the source that sat in it.
    SeatReserved,
    /// There is no room to keep the request for a hand-over.
    HoldFull,
    /// More connections than `--max-connections`.
    TooManyConnections,
    /// Nobody leads the group, as far as is known.
    NoLeader,
    /// A node has relayed the request to us, and we do not lead: it is to ask again who does.
    NotLeader,
    /// A node has relayed the request with a pass that is too old: the clocks of the two differ.
    PassStale,
    /// A node says that it has relayed the request, with a pass that none of ours has made.
    PassForeign,
    /// We are about to end.
    ShuttingDown,
}

/// What a node is told that has relayed a request to one that does not lead: 421 Misdirected Request.
pub const MISDIRECTED: u16 = 421;
/// What tells that from a 421 of the endpoint.
const LED_ELSEWHERE: &str = "X-Highlander-Lead: elsewhere\r\n";

/// Whether an answer with this status and head is that of a node which does not lead.
pub fn is_misdirected(status: u16, head: &[u8]) -> bool {
    status == MISDIRECTED && memchr::memmem::find(head, LED_ELSEWHERE.as_bytes()).is_some()
}

/// How somebody is asked who he is.
pub const WHO: &str = "WWW-Authenticate: Basic realm=\"highlander\", charset=\"UTF-8\"\r\n";

impl Refusal {
    /// The status and what is wrong, in a few words for whoever reads the sender's log.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            Refusal::Head(error) => of_head(*error),
            Refusal::ProxyHeader(error) => (400, of_opening(*error)),
            Refusal::Body(error) => (400, of_chunks(*error)),
            // Not 408: a Prometheus drops what gets a 4xx.
            Refusal::HeadTimedOut => (503, "the head took too long"),
            Refusal::BodyTimedOut => (503, "the body took too long"),
            Refusal::BodyTooLarge => (413, "the body is larger than --max-body"),
            Refusal::Unauthorized => (401, "a name and a password are needed, and right ones"),
            Refusal::DoorBusy => (503, "too many passwords are being checked"),
            Refusal::NameTooLong => (400, "group, source or tenant has too long a name"),
            // A vmagent that speaks zstd goes back to snappy for it.
            Refusal::RemoteWriteOnly => (415, "only remote write in snappy can be queued"),
            Refusal::QueueFull => (503, "the queue of an endpoint is full"),
            Refusal::QueueTooSmall => (413, "it is larger than the whole queue of an endpoint"),
            Refusal::QueueFailed => (503, "the queue of an endpoint can't be written"),
            Refusal::QueueBusy => (503, "the queue of an endpoint is too slow"),
            Refusal::EndpointUnreachable => (502, "the endpoint can't be reached"),
            Refusal::EndpointUnreadable => (502, "the endpoint's answer is not HTTP"),
            Refusal::EndpointTimedOut => (504, "the endpoint did not answer in time"),
            Refusal::NoRoom => (503, "no memory left for request bodies"),
            Refusal::TooManyGroups => (503, "more groups than --max-groups"),
            Refusal::TooManySources => (503, "more sources in the group than --max-sources"),
            Refusal::SeatChanged => (503, "the promoted source is changing"),
            Refusal::HandOver => (503, "the seat is being handed over"),
            Refusal::SeatReserved => (503, "waiting for the source that was promoted before"),
            Refusal::HoldFull => (503, "no room to hold what is not delivered yet"),
            Refusal::TooManyConnections => (503, "too many connections"),
            Refusal::NoLeader => (503, "no node leads this group"),
            Refusal::NotLeader => (MISDIRECTED, "this node does not lead the group"),
            Refusal::PassStale => (503, "the clocks of two nodes differ by more than a minute"),
            Refusal::PassForeign => (503, "relayed by a node with another cluster key or name"),
            Refusal::ShuttingDown => (503, "shutting down"),
        }
    }

    /// What follows for the connection: where the end of the request is not certain, or was not
    /// read, nothing after it can be trusted.
    pub fn persistence(&self) -> Persistence {
        match self {
            Refusal::Head(_)
            | Refusal::ProxyHeader(_)
            | Refusal::Body(_)
            | Refusal::HeadTimedOut
            | Refusal::BodyTimedOut
            | Refusal::BodyTooLarge
            | Refusal::NoRoom
            | Refusal::Unauthorized
            | Refusal::DoorBusy
            | Refusal::NameTooLong
            | Refusal::TooManyGroups
            | Refusal::TooManySources
            | Refusal::PassStale
            | Refusal::PassForeign
            | Refusal::TooManyConnections
            | Refusal::ShuttingDown => Persistence::Close,
            Refusal::RemoteWriteOnly
            | Refusal::QueueFull
            | Refusal::QueueTooSmall
            | Refusal::QueueFailed
            | Refusal::QueueBusy
            | Refusal::EndpointUnreachable
            | Refusal::EndpointUnreadable
            | Refusal::EndpointTimedOut
            | Refusal::SeatChanged
            | Refusal::HandOver
            | Refusal::SeatReserved
            | Refusal::NoLeader
            | Refusal::NotLeader
            | Refusal::HoldFull => Persistence::KeepAlive,
        }
    }

    /// Appends the answer to `out`. A 503 says after how many seconds to come back.
    pub fn append(
        &self,
        asked: Asked,
        persistence: Persistence,
        retry_after_seconds: u32,
        out: &mut Vec<u8>,
    ) {
        let (status, why) = self.status();
        let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        if status == 503 {
            // Writing to a String can't fail.
            let _ = write!(text, "Retry-After: {retry_after_seconds}\r\n");
        }
        if *self == Refusal::Unauthorized {
            text.push_str(WHO);
        }
        if *self == Refusal::NotLeader {
            text.push_str(LED_ELSEWHERE);
        }
        let _ = write!(
            text,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
            why.len() + "highlander: \n".len()
        );
        text.push_str(match persistence {
            Persistence::Close => "Connection: close\r\n\r\n",
            Persistence::KeepAlive => "\r\n",
        });
        if asked == Asked::Other {
            let _ = writeln!(text, "highlander: {why}");
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// The answer to a standby's request: taken. It carries no `X-Prometheus-Remote-Write-*` header,
/// a wrong one would be counted as failed samples.
pub fn taken(persistence: Persistence) -> &'static [u8] {
    match persistence {
        Persistence::KeepAlive => b"HTTP/1.1 204 No Content\r\n\r\n",
        Persistence::Close => b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    }
}

/// The same for HTTP/1.0, where staying open has to be said.
pub const TAKEN_KEEP_ALIVE: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n";

/// The answer to a version 2 request that is held: taken, with exactly so much written. Without
/// these lines its sender would count all of it as failed, and never try again.
pub fn written(
    samples: u32,
    histograms: u32,
    exemplars: u32,
    version: Version,
    persistence: Persistence,
) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 204 No Content\r\n\
         X-Prometheus-Remote-Write-Samples-Written: {samples}\r\n\
         X-Prometheus-Remote-Write-Histograms-Written: {histograms}\r\n\
         X-Prometheus-Remote-Write-Exemplars-Written: {exemplars}\r\n"
    );
    text.push_str(match (version, persistence) {
        (_, Persistence::Close) => "Connection: close\r\n\r\n",
        (Version::Http10, Persistence::KeepAlive) => "Connection: keep-alive\r\n\r\n",
        (Version::Http11, Persistence::KeepAlive) => "\r\n",
    });
    text.into_bytes()
}

/// Sent to a source that waits for it before it sends its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn of_head(error: HeadError) -> (u16, &'static str) {
    match error {
        HeadError::TooLong => (431, "the head is longer than 16 KiB"),
        HeadError::TooManyHeaders => (431, "more than 100 header lines"),
        HeadError::TargetTooLong => (414, "the target is longer than 8 KiB"),
        HeadError::BadLine => (400, "no HTTP/1.1 request"),
        HeadError::BareLineEnd => (400, "a line without CRLF"),
        HeadError::BadHeader => (400, "a malformed header line"),
        HeadError::BadTarget => (400, "a malformed target"),
        HeadError::BadHost => (400, "not exactly one Host or tenant"),
        HeadError::BadLength => (400, "a malformed Content-Length"),
        HeadError::BadEncoding => (400, "a Transfer-Encoding other than chunked"),
        HeadError::LengthAndChunked => (400, "both Content-Length and Transfer-Encoding"),
        HeadError::BadExpectation => (417, "an expectation other than 100-continue"),
    }
}

fn of_opening(error: OpeningError) -> &'static str {
    match error {
        OpeningError::TooLong => "the PROXY header is too long",
        OpeningError::BadLine | OpeningError::BadBlock => "the PROXY header is malformed",
    }
}

fn of_chunks(error: ChunkError) -> &'static str {
    match error {
        ChunkError::BadSize => "a malformed chunk size",
        ChunkError::BadExtension => "a malformed chunk extension",
        ChunkError::BadEnd => "a chunk that does not end where it says",
        ChunkError::BadTrailer => "a malformed trailer",
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        MISDIRECTED => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(refusal: Refusal, asked: Asked, persistence: Persistence) -> String {
        let mut out = Vec::new();
        refusal.append(asked, persistence, 3, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_refusal_is_a_whole_answer_of_the_length_it_says() {
        let text = written(Refusal::NoRoom, Asked::Other, Persistence::Close);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\n"));
        assert!(head.ends_with("Connection: close"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        let to_head = written(Refusal::NoRoom, Asked::Head, Persistence::Close);
        assert_eq!(to_head.split_once("\r\n\r\n"), Some((head, "")));
    }

    #[test]
    fn only_a_503_asks_to_come_back() {
        let text = written(Refusal::EndpointTimedOut, Asked::Other, Persistence::KeepAlive);
        assert!(text.starts_with("HTTP/1.1 504 Gateway Timeout\r\nContent-Type"));
        assert!(!text.contains("Connection"));
    }

    #[test]
    fn a_node_that_does_not_lead_is_told_from_an_endpoint_that_answers_421() {
        let text = written(Refusal::NotLeader, Asked::Other, Persistence::KeepAlive);
        assert!(is_misdirected(MISDIRECTED, text.as_bytes()), "{text}");
        assert!(!is_misdirected(MISDIRECTED, b"HTTP/1.1 421 Misdirected Request\r\n\r\n"));
        assert!(!is_misdirected(200, text.as_bytes()));
    }

    #[test]
    fn nothing_is_ever_refused_with_429() {
        let all = [Refusal::NoRoom, Refusal::TooManySources, Refusal::TooManyConnections];
        assert!(all.iter().all(|refusal| refusal.status().0 == 503));
    }
}
