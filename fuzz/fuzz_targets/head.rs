//! A request's head, and the head that the endpoint gets for it.
//!
//! Claims, for any bytes:
//! * `Head::parse` does not panic, and a head it accepts or waits on is within the bounds.
//! * Cut anywhere, the first part is waited on, or refused only if the whole is.
//! * What it accepts, the second parser accepts too and reads the same in it: method, target,
//!   headers, length of the body, end of the head. Where it refuses, nothing is claimed.
//! * What `Route::append_head` makes of it has exactly the lines that it should have, none of them
//!   hop-by-hop; both parsers read it, with the same framing; and it is no longer than the source's
//!   head and the headroom.
//! * By way of the common head an endpoint gets the same lines, and the same target.

#![no_main]

use std::sync::LazyLock;

use highlander::base::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use highlander::wire::http::added::Added;
use highlander::wire::http::head::{Framing, Head, HeadError, Persistence, Version, header_room};
use highlander::wire::http::rewrite::{LENGTH_LINE_BYTES_MAX, Route, finish_head};
use highlander::wire::http::target::{Mount, Parameters, Place};
use highlander_fuzz::cuts;
use highlander_fuzz::lines::Lines;
use highlander_fuzz::second::{self, Body, Refused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut room = header_room();
    let whole = Head::parse(bytes, &mut room);
    check_cuts(bytes, &whole);
    // What is waited on is bounded too; an empty line may stand before it.
    assert!(!matches!(whole, Ok(None)) || bytes.len() < HEAD_BYTES_MAX + 2);
    let Ok(Some(head)) = whole else { return };
    check_bounds(bytes, &head);
    check_second_agrees(bytes, &head);
    for route in ROUTES.iter() {
        check_rewritten(&head, route);
        check_by_common(&head, route);
    }
});

/// One that a source is likely to send too, and one that it is not.
const ADDED: [(&str, &str); 2] = [("Accept-Encoding", "identity"), ("X-Added", "1")];

/// The barest endpoint, and one with everything.
static ROUTES: LazyLock<[Route; 2]> = LazyLock::new(|| {
    let bare = Route { host: b"h".to_vec(), ..Route::default() };
    let full = Route {
        mount: Mount { place: Place::Under(b"/under/this".to_vec()), query: b"k=v&l".to_vec() },
        host: b"storage.example:8428".to_vec(),
        instance: b"node-1".to_vec(),
        authorization: Some(b"Basic eDp5".to_vec()),
        added: Added::new(ADDED),
    };
    [bare, full]
});

fn check_cuts(bytes: &[u8], whole: &Result<Option<Head<'_>>, HeadError>) {
    for cut in cuts::of(bytes) {
        let mut room = header_room();
        match (Head::parse(&bytes[..cut], &mut room), whole) {
            (Ok(None), Ok(Some(head))) => assert!(cut < head.bytes, "whole at {cut}"),
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(part)), Ok(Some(whole))) => {
                assert_eq!(part.raw, whole.raw, "cut at {cut}");
                assert_eq!(part.bytes, whole.bytes, "cut at {cut}");
                assert_eq!(part.framing, whole.framing, "cut at {cut}");
            }
            (part, whole) => panic!("cut at {cut}: {part:?}, whole: {whole:?}"),
        }
    }
}

fn check_bounds(bytes: &[u8], head: &Head<'_>) {
    assert!(head.bytes <= bytes.len());
    assert!(head.raw.len() <= HEAD_BYTES_MAX);
    // An empty line may stand before it.
    assert!(head.bytes == head.raw.len() || head.bytes == head.raw.len() + 2);
    assert!(head.headers.len() <= HEADERS_MAX);
    assert!(head.target.len() <= TARGET_BYTES_MAX);
    // The lines lie one behind the other, from the request line to the empty line.
    let lines = Lines::of(head.raw);
    assert_eq!(lines.headers.len(), head.headers.len());
    let mut at = lines.first.len() + 2;
    for (number, line) in lines.headers.iter().enumerate() {
        let end = at + line.whole.len() + 2;
        assert_eq!(head.line(number), at..end);
        assert!(head.headers[number].name.eq_ignore_ascii_case(&line.name));
        assert_eq!(head.headers[number].value, line.value);
        at = end;
    }
}

fn check_second_agrees(bytes: &[u8], head: &Head<'_>) {
    // More lines it does not read, and a length beyond 64 bits it does not take; we take that for a
    // body that is too large.
    if head.headers.len() > second::HEADERS_MAX || head.framing == Framing::Length(u64::MAX) {
        return;
    }
    let second = match second::request(bytes) {
        Ok(second) => second,
        Err(Refused::Target) if is_spelled_loosely(head) => return,
        Err(refused) => panic!("the second parser refuses it: {refused:?}"),
    };
    assert_eq!(second.bytes, head.bytes);
    assert_eq!(second.head.method.as_str(), head.method);
    let target = second.head.uri.path_and_query().expect("a path").as_str();
    assert_eq!(target.as_bytes(), head.target);
    assert_eq!(second.head.headers.len(), head.headers.len());
    for header in head.headers {
        let same = head.headers.iter().filter(|it| it.name.eq_ignore_ascii_case(header.name));
        let ours = same.map(|it| it.value);
        let theirs = second.head.headers.get_all(header.name).iter();
        assert!(theirs.map(|value| value.as_bytes()).eq(ours), "{}", header.name);
    }
    match head.framing {
        Framing::Chunked => assert!(matches!(second.body, Body::Chunked)),
        Framing::Length(length) => assert!(second.body.is_fixed(length), "{length}"),
    }
}

/// Targets that only our parser takes: with a visible byte that a URL should have encoded, which
/// goes on as it is, and with an authority that is none, which is not looked at.
fn is_spelled_loosely(head: &Head<'_>) -> bool {
    let after_method = &head.raw[head.method.len() + 1..];
    !after_method.starts_with(b"/") || head.target.iter().any(|byte| b"\"<>`".contains(byte))
}

fn check_rewritten(head: &Head<'_>, route: &Route) {
    let mut out = Vec::new();
    route.append_head(head, &mut out);
    if head.framing == Framing::Chunked {
        let before = out.len();
        finish_head(BODY_BYTES_MAX, &mut out);
        assert!(out.len() - before <= LENGTH_LINE_BYTES_MAX);
    }
    // The place in front of the body holds it.
    assert!(out.len() <= head.raw.len() + route.added_bytes_max(), "{} bytes", out.len());
    let lines = Lines::of(&out);
    let written: Vec<&[u8]> = lines.headers.iter().map(|line| line.whole).collect();
    assert_eq!(written, expected_lines(head, route));
    assert!(!lines.headers.iter().any(|line| lines.is_hop_by_hop(&line.name)));
    let mut target = Vec::new();
    route.mount.append(head.target, &mut target);
    assert_eq!(Parameters::read(&target), Parameters::default());
    assert_eq!(lines.first, [head.method.as_bytes(), b" ", &target, b" HTTP/1.1"].concat());
    // What was added may have carried it over one of our own bounds.
    if out.len() <= HEAD_BYTES_MAX
        && written.len() <= HEADERS_MAX
        && target.len() <= TARGET_BYTES_MAX
    {
        check_reads_again(head, &out, &target);
    }
}

fn check_by_common(head: &Head<'_>, route: &Route) {
    let mut common = Vec::new();
    Route::common().append_head(head, &mut common);
    if head.framing == Framing::Chunked {
        finish_head(BODY_BYTES_MAX, &mut common);
    }
    let own = route.own_head(&common).expect("ours is good, and may be longer than a source's");
    let lines = Lines::of(&own);
    let mut target = Vec::new();
    route.mount.append(head.target, &mut target);
    assert_eq!(lines.first, [head.method.as_bytes(), b" ", &target, b" HTTP/1.1"].concat());
    check_taken_back(head, route, &common);
    // The length that comes in place of chunks is known earlier.
    let mut written: Vec<&[u8]> = lines.headers.iter().map(|line| line.whole).collect();
    let mut expected = expected_lines(head, route);
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
}

/// What a route has put in is taken out again, when the head is to go elsewhere.
fn check_taken_back(head: &Head<'_>, route: &Route, common: &[u8]) {
    let mut own = Vec::new();
    route.append_head(head, &mut own);
    if head.framing == Framing::Chunked {
        finish_head(BODY_BYTES_MAX, &mut own);
    }
    if route.keeps_all(head) {
        let back = route.common_head(&own).expect("it has written it");
        assert_eq!(back, common);
    }
}

fn expected_lines(head: &Head<'_>, route: &Route) -> Vec<Vec<u8>> {
    let lines = Lines::of(head.raw);
    let is_ours = |name: &str| match name {
        "host" | "expect" | "x-highlander-instance" | "x-highlander-pass" => true,
        "authorization" => route.authorization.is_some(),
        _ => route.added.replaces(name),
    };
    let kept = lines.headers.iter().filter(|line| !is_ours(&line.name));
    // The tenant stays whoever names it: the election was made for it.
    let kept = kept.filter(|line| line.name == "x-scope-orgid" || !lines.is_hop_by_hop(&line.name));
    let added = |name: &str, value: &[u8]| [name.as_bytes(), b": ", value].concat();
    let mut expected = vec![added("Host", &route.host)];
    expected.extend(kept.map(|line| line.whole.to_vec()));
    if !route.instance.is_empty() {
        expected.push(added("X-Highlander-Instance", &route.instance));
    }
    if let Some(authorization) = &route.authorization {
        expected.push(added("Authorization", authorization));
    }
    if route.added.replaces(ADDED[0].0) {
        expected.extend(ADDED.map(|(name, value)| added(name, value.as_bytes())));
    }
    if head.framing == Framing::Chunked {
        expected.push(added("Content-Length", BODY_BYTES_MAX.to_string().as_bytes()));
    }
    expected
}

fn check_reads_again(head: &Head<'_>, out: &[u8], target: &[u8]) {
    let mut room = header_room();
    let again = Head::parse(out, &mut room).expect("ours is good").expect("ours is whole");
    assert_eq!(again.bytes, out.len());
    assert_eq!(again.method, head.method);
    assert_eq!(again.target, target);
    assert_eq!(again.tenant, head.tenant);
    assert_eq!(again.version, Version::Http11);
    assert_eq!(again.persistence, Persistence::KeepAlive);
    assert!(!again.expects_continue && !again.names_hop_by_hop);
    let framing = match head.framing {
        Framing::Chunked => Framing::Length(BODY_BYTES_MAX as u64),
        framing => framing,
    };
    assert_eq!(again.framing, framing);
    check_second_agrees(out, &again);
}
