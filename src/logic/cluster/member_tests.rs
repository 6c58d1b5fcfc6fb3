//! Whole members in a network that loses, delays, doubles and cuts: simulated, one seed at a time.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::*;
use crate::base::limits::{LEASE, LEASE_OVERDUE, SETTLE_MAX};

struct Sim {
    dice: Xoshiro256PlusPlus,
    now: Millis,
    size: usize,
    leases: LeaseKind,
    nodes: Vec<One>,
    mail: BTreeMap<(Millis, u64), (usize, Stamp, Vec<u8>)>,
    posted: u64,
    lost_percent: u32,
    late_max: u64,
    cut: BTreeSet<(usize, usize)>,
    /// The wall clock of who begins has gone back by so much.
    clock_back: u64,
    /// Times at which two nodes were told at once that they may lead one group.
    overlaps: Vec<Millis>,
    /// How long nobody has led, since when.
    unled: Vec<Millis>,
}

struct One {
    member: Option<Member>,
    lives: u64,
    sequence: u64,
    stopped_until: Millis,
    /// Its clock goes so much faster, in tenths of a percent.
    drift: i64,
}

/// What the wall clock says at first.
const CLOCK: u64 = 1_000_000_000;

fn address(place: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, place as u8 + 1], 6746))
}

fn group() -> GroupName {
    GroupName { tenant: Box::default(), group: (*b"g").into() }
}

impl Sim {
    fn new(seed: u64, size: usize, leases: LeaseKind) -> Sim {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let lost_percent = [0, 0, 5, 20][dice.random_range(0..4)];
        let node = |dice: &mut Xoshiro256PlusPlus| One {
            member: None,
            lives: 0,
            sequence: 0,
            stopped_until: Millis(0),
            drift: dice.random_range(-5..=5),
        };
        let nodes = (0..size).map(|_| node(&mut dice)).collect();
        let mut sim = Sim {
            dice,
            now: Millis(1000),
            size,
            leases,
            nodes,
            mail: BTreeMap::new(),
            posted: 0,
            lost_percent,
            late_max: 200,
            cut: BTreeSet::new(),
            clock_back: 0,
            overlaps: Vec::new(),
            unled: Vec::new(),
        };
        (0..size).for_each(|place| sim.start(place));
        sim
    }

    /// The time as a node's own clock has it.
    fn own_now(&self, place: usize) -> Millis {
        let now = self.now.0 as i64;
        Millis((now + now * self.nodes[place].drift / 1000) as u64)
    }

    fn start(&mut self, place: usize) {
        let now = self.own_now(place);
        let node = &mut self.nodes[place];
        node.lives += 1;
        node.sequence = 0;
        let me = Node { address: address(place), generation: CLOCK + self.now.0 - self.clock_back };
        let listen = SocketAddr::from(([10, 0, 0, place as u8 + 1], 9091));
        let (leases, settle_max) = (self.leases, SETTLE_MAX);
        let setting = Setting { me, listen, leases, settle_max, seed: self.dice.next_u64() };
        let peers: Vec<SocketAddr> = (0..self.size).map(address).collect();
        let mut member = Member::new(setting, &peers, now);
        member.on_wanted(&group(), now);
        node.member = Some(member);
    }

    fn step(&mut self) {
        self.now = self.now.after(Millis(10));
        while let Some(entry) = self.mail.first_entry().filter(|it| it.key().0 <= self.now) {
            let (to, stamp, payload) = entry.remove();
            let now = self.own_now(to);
            let node = &mut self.nodes[to];
            if self.now < node.stopped_until {
                // It waits in the socket.
                let due = node.stopped_until.after(Millis(1));
                self.posted += 1;
                self.mail.insert((due, self.posted), (to, stamp, payload));
                continue;
            }
            if let Some(member) = &mut node.member {
                // A replay is a replay.
                let _ = member.on_datagram(stamp, &payload, now);
            }
        }
        for place in 0..self.nodes.len() {
            let now = self.own_now(place);
            let node = &mut self.nodes[place];
            if self.now < node.stopped_until {
                continue;
            }
            let Some(member) = &mut node.member else { continue };
            member.on_time(now);
            member.take_outcomes();
            for Letter { to, payload } in member.take_letters() {
                node.sequence += 1;
                let stamp =
                    Stamp { process: node.lives << 8 | place as u64, sequence: node.sequence };
                let Some(to) = (0..self.size).find(|other| address(*other) == to) else { continue };
                let copies = if self.dice.random_range(0..50) == 0 { 2 } else { 1 };
                for _ in 0..copies {
                    let is_lost = self.dice.random_range(0..100) < self.lost_percent;
                    let late = [1, 1, 5, 30, 200][self.dice.random_range(0..5)].min(self.late_max);
                    if !is_lost && !self.cut.contains(&(place, to)) {
                        self.posted += 1;
                        let due = self.now.after(Millis(late));
                        self.mail.insert((due, self.posted), (to, stamp, payload.clone()));
                    }
                }
            }
        }
        let leaders = self.leaders();
        if leaders.len() > 1 {
            self.overlaps.push(self.now);
        }
        if leaders.is_empty() {
            self.unled.push(self.now);
        }
    }

    /// Who would send now: those that run, and those that have just woken and know nothing yet.
    fn leaders(&self) -> Vec<usize> {
        let leads = |place: &usize| {
            let now = self.own_now(*place);
            let member = self.nodes[*place].member.as_ref();
            member.is_some_and(|member| member.led().any(|led| now < led.until))
        };
        (0..self.nodes.len()).filter(leads).collect()
    }

    fn run(&mut self, span: Millis) {
        let until = self.now.after(span);
        while self.now < until {
            self.step();
        }
    }

    fn fail(&mut self) {
        let place = self.dice.random_range(0..self.size);
        let other = (place + self.dice.random_range(1..self.size)) % self.size;
        match self.dice.random_range(0..5) {
            0 => self.nodes[place].member = None,
            1 => {
                let span = self.dice.random_range(300..12_000);
                self.nodes[place].stopped_until = self.now.after(Millis(span));
            }
            2 => {
                for third in (0..self.size).filter(|third| *third != place) {
                    self.cut.extend([(place, third), (third, place)]);
                }
            }
            3 => self.cut.extend([(place, other)]),
            _ => {
                self.nodes[place].member = None;
                let span = self.dice.random_range(10..3000);
                self.run(Millis(span));
                self.start(place);
            }
        }
    }

    fn heal(&mut self) {
        self.cut.clear();
        (self.lost_percent, self.late_max) = (0, 30);
        for place in 0..self.size {
            if self.nodes[place].member.is_none() {
                self.start(place);
            }
        }
    }

    /// What each node says of itself and of the group, for a failure.
    fn told(&self) -> String {
        let mut told =
            format!("at {:?}, lost {} %, cut {:?}", self.now, self.lost_percent, self.cut);
        for node in &self.nodes {
            let Some(member) = &node.member else { continue };
            let others: Vec<u8> = member
                .others()
                .iter()
                .map(|other| match other.address.ip() {
                    std::net::IpAddr::V4(ip) => ip.octets()[3],
                    std::net::IpAddr::V6(_) => 0,
                })
                .collect();
            let standing = member.standing(&group()).map(|it| (it.term, it.leader));
            let wanted = member.wanted(self.now).len();
            told += &format!(
                "\n  {:?} settled {} others {others:?} says {:?} {standing:?} wants {wanted}",
                member.me(),
                member.is_settled(),
                member.lead(&group())
            );
        }
        told
    }

    /// One leader, and everybody says so.
    fn is_at_one(&self) -> bool {
        let leaders = self.leaders();
        let leads: BTreeSet<Option<SocketAddr>> = self
            .nodes
            .iter()
            .filter_map(|node| node.member.as_ref())
            .map(|member| match member.lead(&group()) {
                Lead::Us => Some(member.setting.listen),
                Lead::At(at) => Some(at),
                Lead::Nobody => None,
            })
            .collect();
        leaders.len() == 1 && leads.len() == 1 && !leads.contains(&None)
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let from = std::env::var("MEMBER_FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let count =
        std::env::var("MEMBER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(count);
    from..from + count
}

#[test]
fn whatever_fails_there_is_one_leader_soon_after_it_is_over_and_it_stays() {
    for seed in seeds(60) {
        let size = [2, 3, 5][seed as usize % 3];
        let leases =
            if size > 2 && seed % 2 == 0 { LeaseKind::Majority(size) } else { LeaseKind::None };
        let mut sim = Sim::new(seed, size, leases);
        sim.run(Millis(15_000));
        for _ in 0..3 {
            sim.fail();
            let span = sim.dice.random_range(100..15_000);
            sim.run(Millis(span));
        }
        sim.heal();
        sim.run(Millis(10_000).after(LEASE));
        assert!(sim.is_at_one(), "seed {seed}: {size} nodes, {leases:?}, {}", sim.told());
        let leader = sim.leaders();
        sim.run(Millis(10_000));
        assert!(
            sim.is_at_one() && sim.leaders() == leader,
            "seed {seed}: it does not stay {leader:?}: {}",
            sim.told()
        );
    }
}

#[test]
fn with_leases_two_never_lead_at_once() {
    for seed in seeds(60) {
        let size = [3, 5][seed as usize % 2];
        let mut sim = Sim::new(seed, size, LeaseKind::Majority(size));
        sim.run(Millis(15_000));
        for _ in 0..6 {
            sim.fail();
            let span = sim.dice.random_range(100..8000);
            sim.run(Millis(span));
            if sim.dice.random_range(0..2) == 0 {
                let (lost_percent, late_max) = (sim.lost_percent, sim.late_max);
                sim.heal();
                (sim.lost_percent, sim.late_max) = (lost_percent, late_max);
            }
        }
        sim.heal();
        sim.run(Millis(10_000));
        assert_eq!(sim.overlaps.first(), None, "seed {seed}");
        let leads = |until: &Millis| sim.unled.iter().any(|at| at == until);
        assert!(!leads(&sim.now), "seed {seed}: nobody leads {}", sim.told());
    }
}

#[test]
fn a_dead_leader_is_followed_within_two_seconds_half_of_the_time() {
    let mut spans = Vec::new();
    for seed in 0..40 {
        let mut sim = Sim::new(seed, 2 + seed as usize % 2, LeaseKind::None);
        sim.lost_percent = 0;
        sim.run(Millis(15_000 + seed * 37));
        let leader = sim.leaders()[0];
        sim.nodes[leader].member = None;
        let died = sim.now;
        while sim.leaders().is_empty() {
            sim.step();
        }
        spans.push(sim.now.since(died));
    }
    spans.sort_unstable();
    assert!(spans[20] < Millis(2000) && spans[39] < Millis(4000), "{spans:?}");
}

#[test]
fn a_leader_that_was_stopped_does_not_lead_on_waking() {
    for seed in 0..20 {
        let size = 2 + seed as usize % 2;
        let leases = if size == 3 { LeaseKind::Majority(3) } else { LeaseKind::None };
        let mut sim = Sim::new(seed, size, leases);
        sim.lost_percent = 0;
        sim.run(Millis(15_000));
        let leader = sim.leaders()[0];
        sim.nodes[leader].stopped_until = sim.now.after(LEASE).after(Millis(5000));
        sim.run(LEASE.after(Millis(15_000)));
        assert_eq!(sim.overlaps.first(), None, "seed {seed}");
        assert!(sim.is_at_one() && sim.leaders() != [leader], "seed {seed}");
    }
}

#[test]
fn a_leader_that_stood_still_for_a_moment_hears_out_who_suspects_it() {
    // In 1281 one of the others takes it for dead, and the third has not heard of that yet.
    for seed in seeds(100).chain(1281..1282) {
        let mut sim = Sim::new(seed, 2 + seed as usize % 2, LeaseKind::None);
        sim.lost_percent = 0;
        sim.run(Millis(15_000));
        let leader = sim.leaders()[0];
        let span = sim.dice.random_range(900..1800);
        sim.nodes[leader].stopped_until = sim.now.after(Millis(span));
        sim.run(Millis(10_000));
        assert_eq!(sim.overlaps.first(), None, "seed {seed}: stopped for {span} ms");
        assert!(sim.is_at_one(), "seed {seed}: {}", sim.told());
    }
}

#[test]
fn a_leader_that_is_stopped_does_not_lead_any_more_when_others_take_it_for_dead() {
    for seed in seeds(100) {
        let mut sim = Sim::new(seed, 2 + seed as usize % 2, LeaseKind::None);
        // Of a hundred probes one fails: it may be suspected already.
        sim.lost_percent = 1;
        sim.run(Millis(15_000));
        let Some(leader) = sim.leaders().first().copied() else { continue };
        sim.overlaps.clear();
        sim.nodes[leader].stopped_until = sim.now.after(Millis(20_000));
        sim.run(Millis(900));
        assert_eq!(sim.overlaps.first(), None, "seed {seed}");
    }
}

#[test]
fn who_has_missed_that_a_group_is_led_asks_and_hears_of_it() {
    for seed in seeds(20) {
        let mut sim = Sim::new(seed, 3, LeaseKind::None);
        (sim.lost_percent, sim.late_max) = (0, 30);
        sim.run(Millis(15_000));
        let dead = sim.leaders()[0];
        sim.nodes[dead].member = None;
        while sim.leaders().is_empty() {
            sim.step();
        }
        let third = (0..3).find(|it| *it != dead && *it != sim.leaders()[0]).expect("of three");
        sim.mail.retain(|_, (to, ..)| *to != third);
        sim.run(Millis(2_000));
        assert!(sim.is_at_one(), "seed {seed}: {}", sim.told());
    }
}

#[test]
fn a_node_whose_clock_has_gone_back_is_a_member_again_at_once() {
    for seed in seeds(20) {
        let size = 2 + seed as usize % 2;
        let leases = if size == 3 { LeaseKind::Majority(3) } else { LeaseKind::None };
        let mut sim = Sim::new(seed, size, leases);
        sim.run(Millis(15_000));
        let leader = sim.leaders()[0];
        sim.nodes[leader].member = None;
        sim.run(LEASE.times(2).after(Millis(2000)));
        sim.clock_back = 3_600_000;
        sim.start(leader);
        sim.run(Millis(8_000));
        assert!(sim.is_at_one() && sim.leaders() != [leader], "seed {seed}: {}", sim.told());
        let me = sim.nodes[leader].member.as_ref().map(Member::me).expect("it runs");
        let (all, life) = (size - 1, Node { generation: CLOCK + 1000, ..me });
        assert!(me.began_after(life), "{me:?}");
        for node in sim.nodes.iter().filter_map(|node| node.member.as_ref()) {
            assert_eq!(node.others().len(), all, "seed {seed}: {}", sim.told());
        }
    }
}

#[test]
fn a_node_that_hears_no_answers_does_not_keep_a_group_from_the_others_for_ever() {
    let four = || Sim::new(1, 4, LeaseKind::Majority(4));
    let mut sim = four();
    (sim.lost_percent, sim.late_max) = (0, 5);
    sim.run(Millis(15_000));
    let first = sim.leaders()[0];
    let mut sim = four();
    (sim.lost_percent, sim.late_max) = (0, 5);
    // Whom it hears through one of them it takes for living, and they it.
    sim.cut = (0..4).filter(|place| *place != first).skip(1).map(|it| (it, first)).collect();
    sim.run(Millis(25_000));
    assert!(sim.leaders().len() == 1 && sim.leaders() != [first], "{}", sim.told());
    assert_eq!(sim.overlaps, []);
    sim.unled.clear();
    sim.run(Millis(30_000));
    assert_eq!(sim.unled, [], "it stays");
}

/// One member of three that knows of these others.
fn one_of_three(others: usize) -> Sim {
    let mut sim = Sim::new(1, others + 1, LeaseKind::Majority(3));
    (sim.lost_percent, sim.late_max) = (0, 5);
    sim.run(Millis(15_000));
    sim
}

#[test]
fn nothing_is_sent_so_late_that_it_leaves_when_the_lease_is_over() {
    let sim = one_of_three(2);
    let member = sim.nodes[sim.leaders()[0]].member.as_ref().expect("it leads");
    let until: Vec<Millis> = member.led().map(|led| led.until.after(LEASE_MARGIN)).collect();
    let lease: Vec<Millis> = member.leadership.led().map(|led| led.until).collect();
    assert!(until.len() == 1 && until == lease, "{until:?} {lease:?}");
    let is_overdue_at = |led: Led<'_>| Millis(led.until.0 - LEASE_OVERDUE.0);
    assert!(member.led().all(|led| led.sure_until == is_overdue_at(led)));
}

#[test]
fn of_more_nodes_than_were_counted_on_nobody_gets_a_lease() {
    assert_eq!(one_of_three(2).leaders().len(), 1);
    let leaders = one_of_three(3).leaders();
    assert!(leaders.is_empty(), "two of four and two of four are majorities of three");
}

#[test]
fn what_a_node_says_to_itself_settles_nothing() {
    let me = Node { address: address(0), generation: 1000 };
    let listen = SocketAddr::from(([10, 0, 0, 1], 9091));
    let setting = Setting { me, listen, leases: LeaseKind::None, settle_max: SETTLE_MAX, seed: 1 };
    // It is reached by this name, too.
    let mut member = Member::new(setting, &[address(7)], Millis(1));
    let mut sequence = 0;
    for now in (1..SETTLE_MAX.0).step_by(100) {
        member.on_time(Millis(now));
        for Letter { payload, .. } in member.take_letters() {
            sequence += 1;
            let _ = member.on_datagram(Stamp { process: 1, sequence }, &payload, Millis(now));
        }
        assert!(!member.is_settled(), "{now}");
    }
    member.on_time(Millis(1).after(SETTLE_MAX));
    assert!(member.is_settled());
}

#[test]
fn a_node_without_leases_relies_on_what_it_does_not_hear_and_one_with_an_overdue_lease_does_not() {
    let early = LEASE_OVERDUE.0 + LEASE_MARGIN.0;
    for (leases, until, sure_until) in [
        (LeaseKind::None, 0, Millis(u64::MAX)),
        (LeaseKind::Elsewhere, 12_500, Millis(12_500 - early)),
        // However long an etcd promises: what counts is when it last did.
        (LeaseKind::Elsewhere, 70_000, Millis(10_000 + LEASE.0 - early)),
    ] {
        let me = Node::at(address(0));
        let setting = Setting { me, listen: me.address, leases, settle_max: Millis(0), seed: 1 };
        let mut member = Member::new(setting, &[], Millis(0));
        let now = Millis(10_000);
        member.on_wanted(&group(), Millis(0));
        (0..=now.0).step_by(100).for_each(|now| member.on_time(Millis(now)));
        if leases == LeaseKind::Elsewhere {
            member.on_lease(GroupKey::of(&group()), Millis(until), now);
        }
        let sure: Vec<Millis> = member.led().map(|led| led.sure_until).collect();
        assert_eq!(sure, [sure_until], "{leases:?} until {until}");
    }
}
