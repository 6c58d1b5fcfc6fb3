//! Who may ask, by name and password.
//!
//! A password is checked against its bcrypt hash, which is slow on purpose, once; afterwards it is known by
//! a keyed tag, which is compared in constant time, and without a lock: cores look for it too.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use ring::{digest, hmac, rand};

use crate::base::limits::{WRONG_KNOWN_FOR, WRONG_KNOWN_MAX};

/// The users. Without any, everybody may ask.
pub struct Users {
    hashes: HashMap<String, String>,
    /// For whoever is none of them: whether there is a user is not to be told from the time it takes.
    nobody: String,
    key: hmac::Key,
    /// Of each user the tag of the password that was right.
    right: ArcSwap<HashMap<String, hmac::Tag>>,
    /// Those that were wrong lately, the oldest first.
    wrong: Mutex<VecDeque<(Instant, hmac::Tag)>>,
    /// One at a time is checked: whoever guesses takes no more than a core.
    one: Mutex<()>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.hashes.len()).finish_non_exhaustive()
    }
}

/// The least that bcrypt knows.
const COST_MIN: u32 = 4;
/// What is behind the cost in a hash of nothing that anybody would use.
const NOTHING: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

impl Users {
    /// Names, each with a bcrypt hash. An error: no random number is to be had.
    pub fn new(hashes: HashMap<String, String>) -> Result<Users, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        let cost = |hash: &String| hash.parse().map_or(0, |parts: HashParts| parts.get_cost());
        let cost = hashes.values().map(cost).max().unwrap_or(0).max(COST_MIN);
        let nobody = format!("$2y${cost:02}${NOTHING}");
        Ok(Users {
            hashes,
            nobody,
            key,
            right: ArcSwap::default(),
            wrong: Mutex::default(),
            one: Mutex::default(),
        })
    }

    /// These, of whom those who have the same hash as before need not be checked again.
    pub fn knowing(self, before: &Users) -> Users {
        let known = before.right.load_full();
        let is_same = |name: &String| self.hashes.get(name) == before.hashes.get(name);
        let known = known.iter().filter(|(name, _)| is_same(name));
        let known: HashMap<_, _> = known.map(|(name, tag)| (name.clone(), *tag)).collect();
        Users { key: before.key.clone(), right: ArcSwap::from_pointee(known), ..self }
    }

    /// Whether nobody is asked for a name.
    pub fn are_none(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Who asks with this `Authorization`, as far as that is known without the slow hash: `Err` is what is
    /// to be given to [`Users::check`], if anything can come of it.
    pub fn recognize(&self, authorization: Option<&[u8]>) -> Result<Who, Option<Stranger>> {
        if self.are_none() {
            return Ok(Who::Anybody);
        }
        let (name, password) = authorization.and_then(basic).ok_or(None)?;
        // The length is in it, so that no other pair gives the same.
        let said = [&name.len().to_le_bytes()[..], name.as_bytes(), password.as_bytes()].concat();
        let said = digest::digest(&digest::SHA256, &said);
        match self.was_right(&name, &said) {
            true => Ok(Who::User(name)),
            false => Err(Some(Stranger { name, password, said })),
        }
    }

    fn was_right(&self, name: &str, said: &digest::Digest) -> bool {
        let is_right =
            |tag: &hmac::Tag| hmac::verify(&self.key, said.as_ref(), tag.as_ref()).is_ok();
        self.right.load().get(name).is_some_and(is_right)
    }

    /// Checks a password, slowly. `None`: it is wrong.
    pub fn check(&self, Stranger { name, password, said }: Stranger) -> Option<Who> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        // Many connections of one user come at once: who waited for the first need not be checked.
        if self.was_right(&name, &said) {
            return Some(Who::User(name));
        }
        let tag = hmac::sign(&self.key, said.as_ref());
        if self.was_wrong(&tag) {
            return None;
        }
        let hash = self.hashes.get(&name);
        let is_right = bcrypt::verify(&password, hash.unwrap_or(&self.nobody)).unwrap_or(false);
        if hash.is_none() || !is_right {
            let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            if wrong.len() == WRONG_KNOWN_MAX {
                wrong.pop_front();
            }
            wrong.push_back((Instant::now(), tag));
            return None;
        }
        self.right.rcu(|right| {
            let mut right = HashMap::clone(right);
            right.insert(name.clone(), tag);
            Arc::new(right)
        });
        Some(Who::User(name))
    }

    fn was_wrong(&self, tag: &hmac::Tag) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = Duration::from(WRONG_KNOWN_FOR);
        while wrong.front().is_some_and(|(since, _)| since.elapsed() >= lasts) {
            wrong.pop_front();
        }
        // A tag of ours tells nothing of others.
        wrong.iter().any(|(_, known)| known.as_ref() == tag.as_ref())
    }

    /// Who asks with this `Authorization`. `None`: somebody who may not.
    pub fn judge(&self, authorization: Option<&[u8]>) -> Option<Who> {
        match self.recognize(authorization) {
            Ok(who) => Some(who),
            Err(stranger) => self.check(stranger?),
        }
    }
}

/// Somebody whose password has to be checked.
pub struct Stranger {
    name: String,
    password: String,
    said: digest::Digest,
}

impl fmt::Debug for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stranger").field("name", &self.name).finish_non_exhaustive()
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
        assert!(users.right.load().is_empty());
        for _ in 0..2 {
            assert_eq!(judge("ann:a:secret"), Some(Who::User("ann".into())));
            assert_eq!(users.right.load().len(), 1);
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
    fn nobody_takes_as_long_as_the_slowest_user() {
        let hash = |cost| bcrypt::hash("x", cost).expect("a hash");
        let hashes = [("ann".to_owned(), hash(4)), ("bob".to_owned(), hash(6))];
        let users = Users::new(hashes.into()).expect("random numbers");
        let cost = users.nobody.parse::<HashParts>().map(|parts| parts.get_cost());
        assert_eq!(cost.ok(), Some(6));
        assert_eq!(bcrypt::verify("x", &users.nobody).ok(), Some(false));
    }

    #[test]
    fn who_has_the_same_hash_as_before_is_still_known_and_nobody_else() {
        let hash = |password| bcrypt::hash(password, 4).expect("a hash");
        let (ann, bob) = (hash("a"), hash("b"));
        let of = |ann: &str, bob: &str| {
            let hashes = [("ann".to_owned(), ann.to_owned()), ("bob".to_owned(), bob.to_owned())];
            Users::new(hashes.into()).expect("random numbers")
        };
        let users = of(&ann, &bob);
        for who in ["ann:a", "bob:b"] {
            assert!(users.judge(Some(&authorization(who))).is_some());
        }
        let users = of(&ann, &hash("c")).knowing(&users);
        assert!(users.right.load().keys().eq(["ann"]));
        assert_eq!(users.judge(Some(&authorization("ann:a"))), Some(Who::User("ann".into())));
        assert_eq!(users.judge(Some(&authorization("bob:b"))), None);
        assert_eq!(users.judge(Some(&authorization("bob:c"))), Some(Who::User("bob".into())));
    }
}
