//! The numbers of a queue.

use std::fmt;

use twox_hash::XxHash3_64;

/// The number of a record: each is greater than all before it, none is used twice. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one behind it.
    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who a record is from: whatever number the caller knows a source by, also after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(pub u64);

impl SourceKey {
    /// That of whoever is named by all of these together.
    pub fn of(names: &[&[u8]]) -> SourceKey {
        let mut all = Vec::new();
        for name in names {
            all.extend_from_slice(&(name.len() as u64).to_le_bytes());
            all.extend_from_slice(name);
        }
        SourceKey(XxHash3_64::oneshot(&all))
    }
}

/// A random number that goes into every checksum of one queue.
///
/// A source decides over the bytes of a body. Who does not know the salt can't put a record into one,
/// to be found there after the record around it is damaged. And blocks of another queue, or of a
/// segment that was deleted, are no records of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub u64);

impl Salt {
    /// The checksum of `bytes` where `number` says what they are.
    ///
    /// XXH3, not CRC32C: what a disk gives back for a torn write are whole sectors of something else,
    /// not some flipped bits, and of these 64 bits let one in 2^64 pass. It takes a seed, is as fast as
    /// memory, and is here already.
    pub fn checksum(self, number: u64, bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot_with_seed(self.0 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15), bytes)
    }

    /// The same of a request, whose body has this digest: it takes longer to go through than all else.
    pub fn checksum_of_request(self, number: u64, head: &[u8], body_digest: u128) -> u64 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.checksum(number, head).to_le_bytes());
        bytes[8..].copy_from_slice(&body_digest.to_le_bytes());
        self.checksum(number, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_every_process_and_tells_names_apart() {
        // Written down here, and in the queues that are there already.
        let known = SourceKey(2_849_793_765_392_432_402);
        assert_eq!(SourceKey::of(&[b"tenant", b"group"]), known);
        let keys: [&[&[u8]]; 5] = [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc", b""], &[b"abc"], &[]];
        let keys: std::collections::HashSet<_> = keys.map(SourceKey::of).into_iter().collect();
        assert_eq!(keys.len(), 5);
    }
}
