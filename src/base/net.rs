//! A network of addresses, as it is written: `10.0.0.0/8`, or one address alone.
//!
//! An IPv4 client of a dual-stack listener has an IPv4-mapped IPv6 address. It is the IPv4 address
//! here, in the network as in what is looked for, so that nobody has to write both.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The bits that an IPv4-mapped address has before the IPv4 address.
const MAPPED_BITS: u8 = 96;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The lowest of them.
    first: IpAddr,
    /// How many bits they have in common.
    bits: u8,
}

/// What is wrong with the text of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetFault {
    /// It is none.
    NotOne,
    /// It has bits behind those that count: its address, or its length, is not what was meant.
    BitsBehind(Net),
}

impl Net {
    /// Whether `ip` is one of its addresses.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                lowest(ip.to_canonical(), self.bits) == self.first
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Net {
    type Err = NetFault;

    fn from_str(text: &str) -> Result<Net, NetFault> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(length(bits).ok_or(NetFault::NotOne)?)),
        };
        let written: IpAddr = address.parse().map_err(|_| NetFault::NotOne)?;
        let bits = bits.unwrap_or(width(written));
        if bits > width(written) {
            return Err(NetFault::NotOne);
        }
        let first = lowest(written, bits);
        if first != written {
            return Err(NetFault::BitsBehind(Net { first, bits }));
        }
        let canonical = written.to_canonical();
        // A mapped address has ones up to its last 32 bits, so nothing shorter has come so far.
        let is_mapped = canonical != written;
        let bits = if is_mapped { bits - MAPPED_BITS } else { bits };
        Ok(Net { first: canonical, bits })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl fmt::Display for NetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetFault::NotOne => {
                f.write_str("is not an address or a network such as 10.0.0.7 or 10.0.0.0/8")
            }
            NetFault::BitsBehind(net) => {
                write!(f, "has bits behind its first {}: did you mean {net}?", net.bits)
            }
        }
    }
}

fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The lowest address that has the first `bits` of `ip`.
fn lowest(ip: IpAddr, bits: u8) -> IpAddr {
    let behind = u32::from(width(ip) - bits);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

/// A length as it is written in decimal; without signs and needless zeros.
fn length(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    if is_plain && !has_zeros { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_network_contains_the_addresses_that_begin_as_it_does_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0", true),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "9.255.255.255", false),
            ("10.1.2.0/23", "10.1.3.255", true),
            ("10.1.2.0/23", "10.1.4.0", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("10.0.0.7/32", "10.0.0.7", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.7", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ];
        for (text, address, expected) in cases {
            assert_eq!(net(text).contains(ip(address)), expected, "{address} in {text}");
        }
    }

    #[test]
    fn an_ipv4_address_is_the_same_one_however_it_is_written() {
        for text in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            assert!(net(text).contains(ip("10.0.0.7")), "{text}");
            assert!(net(text).contains(ip("::ffff:10.0.0.7")), "{text}");
            assert!(!net(text).contains(ip("::ffff:11.0.0.7")), "{text}");
        }
        assert_eq!(net("::ffff:10.0.0.7"), net("10.0.0.7/32"));
        assert_eq!(net("::ffff:0.0.0.0/96"), net("0.0.0.0/0"));
    }

    #[test]
    fn what_is_no_network_is_refused_and_bits_behind_it_are_told() {
        let texts = [
            "",
            "10.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-8",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            " 10.0.0.0/8",
            "10.0.0.0:80",
            "[::1]",
            "fe80::1%eth0",
            "localhost",
        ];
        for text in texts {
            assert_eq!(text.parse::<Net>(), Err(NetFault::NotOne), "{text:?}");
        }
        let told = |text: &str| text.parse::<Net>().expect_err(text).to_string();
        assert_eq!(told("10.1.2.3/8"), "has bits behind its first 8: did you mean 10.0.0.0/8?");
        assert_eq!(told("::1/64"), "has bits behind its first 64: did you mean ::/64?");
        assert!(told("::ffff:10.0.0.0/90").contains("did you mean ::"));
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for text in ["10.0.0.0/8", "10.0.0.7", "::/0", "2001:db8::/32", "::ffff:10.0.0.7"] {
            assert_eq!(net(&net(text).to_string()), net(text));
        }
    }
}
