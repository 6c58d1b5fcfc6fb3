//! The bell of who sends from a queue: heard by its loop, rung by the queue, by its own tasks and by a clock.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, Sender, unbounded};

use crate::base::limits::BEAT;

/// Rings. Cheap to clone, and never blocks.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    stream: UnixStream,
    /// Whoever listens would begin something new.
    is_wanted: AtomicBool,
}

/// Where it is heard.
#[derive(Debug)]
pub struct Heard {
    /// The other end.
    pub stream: UnixStream,
    /// For whoever listens, to ring himself.
    pub bell: Bell,
    /// The same for his [`Deadlines`](crate::io::deadline::Deadlines).
    pub rung_by_deadlines: UnixStream,
}

impl Bell {
    /// A bell, and where it is heard.
    pub fn new() -> io::Result<(Bell, Heard)> {
        let (bell, stream) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let is_wanted = AtomicBool::new(true);
        let bell = Bell(Arc::new(Inside { stream: bell, is_wanted }));
        let rung_by_deadlines = bell.0.stream.try_clone()?;
        Ok((bell.clone(), Heard { stream, bell, rung_by_deadlines }))
    }

    /// Rings.
    pub fn ring(&self) {
        // A full pipe means that it will be heard anyway.
        let _ = (&self.0.stream).write(&[1]);
    }

    /// Rings if somebody wants to hear of something new, once.
    pub fn ring_if_wanted(&self) {
        // Sequentially consistent, as in `want`: what was given before this is seen by whoever wants it
        // after it, or this sees the wish.
        if self.0.is_wanted.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// From now on, what is new is wanted, or not. What came before has to be looked for after this.
    pub fn want(&self, is_wanted: bool) {
        self.0.is_wanted.store(is_wanted, Ordering::SeqCst);
    }
}

/// Rings when it was asked to. A loop of monoio without timers needs somebody who does.
#[derive(Debug)]
pub struct Alarm(Sender<Instant>);

impl Alarm {
    /// Starts its thread, which ends when this is dropped.
    pub fn start(bell: Bell) -> io::Result<Alarm> {
        let (ask, asked) = unbounded::<Instant>();
        thread::Builder::new().name("alarm".into()).spawn(move || {
            let mut due = None::<Instant>;
            loop {
                let next = match due {
                    None => asked.recv().map_err(RecvTimeoutError::from),
                    Some(due) => asked.recv_deadline(due),
                };
                match next {
                    Ok(at) => due = Some(due.map_or(at, |due| due.min(at))),
                    Err(RecvTimeoutError::Timeout) => {
                        due = None;
                        bell.ring();
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Alarm(ask))
    }

    /// Rings after so long. Of several times it keeps to the first: whoever hears it asks again.
    pub fn ring_in(&self, span: Duration) {
        // Beyond the next beat nobody need be asked; a core may leave half of one out.
        if span < Duration::from(BEAT) * 3 / 2 {
            let _ = self.0.send(Instant::now() + span);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_alarm_rings_each_time_that_it_is_asked_to_before_the_next_beat() {
        let (bell, mut heard) = Bell::new().expect("a pair of sockets");
        let alarm = Alarm::start(bell).expect("a thread");
        let patience = Some(Duration::from_secs(10));
        heard.stream.set_read_timeout(patience).expect("it is open");
        for _ in 0..3 {
            for span_ms in [90, 5, 60] {
                alarm.ring_in(Duration::from_millis(span_ms));
            }
            heard.stream.read_exact(&mut [0]).expect("it rings");
        }
    }
}
