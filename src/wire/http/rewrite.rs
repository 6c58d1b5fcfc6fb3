//! The head of a request as the endpoint gets it.
//!
//! Kept lines are copied as they stand, spelling and spacing too, and in as few pieces as there
//! are dropped lines: a Prometheus's head is three copies.

use std::fmt;

use crate::wire::cluster::seal::PASS_BYTES_MAX;
use crate::wire::http::added::Added;
use crate::wire::http::head::{Framing, Head, HeadError, header_room};
use crate::wire::http::target::Mount;

/// What every request to one endpoint gets. Made once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// What is put around the target.
    pub mount: Mount,
    /// The endpoint's authority, as it goes into `Host`.
    pub host: Vec<u8>,
    /// `X-Highlander-Instance`; empty for none.
    pub instance: Vec<u8>,
    /// `Authorization`, in place of the source's own.
    pub authorization: Option<Vec<u8>>,
    /// Further headers, in place of the source's own. None that the ones above or the framing need.
    pub added: Added,
}

/// The authorization and the added headers may be secrets.
impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("mount", &self.mount)
            .field("host", &String::from_utf8_lossy(&self.host))
            .field("added", &self.added)
            .finish_non_exhaustive()
    }
}

/// The header with which one node relays a request to another, see `logic::cluster::pass`. From
/// anyone else it means nothing, and it goes no further.
pub const PASS: &str = "X-Highlander-Pass";

impl Route {
    /// Of no endpoint: what goes to several is kept once, with a head of which each gets its own by
    /// [`Route::own_head`].
    pub fn common() -> Route {
        Route { host: b"highlander".to_vec(), ..Route::default() }
    }

    /// The head for this endpoint, of a whole one that [`Route::common`] has written. An error: it
    /// has not.
    pub fn own_head(&self, common: &[u8]) -> Result<Vec<u8>, HeadError> {
        let mut room = header_room();
        let head = Head::parse_own(common, &mut room)?;
        let mut out = Vec::with_capacity(common.len() + self.added_bytes_max());
        self.append_head(&head, &mut out);
        Ok(out)
    }

    /// By how many bytes a head may get longer.
    pub fn added_bytes_max(&self) -> usize {
        // The names of the lines, the separators, a Content-Length in place of chunks.
        const NAMES: usize = 256;
        self.mount.added_bytes_max()
            + self.host.len()
            + self.instance.len()
            + self.authorization.as_ref().map_or(0, Vec::len)
            + self.added.lines().len()
            + NAMES
    }

    /// Appends the head to `out`: whole if the body's length is known, else up to the line that
    /// [`finish_head`] adds.
    pub fn append_head(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(head.method.as_bytes());
        out.push(b' ');
        self.mount.append(head.target, out);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(&self.host);
        out.extend_from_slice(b"\r\n");
        self.append_kept(head, out);
        if !self.instance.is_empty() {
            append_line(b"X-Highlander-Instance", &self.instance, out);
        }
        if let Some(authorization) = &self.authorization {
            append_line(b"Authorization", authorization, out);
        }
        out.extend_from_slice(self.added.lines());
        match head.framing {
            Framing::Length(_) => out.extend_from_slice(b"\r\n"),
            Framing::Chunked => {}
        }
    }

    fn append_kept(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        let mut kept = 0..0;
        for at in 0..head.headers.len() {
            let line = head.line(at);
            if self.stays_behind(head, at) {
                out.extend_from_slice(&head.raw[kept]);
                kept = line.end..line.end;
            } else if kept.end == line.start {
                kept.end = line.end;
            } else {
                kept = line;
            }
        }
        out.extend_from_slice(&head.raw[kept]);
    }

    fn stays_behind(&self, head: &Head<'_>, at: usize) -> bool {
        let name = head.headers[at].name;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let own = match name.len() {
            4 => is("host"),
            6 => is("expect"),
            13 => is("authorization") && self.authorization.is_some(),
            17 if is(PASS) => true,
            21 => is("x-highlander-instance"),
            _ => false,
        };
        own || self.added.replaces(name)
            || is_hop_by_hop(name)
            || (head.names_hop_by_hop && is_named_by_connection(head, name))
    }
}

/// What [`finish_head`] adds at most: the name, twenty digits and the line ends.
pub const LENGTH_LINE_BYTES_MAX: usize = 48;

/// Ends a head whose body came in chunks: now its length is known.
pub fn finish_head(body_bytes: usize, out: &mut Vec<u8>) {
    append_line(b"Content-Length", body_bytes.to_string().as_bytes(), out);
    out.extend_from_slice(b"\r\n");
}

/// What [`add_pass`] adds at most: the name, a pass of the longest kind and the line end.
pub const PASS_LINE_BYTES_MAX: usize = PASS.len() + PASS_BYTES_MAX + b": \r\n".len();

/// Puts the pass of a relayed request into a head, before the empty line that ends it, or before the
/// length if that is still to come.
pub fn add_pass(framing: Framing, pass: &[u8], out: &mut Vec<u8>) {
    let is_whole = matches!(framing, Framing::Length(_));
    if is_whole {
        out.truncate(out.len() - b"\r\n".len());
    }
    append_line(PASS.as_bytes(), pass, out);
    if is_whole {
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether a header speaks of one connection and not of the message. `Transfer-Encoding` and
/// `Trailer` among them: bodies go on whole.
pub fn is_hop_by_hop(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is("te"),
        7 => is("trailer") || is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        _ => false,
    }
}

/// A `Connection` header may name others that stay behind. Not among them, whoever says so: the
/// length of the body, and the tenant, for whom the election was made.
fn is_named_by_connection(head: &Head<'_>, name: &str) -> bool {
    !name.eq_ignore_ascii_case("content-length")
        && !name.eq_ignore_ascii_case("x-scope-orgid")
        && head
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("connection"))
            .flat_map(|header| header.value.split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

fn append_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
    use crate::wire::http::target::Place;

    fn route() -> Route {
        Route { host: b"storage:8428".to_vec(), instance: b"7".to_vec(), ..Route::default() }
    }

    /// The head that `route` writes, and whether it keeps all.
    pub fn written(route: &Route, head: &str) -> (Vec<u8>, bool) {
        let mut room = header_room();
        let head = Head::parse(head.as_bytes(), &mut room).expect("good").expect("whole");
        let mut out = Vec::new();
        route.append_head(&head, &mut out);
        if head.framing == Framing::Chunked {
            finish_head(3, &mut out);
        }
        (out, route.keeps_all(&head))
    }

    fn rewritten(route: &Route, head: &str) -> String {
        String::from_utf8(written(route, head).0).expect("text stays text")
    }

    #[test]
    fn all_but_host_and_hop_by_hop_lines_stays_byte_for_byte() {
        let head = "POST /api/v1/write?a=b HTTP/1.1\r\nUser-Agent: Prometheus/3.5.0\r\n\
                    HOST: a\r\ncontent-LENGTH:3\r\nX-Empty:\r\nX-Spaced:   a  b  \r\n\
                    Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
                    Upgrade: h2c\r\nProxy-Authorization: x\r\nX-Last: \u{fc}\r\n\r\n";
        let expected = "POST /api/v1/write?a=b HTTP/1.1\r\nHost: storage:8428\r\n\
                        User-Agent: Prometheus/3.5.0\r\ncontent-LENGTH:3\r\nX-Empty:\r\n\
                        X-Spaced:   a  b  \r\nX-Last: \u{fc}\r\nX-Highlander-Instance: 7\r\n\r\n";
        assert_eq!(rewritten(&route(), head), expected);
    }

    #[test]
    fn a_pass_is_put_into_a_head_and_never_goes_further() {
        let route = Route {
            mount: Mount { place: Place::Under(b"/a".into()), query: Vec::new() },
            authorization: Some(b"Basic secret of ours".to_vec()),
            ..route()
        };
        for (line, more) in
            [("Content-Length: 3", ""), ("Transfer-Encoding: chunked", "X-A: 1\r\n")]
        {
            let text = format!("POST /b HTTP/1.1\r\nHost: a\r\n{more}{line}\r\n\r\n");
            let mut room = header_room();
            let head = Head::parse(text.as_bytes(), &mut room).expect("good").expect("whole");
            // What is the endpoint's alone is not told to another node.
            let mut first = Vec::new();
            Route::common().append_head(&head, &mut first);
            add_pass(head.framing, b"secret", &mut first);
            assert!(String::from_utf8_lossy(&first).contains("\r\nX-Highlander-Pass: secret\r\n"));
            if head.framing == Framing::Chunked {
                finish_head(3, &mut first);
            }
            let mut room = header_room();
            let head = Head::parse(&first, &mut room).expect("good").expect("whole");
            let mut second = Vec::new();
            route.append_head(&head, &mut second);
            let second = String::from_utf8(second).expect("text stays text");
            assert!(second.starts_with("POST /a/b HTTP/1.1\r\n"), "{second}");
            assert!(!second.contains("Pass"), "{second}");
            if more.is_empty() {
                assert_eq!(second, rewritten(&route, &text));
            }
        }
    }

    #[test]
    fn a_head_written_for_all_endpoints_becomes_that_of_each() {
        let added = Added::new([("X-Scope-OrgID", "ours")]);
        let routes = [
            Route { authorization: Some(b"Basic eA==".to_vec()), ..route() },
            Route { added, ..route() },
            Route {
                mount: Mount { place: Place::At(b"/push".into()), query: b"k=v".into() },
                ..route()
            },
            Route {
                mount: Mount { place: Place::Under(b"/x".into()), query: Vec::new() },
                ..route()
            },
        ];
        let long = format!("X-Long: {}\r\n", "a".repeat(HEAD_BYTES_MAX - 200));
        let many = "X-A: 1\r\n".repeat(HEADERS_MAX - 2);
        let lines = [
            "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Authorization: Bearer y\r\nx-scope-orgid: theirs\r\nConnection: x-b\r\nX-B: 1\r\n",
            "X-Highlander-Instance: 9\r\nExpect: 100-continue\r\nX-Highlander-Pass: a\r\n",
            &long,
            &many,
        ];
        for target in ["/w", "/w?", "/w?a=1&highlander_weight=5", "/w?highlander_group=x"] {
            for lines in lines {
                let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
                let common = rewritten(&Route::common(), &head);
                for route in &routes {
                    let own = route.own_head(common.as_bytes()).expect("it is ours");
                    let own = String::from_utf8(own).expect("text stays text");
                    // The length of what came in chunks is known from the start.
                    let sorted = |head: String| {
                        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
                        lines.sort();
                        lines
                    };
                    assert_eq!(sorted(own), sorted(rewritten(route, &head)), "{head}");
                }
            }
        }
        assert!(route().own_head(b"POST /w HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn whatever_head_is_let_in_its_common_one_can_be_read_again() {
        let text = "POST http://a/w?b&highlander_weight=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\
                    Connection: x-a\r\nTE: b\r\nContent-Length: 3\r\nX-Scope-OrgID: t\r\n\r\n";
        let mut count = 0;
        for at in 0..text.len() {
            for sign in b" \t\r\n:,;?&#%/\x00\x7f\xffaZ0-_\"<" {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = *sign;
                let mut room = header_room();
                let Ok(Some(head)) = Head::parse(&bytes, &mut room) else { continue };
                let mut common = Vec::new();
                Route::common().append_head(&head, &mut common);
                let own = route().own_head(&common);
                assert!(own.is_ok(), "{own:?} of {:?}", String::from_utf8_lossy(&bytes));
                count += 1;
            }
        }
        assert!(count > 900, "only {count} are let in");
    }

    #[test]
    fn what_the_connection_header_names_stays_behind() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0\r\n\
                    X-Scope-OrgID: t\r\nConnection: x-a, Content-Length, x-scope-orgid\r\n\r\n";
        let expected = "POST / HTTP/1.1\r\nHost: storage:8428\r\nX-B: 2\r\nContent-Length: 0\r\n\
                        X-Scope-OrgID: t\r\nX-Highlander-Instance: 7\r\n\r\n";
        assert_eq!(rewritten(&route(), head), expected);
    }

    #[test]
    fn chunks_are_framed_anew_with_a_length() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\
                    Trailer: X-Sum\r\n\r\n";
        let expected = "POST / HTTP/1.1\r\nHost: storage:8428\r\nX-A: 1\r\n\
                        X-Highlander-Instance: 7\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(rewritten(&route(), head), expected);
    }

    #[test]
    fn our_credentials_and_instance_replace_those_of_the_source() {
        let route = Route { authorization: Some(b"Basic eA==".to_vec()), ..route() };
        let head = "GET / HTTP/1.0\r\nauthorization: Bearer y\r\nX-Highlander-Instance: 9\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nHost: storage:8428\r\nX-Highlander-Instance: 7\r\n\
                        Authorization: Basic eA==\r\n\r\n";
        assert_eq!(rewritten(&route, head), expected);
        let kept = rewritten(&self::route(), "GET / HTTP/1.0\r\nAuthorization: Bearer y\r\n\r\n");
        assert!(kept.contains("Authorization: Bearer y\r\n"));
    }

    #[test]
    fn added_headers_replace_those_of_the_source() {
        let added = Added::new([("X-Scope-OrgID", "ours"), ("X-Key", "k")]);
        let route = Route { added, ..route() };
        let head = "GET / HTTP/1.1\r\nHost: a\r\nx-scope-orgid: theirs\r\nX-A: 1\r\n\
                    Connection: x-key\r\nX-KEY: z\r\nX-Kez: y\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nHost: storage:8428\r\nX-A: 1\r\nX-Kez: y\r\n\
                        X-Highlander-Instance: 7\r\nX-Scope-OrgID: ours\r\nX-Key: k\r\n\r\n";
        assert_eq!(rewritten(&route, head), expected);
    }

    #[test]
    fn no_secret_of_a_route_is_shown() {
        let added = Added::new([("X-Key", "geheim")]);
        let route = Route { authorization: Some(b"geheim".to_vec()), added, ..route() };
        let shown = format!("{route:?}");
        assert!(!shown.contains("geheim") && !shown.contains("103, 101"), "{shown}");
    }

    #[test]
    fn a_continue_that_we_answered_ourselves_is_not_asked_for_again() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n";
        assert!(!rewritten(&route(), head).contains("Expect"));
    }
}
