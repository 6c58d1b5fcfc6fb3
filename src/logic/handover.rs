//! The hand-over of one seat: from what the old source has delivered to what the new one may say.
//!
//! One machine per seat, for as long as there is something to remember. The order in which it lets data
//! out is its whole purpose: first what the endpoint may or may not have stored, then what was held,
//! then, as long as the new source has not spoken for every series, the live requests.
//!
//! A change in the middle begins anew with everything the cores keep. What was sent on meanwhile is
//! in the watermark, so it is skipped, not sent twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::limits::{BODIES_PER_TURN, DOUBTS_MAX, LOW_MARK_SPAN_MIN, SENDER_BACKOFF_MAX};
use crate::base::time::{Millis, Nanos, UnixMillis};
use crate::logic::ask::{Ask, AskId, Outcome, Verdict};
use crate::logic::cost::Cost;
use crate::logic::desk::{Covered, Desk, Lens, Noting, Passed, Sifted};
use crate::logic::line::{Former, line_up};
use crate::logic::sending::Sending;
use crate::logic::shelf::{Gathered, Kept, Wanted};
use crate::logic::view::{Cause, Epoch, Fill, Turn, Voice};
use crate::wire::remote_write::push::Push;

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Ask every core for what it keeps.
    Gather(Epoch, Wanted),
    /// Send this to the endpoint and tell how it ended.
    Send(Push),
    /// Tell the core that asked.
    Tell(AskId, Verdict),
    /// Publish that it is open, tell the cores that everything held was sent on, and what that cost.
    Open(Turn, Cost),
    /// Publish that it is over.
    Settle(Turn),
    /// Nothing yet, but there is more to do.
    Busy,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is handed over.
    Idle,
    /// The cores are to be asked.
    Asking,
    /// Waiting for what the cores keep, and for what was under way.
    Gathering,
    /// Reading what was delivered.
    Reading,
    /// Sending on.
    Replaying,
    /// Live requests are filtered.
    Open,
}

/// The machine.
#[derive(Debug)]
pub struct Handover {
    phase: Phase,
    turn: Option<Turn>,
    window: Millis,
    began: Millis,
    /// When the new source last repeated what was delivered, the keeper fell silent, or it opened.
    last_behind: Millis,
    /// Whether it has asked for anything to be let out.
    has_asked: bool,
    /// A request of the new source has to come again: what it repeats was filtered out of it.
    comes_again: bool,
    desk: Desk,
    /// Delivered requests that a core had no room for, not read yet.
    folding: VecDeque<Kept>,
    cores: BTreeSet<usize>,
    gathered: Gathered,
    /// The new sources of hand-overs that were overtaken before what they held was sent on, and when
    /// that was: what they push later may have a hole before it.
    former: Former,
    line: VecDeque<(Voice, Kept)>,
    /// Noted as delivered and not sent yet: before everything else, and as they are.
    first: VecDeque<(Push, u64)>,
    under_way: Option<Sending>,
    waiting: VecDeque<Ask>,
    out: BTreeMap<AskId, Ask>,
    /// Live requests of the new source that the endpoint may have without having said so.
    doubts: Vec<Kept>,
    newest_before: Option<UnixMillis>,
    forgotten: UnixMillis,
    cost: Cost,
}

/// How far the floor rises until the watermark is looked through for what it covers.
const FORGET_EVERY: Millis = Millis(10_000);

/// In this time each shard of a source that has something to send has spoken: it sends what is
/// there after five seconds, and tries again after five at most. If none has repeated anything, none
/// has anything left to repeat, of whatever series.
const ALL_HEARD: Millis = Millis(LOW_MARK_SPAN_MIN.0 + SENDER_BACKOFF_MAX.0);

impl Handover {
    /// Nothing has happened yet. The old source keeps its voice for `window` at most.
    pub fn new(window: Millis) -> Handover {
        Handover {
            phase: Phase::Idle,
            turn: None,
            window,
            began: Millis(0),
            last_behind: Millis(0),
            has_asked: false,
            comes_again: false,
            desk: Desk::new(),
            folding: VecDeque::new(),
            cores: BTreeSet::new(),
            gathered: Gathered::default(),
            former: Former::new(),
            line: VecDeque::new(),
            first: VecDeque::new(),
            under_way: None,
            waiting: VecDeque::new(),
            out: BTreeMap::new(),
            doubts: Vec::new(),
            newest_before: None,
            forgotten: UnixMillis::MIN,
            cost: Cost::default(),
        }
    }

    /// The view says that `turn` is closed. So much is known to be delivered.
    pub fn on_turn(&mut self, turn: Turn, covered: Covered, cores: usize, now: Millis) {
        if self.turn.is_some_and(|known| turn.epoch <= known.epoch) {
            return;
        }
        let is_sent = matches!(self.phase, Phase::Idle | Phase::Open);
        let before = self.turn.and_then(|before| before.to);
        // Whoever had the seat for so short a time that nothing was seen of it was overtaken too.
        let unseen = self.turn.and(turn.from).filter(|from| Some(*from) != before);
        for source in before.filter(|_| !is_sent).into_iter().chain(unseen) {
            self.former.insert(source, Nanos::from(now));
        }
        // A seat that was empty for a while is taken over from whoever sat in it last, if that was here.
        let before = self.turn.filter(|_| turn.cause != Cause::Lead);
        let from = turn.from.or(before.and_then(|before| before.from));
        self.turn = Some(Turn { from, ..turn });
        self.phase = Phase::Asking;
        self.began = now;
        self.cores = (0..cores).collect();
        self.desk.raise(covered);
        self.cost = Cost::default();
        self.gathered = Gathered::default();
        self.line.clear();
        if let Some(sending) = self.under_way.take_if(|sending| sending.due.is_some()) {
            self.first.push_front((sending.push, sending.points));
        }
    }

    /// A core gives what it keeps. It may have let go of something until then, which `covered` says.
    pub fn on_gathered(&mut self, turn: Epoch, core: usize, gathered: Gathered, covered: Covered) {
        let is_asked = self.phase == Phase::Gathering && self.is_turn(turn);
        if is_asked && self.cores.remove(&core) {
            self.desk.raise(covered);
            self.gathered.delivered.extend(gathered.delivered);
            self.gathered.doubts.extend(gathered.doubts);
            self.gathered.held.extend(gathered.held);
        }
    }

    /// Delivered requests that a core has no room for any more.
    pub fn on_folded(&mut self, delivered: Vec<Kept>) {
        self.folding.extend(delivered);
    }

    /// So much is covered by what the promoted source has delivered.
    pub fn on_released(&mut self, covered: Covered) {
        if self.phase != Phase::Idle {
            return;
        }
        self.desk.raise(covered);
        if covered.floor >= self.forgotten.after(FORGET_EVERY) {
            self.forgotten = covered.floor;
            self.desk.forget_below_floor();
        }
        if self.desk.is_empty() {
            self.doubts = Vec::new();
        }
    }

    /// Another node leads the group now: what was to be done is its business, what is under way comes to its
    /// end. What is known to be delivered stays so: what a hand-over lets out live is kept nowhere else.
    pub fn on_left(&mut self) {
        if self.phase == Phase::Idle && self.desk.is_empty() && self.under_way.is_none() {
            return;
        }
        // What is sent on is noted before it is sent.
        if !self.first.is_empty() || self.under_way.is_some() {
            (self.desk, self.forgotten) = (Desk::new(), UnixMillis::MIN);
        }
        self.phase = Phase::Idle;
        self.gathered = Gathered::default();
        self.former = Former::new();
        (self.line, self.first) = Default::default();
        self.doubts = Vec::new();
        // One that waits to be tried again is not tried any more.
        self.under_way.take_if(|sending| sending.due.is_some());
    }

    /// A live request asks to be let out.
    pub fn on_ask(&mut self, id: AskId, voice: Voice, push: Push) {
        self.waiting.push_back(Ask { id, voice, push });
    }

    /// A live request that was let out has come to its end.
    pub fn on_done(&mut self, lens: &mut Lens, id: AskId, outcome: Outcome) {
        let Some(ask) = self.out.remove(&id) else { return };
        self.comes_again |= matches!(outcome, Outcome::Unsent | Outcome::Doubtful);
        match (outcome, ask.voice) {
            (Outcome::Acknowledged | Outcome::Rejected, voice) => {
                // What can't be read was sent as it was.
                let _ = self.desk.note(lens, voice, &ask.push);
            }
            (Outcome::Unsent, _) => {}
            // The new source sends the same again, and until then nobody else has that voice; unless it
            // dies.
            (Outcome::Doubtful, Voice::New) => {
                let _ = self.desk.leave_to_new(lens, &ask.push);
                self.doubt(ask.push);
            }
            // The new source may speak for the same series next: it must be certain before.
            (Outcome::Doubtful, Voice::Old) => {
                let _ = self.desk.note(lens, Voice::Old, &ask.push);
                self.first.push_back((ask.push, 0));
            }
        }
    }

    fn doubt(&mut self, push: Push) {
        let is_known = self.doubts.iter().any(|doubt| doubt.push.is_same(&push));
        if !is_known && self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(Kept { arrived: Nanos::default(), push });
        }
    }

    /// What was being sent on has come to its end.
    pub fn on_sent(&mut self, outcome: Outcome, now: Millis) {
        let Some(mut sending) = self.under_way.take() else { return };
        match outcome {
            Outcome::Acknowledged => self.cost.replayed += sending.points,
            Outcome::Rejected => self.cost.lost += sending.points,
            Outcome::Doubtful | Outcome::Unsent => {
                sending.put_off(now);
                self.under_way = Some(sending);
                return;
            }
        }
        self.cost.bodies += 1;
    }

    /// The hand-over that it is at, or was at last.
    pub fn turn(&self) -> Option<Turn> {
        self.turn
    }

    /// Whether nothing is handed over and nothing is remembered.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
            && self.bytes() == 0
            && self.waiting.is_empty()
            && self.doubts.is_empty()
            && self.out.is_empty()
            && self.under_way.is_none()
    }

    /// What is remembered takes so much, as allocated: the watermark, and what is to be folded into
    /// it. What is sent on is kept by the cores.
    pub fn bytes(&self) -> usize {
        let folding: usize = self.folding.iter().map(|kept| kept.push.bytes_allocated()).sum();
        self.desk.bytes() + folding
    }

    /// What is to be done next; to be asked until there is nothing.
    pub fn poll(&mut self, lens: &mut Lens, now: Millis) -> Option<Effect> {
        if let Some(effect) = self.poll_retry(now) {
            return Some(effect);
        }
        if !self.folding.is_empty() {
            self.fold(lens);
            return Some(Effect::Busy);
        }
        if self.phase != Phase::Open
            && let Some(ask) = self.waiting.pop_front()
        {
            return Some(Effect::Tell(ask.id, Verdict::Overtaken));
        }
        match self.phase {
            Phase::Idle => None,
            Phase::Asking => self.ask_cores(),
            Phase::Gathering => {
                let is_complete =
                    self.cores.is_empty() && self.out.is_empty() && self.under_way.is_none();
                is_complete.then(|| {
                    self.phase = Phase::Reading;
                    Effect::Busy
                })
            }
            Phase::Reading => Some(self.read(lens)),
            Phase::Replaying => self.poll_replay(lens, now),
            Phase::Open => self.poll_open(lens, now),
        }
    }

    fn is_turn(&self, epoch: Epoch) -> bool {
        self.turn.is_some_and(|turn| turn.epoch == epoch)
    }

    fn poll_retry(&mut self, now: Millis) -> Option<Effect> {
        let sending = self.under_way.as_mut()?;
        sending.due.filter(|due| now >= *due)?;
        sending.due = None;
        Some(Effect::Send(sending.push.clone()))
    }

    fn fold(&mut self, lens: &mut Lens) {
        let dropped = self.desk.covered().dropped;
        let some = self.folding.len().min(BODIES_PER_TURN);
        for kept in self.folding.drain(..some).filter(|kept| kept.arrived >= dropped) {
            let _ = self.desk.note(lens, Voice::Old, &kept.push);
        }
        if self.folding.is_empty() {
            self.folding = VecDeque::new();
        }
    }

    fn ask_cores(&mut self) -> Option<Effect> {
        let turn = self.turn?;
        self.phase = Phase::Gathering;
        let wanted = match turn.fill {
            Fill::FromAll => Wanted::FromAll,
            Fill::FromHeir => Wanted::From(self.former.keys().copied().chain(turn.to).collect()),
        };
        Some(Effect::Gather(turn.epoch, wanted))
    }

    /// Reads some of what was delivered; with all of it read, the rest stands in line.
    fn read(&mut self, lens: &mut Lens) -> Effect {
        let dropped = self.desk.covered().dropped;
        let delivered = &mut self.gathered.delivered;
        let from = delivered.len().saturating_sub(BODIES_PER_TURN);
        for kept in delivered.drain(from..).filter(|kept| kept.arrived >= dropped) {
            // What can't be read was forwarded as it was, and is nobody's series.
            let _ = self.desk.note(lens, Voice::Old, &kept.push);
        }
        if delivered.is_empty() {
            self.stand_in_line();
            self.phase = Phase::Replaying;
        }
        Effect::Busy
    }

    fn stand_in_line(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        // They stay until all is sent: this hand-over may be overtaken before.
        gathered.doubts.extend(self.doubts.iter().cloned());
        self.line = line_up(gathered, self.turn, &self.former);
        self.desk.forget_who_spoke();
        self.newest_before = self.desk.newest();
        let held: usize = self.line.iter().map(|(_, kept)| kept.push.bytes_allocated()).sum();
        self.cost.peak_bytes = self.desk.bytes() + held;
    }

    fn poll_replay(&mut self, lens: &mut Lens, now: Millis) -> Option<Effect> {
        // While one is out the next is read: it is noted, and sent whatever happens.
        if self.first.is_empty() && !self.line.is_empty() {
            self.sift_some(lens);
            return Some(Effect::Busy);
        }
        if self.under_way.is_some() {
            return None;
        }
        if let Some(effect) = self.send_first() {
            return Some(effect);
        }
        self.phase = Phase::Open;
        self.doubts = Vec::new();
        self.last_behind = now;
        self.has_asked = false;
        self.former.clear();
        let newest = self.desk.newest().zip(self.newest_before);
        let bridged = newest.map_or(0, |(to, from)| u64::try_from(to.0 - from.0).unwrap_or(0));
        let duration = now.since(self.began);
        let cost = Cost { bridged: Millis(bridged), duration, ..self.cost };
        self.turn.map(|turn| Effect::Open(turn, cost))
    }

    fn send_first(&mut self) -> Option<Effect> {
        let (push, points) = self.first.pop_front()?;
        self.under_way = Some(Sending::new(push.clone(), points));
        Some(Effect::Send(push))
    }

    fn sift_some(&mut self, lens: &mut Lens) {
        for _ in 0..BODIES_PER_TURN {
            let Some((voice, kept)) = self.line.pop_front() else { return };
            let sifted = self.desk.sift(lens, voice, Noting::AtOnce, &kept.push);
            let Ok(Sifted { passed, points, skipped }) = sifted else {
                self.cost.unreadable += 1;
                return self.first.push_back((kept.push, 0));
            };
            self.cost.skipped += skipped;
            match passed {
                Passed::Nothing => {}
                Passed::All => return self.first.push_back((kept.push, points)),
                Passed::Some(push) => return self.first.push_back((push, points)),
            }
        }
    }

    fn poll_open(&mut self, lens: &mut Lens, now: Millis) -> Option<Effect> {
        if self.under_way.is_some() {
            return None;
        }
        if self.out.is_empty()
            && let Some(effect) = self.send_first()
        {
            return Some(effect);
        }
        if let Some(effect) = self.poll_ask(lens, now) {
            return Some(effect);
        }
        if std::mem::take(&mut self.comes_again) {
            self.last_behind = now;
        }
        let mut turn = self.turn?;
        let quiet = now.since(self.last_behind);
        if quiet >= self.window && turn.keeper.take().is_some() {
            // What it has said lately the new source may still repeat: the filter goes after it.
            (self.turn, self.last_behind) = (Some(turn), now);
            return None;
        }
        // With nobody else who has a voice, the new source only has to be done with what is old.
        let is_all_said = self.desk.unspoken() == 0 || turn.keeper.is_none() && self.has_asked;
        // A node that took the lead and has nothing to tell apart has nothing to filter.
        let is_nothing_known = turn.cause == Cause::Lead && self.desk.is_empty();
        let is_over = turn.to.is_none()
            || is_nothing_known
            || quiet >= self.window
            || quiet >= ALL_HEARD && is_all_said;
        if !is_over || !self.out.is_empty() || !self.waiting.is_empty() || !self.first.is_empty() {
            return None;
        }
        self.phase = Phase::Idle;
        Some(Effect::Settle(turn))
    }

    /// Requests of the new source go out side by side, one of the keeper alone: two voices for one
    /// series are never under way at once.
    fn poll_ask(&mut self, lens: &mut Lens, now: Millis) -> Option<Effect> {
        let old_is_out = self.out.values().any(|ask| ask.voice == Voice::Old);
        let may_go = match self.waiting.front()?.voice {
            Voice::New => !old_is_out && self.first.is_empty(),
            Voice::Old => self.out.is_empty() && self.first.is_empty(),
        };
        if !may_go {
            return None;
        }
        let ask = self.waiting.pop_front()?;
        self.has_asked |= ask.voice == Voice::New;
        if ask.voice == Voice::Old && self.turn.is_none_or(|turn| turn.keeper.is_none()) {
            return Some(Effect::Tell(ask.id, Verdict::Covered));
        }
        let verdict = match self.desk.sift(lens, ask.voice, Noting::Later, &ask.push) {
            Err(_) => Verdict::AsItIs,
            Ok(sifted) => {
                if ask.voice == Voice::New && sifted.skipped > 0 {
                    // It repeats what has been delivered: what it says next may be old too.
                    self.last_behind = now;
                }
                match sifted.passed {
                    Passed::Nothing => Verdict::Covered,
                    Passed::All => Verdict::AsItIs,
                    Passed::Some(push) => Verdict::Changed(push),
                }
            }
        };
        let push = match &verdict {
            Verdict::Covered | Verdict::Overtaken => None,
            Verdict::AsItIs => Some(ask.push.clone()),
            Verdict::Changed(push) => Some(push.clone()),
        };
        if let Some(push) = push {
            self.out.insert(ask.id, Ask { push, ..ask });
        }
        Some(Effect::Tell(ask.id, verdict))
    }
}

#[cfg(test)]
#[path = "handover_end_tests.rs"]
mod end_tests;
#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
