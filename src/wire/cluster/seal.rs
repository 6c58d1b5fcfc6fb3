//! The seal around every datagram of a cluster: who has no key can neither read it, nor make one, nor
//! change a bit of it.
//!
//! A datagram is a version, a nonce, and what XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) makes of
//! a stamp and a payload. The version and the cluster's name are authenticated with it, so that a
//! datagram of another cluster with the same key, or of a version to come, does not open. The stamp
//! names the datagram: one that is sent again later is recognised by it (`logic::cluster::replays`).

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

/// The only version there is.
const VERSION: u8 = 1;
/// Before the nonce.
const VERSION_BYTES: usize = 1;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const STAMP_BYTES: usize = 16;
/// A datagram is longer than its payload by this.
pub const SEAL_BYTES: usize = VERSION_BYTES + size_of::<Nonce>() + STAMP_BYTES + TAG_BYTES;
/// The longest datagram: it fits into a packet of any network (1280 bytes of IPv6 less its heads).
pub const DATAGRAM_BYTES_MAX: usize = 1232;
/// The longest payload.
pub const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - SEAL_BYTES;
/// The longest pass of a relayed request: a datagram in base64.
pub const PASS_BYTES_MAX: usize = DATAGRAM_BYTES_MAX.div_ceil(3) * 4;
/// More keys than a change from one to the next needs: each is tried for each foreign datagram.
const KEYS_MAX: usize = 4;

/// A random number that is used once. At 24 bytes none comes twice by chance.
pub type Nonce = [u8; 24];

/// The name of a datagram. None is given twice under one key, and those of one process rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The process that sealed it: a number that it has drawn.
    pub process: u64,
    /// Its place among all that process has sealed.
    pub sequence: u64,
}

/// Why a key file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There is no key in it.
    Empty,
    /// The line of this number, from 1 on, is not 32 bytes in base64.
    Malformed(usize),
    /// There are more than a change of keys needs.
    TooMany,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Empty => f.write_str("holds no key"),
            KeyError::Malformed(line) => write!(f, "line {line} is not 32 bytes in base64"),
            KeyError::TooMany => write!(f, "holds more than {KEYS_MAX} keys"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Why a datagram did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It is shorter or longer than any of ours.
    Size,
    /// It is of another version.
    Version,
    /// Another key, another cluster, or not as it was sent.
    Seal,
}

/// The seal of one cluster.
pub struct Seal {
    /// The first one seals, all of them open: so keys are changed while the cluster runs.
    keys: Vec<XChaCha20Poly1305>,
    /// What is authenticated beside a datagram: the version, and the cluster's name.
    context: Vec<u8>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Seal {
    /// The seal of the cluster `name`, with the keys of a key file: one a line, 32 bytes in base64,
    /// the one to seal with first. Empty lines and those that begin with `#` are skipped.
    pub fn of_file(text: &str, name: &str) -> Result<Seal, KeyError> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = BASE64_STANDARD.decode(line).ok().filter(|key| key.len() == KEY_BYTES);
            let key = key.and_then(|key| XChaCha20Poly1305::new_from_slice(&key).ok());
            keys.push(key.ok_or(KeyError::Malformed(number + 1))?);
        }
        match keys.len() {
            0 => Err(KeyError::Empty),
            1..=KEYS_MAX => Ok(Seal { keys, context: context(name) }),
            _ => Err(KeyError::TooMany),
        }
    }

    /// The seal of a cluster without a key. It keeps clusters of other names and versions apart, and
    /// nobody out: for loopback, or where the operator says so.
    pub fn without_key(name: &str) -> Seal {
        let key = XChaCha20Poly1305::new(&[0; KEY_BYTES].into());
        Seal { keys: vec![key], context: context(name) }
    }

    /// The same keys for the passes of relayed requests: what was sealed as one is never taken for the
    /// other.
    pub fn of_passes(&self) -> Seal {
        Seal { keys: self.keys.clone(), context: [b"pass of ", &self.context[..]].concat() }
    }

    /// Of each key a secret that only who has it can know, for what `label` says. One label is used for one
    /// thing only.
    pub fn derived(&self, label: &Nonce) -> Vec<Vec<u8>> {
        let context = [b"secret for ", &label[..], &self.context[..]].concat();
        let text = || Payload { msg: &[0; KEY_BYTES], aad: &context };
        let of_key = |key: &XChaCha20Poly1305| key.encrypt(&(*label).into(), text()).ok();
        self.keys.iter().filter_map(of_key).collect()
    }

    /// The datagram that carries `payload`. `None`: it is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn seal(&self, nonce: Nonce, stamp: Stamp, payload: &[u8]) -> Option<Vec<u8>> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return None;
        }
        let process = stamp.process.to_le_bytes();
        let text = [&process[..], &stamp.sequence.to_le_bytes(), payload].concat();
        let text = Payload { msg: &text, aad: &self.context };
        let sealed = self.keys.first()?.encrypt(&nonce.into(), text).ok()?;
        Some([&[VERSION][..], &nonce, &sealed].concat())
    }

    /// The stamp and the payload of a datagram that was sealed with one of the keys, for this cluster.
    pub fn open(&self, datagram: &[u8]) -> Result<(Stamp, Vec<u8>), Foreign> {
        if !(SEAL_BYTES..=DATAGRAM_BYTES_MAX).contains(&datagram.len()) {
            return Err(Foreign::Size);
        }
        let (version, rest) = datagram.split_first().ok_or(Foreign::Size)?;
        if *version != VERSION {
            return Err(Foreign::Version);
        }
        let (nonce, sealed) =
            rest.split_first_chunk::<{ size_of::<Nonce>() }>().ok_or(Foreign::Size)?;
        let nonce = (*nonce).into();
        let text = || Payload { msg: sealed, aad: &self.context };
        let mut text = self
            .keys
            .iter()
            .find_map(|key| key.decrypt(&nonce, text()).ok())
            .ok_or(Foreign::Seal)?;
        let payload = text.split_off(STAMP_BYTES);
        let number = |at: usize| {
            text[at..].first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_le_bytes(*bytes))
        };
        Ok((Stamp { process: number(0), sequence: number(8) }, payload))
    }
}

fn context(name: &str) -> Vec<u8> {
    [b"highlander cluster ", &[VERSION][..], b" ", name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { process: 7 << 60, sequence: 9 };

    fn file(keys: &[u8]) -> String {
        let line = |key: &u8| BASE64_STANDARD.encode([*key; KEY_BYTES]) + "\n";
        keys.iter().map(line).collect()
    }

    fn seal(keys: &[u8], name: &str) -> Seal {
        Seal::of_file(&file(keys), name).expect("good keys")
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_and_name() {
        for payload in [&b""[..], b"abc", &[7; PAYLOAD_BYTES_MAX]] {
            let datagram = seal(&[1], "a").seal([3; 24], STAMP, payload).expect("not too long");
            assert_eq!(datagram.len(), payload.len() + SEAL_BYTES);
            assert_eq!(seal(&[1], "a").open(&datagram), Ok((STAMP, payload.to_vec())));
        }
        assert_eq!(seal(&[1], "a").seal([3; 24], STAMP, &[7; PAYLOAD_BYTES_MAX + 1]), None);
    }

    #[test]
    fn another_key_another_name_and_any_changed_bit_do_not_open() {
        let ours = seal(&[1], "a");
        let datagram = ours.seal([3; 24], STAMP, b"abc").expect("not too long");
        for other in [seal(&[2], "a"), seal(&[1], "b"), seal(&[1], ""), Seal::without_key("a")] {
            assert_eq!(other.open(&datagram), Err(Foreign::Seal));
        }
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 8 { Foreign::Version } else { Foreign::Seal };
            assert_eq!(ours.open(&changed), Err(expected), "bit {bit}");
        }
        for length in 0..datagram.len() {
            assert!(ours.open(&datagram[..length]).is_err(), "{length}");
        }
        assert_eq!(ours.open(&[VERSION; DATAGRAM_BYTES_MAX + 1]), Err(Foreign::Size));
    }

    #[test]
    fn a_pass_is_no_datagram_and_the_other_way_round() {
        let seal = seal(&[1], "a");
        let datagram = seal.seal([3; 24], STAMP, b"abc").expect("not too long");
        let pass = seal.of_passes().seal([3; 24], STAMP, b"abc").expect("not too long");
        assert_eq!(seal.of_passes().open(&datagram), Err(Foreign::Seal));
        assert_eq!(seal.open(&pass), Err(Foreign::Seal));
        assert!(seal.of_passes().open(&pass).is_ok());
    }

    #[test]
    fn a_key_is_changed_while_old_and_new_nodes_run() {
        let (old, both, new) = (seal(&[1], "a"), seal(&[2, 1], "a"), seal(&[2], "a"));
        let from = |seal: &Seal| seal.seal([3; 24], STAMP, b"abc").expect("not too long");
        assert!(both.open(&from(&old)).is_ok());
        assert!(new.open(&from(&both)).is_ok() && both.open(&from(&new)).is_ok());
        assert_eq!(old.open(&from(&both)), Err(Foreign::Seal));
    }

    #[test]
    fn a_key_file_says_which_line_is_wrong() {
        let read = |text: &str| Seal::of_file(text, "a").map(|seal| seal.keys.len());
        assert_eq!(read(&format!("# ours\n\n  {}\r\n", file(&[1]).trim())), Ok(1));
        assert_eq!(read("# none\n"), Err(KeyError::Empty));
        assert_eq!(read(&(file(&[1]) + "c2hvcnQ=\n")), Err(KeyError::Malformed(2)));
        assert_eq!(read("not base64!"), Err(KeyError::Malformed(1)));
        assert_eq!(read(&file(&[1, 2, 3, 4])), Ok(4));
        assert_eq!(read(&file(&[1, 2, 3, 4, 5])), Err(KeyError::TooMany));
    }

    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", seal(&[1], "a")), "Seal { keys: 1, .. }");
    }
}
