//! The log: lines go to a thread of their own, so that a full pipe behind stderr stops no core.
//!
//! The text form is the original's: time, space, words. Nothing here is called per request.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Local, SecondsFormat};
use crossbeam::channel::{Receiver, Sender, bounded};

use crate::base::limits::LOG_LINES_MAX;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is lost or does not work.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `2019/08/29 17:03:43 words`.
    Text,
    /// One JSON object a line: `ts`, `level`, `msg`.
    Json,
}

/// The way to the log. Cheap to clone; used from any thread; never blocks.
#[derive(Clone, Debug)]
pub struct Log {
    level: Arc<AtomicU8>,
    format: Format,
    lines: Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(String),
    Flush(Sender<()>),
}

impl Log {
    /// Starts the thread that writes to stderr.
    pub fn start(level: Level, format: Format) -> std::io::Result<Log> {
        let (lines, received) = bounded(LOG_LINES_MAX);
        thread::Builder::new().name("log".into()).spawn(move || write_lines(&received))?;
        let level = Arc::new(AtomicU8::new(level as u8));
        Ok(Log { level, format, lines, dropped: Arc::default() })
    }

    /// Writes one line, unless `level` is too low. A line that finds no room is counted.
    pub fn write(&self, level: Level, message: &str) {
        // Relaxed: a lone number.
        if level as u8 > self.level.load(Ordering::Relaxed) {
            return;
        }
        let line = format_line(self.format, level, message, &Local::now());
        if self.lines.try_send(Entry::Line(line)).is_err() {
            // Relaxed: a lone count.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on lines of this level are written, and of those that matter more.
    pub fn set_level(&self, level: Level) {
        // Relaxed: a lone number.
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Something is lost or does not work.
    pub fn error(&self, message: &str) {
        self.write(Level::Error, message);
    }

    /// Something is not as it should be.
    pub fn warn(&self, message: &str) {
        self.write(Level::Warn, message);
    }

    /// What an operator wants to know.
    pub fn info(&self, message: &str) {
        self.write(Level::Info, message);
    }

    /// Waits until what was written so far has been passed to stderr, a second at most.
    pub fn flush(&self) {
        let (done, wait) = bounded(1);
        let second = Duration::from_secs(1);
        if self.lines.send_timeout(Entry::Flush(done), second).is_ok() {
            let _ = wait.recv_timeout(second);
        }
    }

    /// Lines that found no room so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write_lines(received: &Receiver<Entry>) {
    while let Ok(entry) = received.recv() {
        match entry {
            // Where stderr is gone there is nobody left to tell.
            Entry::Line(line) => drop(std::io::stderr().write_all(line.as_bytes())),
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// One line of the log, with its end.
pub fn format_line(format: Format, level: Level, message: &str, at: &DateTime<Local>) -> String {
    match format {
        Format::Text => format!("{} {message}\n", at.format("%Y/%m/%d %H:%M:%S")),
        Format::Json => {
            let level = match level {
                Level::Error => "error",
                Level::Warn => "warn",
                Level::Info => "info",
                Level::Debug => "debug",
            };
            let time = at.to_rfc3339_opts(SecondsFormat::Millis, false);
            let mut line = format!("{{\"ts\":\"{time}\",\"level\":\"{level}\",\"msg\":\"");
            append_escaped(message, &mut line);
            line.push_str("\"}\n");
            line
        }
    }
}

fn append_escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // Writing to a String can't fail.
            control if control < ' ' => drop(write!(out, "\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    #[test]
    fn a_line_reads_as_in_the_original_or_as_json() {
        let at = Local.with_ymd_and_hms(2019, 8, 29, 17, 3, 43).single().expect("it was once");
        let line = format_line(Format::Text, Level::Info, "health tick: 1s", &at);
        assert_eq!(line, "2019/08/29 17:03:43 health tick: 1s\n");
        let line = format_line(Format::Json, Level::Warn, "a \"b\"\\\n\u{1}", &at);
        assert!(line.starts_with("{\"ts\":\"2019-08-29T17:03:43.000"), "{line}");
        assert!(line.ends_with("\"level\":\"warn\",\"msg\":\"a \\\"b\\\"\\\\\\n\\u0001\"}\n"));
    }
}
