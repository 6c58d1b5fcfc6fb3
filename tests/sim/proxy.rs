//! The cores and the conductor, as messages in time: the decisions are the production ones.

use std::collections::BTreeMap;

use highlander::base::limits::PARK_MAX;
use highlander::base::time::{Millis, Nanos, UnixMillis};
use highlander::logic::ask::{AskId, Outcome, Verdict};
use highlander::logic::cost::Cost;
use highlander::logic::desk::{Covered, Lens};
use highlander::logic::election::Wish;
use highlander::logic::handover::{Effect, Handover};
use highlander::logic::lookout::Glance;
use highlander::logic::pressure::Pressure;
use highlander::logic::shelf::{Gathered, Kept, Sent, Shelves};
use highlander::logic::source::{Payload, SourceId, Weight};
use highlander::logic::view::{Event, Fate, Fill, Grip, Stage, Turn, View, Voice};
use highlander::wire::remote_write::push::Push;
use highlander::wire::remote_write::series::SeriesHasher;

use crate::control::{Control, Traces};
use crate::message::{Then, describe};
use crate::mutation::{Mutation, without_replayed};
use crate::plan::Plan;
use crate::times::{first_of, span_of};
use crate::world::is_traced;

pub type Job = u64;
/// Replica, shard, ticket.
pub type Who = (usize, usize, u64);

/// Why a request is at the endpoint.
#[derive(Debug)]
enum Why {
    Forward { core: usize, who: Who, first: Option<UnixMillis>, is_thin: bool },
    Filtered { ask: AskId, who: Who },
    Replay,
}

/// A request whose last byte has been read.
#[derive(Clone, Debug)]
struct Came {
    push: Push,
    first: Option<UnixMillis>,
    is_held: bool,
}

pub struct Proxy {
    pub mutation: Mutation,
    pub hold_bytes_max: usize,
    pub alone_bytes_max: usize,
    pub view: View,
    pub shelves: Vec<Shelves>,
    pub handover: Handover,
    pub traces: Vec<Traces>,
    pub control: Control,
    lens: Lens,
    came: BTreeMap<u64, Came>,
    parked: Vec<(Who, u64)>,
    asks: BTreeMap<AskId, (Who, u64)>,
    jobs: BTreeMap<Job, (Why, Push)>,
    next: u64,
    folding: usize,
    /// When something was last delivered and not kept.
    pub thin: UnixMillis,
    /// When the last change of the seat was published.
    pub changed: u64,
    /// How often a series may have changed its voice.
    pub changes_max: usize,
    pub costs: Vec<(Turn, Cost)>,
    pub jobs_out: Vec<Job>,
    pub answers_out: Vec<(Who, u16)>,
    pub thens_out: Vec<Then>,
    /// What a mutation needs to know.
    told: Vec<(usize, Gathered)>,
    /// The largest request.
    batch_bytes: usize,
}

impl Proxy {
    pub fn new(plan: &Plan) -> Proxy {
        Proxy {
            mutation: plan.mutation,
            hold_bytes_max: plan.hold_bytes_max,
            alone_bytes_max: plan.alone_bytes_max,
            view: View::EMPTY,
            shelves: (0..plan.cores).map(|_| Shelves::default()).collect(),
            handover: Handover::new(Millis(plan.window)),
            traces: plan.sources.iter().map(Traces::of).collect(),
            control: Control::new(plan),
            lens: Lens::new(SeriesHasher::new(plan.seed), 1 << 20),
            came: BTreeMap::new(),
            parked: Vec::new(),
            asks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next: 0,
            folding: 0,
            thin: UnixMillis::MIN,
            changed: 0,
            changes_max: 0,
            costs: Vec::new(),
            jobs_out: Vec::new(),
            answers_out: Vec::new(),
            thens_out: Vec::new(),
            told: Vec::new(),
            batch_bytes: 0,
        }
    }

    pub fn push_of(&self, job: Job) -> Option<Push> {
        self.jobs.get(&job).map(|(_, push)| push.clone())
    }

    /// Whose live request it is.
    pub fn who_of(&self, job: Job) -> Option<Who> {
        match self.jobs.get(&job)? {
            (Why::Forward { who, .. } | Why::Filtered { who, .. }, _) => Some(*who),
            (Why::Replay, _) => None,
        }
    }

    /// For a trace.
    pub fn describe(&self, job: Job) -> String {
        self.jobs.get(&job).map_or_else(String::new, |(why, push)| {
            let points = crate::endpoint::read(push);
            let points = points.iter().map(|it| (it.series, it.at, it.replica()));
            format!("{why:?}: {:?}", points.collect::<Vec<_>>())
        })
    }

    /// A whole request has been read.
    pub fn on_request(&mut self, who: Who, push: Push, now: u64) {
        let (replica, shard, ticket) = who;
        self.traces[replica].last_heard = now;
        self.batch_bytes = self.batch_bytes.max(push.bytes_allocated());
        let first = self.look_at_first(replica, shard, &push, now);
        self.came.insert(ticket, Came { push, first, is_held: false });
        let heard = self.traces[replica].heard(replica);
        if self.judge(replica) == Fate::Contend {
            self.publish(Event::Heard(heard), Millis(0), now);
        }
        if let Some(promoted) = self.view.promoted
            && self.mutation == Mutation::ClaimAtOnce
            && promoted.weight < heard.weight
        {
            let at = promoted.source;
            self.publish(Event::Claimed { at, by: heard }, Millis(0), now);
        }
        self.decide(who, now, now);
    }

    /// An operator wants a source in the seat.
    pub fn on_wish(&mut self, replica: usize, grip: Grip, now: u64) {
        let source = SourceId(replica as u64);
        self.control.wish = Some(Wish { source, grip });
        if let Some(promoted) = self.view.promoted
            && self.mutation == Mutation::OrderAtOnce
        {
            let (at, by) = (promoted.source, self.traces[replica].heard(replica));
            self.publish(Event::Ordered { at, by, grip }, Millis(0), now);
        }
    }

    fn look_at_first(
        &mut self,
        replica: usize,
        shard: usize,
        push: &Push,
        now: u64,
    ) -> Option<UnixMillis> {
        let others = self.traces.iter().filter(|traces| traces.last_heard > 0).count() > 1;
        let traces = &mut self.traces[replica];
        let behind_max = traces.behind_max();
        let lookout = traces.lookouts.entry(shard).or_default();
        if !lookout.is_due(Millis(now)) {
            return None;
        }
        let Some(first) = first_of(push) else {
            lookout.on_none(Millis(now));
            return None;
        };
        let unix_now = UnixMillis(now as i64);
        let glance = lookout.on_first(first, behind_max, Millis(now), unix_now);
        let is_jump = match span_of(push).filter(|_| glance == Glance::Whole) {
            None => traces.on_seen(first, first, None),
            Some(span) => {
                let gap = (Millis(span.gap_ms), UnixMillis(span.gap_to_ms));
                let (oldest, newest) = (UnixMillis(span.oldest_ms), UnixMillis(span.newest_ms));
                traces.on_seen(oldest, newest, Some(gap))
            }
        };
        let source = SourceId(replica as u64);
        if is_jump && others && self.view.has_voice(source) {
            self.publish(Event::Suspected(source), Millis(0), now);
        }
        Some(first)
    }

    fn judge(&self, replica: usize) -> Fate {
        let weight = Weight(self.traces[replica].weight);
        self.view.judge(SourceId(replica as u64), weight, Payload::RemoteWrite)
    }

    fn decide(&mut self, who: Who, since: u64, now: u64) {
        let (replica, shard, ticket) = who;
        let Some(came) = self.came.get(&ticket).cloned() else { return };
        let core = (replica * 7 + shard) % self.shelves.len();
        let fate = self.judge(replica);
        match fate {
            Fate::Contend => {
                // Its weight has changed meanwhile.
                let heard = self.traces[replica].heard(replica);
                self.publish(Event::Heard(heard), Millis(0), now);
                match self.judge(replica) {
                    Fate::Contend => self.answer(who, 503, now),
                    _ => self.decide(who, since, now),
                }
            }
            Fate::Forward => self.forward(core, who, came, now),
            Fate::Park if self.mutation == Mutation::DoNotPark => {
                self.forward(core, who, came, now);
            }
            Fate::Hold => {
                let held = self.hold(core, who);
                self.answer(who, if held { 204 } else { 503 }, now);
            }
            Fate::Park if now - since >= PARK_MAX.0 => self.answer(who, 503, now),
            Fate::Park => self.parked.push((who, since)),
            Fate::Relay(_) => unreachable!("there is one node"),
            Fate::Filter(Voice::New) => self.ask(core, who, Voice::New, since, now),
            Fate::Filter(Voice::Old) if self.mutation == Mutation::LetOldTalk => {
                self.forward(core, who, came, now);
            }
            // All of it is held too: the new source may die before it has spoken.
            Fate::Filter(Voice::Old) => match self.hold(core, who) {
                true => self.ask(core, who, Voice::Old, since, now),
                false => self.answer(who, 503, now),
            },
            Fate::Take => self.answer(who, 503, now),
        }
    }

    pub fn taken(&self) -> usize {
        let shelves: usize = self.shelves.iter().map(Shelves::bytes).sum();
        shelves + self.handover.bytes() + self.folding
    }

    /// What the memory may hold at most: what is under way finds its place whatever comes.
    pub fn taken_max(&self) -> usize {
        let shards = self.traces.iter().map(|traces| traces.lookouts.len()).max().unwrap_or(0);
        self.hold_bytes_max * 13 / 10 + (self.batch_bytes + 100) * shards.max(1)
    }

    pub fn pressure(&self) -> Pressure {
        Pressure::of(self.taken(), self.hold_bytes_max)
    }

    fn hold(&mut self, core: usize, (replica, _, ticket): Who) -> bool {
        if self.mutation == Mutation::AcknowledgeBeforeHolding {
            return true;
        }
        let is_full = self.pressure() >= Pressure::Full || !self.control.reaches_back();
        let arrived = self.nanos();
        let Some(came) = self.came.get_mut(&ticket) else { return false };
        if came.is_held {
            return true;
        }
        if is_full {
            return false;
        }
        came.is_held = true;
        self.shelves[core]
            .hold(SourceId(replica as u64), Kept { arrived, push: came.push.clone() });
        true
    }

    /// The order of arrival.
    fn nanos(&mut self) -> Nanos {
        self.next += 1;
        Nanos(self.control.now * 1_000_000 + self.next % 1_000_000)
    }

    fn forward(&mut self, core: usize, who: Who, came: Came, now: u64) {
        if self.pressure() >= Pressure::Over {
            return self.answer(who, 503, now);
        }
        let Came { push, first, .. } = came;
        if self.mutation != Mutation::ForgetInFlight {
            self.shelves[core].on_sent(SourceId(who.0 as u64), first);
        }
        self.traces[who.0].in_flight += 1;
        let is_thin = self.shelves[core].is_thin();
        self.start(Why::Forward { core, who, first, is_thin }, push);
    }

    fn ask(&mut self, core: usize, who: Who, voice: Voice, since: u64, now: u64) {
        let Some(push) = self.came.get(&who.2).map(|came| came.push.clone()) else { return };
        self.next += 1;
        let id = AskId { core, number: self.next };
        self.asks.insert(id, (who, since));
        self.handover.on_ask(id, voice, push);
        self.conduct(now);
    }

    fn start(&mut self, why: Why, push: Push) {
        self.next += 1;
        self.jobs.insert(self.next, (why, push));
        self.jobs_out.push(self.next);
    }

    fn answer(&mut self, who: Who, status: u16, now: u64) {
        let traces = &mut self.traces[who.0];
        traces.last_answered = now;
        traces.refused = status >= 500;
        self.came.remove(&who.2);
        self.answers_out.push((who, status));
    }

    /// The endpoint's answer, or that there is none.
    pub fn on_returned(&mut self, job: Job, outcome: Outcome, now: u64) {
        let Some((why, push)) = self.jobs.remove(&job) else { return };
        let status = match outcome {
            Outcome::Acknowledged => 204,
            Outcome::Rejected => 400,
            Outcome::Doubtful | Outcome::Unsent => 503,
        };
        match why {
            Why::Forward { core, who, first, is_thin } => {
                match is_thin && self.shelves[core].may_leave(outcome) {
                    true => self.on_unkept(core, who, first, push.bytes_allocated(), now),
                    false => self.on_forwarded(core, who, first, push, outcome, now),
                }
                self.answer(who, status, now);
            }
            Why::Filtered { ask, who } => {
                self.traces[who.0].in_flight -= 1;
                self.handover.on_done(&mut self.lens, ask, outcome);
                self.answer(who, status, now);
            }
            Why::Replay => self.handover.on_sent(outcome, Millis(now)),
        }
        self.conduct(now);
    }

    fn on_unkept(
        &mut self,
        core: usize,
        who: Who,
        first: Option<UnixMillis>,
        bytes: usize,
        now: u64,
    ) {
        self.traces[who.0].in_flight -= 1;
        if self.mutation == Mutation::ForgetInFlight {
            self.shelves[core].on_sent(SourceId(who.0 as u64), first);
        }
        self.shelves[core].on_unkept(first, bytes, Millis(now));
        let dropped = self.nanos();
        self.thin = UnixMillis(now as i64);
        self.on_dropped(dropped);
        self.gather(core);
    }

    pub fn on_dropped(&mut self, dropped: Nanos) {
        if self.mutation != Mutation::ForgetReach {
            self.control.on_dropped(dropped);
        }
    }

    fn on_forwarded(
        &mut self,
        core: usize,
        who: Who,
        first: Option<UnixMillis>,
        push: Push,
        outcome: Outcome,
        now: u64,
    ) {
        self.traces[who.0].in_flight -= 1;
        if self.mutation == Mutation::ForgetInFlight {
            self.shelves[core].on_sent(SourceId(who.0 as u64), first);
        }
        let kept = Kept { arrived: self.nanos(), push };
        let sent = Sent { first, kept };
        match !outcome.is_certain() {
            true => drop(self.shelves[core].on_doubtful(sent, Millis(now), first_of)),
            false => self.shelves[core].on_acknowledged(sent, Millis(now)),
        }
        self.drop_delivered(core, now);
        if self.pressure() >= Pressure::Fold {
            let folded = self.shelves[core].take_delivered();
            self.folding += folded.iter().map(|kept| kept.push.bytes_allocated()).sum::<usize>();
            self.thens_out.push(Then::Fold(core, folded));
        }
        self.gather(core);
    }

    pub fn on_then(&mut self, then: Then, now: u64) {
        match then {
            Then::Ask(core, turn, wanted) => {
                self.shelves[core].on_asked(turn, wanted);
                self.gather(core);
            }
            Then::Gathered(core, turn, gathered) => {
                if self.mutation == Mutation::NoteNothing {
                    self.told.push((core, gathered.clone()));
                }
                let covered = self.control.covered();
                self.handover.on_gathered(turn, core, gathered, covered);
            }
            Then::Replayed(core, to) => self.shelves[core].on_replayed(to),
            Then::Fold(_, folded) => {
                self.folding -= folded.iter().map(|k| k.push.bytes_allocated()).sum::<usize>();
                if self.mutation != Mutation::ForgetFolded {
                    self.handover.on_folded(folded);
                }
            }
        }
        self.conduct(now);
    }

    fn gather(&mut self, core: usize) {
        let Some((turn, mut gathered)) = self.shelves[core].poll_gathered() else { return };
        if is_traced() {
            println!("core {core} gives {turn:?}: {}", describe(&gathered));
        }
        match self.mutation {
            Mutation::SkipFilter => gathered.delivered.clear(),
            Mutation::ForgetDoubtful => gathered.doubts.clear(),
            Mutation::SendOutOfOrder => {
                let all = gathered.held.iter_mut().flat_map(|(_, kept)| kept);
                all.for_each(|kept| kept.arrived = Nanos(u64::MAX - kept.arrived.0));
            }
            _ => {}
        }
        self.thens_out.push(Then::Gathered(core, turn, gathered));
    }

    /// Does what the machine wants done.
    pub fn conduct(&mut self, now: u64) {
        if let Stage::Closed(turn) = self.view.stage {
            let covered = match self.mutation {
                Mutation::DropFloor => Covered::NOTHING,
                _ => self.control.covered(),
            };
            self.handover.on_turn(turn, covered, self.shelves.len(), Millis(now));
        }
        while let Some(effect) = self.handover.poll(&mut self.lens, Millis(now)) {
            self.carry_out(effect, now);
        }
        for (who, since) in std::mem::take(&mut self.parked) {
            self.decide(who, since, now);
        }
    }

    fn carry_out(&mut self, effect: Effect, now: u64) {
        match effect {
            Effect::Gather(turn, wanted) => {
                for core in 0..self.shelves.len() {
                    self.thens_out.push(Then::Ask(core, turn, wanted.clone()));
                }
            }
            Effect::Send(push) => self.start(Why::Replay, push),
            Effect::Tell(id, verdict) => self.tell(id, verdict, now),
            Effect::Open(turn, cost) => {
                self.costs.push((turn, cost));
                for core in 0..self.shelves.len() {
                    self.thens_out.push(Then::Replayed(core, turn.to));
                }
                if self.mutation == Mutation::NoteNothing {
                    let told = std::mem::take(&mut self.told);
                    let covered = self.control.covered();
                    self.handover = without_replayed(turn, covered, told, &mut self.lens, now);
                }
                self.publish(Event::Opened(turn.epoch), Millis(0), now);
                if self.mutation == Mutation::SettleAtOnce {
                    self.publish(Event::Settled(turn.epoch), Millis(0), now);
                }
            }
            Effect::Settle(turn) => {
                self.publish(Event::Settled(turn.epoch), Millis(0), now);
            }
            Effect::Busy => {}
        }
    }

    fn tell(&mut self, id: AskId, verdict: Verdict, now: u64) {
        let waits = self.asks.remove(&id);
        let Some(((who, since), came)) =
            waits.and_then(|it| Some((it, self.came.get(&it.0.2)?.clone())))
        else {
            return self.handover.on_done(&mut self.lens, id, Outcome::Unsent);
        };
        let is_sent = matches!(verdict, Verdict::AsItIs | Verdict::Changed(_));
        self.traces[who.0].in_flight += usize::from(is_sent);
        match verdict {
            Verdict::Covered => self.answer(who, 204, now),
            Verdict::AsItIs => self.start(Why::Filtered { ask: id, who }, came.push),
            Verdict::Changed(push) => self.start(Why::Filtered { ask: id, who }, push),
            Verdict::Overtaken => self.decide(who, since, now),
        }
    }

    /// Those that have waited for too long are refused.
    pub fn refuse_late(&mut self, now: u64) {
        let late = self.asks.iter().filter(|(_, (_, since))| now - since >= PARK_MAX.0);
        let late: Vec<(AskId, Who)> = late.map(|(id, (who, _))| (*id, *who)).collect();
        for (id, who) in late {
            self.asks.remove(&id);
            self.answer(who, 503, now);
        }
    }

    pub fn publish(&mut self, event: Event, silence: Millis, now: u64) {
        if self.mutation == Mutation::IgnoreSuspicion && matches!(event, Event::Suspected(_)) {
            return;
        }
        let Some(next) = self.view.step(event, silence) else { return };
        self.view = next;
        if let (Mutation::SilenceOld, Stage::Open(turn)) = (self.mutation, next.stage) {
            self.view.stage = Stage::Open(Turn { keeper: None, ..turn });
        }
        if is_traced() {
            println!("{now}: {event:?} -> {next:?}");
        }
        if let Stage::Closed(turn) = next.stage
            && turn.epoch == next.epoch
        {
            self.changed = now;
            // A chain of voices where all fill a hole, one change else.
            self.changes_max += match turn.fill {
                Fill::FromHeir => 1,
                Fill::FromAll => self.traces.len(),
            };
            self.conduct(now);
        }
    }

    /// Whether a request of it is parked, or asks to be let out.
    pub fn is_waiting(&self, replica: usize) -> bool {
        self.parked.iter().any(|(who, _)| who.0 == replica)
            || self.asks.values().any(|(who, _)| who.0 == replica)
    }
}
