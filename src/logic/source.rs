//! Who speaks: groups, sources and weights.
//!
//! A source is never its port. A Prometheus has 1 to 50 shards, each on pooled connections that
//! come and go; taking each for a source of its own loses all but one shard's samples.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// `highlander_weight`: bigger wins. Absent or not a number is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u64);

impl Weight {
    /// Reads the parameter. `None` says that it is not a number; the weight is 0 then, and it is
    /// counted, because somebody meant something by it.
    pub fn parse(text: &[u8]) -> Option<Weight> {
        let text = std::str::from_utf8(text).ok()?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok().map(Weight) } else { None }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number under which this process knows a source. Never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

/// The sources that carry the same data: tenant (`X-Scope-OrgID`) and `highlander_group`, both
/// empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName {
    /// The `X-Scope-OrgID` header as received.
    pub tenant: Box<[u8]>,
    /// The `highlander_group` parameter, percent-decoded.
    pub group: Box<[u8]>,
}

/// What tells a source from the others of its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceName {
    /// The `highlander_source` parameter, percent-decoded.
    Named(Box<[u8]>),
    /// Without a name: the client's address, and its weight, because two Prometheus servers may
    /// share an address behind one NAT but are given two weights.
    Address(IpAddr, Weight),
    /// `--source-identity connection`, the original's meaning: one connection, one source. The
    /// number tells two connections from one port apart in time.
    Connection(SocketAddr, u64),
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceName::Named(name) => String::from_utf8_lossy(name).escape_debug().fmt(f),
            SourceName::Address(ip, weight) => write!(f, "{ip}/{weight}"),
            SourceName::Connection(address, _) => address.fmt(f),
        }
    }
}

/// What a source sends, as far as a hand-over is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payload {
    /// Anything: it is forwarded or not, and cannot be held.
    #[default]
    Other,
    /// Remote write: it can be held, filtered and sent on later.
    RemoteWrite,
}

/// What makes a source, `--source-identity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The `highlander_source` parameter, else address and weight.
    #[default]
    Auto,
    /// The connection, as the original has it.
    Connection,
}

impl Identity {
    /// The name of the source that speaks: `named` is its `highlander_source` parameter,
    /// `address` and `connection` are where it speaks from.
    pub fn name(
        self,
        named: Option<&[u8]>,
        weight: Weight,
        address: SocketAddr,
        connection: u64,
    ) -> SourceName {
        match (self, named) {
            (Identity::Connection, _) => SourceName::Connection(address, connection),
            (Identity::Auto, Some(name)) if !name.is_empty() => SourceName::Named(name.into()),
            (Identity::Auto, _) => SourceName::Address(address.ip().to_canonical(), weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_number_without_a_sign() {
        assert_eq!(Weight::parse(b"50"), Some(Weight(50)));
        assert_eq!(Weight::parse(b"18446744073709551615"), Some(Weight(u64::MAX)));
        for text in ["", "-1", "+1", "1e3", " 1", "18446744073709551616", "ten", "\u{661}"] {
            assert_eq!(Weight::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn fifty_ports_of_one_address_are_one_source() {
        let names: std::collections::BTreeSet<_> = (1..=50)
            .map(|port| {
                let address = SocketAddr::from(([10, 0, 0, 7], 40_000 + port));
                Identity::Auto.name(None, Weight(5), address, u64::from(port))
            })
            .collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn address_weight_name_and_connection_tell_sources_apart() {
        let here = SocketAddr::from(([10, 0, 0, 7], 1));
        let there = SocketAddr::from(([10, 0, 0, 8], 1));
        let auto = |named, weight, at| Identity::Auto.name(named, Weight(weight), at, 0);
        assert_ne!(auto(None, 1, here), auto(None, 1, there));
        assert_ne!(auto(None, 1, here), auto(None, 2, here));
        assert_ne!(auto(Some(b"a"), 1, here), auto(Some(b"b"), 1, here));
        assert_eq!(auto(Some(b"a"), 1, here), auto(Some(b"a"), 2, there));
        assert_eq!(auto(Some(b""), 1, here), auto(None, 1, here));
        let of = |number| Identity::Connection.name(Some(b"a"), Weight(0), here, number);
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_listener_is_the_same_source() {
        let mapped: SocketAddr = "[::ffff:10.0.0.7]:80".parse().expect("an address");
        let plain = SocketAddr::from(([10, 0, 0, 7], 80));
        let name = |at| Identity::Auto.name(None, Weight(0), at, 0);
        assert_eq!(name(mapped), name(plain));
    }
}
