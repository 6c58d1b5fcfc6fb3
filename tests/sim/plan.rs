//! What a seed makes happen.

use highlander::logic::view::Grip;
use highlander::wire::remote_write::protocol::Protocol;

use crate::dice::Dice;
use crate::endpoint::Mood;
use crate::mutation::Mutation;
use crate::sender::{Queue, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A Prometheus dies.
    Crash(usize, Queue),
    /// It begins anew.
    Restart(usize),
    /// It stands still, and goes on later where it was.
    Freeze(usize),
    Thaw(usize),
    /// It scrapes, and does not reach the proxy.
    Cut(usize),
    Mend(usize),
    /// It has another number of shards from now on.
    Reshard(usize, usize),
    /// It has another weight from now on.
    Weigh(usize, u64),
    /// An operator wants it in the seat.
    Want(usize, Grip),
    /// The endpoint's behaviour from now on.
    Endpoint(Mood),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub mutation: Mutation,
    pub cores: usize,
    pub interval: u64,
    /// From when to when each series is there.
    pub series: Vec<(u64, u64)>,
    pub sources: Vec<Source>,
    pub faults: Vec<(u64, Fault)>,
    /// When the faults have stopped.
    pub calm: u64,
    pub end: u64,
    pub hold_bytes_max: usize,
    /// What a core keeps of the delivered requests of a source that is alone.
    pub alone_bytes_max: usize,
    pub lag_max: Option<u64>,
    pub window: u64,
    pub dice: Dice,
}

/// The longest that a sample of a slow scrape comes late; less than the interval.
pub const SLOW_MAX: u64 = 3_000;

impl Plan {
    pub fn of(seed: u64, mutation: Mutation) -> Plan {
        let mut dice = Dice::new(seed);
        let interval = dice.one_of(&[1000, 1000, 5000]);
        let calm = 100_000 + 20 * interval;
        let mut plan = Plan {
            seed,
            mutation,
            cores: dice.between(1, 4) as usize,
            interval,
            series: Vec::new(),
            sources: Vec::new(),
            faults: Vec::new(),
            calm,
            end: calm + 40 * interval + 60_000,
            hold_bytes_max: dice.one_of(&[20_000, 20_000, 60_000, 10_000_000, 10_000_000]),
            alone_bytes_max: dice.one_of(&[4_000, 40_000, 1_000_000]),
            lag_max: if dice.chance(20) { Some(dice.between(10, 40) * 1000) } else { None },
            window: 30 * interval,
            dice: dice.clone(),
        };
        plan.make_sources(&mut dice);
        plan.make_series(&mut dice);
        plan.source_faults(&mut dice);
        match plan.sources[0].late {
            0 => plan.endpoint_faults(&mut dice),
            // Of a target that is found late, nobody knows that it is missing: only what is sent on
            // at once is not missed.
            _ => plan.hold_bytes_max = 10_000_000,
        }
        plan.changes(&mut dice);
        plan.orders(&mut Dice::new(seed ^ 0x004d_e4ed));
        plan.faults.sort_by_key(|(at, _)| *at);
        plan.dice = dice;
        plan
    }

    fn make_series(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(2, 6) {
            self.series.push((0, u64::MAX));
        }
        if let Some(joins) = self.joins().filter(|_| dice.chance(50)) {
            // What ended before a source joins is in its backlog.
            let to = joins.saturating_sub(dice.between(0, 30_000));
            self.series.push((0, to.max(5_000 + 4 * self.interval)));
        }
        if dice.chance(25) {
            let from = dice.between(0, self.calm);
            self.series.push((from, from + dice.between(5, 60) * self.interval));
        }
        if dice.chance(25) {
            self.series.push((dice.between(0, self.calm), u64::MAX));
        }
    }

    fn joins(&self) -> Option<u64> {
        self.sources.iter().map(|source| source.joins).max().filter(|joins| *joins > 0)
    }

    fn make_sources(&mut self, dice: &mut Dice) {
        let count = dice.one_of(&[2, 2, 2, 3, 3, 4]);
        let one_weight = dice.chance(50);
        let (shards, batch_max) = (dice.one_of(&[1, 1, 2, 3, 8]), dice.one_of(&[1, 1, 3, 8]));
        let batch_wait = dice.one_of(&[50, 50, 800, 5_000]);
        let slower = dice.one_of(&[0, 0, 600, 1_500, 3_000]);
        let (mixed, slow_percent) = (dice.between(0, 2), dice.one_of(&[0, 0, 2]));
        let late = if dice.chance(15) { dice.between(5_000, 12_000) } else { 0 };
        for number in 0..count {
            self.sources.push(Source {
                weight: if one_weight { 10 } else { [50, 10, 10, 20][number] },
                phase: dice.between(0, self.interval - 1),
                shards,
                protocol: match mixed {
                    0 => Protocol::V1,
                    1 => Protocol::V2,
                    _ => [Protocol::V1, Protocol::V2][number % 2],
                },
                batch_max,
                batch_wait,
                lag: if number == 0 { slower } else { 0 },
                slow_percent,
                joins: 0,
                late,
            });
        }
        if dice.chance(20) {
            let late = dice.between(0, 1) as usize;
            self.sources[late].joins = dice.between(5_000, 90_000);
        }
    }

    /// One source after the other is struck, never two at a time: what no replica has scraped and
    /// kept, nobody can hand over.
    fn source_faults(&mut self, dice: &mut Dice) {
        let mut at = dice.between(8, 14) * self.interval;
        if let Some(joins) = self.joins() {
            at = joins + dice.between(1, 40) * self.interval / 4;
        }
        while at + 30_000 < self.calm {
            let victim = if dice.chance(60) { 0 } else { dice.between(0, 1) as usize };
            // A source that misses a scrape or two has a gap of its own, which nobody can tell from
            // a target that was slow.
            let least = 2 * self.interval + 2_500;
            let length = match dice.between(0, 2) {
                0 => dice.between(least, least + 4_000),
                1 => dice.between(least, least + 12_000),
                _ => dice.between(least + 8_000, least + 25_000),
            };
            let (begin, end) = match dice.between(0, 99) {
                0..35 => (Fault::Freeze(victim), Fault::Thaw(victim)),
                35..50 => (Fault::Cut(victim), Fault::Mend(victim)),
                50..60 => (Fault::Crash(victim, Queue::Kept), Fault::Restart(victim)),
                _ => (Fault::Crash(victim, Queue::Lost), Fault::Restart(victim)),
            };
            self.faults.push((at, begin));
            self.faults.push((at + length, end));
            // A restarted source needs its first scrape before another may fail.
            at += length + dice.between(4, 12) * self.interval + 2_000 + self.sources[0].late;
        }
    }

    fn endpoint_faults(&mut self, dice: &mut Dice) {
        let mut at = dice.between(5, 20) * self.interval;
        while dice.chance(70) && at + 6 * self.interval < self.calm {
            let all = [Mood::Failing, Mood::Mute, Mood::Gone, Mood::Slow, Mood::Rejecting];
            let mood = dice.one_of(&all);
            let length = dice.between(500, 8000);
            self.faults.push((at, Fault::Endpoint(mood)));
            self.faults.push((at + length, Fault::Endpoint(Mood::Well)));
            at += length + dice.between(2, 15) * self.interval;
        }
    }

    /// What is no fault: somebody changes the configuration.
    fn changes(&mut self, dice: &mut Dice) {
        let (reshards, weighs) = (dice.chance(25), dice.chance(20));
        let mut at = dice.between(5, 20) * self.interval;
        while at < self.calm {
            let victim = dice.between(0, self.sources.len() as u64 - 1) as usize;
            if reshards && dice.chance(50) {
                let shards = dice.between(1, 8) as usize;
                self.faults.push((at, Fault::Reshard(victim, shards)));
            }
            if weighs && dice.chance(30) {
                self.faults.push((at, Fault::Weigh(victim, dice.one_of(&[5, 10, 30, 60]))));
            }
            at += dice.between(5, 30) * self.interval;
        }
    }

    /// Somebody steers.
    fn orders(&mut self, dice: &mut Dice) {
        if !dice.chance(40) {
            return;
        }
        let mut at = dice.between(5, 20) * self.interval;
        while at < self.calm {
            let wanted = dice.between(0, self.sources.len() as u64 - 1) as usize;
            let grip = dice.one_of(&[Grip::Loose, Grip::Pinned]);
            self.faults.push((at, Fault::Want(wanted, grip)));
            at += dice.between(3, 20) * self.interval;
        }
    }
}
