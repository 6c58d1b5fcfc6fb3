//! The thread that keeps time: it beats all cores, looks at the silence of every promoted source
//! once a health tick, and notices a core that has stopped beating.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::limits::{BEAT, BEAT_MISSED, STANDSTILL};
use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::core::Handle;
use crate::io::log::Log;
use crate::io::orders::Word;
use crate::io::state_file::Keeper;
use crate::io::watch::Watch;
use crate::logic::election::{Candidate, Wish};
use crate::logic::progress::Window;
use crate::logic::view::{Event, Lead};
use crate::shared::memory::Memory;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::state::{Seat, SeatId, Seats};
use crate::shared::tuning::{Tuned, Tuning};

/// The keeper of time as it is started.
pub struct Control {
    /// Whom to beat.
    pub cores: Vec<Arc<Handle>>,
    /// The seats to look at.
    pub seats: Arc<Seats>,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// How often they are looked at, and with what patience.
    pub tuned: Tuned,
    /// The same as it was at the last beat.
    pub tuning: Arc<Tuning>,
    /// The memory for hand-overs.
    pub memory: Arc<Memory>,
    /// The conductor.
    pub conductor: Sender<Word>,
    /// Who writes down who is promoted.
    pub state: Option<Keeper>,
}

/// The keeper of time as it runs.
pub struct Running {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends the thread. Cores are not beaten any more: only after they have ended.
    pub fn stop(self) {
        drop(self.stop);
        // It has no panics of its own; without it there is nothing left to keep time for.
        let _ = self.thread.join();
    }
}

impl Control {
    /// Starts the thread.
    pub fn start(self) -> io::Result<Running> {
        let (stop, stopped) = bounded(1);
        let thread =
            thread::Builder::new().name("control".into()).spawn(move || self.run(&stopped))?;
        Ok(Running { stop, thread })
    }

    fn run(mut self, stopped: &Receiver<()>) {
        let mut watches = HashMap::new();
        let mut missed = vec![false; self.cores.len()];
        let mut next_tick = self.clock.now().after(self.tuning.tick);
        let mut last_beat = self.clock.now();
        let mut distrust_until = Millis(0);
        while let Err(RecvTimeoutError::Timeout) =
            stopped.recv_timeout(BEAT.min(self.tuning.tick).into())
        {
            let now = self.clock.now();
            self.tuning = self.tuned.load_full();
            if self.was_stopped(now, last_beat) {
                // What the sources sent meanwhile has not been read: their silence is our own.
                distrust_until = now.after(self.tuning.tick.times(2));
            }
            last_beat = now;
            // A tick may have become shorter.
            next_tick = next_tick.min(now.after(self.tuning.tick));
            let is_tick = now >= next_tick;
            let may_elect = now >= distrust_until;
            self.beat(&mut watches, now, may_elect, is_tick);
            for core in &self.cores {
                core.ring();
            }
            if is_tick {
                next_tick = now.after(self.tuning.tick);
                self.state.iter_mut().for_each(Keeper::look);
                self.watch(&mut missed, now);
            }
        }
        self.state.into_iter().for_each(Keeper::stop);
    }

    /// Whether this process, or one of its cores, has not run for a while.
    fn was_stopped(&self, now: Millis, last_beat: Millis) -> bool {
        let has_stood = |beat: Millis| now.since(beat) > STANDSTILL;
        // Relaxed: lone timestamps.
        has_stood(last_beat)
            || self
                .cores
                .iter()
                .any(|core| has_stood(Millis(core.load.beat.load(Ordering::Relaxed))))
    }

    fn beat(
        &self,
        watches: &mut HashMap<SeatId, Watch>,
        now: Millis,
        may_elect: bool,
        is_tick: bool,
    ) {
        let unix_now = self.clock.unix_now();
        let seats = self.seats.all();
        for seat in seats.values() {
            let watch = watches.entry(seat.id).or_default();
            watch.look(seat, now, unix_now);
            if is_tick {
                watch.tell_patience(seat, &self.tuning.expiry);
            }
            if may_elect {
                self.elect(seat, watch, now, is_tick);
            }
            self.release(seat, watch);
            if is_tick {
                self.forget(seat, watch.candidates(), now);
            }
        }
        if is_tick {
            self.memory.settle();
            watches.retain(|id, _| seats.values().any(|seat| seat.id == *id));
            drop(seats);
            self.seats.forget_empty();
        }
    }

    fn elect(&self, seat: &Arc<Seat>, watch: &Watch, now: Millis, is_tick: bool) {
        let wish = self.wish(seat, now);
        let group = |view| watch.group(view, wish, now, self.clock.unix_now());
        let event = group(**seat.view()).beat(&self.tuning.expiry, self.tuning.lag_max);
        self.publish(seat, event);
        if is_tick {
            let event = group(**seat.view()).tick(&self.tuning.expiry);
            self.publish(seat, event);
        }
    }

    /// What an operator wants that has not come about yet.
    fn wish(&self, seat: &Seat, now: Millis) -> Option<Wish> {
        let order = seat.order()?;
        let (wish, view) = (order.wish, **seat.view());
        let sits = view.promoted.is_some_and(|promoted| promoted.source == wish.source);
        if sits && view.grip == wish.grip {
            seat.end_order(&order);
            return None;
        }
        if now >= order.until || view.lead != Lead::Us {
            seat.end_order(&order);
            let name = seat.name(wish.source).map_or_else(String::new, |name| name.to_string());
            let group = String::from_utf8_lossy(&seat.group.group);
            let group = group.escape_debug();
            self.log.warn(&format!(
                "what an operator wants did not come about (source '{name}', group '{group}')"
            ));
            return None;
        }
        Some(wish)
    }

    fn publish(&self, seat: &Arc<Seat>, event: Option<(Event, Millis)>) {
        let Some((event, silence)) = event else { return };
        let Some(change) = seat.on_event(event, silence) else { return };
        if let Some(cause) = change.cause() {
            self.counters.add_promotion(cause);
        }
        for line in change.lines().into_iter().chain(change.grip()) {
            self.log.info(&line);
        }
        // It ends after this thread.
        let _ = self.conductor.send(Word::Changed(seat.clone()));
    }

    /// Says what the cores may let go of.
    fn release(&self, seat: &Seat, watch: &Watch) {
        let (view, pressure) = (**seat.view(), self.memory.pressure());
        let released = watch.release(view, self.tuning.window, pressure, self.clock.unix_now());
        let Some((mark, window)) = released else { return };
        seat.marks.raise_release(mark);
        if window == Window::Shrunk {
            self.counters.add(Counter::WindowShrunk, 1);
        }
    }

    /// A source that holds no connection, does not sit in the seat and has been silent for longer
    /// than any patience makes room for others.
    fn forget(&self, seat: &Seat, candidates: &[Candidate], now: Millis) {
        let promoted = seat.view().promoted.map(|promoted| promoted.source);
        let span = self.tuning.expiry.expiry_max.max(self.tuning.expiry.expiry);
        seat.forget(|source| {
            let candidate = candidates.iter().find(|c| c.heard.source == source.id);
            // One that a connection speaks for is not forgotten, whatever this says.
            Some(source.id) != promoted && candidate.is_none_or(|c| c.silence(now) >= span)
        });
    }

    /// Errors of a ring's wait do not surface anywhere else.
    fn watch(&self, missed: &mut [bool], now: Millis) {
        for (core, missed) in self.cores.iter().zip(missed) {
            // Relaxed: a lone timestamp.
            let beat = Millis(core.load.beat.load(Ordering::Relaxed));
            let is_missed = now.since(beat) >= BEAT_MISSED;
            if std::mem::replace(missed, is_missed) == is_missed {
                continue;
            }
            let (number, silence) = (core.index, now.since(beat));
            match is_missed {
                true => self.log.error(&format!("core {number} has not moved for {silence}")),
                false => self.log.warn(&format!("core {number} moves again")),
            }
        }
    }
}
