//! What a seed makes happen.

use highlander::io::seating::Mode;
use highlander::wire::remote_write::protocol::Protocol;

use crate::dice::Dice;
use crate::endpoint::Mood;
use crate::mutation::Mutation;
use crate::sender::{Queue, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node's process is killed: whoever speaks with it notices at once.
    Kill(usize),
    /// Its machine is gone: nobody answers any more.
    Vanish(usize),
    /// It begins anew.
    Start(usize),
    /// It stands still until then.
    Stop(usize, u64),
    /// Nothing goes from the one node to the other.
    Cut(usize, usize),
    /// All cuts are mended, all nodes and sources that have died begin anew.
    Mend,
    /// All nodes that have died begin anew.
    Revive,
    /// So many of a hundred datagrams are lost from now on.
    Lose(u64),
    /// A Prometheus dies.
    Crash(usize, Queue),
    /// It begins anew.
    Restart(usize),
    /// It stands still, and goes on later where it was.
    Freeze(usize),
    Thaw(usize),
    /// It has another number of shards from now on.
    Reshard(usize, usize),
    /// It scrapes, and does not reach anybody.
    Isolate(usize),
    Reach(usize),
    /// The endpoint's behaviour from now on.
    Endpoint(Mood),
    /// An operator has whoever leads give the group to another node.
    GiveAway,
    /// Whoever leads is killed, and the source in its seat dies with it.
    KillBoth,
    /// The next node whose conductor wants such a thing sent stands still before it is, for so long.
    StopBefore(Wants, u64),
}

/// What a conductor wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// What was held.
    SentOn,
    /// A live request.
    LetOut,
}

/// Where leases come from in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    Not,
    ByMajority,
}

/// What is promised of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Everything.
    All,
    /// A source and the leader die at once: what of the source only the leader can know may overlap.
    Pair,
    /// A source dies, and the leader stands still in the hand-over: what was held by it is lost to the
    /// others. Nobody sends who does not lead.
    Lead,
    /// Two sides may lead, and what that costs is counted.
    None,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub mutation: Mutation,
    pub mode: Mode,
    pub leased: Leased,
    pub promise: Promise,
    pub cores: usize,
    pub nodes: usize,
    /// How much faster each node's clock goes, in thousandths.
    pub drifts: Vec<i64>,
    /// How far each node's wall clock is off.
    pub skews: Vec<i64>,
    pub lost_percent: u64,
    pub interval: u64,
    pub series: Vec<(u64, u64)>,
    pub sources: Vec<Source>,
    pub faults: Vec<(u64, Fault)>,
    /// When the faults have stopped.
    pub calm: u64,
    pub end: u64,
    pub hold_bytes_max: usize,
    pub window: u64,
    pub dice: Dice,
}

/// How late the sample of a slow scrape would come; there is none here.
pub const SLOW_MAX: u64 = 3_000;
/// So many of a hundred datagrams are lost where a network is bad for a while.
pub const LOST_PERCENT_HEAVY: u64 = 30;
/// When the fault comes, at the earliest: leaders, rhythms and marks are known by then.
const FIRST: u64 = 24_000;
/// The same where a heavier source takes the seat and all nodes hold: the leader tells of no mark while
/// the hand-over is open and until the new source's is known. A leader that dies meanwhile leaves a
/// follower behind that knows what was delivered only from before, and has all that the new source held
/// then: it overlaps.
const FIRST_AFTER_CHANGE: u64 = 40_000;

impl Plan {
    pub fn of(seed: u64, mutation: Mutation) -> Plan {
        let mut dice = Dice::new(seed);
        let nodes = dice.one_of(&[2, 3, 3, 3, 5]);
        let is_leased = nodes > 2 && dice.chance(70);
        let interval = dice.one_of(&[1000, 1000, 2000]);
        let mut plan = Plan {
            mutation,
            mode: if dice.chance(50) { Mode::Relay } else { Mode::Mirror },
            leased: if is_leased { Leased::ByMajority } else { Leased::Not },
            promise: Promise::All,
            cores: dice.between(1, 2) as usize,
            nodes,
            drifts: (0..nodes).map(|_| dice.between(0, 20) as i64 - 10).collect(),
            skews: (0..nodes).map(|_| dice.between(0, 100) as i64 - 50).collect(),
            lost_percent: dice.one_of(&[0, 0, 1]),
            interval,
            series: Vec::new(),
            sources: Vec::new(),
            faults: Vec::new(),
            calm: 0,
            end: 0,
            hold_bytes_max: usize::MAX,
            window: 30_000,
            dice: dice.clone(),
        };
        plan.series = vec![(0, u64::MAX); dice.between(1, 4) as usize];
        plan.make_sources(&mut dice);
        plan.make_faults(&mut dice);
        plan.give_away(&mut Dice::new(seed ^ 0x61fe_a3a1));
        if dice.chance(15) {
            let shards = dice.between(1, 4) as usize;
            plan.faults.push((dice.between(10_000, FIRST), Fault::Reshard(0, shards)));
            plan.faults.sort_by_key(|(at, _)| *at);
        }
        plan.calm = plan.faults.iter().map(|(at, _)| *at).max().unwrap_or(FIRST);
        plan.end = plan.calm + 26_000 + 4 * interval;
        plan.dice = dice;
        plan
    }

    fn make_sources(&mut self, dice: &mut Dice) {
        let count = dice.one_of(&[2, 2, 3]);
        let one_weight = dice.chance(60);
        let (shards, batch_max) = (dice.one_of(&[1, 2, 3]), dice.one_of(&[1, 3, 8]));
        let batch_wait = dice.one_of(&[50, 50, 800]);
        for number in 0..count {
            self.sources.push(Source {
                weight: if one_weight { 10 } else { [50, 10, 10][number] },
                phase: dice.between(0, self.interval - 1),
                shards,
                protocol: if dice.chance(70) { Protocol::V1 } else { Protocol::V2 },
                batch_max,
                batch_wait,
                lag: 0,
                slow_percent: 0,
                joins: 0,
                late: 0,
            });
        }
    }

    fn make_faults(&mut self, dice: &mut Dice) {
        let is_changed = self.sources.iter().any(|it| it.weight != self.sources[0].weight);
        let is_mirrored = self.mode == Mode::Mirror;
        let first = if is_changed && is_mirrored { FIRST_AFTER_CHANGE } else { FIRST };
        let at = first + dice.between(0, 6_000);
        let node = dice.between(0, self.nodes as u64 - 1) as usize;
        let source = dice.between(0, self.sources.len() as u64 - 1) as usize;
        let length = dice.between(300, 12_000);
        // A source that misses a scrape or two has a gap of its own, which nobody can tell from a target
        // that was slow.
        let absence = length.max(2 * self.interval + 2_500);
        let (begin, end) = match dice.between(0, 99) {
            0..20 => (Fault::Kill(node), Fault::Start(node)),
            20..28 => (Fault::Vanish(node), Fault::Start(node)),
            28..46 => (Fault::Stop(node, at + length), Fault::Mend),
            46..64 => {
                self.cut(dice, at, node);
                (Fault::Lose(self.lost_percent), Fault::Mend)
            }
            64..69 => (Fault::Lose(LOST_PERCENT_HEAVY), Fault::Lose(self.lost_percent)),
            69..75 => {
                let queue = dice.one_of(&[Queue::Lost, Queue::Kept]);
                (Fault::Crash(source, queue), Fault::Restart(source))
            }
            75..79 => (Fault::Freeze(source), Fault::Thaw(source)),
            79..83 => (Fault::Isolate(source), Fault::Reach(source)),
            83..93 if is_mirrored => {
                self.promise = Promise::Pair;
                if dice.chance(50) {
                    // Whoever looks after the process starts it again at once.
                    self.faults.push((at + dice.between(300, 3_000), Fault::Revive));
                }
                (Fault::KillBoth, Fault::Mend)
            }
            93..95 => {
                self.promise = Promise::Lead;
                let wants = dice.one_of(&[Wants::SentOn, Wants::LetOut]);
                self.faults.push((at, Fault::StopBefore(wants, length.max(4_000))));
                // It stands still after the source has been missed, or lost.
                self.faults.push((at + 20_000 + absence, Fault::Mend));
                (Fault::Crash(source, Queue::Lost), Fault::Lose(self.lost_percent))
            }
            _ => {
                let all = [Mood::Failing, Mood::Mute, Mood::Gone, Mood::Slow, Mood::Rejecting];
                (Fault::Endpoint(dice.one_of(&all)), Fault::Endpoint(Mood::Well))
            }
        };
        self.faults.push((at, begin));
        let length = match begin {
            Fault::Crash(..) | Fault::Freeze(_) | Fault::Isolate(_) | Fault::KillBoth => absence,
            _ => length,
        };
        self.faults.push((at + length, end));
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// In one run of ten nothing goes wrong, but the lead is given from node to node.
    fn give_away(&mut self, dice: &mut Dice) {
        if !dice.chance(10) {
            return;
        }
        self.promise = Promise::All;
        self.faults.clear();
        let mut at = FIRST_AFTER_CHANGE;
        for _ in 0..dice.between(1, 4) {
            at += dice.between(500, 25_000);
            self.faults.push((at, Fault::GiveAway));
        }
    }

    /// A node, or one of its ways, is cut off from the others.
    fn cut(&mut self, dice: &mut Dice, at: u64, node: usize) {
        let others: Vec<usize> = (0..self.nodes).filter(|other| *other != node).collect();
        let other = dice.one_of(&others);
        let (to, from) = (|other: &usize| (node, *other), |other: &usize| (*other, node));
        let cuts: Vec<(usize, usize)> = match dice.between(0, 4) {
            0..2 => others.iter().flat_map(|it| [to(it), from(it)]).collect(),
            2 => others.iter().map(to).collect(),
            3 => others.iter().map(from).collect(),
            _ => vec![to(&other)],
        };
        self.faults.extend(cuts.into_iter().map(|(from, to)| (at, Fault::Cut(from, to))));
        if self.leased == Leased::Not {
            self.promise = Promise::None;
        }
    }
}
