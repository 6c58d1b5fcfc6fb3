//! Samples per series, and the judgement of what a storage holds.
//!
//! Every replica scrapes the same series from the same target, as a group does, so nothing in the
//! labels tells them apart. The value does: the target counts its scrapes by each replica and
//! gives everyone a number of their own (see [`Sample::voice`]). A stored sample thus says who
//! sent it, and a number that is left out is a sample that is not there.

use std::collections::BTreeMap;
use std::fmt;

use crate::json::Json;

/// The name of the series whose values say who scraped them.
pub const LOAD: &str = "hl_load";

/// What a replica's own number is multiplied with: no test scrapes a million times.
pub const VOICE_STEP: u64 = 1_000_000;

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Its timestamp, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The replica that scraped it.
    pub fn voice(&self) -> u64 {
        self.value as u64 / VOICE_STEP
    }

    /// Which of that replica's scrapes it is from.
    pub fn scrape(&self) -> u64 {
        self.value as u64 % VOICE_STEP
    }
}

/// Series, by their labels in one fixed spelling, each with its samples by rising time.
#[derive(Debug, Default)]
pub struct Series(BTreeMap<String, Vec<Sample>>);

impl Series {
    /// Adds samples of a series, in any order. A storage may give one series in several parts.
    ///
    /// Stale markers, which a scrape that timed out leaves, are left out: Prometheus does not show
    /// its own, so there is nothing to compare them with.
    pub fn add(&mut self, metric: &Json, samples: impl Iterator<Item = Sample>) {
        let labels: Vec<String> = metric
            .members()
            .iter()
            .map(|(name, value)| format!("{name}={:?}", value.text()))
            .collect();
        let known = self.0.entry(labels.join(",")).or_default();
        known.extend(samples.filter(|sample| !sample.value.is_nan()));
        known.sort_by_key(|sample| sample.at_ms);
    }

    /// Each series by its labels, with its samples by rising time.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Vec<Sample>)> {
        self.0.iter()
    }

    /// The same, where two samples of one time and value count once; and how many that leaves out. Who
    /// gets no answer sends again what may have arrived: that is no fault of anybody.
    pub fn once(mut self) -> (Series, usize) {
        let mut left_out = 0;
        for samples in self.0.values_mut() {
            let before = samples.len();
            samples.sort_by(|a, b| a.at_ms.cmp(&b.at_ms).then(a.value.total_cmp(&b.value)));
            samples.dedup();
            left_out += before - samples.len();
        }
        (self, left_out)
    }

    /// Whether these labels are of a series of this name.
    pub fn is_named(labels: &str, name: &str) -> bool {
        labels.contains(&format!("__name__={name:?}"))
    }

    /// The newest timestamp of all.
    pub fn newest_ms(&self) -> i64 {
        self.0.values().flatten().map(|sample| sample.at_ms).max().expect("there are samples")
    }

    /// The oldest timestamp of all.
    pub fn oldest_ms(&self) -> i64 {
        self.0
            .values()
            .filter_map(|samples| samples.first())
            .map(|first| first.at_ms)
            .min()
            .expect("a sample")
    }

    /// Compares what is stored here with what the promoted replica has itself, in a time window
    /// with both its ends in it.
    pub fn against(&self, own: &Series, from_ms: i64, to_ms: i64) -> Tally {
        let cut = |samples: &[Sample]| -> Vec<Sample> {
            samples.iter().filter(|s| (from_ms..=to_ms).contains(&s.at_ms)).copied().collect()
        };
        let mut tally = Tally::default();
        for (labels, stored) in &self.0 {
            let stored = cut(stored);
            let own = cut(own.0.get(labels).map_or(&[], Vec::as_slice));
            tally.stored += stored.len();
            tally.doubled += stored.windows(2).filter(|two| two[0].at_ms == two[1].at_ms).count();
            tally.foreign += stored.iter().filter(|s| !has(&own, s)).count();
        }
        for (labels, own) in &own.0 {
            let stored = cut(self.0.get(labels).map_or(&[], Vec::as_slice));
            let own = cut(own);
            tally.own += own.len();
            tally.missing += own.iter().filter(|s| !has(&stored, s)).count();
        }
        tally
    }

    /// How many samples stored here say that a replica has scraped them, and it has no such sample
    /// itself.
    pub fn foreign_to(&self, replica: u64, own: &Series) -> usize {
        let load = self.iter().filter(|(labels, _)| Series::is_named(labels, LOAD));
        let foreign = load.map(|(labels, stored)| {
            let own = own.0.get(labels).map_or(&[][..], Vec::as_slice);
            stored.iter().filter(|s| s.voice() == replica && !has(own, s)).count()
        });
        foreign.sum()
    }
}

/// Whether a sample of this time and value is among `samples`, which are sorted. A stored value may
/// differ in its last digit: VictoriaMetrics keeps decimals.
fn has(samples: &[Sample], wanted: &Sample) -> bool {
    let first = samples.partition_point(|sample| sample.at_ms < wanted.at_ms);
    samples[first..]
        .iter()
        .take_while(|sample| sample.at_ms == wanted.at_ms)
        .any(|sample| (sample.value - wanted.value).abs() <= wanted.value.abs() * 1e-9)
}

/// What a comparison found, in samples.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    /// Those the promoted replica has itself.
    pub own: usize,
    /// Those in the storage.
    pub stored: usize,
    /// Those it has and the storage has not.
    pub missing: usize,
    /// Those with the same time as the one before.
    pub doubled: usize,
    /// Those in the storage that it never had.
    pub foreign: usize,
}

impl Tally {
    /// The claim of the steady state.
    pub fn assert_exactly_once(&self) {
        assert!(self.own > 0, "nothing was compared");
        let faults = (self.missing, self.doubled, self.foreign);
        assert_eq!(faults, (0, 0, 0), "missing, doubled, foreign in {self}");
        assert_eq!(self.own, self.stored);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { own, stored, missing, doubled, foreign } = self;
        write!(
            f,
            "scraped {own}, stored {stored}, missing {missing}, doubled {doubled}, foreign {foreign}"
        )
    }
}
