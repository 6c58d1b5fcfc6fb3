//! `X-Forwarded-For`: through whom a request has come, told by each proxy of the one before it.
//!
//! Whoever sends a request may write into it what he likes; each proxy only adds to its end. So it is
//! read from there, as far as it was written by proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use httparse::Header;

use crate::base::limits::FORWARDED_HOPS_MAX;

/// The address that a request comes from, which has reached us from `hop`, a trusted proxy: the last
/// one in `headers` that is not trusted itself, or the first, if all are. What can't be read ends
/// the search: whom the last proxy before it has named is taken then. Without a port there it is 0.
pub fn client(
    headers: &[Header<'_>],
    hop: SocketAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> SocketAddr {
    let is_it = |header: &&Header<'_>| header.name.eq_ignore_ascii_case("x-forwarded-for");
    let lines = headers.iter().filter(is_it).map(|header| header.value);
    // An empty entry is none, as in any list of a header.
    let entries = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let entries = entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
    let entries = entries.take(FORWARDED_HOPS_MAX);
    let mut client = hop;
    for entry in entries {
        let Some(address) = address(entry) else { return client };
        client = address;
        if !is_trusted(client.ip()) {
            return client;
        }
    }
    client
}

/// An address alone or with a port; of IPv6 also in brackets.
fn address(entry: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let bracketed = || bare?.parse().ok().map(IpAddr::V6);
    let ip = || text.parse().ok().or_else(bracketed);
    let with_port: Option<SocketAddr> = text.parse().ok();
    let address = with_port.or_else(|| Some(SocketAddr::new(ip()?, 0)))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: &str = "10.0.0.1:40000";

    /// The client in these lines, where 10.0.0.0/8 and fd00::/8 are trusted.
    fn client_of(lines: &[&str]) -> String {
        let is_trusted = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
        };
        let other = Header { name: "X-Forwarded-Host", value: b"192.0.2.66" };
        let mut headers = vec![other];
        for (line, name) in lines.iter().zip(["X-Forwarded-For", "x-forwarded-for"].iter().cycle())
        {
            headers.push(Header { name, value: line.as_bytes() });
            headers.push(other);
        }
        client(&headers, HOP.parse().expect("an address"), is_trusted).to_string()
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        let cases: [(&[&str], &str); 12] = [
            (&[], HOP),
            (&[""], HOP),
            (&["192.0.2.7"], "192.0.2.7:0"),
            (&["192.0.2.66, 192.0.2.7"], "192.0.2.7:0"),
            (&["192.0.2.66,192.0.2.7,10.0.0.2,\t10.0.0.3 "], "192.0.2.7:0"),
            (&["192.0.2.66", "192.0.2.7", "10.0.0.2, 10.0.0.3"], "192.0.2.7:0"),
            (&["10.0.0.3", "10.0.0.2"], "10.0.0.3:0"),
            (&["192.0.2.7, fd00::1"], "192.0.2.7:0"),
            (&["192.0.2.7,, ,"], "192.0.2.7:0"),
            (&["192.0.2.7", ""], "192.0.2.7:0"),
            (&["2001:db8::7, 10.0.0.2"], "[2001:db8::7]:0"),
            (&["::ffff:192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7:0"),
        ];
        for (lines, expected) in cases {
            assert_eq!(client_of(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn ports_and_brackets_are_read() {
        let cases = [
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[2001:db8::7]:80", "[2001:db8::7]:80"),
            ("[2001:db8::7]", "[2001:db8::7]:0"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
        ];
        for (line, expected) in cases {
            assert_eq!(client_of(&[line]), expected, "{line:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_search_at_the_last_good_hop() {
        let entries = [
            "unknown",
            "_hidden",
            "192.0.2.300",
            "[192.0.2.7]",
            "192.0.2.7:",
            "192.0.2.7:66666",
            "[2001:db8::7",
            "2001:db8::7]",
            "fe80::1%eth0",
            "192.0.2.7 192.0.2.8",
            "\"192.0.2.7\"",
        ];
        for entry in entries {
            assert_eq!(client_of(&[entry]), HOP, "{entry:?}");
            let behind = format!("192.0.2.66, {entry}, 10.0.0.2");
            assert_eq!(client_of(&[&behind]), "10.0.0.2:0", "{behind:?}");
        }
    }

    #[test]
    fn so_many_hops_are_looked_at_and_no_more() {
        let hops = |count: usize| format!("192.0.2.7{}", ", 10.0.0.2".repeat(count));
        assert_eq!(client_of(&[&hops(FORWARDED_HOPS_MAX - 1)]), "192.0.2.7:0");
        assert_eq!(client_of(&[&hops(FORWARDED_HOPS_MAX)]), "10.0.0.2:0");
    }
}
