//! Headers of both versions, good and bad; each is also read byte by byte.

use super::*;

/// What is said of `bytes`. Of each beginning of them the same is said, or that it can't be said yet.
fn read(bytes: &[u8]) -> Result<Option<Opening>, OpeningError> {
    let whole = parse(bytes);
    for length in 0..bytes.len() {
        let cut = parse(&bytes[..length]);
        assert!(cut == Ok(None) || cut == whole, "{length} of {bytes:?}: {cut:?}, not {whole:?}");
    }
    whole
}

fn header(client: Option<&str>, bytes: usize) -> Result<Option<Opening>, OpeningError> {
    let client = client.map(|text| text.parse().expect("an address"));
    Ok(Some(Opening::Header { client, bytes }))
}

/// A header of version 2.
fn block(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("a short one").to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// From 10.0.0.7:40000 to 10.0.0.1:9091.
const ENDS_V4: &[u8] = &[10, 0, 0, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x23, 0x83];

/// From `[2001:db8::7]:40000` to `[::1]:9091`.
fn ends_v6() -> Vec<u8> {
    let from: Ipv6Addr = "2001:db8::7".parse().expect("an address");
    let ports = [0x9c, 0x40, 0x23, 0x83];
    [&from.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &ports].concat()
}

#[test]
fn a_line_names_the_client() {
    let cases = [
        ("PROXY TCP4 10.0.0.7 10.0.0.1 40000 9091\r\n", Some("10.0.0.7:40000")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Some("255.255.255.255:65535"),
        ),
        ("PROXY TCP6 2001:db8::7 ::1 40000 9091\r\n", Some("[2001:db8::7]:40000")),
        ("PROXY TCP6 ::ffff:10.0.0.7 ::1 0 9091\r\n", Some("[::ffff:10.0.0.7]:0")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    ];
    for (text, client) in cases {
        assert_eq!(read(text.as_bytes()), header(client, text.len()), "{text:?}");
        let with_more = format!("{text}POST / HTTP/1.1\r\n");
        assert_eq!(read(with_more.as_bytes()), header(client, text.len()), "{with_more:?}");
    }
}

#[test]
fn a_line_that_the_protocol_does_not_have_is_refused() {
    let texts = [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 10.0.0.7 10.0.0.1 40000 9091\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY tcp4 10.0.0.7 10.0.0.1 40000 9091\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 40000\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 40000 9091 \r\n",
        "PROXY TCP4  10.0.0.7 10.0.0.1 40000 9091\r\n",
        "PROXY  TCP4 10.0.0.7 10.0.0.1 40000 9091\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 040000 9091\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 +40000 9091\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 65536 9091\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 40000 -1\r\n",
        "PROXY TCP4 10.0.0.07 10.0.0.1 40000 9091\r\n",
        "PROXY TCP4 10.0.0.7 nowhere 40000 9091\r\n",
        "PROXY TCP4 ::1 ::1 40000 9091\r\n",
        "PROXY TCP6 10.0.0.7 10.0.0.1 40000 9091\r\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 40000 9091\n",
        "PROXY TCP4 10.0.0.7 10.0.0.1 40000 9091\r\r\n",
        "PROXY / HTTP/1.1\r\n",
    ];
    for text in texts {
        assert_eq!(read(text.as_bytes()), Err(OpeningError::BadLine), "{text:?}");
    }
    assert_eq!(read(b"PROXY UNKNOWN \xff\r\n"), Err(OpeningError::BadLine));
}

#[test]
fn a_line_has_107_bytes_at_most() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(read(longest.as_bytes()), header(None, 107));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    assert_eq!(read(longer.as_bytes()), Err(OpeningError::TooLong));
}

#[test]
fn a_block_names_the_client_and_what_comes_behind_is_skipped() {
    let tail = [0x04, 0x00, 0x02, 0xca, 0xfe];
    let cases = [
        (block(0x21, 0x11, ENDS_V4), Some("10.0.0.7:40000")),
        (block(0x21, 0x12, ENDS_V4), Some("10.0.0.7:40000")),
        (block(0x21, 0x11, &[ENDS_V4, &tail].concat()), Some("10.0.0.7:40000")),
        (block(0x21, 0x21, &ends_v6()), Some("[2001:db8::7]:40000")),
        (block(0x21, 0x21, &[&ends_v6()[..], &tail].concat()), Some("[2001:db8::7]:40000")),
        (block(0x21, 0x31, &[b'/'; 216]), None),
        (block(0x21, 0x00, b""), None),
        (block(0x21, 0x00, &tail), None),
        // Of its own connection a balancer may say anything.
        (block(0x20, 0x00, b""), None),
        (block(0x20, 0x11, ENDS_V4), None),
        (block(0x20, 0xff, &tail), None),
    ];
    for (bytes, client) in cases {
        assert_eq!(read(&bytes), header(client, bytes.len()), "{bytes:?}");
        let with_more = [&bytes[..], b"POST / HTTP/1.1\r\n"].concat();
        assert_eq!(read(&with_more), header(client, bytes.len()), "{bytes:?}");
    }
}

#[test]
fn a_block_that_the_protocol_does_not_have_is_refused() {
    let cases = [
        block(0x11, 0x11, ENDS_V4),
        block(0x31, 0x11, ENDS_V4),
        block(0x22, 0x11, ENDS_V4),
        block(0x21, 0x13, ENDS_V4),
        block(0x21, 0x10, ENDS_V4),
        block(0x21, 0x41, ENDS_V4),
        block(0x21, 0x11, &ENDS_V4[..11]),
        block(0x21, 0x11, b""),
        block(0x21, 0x21, ENDS_V4),
        block(0x21, 0x21, &ends_v6()[..35]),
        block(0x21, 0x31, &[b'/'; 215]),
    ];
    for bytes in cases {
        assert_eq!(read(&bytes), Err(OpeningError::BadBlock), "{bytes:?}");
    }
}

#[test]
fn a_block_has_a_bound_that_is_known_from_its_front() {
    let longest = block(0x20, 0x00, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES]);
    assert_eq!(read(&longest), header(None, PROXY_HEADER_BYTES_MAX));
    let longer = block(0x20, 0x00, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES + 1]);
    assert_eq!(read(&longer), Err(OpeningError::TooLong));
    assert_eq!(parse(&longer[..FIXED_BYTES]), Err(OpeningError::TooLong));
}

#[test]
fn a_request_is_no_header_and_that_shows_early() {
    for text in ["POST / HTTP/1.1\r\n", "PRI * HTTP/2.0", "\r\nPOST /", "\x16\x03\x01", "PROXYS"] {
        assert_eq!(read(text.as_bytes()), Ok(Some(Opening::Bare)), "{text:?}");
    }
    for text in ["", "P", "PRO", "PROXY", "\r\n", "\r\n\r\n\0"] {
        assert_eq!(parse(text.as_bytes()), Ok(None), "{text:?}");
    }
}
