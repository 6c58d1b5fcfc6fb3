//! Source text to tokens: comments, strings and chars fall away, tests are marked.
//!
//! A small scanner instead of a parser crate: what the checks look for (paths, macros, a few names)
//! is visible in the tokens, and a check that breaks with the language's next version is no help.

use std::collections::VecDeque;

/// One word, number, `::`, or any other single sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
    /// Within an item under `#[cfg(test)]`.
    pub test: bool,
}

impl Token {
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of a source file.
pub fn tokens(source: &str) -> Vec<Token> {
    let code = strip(source);
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if is_word_part(first) => rest.find(|c| !is_word_part(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(Token { line: index + 1, text: rest[..length].to_owned(), test: false });
            rest = rest[length..].trim_start();
        }
    }
    mark_tests(&mut tokens);
    tokens
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The source with every comment, string and char replaced by blanks; lines stay where they are.
fn strip(source: &str) -> String {
    let mut scanner = Scanner { rest: source.chars().collect(), out: String::new() };
    while let Some(first) = scanner.rest.front().copied() {
        match (first, scanner.ahead(1), scanner.ahead(2)) {
            ('/', Some('/'), _) => scanner.blank_line(),
            ('/', Some('*'), _) => scanner.blank_block(),
            ('"', ..) => match scanner.raw_hashes() {
                Some(hashes) => scanner.blank_raw(hashes),
                None => scanner.blank_quoted('"'),
            },
            ('\'', Some('\\'), _) | ('\'', Some(_), Some('\'')) => scanner.blank_quoted('\''),
            _ => scanner.keep(),
        }
    }
    scanner.out
}

struct Scanner {
    rest: VecDeque<char>,
    out: String,
}

impl Scanner {
    fn ahead(&self, count: usize) -> Option<char> {
        self.rest.get(count).copied()
    }

    fn keep(&mut self) {
        self.out.extend(self.rest.pop_front());
    }

    fn blank(&mut self) -> Option<char> {
        let next = self.rest.pop_front()?;
        self.out.push(if next == '\n' { '\n' } else { ' ' });
        Some(next)
    }

    fn blank_line(&mut self) {
        while self.ahead(0).is_some_and(|c| c != '\n') {
            self.blank();
        }
    }

    fn blank_block(&mut self) {
        let mut depth = 0;
        loop {
            match (self.ahead(0), self.ahead(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (None, _) => return,
                _ => {
                    self.blank();
                    continue;
                }
            }
            self.blank();
            self.blank();
            if depth == 0 {
                return;
            }
        }
    }

    fn blank_quoted(&mut self, quote: char) {
        self.blank();
        while let Some(next) = self.blank() {
            if next == '\\' {
                self.blank();
            } else if next == quote {
                return;
            }
        }
    }

    /// How many `#` a raw string has whose opening quote comes next; none if it is no raw string.
    fn raw_hashes(&self) -> Option<usize> {
        let before = self.out.trim_end_matches('#');
        let prefix = before.rsplit(|c| !is_word_part(c)).next().unwrap_or_default();
        matches!(prefix, "r" | "br" | "cr").then(|| self.out.len() - before.len())
    }

    fn blank_raw(&mut self, hashes: usize) {
        self.blank();
        while let Some(next) = self.blank() {
            if next == '"' && self.rest.iter().take_while(|c| **c == '#').count() >= hashes {
                (0..hashes).for_each(|_| _ = self.blank());
                return;
            }
        }
    }
}

/// Marks each item under `#[cfg(test)]` or `#[cfg(all(test, …))]`, and all after `#![cfg(test)]`.
fn mark_tests(tokens: &mut [Token]) {
    const MARKS: [(&[&str], bool); 4] = [
        (&["#", "[", "cfg", "(", "test", ")", "]"], false),
        (&["#", "[", "cfg", "(", "all", "(", "test", ","], false),
        (&["#", "!", "[", "cfg", "(", "test", ")", "]"], true),
        (&["#", "!", "[", "cfg", "(", "all", "(", "test", ","], true),
    ];
    let mut start = 0;
    while start < tokens.len() {
        let mark = MARKS.iter().find(|(mark, _)| starts_with(&tokens[start..], mark));
        let end = match mark {
            None => start + 1,
            Some((_, true)) => tokens.len(),
            Some((_, false)) => item_end(tokens, start),
        };
        if mark.is_some() {
            tokens[start..end].iter_mut().for_each(|token| token.test = true);
        }
        start = end;
    }
}

/// Whether the tokens begin with these texts.
pub fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// The index after the item whose first attribute is at `start`: after its `;` or its `{…}`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth <= 0 {
                    return index + 1;
                }
            }
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_strings_and_chars_are_not_code() {
        let cases = [
            ("a // b.unwrap()\nc", vec!["a", "c"]),
            ("a /* b /* c */ d */ e", vec!["a", "e"]),
            ("a /// b", vec!["a"]),
            (r#"f("std::fs", "\"", "\\")"#, vec!["f", "(", ",", ",", ")"]),
            ("f(\"a\nb\") c", vec!["f", "(", ")", "c"]),
            (
                r###"r"a\" b r#"c " d"# e br##"f"# g"## h"###,
                vec!["r", "b", "r", "#", "e", "br", "#", "#", "h"],
            ),
            (r#"('"', '\'', '\u{1f}', b'/', "x")"#, vec!["(", ",", ",", ",", "b", ",", ")"]),
            (
                "f<'a>(x: &'a str, 'b')",
                vec!["f", "<", "'", "a", ">", "(", "x", ":", "&", "'", "a", "str", ",", ")"],
            ),
            ("a::b:c", vec!["a", "::", "b", ":", "c"]),
            ("\"never closed", vec![]),
            ("/* never closed", vec![]),
        ];
        for (source, expected) in cases {
            assert_eq!(texts(source), expected, "{source}");
        }
    }

    #[test]
    fn lines_are_counted_through_what_is_left_out() {
        let all = tokens("a /* 1\n2 */ b\n\"3\n4\" c");
        let lines: Vec<usize> = all.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }

    #[test]
    fn only_the_item_under_cfg_test_is_a_test() {
        let cases = [
            ("a; #[cfg(test)] mod t { fn f() { t } } a", "a ; a"),
            ("#[cfg(test)] #[allow(x)] use t; a", "a"),
            ("#[cfg(all(test, x))] fn t() -> [u8; 2] { t } a", "a"),
            ("#[cfg(not(test))] fn a() {}", "# [ cfg ( not ( test ) ) ] fn a ( ) { }"),
            ("#![cfg(test)] fn t() {} fn t() {}", ""),
        ];
        for (source, expected) in cases {
            let kept: Vec<String> =
                tokens(source).into_iter().filter(|it| !it.test).map(|it| it.text).collect();
            assert_eq!(kept.join(" "), expected, "{source}");
        }
    }
}
