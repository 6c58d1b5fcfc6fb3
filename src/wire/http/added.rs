//! Headers that an endpoint's configuration adds to every request.
//!
//! They are put together once, as the bytes that go out: a request pays one copy, and for each of
//! its own headers one look at a bit, which almost always says that the name is none of these.

use std::fmt;

/// Headers that every request gets, in place of those of the same name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Added {
    lines: Vec<u8>,
    names: Vec<String>,
    /// One bit for each length that a name has.
    lengths: u64,
}

impl Added {
    /// Makes them of names and values that a head may hold, in this order.
    pub fn new<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Added {
        let mut added = Added::default();
        for (name, value) in headers {
            for part in [name, ": ", value, "\r\n"] {
                added.lines.extend_from_slice(part.as_bytes());
            }
            added.lengths |= bit(name);
            added.names.push(name.to_owned());
        }
        added
    }

    /// The lines as they go out.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Whether a header of this name is among them.
    pub fn replaces(&self, name: &str) -> bool {
        self.lengths & bit(name) != 0 && self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The values may be secrets.
impl fmt::Debug for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names.iter().map(|name| (name, "***"))).finish()
    }
}

/// Names of 63 bytes and more share the last bit.
fn bit(name: &str) -> u64 {
    1 << name.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_whatever_case_and_its_value_is_not_shown() {
        let long = "X-".repeat(40);
        let added = Added::new([("X-Scope-OrgID", "geheim"), (long.as_str(), "b")]);
        assert!(added.replaces("x-scope-orgid") && added.replaces(&long));
        assert!(!added.replaces("x-scope-orgie") && !added.replaces("X") && !added.replaces(""));
        assert!(!added.replaces(&"x".repeat(80)));
        assert!(added.lines().starts_with(b"X-Scope-OrgID: geheim\r\nX-X-"));
        assert!(!format!("{added:?}").contains("geheim"));
        assert!(!Added::default().replaces("x"));
    }
}
