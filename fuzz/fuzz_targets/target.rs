//! A request's target: what is for us is read and cut out.
//!
//! Claims, for any bytes:
//! * `Parameters::read` gives for `highlander_weight`, `_group` and `_source` what a form parser
//!   gives for the first pair that spells the name out, and nothing where no pair does.
//! * A mounted target has the path under the prefix, or the mount's own, then the mount's query, then all pairs that do
//!   not begin with `highlander_`, in order and byte for byte, and no other.

#![no_main]

use highlander::wire::http::target::{Mount, Parameters, Place};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    check_read(target);
    check_mounted(target, under(""), "");
    check_mounted(target, under("/under/this"), "");
    check_mounted(target, under(""), "k=v&l");
    check_mounted(target, under("/under"), "k");
    check_mounted(target, Place::At(b"/at/this".to_vec()), "");
    check_mounted(target, Place::At(b"/at".to_vec()), "k");
});

fn under(prefix: &str) -> Place {
    Place::Under(prefix.into())
}

const OURS: &[u8] = b"highlander_";

/// The path, and the query if there is one.
fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

fn check_read(target: &[u8]) {
    let read = Parameters::read(target);
    let query = split(target).1.unwrap_or_default();
    let cases = [
        (&read.weight, "highlander_weight"),
        (&read.group, "highlander_group"),
        (&read.source, "highlander_source"),
    ];
    for (ours, name) in cases {
        let ours = ours.as_deref().map(String::from_utf8_lossy);
        let theirs = first_of(query, name);
        assert_eq!(ours.as_deref(), theirs.as_deref(), "{name}");
    }
}

/// What the form parser says about the first pair whose name is spelled so. It decodes names too,
/// hence the search in the raw pairs; it leaves out empty ones.
fn first_of(query: &[u8], name: &str) -> Option<String> {
    let mut pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let index = pairs.position(|pair| {
        pair.split(|byte| *byte == b'=').next().is_some_and(|raw| raw == name.as_bytes())
    })?;
    let (decoded, value) = form_urlencoded::parse(query).nth(index).expect("as many pairs");
    assert_eq!(decoded, name);
    Some(value.into_owned())
}

fn check_mounted(target: &[u8], place: Place, query: &str) {
    let mount = Mount { place, query: query.into() };
    let mut out = Vec::new();
    mount.append(target, &mut out);

    let (path, own) = split(target);
    let mut pairs: Vec<&[u8]> = Vec::new();
    if !query.is_empty() {
        pairs.push(query.as_bytes());
    }
    if let Some(own) = own {
        pairs.extend(own.split(|byte| *byte == b'&').filter(|pair| !pair.starts_with(OURS)));
    }
    let mut expected = match &mount.place {
        Place::Under(prefix) => [prefix, path].concat(),
        Place::At(whole) => whole.clone(),
    };
    if !pairs.is_empty() {
        expected.push(b'?');
        expected.extend_from_slice(&pairs.join(&b'&'));
    }
    assert_eq!(out, expected);
    assert!(out.len() <= target.len() + mount.added_bytes_max());
    assert_eq!(Parameters::read(&out), Parameters::default());
}
