//! Several nodes on a network that delays, loses, doubles and cuts.

use std::collections::BTreeMap;

use rand::RngExt as _;

use super::*;

struct Net {
    now: u64,
    dice: Xoshiro256PlusPlus,
    nodes: Vec<Option<Swim>>,
    /// Those that stand still until then: letters wait for them.
    paused: Vec<u64>,
    on_the_way: BTreeMap<(u64, u64), (usize, usize, Vec<u8>)>,
    sent: u64,
    bytes: u64,
    lost_percent: u32,
    /// Letters from the first to the second do not arrive.
    cut: Vec<(usize, usize)>,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 6746))
}

impl Net {
    /// So many nodes, of which each knows the first.
    fn new(seed: u64, nodes: usize) -> Net {
        let mut net = Net {
            now: 1_000_000,
            dice: Xoshiro256PlusPlus::seed_from_u64(seed),
            nodes: Vec::new(),
            paused: vec![0; nodes],
            on_the_way: BTreeMap::new(),
            sent: 0,
            bytes: 0,
            lost_percent: 0,
            cut: Vec::new(),
        };
        for node in 0..nodes {
            net.nodes.push(None);
            net.begin(node);
        }
        net
    }

    fn begin(&mut self, node: usize) {
        let me = Node { address: address(node), generation: self.now };
        let mut swim = Swim::new(me, self.dice.random(), Millis(self.now));
        swim.set_peers(vec![address(0), address(1)]);
        self.nodes[node] = Some(swim);
    }

    /// Time passes in steps of five milliseconds, until `done` or so long.
    fn run(&mut self, span: u64, mut done: impl FnMut(&Net) -> bool) -> Option<u64> {
        let begin = self.now;
        while self.now < begin + span {
            self.now += 5;
            self.step();
            if done(self) {
                return Some(self.now - begin);
            }
        }
        None
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.on_the_way.first_entry().filter(|it| it.key().0 <= now) {
            let (from, to, payload) = entry.remove();
            if self.paused[to] > now {
                self.on_the_way.insert((self.paused[to], self.sent), (from, to, payload));
                self.sent += 1;
                continue;
            }
            if let Some(swim) = &mut self.nodes[to] {
                swim.on_letter(&payload, Millis(now)).expect("ours can be read");
            }
        }
        for from in 0..self.nodes.len() {
            let Some(swim) = self.nodes[from].as_mut().filter(|_| self.paused[from] <= now) else {
                continue;
            };
            if swim.due() <= Millis(now) {
                swim.on_time(Millis(now));
            }
            for letter in swim.take_letters() {
                assert!(letter.payload.len() <= PAYLOAD_BYTES_MAX);
                self.post(from, letter);
            }
        }
    }

    fn post(&mut self, from: usize, letter: Letter) {
        self.bytes += letter.payload.len() as u64;
        let to = (0..self.nodes.len()).find(|node| address(*node) == letter.to);
        let to = to.expect("nobody else is there");
        if self.cut.contains(&(from, to)) || self.dice.random_range(0..100) < self.lost_percent {
            return;
        }
        for _ in 0..1 + u32::from(self.dice.random_range(0..20) == 0) {
            self.sent += 1;
            let due = self.now + self.dice.random_range(1..30);
            self.on_the_way.insert((due, self.sent), (from, to, letter.payload.clone()));
        }
    }

    /// Whether each living node knows all other living ones, in the lives that they are in, and nobody
    /// else.
    fn is_whole(&self) -> bool {
        let living: BTreeSet<Node> = self.nodes.iter().flatten().map(Swim::me).collect();
        self.nodes.iter().flatten().all(|swim| {
            let known: BTreeSet<Node> = swim.members().chain([swim.me()]).collect();
            known == living
        })
    }

    fn whole(seed: u64, nodes: usize) -> Net {
        let mut net = Net::new(seed, nodes);
        net.run(10_000, Net::is_whole).expect("they find each other");
        net.run(2_000, |_| false);
        net
    }
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

#[test]
fn nodes_that_know_one_of_them_find_all_within_three_seconds() {
    for seed in 0..50 {
        for nodes in [2, 3, 5, 10] {
            let mut net = Net::new(seed, nodes);
            assert!(net.run(3_000, Net::is_whole).is_some(), "{seed} {nodes}");
        }
    }
}

#[test]
fn a_dead_node_is_noticed_by_all_within_two_seconds_mostly_and_within_four_always() {
    for nodes in [2, 3, 5] {
        let mut spans = Vec::new();
        for seed in 0..100 {
            let mut net = Net::whole(seed, nodes);
            // At any moment.
            let wait = net.dice.random_range(0..1000);
            net.run(wait, |_| false);
            net.nodes[nodes - 1] = None;
            spans.push(net.run(4_000, Net::is_whole).expect("it is noticed"));
        }
        assert!(median(spans.clone()) < 2_000, "{nodes}: {spans:?}");
    }
}

#[test]
fn one_that_leaves_is_gone_at_once() {
    for seed in 0..50 {
        let mut net = Net::whole(seed, 3);
        let now = Millis(net.now);
        net.nodes[2].as_mut().expect("it lives").leave(now);
        net.step();
        net.nodes[2] = None;
        assert!(net.run(600, Net::is_whole).is_some(), "{seed}");
    }
}

#[test]
fn after_any_cut_and_loss_all_see_each_other_within_ten_seconds_and_it_stays_so() {
    for seed in 0..200 {
        let nodes = 2 + seed as usize % 4;
        let mut net = Net::whole(seed, nodes);
        let side = 1 + net.dice.random_range(0..nodes - 1);
        let is_both = net.dice.random_range(0..3) > 0;
        for one in 0..side {
            for other in side..nodes {
                net.cut.push((one, other));
                net.cut.extend(is_both.then_some((other, one)));
            }
        }
        net.lost_percent = net.dice.random_range(0..30);
        let span = net.dice.random_range(1_000..60_000);
        net.run(span, |_| false);
        (net.cut, net.lost_percent) = (Vec::new(), 0);
        assert!(net.run(10_000, Net::is_whole).is_some(), "{seed}");
        // The last of what was said meanwhile has had its time.
        net.run(10_000, |_| false);
        assert_eq!(net.run(30_000, |net| !net.is_whole()), None, "{seed}");
    }
}

#[test]
fn a_letter_that_is_lost_now_and_then_takes_nobody_for_dead() {
    for seed in 0..20 {
        let mut net = Net::whole(seed, 2 + seed as usize % 4);
        let lives: Vec<Node> = net.nodes.iter().flatten().map(Swim::me).collect();
        net.lost_percent = 2;
        net.run(60_000, |_| false);
        let lives_now: Vec<Node> = net.nodes.iter().flatten().map(Swim::me).collect();
        assert_eq!(
            lives_now, lives,
            "{seed}: suspected, it objected, and was told that it is dead"
        );
    }
}

#[test]
fn who_was_suspected_by_one_that_began_another_life_may_still_object_later() {
    for seed in 0..200 {
        let nodes = 2 + seed as usize % 2;
        let mut net = Net::whole(seed, nodes);
        // The others miss it, while it suspects those whose answers it can't hear for want of its own
        // questions.
        net.cut = (1..nodes).map(|other| (0, other)).collect();
        let span = net.dice.random_range(1_000..2_500);
        net.run(span, |_| false);
        net.cut.clear();
        net.run(10_000, Net::is_whole).expect("they find each other again");
        net.run(5_000, |_| false);
        let lives = |net: &Net| net.nodes.iter().flatten().map(Swim::me).collect::<Vec<_>>();
        let before = lives(&net);
        net.lost_percent = 2;
        net.run(30_000, |_| false);
        assert_eq!(lives(&net), before, "{seed}: it was never told that it is suspected");
    }
}

#[test]
fn one_that_stood_still_or_began_anew_is_back_within_ten_seconds_in_another_life() {
    for seed in 0..100 {
        let mut net = Net::whole(seed, 3);
        let life = net.nodes[1].as_ref().expect("it lives").me();
        if seed % 2 == 0 {
            net.paused[1] = net.now + 8_000;
            net.run(8_000, |_| false);
        } else {
            net.nodes[1] = None;
            let wait = net.dice.random_range(0..3_000);
            net.run(wait, |_| false);
            net.begin(1);
        }
        assert!(net.run(10_000, Net::is_whole).is_some(), "{seed}");
        assert!(net.nodes[1].as_ref().expect("it lives").me().generation > life.generation);
        assert_eq!(net.run(10_000, |net| !net.is_whole()), None, "{seed}");
    }
}

#[test]
fn ten_nodes_cost_each_less_than_ten_kilobytes_a_second() {
    let mut net = Net::whole(1, 10);
    net.bytes = 0;
    net.run(60_000, |_| false);
    let each = net.bytes / 60 / 10;
    assert!(each < 10_000, "{each} bytes a second");
}

#[test]
fn a_change_is_told_once() {
    let mut net = Net::whole(1, 2);
    let other = net.nodes[1].as_ref().expect("it lives").me();
    let changes = |net: &mut Net| net.nodes[0].as_mut().expect("it lives").take_changes();
    assert_eq!(changes(&mut net), [Change::Up(other)]);
    net.nodes[1] = None;
    net.run(5_000, |_| false);
    assert_eq!(changes(&mut net), [Change::Down(other)]);
    net.begin(1);
    net.run(5_000, |_| false);
    let again = net.nodes[1].as_ref().expect("it lives").me();
    assert_eq!(changes(&mut net), [Change::Up(again)]);
}

#[test]
fn what_is_no_letter_is_unreadable() {
    let mut swim = Swim::new(Node::at(address(0)), 1, Millis(0));
    for payload in [&b""[..], b"hello", &[0; 1000]] {
        assert_eq!(swim.on_letter(payload, Millis(1)), Err(Unreadable));
    }
}

#[test]
fn a_letter_from_an_earlier_life_of_its_own_is_no_fault_and_none_is_sent() {
    let me = Node { address: address(0), generation: 5 };
    let mut swim = Swim::new(me, 1, Millis(0));
    let src = Node { generation: 9, ..me };
    let header =
        foca::Header { src, src_incarnation: 0, dst: me, message: foca::Message::Announce };
    let mut payload = Vec::new();
    foca::Codec::encode_header(&mut Codec, &header, &mut payload).expect("a vector grows");
    assert_eq!(swim.on_letter(&payload, Millis(1)), Ok(()));
    swim.set_peers(vec![me.address]);
    swim.on_time(Millis(1));
    assert_eq!(swim.take_letters(), []);
}
