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
use crate::logic::election::{self, Candidate};
use crate::logic::expiry::{Expiry, Rhythm};
use crate::logic::source::SourceId;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::state::{Seat, Seats};

/// The keeper of time as it is started.
pub struct Control {
    /// Whom to beat.
    pub cores: Vec<Arc<Handle>>,
    /// The seats to look at.
    pub seats: Arc<Seats>,
    /// How often.
    pub tick: Millis,
    /// When a source is lost.
    pub expiry: Expiry,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// Its counters.
    pub counters: Arc<Counters>,
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

    fn run(self, stopped: &Receiver<()>) {
        let mut rhythms = HashMap::new();
        let mut missed = vec![false; self.cores.len()];
        let beat = BEAT.min(self.tick);
        let mut next_tick = self.clock.now().after(self.tick);
        let mut last_beat = self.clock.now();
        let mut distrust_until = Millis(0);
        loop {
            match stopped.recv_timeout(beat.into()) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            for core in &self.cores {
                core.ring();
            }
            let now = self.clock.now();
            if self.was_stopped(now, last_beat) {
                // What the sources sent meanwhile has not been read: their silence is our own.
                distrust_until = now.after(self.tick.times(2));
            }
            last_beat = now;
            if now >= next_tick {
                next_tick = now.after(self.tick);
                self.tick(&mut rhythms, now, now >= distrust_until);
                self.watch(&mut missed, now);
            }
        }
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

    fn tick(&self, rhythms: &mut HashMap<SourceId, Rhythm>, now: Millis, may_elect: bool) {
        let mut remembered = HashMap::with_capacity(rhythms.len());
        for seat in self.seats.all().values() {
            let candidates = self.look(seat, rhythms, now);
            remembered.extend(candidates.iter().map(|c| (c.heard.source, c.rhythm)));
            if may_elect {
                self.elect(seat, &candidates, now);
            }
            self.forget(seat, &candidates, now);
        }
        self.seats.forget_empty();
        *rhythms = remembered;
    }

    fn look(
        &self,
        seat: &Seat,
        rhythms: &HashMap<SourceId, Rhythm>,
        now: Millis,
    ) -> Vec<Candidate> {
        let sources = seat.sources();
        // A source that has not sent a whole request yet has not been heard.
        let heard = sources.all.iter().filter(|source| source.presence().last_heard > Millis(0));
        heard
            .map(|source| {
                let presence = source.presence();
                let mut rhythm = rhythms
                    .get(&source.id)
                    .copied()
                    .unwrap_or_else(|| Rhythm::new(presence.last_heard));
                rhythm.on_look(now, presence.last_heard);
                Candidate { heard: source.heard(), presence, rhythm }
            })
            .collect()
    }

    fn elect(&self, seat: &Seat, candidates: &[Candidate], now: Millis) {
        let view = **seat.view();
        let Some((event, silence)) = election::tick(&view, candidates, now, &self.expiry) else {
            return;
        };
        if let Some(change) = seat.on_event(event, silence) {
            self.counters.add(Counter::Promotions, 1);
            for line in change.lines() {
                self.log.info(&line);
            }
        }
    }

    /// A source that holds no connection, does not sit in the seat and has been silent for longer
    /// than any patience makes room for others.
    fn forget(&self, seat: &Seat, candidates: &[Candidate], now: Millis) {
        let promoted = seat.view().promoted.map(|promoted| promoted.source);
        let span = self.expiry.expiry_max.max(self.expiry.expiry);
        seat.forget(|source| {
            let candidate = candidates.iter().find(|c| c.heard.source == source.id);
            Some(source.id) != promoted
                && candidate.is_none_or(|c| c.silence(now) >= span)
                && !source.presence().connected
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
