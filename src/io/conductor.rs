//! The thread that leads hand-overs: a machine for each seat that has one, its words from the cores
//! and its orders to them. Bodies are read here, never on a core.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};

use crate::base::limits::BEAT;
use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::core::Handle;
use crate::io::log::Log;
use crate::io::orders::{Order, Word};
use crate::logic::cost::Cost;
use crate::logic::desk::Lens;
use crate::logic::handover::{Effect, Handover};
use crate::logic::source::SourceId;
use crate::logic::view::{Event, Lead, Stage, Turn};
use crate::shared::history::{History, Record};
use crate::shared::memory::Holding;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::state::{Seat, SeatId};
use crate::shared::tuning::Tuned;

/// The conductor as it is started.
pub struct Conductor {
    /// Whom to give orders to.
    pub cores: Vec<Arc<Handle>>,
    /// How long a hand-over stays open at most, and how large a body may be to be read.
    pub tuned: Tuned,
    /// What bodies are read with.
    pub lens: Lens,
    /// Its part of the memory for hand-overs.
    pub holding: Holding,
    /// The last hand-overs.
    pub history: Arc<History>,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// Its counters.
    pub counters: Arc<Counters>,
}

/// The conductor as it runs.
pub struct Running {
    stops: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// One seat that is, or was lately, handed over.
struct Led {
    seat: Arc<Seat>,
    handover: Handover,
    /// Who sat in it and who took it, by name: they may be forgotten before it is over.
    names: (String, String),
    bytes: usize,
}

/// The words to a conductor that is started later.
pub fn words() -> (Sender<Word>, Receiver<Word>) {
    // Not bounded by itself: see `Store::tell`.
    unbounded()
}

impl Running {
    /// Ends the thread, whatever is still to be done: the cores have ended before. It is told so and
    /// does not wait for its last word: a core that was not given the time to finish its requests
    /// leaves them behind, and with them its end of the channel.
    pub fn stop(self) {
        // Relaxed: it guards no other data.
        self.stops.store(true, Ordering::Relaxed);
        // It has no panics of its own.
        let _ = self.thread.join();
    }
}

impl Conductor {
    /// Starts the thread.
    pub fn start(self, heard: Receiver<Word>) -> io::Result<Running> {
        let stops = Arc::new(AtomicBool::new(false));
        let told = stops.clone();
        let thread = thread::Builder::new().name("conductor".into());
        let thread = thread.spawn(move || self.run(&heard, &told))?;
        Ok(Running { stops, thread })
    }

    fn run(mut self, heard: &Receiver<Word>, stops: &AtomicBool) {
        let mut led = HashMap::new();
        let mut is_busy = false;
        // Relaxed: see `Running::stop`.
        while !stops.load(Ordering::Relaxed) {
            let patience = if is_busy { Duration::ZERO } else { BEAT.into() };
            match heard.recv_timeout(patience) {
                Ok(word) => self.on_word(&mut led, word),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            loop {
                match heard.try_recv() {
                    Ok(word) => self.on_word(&mut led, word),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.lens.allow(self.tuned.load().decoded_bytes_max);
            is_busy = false;
            for led in led.values_mut() {
                is_busy |= self.lead(led);
            }
            led.retain(|_, led| {
                let is_over = led.handover.is_idle() || led.seat.is_forgotten();
                if is_over {
                    self.holding.change(led.bytes, 0);
                }
                !is_over
            });
        }
    }

    fn on_word(&mut self, all: &mut HashMap<SeatId, Led>, word: Word) {
        let led = all.entry(word.seat().id).or_insert_with(|| Led {
            seat: word.seat().clone(),
            handover: Handover::new(self.tuned.load().window),
            names: Default::default(),
            bytes: 0,
        });
        let now = self.clock.now();
        match word {
            Word::Changed(_) => self.on_changed(led, now),
            Word::Gathered(_, turn, core, gathered) => {
                let covered = led.seat.marks.covered();
                led.handover.on_gathered(turn, core, gathered, covered);
            }
            Word::Folded(_, kept) => led.handover.on_folded(kept),
            Word::Asked(_, id, voice, push) => led.handover.on_ask(id, voice, push),
            Word::Done(_, id, outcome) => led.handover.on_done(&mut self.lens, id, outcome),
            Word::Sent(_, outcome) => led.handover.on_sent(outcome, now),
        }
    }

    fn on_changed(&self, led: &mut Led, now: Millis) {
        let view = **led.seat.view();
        // It may have come under suspicion before this was looked at.
        if let Some(turn) = view.closed() {
            let before = led.handover.turn().map(|turn| turn.epoch);
            let (covered, cores) = (led.seat.marks.covered(), self.cores.len());
            led.handover.on_turn(turn, covered, cores, now);
            if led.handover.turn().map(|turn| turn.epoch) != before {
                let name = |source: Option<SourceId>| {
                    let name = source.and_then(|source| led.seat.name(source));
                    name.map_or_else(|| "-".to_owned(), |name| name.to_string())
                };
                let from = led.handover.turn().and_then(|turn| turn.from);
                led.names = (name(from), name(turn.to));
            }
        }
    }

    /// Does what is to be done for one seat; true if there is more at once.
    fn lead(&mut self, led: &mut Led) -> bool {
        let now = self.clock.now();
        // The word of a change may come after what followed from it.
        self.on_changed(led, now);
        if led.seat.view().lead != Lead::Us {
            led.handover.on_left();
        }
        if led.seat.view().stage == Stage::Steady {
            led.handover.on_released(led.seat.marks.covered());
        }
        let mut is_busy = false;
        while let Some(effect) = led.handover.poll(&mut self.lens, now) {
            is_busy = matches!(effect, Effect::Busy);
            self.carry_out(led, effect);
            if is_busy {
                break;
            }
        }
        let bytes = led.handover.bytes();
        self.holding.change(led.bytes, bytes);
        led.bytes = bytes;
        is_busy
    }

    fn carry_out(&self, led: &Led, effect: Effect) {
        let seat = &led.seat;
        match effect {
            Effect::Gather(turn, wanted) => {
                for core in &self.cores {
                    core.order(Order::Gather(seat.clone(), turn, wanted.clone()));
                }
            }
            Effect::Send(push) => {
                let place = seat.id.0 as usize % self.cores.len();
                self.cores[place].order(Order::Send(seat.clone(), push));
            }
            Effect::Tell(id, verdict) => {
                self.cores[id.core].order(Order::Tell(seat.clone(), id, verdict));
            }
            Effect::Open(turn, cost) => {
                for core in &self.cores {
                    core.order(Order::Replayed(seat.clone(), turn.to));
                }
                self.publish(seat, Event::Opened(turn.epoch));
                self.record(led, turn, cost);
            }
            Effect::Settle(turn) => self.publish(seat, Event::Settled(turn.epoch)),
            Effect::Busy => {}
        }
    }

    fn publish(&self, seat: &Seat, event: Event) {
        if seat.on_event(event, Millis(0)).is_some() {
            // Parked requests ask the view again.
            self.cores.iter().for_each(|core| core.ring());
        }
    }

    /// Logs and counts what a hand-over cost.
    fn record(&self, led: &Led, turn: Turn, cost: Cost) {
        let (from, to) = led.names.clone();
        let (group, at) = (led.seat.group.clone(), self.clock.unix_now());
        let record = Record { group, from, to, cause: turn.cause, at, cost };
        self.log.info(&record.to_string());
        self.history.add(record);
        let counts = [
            (Counter::HandOvers, 1),
            (Counter::Replayed, cost.replayed),
            (Counter::Skipped, cost.skipped),
            (Counter::Lost, cost.lost),
            (Counter::BridgedMillis, cost.bridged.0),
            (Counter::HandOverMillis, cost.duration.0),
            (Counter::Unreadable, cost.unreadable),
        ];
        for (counter, amount) in counts {
            self.counters.add(counter, amount);
        }
        if cost.unreadable > 0 {
            let bodies = cost.unreadable;
            self.log.warn(&format!("{bodies} held bodies could not be read, and were sent as is"));
        }
    }
}
