//! One map of a configuration file, read key by key, and what it may not hold.

use std::collections::HashMap;

use super::faults::Faults;
use super::yaml::{Name, Node, Value};

/// A map that stands at a path of the file.
pub struct Section<'n> {
    path: String,
    pairs: &'n [(Name, Node)],
}

/// A key that is not read, and why not, or what to use in its place.
pub type Refused = (&'static str, &'static str);

impl<'n> Section<'n> {
    /// Opens what stands at `path`, empty for the whole file. It is a fault if that is no map; keys
    /// that stand twice are one too.
    pub fn open(node: &'n Node, path: String, faults: &mut Faults) -> Option<Section<'n>> {
        // Of a value that begins below its key, the key is what one looks for.
        if !faults.is_in_file(&path) {
            faults.stands_at(&path, node.line);
        }
        let Value::Map(pairs) = &node.value else {
            let what = format!("is {}, not a map of keys and values", kind(&node.value));
            match path.is_empty() {
                true => faults.add_of_file(Some(node.line), what),
                false => faults.add(&path, what),
            }
            return None;
        };
        let section = Section { path, pairs };
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (name, _) in pairs {
            let path = section.path(&name.text);
            match seen.get(name.text.as_str()) {
                None => {
                    seen.insert(&name.text, name.line);
                    faults.stands_at(&path, name.line);
                }
                Some(before) => {
                    let what = format_args!("{path}: stands on line {before} already");
                    faults.add_of_file(Some(name.line), what);
                }
            }
        }
        Some(section)
    }

    /// The path of a key. Where a slip has made one out of a key and its value, which may be secret, the
    /// value is not in it.
    pub fn path(&self, key: &str) -> String {
        let key = &key[..key.find(ends_key).unwrap_or(key.len())];
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// Keys and values.
    pub fn pairs(&self) -> &'n [(Name, Node)] {
        self.pairs
    }

    /// What stands at a key.
    pub fn node(&self, key: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// The text at a key, `None` also if it is no text, which is a fault.
    pub fn text(&self, key: &str, faults: &mut Faults) -> Option<String> {
        text(self.node(key)?, &self.path(key), faults)
    }

    /// The map at a key, `None` also if it is no map, which is a fault.
    pub fn section(&self, key: &str, faults: &mut Faults) -> Option<Section<'n>> {
        Section::open(self.node(key)?, self.path(key), faults)
    }

    /// Adds what is wrong with a key; if it is missing, the map's line is told.
    pub fn fault(&self, key: &str, what: impl std::fmt::Display, faults: &mut Faults) {
        faults.add(&self.path(key), what);
    }

    /// Refuses every key that is not `known`: with the reason if there is one, else as unknown.
    pub fn refuse_others(&self, known: &[&str], refused: &[Refused], faults: &mut Faults) {
        for (name, _) in self.pairs {
            let key = name.text.as_str();
            if known.contains(&key) {
                continue;
            }
            let why = match refused.iter().find(|(refused, _)| *refused == key) {
                Some((_, why)) => (*why).to_owned(),
                None => match (slip(key), nearest(key, known)) {
                    (Some(slip), _) => slip.to_owned(),
                    (None, Some(near)) => format!("is unknown: did you mean {near}?"),
                    (None, None) => "is unknown".to_owned(),
                },
            };
            faults.add_of_file(Some(name.line), format_args!("{}: {why}", self.path(key)));
        }
    }
}

/// The text that a node is. It is a fault if it is none; it is not shown then, for it may be secret.
pub fn text(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    text_of(node).map(str::to_owned).map_err(|why| faults.add(path, why)).ok()
}

/// The same, or why it is none.
pub fn text_of(node: &Node) -> Result<&str, String> {
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Null => Err("has no value".to_owned()),
        value => Err(format!("is {}, not a single value", kind(value))),
    }
}

fn ends_key(c: char) -> bool {
    c == ':' || c == '=' || c.is_whitespace()
}

/// How a key has come to hold its value too, if it does.
pub fn slip(key: &str) -> Option<&'static str> {
    let rest = &key[key.find(ends_key)?..];
    Some(match rest.strip_prefix(':') {
        Some(value) if value.starts_with(char::is_whitespace) => {
            "is one text with its value: quote each alone"
        }
        Some(_) => "has no space behind its ':'",
        None => "has no ':' behind it",
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Text(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// The known key that was meant, if two slips or fewer lie between.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.trim_start_matches("--").replace('-', "_").to_ascii_lowercase();
    // Longer ones are none of ours, and the distance takes the product of both lengths.
    if key.len() > 64 {
        return None;
    }
    let near = known.iter().map(|known| (distance(&key, known), *known)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// How many bytes must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn of_a_key_that_holds_its_value_only_the_key_is_told() {
        let cases = [
            ("{a: {password:geheim}}", "f:1: a.password: has no space behind its ':'"),
            ("{a: {'password: geheim'}}", "f:1: a.password: is one text with its value: "),
            ("{a: {password geheim: x}}", "f:1: a.password: has no ':' behind it"),
            ("{a: {password=geheim}}", "f:1: a.password: has no ':' behind it"),
            ("{a: {:geheim}}", "f:1: a.: has no space behind its ':'"),
        ];
        for (text, expected) in cases {
            let node = yaml::read(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault:?}"));
            let mut faults = Faults::of_file("f");
            let root = Section::open(&node, String::new(), &mut faults).expect("a map");
            let inner = root.section("a", &mut faults).expect("a map");
            inner.refuse_others(&["password"], &[], &mut faults);
            let found = faults.into_all();
            assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
            assert!(!found[0].contains("geheim"), "{found:?}");
        }
    }

    #[test]
    fn a_slip_is_forgiven_with_a_word() {
        let known = ["health_tick", "health_expiry", "url"];
        assert_eq!(nearest("--health-tick", &known), Some("health_tick"));
        assert_eq!(nearest("healt_expriy", &known), None);
        assert_eq!(nearest("healt_expiry", &known), Some("health_expiry"));
        assert_eq!(nearest("scrape", &known), None);
        assert_eq!((distance("abc", "abc"), distance("abc", ""), distance("ab", "ba")), (0, 3, 2));
    }
}
