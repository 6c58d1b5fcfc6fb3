//! Who may ask, by name and password.
//!
//! A password is checked against its bcrypt hash, which is slow on purpose, once; afterwards it is known by
//! a keyed tag, which is compared in constant time.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, rand};

/// The users. Without any, everybody may ask.
pub struct Users {
    hashes: HashMap<String, String>,
    key: hmac::Key,
    /// Of each user the tag of the password that was right.
    right: Mutex<HashMap<String, hmac::Tag>>,
    /// One at a time is checked: whoever guesses takes no more than a core.
    one: Mutex<()>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.hashes.len()).finish_non_exhaustive()
    }
}

/// A hash of nothing that anybody would use: whether there is a user is not to be told from the time.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

impl Users {
    /// Names, each with a bcrypt hash. An error: no random number is to be had.
    pub fn new(hashes: HashMap<String, String>) -> Result<Users, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        Ok(Users { hashes, key, right: Mutex::default(), one: Mutex::default() })
    }

    /// Who asks with this `Authorization`. `None`: somebody who may not.
    pub fn judge(&self, authorization: Option<&[u8]>) -> Option<Who> {
        if self.hashes.is_empty() {
            return Some(Who::Anybody);
        }
        let (name, password) = basic(authorization?)?;
        // The length is in it, so that no other pair gives the same.
        let said = [&name.len().to_le_bytes()[..], name.as_bytes(), password.as_bytes()].concat();
        let said = digest::digest(&digest::SHA256, &said);
        let is_known = {
            let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            let tag = right.get(&name);
            tag.is_some_and(|tag| hmac::verify(&self.key, said.as_ref(), tag.as_ref()).is_ok())
        };
        if !is_known {
            let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
            let hash = self.hashes.get(&name);
            let is_right =
                bcrypt::verify(&password, hash.map_or(NOBODY, String::as_str)).unwrap_or(false);
            if hash.is_none() || !is_right {
                return None;
            }
            let tag = hmac::sign(&self.key, said.as_ref());
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            right.insert(name.clone(), tag);
        }
        Some(Who::User(name))
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody was asked for a name.
    Anybody,
    /// The user of this name.
    User(String),
}

impl Who {
    /// In a sentence, with where the question comes from.
    pub fn at(&self, from: SocketAddr) -> String {
        match self {
            Who::Anybody => format!("an operator at {from}"),
            Who::User(name) => format!("user '{}' at {from}", name.escape_debug()),
        }
    }
}

/// Name and password of `Basic …`.
fn basic(authorization: &[u8]) -> Option<(String, String)> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let plain = BASE64_STANDARD.decode(rest.trim_ascii()).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    let (name, password) = plain.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(text: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn only_who_has_the_password_may_ask_and_again_without_the_hash() {
        let hash = bcrypt::hash("a:secret", 4).expect("a hash");
        let users = Users::new([("ann".to_owned(), hash)].into()).expect("random numbers");
        let judge = |text: &str| users.judge(Some(&authorization(text)));
        for wrong in ["ann:a:Secret", "ann:", "bob:a:secret", "ann", ":", "anna::secret"] {
            assert_eq!(judge(wrong), None, "{wrong}");
        }
        assert!(users.right.lock().expect("no panic").is_empty());
        for _ in 0..2 {
            assert_eq!(judge("ann:a:secret"), Some(Who::User("ann".into())));
            assert_eq!(users.right.lock().expect("no panic").len(), 1);
            assert_eq!(judge("ann:a:Secret"), None, "another one is checked as before");
        }
        for other in [&b"Bearer x"[..], b"Basic", b"Basic ", b"Basic \xff", b""] {
            assert_eq!(users.judge(Some(other)), None);
        }
        assert_eq!(users.judge(None), None);
        assert_eq!(users.judge(Some(b"basic YW5uOmE6c2VjcmV0")), Some(Who::User("ann".into())));
    }

    #[test]
    fn without_users_everybody_may_ask() {
        let users = Users::new(HashMap::new()).expect("random numbers");
        assert_eq!(users.judge(None), Some(Who::Anybody));
    }

    #[test]
    fn the_hash_for_nobody_is_one_that_takes_its_time() {
        assert_eq!(bcrypt::verify("x", NOBODY).ok(), Some(false));
    }
}
