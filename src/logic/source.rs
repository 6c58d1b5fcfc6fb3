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
    /// The `highlander_source` parameter, percent-decoded; or the name by which it was let in, see
    /// [`Identity::User`].
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

/// What is known of whoever sends a request.
#[derive(Clone, Copy, Debug)]
pub struct Who<'w> {
    /// The user, if he has shown a password.
    pub user: Option<&'w str>,
    /// The name in its certificate, if it has shown one.
    pub cert: Option<&'w str>,
    /// The `highlander_source` parameter: what it says of itself.
    pub source: Option<&'w [u8]>,
    /// Where it speaks from.
    pub address: SocketAddr,
    /// The number of its connection.
    pub connection: u64,
}

/// What makes a source, `--source-identity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The `highlander_source` parameter, else address and weight, as it is said, and what was shown. Not
    /// the user alone: the two servers of a pair often share one configuration, and with it one user. As one
    /// source both would be forwarded.
    #[default]
    Auto,
    /// The user, else the name in the certificate, else the `highlander_source` parameter, else address
    /// and weight. What was shown goes before what is said: no user can speak as another.
    User,
    /// The connection, as the original has it.
    Connection,
}

impl Identity {
    /// The name of the source that speaks, and says this weight. Rules have no part in it: they may change,
    /// and it is who it was.
    pub fn name(self, who: &Who<'_>, said: Weight) -> SourceName {
        let known = || who.user.or(who.cert).map(str::as_bytes);
        let named = match self {
            Identity::Connection => return SourceName::Connection(who.address, who.connection),
            Identity::Auto => is_said(who.source),
            Identity::User => is_said(known()).or_else(|| is_said(who.source)),
        };
        let ip = who.address.ip().to_canonical();
        match (named, who.user.or(who.cert)) {
            (Some(name), _) => SourceName::Named(name.into()),
            (None, None) => SourceName::Address(ip, said),
            (None, Some(_)) => {
                let shown: Vec<&str> = who.user.into_iter().chain(who.cert).collect();
                SourceName::Named(format!("{}@{ip}/{said}", shown.join("+")).into_bytes().into())
            }
        }
    }
}

/// A name without a letter is none.
fn is_said(name: Option<&[u8]>) -> Option<&[u8]> {
    name.filter(|name| !name.is_empty())
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

    const HERE: &str = "10.0.0.7:1";

    fn who(address: &str) -> Who<'static> {
        let address = address.parse().expect("an address");
        Who { user: None, cert: None, source: None, address, connection: 0 }
    }

    #[test]
    fn fifty_ports_of_one_address_are_one_source() {
        let names: std::collections::BTreeSet<_> = (1..=50)
            .map(|port| {
                let who = Who { connection: port, ..who(&format!("10.0.0.7:{}", 40_000 + port)) };
                Identity::Auto.name(&who, Weight(5))
            })
            .collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn address_weight_name_and_connection_tell_sources_apart() {
        let there = "10.0.0.8:1";
        let auto = |source: Option<&'static str>, weight, at| {
            let source = source.map(str::as_bytes);
            Identity::Auto.name(&Who { source, ..who(at) }, Weight(weight))
        };
        assert_ne!(auto(None, 1, HERE), auto(None, 1, there));
        assert_ne!(auto(None, 1, HERE), auto(None, 2, HERE));
        assert_ne!(auto(Some("a"), 1, HERE), auto(Some("b"), 1, HERE));
        assert_eq!(auto(Some("a"), 1, HERE), auto(Some("a"), 2, there));
        assert_eq!(auto(Some(""), 1, HERE), auto(None, 1, HERE));
        let of = |connection| {
            let who = Who { source: Some(b"a"), connection, ..who(HERE) };
            Identity::Connection.name(&who, Weight(0))
        };
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_listener_is_the_same_source() {
        let name = |at| Identity::Auto.name(&who(at), Weight(0));
        assert_eq!(name("[::ffff:10.0.0.7]:80"), name("10.0.0.7:80"));
    }

    #[test]
    fn a_pair_that_shares_its_user_is_two_sources_unless_the_user_is_what_makes_one() {
        let of = |user: &'static str, at| Who { user: Some(user), cert: Some("c"), ..who(at) };
        let (one, other) = (of("pair", HERE), of("pair", "10.0.0.8:1"));
        let name = |identity: Identity, who: &Who<'_>| identity.name(who, Weight(1));
        assert_ne!(name(Identity::Auto, &one), name(Identity::Auto, &other));
        assert_eq!(name(Identity::User, &one), name(Identity::User, &other));
        assert_ne!(name(Identity::User, &one), name(Identity::User, &of("ann", HERE)));
        // Behind one address users tell apart who says nothing else.
        assert_ne!(name(Identity::Auto, &one), name(Identity::Auto, &of("ann", HERE)));
        assert_eq!(name(Identity::Auto, &one).to_string(), "pair+c@10.0.0.7/1");
    }

    #[test]
    fn the_user_comes_before_the_certificate_that_before_the_parameter_and_it_before_the_address() {
        let mut who = Who { user: Some("ann"), cert: Some("c"), source: Some(b"a"), ..who(HERE) };
        let name = |who: &Who<'_>| Identity::User.name(who, Weight(1)).to_string();
        assert_eq!(name(&who), "ann");
        who.user = None;
        assert_eq!(name(&who), "c");
        who.cert = None;
        assert_eq!(name(&who), "a");
        who.source = Some(b"");
        assert_eq!(name(&who), "10.0.0.7/1");
    }
}
