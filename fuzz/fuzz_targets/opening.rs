//! What a trusted proxy sends before a connection's first request.
//!
//! Claims, for any bytes:
//! * Reading them does not panic. A header is no longer than its bound, nor than what is there.
//! * Of each beginning the same is said, or that it can't be said yet; what comes behind a header changes
//!   nothing.
//! * No bytes are both a header and the head of a request: where one who trusts the sender reads a header,
//!   one who does not refuses the request.
//! * A client who is named is named again by the same header, written in version 2.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use highlander::base::limits::PROXY_HEADER_BYTES_MAX;
use highlander::wire::http::head::{Head, header_room};
use highlander::wire::proxy_protocol::{Opening, parse};
use highlander_fuzz::cuts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for cut in cuts::of(bytes).into_iter().chain(0..bytes.len().min(128)) {
        let begun = parse(&bytes[..cut]);
        assert!(begun == Ok(None) || begun == whole, "{cut}: {begun:?}, not {whole:?}");
    }
    let Ok(Some(Opening::Header { client, bytes: length })) = whole else { return };
    assert!(length <= PROXY_HEADER_BYTES_MAX && length <= bytes.len());
    assert_eq!(parse(&bytes[..length]), whole);
    assert_eq!(parse(&bytes[..length - 1]), Ok(None));
    let mut room = header_room();
    assert!(Head::parse(bytes, &mut room).is_err());
    if let Some(client) = client {
        let again = written(client);
        let expected = Opening::Header { client: Some(client), bytes: again.len() };
        assert_eq!(parse(&again), Ok(Some(expected)));
    }
});

/// The header of version 2 that names `client`.
fn written(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [client.port().to_be_bytes(), [0, 0]].concat();
    let ends = [&ip[..], &ip, &ports].concat();
    let length = (ends.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family], &length, &ends].concat()
}
