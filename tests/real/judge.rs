//! The judgement of what a storage holds after something has failed: nothing missing, no two voices
//! at once, nothing twice.
//!
//! It asks no replica, for the one that matters may be dead: time alone says what is missing.
//! Whatever happens to whom, each series has a sample at every scrape interval from the first
//! election to the end of the test. Replicas scrape at different phases, so from one voice to the
//! next may be up to one and a half intervals; nor is a scrape that was a little late a fault.

use std::fmt;

use crate::series::{LOAD, Sample, Series};

/// The series that every program adds to those it scrapes. A vmagent adds more, with which nobody
/// goes on after a change: of those only the times are judged.
pub const ADDED: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
];

/// What must have been stored.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// How many series.
    pub series: usize,
    /// Who is heard in each of them.
    pub voices: Voices<'a>,
    /// The scrape interval of all replicas.
    pub scrape_ms: i64,
    /// Every series has begun by then.
    pub from_ms: i64,
    /// Every series goes on until then.
    pub to_ms: i64,
}

/// Who is heard in a series.
#[derive(Clone, Copy, Debug)]
pub enum Voices<'a> {
    /// These, one after the other.
    Exactly(&'a [u64]),
    /// Anybody, but the voice changes so often at most: who takes a seat for a moment only may have
    /// nothing to say in one series, and something in another.
    Changing(usize),
}

impl Voices<'_> {
    fn changes(&self) -> usize {
        match self {
            Voices::Exactly(voices) => voices.len() - 1,
            Voices::Changing(times) => *times,
        }
    }

    /// Whether these are the ones who may be heard.
    fn are(&self, heard: &[u64]) -> bool {
        match self {
            Voices::Exactly(voices) => heard == *voices,
            Voices::Changing(times) => (1..=times + 1).contains(&heard.len()),
        }
    }
}

/// What was stored.
#[derive(Debug)]
pub struct Verdict<'a> {
    expected: &'a Expected<'a>,
    /// How many series there are.
    series: usize,
    /// How many samples.
    stored: usize,
    /// What is missing where one voice goes on, and before the first and after the last of them.
    within: Holes,
    /// What is missing at each change of voice.
    changes: Vec<Holes>,
    /// Series whose voices are others than expected, or in another order: overlapping ones too.
    out_of_turn: usize,
    /// Samples that are not newer than the one before.
    doubled: usize,
    /// Series with more samples than one replica has, and one more at each change of voice.
    crowded: usize,
    /// A series with a fault, in short.
    example: Option<String>,
}

impl<'a> Verdict<'a> {
    /// Judges everything that is stored.
    pub fn of(stored: &Series, expected: &'a Expected<'a>) -> Verdict<'a> {
        let mut verdict = Verdict {
            expected,
            series: 0,
            stored: 0,
            within: Holes::default(),
            changes: vec![Holes::default(); expected.voices.changes()],
            out_of_turn: 0,
            doubled: 0,
            crowded: 0,
            example: None,
        };
        for (labels, samples) in stored.iter() {
            let faults = verdict.faults();
            let is_load = Series::is_named(labels, LOAD);
            verdict.judge_times(samples);
            if is_load || ADDED.iter().any(|name| Series::is_named(labels, name)) {
                verdict.series += 1;
                verdict.judge_ends(samples);
                verdict.judge_voices(samples, is_load);
            }
            if verdict.example.is_none() && verdict.faults() != faults {
                verdict.example = Some(format!("{labels}: {}", spell(samples)));
            }
        }
        verdict
    }

    /// The claim after every hand-over.
    pub fn assert_whole(&self) {
        assert_eq!(self.series, self.expected.series, "series in {self}");
        let example = self.example.as_deref().unwrap_or_default();
        let name = "missing, out of turn, doubled, crowded";
        assert_eq!(self.faults(), (0, 0, 0, 0), "{name} in {self}; for example {example}");
    }

    /// Samples that are missing, in all series together.
    fn missing(&self) -> i64 {
        self.within.samples + self.changes.iter().map(|holes| holes.samples).sum::<i64>()
    }

    fn faults(&self) -> (i64, usize, usize, usize) {
        (self.missing(), self.out_of_turn, self.doubled, self.crowded)
    }

    /// No sample twice, and no more than the time from the first to the last has room for.
    fn judge_times(&mut self, samples: &[Sample]) {
        self.stored += samples.len();
        self.doubled += samples.windows(2).filter(|two| two[0].at_ms >= two[1].at_ms).count();
        let [first, .., last] = samples else { return };
        let intervals = rounded(last.at_ms - first.at_ms, self.expected.scrape_ms);
        let room = intervals + 1 + self.changes.len() as i64;
        self.crowded += usize::from(samples.len() as i64 > room);
    }

    /// Each series is there from the beginning to the end.
    fn judge_ends(&mut self, samples: &[Sample]) {
        let Expected { scrape_ms, from_ms, to_ms, .. } = *self.expected;
        let first_ms = samples.first().map_or(to_ms, |first| first.at_ms);
        let last_ms = samples.last().map_or(to_ms, |last| last.at_ms);
        self.within.add(first_ms - from_ms, 0, scrape_ms);
        self.within.add(to_ms - last_ms, 0, scrape_ms);
    }

    /// One voice after the other, each without a hole, and none between them. The samples of some
    /// series do not say who speaks: those are held to be of one voice.
    fn judge_voices(&mut self, samples: &[Sample], has_voice: bool) {
        let scrape_ms = self.expected.scrape_ms;
        let runs: Vec<&[Sample]> =
            samples.chunk_by(|a, b| !has_voice || a.voice() == b.voice()).collect();
        let heard: Vec<u64> = runs.iter().map(|run| run[0].voice()).collect();
        let in_turn = has_voice && self.expected.voices.are(&heard);
        self.out_of_turn += usize::from(has_voice && !in_turn);
        for two in runs.iter().flat_map(|run| run.windows(2)) {
            let left_out = match has_voice {
                true => two[1].scrape() as i64 - two[0].scrape() as i64 - 1,
                false => 0,
            };
            self.within.add(two[1].at_ms - two[0].at_ms, left_out, scrape_ms);
        }
        for (change, two) in runs.windows(2).enumerate() {
            let gap_ms = two[1][0].at_ms - two[0][two[0].len() - 1].at_ms;
            let holes = if in_turn { &mut self.changes[change] } else { &mut self.within };
            holes.add(gap_ms, 0, scrape_ms);
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { series, stored, within, out_of_turn, doubled, crowded, .. } = self;
        let missing = self.missing();
        write!(
            f,
            "{series} series, {stored} samples: missing {missing}, out of turn {out_of_turn}, \
             doubled {doubled}, crowded {crowded}; within one voice {within}"
        )?;
        match self.expected.voices {
            Voices::Exactly(voices) => {
                for (holes, two) in self.changes.iter().zip(voices.windows(2)) {
                    write!(f, "; replica {} after {} {holes}", two[1], two[0])?;
                }
            }
            Voices::Changing(_) => {
                for (number, holes) in self.changes.iter().enumerate() {
                    write!(f, "; change {} {holes}", number + 1)?;
                }
            }
        }
        Ok(())
    }
}

/// What is missing at one place, over all series.
#[derive(Clone, Debug, Default)]
struct Holes {
    /// The longest time without a sample.
    gap_max_ms: i64,
    /// Samples that are missing in the series that has lost the most.
    scrapes_max: i64,
    /// Samples that are missing in all series together.
    samples: i64,
}

impl Holes {
    /// Takes in the time between two samples, between which a replica has itself `left_out` some.
    fn add(&mut self, gap_ms: i64, left_out: i64, scrape_ms: i64) {
        let scrapes = (rounded(gap_ms, scrape_ms) - 1).max(left_out).max(0);
        self.gap_max_ms = self.gap_max_ms.max(gap_ms);
        self.scrapes_max = self.scrapes_max.max(scrapes);
        self.samples += scrapes;
    }
}

impl fmt::Display for Holes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holes { gap_max_ms, scrapes_max, samples } = self;
        write!(f, "{samples} ({scrapes_max} scrapes at most, in {gap_max_ms} ms)")
    }
}

/// How many scrape intervals a time is, one and a half being one.
fn rounded(span_ms: i64, scrape_ms: i64) -> i64 {
    (span_ms + scrape_ms / 2 - 1).div_euclid(scrape_ms)
}

/// A series in short, for the message of a failure: of each unbroken run of scrapes its voice, its
/// scrapes, and its times since the first sample.
fn spell(samples: &[Sample]) -> String {
    let origin_ms = samples.first().map_or(0, |sample| sample.at_ms);
    let runs = samples.chunk_by(|a, b| a.voice() == b.voice() && a.scrape() + 1 == b.scrape()).map(
        |run| {
            let (first, last) = (run[0], run[run.len() - 1]);
            let (from_ms, to_ms) = (first.at_ms - origin_ms, last.at_ms - origin_ms);
            let (voice, from, to) = (first.voice(), first.scrape(), last.scrape());
            format!("{voice}#{from}-{to} at {from_ms}-{to_ms}")
        },
    );
    runs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;
    use crate::series::VOICE_STEP;

    /// One series of samples, each given by its voice, scrape and time.
    fn stored(samples: &[(u64, u64, i64)]) -> Series {
        let mut series = Series::default();
        let samples = samples.iter().map(|(voice, scrape, at_ms)| Sample {
            at_ms: *at_ms,
            value: (voice * VOICE_STEP + scrape) as f64,
        });
        series.add(&Json::read(r#"{"__name__":"hl_load"}"#), samples);
        series
    }

    /// Missing, out of turn, doubled, crowded, where replica 1 speaks before replica 2.
    fn faults(samples: &[(u64, u64, i64)], from_ms: i64, to_ms: i64) -> (i64, usize, usize, usize) {
        faults_of(samples, Voices::Exactly(&[1, 2]), from_ms, to_ms)
    }

    fn faults_of(
        samples: &[(u64, u64, i64)],
        voices: Voices,
        from_ms: i64,
        to_ms: i64,
    ) -> (i64, usize, usize, usize) {
        let expected = Expected { series: 1, voices, scrape_ms: 1000, from_ms, to_ms };
        Verdict::of(&stored(samples), &expected).faults()
    }

    const WHOLE: [(u64, u64, i64); 5] =
        [(1, 0, 1000), (1, 1, 2003), (2, 4, 3500), (2, 5, 4500), (2, 6, 5900)];

    #[test]
    fn the_judge_finds_no_fault_in_voices_that_follow_each_other() {
        assert_eq!(faults(&WHOLE, 1000, 5900), (0, 0, 0, 0));
        assert_eq!(faults(&WHOLE, 0, 7000), (0, 0, 0, 0));
    }

    #[test]
    fn the_judge_counts_what_is_missing_wherever_it_is() {
        let at_the_change = [(1, 0, 1000), (1, 1, 2000), (2, 5, 5400), (2, 6, 6400)];
        assert_eq!(faults(&at_the_change, 1000, 6400), (2, 0, 0, 0));
        let within = [(1, 0, 1000), (1, 1, 2000), (2, 2, 2600), (2, 5, 5600)];
        assert_eq!(faults(&within, 1000, 5600), (2, 0, 0, 0));
        // The time does not show it, for a scrape was late.
        let left_out = [(1, 0, 1000), (1, 1, 2300), (1, 3, 3000), (2, 4, 3600)];
        assert_eq!(faults(&left_out, 1000, 3600), (1, 0, 0, 0));
        // Nothing is left out, but the one who speaks has slept.
        let slept = [(1, 0, 1000), (1, 1, 2000), (1, 2, 9000), (2, 4, 9500)];
        assert_eq!(faults(&slept, 1000, 9500), (6, 0, 0, 0));
        assert_eq!(faults(&WHOLE, -2000, 5900), (2, 0, 0, 0), "before the first");
        assert_eq!(faults(&WHOLE, 1000, 8900), (2, 0, 0, 0), "after the last");
    }

    #[test]
    fn the_judge_finds_voices_that_overlap_and_what_is_there_twice() {
        let overlap =
            [(1, 0, 1000), (2, 1, 1500), (1, 1, 2000), (2, 2, 2500), (1, 2, 3000), (2, 3, 3500)];
        assert_eq!(faults(&overlap, 1000, 3500), (0, 1, 0, 1));
        let never_spoke = [(1, 0, 1000), (1, 1, 2000)];
        assert_eq!(faults(&never_spoke, 1000, 2000), (0, 1, 0, 0));
        let twice = [(1, 0, 1000), (1, 0, 1000), (2, 1, 2400)];
        assert_eq!(faults(&twice, 1000, 2400), (0, 0, 1, 0));
    }
    #[test]
    fn the_judge_finds_voices_that_change_more_often_than_seats() {
        let back = [(1, 0, 1000), (2, 1, 1900), (1, 2, 3000), (1, 3, 4000)];
        let faults = |times| faults_of(&back, Voices::Changing(times), 1000, 4000);
        assert_eq!(faults(2), (0, 0, 0, 0));
        assert_eq!(faults(3), (0, 0, 0, 0), "one had nothing to say");
        assert_eq!(faults(1), (0, 1, 0, 0));
        let twice = [(1, 0, 1000), (1, 0, 1000), (1, 1, 2000), (2, 1, 2000), (2, 2, 3000)];
        let (once, resent) = stored(&twice).once();
        assert_eq!(resent, 1, "of two of one time and value one is a resend");
        let expected = Expected {
            series: 1,
            voices: Voices::Changing(1),
            scrape_ms: 1000,
            from_ms: 1000,
            to_ms: 3000,
        };
        assert_eq!(Verdict::of(&once, &expected).doubled, 1, "another value is none");
    }
}
