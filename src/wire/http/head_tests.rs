//! What a head may be, what it may not, and that it does not matter how it arrives.

use super::*;

const GOOD: &str = "POST /api/v1/write?highlander_weight=5 HTTP/1.1\r\nHost: a:9091\r\n\
                    User-Agent: Prometheus/3.5.0\r\nContent-Length: 12\r\n\
                    Content-Encoding: snappy\r\nX-Scope-OrgID: team-a\r\n\r\n";

fn error(bytes: &[u8]) -> HeadError {
    match Head::parse(bytes, &mut header_room()) {
        Err(error) => error,
        Ok(head) => panic!("{:?} is taken as {head:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Feeds `bytes` cut in two at each byte: the first part must not be taken for a whole head, and
/// must not be refused unless the whole is.
fn assert_cuts_agree(bytes: &[u8]) {
    let whole = Head::parse(bytes, &mut header_room()).map(|head| head.map(|head| head.bytes));
    for cut in 0..bytes.len() {
        match (Head::parse(&bytes[..cut], &mut header_room()), &whole) {
            (Ok(None), _) => {}
            (Ok(Some(head)), Ok(Some(all))) => assert!(head.bytes == *all && cut >= *all),
            (Err(_), Err(_)) => {}
            (part, whole) => panic!("cut at {cut}: {part:?}, whole: {whole:?}"),
        }
    }
}

fn with_header(line: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")
}

#[test]
fn a_head_of_a_prometheus_is_read() {
    let mut room = header_room();
    let head = Head::parse(GOOD.as_bytes(), &mut room).expect("it is good").expect("it is whole");
    assert_eq!(head.method, "POST");
    assert_eq!(head.target, b"/api/v1/write?highlander_weight=5");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, Framing::Length(12));
    assert_eq!(head.persistence, Persistence::KeepAlive);
    assert_eq!(head.tenant, Some(&b"team-a"[..]));
    assert_eq!(head.headers.len(), 5);
    assert_eq!(head.bytes, GOOD.len());
    assert!(!head.expects_continue && !head.names_hop_by_hop);
    assert_cuts_agree(GOOD.as_bytes());
}

#[test]
fn bytes_after_the_head_are_left_alone() {
    let two = [GOOD.as_bytes(), b"\x00\n\nGET"].concat();
    let mut room = header_room();
    let head = Head::parse(&two, &mut room).expect("it is good").expect("it is whole");
    assert_eq!(head.bytes, GOOD.len());
}

#[test]
fn one_empty_line_before_a_request_is_forgiven_and_two_are_not() {
    let one = format!("\r\n{GOOD}");
    let mut room = header_room();
    let head = Head::parse(one.as_bytes(), &mut room).expect("it is good").expect("it is whole");
    assert_eq!(head.bytes, one.len());
    assert_eq!(error(format!("\r\n\r\n{GOOD}").as_bytes()), HeadError::BadLine);
}

#[test]
fn hostile_heads_are_refused() {
    use HeadError::*;
    let header = |line: &str| with_header(line).into_bytes();
    let cases: Vec<(Vec<u8>, HeadError)> = vec![
        (header("Content-Length: 5\r\nContent-Length: 5"), BadLength),
        (header("Content-Length: 5\r\nContent-Length: 6"), BadLength),
        (header("Content-Length: 5, 5"), BadLength),
        (header("Content-Length: +5"), BadLength),
        (header("Content-Length: -5"), BadLength),
        (header("Content-Length: 0x5"), BadLength),
        (header("Content-Length: 5 5"), BadLength),
        (header("Content-Length:"), BadLength),
        (header("Content-Length: 5\r\nTransfer-Encoding: chunked"), LengthAndChunked),
        (header("Transfer-Encoding: chunked\r\nContent-Length: 5"), LengthAndChunked),
        (header("Transfer-Encoding: gzip, chunked"), BadEncoding),
        (header("Transfer-Encoding: chunked, identity"), BadEncoding),
        (header("Transfer-Encoding: identity"), BadEncoding),
        (header("Transfer-Encoding: \"chunked\""), BadEncoding),
        (header("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), BadEncoding),
        (header("Transfer-Encoding: xchunked"), BadEncoding),
        (header("Transfer-Encoding:"), BadEncoding),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), BadEncoding),
        (header("Transfer-Encoding : chunked"), BadHeader),
        (header("Content-Length : 5"), BadHeader),
        (header("X: a\r\n folded"), BadHeader),
        (header("X: a\r\n\tfolded"), BadHeader),
        (header(" X: a"), BadHeader),
        (header("X: a\nContent-Length: 5"), BareLineEnd),
        (header("X: a\rContent-Length: 5"), BadHeader),
        (header("X: a\0b"), BadHeader),
        (header("X\0: a"), BadHeader),
        (header("X: a\x7fb"), BadHeader),
        (header("X"), BadHeader),
        (header(": a"), BadHeader),
        (header("Host: b"), BadHost),
        (header("X-Scope-OrgID: a\r\nX-Scope-OrgID: b"), BadHost),
        (header("Expect: 200-ok"), BadExpectation),
        (header(&format!("Connection: {}", "a,".repeat(32))), BadHeader),
        (b"POST / HTTP/1.1\r\n\r\n".to_vec(), BadHost),
        (b"POST / HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(), BadHost),
        (b"POST / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_vec(), BadHost),
        (b"POST / HTTP/1.1\r\nHost: u@b\r\n\r\n".to_vec(), BadHost),
        (b"POST / HTTP/1.1\nHost: a\n\n".to_vec(), BareLineEnd),
        (b"POST / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), BareLineEnd),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\nX: a\r\n\r\n".to_vec(), BareLineEnd),
        (b"POST  / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"POST /  HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"POST /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b" POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"POST / HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"POST / HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"POST / http/1.1\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"POST /\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"P\0ST / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadLine),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), BadLine),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), BadLine),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadTarget),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadTarget),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadTarget),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadTarget),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadTarget),
        ("GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes().to_vec(), BadTarget),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), BadTarget),
    ];
    assert!(cases.len() > 50);
    for (bytes, expected) in cases {
        assert_eq!(error(&bytes), expected, "{:?}", String::from_utf8_lossy(&bytes));
        assert_cuts_agree(&bytes);
    }
}

#[test]
fn what_a_node_has_relayed_may_be_longer_by_what_that_adds() {
    let long = format!("X: {}\r\nX-Highlander-Pass: p", "a".repeat(HEAD_BYTES_MAX - 50));
    let long = with_header(&long);
    assert!(long.len() > HEAD_BYTES_MAX);
    assert!(Head::parse(long.as_bytes(), &mut header_room()).is_ok());
    let many = format!("{}X-Highlander-Pass: p", "A: b\r\n".repeat(HEADERS_MAX - 1));
    assert!(Head::parse(with_header(&many).as_bytes(), &mut header_room()).is_ok());
}

#[test]
fn sizes_are_bounded() {
    let long = |header_bytes: usize| with_header(&format!("X: {}", "a".repeat(header_bytes)));
    assert_eq!(error(long(HEAD_BYTES_MAX).as_bytes()), HeadError::TooLong);
    // Refused as soon as it is too long, not when it ends.
    let bytes_max = HEAD_BYTES_MAX + HEAD_RELAYED_BYTES;
    assert_eq!(error(&long(bytes_max).as_bytes()[..bytes_max]), HeadError::TooLong);
    assert!(Head::parse(long(HEAD_BYTES_MAX - 64).as_bytes(), &mut header_room()).is_ok());

    let many =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(error(many(HEADERS_MAX).as_bytes()), HeadError::TooManyHeaders);
    assert_eq!(error(many(HEADERS_MAX + 9).as_bytes()), HeadError::TooManyHeaders);
    assert!(Head::parse(many(HEADERS_MAX - 1).as_bytes(), &mut header_room()).is_ok());

    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes));
    assert_eq!(error(target(TARGET_BYTES_MAX).as_bytes()), HeadError::TargetTooLong);
    let unfinished = target(TARGET_BYTES_MAX);
    assert_eq!(error(&unfinished.as_bytes()[..TARGET_BYTES_MAX + 6]), HeadError::TargetTooLong);
    assert!(Head::parse(target(TARGET_BYTES_MAX - 1).as_bytes(), &mut header_room()).is_ok());
    let name = format!("{}: a", "a".repeat(64 * 1024));
    assert_eq!(error(with_header(&name).as_bytes()), HeadError::TooLong);
}

#[test]
fn a_length_that_is_no_number_of_ours_is_large_not_bad() {
    let head = with_header("Content-Length: 99999999999999999999999");
    let mut room = header_room();
    let head = Head::parse(head.as_bytes(), &mut room).expect("digits").expect("whole");
    assert_eq!(head.framing, Framing::Length(u64::MAX));
}

#[test]
fn persistence_follows_version_and_connection() {
    use Persistence::*;
    let cases = [
        ("HTTP/1.1", "", KeepAlive),
        ("HTTP/1.1", "Connection: close\r\n", Close),
        ("HTTP/1.1", "Connection: Keep-Alive, Close\r\n", Close),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", Close),
        ("HTTP/1.0", "", Close),
        ("HTTP/1.0", "Connection: keep-alive\r\n", KeepAlive),
    ];
    for (version, line, expected) in cases {
        let head = format!("GET / {version}\r\nHost: a\r\n{line}\r\n");
        let mut room = header_room();
        let head = Head::parse(head.as_bytes(), &mut room).expect("good").expect("whole");
        assert_eq!(head.persistence, expected, "{version} {line}");
    }
}

#[test]
fn an_absolute_target_loses_scheme_and_authority() {
    let mut room = header_room();
    let bytes = b"GET http://other:1/a?b=c HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = Head::parse(bytes, &mut room).expect("good").expect("whole");
    assert_eq!(head.target, b"/a?b=c");
}

#[test]
fn the_authority_of_an_absolute_target_ends_before_its_query() {
    assert_eq!(error(b"GET http://a?b=c/d HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::BadTarget);
    assert_eq!(error(b"GET http:///d HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::BadTarget);
}

#[test]
fn a_target_that_is_none_is_refused_before_its_head_is_whole() {
    // What a balancer sends to one who does not trust it, and what the fuzzer made of that.
    assert_eq!(error(b"PROXY UNKNOWN HTTP/1.1\r\n"), HeadError::BadTarget);
    assert_eq!(error(b"PROXY UNKNOWN HTTP/1.1\r\nHo:\x8b\x8a a\r\n"), HeadError::BadTarget);
    for begun in ["CONNECT a:443 ", "OPTIONS * HTTP", "GET a/b HTTP/1.1\r\nHost: ", "GET /# "] {
        assert_eq!(error(begun.as_bytes()), HeadError::BadTarget, "{begun:?}");
        assert_cuts_agree(begun.as_bytes());
    }
    for begun in ["CONNECT a:443", "OPTIONS *", "GET http://a/b HTTP/1.", "GET / "] {
        let mut room = header_room();
        let waited_on = Head::parse(begun.as_bytes(), &mut room);
        assert!(matches!(waited_on, Ok(None)), "{begun:?}: {waited_on:?}");
    }
}

#[test]
fn a_long_method_is_refused_whole_or_in_pieces() {
    for method_bytes in [METHOD_BYTES_MAX + 1, 9000] {
        let head = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(method_bytes));
        assert_eq!(error(head.as_bytes()), HeadError::BadLine);
        assert_cuts_agree(head.as_bytes());
    }
    let head = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(METHOD_BYTES_MAX));
    assert!(Head::parse(head.as_bytes(), &mut header_room()).is_ok());
}

#[test]
fn http_1_0_needs_no_host() {
    let head =
        Head::parse(b"GET / HTTP/1.0\r\n\r\n", &mut header_room()).map(|head| head.is_some());
    assert_eq!(head, Ok(true));
}
