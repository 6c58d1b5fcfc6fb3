//! `X-Forwarded-For`, in as many header lines as the bytes have lines.
//!
//! Claims, for any bytes:
//! * Reading them does not panic.
//! * Whoever is found is the hop that has reached us, or stands there as it is told.
//! * He is the same if all lines are one, and whatever is written before the place where he stands: nobody
//!   but trusted proxies has a say in it.
//! * Where nobody else is trusted, he is the last entry, or the hop if that can't be read.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use highlander::wire::http::forwarded;
use httparse::Header;
use libfuzzer_sys::fuzz_target;

const HOP: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let joined = lines.join(&b","[..]);
    for is_trusted in [ten, all, none] {
        let found = client(&lines, is_trusted);
        assert_eq!(client(&[&joined], is_trusted), found);
        assert!(found == SocketAddr::from(HOP) || found.ip().to_canonical() == found.ip());
        let chosen = [b"10.0.0.66, 192.0.2.66, ", &joined[..]].concat();
        let other = client(&[&chosen], is_trusted);
        let is_open = is_trusted(found.ip()) || found == SocketAddr::from(HOP);
        assert!(other == found || is_open, "{other} in place of {found}");
    }
    let last =
        joined.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).find(|it| !it.is_empty());
    let alone = last.map_or(SocketAddr::from(HOP), |last| client(&[last], all));
    assert_eq!(client(&lines, none), alone);
});

fn client(lines: &[&[u8]], is_trusted: fn(IpAddr) -> bool) -> SocketAddr {
    let header = |value| Header { name: "X-Forwarded-For", value };
    let headers: Vec<Header<'_>> = lines.iter().copied().map(header).collect();
    forwarded::client(&headers, HOP.into(), is_trusted)
}

fn ten(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10) || ip == IpAddr::from(HOP.0)
}

fn all(_: IpAddr) -> bool {
    true
}

fn none(_: IpAddr) -> bool {
    false
}
