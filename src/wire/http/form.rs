//! Under which route the head of a request was written, and how that is taken back.
//!
//! A request may be kept for longer than its endpoint stays as it is. It is sent on then with a head for
//! the endpoint as it has become: what the old route had put in is taken out, and the new one puts in
//! what it wants. That gives the head back that all endpoints get theirs from, to the byte, because none
//! of which a route drops something is written under it, see [`Route::keeps_all`].

use crate::wire::http::head::Head;
use crate::wire::http::rewrite::Route;

/// A route that heads are, or were, written under. Never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteId(pub u16);

/// Whose head a request bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// That of [`Route::common`]: nobody's, of which each endpoint gets its own.
    #[default]
    Common,
    /// The one that this route wants.
    Own(RouteId),
}

impl Route {
    /// Whether everything of the source's that stays in the common head stays in one of this route too:
    /// only then [`Route::common_head`] is the common one.
    pub fn keeps_all(&self, head: &Head<'_>) -> bool {
        let replaces = |name: &str| {
            self.added.replaces(name)
                || (self.authorization.is_some() && name.eq_ignore_ascii_case("authorization"))
        };
        let replaces_any = self.authorization.is_some() || !self.added.lines().is_empty();
        self.mount.keeps(head.target)
            && !(replaces_any && head.headers.iter().any(|header| replaces(header.name)))
    }

    /// The head as [`Route::common`] would have written it, of a whole one that this route has written and
    /// that [keeps all](Route::keeps_all). `None`: it has not.
    pub fn common_head(&self, own: &[u8]) -> Option<Vec<u8>> {
        let mut lines = own.split_inclusive(|byte| *byte == b'\n');
        let mut first = lines.next()?.splitn(3, |byte| *byte == b' ');
        let (method, target, version) = (first.next()?, first.next()?, first.next()?);
        let mut out = Vec::with_capacity(own.len());
        for part in [method, b" ", &self.mount.taken_back(target)?, b" ", version, b"Host: "] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&Route::common().host);
        out.extend_from_slice(b"\r\n");
        for line in lines.filter(|line| !self.has_put_in(line)) {
            out.extend_from_slice(line);
        }
        Some(out)
    }

    fn has_put_in(&self, line: &[u8]) -> bool {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let Ok(name) = str::from_utf8(name) else { return false };
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        is("host")
            || is("x-highlander-instance")
            || (self.authorization.is_some() && is("authorization"))
            || self.added.replaces(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::added::Added;
    use crate::wire::http::rewrite::tests::written;
    use crate::wire::http::target::{Mount, Place};

    fn routes() -> Vec<Route> {
        let mut routes = Vec::new();
        let places = [Place::default(), Place::Under(b"/x/y".into()), Place::At(b"/push".into())];
        for place in places {
            for query in [&b""[..], b"k=v", b"k=v&l"] {
                for authorization in [None, Some(b"Basic secret".to_vec())] {
                    for added in [vec![], vec![("X-Scope-OrgID", "ours"), ("X-Key", "secret")]] {
                        routes.push(Route {
                            mount: Mount { place: place.clone(), query: query.into() },
                            host: b"storage:8428".to_vec(),
                            instance: b"7".to_vec(),
                            authorization: authorization.clone(),
                            added: Added::new(added),
                        });
                    }
                }
            }
        }
        routes
    }

    const TARGETS: [&str; 8] = [
        "/push",
        "/push?",
        "/w",
        "/w?",
        "/w?a=1&b",
        "/x/y/x/y?k=v",
        "/?k=v&",
        "/w?highlander_x=1&a",
    ];
    const LINES: [&str; 6] = [
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "User-Agent: Prometheus/3.5.0\r\ncontent-LENGTH:3\r\nX-Empty:\r\nX-Keys: stay\r\n",
        "X-A: Authorization: stays\r\nAuthorization: theirs\r\nContent-Length: 3\r\n",
        "x-scope-orgid: theirs\r\nX-KEY: theirs\r\nContent-Length: 3\r\n",
        "X-Highlander-Instance: 9\r\nExpect: 100-continue\r\nConnection: x-b\r\nX-B: 1\r\n",
    ];

    #[test]
    fn what_a_route_has_put_in_is_taken_out_to_the_byte() {
        let (mut kept, mut lost) = (0, 0);
        for (target, lines) in TARGETS.iter().flat_map(|it| LINES.map(|lines| (it, lines))) {
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let (common, _) = written(&Route::common(), &head);
            for route in routes() {
                let (own, keeps_all) = written(&route, &head);
                let back = route.common_head(&own).expect("it has written it");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                if keeps_all {
                    assert_eq!(text(&back), text(&common), "{head}{route:?}");
                    kept += 1;
                } else {
                    assert_ne!(text(&back), text(&common), "{head}{route:?}");
                    lost += 1;
                }
                assert!(!text(&back).contains("secret") && !text(&back).contains("storage"));
            }
        }
        assert!(kept > 500 && lost > 200, "{kept} {lost}");
    }

    #[test]
    fn a_head_that_is_sent_on_elsewhere_is_the_one_that_would_have_been_sent_there() {
        let mut count = 0;
        for (target, lines) in TARGETS.iter().flat_map(|it| LINES.map(|lines| (it, lines))) {
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            for old in routes() {
                let (own, true) = written(&old, &head) else { continue };
                let common = old.common_head(&own).expect("it has written it");
                for new in routes() {
                    let sent = new.own_head(&common).expect("it is a common one");
                    // The length that comes in place of chunks is known earlier.
                    let of = |head: &[u8]| {
                        let mut lines: Vec<Vec<u8>> = head
                            .split_inclusive(|byte| *byte == b'\n')
                            .map(<[u8]>::to_vec)
                            .collect();
                        if lines.iter().any(|line| line.starts_with(b"Content-Length: ")) {
                            lines[1..].sort();
                        }
                        lines
                    };
                    assert_eq!(of(&sent), of(&written(&new, &head).0), "{head}{old:?}{new:?}");
                    count += 1;
                }
            }
        }
        assert!(count > 10_000, "{count}");
    }

    #[test]
    fn what_another_route_has_written_is_not_taken_for_its_own() {
        let route = Route {
            mount: Mount { place: Place::Under(b"/x".into()), query: b"k=v".into() },
            ..Route::default()
        };
        for target in ["/w?k=v", "/x/w", "/x/w?k=vw", "/x/w?a=1", "x"] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(route.common_head(head.as_bytes()), None, "{target}");
        }
        for torn in ["", "\r\n", "POST", "POST /x"] {
            assert_eq!(route.common_head(torn.as_bytes()), None, "{torn:?}");
        }
    }
}
