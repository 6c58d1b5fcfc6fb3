//! Metrics as Prometheus reads them: its text format, version 0.0.4.
//!
//! A family at a time: what it means, then its samples. Label values are whatever a client sent: they are
//! escaped, and bytes that are no text are shown as such.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher as _, RandomState};

/// What the answer's `Content-Type` says.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the numbers of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, until the process begins anew.
    Counter,
    /// It is so now.
    Gauge,
    /// How many of what is counted were at most so large.
    Histogram,
}

/// A text that grows by families.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// One family, to which samples are added.
pub struct Family<'e> {
    name: &'static str,
    text: &'e mut String,
    /// The labels that samples have had: with one of them twice nothing of the whole would be read.
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Exposition {
    /// Begins a family. `help` is one sentence.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = Escaped { text: help.into(), quotes: false };
        // Writing to a text does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { name, text: &mut self.0, seen: HashSet::new(), hasher: RandomState::new() }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample, unless one with these labels has been added: names that are no text may look alike.
    pub fn sample(&mut self, labels: &[(&str, Cow<'_, str>)], value: f64) {
        self.sample_called("", labels, value);
    }

    /// Adds a histogram: the upper `ends` of all `buckets` but the last, how much fell into each, and the
    /// sum of it all.
    pub fn histogram(&mut self, label: (&str, &str), ends: &[f64], buckets: &[u64], sum: f64) {
        let mut labels = vec![(label.0, Cow::from(label.1))];
        let mut count = 0;
        let ends = ends.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (end, bucket) in ends.zip(buckets) {
            count += bucket;
            labels.push(("le", end.into()));
            self.sample_called("_bucket", &labels, count as f64);
            labels.pop();
        }
        self.sample_called("_sum", &labels, sum);
        self.sample_called("_count", &labels, count as f64);
    }

    fn sample_called(&mut self, suffix: &str, labels: &[(&str, Cow<'_, str>)], value: f64) {
        let begin = self.text.len();
        self.text.push_str(self.name);
        let name_end = self.text.len();
        self.text.push_str(suffix);
        for (place, (name, text)) in labels.iter().enumerate() {
            let sign = if place == 0 { '{' } else { ',' };
            let text = Escaped { text: text.clone(), quotes: true };
            let _ = write!(self.text, "{sign}{name}=\"{text}\"");
        }
        // Of a hundred thousand samples not two have one hash by chance.
        if !self.seen.insert(self.hasher.hash_one(&self.text[name_end..])) {
            return self.text.truncate(begin);
        }
        let end = if labels.is_empty() { "" } else { "}" };
        // The shortest digits that are read as the same number.
        let _ = writeln!(self.text, "{end} {value}");
    }
}

struct Escaped<'t> {
    text: Cow<'t, str>,
    quotes: bool,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sign in self.text.chars() {
            match sign {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                sign => f.write_char(sign)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_at_most_so_large() {
        let mut exposition = Exposition::default();
        let mut family = exposition.family("a_seconds", Kind::Histogram, "How long.");
        family.histogram(("of", "x"), &[0.0005, 1.0], &[1, 2, 4], 0.75);
        family.histogram(("of", "y"), &[0.0005, 1.0], &[0, 0, 0], 0.0);
        let expected = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n\
                        a_seconds_bucket{of=\"x\",le=\"0.0005\"} 1\n\
                        a_seconds_bucket{of=\"x\",le=\"1\"} 3\n\
                        a_seconds_bucket{of=\"x\",le=\"+Inf\"} 7\n\
                        a_seconds_sum{of=\"x\"} 0.75\na_seconds_count{of=\"x\"} 7\n\
                        a_seconds_bucket{of=\"y\",le=\"0.0005\"} 0\n\
                        a_seconds_bucket{of=\"y\",le=\"1\"} 0\n\
                        a_seconds_bucket{of=\"y\",le=\"+Inf\"} 0\n\
                        a_seconds_sum{of=\"y\"} 0\na_seconds_count{of=\"y\"} 0\n";
        assert_eq!(exposition.into_text(), expected);
    }

    #[test]
    fn families_stand_as_prometheus_reads_them() {
        let mut exposition = Exposition::default();
        exposition.single("a_total", Kind::Counter, "How many.", 3.0);
        let mut family = exposition.family("b_bytes", Kind::Gauge, "A \\ and\na line.");
        family.sample(&[("x", "1".into()), ("y", "".into())], 0.25);
        family.sample(&[("x", "a\"b\\c\nd".into()), ("y", String::from_utf8_lossy(b"\xff"))], 1e15);
        family.sample(&[("x", "1".into()), ("y", "".into())], 7.0);
        let expected = "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
                        # HELP b_bytes A \\\\ and\\na line.\n# TYPE b_bytes gauge\n\
                        b_bytes{x=\"1\",y=\"\"} 0.25\n\
                        b_bytes{x=\"a\\\"b\\\\c\\nd\",y=\"\u{fffd}\"} 1000000000000000\n";
        assert_eq!(exposition.into_text(), expected);
    }
}
