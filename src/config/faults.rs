//! What is wrong with a command line, found all at once.

use std::fmt;

use crate::base::time::{Millis, parse_duration};

/// A text that no log and no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The faults found so far.
#[derive(Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn into_all(self) -> Vec<String> {
        self.0
    }

    /// Adds what is wrong with a flag.
    pub fn add(&mut self, flag: &str, what: impl fmt::Display) {
        self.0.push(format!("{flag} {what}"));
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

    /// Reads a size in bytes.
    pub fn size(&mut self, flag: &str, text: &Option<String>, default_bytes: usize) -> usize {
        let Some(text) = text.as_deref() else { return default_bytes };
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

/// Reads a size such as 512KiB; in bytes.
pub fn parse_size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "KiB" | "K" | "KB" => 1 << 10,
        "MiB" | "M" | "MB" => 1 << 20,
        "GiB" | "G" | "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}
