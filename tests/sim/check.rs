//! What must be true when the faults have stopped.

use std::collections::BTreeSet;

use crate::endpoint::{Endpoint, Series, Stored};
use crate::plan::{Plan, SLOW_MAX};
use crate::sender::Point;

/// The longest way of a request from its scrape to the proxy, in milliseconds.
const DELAY_MAX: i64 = 1_200;

/// With less memory than this a standby may be refused for long, and be behind.
const PLENTY_BYTES: usize = 50_000;
/// A sample that its source had to keep for so long was refused again and again.
const REFUSED_MIN: u64 = 5_000;

/// A sample that its source was told to be safe, and when that was decided.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub point: Point,
    pub decided: u64,
}

/// What has happened, as far as it is judged.
pub struct Record<'r> {
    pub plan: &'r Plan,
    pub endpoint: &'r Endpoint,
    pub acknowledged: &'r [Acknowledged],
    /// When each replica did not run, or did not reach the proxy.
    pub absent: &'r [Vec<(u64, u64)>],
    pub changes_max: usize,
    /// Who is promoted in the end, and since when.
    pub promoted: Option<usize>,
    pub changed: u64,
    /// When something was last delivered of which nothing was kept: nobody can say then what of the
    /// time before is missing, if the source dies before the low mark has come as far.
    pub thin: i64,
}

impl Record<'_> {
    /// See [`Record::is_covered`].
    pub fn check_covered(&self) -> Result<(), String> {
        for number in 0..self.plan.series.len() {
            let series = self.endpoint.series.get(&number);
            let series = series.ok_or_else(|| format!("series {number} never arrived"))?;
            self.is_covered(number, series)?;
        }
        Ok(())
    }

    /// See [`Record::is_whole`].
    pub fn check_whole(&self) -> Result<(), String> {
        for (number, series) in &self.endpoint.series {
            // A short series may have been there while the endpoint wanted nothing.
            if !series.stored.is_empty() || series.rejected.is_empty() {
                self.is_whole(*number, series)?;
            }
        }
        Ok(())
    }

    /// Everything acknowledged is stored, or a sample of another replica at most one interval away
    /// is. What was rejected the endpoint did not want. What was acknowledged when the endpoint had
    /// newer samples of the series already could not be stored any more by anybody: it is no
    /// promise, but a gap, see below.
    fn is_covered(&self, number: usize, series: &Series) -> Result<(), String> {
        let interval = self.plan.interval as i64;
        let all = series.stored.iter().map(|stored| stored.at);
        let times: BTreeSet<i64> = all.chain(series.rejected.iter().copied()).collect();
        let is_near = |at: i64| times.range(at - interval..=at + interval).next().is_some();
        let of_series = |it: &&Acknowledged| {
            it.point.series == number && !is_near(it.point.at) && it.point.at > self.thin
        };
        for Acknowledged { point, decided } in self.acknowledged.iter().filter(of_series) {
            let newer = series.stored.iter().find(|stored| stored.at > point.at);
            let is_late = newer.is_some_and(|newer| newer.when <= *decided);
            let is_young = newer.is_none() && point.at > self.plan.end as i64 - self.way();
            if !is_late && !is_young {
                return Err(format!(
                    "P2: {point:?} of {} was acknowledged at {decided} and is not covered: {:?}",
                    point.replica(),
                    around(series, point.at)
                ));
            }
        }
        Ok(())
    }

    /// No series has a gap that a replica which was there all the time could have filled, and none
    /// has more samples than one replica, one more at each change of its voice aside.
    fn is_whole(&self, number: usize, series: &Series) -> Result<(), String> {
        let interval = self.plan.interval as i64;
        let slow = match self.plan.sources.iter().any(|source| source.slow_percent > 0) {
            true => SLOW_MAX.min(self.plan.interval) as i64,
            false => 0,
        };
        // One voice ends and the next begins within an interval. What was longest on its way may come
        // too late for that.
        let wide = interval + DELAY_MAX + slow + self.wait();
        let times: BTreeSet<i64> = series.stored.iter().map(|stored| stored.at).collect();
        for pair in series.stored.windows(2).filter(|pair| pair[1].at - pair[0].at > wide) {
            self.is_nobodys(number, series, pair)?;
        }
        let (from, to) = self.plan.series[number];
        let (first, last) = (times.first(), times.last());
        let (first, last) = first.zip(last).ok_or("nothing is stored")?;
        let expected = ((last - first) / interval) as usize + 1;
        let (found, changes_max) = (times.len(), self.changes_max);
        if found > expected + changes_max + usize::from(to != u64::MAX) {
            return Err(format!(
                "series {number}: {found} samples, at most {expected}+{changes_max}"
            ));
        }
        let last = last.max(series.rejected.last().unwrap_or(last));
        let way = (self.way() as u64).max(4 * self.plan.interval);
        if (*last as u64) < to.min(self.plan.end) - (to - from).min(way) {
            return Err(format!("series {number} ended at {last}"));
        }
        let voice = series.stored.last().map(Stored::replica);
        let is_settled = (self.changed as i64) < self.plan.end as i64 - 2 * self.way();
        if to == u64::MAX && is_settled && voice != self.promoted {
            return Err(format!(
                "series {number} is {voice:?}'s in the end, and {:?} is promoted",
                self.promoted
            ));
        }
        Ok(())
    }

    /// When time ends, samples that are as young as this may still be on their way.
    fn way(&self) -> i64 {
        2 * self.plan.interval as i64 + 4 * DELAY_MAX + self.wait()
    }

    /// How long a sample may wait in its source.
    fn wait(&self) -> i64 {
        let waits = self.plan.sources.iter().map(|source| source.batch_wait + source.lag);
        waits.max().map_or(0, |wait| wait as i64)
    }

    /// A replica that ran and reached the proxy from before the gap until it was closed could have
    /// filled it.
    fn is_nobodys(&self, number: usize, series: &Series, pair: &[Stored]) -> Result<(), String> {
        let (from, to) = (pair[0].at, pair[1].at);
        if series.rejected.range(from..to).next().is_some() {
            return Ok(());
        }
        let missing = self.acknowledged.iter().find(|it| {
            let point = it.point;
            let is_there = self.absent[point.replica()]
                .iter()
                .all(|(begin, end)| *begin > pair[1].when || *end < from as u64);
            // What a source could not push, because there was no room, is in its own hands.
            let is_scarce = self.plan.hold_bytes_max < PLENTY_BYTES;
            let is_refused = is_scarce && it.decided >= point.at as u64 + REFUSED_MIN;
            let is_in_gap =
                point.series == number && from.max(self.thin) < point.at && point.at < to;
            is_in_gap && is_there && !is_refused
        });
        match missing {
            None => Ok(()),
            Some(missing) => Err(format!(
                "a gap of {} ms in series {number} from {pair:?}, {missing:?} of {} was there",
                to - from,
                missing.point.replica()
            )),
        }
    }

    /// For a trace.
    pub fn print(&self) {
        for (number, series) in &self.endpoint.series {
            let all: Vec<_> = series.stored.iter().map(|it| (it.at, it.replica())).collect();
            println!("{number}: {all:?}");
        }
    }
}

fn around(series: &Series, at: i64) -> Vec<Stored> {
    let place = series.stored.partition_point(|stored| stored.at < at);
    let end = (place + 1).min(series.stored.len());
    series.stored[place.saturating_sub(1)..end].to_vec()
}
