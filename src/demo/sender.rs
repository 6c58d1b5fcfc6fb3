//! A sender that behaves like a Prometheus: it scrapes by the clock, keeps what it scraped until it
//! is acknowledged, and sends one request at a time.
//!
//! One blocking thread does both. While it waits for an answer the scrapes that fall due are made
//! up for afterwards, with the timestamps they were due at: what they see does not change.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::Clock;
use super::message::Message;
use super::push::{Outcome, Profile, head, judge, scrape};

/// The longest wait for the proxy to take a connection or a request, or to answer. A Prometheus
/// waits for 30 s, which is longer than the demo.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why locking cannot fail.
const NOT_POISONED: &str = "no code that holds the lock panics";

/// What all senders have in common.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// The clock the scrapes go by.
    pub clock: Clock,
    /// The moment the intervals are counted from.
    pub start_ms: i64,
    /// From one scrape to the next.
    pub interval_ms: i64,
    /// How many series each scrape brings.
    pub series: usize,
}

/// What a sender has done, in samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent at least once.
    pub sent: usize,
    /// Answered with a 2xx.
    pub acknowledged: usize,
    /// Answered with what is not worth another try, and dropped.
    pub failed: usize,
    /// Requests sent once more.
    pub retries: usize,
}

impl Tally {
    /// Both together: those of a sender before and after its restart.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            sent: self.sent + other.sent,
            acknowledged: self.acknowledged + other.acknowledged,
            failed: self.failed + other.failed,
            retries: self.retries + other.retries,
        }
    }
}

/// A running sender.
pub struct Sender {
    control: Arc<Control>,
    thread: JoinHandle<Tally>,
}

impl Sender {
    /// Starts to scrape at the next moment of its phase, nothing older.
    pub fn start(profile: Profile, plan: Plan) -> Sender {
        let control = Arc::new(Control::default());
        let mut shipper = Shipper::new(profile, plan, Arc::clone(&control));
        Sender { control, thread: thread::spawn(move || shipper.run()) }
    }

    /// Ends it as a `kill -9` would: the connection is cut, what was not acknowledged is gone.
    pub fn kill(self) -> Tally {
        self.end(Order::Die)
    }

    /// Scrapes no more; what is left is sent until `deadline_ms`.
    pub fn finish(self, deadline_ms: i64) -> Tally {
        self.end(Order::Finish { deadline_ms })
    }

    fn end(self, order: Order) -> Tally {
        self.control.give(order);
        self.thread.join().unwrap_or_default()
    }
}

/// What a sender is told, and the connection to cut if it is told to die.
#[derive(Default)]
struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    order: Order,
    connection: Option<TcpStream>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Run,
    Finish {
        deadline_ms: i64,
    },
    Die,
}

impl Control {
    fn give(&self, order: Order) {
        let mut state = self.state.lock().expect(NOT_POISONED);
        state.order = order;
        if let (Order::Die, Some(connection)) = (order, state.connection.take()) {
            // An error means that it is cut already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    fn order(&self) -> Order {
        self.state.lock().expect(NOT_POISONED).order
    }

    /// Waits for a new order, at most so long.
    fn wait(&self, order: Order, patience: Duration) {
        let state = self.state.lock().expect(NOT_POISONED);
        let waited = self.changed.wait_timeout_while(state, patience, |it| it.order == order);
        drop(waited.expect(NOT_POISONED));
    }

    /// Makes a connection known, so that an order to die cuts it; an error if that was given.
    fn adopt(&self, connection: &TcpStream) -> Result<()> {
        let mut state = self.state.lock().expect(NOT_POISONED);
        if state.order == Order::Die {
            return Err(ErrorKind::Interrupted.into());
        }
        state.connection = Some(connection.try_clone()?);
        Ok(())
    }
}

/// A scrape on its way.
struct Batch {
    body: Vec<u8>,
    samples: usize,
    attempts: usize,
}

/// The thread's side of a sender.
struct Shipper {
    profile: Profile,
    plan: Plan,
    control: Arc<Control>,
    connection: Option<BufReader<TcpStream>>,
    /// What was scraped and is not acknowledged: a write-ahead log in memory.
    backlog: VecDeque<Batch>,
    next_scrape_ms: i64,
    next_attempt_ms: i64,
    tally: Tally,
}

impl Shipper {
    fn new(profile: Profile, plan: Plan, control: Arc<Control>) -> Shipper {
        let next_scrape_ms = next_scrape(&profile, &plan, plan.clock.now_ms());
        Shipper {
            profile,
            plan,
            control,
            connection: None,
            backlog: VecDeque::new(),
            next_scrape_ms,
            next_attempt_ms: 0,
            tally: Tally::default(),
        }
    }

    fn run(&mut self) -> Tally {
        loop {
            let order = self.control.order();
            let now_ms = self.plan.clock.now_ms();
            let wake_ms = match order {
                Order::Run => {
                    self.scrape_until(now_ms);
                    self.next_scrape_ms
                }
                Order::Finish { deadline_ms }
                    if now_ms < deadline_ms && !self.backlog.is_empty() =>
                {
                    deadline_ms
                }
                Order::Finish { .. } | Order::Die => return self.tally,
            };
            if self.backlog.is_empty() {
                self.control.wait(order, self.plan.clock.until(wake_ms));
            } else if now_ms < self.next_attempt_ms {
                let wake_ms = wake_ms.min(self.next_attempt_ms);
                self.control.wait(order, self.plan.clock.until(wake_ms));
            } else {
                self.attempt();
            }
        }
    }

    fn scrape_until(&mut self, now_ms: i64) {
        while self.next_scrape_ms <= now_ms {
            let body = scrape(&self.profile, self.plan.series, self.next_scrape_ms);
            self.backlog.push_back(Batch { body, samples: self.plan.series, attempts: 0 });
            self.next_scrape_ms += self.plan.interval_ms;
        }
    }

    /// Sends the oldest batch; the later ones wait behind it.
    fn attempt(&mut self) {
        let Some(mut batch) = self.backlog.pop_front() else { return };
        if batch.attempts == 0 {
            self.tally.sent += batch.samples;
        } else {
            self.tally.retries += 1;
        }
        batch.attempts += 1;
        let answer = self.exchange(&batch);
        if answer.as_ref().map_or(true, Message::closes) {
            self.connection = None;
        }
        match judge(answer.ok().as_ref(), batch.attempts) {
            Outcome::Acknowledged => self.tally.acknowledged += batch.samples,
            Outcome::Failed => self.tally.failed += batch.samples,
            Outcome::Again(wait_ms) => {
                self.next_attempt_ms = self.plan.clock.now_ms() + wait_ms;
                self.backlog.push_front(batch);
            }
        }
    }

    fn exchange(&mut self, batch: &Batch) -> Result<Message> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        let head = head(&self.profile, self.plan.proxy, batch.body.len(), batch.attempts);
        connection.get_mut().write_all(&[head.as_bytes(), &batch.body].concat())?;
        Message::read(connection)?.ok_or(ErrorKind::UnexpectedEof.into())
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.plan.proxy, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.control.adopt(&stream)?;
        Ok(BufReader::new(stream))
    }
}

/// The first moment at or after `now_ms` at which a sender scrapes.
fn next_scrape(profile: &Profile, plan: &Plan, now_ms: i64) -> i64 {
    let first_ms = plan.start_ms + profile.phase_ms;
    let late_ms = (now_ms - first_ms).max(0);
    let intervals = (late_ms + plan.interval_ms - 1) / plan.interval_ms;
    first_ms + intervals * plan.interval_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapes_keep_their_phase_through_a_restart() {
        let profile = Profile { name: "a", number: 3, weight: 50, phase_ms: 400 };
        let proxy = SocketAddr::from(([127, 0, 0, 1], 9091));
        let clock = Clock::start();
        let plan = Plan { proxy, clock, start_ms: 10_000, interval_ms: 1000, series: 2 };
        for (now_ms, next_ms) in
            [(0, 10_400), (10_000, 10_400), (10_400, 10_400), (10_401, 11_400), (26_250, 26_400)]
        {
            assert_eq!(next_scrape(&profile, &plan, now_ms), next_ms, "{now_ms}");
        }
    }
}
