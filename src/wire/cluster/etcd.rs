//! What is asked of etcd v3 through its JSON gateway, and what it answers.
//!
//! The gateway takes and gives keys and values in base64, 64-bit integers as strings, and leaves out
//! what is zero. Only what a lease needs is here. Who holds which key is read from a range over all
//! keys of a cluster, never from the answer to a try: an answer may be lost, a range tells the truth
//! whenever it is asked.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::base::limits::LEASE_ENTRIES_PER_PAGE;

/// Where a lease is granted.
pub const GRANT: &str = "/v3/lease/grant";
/// Where a lease is kept alive.
pub const RENEW: &str = "/v3/lease/keepalive";
/// Where a lease, and with it all of its keys, is given back.
pub const REVOKE: &str = "/v3/lease/revoke";
/// Where the keys of a cluster are read.
pub const RANGE: &str = "/v3/kv/range";
/// Where keys are taken and given back.
pub const TXN: &str = "/v3/kv/txn";
/// Where a user and a password are turned into a token.
pub const LOGIN: &str = "/v3/auth/authenticate";

/// Of an error's text, so much is shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// What a lease is taken for: the 64-bit hash of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// The name of a lease, given by etcd. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(pub i64);

/// A moment, counted in etcd's changes. No two lives of a key came to be at the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub i64);

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The member of etcd.
    pub member: u64,
    /// The term of the newest entry that it had applied.
    pub term: u64,
}

/// A lease, as granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its name.
    pub lease: LeaseId,
    /// For how long: what was asked for, or more.
    pub ttl_seconds: u64,
}

/// A lease, as kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Who says so.
    pub origin: Origin,
    /// For how long from now; zero: the lease is gone.
    pub ttl_seconds: u64,
}

/// A key that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: Key,
    /// Who: the text that the holder gave for itself.
    pub holder: Vec<u8>,
    /// The lease that it ends with.
    pub lease: LeaseId,
    /// Since when.
    pub created: Revision,
}

/// All keys of a cluster, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who says so.
    pub origin: Origin,
    /// The keys that are held; every other one is free.
    pub entries: Vec<Entry>,
}

/// Some of the keys of a cluster, and how to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What stands on it.
    pub seen: Seen,
    /// `None`: these were the last.
    pub next: Option<Place>,
}

/// From where on, and at which moment, the next page is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    after: Vec<u8>,
    revision: Revision,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// It is not an answer of etcd's gateway.
    Malformed(&'static str),
    /// The token is missing or not valid any more: a new login helps.
    LoginNeeded,
    /// The lease that was named is gone.
    LeaseGone,
    /// etcd says no; its status and its words.
    Refused(u16, String),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Malformed(what) => write!(f, "the answer is not etcd's: {what}"),
            AnswerError::LoginNeeded => f.write_str("it wants a user and a password"),
            AnswerError::LeaseGone => f.write_str("the lease is gone"),
            AnswerError::Refused(status, message) => write!(f, "status {status}: {message}"),
        }
    }
}

impl std::error::Error for AnswerError {}

/// How the keys of one cluster are called in etcd: `highlander/<cluster>/<16 hex digits>`.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// The names in the cluster of this name.
    pub fn of(cluster: &str) -> Names {
        Names { prefix: format!("highlander/{cluster}/") }
    }

    /// Asks who holds what: the first of them, now, or those from a place on.
    pub fn range(&self, from: Option<&Place>) -> Vec<u8> {
        // The first name after all that begin with the prefix: its last sign, a slash, is counted up.
        let end = [&self.prefix.as_bytes()[..self.prefix.len() - 1], b"0"].concat();
        let limit = LEASE_ENTRIES_PER_PAGE.to_string();
        let (key, revision) = match from {
            None => (self.prefix.as_bytes().to_vec(), 0),
            // The next name there can be.
            Some(place) => ([&place.after[..], b"\0"].concat(), place.revision.0),
        };
        let revision = revision.to_string();
        let end = coded(end);
        bytes(&json!({"key": coded(key), "range_end": end, "limit": limit, "revision": revision}))
    }

    /// Asks to give each of `keys` to `holder` for as long as `lease` lives, unless somebody has it.
    pub fn take(&self, keys: &[Key], holder: &[u8], lease: LeaseId) -> Vec<u8> {
        let taken = |key: &Key| {
            let name = coded(self.name(*key));
            let put = json!({"key": name, "value": coded(holder), "lease": lease.0.to_string()});
            let free = json!({"key": name, "target": "CREATE", "create_revision": "0"});
            json!({"request_txn": {"compare": [free], "success": [{"request_put": put}]}})
        };
        all(keys.iter().map(taken).collect())
    }

    /// Asks to delete each of `keys`, unless it is another life of it: a request that comes late does
    /// not harm.
    pub fn give(&self, keys: &[(Key, Revision)]) -> Vec<u8> {
        let given = |(key, created): &(Key, Revision)| {
            let name = coded(self.name(*key));
            let created = created.0.to_string();
            let same = json!({"key": name, "target": "CREATE", "create_revision": created});
            let delete = json!({"request_delete_range": {"key": name}});
            json!({"request_txn": {"compare": [same], "success": [delete]}})
        };
        all(keys.iter().map(given).collect())
    }

    fn name(&self, key: Key) -> String {
        format!("{}{:016x}", self.prefix, key.0)
    }

    /// The key of a name. `None`: it is nobody's that we know, such as one of the cluster `a/b`,
    /// whose names begin like those of `a`.
    fn key(&self, name: &[u8]) -> Option<Key> {
        let digits = name.strip_prefix(self.prefix.as_bytes())?;
        let key = Key(u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        (self.name(key).as_bytes() == name).then_some(key)
    }
}

/// Asks for a lease.
pub fn grant(ttl_seconds: u64) -> Vec<u8> {
    bytes(&json!({"TTL": ttl_seconds.to_string()}))
}

/// Asks to keep a lease alive, or to revoke it.
pub fn lease(lease: LeaseId) -> Vec<u8> {
    bytes(&json!({"ID": lease.0.to_string()}))
}

/// Asks for a token.
pub fn login(user: &str, password: &str) -> Vec<u8> {
    bytes(&json!({"name": user, "password": password}))
}

/// Each step of a transaction decides for itself.
fn all(steps: Vec<Value>) -> Vec<u8> {
    bytes(&json!({ "success": steps }))
}

fn coded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn bytes(request: &Value) -> Vec<u8> {
    request.to_string().into_bytes()
}

/// A good answer, not yet read any further.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer(Value);

impl Answer {
    /// Reads the answer with this status and body. The caller bounds the body.
    pub fn read(status: u16, body: &[u8]) -> Result<Answer, AnswerError> {
        let value = serde_json::from_slice::<Value>(body);
        let fault = value.as_ref().ok().and_then(|value| value.get("error"));
        if status != 200 || fault.is_some() {
            let value = value.unwrap_or_default();
            // A stream's errors are one deeper than others.
            let inner = value.get("error").filter(|inner| inner.is_object()).unwrap_or(&value);
            return Err(refusal(status, inner));
        }
        match value {
            Ok(value) if value.is_object() => Ok(Answer(value)),
            Ok(_) | Err(_) => Err(AnswerError::Malformed("no JSON object")),
        }
    }

    /// The answer to [`grant`].
    pub fn granted(&self) -> Result<Granted, AnswerError> {
        let lease = LeaseId(int(&self.0, "ID")?);
        if lease.0 == 0 {
            return Err(AnswerError::Malformed("a lease without a name"));
        }
        Ok(Granted { lease, ttl_seconds: seconds(&self.0)? })
    }

    /// The answer to a keep-alive of `asked`.
    pub fn renewed(&self, asked: LeaseId) -> Result<Renewed, AnswerError> {
        let result = self.0.get("result").ok_or(AnswerError::Malformed("no result"))?;
        if LeaseId(int(result, "ID")?) != asked {
            return Err(AnswerError::Malformed("another lease"));
        }
        Ok(Renewed { origin: origin(result)?, ttl_seconds: seconds(result)? })
    }

    /// The answer to [`Names::range`] of `names`, from this place on.
    pub fn page(&self, names: &Names, from: Option<&Place>) -> Result<Page, AnswerError> {
        let origin = origin(&self.0)?;
        let (mut entries, mut last) = (Vec::new(), None);
        for value in list(&self.0, "kvs")? {
            let name = decoded(value, "key")?;
            if let Some(key) = names.key(&name) {
                let (lease, created) = (int(value, "lease")?, int(value, "create_revision")?);
                let (lease, created) = (LeaseId(lease), Revision(created));
                entries.push(Entry { key, holder: decoded(value, "value")?, lease, created });
            }
            last = Some(name);
        }
        // With some of the keys missing, held ones would look free.
        let next = match (self.0.get("more"), last) {
            (None | Some(Value::Bool(false)), _) => None,
            (Some(Value::Bool(true)), Some(after)) => {
                // All pages are of the moment of the first.
                let first =
                    || Ok(Revision(int(self.0.get("header").unwrap_or(&Value::Null), "revision")?));
                let revision = from.map_or_else(first, |from| Ok(from.revision))?;
                Some(Place { after, revision })
            }
            (Some(_), _) => return Err(AnswerError::Malformed("a page that does not end")),
        };
        Ok(Page { seen: Seen { origin, entries }, next })
    }

    /// The answer to [`login`].
    pub fn token(&self) -> Result<&str, AnswerError> {
        let token = self.0.get("token").and_then(Value::as_str).unwrap_or_default();
        // It becomes a header's value.
        let good = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        good.then_some(token).ok_or(AnswerError::Malformed("no token"))
    }
}

fn refusal(status: u16, fault: &Value) -> AnswerError {
    let code = fault.get("code").or_else(|| fault.get("grpc_code")).and_then(Value::as_i64);
    let text = fault.get("message").or_else(|| fault.get("error")).and_then(Value::as_str);
    let text = text.unwrap_or("without a reason");
    // The codes are gRPC's. Two faults of a token have the code of a bad argument.
    let says = |words: &str| text.contains(words);
    if status == 401 || code == Some(16) || says("user name is empty") || says("auth store is old")
    {
        return AnswerError::LoginNeeded;
    }
    if says("requested lease not found") {
        return AnswerError::LeaseGone;
    }
    let shown = |sign: char| if sign.is_control() { ' ' } else { sign };
    AnswerError::Refused(status, text.chars().take(MESSAGE_CHARS_MAX).map(shown).collect())
}

fn origin(value: &Value) -> Result<Origin, AnswerError> {
    let header = value.get("header").ok_or(AnswerError::Malformed("no header"))?;
    let origin = Origin { member: int(header, "member_id")?, term: int(header, "raft_term")? };
    // Two answers of nobody would come from the same.
    let named = origin.member != 0 && origin.term != 0;
    named.then_some(origin).ok_or(AnswerError::Malformed("it does not say who answers"))
}

/// An absent span is zero, and none is below it.
fn seconds(value: &Value) -> Result<u64, AnswerError> {
    Ok(u64::try_from(int::<i64>(value, "TTL")?).unwrap_or(0))
}

/// An integer as the gateway writes it; an absent one is zero.
fn int<T: std::str::FromStr + Default>(value: &Value, name: &str) -> Result<T, AnswerError> {
    let read = match value.get(name) {
        None | Some(Value::Null) => Some(T::default()),
        Some(Value::String(text)) => text.parse().ok(),
        Some(Value::Number(number)) => number.to_string().parse().ok(),
        Some(_) => None,
    };
    read.ok_or(AnswerError::Malformed("a number that is none"))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], AnswerError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(AnswerError::Malformed("a list that is none")),
    }
}

fn decoded(value: &Value, name: &str) -> Result<Vec<u8>, AnswerError> {
    let text = match value.get(name) {
        None | Some(Value::Null) => Some(""),
        Some(text) => text.as_str(),
    };
    let decoded = text.and_then(|text| BASE64_STANDARD.decode(text).ok());
    decoded.ok_or(AnswerError::Malformed("bytes that are none"))
}

#[cfg(test)]
#[path = "etcd_tests.rs"]
mod tests;
