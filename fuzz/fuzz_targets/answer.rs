//! The head of an endpoint's answer, and the head that the source gets for it.
//!
//! Claims, for any bytes:
//! * `answer::parse` does not panic, and a head it accepts or waits on is within the bound.
//! * Cut anywhere, the first part is waited on, or refused only if the whole is.
//! * What it accepts as the answer, the second parser accepts too and reads the same in it: status,
//!   headers, end of the head, and the framing as far as it knows about it.
//! * An answer that goes on as it came says nothing about its connection.
//! * What `Answer::append_head` makes of it has exactly the lines that it should have, and both
//!   parsers read it with the same status and framing.

#![no_main]

use highlander::base::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use highlander::wire::http::answer::{Answer, AnswerError, AnswerFraming, Asked, Parsed, parse};
use highlander::wire::http::head::{Persistence, Version};
use highlander_fuzz::cuts;
use highlander_fuzz::lines::Lines;
use highlander_fuzz::second::{self, Body};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for asked in [Asked::Other, Asked::Head] {
        let whole = parse(bytes, asked);
        check_cuts(bytes, asked, whole);
        // What is waited on is bounded too.
        assert!(whole != Ok(Parsed::Partial) || bytes.len() < HEAD_BYTES_MAX);
        let Ok(Parsed::Final(answer)) = whole else { continue };
        assert!(answer.bytes <= bytes.len() && answer.bytes <= HEAD_BYTES_MAX);
        assert!((200..1000).contains(&answer.status));
        check_second_agrees(bytes, asked, &answer);
        check_verbatim(bytes, &answer);
        for version in [Version::Http11, Version::Http10] {
            for persistence in [Persistence::KeepAlive, Persistence::Close] {
                check_rewritten(bytes, asked, &answer, version, persistence);
            }
        }
    }
});

fn check_cuts(bytes: &[u8], asked: Asked, whole: Result<Parsed, AnswerError>) {
    for cut in cuts::of(bytes) {
        match (parse(&bytes[..cut], asked), whole) {
            (Ok(Parsed::Partial), Ok(Parsed::Final(Answer { bytes, .. })))
            | (Ok(Parsed::Partial), Ok(Parsed::Interim(bytes))) => {
                assert!(cut < bytes, "whole at {cut}");
            }
            (Ok(Parsed::Partial), _) | (Err(_), Err(_)) => {}
            (part, whole) => assert_eq!(part, whole, "cut at {cut}"),
        }
    }
}

fn check_second_agrees(bytes: &[u8], asked: Asked, answer: &Answer) {
    let lines = Lines::of(&bytes[..answer.bytes]);
    // More lines it does not read.
    if lines.headers.len() > second::HEADERS_MAX {
        return;
    }
    let second = match second::response(bytes) {
        Ok(second) => second,
        Err(refused) => panic!("the second parser refuses it: {refused:?}"),
    };
    assert_eq!(second.bytes, answer.bytes);
    assert_eq!(second.head.status.as_u16(), answer.status);
    assert_eq!(second.head.headers.len(), lines.headers.len());
    for header in &lines.headers {
        let ours = lines.headers.iter().filter(|it| it.name == header.name).map(|it| it.value);
        let theirs = second.head.headers.get_all(&header.name).iter();
        assert!(theirs.map(|value| value.as_bytes()).eq(ours), "{}", header.name);
    }
    let bodiless = asked == Asked::Head || answer.status == 204 || answer.status == 304;
    match answer.framing {
        // It does not know that these have no body, whatever their head says.
        AnswerFraming::Length(length) if bodiless => assert_eq!(length, 0),
        AnswerFraming::Length(length) => assert!(second.body.is_fixed(length), "{length}"),
        AnswerFraming::Chunked => assert!(matches!(second.body, Body::Chunked)),
        // It takes this for an answer without a body.
        AnswerFraming::UntilClose => assert!(matches!(second.body, Body::None)),
    }
}

fn check_verbatim(bytes: &[u8], answer: &Answer) {
    if answer.verbatim {
        let lines = Lines::of(&bytes[..answer.bytes]);
        assert!(lines.first.starts_with(b"HTTP/1.1 "));
        let is_about_connection =
            |name: &str| lines.is_hop_by_hop(name) && name != "transfer-encoding";
        assert!(!lines.headers.iter().any(|line| is_about_connection(&line.name)));
    }
}

fn check_rewritten(
    bytes: &[u8],
    asked: Asked,
    answer: &Answer,
    version: Version,
    persistence: Persistence,
) {
    // As the proxy asks for it: what ends with the endpoint's connection goes on in chunks, but
    // chunks are taken apart for HTTP/1.0, and there the connection is closed.
    let framing = match (answer.framing, version) {
        (AnswerFraming::UntilClose, Version::Http11) => AnswerFraming::Chunked,
        (AnswerFraming::Chunked, Version::Http10) => AnswerFraming::UntilClose,
        (framing, _) => framing,
    };
    let persistence = match framing {
        AnswerFraming::UntilClose => Persistence::Close,
        _ => persistence,
    };
    let mut out = Vec::new();
    answer.append_head(bytes, framing, version, persistence, &mut out);

    let lines = Lines::of(&out);
    let written: Vec<&[u8]> = lines.headers.iter().map(|line| line.whole).collect();
    let came = Lines::of(&bytes[..answer.bytes]);
    let is_chunked_anew = framing == AnswerFraming::Chunked && answer.framing != framing;
    let mut expected = kept_lines(&came, framing);
    expected.extend(is_chunked_anew.then_some(&b"Transfer-Encoding: chunked"[..]));
    expected.extend(connection_line(version, persistence));
    assert_eq!(written, expected);
    assert_eq!(lines.first, [&b"HTTP/1.1"[..], &came.first[8..]].concat());
    // What was added may have carried it over one of our own bounds.
    if out.len() > HEAD_BYTES_MAX || written.len() > HEADERS_MAX {
        return;
    }
    let Ok(Parsed::Final(again)) = parse(&out, asked) else { panic!("ours is good and whole") };
    assert_eq!(again.bytes, out.len());
    assert_eq!(again.status, answer.status);
    assert_eq!(again.framing, framing);
    assert_eq!(again.persistence, persistence);
    check_second_agrees(&out, asked, &again);
}

fn kept_lines<'h>(came: &Lines<'h>, framing: AnswerFraming) -> Vec<&'h [u8]> {
    let stays = |name: &str| match name {
        "transfer-encoding" => framing == AnswerFraming::Chunked,
        _ => !came.is_hop_by_hop(name),
    };
    came.headers.iter().filter(|line| stays(&line.name)).map(|line| line.whole).collect()
}

fn connection_line(version: Version, persistence: Persistence) -> Option<&'static [u8]> {
    match (version, persistence) {
        (_, Persistence::Close) => Some(b"Connection: close"),
        (Version::Http10, Persistence::KeepAlive) => Some(b"Connection: keep-alive"),
        (Version::Http11, Persistence::KeepAlive) => None,
    }
}
