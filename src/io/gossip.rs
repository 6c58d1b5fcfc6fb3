//! The thread that speaks with the other nodes: datagrams in, datagrams out, and what follows for the
//! seats. What is decided is decided in `logic::cluster`.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::limits::{
    DATAGRAM_ROOM_BYTES, DATAGRAMS_PER_TURN, GOSSIP_TURN, LEAD_GIVEN_MAX, LEAVE_MAX,
    LEAVE_STEADY_MAX, MARKS_EVERY,
};
use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::io::leases::Leases;
use crate::io::log::Log;
use crate::io::resolver::Addresses;
use crate::io::seating::Seating;
use crate::logic::cluster::member::{Dropped, Member, Outcome, Setting};
use crate::logic::cluster::swim::{Change, Letter};
use crate::logic::source::GroupName;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::nodes::Nodes;
use crate::wire::cluster::seal::{DATAGRAM_BYTES_MAX, Nonce, Seal, Stamp};

/// The thread as it is started.
pub struct Gossip {
    /// Where datagrams come and go.
    pub socket: UdpSocket,
    /// The seal of the cluster.
    pub seal: Seal,
    /// What the member is made with.
    pub setting: Setting,
    /// The configured peers.
    pub peers: Vec<Addresses>,
    /// What follows for the seats.
    pub seating: Seating,
    /// The leases, if they come from an etcd.
    pub leases: Option<Leases>,
    /// The clock.
    pub clock: Clock,
    /// The log.
    pub log: Log,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// What it knows, for whoever asks.
    pub nodes: Arc<Nodes>,
}

/// The thread as it runs.
pub struct Running {
    leaves: Arc<AtomicBool>,
    stops: Arc<AtomicBool>,
    left: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Gives away what this node leads; returns when others lead it, or when it took too long.
    pub fn leave(&self) {
        // Relaxed: they guard no other data.
        self.leaves.store(true, Ordering::Relaxed);
        let patience = LEAVE_MAX.after(LEAVE_STEADY_MAX).after(Millis(1000));
        let _ = self.left.recv_timeout(patience.into());
    }

    /// Tells the others that this node goes, and ends the thread.
    pub fn stop(self) {
        self.stops.store(true, Ordering::Relaxed);
        // It has no panics of its own.
        let _ = self.thread.join();
    }
}

/// The thread's own.
struct Mouth {
    socket: UdpSocket,
    seal: Seal,
    stamp: Stamp,
    counters: Arc<Counters>,
}

impl Gossip {
    /// Starts the thread.
    pub fn start(self) -> io::Result<Running> {
        self.socket.set_nonblocking(true)?;
        make_room(&self.socket);
        let (leaves, stops) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (say_left, left) = bounded(1);
        let flags = (leaves.clone(), stops.clone());
        let thread = thread::Builder::new().name("gossip".into());
        let thread = thread.spawn(move || self.run(&flags.0, &flags.1, &say_left))?;
        Ok(Running { leaves, stops, left, thread })
    }

    fn run(self, leaves: &AtomicBool, stops: &AtomicBool, say_left: &Sender<()>) {
        let Gossip { socket, seal, setting, peers, clock, log, counters, nodes, .. } = self;
        let (mut seating, mut leases) = (self.seating, self.leases);
        // Two processes may begin at the same moment.
        let stamp = Stamp { process: RandomState::new().hash_one(setting.me), sequence: 0 };
        let mut mouth = Mouth { socket, seal, stamp, counters };
        let mut member = Member::new(setting, &[], clock.now());
        look_up(&mut member, &peers);
        let mut leaving = Leaving::default();
        let mut going: Vec<(GroupName, Millis)> = Vec::new();
        let mut too_many = false;
        let (mut next_look, mut next_release) = (Millis(0), Millis(0));
        // Relaxed: see `Running`.
        while !stops.load(Ordering::Relaxed) {
            mouth.wait(member.due().since(clock.now()).min(GOSSIP_TURN));
            let now = clock.now();
            mouth.listen(&mut member, now);
            // Relaxed: see `Running`. Who goes says how its seats stand now.
            let leaves = leaves.load(Ordering::Relaxed);
            if now >= next_look || leaves {
                next_look = now.after(GOSSIP_TURN);
                look_up(&mut member, &peers);
                seating.look(&mut member, now);
                let new = std::iter::from_fn(|| nodes.next_going());
                going.extend(new.map(|group| (group, now.after(LEAD_GIVEN_MAX))));
                give(&mut going, &mut member, &seating, now, &log);
            }
            member.on_time(now);
            // Before anybody hears of it.
            follow(&mut member, &mut seating, &mut leases, now);
            // After the seats know: what is given back may be another's at once.
            if let Some(it) = &mut leases {
                it.exchange(&mut member, now);
                // What a lease that is there, or lost, means for the seats is not to wait for a turn.
                follow(&mut member, &mut seating, &mut leases, now);
            }
            seating.set_until(&member);
            nodes.publish(member.is_settled(), member.others().iter().map(|node| node.address));
            if now >= next_release {
                next_release = now.after(MARKS_EVERY);
                seating.release(&member);
            }
            if member.are_too_many() != std::mem::replace(&mut too_many, member.are_too_many())
                && too_many
            {
                log.error("there are more nodes than --cluster-size says: nobody gets a lease");
            }
            let changes = member.take_changes();
            if !changes.is_empty() {
                seating.on_members(now);
            }
            for change in changes {
                match change {
                    Change::Up(node) => log.info(&format!("node up : '{}'", node.address)),
                    Change::Down(node) => log.info(&format!("node down : '{}'", node.address)),
                }
            }
            mouth.say(member.take_letters());
            if leaves && leaving.is_over(&mut member, seating.is_steady(), now) {
                let _ = say_left.try_send(());
            }
        }
        member.say_farewell(clock.now());
        mouth.say(member.take_letters());
        if let Some(leases) = leases {
            leases.stop();
        }
    }
}

/// Tells the seats, and whoever gives the leases, what follows.
fn follow(member: &mut Member, seating: &mut Seating, leases: &mut Option<Leases>, now: Millis) {
    let mut free = Vec::new();
    for outcome in member.take_outcomes() {
        match outcome {
            Outcome::Led(group, lead, standing) => {
                seating.on_led(member, &group, lead, standing, now);
            }
            Outcome::Free(key) => free.push(key),
        }
    }
    // All at once: each is asked for at the price of a look at all keys.
    if let Some(leases) = leases {
        leases.free(&free);
    }
}

/// As much room as may be had for datagrams that wait: of a flood those of other nodes are to survive.
fn make_room(socket: &UdpSocket) {
    use rustix::net::sockopt::{
        set_socket_recv_buffer_size as ask, set_socket_recv_buffer_size_force as force,
    };
    // Beyond the system's limit only root may; then the limit is what there is.
    let _ = force(socket, DATAGRAM_ROOM_BYTES).or_else(|_| ask(socket, DATAGRAM_ROOM_BYTES));
}

/// Tells it where its peers are now, and of how many that is not known.
fn look_up(member: &mut Member, peers: &[Addresses]) {
    let known: Vec<_> = peers.iter().map(Addresses::now).collect();
    let all: Vec<SocketAddr> = known.iter().flat_map(|of_one| of_one.iter().copied()).collect();
    member.set_peers(&all);
    member.set_peers_unknown(known.iter().filter(|of_one| of_one.is_empty()).count());
}

/// Gives groups to other nodes, each once no hand-over is under way in it: nobody else has what that sends
/// on.
fn give(
    going: &mut Vec<(GroupName, Millis)>,
    member: &mut Member,
    seating: &Seating,
    now: Millis,
    log: &Log,
) {
    going.retain(|(group, until)| {
        if seating.is_steady_in(group) {
            member.hand_over(group, now.after(LEAD_GIVEN_MAX), now);
            return false;
        }
        if now >= *until {
            log.warn("a group was not given to another node: a hand-over is under way in it");
        }
        now < *until
    });
}

/// How far this node has come with leaving.
#[derive(Default)]
struct Leaving {
    asked: Option<Millis>,
    began: Option<Millis>,
}

impl Leaving {
    /// Hand-overs that are under way are finished first: nobody else has what they send on.
    fn is_over(&mut self, member: &mut Member, is_steady: bool, now: Millis) -> bool {
        let asked = *self.asked.get_or_insert(now);
        if self.began.is_none() && (is_steady || now.since(asked) >= LEAVE_STEADY_MAX) {
            self.began = Some(now);
            member.leave(now);
        }
        self.began.is_some_and(|began| member.has_left() || now.since(began) >= LEAVE_MAX)
    }
}

impl Mouth {
    /// Waits until a datagram is there, but not longer than `patience`.
    fn wait(&self, patience: Millis) {
        let patience = Duration::from(patience);
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        // A signal ends the wait early, which does no harm.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn listen(&self, member: &mut Member, now: Millis) {
        // One byte more than the longest tells a longer one.
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        for _ in 0..DATAGRAMS_PER_TURN {
            let bytes = match self.socket.recv_from(&mut buffer) {
                Ok((bytes, _)) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier datagram met on its way.
                Err(_) => continue,
            };
            let counter = match self.seal.open(&buffer[..bytes]) {
                Err(_) => Counter::DatagramsForeign,
                Ok((stamp, payload)) => match member.on_datagram(stamp, &payload, now) {
                    Ok(()) => Counter::Datagrams,
                    Err(Dropped::Replayed) => Counter::DatagramsReplayed,
                    Err(Dropped::Unreadable) => Counter::DatagramsUnreadable,
                },
            };
            self.counters.add(counter, 1);
        }
    }

    fn say(&mut self, letters: Vec<Letter>) {
        for Letter { to, payload } in letters {
            self.stamp.sequence += 1;
            let mut nonce: Nonce = [0; 24];
            let dice = rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty());
            let sealed = dice.ok().and_then(|_| self.seal.seal(nonce, self.stamp, &payload));
            let sent = sealed.and_then(|datagram| self.socket.send_to(&datagram, to).ok());
            match sent {
                Some(bytes) => {
                    self.counters.add(Counter::DatagramsSent, 1);
                    self.counters.add(Counter::DatagramBytesSent, bytes as u64);
                }
                // A peer may not be there, or the way to it: it is told again.
                None => self.counters.add(Counter::DatagramsUnsent, 1),
            }
        }
    }
}
