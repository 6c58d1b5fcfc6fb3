//! One run: a queue that is read, a dispatch, an endpoint, crashes.

use std::collections::{BTreeMap, BTreeSet};

use highlander::base::limits::RETRY_AFTER_MAX;
use highlander::base::time::{Millis, UnixMillis};
use highlander::logic::queue::ahead::{Ahead, Turn};
use highlander::logic::queue::claim::Claim;
use highlander::logic::queue::cursor::Cursor;
use highlander::logic::queue::dispatch::{Dispatch, Rule};
use highlander::logic::queue::setting::OutOfOrder;
use highlander::wire::queue::record::Label;
use highlander::wire::queue::sequence::{Sequence, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;

use crate::dice::Dice;
use crate::mutation::Mutation;

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    taken: u64,
    rejected: u64,
    failed: u64,
    put_off: u64,
    arrived_and_failed: u64,
    crashes: u64,
    repeated: u64,
    abreast: u64,
    barriers: u64,
    fresh: u64,
    passed: u64,
}

impl Seen {
    fn numbers(&mut self) -> [&mut u64; 11] {
        [
            &mut self.taken,
            &mut self.rejected,
            &mut self.failed,
            &mut self.put_off,
            &mut self.arrived_and_failed,
            &mut self.crashes,
            &mut self.repeated,
            &mut self.abreast,
            &mut self.barriers,
            &mut self.fresh,
            &mut self.passed,
        ]
    }

    pub fn with(mut self, mut other: Seen) -> Seen {
        for (sum, more) in self.numbers().into_iter().zip(other.numbers()) {
            *sum += *more;
        }
        self
    }

    pub fn assert_everything_happened(mut self) {
        assert!(self.numbers().into_iter().all(|number| *number > 0), "something never happened");
    }
}

#[derive(Clone, Debug)]
struct Record {
    source: u64,
    series: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Taken,
    Rejected,
    Failed(Option<u64>),
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    /// When the endpoint gets it, if it does.
    arrives: Option<u64>,
    ends: u64,
    end: End,
}

/// What is known of a record in this process.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    begun: bool,
    ended: bool,
    /// Not before then, and not much later than the second.
    pause: Option<(u64, u64)>,
}

pub struct World {
    dice: Dice,
    mutation: Mutation,
    pub rule: Rule,
    records: Vec<Record>,
    now: u64,
    dispatch: Dispatch,
    cursor: Cursor,
    ahead: Ahead,
    /// The last that was read in its turn.
    read: u64,
    /// What the mark says; a crash leaves it.
    mark: u64,
    flights: Vec<Flight>,
    known: BTreeMap<u64, Known>,
    fresh_waiting: BTreeSet<u64>,
    closed_until: u64,
    /// Of each series, the newest record that arrived.
    newest: BTreeMap<u64, u64>,
    arrived: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
    seen: Seen,
    is_faulty: bool,
}

impl World {
    pub fn new(seed: u64, mutation: Mutation) -> World {
        let mut dice = Dice::new(seed);
        let backoff_min = Millis(dice.one_of(&[1, 30, 200]));
        let is_free = dice.chance(25);
        let rule = Rule {
            out_of_order: if is_free { OutOfOrder::Allowed } else { OutOfOrder::Refused },
            in_flight_max: dice.one_of(&[1, 2, 4, 8]),
            backoff_min,
            backoff_max: Millis(backoff_min.0 * dice.one_of(&[1, 8, 50])),
        };
        let (universe, mut source) = (dice.between(2, 12), 1);
        let record = |_| {
            if dice.chance(8) {
                source = dice.between(1, 3);
            }
            let mut series: Vec<u64> =
                (0..dice.between(1, 3)).map(|_| dice.between(1, universe)).collect();
            series.sort_unstable();
            series.dedup();
            Record { source, series }
        };
        let records: Vec<Record> = (0..60).map(record).collect();
        World {
            dispatch: Dispatch::new(given_rule(rule, mutation), seed),
            cursor: Cursor::new(Sequence(0), 16),
            ahead: Ahead::default(),
            records,
            now: 1000,
            read: 0,
            mark: 0,
            flights: Vec::new(),
            known: BTreeMap::new(),
            fresh_waiting: BTreeSet::new(),
            closed_until: 0,
            newest: BTreeMap::new(),
            arrived: BTreeSet::new(),
            rejected: BTreeSet::new(),
            seen: Seen::default(),
            is_faulty: true,
            rule,
            mutation,
            dice,
        }
    }

    pub fn run(mut self) -> Result<Seen, String> {
        for _ in 0..self.dice.between(50, 400) {
            self.step()?;
            if self.dice.chance(2) {
                self.crash()?;
            }
        }
        self.is_faulty = false;
        for _ in 0..4000 {
            if self.mark == self.records.len() as u64 {
                return self.judge();
            }
            self.step()?;
        }
        Err(format!("only {} of {} are ever sent", self.mark, self.records.len()))
    }

    fn is_free(&self) -> bool {
        self.rule.out_of_order == OutOfOrder::Allowed
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += self.dice.one_of(&[0, 1, 5, 20, 100, 1000]);
        self.land()?;
        if self.dice.chance(70) {
            self.read_some();
        }
        if self.dice.chance(70) {
            // The thread of the queue turns: the mark is written, then what it says is told.
            self.mark = self.cursor.sent().0;
            let told = match self.mutation {
                Mutation::CoverTooMuch => self.cursor.sent().next(),
                _ => self.cursor.sent(),
            };
            self.dispatch.on_covered(told);
        }
        self.start_some()
    }

    fn read_some(&mut self) {
        for _ in 0..self.dice.between(1, 6) {
            let is_fresh = self.is_free() && self.dice.chance(30) && self.read_fresh();
            if is_fresh || !self.cursor.has_room() || self.read == self.records.len() as u64 {
                continue;
            }
            self.read += 1;
            let sequence = Sequence(self.read);
            let turn = match self.mutation {
                Mutation::ForgetAhead => Turn::New,
                _ => self.ahead.on_turn(sequence),
            };
            self.cursor.on_given(sequence, Sequence(1), 1);
            match turn {
                Turn::New => {
                    let (label, claim) = (self.label(self.read), self.claim(self.read));
                    self.dispatch.on_read(label, push(), claim);
                }
                Turn::Out => self.seen.passed += 1,
                Turn::Sent => {
                    self.seen.passed += 1;
                    self.cursor.on_sent(sequence);
                }
            }
        }
    }

    /// Gives one out that is far from its turn, if there is one.
    fn read_fresh(&mut self) -> bool {
        let number = self.dice.between(self.read + 3, self.read + 30);
        let is_new = !self.known.contains_key(&number) && !self.fresh_waiting.contains(&number);
        if !is_new || number > self.records.len() as u64 || !self.ahead.has_room() {
            return false;
        }
        self.ahead.on_given(Sequence(number), 1);
        if self.mutation != Mutation::HoldFresh {
            self.dispatch.on_fresh(self.label(number), push());
        }
        self.fresh_waiting.insert(number);
        self.seen.fresh += 1;
        true
    }

    fn record(&self, number: u64) -> &Record {
        &self.records[number as usize - 1]
    }

    fn label(&self, number: u64) -> Label {
        let source = match self.mutation {
            Mutation::ForgetSource => 1,
            _ => self.record(number).source,
        };
        let (sequence, time) = (Sequence(number), UnixMillis(number as i64));
        Label { sequence, time, source: SourceKey(source) }
    }

    fn claim(&self, number: u64) -> Claim {
        let mut series = self.record(number).series.clone();
        match self.mutation {
            Mutation::ForgetClaims => series.clear(),
            Mutation::ForgetOneSeries => drop(series.pop()),
            _ => {}
        }
        if self.dispatch.needs_claims() { Claim::of(series) } else { Claim::All }
    }

    fn start_some(&mut self) -> Result<(), String> {
        while let Some((sequence, _)) = self.dispatch.poll_start(Millis(self.now)) {
            self.on_start(sequence.0)?;
        }
        // Whatever has waited long enough is under way.
        let late = |(_, known): &(&u64, &Known)| {
            known.pause.is_some_and(|(_, latest)| latest.max(self.closed_until) <= self.now)
        };
        match self.known.iter().find(late) {
            Some((number, known)) => {
                Err(format!("{number} is not tried again at {}: {known:?}", self.now))
            }
            None => Ok(()),
        }
    }

    fn on_start(&mut self, number: u64) -> Result<(), String> {
        let is_fresh = self.fresh_waiting.remove(&number);
        let known = self.known.entry(number).or_default();
        if known.ended {
            return Err(format!("{number} had been sent, and is sent again"));
        }
        if !known.begun && !is_fresh && !self.fresh_waiting.is_empty() {
            return Err(format!("{number} is sent before what is fresh"));
        }
        if let Some((earliest, _)) = known.pause.take()
            && self.now < earliest
        {
            return Err(format!("{number} is tried again at {} before {earliest}", self.now));
        }
        known.begun = true;
        if self.now < self.closed_until {
            return Err(format!("{number} is sent before {}", self.closed_until));
        }
        self.judge_in_flight(number)?;
        let ends = self.now + self.dice.one_of(&[0, 1, 10, 100, 2000]);
        let arrives = self.dice.between(self.now, ends);
        let end = match self.dice.between(0, 99) {
            0..50 => End::Taken,
            _ if !self.is_faulty => End::Taken,
            50..60 => End::Rejected,
            60..90 => End::Failed(None),
            _ => End::Failed(Some(self.dice.one_of(&[0, 500, 10_000, RETRY_AFTER_MAX.0 * 9]))),
        };
        let arrives = match end {
            End::Taken | End::Rejected => Some(arrives),
            End::Failed(_) => self.dice.chance(40).then_some(arrives),
        };
        self.flights.push(Flight { number, arrives, ends, end });
        self.seen.abreast += u64::from(self.flights.len() > 1);
        Ok(())
    }

    fn judge_in_flight(&mut self, number: u64) -> Result<(), String> {
        let uncovered = self.known.iter().filter(|(it, known)| known.begun && **it > self.mark);
        let under_way = match self.is_free() {
            true => uncovered.filter(|(_, known)| !known.ended).count(),
            false => uncovered.count(),
        };
        if under_way > self.rule.in_flight_max {
            return Err(format!("{under_way} may be repeated after a crash"));
        }
        if self.is_free() {
            return Ok(());
        }
        let source = self.record(number).source;
        let other = (self.mark + 1..number).find(|it| self.record(*it).source != source);
        if let Some(other) = other {
            return Err(format!("{number} of {source} is sent although {other} is not covered"));
        }
        self.seen.barriers += u64::from(number > 1 && self.record(number - 1).source != source);
        Ok(())
    }

    /// What arrives or ends by now, in the order of its time.
    fn land(&mut self) -> Result<(), String> {
        let mut due: Vec<(u64, usize, u64)> = Vec::new();
        for flight in &self.flights {
            due.extend(flight.arrives.map(|at| (at, 0, flight.number)));
            due.push((flight.ends, 1, flight.number));
        }
        due.retain(|(at, ..)| *at <= self.now);
        due.sort_unstable();
        for (at, what, number) in due {
            let place = self.flights.iter().position(|flight| flight.number == number);
            let Some(place) = place else { continue };
            match what {
                0 => {
                    self.flights[place].arrives = None;
                    self.arrive(number)?;
                }
                _ => {
                    let flight = self.flights.swap_remove(place);
                    self.on_end(flight, at);
                }
            }
        }
        Ok(())
    }

    fn arrive(&mut self, number: u64) -> Result<(), String> {
        self.seen.repeated += u64::from(!self.arrived.insert(number));
        let is_free = self.is_free();
        for series in self.records[number as usize - 1].series.clone() {
            let newest = self.newest.entry(series).or_default();
            if number < *newest && !is_free {
                return Err(format!("of series {series}, {number} arrives after {newest}"));
            }
            *newest = number.max(*newest);
        }
        Ok(())
    }

    fn on_end(&mut self, flight: Flight, at: u64) {
        let sequence = Sequence(flight.number);
        let end = match (flight.end, self.mutation) {
            (End::Failed(_), Mutation::TakeFailureForSuccess) => End::Taken,
            (end, _) => end,
        };
        match end {
            End::Taken => self.seen.taken += 1,
            End::Rejected => {
                self.seen.rejected += 1;
                self.rejected.insert(flight.number);
            }
            End::Failed(asked) => return self.on_failure(flight.number, asked, at),
        }
        self.known.entry(flight.number).or_default().ended = true;
        self.dispatch.on_ended(sequence);
        if !self.ahead.on_sent(sequence) {
            self.cursor.on_sent(sequence);
        }
        if self.mutation == Mutation::CoverEarly {
            self.dispatch.on_covered(self.cursor.sent());
        }
    }

    fn on_failure(&mut self, number: u64, asked: Option<u64>, at: u64) {
        self.seen.failed += 1;
        self.seen.put_off += u64::from(asked.is_some());
        self.seen.arrived_and_failed += u64::from(self.arrived.contains(&number));
        let sequence = Sequence(number);
        let (min, max) = (self.rule.backoff_min.0, self.rule.backoff_max.0);
        let asked_ms = asked.map(|asked| asked.min(RETRY_AFTER_MAX.0));
        if let Some(asked) = asked_ms {
            self.closed_until = self.closed_until.max(at + asked);
        }
        let earliest = at + min.max(asked_ms.unwrap_or(0));
        let latest = at + max.max(asked_ms.map_or(0, |asked| asked + min));
        self.known.entry(number).or_default().pause = Some((earliest, latest));
        let asked = asked.map(Millis);
        match self.mutation {
            Mutation::ForgetFailure => {}
            Mutation::SkipBackoff => self.dispatch.on_failed(sequence, asked, Millis(0)),
            Mutation::SkipRetryAfter => self.dispatch.on_failed(sequence, None, Millis(at)),
            _ => self.dispatch.on_failed(sequence, asked, Millis(at)),
        }
    }

    /// The process is gone: what was under way arrives now or never.
    fn crash(&mut self) -> Result<(), String> {
        self.seen.crashes += 1;
        for flight in std::mem::take(&mut self.flights) {
            if flight.arrives.is_some() && self.dice.chance(50) {
                self.arrive(flight.number)?;
            }
        }
        let passed = match self.mutation {
            Mutation::RestartBehindRead => self.read,
            _ => self.mark,
        };
        self.mark = passed;
        self.read = passed;
        self.dispatch = Dispatch::new(given_rule(self.rule, self.mutation), self.dice.next());
        self.cursor = Cursor::new(Sequence(passed), 16);
        self.ahead = Ahead::default();
        self.known.clear();
        self.fresh_waiting.clear();
        self.closed_until = 0;
        Ok(())
    }

    fn judge(self) -> Result<Seen, String> {
        let there = |number: &u64| self.arrived.contains(number) || self.rejected.contains(number);
        match (1..=self.records.len() as u64).find(|number| !there(number)) {
            Some(lost) => Err(format!("{lost} is lost")),
            None => Ok(self.seen),
        }
    }
}

fn given_rule(rule: Rule, mutation: Mutation) -> Rule {
    let more = usize::from(mutation == Mutation::OneMoreInFlight);
    Rule { in_flight_max: rule.in_flight_max + more, ..rule }
}

fn push() -> Push {
    Push::new(Vec::new(), 0, Protocol::V1)
}
