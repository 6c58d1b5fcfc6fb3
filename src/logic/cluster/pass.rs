//! The pass of a relayed request: what one node tells another of who sent it, so that nobody else can.
//!
//! It stands in a header, sealed with the keys of the cluster. The leader takes the source from it and
//! not from the connection, which is the relaying node's; so a source is the same one whichever node it
//! reaches.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, BufMut as _};

use crate::base::limits::{PASS_AGE_MAX, PASS_RENEWED};
use crate::base::time::UnixMillis;
use crate::logic::cluster::codec::{CodecError, address, put_address};
use crate::logic::cluster::notice::{group, put_group, put_source, source, word};
use crate::logic::source::{GroupName, SourceName, Weight};
use crate::wire::cluster::seal::{Nonce, Seal, Stamp};

/// Who sent a request that is relayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The node that relays it.
    pub node: SocketAddr,
    /// Where it came from.
    pub client: SocketAddr,
    /// For which group.
    pub group: GroupName,
    /// From which source.
    pub source: SourceName,
    /// With which weight.
    pub weight: Weight,
}

/// Why a pass is not taken: the request counts as one of whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forged {
    /// It is no base64, or was sealed with no key of ours, or for another cluster.
    Foreign,
    /// It makes no sense.
    Unreadable,
    /// It is older than [`PASS_AGE_MAX`], or from as far in the future.
    Stale,
}

impl Pass {
    /// The header's value, made at `now`. `None`: the names are too long for it.
    pub fn seal(&self, seal: &Seal, nonce: Nonce, now: UnixMillis) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(128);
        put_address(self.node, &mut bytes);
        put_address(self.client, &mut bytes);
        put_group(&self.group, &mut bytes);
        put_source(&self.source, &mut bytes);
        bytes.put_u64(self.weight.0);
        let stamp = Stamp { process: now.0 as u64, sequence: 0 };
        Some(BASE64_STANDARD.encode(seal.seal(nonce, stamp, &bytes)?).into_bytes())
    }

    /// Reads a header's value at `now`; also says when it was made.
    pub fn open(seal: &Seal, text: &[u8], now: UnixMillis) -> Result<(Pass, UnixMillis), Forged> {
        let sealed = BASE64_STANDARD.decode(text).map_err(|_| Forged::Foreign)?;
        let (stamp, bytes) = seal.open(&sealed).map_err(|_| Forged::Foreign)?;
        let made = UnixMillis(stamp.process as i64);
        if !is_fresh(made, now) {
            return Err(Forged::Stale);
        }
        Ok((decode(&bytes).map_err(|_| Forged::Unreadable)?, made))
    }
}

/// Whether a pass that was made at `made` counts at `now`: clocks of two nodes may differ.
pub fn is_fresh(made: UnixMillis, now: UnixMillis) -> bool {
    made >= now.before(PASS_AGE_MAX) && made <= now.after(PASS_AGE_MAX)
}

/// Whether one that was made at `made` is still given to requests at `now`. The clock may go back.
pub fn serves_still(made: UnixMillis, now: UnixMillis) -> bool {
    made <= now && now < made.after(PASS_RENEWED)
}

fn decode(mut buf: &[u8]) -> Result<Pass, CodecError> {
    let pass = Pass {
        node: address(&mut buf)?,
        client: address(&mut buf)?,
        group: group(&mut buf)?,
        source: source(&mut buf)?,
        weight: Weight(word(&mut buf)?),
    };
    if buf.has_remaining() { Err(CodecError::Unknown) } else { Ok(pass) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::time::Millis;
    use crate::wire::cluster::seal::PASS_BYTES_MAX;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn pass(names: usize) -> Pass {
        let name = || -> Box<[u8]> { vec![b'a'; names].into() };
        Pass {
            node: SocketAddr::from(([10, 0, 0, 1], 6746)),
            client: SocketAddr::from(([10, 0, 0, 7], 40_000)),
            group: GroupName { tenant: name(), group: name() },
            source: SourceName::Named(name()),
            weight: Weight(7),
        }
    }

    #[test]
    fn a_pass_that_is_given_is_fresh_where_the_clock_is_half_a_minute_ahead() {
        let ages = (0..200_000).step_by(100);
        let given: Vec<UnixMillis> =
            ages.map(|age| NOW.after(Millis(age))).filter(|now| serves_still(NOW, *now)).collect();
        assert!(given.len() > 10, "one serves for many requests");
        assert!(given.iter().all(|now| is_fresh(NOW, now.after(Millis(30_000)))));
        assert!(!serves_still(NOW, NOW.before(Millis(1))), "the clock has gone back");
    }

    #[test]
    fn a_pass_is_read_by_whoever_has_the_key_and_by_nobody_else() {
        let seal = Seal::without_key("a").of_passes();
        for names in [0, 3, 256] {
            let text = pass(names).seal(&seal, [1; 24], NOW).expect("it fits");
            assert!(text.len() <= PASS_BYTES_MAX, "{}", text.len());
            assert_eq!(Pass::open(&seal, &text, NOW), Ok((pass(names), NOW)));
            for other in [Seal::without_key("b").of_passes(), Seal::without_key("a")] {
                assert_eq!(Pass::open(&other, &text, NOW), Err(Forged::Foreign));
            }
            for length in 0..text.len() {
                assert_eq!(Pass::open(&seal, &text[..length], NOW), Err(Forged::Foreign));
            }
        }
    }

    #[test]
    fn a_pass_counts_for_a_while_and_not_for_ever() {
        let seal = Seal::without_key("a").of_passes();
        let text = pass(1).seal(&seal, [1; 24], NOW).expect("it fits");
        let open = |now: UnixMillis| Pass::open(&seal, &text, now).map(|_| ());
        assert_eq!(open(NOW.after(PASS_AGE_MAX)), Ok(()));
        assert_eq!(open(NOW.before(PASS_AGE_MAX)), Ok(()));
        assert_eq!(open(UnixMillis(NOW.after(PASS_AGE_MAX).0 + 1)), Err(Forged::Stale));
        assert_eq!(open(UnixMillis(NOW.before(PASS_AGE_MAX).0 - 1)), Err(Forged::Stale));
    }
}
