//! Addresses that don't go together: two listeners at one, and an endpoint that is the program itself.
//!
//! Only what can be told without asking a resolver or the kernel: what a name means, and which
//! addresses a machine has, may be another thing when the program starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether two listeners want the same: one for all addresses has those of the other in it.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    // 0 stands for another port each time.
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

/// Whether an endpoint with this host, as it stands in a URL, is who listens there.
pub fn is_itself(host: &str, port: u16, listen: SocketAddr) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ips = match bare.parse::<IpAddr>() {
        // Who connects to all addresses comes to the machine itself.
        Ok(ip) if ip == Ipv4Addr::UNSPECIFIED => vec![Ipv4Addr::LOCALHOST.into()],
        Ok(ip) if ip == Ipv6Addr::UNSPECIFIED => vec![Ipv6Addr::LOCALHOST.into()],
        Ok(ip) => vec![ip.to_canonical()],
        Err(_) if bare.eq_ignore_ascii_case("localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => Vec::new(),
    };
    let is_there = |ip: IpAddr| {
        ip == listen.ip().to_canonical() || ip.is_loopback() && covers(listen.ip(), ip)
    };
    port == listen.port() && ips.into_iter().any(is_there)
}

/// Whether all addresses are meant, and `ip` is one of them. Those of IPv6 have those of IPv4 in them.
fn covers(all: IpAddr, ip: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_all_addresses_has_each_of_them_in_it() {
        let cases = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
        ];
        for (one, other, expected) in cases {
            let [a, b] = [one, other].map(|text| text.parse().expect("an address"));
            assert_eq!((overlap(a, b), overlap(b, a)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn an_endpoint_is_the_program_itself_only_where_that_is_plain() {
        let cases = [
            ("127.0.0.1", 1, "127.0.0.1:1", true),
            ("10.0.0.7", 1, "10.0.0.7:1", true),
            ("127.0.0.1", 2, "127.0.0.1:1", false),
            ("127.0.0.1", 1, "0.0.0.0:1", true),
            ("127.0.0.1", 1, "127.0.0.2:1", false),
            ("0.0.0.0", 1, "127.0.0.1:1", true),
            ("localhost", 1, "0.0.0.0:1", true),
            ("LOCALHOST", 1, "[::1]:1", true),
            ("[::1]", 1, "[::]:1", true),
            ("[::1]", 1, "0.0.0.0:1", false),
            ("10.0.0.7", 1, "0.0.0.0:1", false),
            ("storage", 1, "0.0.0.0:1", false),
        ];
        for (host, port, listen, expected) in cases {
            let at = listen.parse().expect("an address");
            assert_eq!(is_itself(host, port, at), expected, "{host}:{port} {listen}");
        }
    }
}
