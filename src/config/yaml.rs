//! A configuration file as a tree in which every value knows its line.
//!
//! The tree is built from the parser's events, not by its own loader: so depth, aliases and all
//! else that a hostile file could blow up meet a bound of ours, and a fault is a line and a sentence.
//! Scalars stay texts, as they do on the command line: what is a number is decided where it is read.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::base::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX};

/// A value and the line on which it begins. It may be a secret, and so can't be printed.
#[derive(Clone)]
pub struct Node {
    /// The first is 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// What can stand in a file.
#[derive(Clone)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// A scalar, whatever it looks like.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order, with keys that stand twice.
    Map(Vec<(Name, Node)>),
}

/// A key.
#[derive(Clone)]
pub struct Name {
    /// Its line.
    pub line: usize,
    /// How it is written.
    pub text: String,
}

/// Why a file is no tree.
#[derive(Debug, PartialEq, Eq)]
pub struct YamlFault {
    /// On which line, if it is on one.
    pub line: Option<usize>,
    /// What is wrong there.
    pub what: String,
}

/// What an alias costs beside its text, so that [`CONFIG_BYTES_MAX`] bounds their number as well.
const NODE_BYTES: usize = 100;

/// Reads the bytes of a file that holds one document.
pub fn read(bytes: &[u8]) -> Result<Node, YamlFault> {
    if bytes.len() > CONFIG_BYTES_MAX {
        let max = CONFIG_BYTES_MAX >> 10;
        return Err(YamlFault { line: None, what: format!("is longer than {max}KiB") });
    }
    let text = text_of(bytes)?;
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.on_event(event, span)?,
            Err(error) => {
                let (info, line) = (error.info(), error.marker().line().max(1));
                let with_cause =
                    tab_before(text, line).or_else(|| keyless_before(text, line, info));
                return Err(with_cause.unwrap_or_else(|| {
                    fault(line, format_args!("is not YAML: {info}{}", hint(info)))
                }));
            }
        }
    }
    match builder.root {
        Some(Node { value: Value::Null, .. }) | None => {
            Err(YamlFault { line: None, what: "is empty".to_owned() })
        }
        Some(root) => Ok(root),
    }
}

fn fault(line: usize, what: impl ToString) -> YamlFault {
    YamlFault { line: Some(line), what: what.to_string() }
}

fn text_of(bytes: &[u8]) -> Result<&str, YamlFault> {
    let line_at = |at: usize| 1 + memchr::memchr_iter(b'\n', &bytes[..at]).count();
    let text = std::str::from_utf8(bytes)
        .map_err(|error| fault(line_at(error.valid_up_to()), "is not UTF-8"))?;
    // The parser takes a NUL for the end: what stands behind it would be left out in silence.
    let is_control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match text.find(is_control) {
        Some(at) => Err(fault(line_at(at), "holds a control character")),
        None => Ok(text),
    }
}

/// What the parser says is right, and seldom says what to do.
fn hint(info: &str) -> &'static str {
    const HINTS: [(&str, &str); 4] = [
        (
            "mapping values are not allowed",
            ". Is a space missing behind a ':' on a line before, or is this line indented too far?",
        ),
        ("quoted scalar", ". Is a quote not closed?"),
        ("did not find expected", ". Is this line indented like the ones beside it?"),
        ("unknown anchor", ": no '&' before has the name that stands behind the '*'"),
    ];
    HINTS.iter().find(|(known, _)| info.contains(known)).map_or("", |(_, hint)| hint)
}

/// A tab in an indentation explains what the parser says of it, or of a later line, in other words.
fn tab_before(text: &str, line: usize) -> Option<YamlFault> {
    let is_tabbed = |text: &str| {
        text.trim_start_matches(' ').starts_with('\t') && !text.trim_start().is_empty()
    };
    let at = text.lines().take(line).position(is_tabbed)?;
    Some(fault(at + 1, "is indented with a tab: YAML wants spaces"))
}

/// A key without its ':' is a text for the parser, which goes on until a later line makes no sense.
fn keyless_before(text: &str, line: usize, info: &str) -> Option<YamlFault> {
    const SAID_OF_IT: [&str; 3] =
        ["mapping values are not allowed", "simple key expect ':'", "<document start>"];
    let lines: Vec<&str> = text.lines().take(line - 1).map(str::trim).collect();
    let at = lines.iter().rposition(|line| !line.is_empty() && !line.starts_with('#'))?;
    let has_key = lines[at].contains(": ") || lines[at].ends_with(':');
    let is_it = !has_key && SAID_OF_IT.iter().any(|said| info.contains(said));
    let what = "Is a ':' missing behind a key, or the space behind the ':'?";
    is_it.then(|| fault(at + 1, format_args!("is not YAML: {info}. {what}")))
}

/// The tree as far as it has come.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    /// Lists and maps that have not ended, the outermost first.
    open: Vec<Open>,
    anchored: HashMap<usize, Node>,
    /// What aliases have copied.
    copied_bytes: usize,
}

struct Open {
    line: usize,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    /// With the key that waits for its value.
    Map(Vec<(Name, Node)>, Option<Name>),
}

impl Builder {
    fn on_event(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlFault> {
        let line = span.start.line().max(1);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(fault(line, "begins a second document: there may be one"))
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                Err(fault(line, "has a tag ('!'), which is not read: leave it out"))
            }
            Event::Scalar(text, style, anchor, None) => {
                let is_null = matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = match style {
                    ScalarStyle::Plain if is_null => Value::Null,
                    _ => Value::Text(text.into_owned()),
                };
                self.put(Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, None) => {
                self.begin(Open { line, anchor, kind: Kind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, None) => {
                self.begin(Open { line, anchor, kind: Kind::Map(Vec::new(), None) })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.put_copy(anchor, line),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), YamlFault> {
        if self.open.len() == CONFIG_DEPTH_MAX {
            let what = format_args!("is nested deeper than {CONFIG_DEPTH_MAX} levels");
            return Err(fault(open.line, what));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlFault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.kind {
            Kind::List(items) => Value::List(items),
            Kind::Map(pairs, _) => Value::Map(pairs),
        };
        self.put(Node { line: open.line, value }, open.anchor)
    }

    /// An anchor that stands around its own alias is not known yet: no tree goes in a ring.
    fn put_copy(&mut self, anchor: usize, line: usize) -> Result<(), YamlFault> {
        let Some(node) = self.anchored.get(&anchor) else {
            return Err(fault(line, "is an alias ('*') of what holds it"));
        };
        self.copied_bytes += bytes_of(node);
        if self.copied_bytes > CONFIG_BYTES_MAX {
            return Err(fault(line, "repeats too much by aliases ('*')"));
        }
        let node = node.clone();
        self.put(node, 0)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), YamlFault> {
        // 0 stands for no anchor.
        if anchor > 0 {
            self.copied_bytes += bytes_of(&node);
            if self.copied_bytes > CONFIG_BYTES_MAX {
                return Err(fault(node.line, "repeats too much by anchors ('&')"));
            }
            self.anchored.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map(pairs, key)) => match key.take() {
                Some(name) => pairs.push((name, node)),
                None => *key = Some(name_of(node)?),
            },
        }
        Ok(())
    }
}

fn name_of(node: Node) -> Result<Name, YamlFault> {
    let line = node.line;
    match node.value {
        Value::Text(text) if text == "<<" => {
            Err(fault(line, "merges keys ('<<'), which is not read: write them out"))
        }
        Value::Text(text) => Ok(Name { line, text }),
        Value::Null => Err(fault(line, "has no key before the ':'")),
        Value::List(_) | Value::Map(_) => Err(fault(line, "has a list or a map for a key")),
    }
}

/// Recursion is bounded: each level of a tree that aliases have made deep was copied, and so counted,
/// once for every level above it.
fn bytes_of(node: &Node) -> usize {
    NODE_BYTES
        + match &node.value {
            Value::Null => 0,
            Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(bytes_of).sum(),
            Value::Map(pairs) => {
                pairs.iter().map(|(name, node)| name.text.len() + bytes_of(node)).sum()
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `line: what`.
    fn fault_of(text: impl AsRef<[u8]>) -> String {
        match read(text.as_ref()) {
            Err(YamlFault { line: Some(line), what }) => format!("{line}: {what}"),
            Err(YamlFault { line: None, what }) => what,
            Ok(_) => panic!("it is a tree"),
        }
    }

    /// The tree in one line, each value before its line.
    fn shown(node: &Node) -> String {
        let value = match &node.value {
            Value::Null => "~".to_owned(),
            Value::Text(text) => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<String>()),
            Value::Map(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|(name, node)| format!("{}@{}={}", name.text, name.line, shown(node)));
                format!("{{{}}}", pairs.collect::<String>())
            }
        };
        format!("{value}@{} ", node.line)
    }

    #[test]
    fn every_key_and_value_knows_its_line() {
        let text = "# a\na: 1\nb:\n  - x: 'null'\n    y:\n  - \"z\"\r\nc: &k [p, ~]\nd: *k\n";
        let expected = "{a@2=1@2 b@3=[{x@4=null@4 y@5=~@5 }@4 z@6 ]@4 \
                        c@7=[p@7 ~@7 ]@7 d@8=[p@7 ~@7 ]@7 }@2 ";
        let root = read(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(shown(&root), expected);
        let after_mark = read("\u{feff}---\na: 1\n...\n".as_bytes());
        assert_eq!(after_mark.map(|root| shown(&root)), Ok("{a@2=1@2 }@2 ".to_owned()));
    }

    #[test]
    fn what_is_no_tree_is_a_fault_with_its_line() {
        let (deep, deeper) = ("[".repeat(20), "[".repeat(100_000));
        let twice = "a: 1\n---\nb: 2\n";
        let cases: [(&[u8], &str); 15] = [
            (b"", "is empty"),
            (b"# nothing\n\n", "is empty"),
            (b"---\n", "is empty"),
            (b"a: 1\nb: \xff\n", "2: is not UTF-8"),
            (b"\xff\xfea\0", "1: is not UTF-8"),
            (b"a: 1\nb: 2\0\nc: 3\n", "2: holds a control character"),
            (b"a:\n\tb: 1\n", "2: is indented with a tab"),
            (twice.as_bytes(), "2: begins a second document"),
            (deep.as_bytes(), "1: is nested deeper than"),
            (deeper.as_bytes(), "1: is not YAML: recursion limit"),
            (b"a: 1\nb: !x 2\n", "2: has a tag"),
            (b"a: &a [*a]\n", "1: is an alias"),
            (b"a: 1\nb: *c\n", "2: is not YAML: "),
            (b"a: 1\n<<: {b: 1}\n", "2: merges keys"),
            (b"a: 1\n[b]: 1\n", "2: has a list or a map for a key"),
        ];
        for (text, expected) in cases {
            let found = fault_of(text);
            assert!(found.starts_with(expected), "{expected}: {found}");
        }
        assert!(fault_of(vec![b' '; CONFIG_BYTES_MAX + 1]).starts_with("is longer than 1024KiB"));
    }

    #[test]
    fn a_key_without_its_colon_is_told_with_its_own_line() {
        let cases = [
            ("a 1\nb: 2\n", 1),
            ("a:1\n\n# c\nb: 2\n", 1),
            ("a: 1\nb 2\nc: 3\n", 2),
            ("a: 1\nb 2\n", 2),
            ("a:\n  - b: 1\n    c 2\n\nd: 3\n", 3),
            ("a:\n  - b http://c\n    d: 3\n", 2),
        ];
        for (text, line) in cases {
            let found = fault_of(text);
            let is_told = found.starts_with(&format!("{line}: is not YAML: "));
            assert!(is_told && found.contains("Is a ':' missing behind a key"), "{text}: {found}");
        }
        assert!(fault_of("a: 1\n  b: 2\n").starts_with("2: "), "it is indented too far");
    }

    #[test]
    fn aliases_of_aliases_meet_a_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..30 {
            let alias = format!("*a{}, ", n - 1).repeat(10);
            text.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
        }
        assert!(fault_of(&text).contains("repeats too much"), "{}", fault_of(&text));
        let mut text = "a0: &a0 [x]\n".to_owned();
        for n in 1..20_000 {
            text.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
        }
        assert!(fault_of(&text).contains("repeats too much"), "{}", fault_of(&text));
    }
}
