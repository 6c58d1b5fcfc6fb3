//! What is wrong with a command line and a configuration file, found all at once.
//!
//! Flags and keys of a file are checked by the same functions, under the flag's name. Which of them
//! stands in the file, and where, is noted here before: so one check serves both, and its fault names
//! the flag, or the line and the key.

use std::collections::HashMap;
use std::fmt;

use crate::base::limits::FAULTS_MAX;
use crate::base::time::{Millis, parse_duration};

/// No limit is meant to be so small: with a unit it may be, for a trial.
const BARE_BYTES_MIN: usize = 1024;

/// The faults found so far.
#[derive(Default)]
pub struct Faults {
    /// With its line, 0 without one.
    all: Vec<(usize, String)>,
    /// Whether some were left out.
    is_cut: bool,
    file: String,
    /// Where flags and paths stand in the file; of a list, each of its items with its index.
    lines: HashMap<String, Vec<(usize, usize)>>,
}

impl Faults {
    /// Faults of a command line, and of the file of this name.
    pub fn of_file(name: &str) -> Faults {
        Faults { file: name.to_owned(), ..Faults::default() }
    }

    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them: those of the command line, then those of the file from its top down.
    pub fn into_all(mut self) -> Vec<String> {
        self.all.sort_by_key(|(line, _)| *line);
        if self.is_cut {
            self.all.push((usize::MAX, format!("{}: has more faults than these", self.file)));
        }
        self.all.into_iter().map(|(_, fault)| fault).collect()
    }

    /// Notes that a flag, or a path such as `remote_write[0].url`, is said in the file.
    pub fn stands_at(&mut self, flag: &str, line: usize) {
        self.lines.insert(flag.to_owned(), vec![(0, line)]);
    }

    /// The same of a list of which some items are read: their indices, and their lines.
    pub fn items_stand_at(&mut self, flag: &str, items: Vec<(usize, usize)>) {
        self.lines.insert(flag.to_owned(), items);
    }

    /// Whether a flag is said in the file.
    pub fn is_in_file(&self, flag: &str) -> bool {
        self.lines.contains_key(flag)
    }

    /// Adds what is wrong with the file as a whole.
    pub fn add_of_file(&mut self, line: Option<usize>, what: impl fmt::Display) {
        let file = &self.file;
        if self.all.len() >= FAULTS_MAX {
            self.is_cut = true;
            return;
        }
        // A line a fault, and no colours, whatever stands in the file.
        let what = what.to_string().replace(char::is_control, "?");
        self.all.push(match line {
            Some(line) => (line, format!("{file}:{line}: {what}")),
            None => (0, format!("{file}: {what}")),
        });
    }

    /// Adds what is wrong with a flag, or with what stands at a path of the file.
    pub fn add(&mut self, flag: &str, what: impl fmt::Display) {
        self.add_item(flag, 0, what);
    }

    /// The same of one of several values.
    pub fn add_item(&mut self, flag: &str, index: usize, what: impl fmt::Display) {
        let Some(lines) = self.lines_of(flag) else {
            self.all.push((0, format!("{flag} {what}")));
            return;
        };
        let found = lines.get(index).or(lines.first()).copied();
        let item = match found {
            Some((index, _)) if lines.len() > 1 || index > 0 => format!("[{index}]"),
            _ => String::new(),
        };
        let path = key_of(flag);
        let what = in_keys(&what.to_string());
        self.add_of_file(found.map(|(_, line)| line), format_args!("{path}{item}: {what}"));
    }

    /// What is missing stands where the thing around it does.
    fn lines_of(&self, path: &str) -> Option<&Vec<(usize, usize)>> {
        let mut path = path;
        loop {
            if let Some(lines) = self.lines.get(path) {
                return Some(lines);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Reads a duration that is longer than 0.
    pub fn duration(&mut self, flag: &str, text: &Option<String>, default_ms: u64) -> Millis {
        match text.as_deref().map(parse_duration) {
            None => Millis(default_ms),
            Some(Ok(Millis(0))) => {
                self.add(flag, "must be longer than 0");
                Millis(default_ms)
            }
            Some(Ok(duration)) => duration,
            Some(Err(error)) => {
                let text = text.as_deref().unwrap_or_default();
                self.add(flag, format_args!("'{text}' {error}"));
                Millis(default_ms)
            }
        }
    }

    /// Reads a number from 1 on.
    pub fn number(&mut self, flag: &str, text: &Option<String>) -> Option<usize> {
        let text = text.as_deref()?;
        match text.parse() {
            Ok(number) if number > 0 => Some(number),
            _ => {
                self.add(flag, format_args!("'{text}' is not a number from 1 on"));
                None
            }
        }
    }

    /// Reads a number from 1 to `max`.
    pub fn number_to(
        &mut self,
        flag: &str,
        text: &Option<String>,
        (default, max): (usize, usize),
    ) -> usize {
        match self.number(flag, text) {
            Some(number) if number > max => {
                self.add(flag, format_args!("'{number}' is more than {max}"));
                default
            }
            number => number.unwrap_or(default),
        }
    }

    /// Reads a size in bytes. A small number alone was meant in another unit.
    pub fn size(&mut self, flag: &str, text: &Option<String>, default_bytes: usize) -> usize {
        let Some(text) = text.as_deref() else { return default_bytes };
        if text.parse().is_ok_and(|bytes: usize| (1..BARE_BYTES_MIN).contains(&bytes)) {
            self.add(flag, format_args!("'{text}' has no unit: it would be bytes"));
            return default_bytes;
        }
        parse_size(text).unwrap_or_else(|| {
            self.add(flag, format_args!("'{text}' is not a size such as 512KiB or 32MiB"));
            default_bytes
        })
    }

    /// Reads one of some words. The first choice is the default.
    pub fn choice<T: Copy>(&mut self, flag: &str, text: &Option<String>, all: &[(&str, T)]) -> T {
        let default = all[0].1;
        let Some(text) = text.as_deref() else { return default };
        let found = all.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).unwrap_or_else(|| {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            self.add(flag, format_args!("'{text}' is none of {}", names.join(", ")));
            default
        })
    }
}

/// The key of a flag; a path stays as it is.
pub fn key_of(flag: &str) -> String {
    match flag.strip_prefix("--") {
        Some(name) => name.replace('-', "_"),
        None => flag.to_owned(),
    }
}

/// A sentence that speaks of flags, for somebody who writes keys. What stands in quotes is theirs.
fn in_keys(what: &str) -> String {
    let mut is_quoted = false;
    let words = what.split(' ').map(|word| {
        let was_quoted = is_quoted;
        let bare = word.trim_end_matches([':', ',']);
        let begins = !was_quoted && word.starts_with('\'');
        // A quote alone begins or ends a text that has a blank beside it.
        let ends = bare.ends_with('\'') && (was_quoted || bare.len() > 1);
        is_quoted = (was_quoted || begins) && !ends;
        if was_quoted || begins { word.to_owned() } else { key_of(word) }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Reads a size such as 512KiB; in bytes.
pub fn parse_size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "KiB" | "K" | "KB" => 1 << 10,
        "MiB" | "M" | "MB" => 1 << 20,
        "GiB" | "G" | "GB" => 1 << 30,
        "TiB" | "T" | "TB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_as_keys_but_for_those_in_what_was_written() {
        let cases = [
            ("needs --a-b or --c", "needs a_b or c"),
            ("'a --b-c' is none: use --d-e", "'a --b-c' is none: use d_e"),
            ("' --b-c ' is none: use --d-e", "' --b-c ' is none: use d_e"),
            ("'x': --b-c, 'y' --d-e", "'x': b_c, 'y' d_e"),
            ("can't go with --a-b", "can't go with a_b"),
        ];
        for (flags, keys) in cases {
            assert_eq!(in_keys(flags), keys);
        }
    }
}
