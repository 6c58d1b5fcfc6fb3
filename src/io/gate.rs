//! The way in for sources, where not everybody may come.
//!
//! A core never hashes a password: it knows those that were right, by their tag, and of the others it asks a
//! thread, which checks one at a time. Whoever guesses takes a thread's time, and none of the cores'.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::Guard;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::base::limits::{PASSWORD_DEADLINE, STRANGERS_MAX, STRANGERS_OF_ONE_MAX};
use crate::base::time::Millis;
use crate::io::access::{Access, Rules};
use crate::io::asks::Asks;
use crate::io::deadline::{Elapsed, Patience, Slot};
use crate::io::users::Stranger;
use crate::wire::http::reply::Refusal;

/// The way in, for all cores. The thread behind it ends when the last one has let go of it.
pub struct Gate {
    access: Access,
    strangers: Sender<Checking>,
    /// How many of them come from one address.
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

/// A password on its way to the thread.
struct Checking {
    stranger: Stranger,
    rules: Arc<Rules>,
    number: u64,
    back: Arc<Back>,
    /// Then nobody waits for it any more.
    until: Instant,
}

/// How a core is told.
struct Back {
    told: Sender<(u64, bool)>,
    bell: Box<dyn Fn() + Send + Sync>,
}

/// What else there is to do goes first; but a tenth of a processor that is never idle is left for it.
const NICE: i32 = 10;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Gate {
    /// Starts the thread.
    pub fn start(access: Access) -> io::Result<(Arc<Gate>, JoinHandle<()>)> {
        let (strangers, come) = bounded(STRANGERS_MAX);
        let gate = Arc::new(Gate { access, strangers, waiting: Mutex::default() });
        let behind = Arc::downgrade(&gate);
        let thread = std::thread::Builder::new().name("door".into());
        let thread = thread.spawn(move || check_all(&come, &behind))?;
        Ok((gate, thread))
    }

    /// The rules by which one comes in, as they were read last.
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.access.last()
    }

    /// Has a password checked: whether it is right.
    pub async fn check(
        &self,
        guests: &Guests,
        slot: &Slot,
        now: Millis,
        (stranger, rules, from): (Stranger, Arc<Rules>, IpAddr),
    ) -> Result<bool, Refusal> {
        let _place = Place::take(self, from).ok_or(Refusal::DoorBusy)?;
        let asked = guests.asks.open();
        let until = Instant::now() + Duration::from(PASSWORD_DEADLINE);
        let (number, back) = (asked.number, guests.back.clone());
        let checking = Checking { stranger, rules, number, back, until };
        self.strangers.try_send(checking).map_err(|_| Refusal::DoorBusy)?;
        let due = now.after(PASSWORD_DEADLINE);
        // When we end, nothing of the request has been taken.
        let told = slot.within(due, Patience::Idle, asked.told()).await;
        told.map_err(|Elapsed| Refusal::DoorBusy)
    }
}

/// A place among those of one address whose passwords wait to be checked.
struct Place<'g> {
    gate: &'g Gate,
    from: IpAddr,
}

impl<'g> Place<'g> {
    fn take(gate: &'g Gate, from: IpAddr) -> Option<Place<'g>> {
        let mut waiting = gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(from).or_default();
        if *count >= STRANGERS_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Place { gate, from })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.from);
            }
        }
    }
}

fn check_all(come: &Receiver<Checking>, gate: &Weak<Gate>) {
    // Whoever guesses is not to take from the cores. As it was, if that is not allowed.
    let _ = rustix::process::setpriority_process(None, NICE);
    loop {
        let checking = match come.recv_timeout(LOOK_EVERY) {
            Ok(checking) => Some(checking),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // The cores have ended, and what is left nobody waits for.
        let Some(gate) = gate.upgrade() else { return };
        checking.into_iter().filter(|it| Instant::now() < it.until).for_each(check);
        gate.access.look_if_due();
    }
}

fn check(Checking { stranger, rules, number, back, .. }: Checking) {
    let is_right = rules.users.check(stranger).is_some();
    // A core that has ended need not know.
    let _ = back.told.send((number, is_right));
    (back.bell)();
}

/// The passwords that one core waits to hear of.
pub struct Guests {
    back: Arc<Back>,
    told: Receiver<(u64, bool)>,
    asks: Asks<bool>,
}

impl Guests {
    /// None. After `bell` has rung, [`Guests::on_rung`] is to be called.
    pub fn new(bell: Box<dyn Fn() + Send + Sync>) -> Guests {
        // As many as may be asked for at a time.
        let (tell, told) = unbounded();
        Guests { back: Arc::new(Back { told: tell, bell }), told, asks: Asks::new() }
    }

    /// Wakes whoever waits for what was told since.
    pub fn on_rung(&self) {
        for (number, is_right) in self.told.try_iter() {
            // Who has waited too long does not wait any more.
            let _ = self.asks.tell(number, is_right);
        }
    }
}

/// Who has come, as far as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// The user whose password was right.
    pub user: Option<Rc<str>>,
    /// The name in a certificate that was verified.
    pub certificate: Option<Rc<str>>,
}
