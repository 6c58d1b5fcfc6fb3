//! What a node with the right key may say, right or wrong, to one that believes it.
//!
//! Claims, for any notices in any order:
//! * What is read is written as the same bytes again.
//! * Nothing panics; what is remembered and what is sent for each is bounded.
//! * With leases wanted, nobody leads for whom no majority has promised anything: and no notice of one
//!   node is the promise of two.

#![no_main]

use std::net::SocketAddr;

use highlander::base::limits::STANDINGS_MAX;
use highlander::base::time::Millis;
use highlander::logic::cluster::member::{LeaseKind, Member, Setting};
use highlander::logic::cluster::node::Node;
use highlander::logic::cluster::notice::Notice;
use highlander::logic::source::GroupName;
use highlander::wire::cluster::seal::{PAYLOAD_BYTES_MAX, Stamp};
use highlander_fuzz::choices::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let leases = match kind % 3 {
        0 => LeaseKind::None,
        1 => LeaseKind::Majority(3),
        _ => LeaseKind::Elsewhere,
    };
    let mut member = member(leases);
    let mut now = 1000;
    let mut sequence = 0;
    let mut rest = rest;
    while let Some((length, tail)) = rest.split_first() {
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        check_round_trip(payload);
        sequence += 1;
        now += u64::from(*length) * 7;
        let stamp = Stamp { process: 1, sequence };
        let _ = member.on_datagram(stamp, payload, Millis(now));
        member.on_time(Millis(now));
        check(&mut member, leases);
    }
});

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 6746).into()
}

fn member(leases: LeaseKind) -> Member {
    let setting = Setting {
        me: Node { address: address(1), generation: 1 },
        listen: ([10, 0, 0, 1], 9091).into(),
        leases,
        settle_max: Millis(500),
        seed: 1,
    };
    let mut member = Member::new(setting, &[address(2), address(3)], Millis(1000));
    member.on_wanted(&GroupName::default(), Millis(1000));
    member
}

fn check_round_trip(payload: &[u8]) {
    let mut choices = Choices::of(payload);
    if let Ok(notice) = Notice::decode(payload) {
        assert_eq!(notice.encode(), payload, "{notice:?}");
        // And none is read where one byte more stands behind it.
        let longer = [payload, &[choices.byte()]].concat();
        assert!(matches!(notice, Notice::Membership(_)) || Notice::decode(&longer).is_err());
    }
}

fn check(member: &mut Member, leases: LeaseKind) {
    let letters = member.take_letters();
    assert!(letters.len() < 400, "{} letters", letters.len());
    for letter in letters {
        assert!(letter.payload.len() <= PAYLOAD_BYTES_MAX);
    }
    assert!(member.take_outcomes().len() <= 4 * STANDINGS_MAX);
    member.take_changes();
    let led = member.led().count();
    assert!(led <= STANDINGS_MAX);
    if leases == LeaseKind::Elsewhere {
        assert_eq!(led, 0, "nobody has given a lease");
    }
}
