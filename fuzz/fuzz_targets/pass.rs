//! The pass of a relayed request, from anybody and from a node.
//!
//! Claims, for any bytes:
//! * As the value of the header they do not open.
//! * Sealed as the content of a pass they are read without a panic, and written as the same again.
//! * A head with that header, wherever it stands and however often, goes on without it.

#![no_main]

use highlander::base::time::UnixMillis;
use highlander::logic::cluster::pass::Pass;
use highlander::wire::cluster::seal::{Seal, Stamp};
use highlander::wire::http::head::{Head, header_room};
use highlander::wire::http::rewrite::Route;
use libfuzzer_sys::fuzz_target;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    let seal = Seal::without_key("a").of_passes();
    assert!(Pass::open(&seal, bytes, NOW).is_err());
    check_content(&seal, bytes);
    check_head(bytes);
});

fn check_content(seal: &Seal, bytes: &[u8]) {
    let stamp = Stamp { process: NOW.0 as u64, sequence: 0 };
    let Some(sealed) = seal.seal([7; 24], stamp, bytes) else { return };
    let text = BASE64_STANDARD.encode(sealed);
    let Ok((pass, made)) = Pass::open(seal, text.as_bytes(), NOW) else { return };
    assert_eq!(made, NOW);
    let again = pass.seal(seal, [7; 24], NOW).expect("it was not too long");
    assert_eq!(again, text.as_bytes(), "{pass:?}");
}

fn check_head(bytes: &[u8]) {
    let mut room = header_room();
    let Ok(Some(head)) = Head::parse(bytes, &mut room) else { return };
    let mut out = Vec::new();
    Route { host: b"a".to_vec(), ..Route::default() }.append_head(&head, &mut out);
    let lines = out.split(|byte| *byte == b'\n').skip(1);
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        assert!(!name.eq_ignore_ascii_case(b"x-highlander-pass"));
    }
}
