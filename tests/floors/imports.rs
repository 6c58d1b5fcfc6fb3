//! The paths a file names, made absolute: `crate::…` for our own, the crate's name for others.
//!
//! Names are resolved as far as one file shows them: `self`, `super`, inline modules, modules the
//! file declares, and whatever its own `use` lines bind, so that an alias hides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use crate::text::Token;

/// A path, from the crate's root down to the last name written.
pub type ModulePath = Vec<String>;

/// A path named in a file, by `use` or in the midst of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub line: usize,
    pub path: ModulePath,
    /// Named only by tests.
    pub test: bool,
}

/// Every path of a file that is the module `module`, in a crate that has `modules`.
pub fn imports(tokens: &[Token], module: &[String], modules: &BTreeSet<ModulePath>) -> Vec<Import> {
    let named = named(tokens, module);
    let mut names = Names { modules, bound: BTreeMap::new() };
    // Twice: a `use` may rest on one that stands below it.
    for _ in 0..2 {
        for path in &named {
            if let Some(name) = &path.binds {
                names.bound.insert(name.clone(), names.absolute(path));
            }
        }
    }
    let import =
        |path: &Named| Import { line: path.line, path: names.absolute(path), test: path.test };
    named.iter().map(import).collect()
}

/// The modules a file declares with `mod x;` for tests only. A file `a.rs` may keep its module
/// `tests` in `a_tests.rs` beside it, so that place is named too.
pub fn test_modules(tokens: &[Token], module: &[String]) -> Vec<ModulePath> {
    let declared = tokens.windows(3).filter(|it| it[0].text == "mod" && it[2].text == ";");
    let places = |name: &String| {
        let (last, parent) = module.split_last().expect("a module has a name");
        [[module, from_ref(name)].concat(), [parent, &[format!("{last}_{name}")]].concat()]
    };
    declared.filter(|it| it[0].test).flat_map(|it| places(&it[1].text)).collect()
}

struct Names<'a> {
    modules: &'a BTreeSet<ModulePath>,
    bound: BTreeMap<String, ModulePath>,
}

impl Names<'_> {
    fn absolute(&self, named: &Named) -> ModulePath {
        let (first, rest) = named.path.split_first().expect("a path has a segment");
        let local = [&named.scope[..], from_ref(first)].concat();
        match first.as_str() {
            _ if named.global => named.path.clone(),
            "crate" | "highlander" => named.path_from(vec!["crate".to_owned()], rest),
            "self" => named.path_from(named.scope.clone(), rest),
            "super" => {
                let up = named.path.iter().take_while(|it| *it == "super").count();
                let keep = named.scope.len().saturating_sub(up).max(1);
                named.path_from(named.scope[..keep].to_vec(), &named.path[up..])
            }
            "core" | "alloc" => named.path_from(vec!["std".to_owned()], rest),
            _ => match self.bound.get(first) {
                Some(path) => named.path_from(path.clone(), rest),
                None if self.modules.contains(&local) => named.path_from(local, rest),
                None => named.path.clone(),
            },
        }
    }
}

/// A path as written.
#[derive(Clone, Debug)]
struct Named {
    line: usize,
    path: Vec<String>,
    /// Began with `::`, so it starts at a crate's name.
    global: bool,
    /// The module it is written in, inline ones included.
    scope: ModulePath,
    /// The name a `use` gives it in the file.
    binds: Option<String>,
    test: bool,
}

impl Named {
    fn path_from(&self, mut root: ModulePath, rest: &[String]) -> ModulePath {
        root.extend_from_slice(rest);
        root
    }
}

fn named(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut named = Vec::new();
    let mut scope = module.to_vec();
    let mut depth = 0;
    let mut inline_depths = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let at = |offset: usize| tokens.get(index + offset).map_or("", |it| it.text.as_str());
        match at(0) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline_depths.last() == Some(&depth) {
                    inline_depths.pop();
                    scope.pop();
                }
            }
            "mod" if at(2) == "{" => {
                scope.push(at(1).to_owned());
                inline_depths.push(depth);
            }
            // `use<'a>` in a type is no import.
            "use" if at(1) != "<" => {
                index = Tree { tokens, scope: &scope, named: &mut named }.read(index + 1);
                continue;
            }
            _ if at(1) == "::" && tokens[index].is_word() => {
                index = read_inline(tokens, index, &scope, &mut named);
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    named
}

/// Reads a path in the midst of code that starts at `start`; gives the index after it.
fn read_inline(tokens: &[Token], start: usize, scope: &[String], named: &mut Vec<Named>) -> usize {
    let before = |count: usize| start.checked_sub(count).map_or("", |it| tokens[it].text.as_str());
    let mut path = vec![tokens[start].text.clone()];
    let mut end = start + 1;
    while end + 1 < tokens.len() && tokens[end].text == "::" && tokens[end + 1].is_word() {
        path.push(tokens[end + 1].text.clone());
        end += 2;
    }
    let after_type = before(1) == "::" && (before(2) == ">" || before(2).ends_with(is_name_sign));
    let visibility = before(1) == "in" && before(2) == "(" && before(3) == "pub";
    if !after_type && !visibility && before(1) != "." {
        named.push(Named {
            line: tokens[start].line,
            path,
            global: before(1) == "::",
            scope: scope.to_vec(),
            binds: None,
            test: tokens[start].test,
        });
    }
    end
}

fn is_name_sign(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tree of one `use` line, flattened.
struct Tree<'a> {
    tokens: &'a [Token],
    scope: &'a [String],
    named: &'a mut Vec<Named>,
}

impl Tree<'_> {
    /// Reads from the token after `use`; gives the index after the tree.
    fn read(&mut self, start: usize) -> usize {
        let global = self.tokens.get(start).is_some_and(|it| it.text == "::");
        self.branch(start + usize::from(global), &[], global)
    }

    fn branch(&mut self, start: usize, prefix: &[String], global: bool) -> usize {
        let mut path = prefix.to_vec();
        let mut index = start;
        while let Some(token) = self.tokens.get(index) {
            match token.text.as_str() {
                "::" => index += 1,
                "{" => {
                    index += 1;
                    while self.tokens.get(index).is_some_and(|it| it.text != "}") {
                        index = self.branch(index, &path, global);
                        index += usize::from(self.text(index) == ",");
                    }
                    return index + 1;
                }
                "," | "}" | ";" => return index,
                "self" if !prefix.is_empty() => {
                    return self.leaf(index, path, global);
                }
                name => {
                    path.push(name.to_owned());
                    if self.text(index + 1) != "::" {
                        return self.leaf(index, path, global);
                    }
                    index += 1;
                }
            }
        }
        index
    }

    /// Keeps the path that ends at `index`, and the name it is bound to.
    fn leaf(&mut self, index: usize, path: Vec<String>, global: bool) -> usize {
        let token = &self.tokens[index];
        let renamed = self.text(index + 1) == "as";
        let name =
            if renamed { self.text(index + 2).to_owned() } else { path[path.len() - 1].clone() };
        let binds = (name != "*" && name != "_" && name != "crate").then_some(name);
        self.named.push(Named {
            line: token.line,
            path,
            global,
            scope: self.scope.to_vec(),
            binds,
            test: token.test,
        });
        index + if renamed { 3 } else { 1 }
    }

    fn text(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |it| it.text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokens;

    fn path(text: &str) -> ModulePath {
        text.split("::").map(str::to_owned).collect()
    }

    /// The paths named in the module `crate::wire::http`, which has a child `head`.
    fn paths(source: &str) -> Vec<String> {
        let modules = BTreeSet::from([path("crate::wire::http"), path("crate::wire::http::head")]);
        let found = imports(&tokens(source), &path("crate::wire::http"), &modules);
        found.into_iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn paths_are_made_absolute() {
        let cases: [(&str, &[&str]); 17] = [
            ("use crate::base::time::Millis;", &["crate::base::time::Millis"]),
            (
                "use crate::{a::b, c::{self, d::*, e as f}};",
                &["crate::a::b", "crate::c", "crate::c::d::*", "crate::c::e"],
            ),
            ("use super::x; pub(crate) use self::y;", &["crate::wire::x", "crate::wire::http::y"]),
            ("use super::super::io::z;", &["crate::io::z"]),
            (
                "mod tests { use super::*; mod m { use super::super::x; } } use super::y;",
                &["crate::wire::http::*", "crate::wire::http::x", "crate::wire::y"],
            ),
            ("pub use head::Head;", &["crate::wire::http::head::Head"]),
            (
                "fn f() { head::parse(); tail::parse() }",
                &["crate::wire::http::head::parse", "tail::parse"],
            ),
            (
                "fn f(x: Vec<crate::io::X>) -> super::Y { x.map(::std::fs::read) }",
                &["crate::io::X", "crate::wire::Y", "std::fs::read"],
            ),
            (
                "use std::net; fn f() { net::TcpStream::connect() }",
                &["std::net", "std::net::TcpStream::connect"],
            ),
            ("use b::c; use crate::a as b;", &["crate::a::c", "crate::a"]),
            ("use core::fmt; use ::std::io;", &["std::fmt", "std::io"]),
            ("fn f() -> impl Iterator<Item = u8> + use<'_> { x.collect::<Vec<u8>>() }", &[]),
            ("pub(in crate::wire) fn f() { for x in crate::io::all() {} }", &["crate::io::all"]),
            ("fn f() { <T as Default>::default::<u8>(); }", &[]),
            ("$crate::io::log::write()", &["crate::io::log::write"]),
            (
                "use std::fmt::Write as _; fn f() { Write::write() }",
                &["std::fmt::Write", "Write::write"],
            ),
            ("use ", &[]),
        ];
        for (source, expected) in cases {
            assert_eq!(paths(source), expected, "{source}");
        }
    }
}
