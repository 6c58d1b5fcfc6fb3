//! A datagram of the cluster, from outside and from a node.
//!
//! Claims, for any bytes:
//! * As a datagram they do not open. If they would, the cipher is broken.
//! * Sealed, they open to the same stamp and payload with that key and name, and with no other; and
//!   not with any byte changed or cut off.
//! * As a letter of a node with the right key they do not panic, whatever came before; what is sent
//!   for each is bounded.

#![no_main]

use highlander::base::time::Millis;
use highlander::logic::cluster::node::Node;
use highlander::logic::cluster::swim::Swim;
use highlander::wire::cluster::seal::{PAYLOAD_BYTES_MAX, Seal, Stamp};
use highlander_fuzz::choices::Choices;
use libfuzzer_sys::fuzz_target;

const KEYS: [&str; 2] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
];

fuzz_target!(|bytes: &[u8]| {
    let ours = Seal::of_file(KEYS[0], "a").expect("a good key");
    assert!(ours.open(bytes).is_err());
    check_seal(&ours, bytes);
    check_letters(bytes);
});

fn check_seal(ours: &Seal, bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    let stamp = Stamp { process: choices.word(), sequence: choices.word() };
    let nonce = [choices.byte(); 24];
    let (at, change) = (choices.word() as usize, choices.byte().max(1));
    let Some(datagram) = ours.seal(nonce, stamp, bytes) else {
        return assert!(bytes.len() > PAYLOAD_BYTES_MAX);
    };
    assert_eq!(ours.open(&datagram), Ok((stamp, bytes.to_vec())));
    let others = [Seal::of_file(KEYS[1], "a"), Seal::of_file(KEYS[0], "b")];
    for other in others.into_iter().flatten().chain([Seal::without_key("a")]) {
        assert!(other.open(&datagram).is_err());
    }
    let mut changed = datagram.clone();
    changed[at % datagram.len()] ^= change;
    assert!(ours.open(&changed).is_err());
    assert!(ours.open(&datagram[..at % datagram.len()]).is_err());
}

/// Letters one after the other, each as long as its first byte says.
fn check_letters(mut bytes: &[u8]) {
    let me = Node { address: ([10, 0, 0, 1], 1).into(), generation: 1 };
    let mut swim = Swim::new(me, 1, Millis(0));
    let mut now = 0;
    while let Some((length, rest)) = bytes.split_first() {
        let (letter, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        now += 50;
        let _ = swim.on_letter(letter, Millis(now));
        swim.on_time(Millis(now));
        assert!(swim.take_letters().len() < 100);
        swim.take_changes();
        bytes = rest;
    }
}
