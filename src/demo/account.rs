//! What the storage says of the run: stored, missing, overlapping, silent.
//!
//! All of it is counted from what arrived at the endpoint. The reference is the clock of the
//! scrapes: every sender scrapes each interval, so of each series one sample per interval should be
//! stored, whoever it comes from.

use std::collections::BTreeMap;

/// A sample as it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of its series, from 0 in the order the series were first seen.
    pub series: usize,
    /// The number of the sender that scraped it.
    pub sender: u32,
    /// When it was scraped, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// When it was stored, on the same clock.
    pub arrived_ms: i64,
}

/// The time for which samples are expected, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// The first scrape of the first sender, in milliseconds since 1970.
    pub start_ms: i64,
    /// The end of scraping, on the same clock.
    pub end_ms: i64,
    /// From one scrape of a sender to its next.
    pub interval_ms: i64,
}

/// The result.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Samples stored, from each sender by its number.
    pub stored: BTreeMap<u32, usize>,
    /// Scrapes of a series of which nothing is stored, over all series.
    pub missing: usize,
    /// Stored samples that should not be: not newer than what the series had, or from a second
    /// voice that speaks at the same time as the first.
    pub overlapping: usize,
    /// How long nobody was heard, all silences of more than one and a half intervals together.
    pub silence_ms: i64,
}

impl Account {
    /// Counts over `stored`, in the order of arrival, for a run in which `series` series are known.
    pub fn of(stored: &[Stored], series: usize, period: &Period) -> Account {
        let mut account = Account::default();
        let mut samples_of: Vec<Vec<Stored>> = vec![Vec::new(); series];
        for sample in stored {
            *account.stored.entry(sample.sender).or_default() += 1;
            // A series beyond those known would be the endpoint's mistake; it is counted anyway.
            if sample.series >= samples_of.len() {
                samples_of.resize(sample.series + 1, Vec::new());
            }
            samples_of[sample.series].push(*sample);
        }
        for samples in &samples_of {
            let times = samples.iter().map(|sample| sample.timestamp_ms);
            let gaps = gaps(times, period).into_iter();
            account.missing += gaps.map(|gap| scrapes_in(gap, period)).sum::<usize>();
            account.overlapping += overlapping(samples, period);
        }
        let arrivals = stored.iter().map(|sample| sample.arrived_ms);
        let gaps = gaps(arrivals, period).into_iter();
        account.silence_ms = gaps.filter(|gap| is_long(*gap, period)).sum();
        account
    }

    /// Samples stored, from all senders.
    pub fn stored_total(&self) -> usize {
        self.stored.values().sum()
    }
}

/// The spans between neighbours in time, the period's ends among them.
fn gaps(times: impl Iterator<Item = i64>, period: &Period) -> Vec<i64> {
    let mut times: Vec<i64> = times.chain([period.start_ms, period.end_ms]).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Beyond one and a half intervals. The half is left for lateness: after a change of voice the
/// next sample lies at another phase, but a healthy successor scrapes within one interval.
fn is_long(gap_ms: i64, period: &Period) -> bool {
    2 * gap_ms > 3 * period.interval_ms
}

/// How many scrapes fall into a gap: one for each whole interval after its beginning that lies more
/// than half an interval before its end. None for a gap that is not long.
fn scrapes_in(gap_ms: i64, period: &Period) -> usize {
    let doubled = 2 * gap_ms - period.interval_ms - 1;
    usize::try_from(doubled.div_euclid(2 * period.interval_ms)).unwrap_or(0)
}

/// Counts the samples of one series, in the order of arrival, that overlap with others.
///
/// A sample overlaps when it is not newer than all before it. That alone would let two voices
/// through whose scrapes alternate in time. So a sample also overlaps when its sender gets the
/// word back within one and a half of its own intervals: it had never stopped, and the samples of
/// the other in between were a second voice. A change of seat has one voice end before the next
/// begins; the first may come back later.
fn overlapping(samples: &[Stored], period: &Period) -> usize {
    let mut newest_ms = i64::MIN;
    let mut voice = None;
    let mut last_ms = BTreeMap::new();
    let mut count = 0;
    for sample in samples {
        let own_last = last_ms.insert(sample.sender, sample.timestamp_ms);
        let changes = voice.replace(sample.sender) != Some(sample.sender);
        let never_stopped =
            own_last.is_some_and(|last| !is_long(sample.timestamp_ms - last, period));
        count += usize::from(sample.timestamp_ms <= newest_ms || (changes && never_stopped));
        newest_ms = newest_ms.max(sample.timestamp_ms);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 1;
    const B: u32 = 2;

    /// Ten seconds with a scrape each.
    const PERIOD: Period = Period { start_ms: 0, end_ms: 10_000, interval_ms: 1000 };

    /// One series; each sample arrives as it is scraped.
    fn account(samples: &[(u32, i64)]) -> Account {
        let stored: Vec<Stored> = samples.iter().map(|(sender, ms)| stored(*sender, *ms)).collect();
        Account::of(&stored, 1, &PERIOD)
    }

    fn stored(sender: u32, timestamp_ms: i64) -> Stored {
        Stored { series: 0, sender, timestamp_ms, arrived_ms: timestamp_ms }
    }

    /// What `sender` scrapes at its phase in the seconds from `first` up to but without `end`.
    fn scrapes(sender: u32, phase_ms: i64, first: i64, end: i64) -> Vec<(u32, i64)> {
        (first..end).map(|second| (sender, second * 1000 + phase_ms)).collect()
    }

    #[test]
    fn one_voice_without_a_pause_is_all_well() {
        let account = account(&scrapes(A, 0, 0, 10));
        assert_eq!((account.missing, account.overlapping, account.silence_ms), (0, 0, 0));
        assert_eq!(account.stored, BTreeMap::from([(A, 10)]));
        assert_eq!(account.stored_total(), 10);
    }

    #[test]
    fn a_change_of_voice_and_one_back_later_are_all_well() {
        let samples = [scrapes(A, 0, 0, 3), scrapes(B, 400, 2, 7), scrapes(A, 0, 7, 10)].concat();
        let account = account(&samples);
        assert_eq!((account.missing, account.overlapping, account.silence_ms), (0, 0, 0));
    }

    #[test]
    fn an_empty_seat_is_missing_scrapes_and_silence() {
        // A is last heard at 2.0, B first at 7.4: nothing near 3, 4, 5, 6.
        let samples = [scrapes(A, 0, 0, 3), scrapes(B, 400, 7, 10)].concat();
        let account = account(&samples);
        assert_eq!((account.missing, account.overlapping, account.silence_ms), (4, 0, 5400));
    }

    #[test]
    fn a_gap_counts_from_one_and_a_half_intervals_on() {
        let cases = [(0, 0), (999, 0), (1000, 0), (1500, 0), (1501, 1), (2000, 1), (2500, 1)];
        let more = [(2501, 2), (3000, 2), (5400, 4), (5600, 5)];
        for (gap_ms, missing) in cases.into_iter().chain(more) {
            assert_eq!(scrapes_in(gap_ms, &PERIOD), missing, "{gap_ms} ms");
            assert_eq!(is_long(gap_ms, &PERIOD), missing > 0, "{gap_ms} ms");
        }
    }

    #[test]
    fn what_is_missing_at_either_end_counts_too() {
        assert_eq!(account(&scrapes(A, 0, 3, 10)).missing, 2, "1 and 2");
        assert_eq!(account(&scrapes(A, 0, 0, 6)).missing, 4, "6, 7, 8 and 9");
    }

    #[test]
    fn a_series_never_stored_is_missing_as_a_whole() {
        let stored: Vec<Stored> =
            scrapes(A, 0, 0, 10).iter().map(|(sender, ms)| stored(*sender, *ms)).collect();
        assert_eq!(Account::of(&stored, 3, &PERIOD).missing, 2 * 9);
        let nothing = Account::of(&[], 1, &PERIOD);
        assert_eq!((nothing.missing, nothing.silence_ms), (9, 10_000));
    }

    #[test]
    fn two_voices_at_a_time_overlap_although_their_timestamps_rise() {
        let mut samples = [scrapes(A, 0, 0, 10), scrapes(B, 400, 0, 10)].concat();
        samples.sort_by_key(|(_, ms)| *ms);
        let account = account(&samples);
        assert_eq!(account.overlapping, 20 - 2, "all but the first of each");
        assert_eq!(account.missing, 0);
    }

    #[test]
    fn one_sample_of_a_second_voice_overlaps() {
        let mut samples = scrapes(A, 0, 0, 10);
        samples.insert(4, (B, 3400));
        assert_eq!(account(&samples).overlapping, 1);
    }

    #[test]
    fn a_timestamp_that_does_not_rise_overlaps() {
        // B starts before where A had come to, with three samples A has covered.
        let late = [scrapes(A, 0, 0, 6), scrapes(B, 400, 2, 10)].concat();
        assert_eq!(account(&late).overlapping, 3);
        let twice = [(A, 0), (A, 1000), (A, 1000), (A, 2000)];
        assert_eq!(account(&twice).overlapping, 1);
        let back = [(A, 0), (B, 3000), (A, 2900), (A, 3900)];
        assert_eq!(account(&back).overlapping, 1);
    }

    #[test]
    fn series_are_counted_each_on_its_own() {
        let both = |ms| [stored(A, ms), Stored { series: 1, ..stored(A, ms) }];
        let all: Vec<Stored> = (0..10).flat_map(|second| both(second * 1000)).collect();
        let account = Account::of(&all, 2, &PERIOD);
        assert_eq!((account.missing, account.overlapping), (0, 0));
        assert_eq!(account.stored_total(), 20);
    }
}
