//! Checks the house: imports point down and never in a ring, files stay short, and what a floor
//! must not touch it does not name. It reads the source text, so it needs no compiler and cannot
//! be talked into an exception.

#[path = "floors/bans.rs"]
mod bans;
#[path = "floors/house.rs"]
mod house;
#[path = "floors/imports.rs"]
mod imports;
#[path = "floors/rings.rs"]
mod rings;
#[path = "floors/text.rs"]
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use house::Kind::{self, *};
use house::inspect;

/// A temporary tree, written anew for each test.
fn tree(name: &str, files: &[(&str, String)]) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if root.exists() {
        fs::remove_dir_all(&root).expect("the old tree can be removed");
    }
    for (path, source) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a new folder");
        fs::write(path, source).expect("a new file");
    }
    root
}

#[test]
fn the_house_is_in_order() {
    let report = inspect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let list: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
    assert!(report.files >= 10, "only {} files were read", report.files);
    assert!(report.imports >= report.files, "only {} imports were understood", report.imports);
}

/// A path under the source folder, its text, and the violations expected in it.
type Case = (&'static str, &'static str, &'static [(usize, Kind)]);

#[rustfmt::skip]
const BAD: &[Case] = &[
    ("attic/new.rs", "\n", &[(1, NoFloor)]),
    ("base/up.rs", "//! Doc.\nuse crate::wire::low::X;\n", &[(2, UpwardImport)]),
    ("wire/up.rs", "use crate::{base::low,\n logic::{low::A}};\n", &[(2, UpwardImport)]),
    ("logic/up.rs", "use super::super::shared::low;\n", &[(1, UpwardImport)]),
    ("shared/up.rs", "fn f() {\n    crate::io::low::open();\n}\n", &[(2, UpwardImport)]),
    ("io/up.rs", "use crate::config::Config;\n", &[(1, UpwardImport)]),
    ("io/root.rs", "use crate::Anything;\n", &[(1, UpwardImport)]),
    ("io/alias.rs", "use crate as c;\nfn f() { c::demo::run() }\n", &[(2, UpwardImport)]),
    ("logic/tested.rs", "#[cfg(test)]\nmod tests {\n    use crate::io::low;\n}\n", &[(3, UpwardImport)]),
    ("wire/ring_a.rs", "\nuse super::ring_b::B;\n", &[(2, Ring)]),
    ("wire/ring_b.rs", "use crate::wire::ring_c;\nfn f() { ring_c::f() }\n", &[]),
    ("wire/ring_c.rs", "fn f() {\n    super::ring_a::f();\n}\n", &[]),
    ("io/long.rs", LONG, &[(501, TooLong)]),
    ("io/unwrap.rs", "fn f() {\n    a\n        .unwrap();\n}\n", &[(3, Unwrap)]),
    ("config.rs", "fn f() { x.unwrap() }\n", &[(1, Unwrap)]),
    ("server.rs", "fn f() {\n    unimplemented!();\n    todo![]\n}\n", &[(2, Unfinished), (3, Unfinished)]),
    ("cli.rs", "fn f() {\n    println!();\n    dbg!(1);\n}\n", &[(3, Print)]),
    ("io/print.rs", "fn f() {\n    println!();\n    eprintln!();\n}\n", &[(2, Print), (3, Print)]),
    ("io/log.rs", "fn f() {\n    println!();\n    eprintln!();\n}\n", &[(2, Print)]),
    ("shared/sleep.rs", "fn f() {\n    std::thread::sleep(d);\n}\n", &[(2, Sleep), (2, Thread)]),
    ("base/socket.rs", "use std::net::{IpAddr,\n    TcpStream};\n", &[(2, Socket)]),
    ("wire/socket.rs", "use std::net;\nfn f() { net::UdpSocket::bind(a) }\n", &[(2, Socket)]),
    ("logic/socket.rs", "use monoio::io::Anything;\n", &[(1, Socket)]),
    ("shared/socket.rs", "use std::{\n    net::*,\n};\n", &[(2, Socket)]),
    ("base/file.rs", "use std::{fmt, fs};\n", &[(1, File)]),
    ("shared/file.rs", "fn f() {\n    std::fs::read(p);\n}\n", &[(2, File)]),
    ("wire/thread.rs", "use std::{thread::JoinHandle};\n", &[(1, Thread)]),
    ("shared/thread.rs", "use std::thread;\n", &[(1, Thread)]),
    ("wire/clock.rs", "use std::time::{Duration,\n    SystemTime};\n", &[(2, Clock)]),
    ("logic/clock.rs", "fn f() {\n    let now = Instant::now();\n}\n", &[(2, Clock)]),
    ("shared/clock.rs", "use std::time::Instant;\n", &[(1, Clock)]),
    ("base/global.rs", "static A: u8 = 1;\nstatic B: OnceLock<u8> = OnceLock::new();\n", &[(2, Global)]),
    ("logic/global.rs", "fn f(x: &'static mut u8) {}\nstatic mut A: u8 = 1;\n", &[(2, Global)]),
    ("wire/global.rs", "thread_local! { static A: u8 = 1; }\n", &[(1, Global)]),
    ("base/shared.rs", "use std::sync::{Arc, Mutex};\n", &[(1, SharedState)]),
    ("logic/shared.rs", "fn f(x: &AtomicU64) {}\n", &[(1, SharedState)]),
];

/// Stands for a text of 501 lines.
const LONG: &str = "501 lines";

#[test]
fn each_violation_is_found_where_it_stands() {
    let text = |source: &str| if source == LONG { "//\n".repeat(501) } else { source.to_owned() };
    let files: Vec<_> = BAD.iter().map(|(path, source, _)| (*path, text(source))).collect();
    let report = inspect(&tree("floors-bad", &files));

    let in_file = |(path, _, all): &Case| {
        let file = format!("src/{path}");
        all.iter().map(|(line, kind)| (file.clone(), *line, *kind)).collect::<Vec<_>>()
    };
    let mut expected: Vec<_> = BAD.iter().flat_map(in_file).collect();
    let mut found: Vec<_> =
        report.violations.iter().map(|it| (it.file.clone(), it.line, it.kind)).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(report.files, BAD.len(), "each file was read");
    for kind in Kind::ALL {
        assert!(found.iter().any(|(_, _, it)| *it == kind), "nothing shows {kind:?}");
    }
}

#[test]
fn a_violation_is_printed_with_its_place_and_reason() {
    let files =
        [("wire/a.rs", "use super::b;\n"), ("wire/b.rs", "\nuse super::a;\nuse std::fs;\n")];
    let files = files.map(|(path, source)| (path, source.to_owned()));
    let report = inspect(&tree("floors-printed", &files));
    let lines: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    let ring = "src/wire/a.rs:1: Ring: wire/a.rs -> wire/b.rs -> wire/a.rs";
    assert_eq!(lines, [ring, "src/wire/b.rs:3: File: std::fs: no files below `io`"]);
}

#[rustfmt::skip]
const GOOD: &[(&str, &str)] = &[
    ("lib.rs", "pub mod base;\npub mod io;\n"),
    ("main.rs", "use highlander::server;\nfn main() { println!(); server::start() }\n"),
    ("server.rs", "use crate::{config::Config, io::low};\nfn f() { std::thread::sleep(d) }\n"),
    ("config.rs", "use std::fs;\n"),
    ("base/mod.rs", "pub mod low;\npub mod high;\n#[cfg(test)]\nmod tests;\n"),
    ("base/low.rs", "//! `x.unwrap()`, use std::fs;\n/* use crate::io::low; /* todo!() */ */\n\
        const A: &str = \"std::thread::sleep\";\nconst B: &str = r#\"dbg!(\"x\")\"#;\n\
        fn f<'a>(x: char) -> bool { x == '\"' || y.unwrap_or(1) }\nstatic C: &[u8] = b\"Mutex\";\n"),
    ("base/high.rs", "use super::low;\nuse std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;\n"),
    ("base/tests.rs", "use super::*;\nfn f() { x.unwrap(); std::thread::sleep(d) }\n"),
    ("wire/mod.rs", "mod a;\n#[cfg(test)]\nmod b;\npub use a::A;\n"),
    ("wire/a.rs", "pub struct A;\n#[cfg(test)]\nmod tests {\n    use super::super::b;\n\
        fn f() { std::fs::read(p).unwrap() }\n}\n"),
    ("wire/b.rs", "use super::a::A;\nuse std::fs;\nfn f() { x.unwrap() }\n"),
    ("logic/c.rs", "#[cfg(test)]\n#[path = \"c_tests.rs\"]\nmod tests;\n"),
    ("logic/c_tests.rs", "use std::fs;\nfn f() { x.unwrap() }\n"),
    ("logic/a.rs", "use crate::{base::low, wire::A};\n"),
    ("shared/a.rs", "use std::sync::Mutex;\nstatic A: AtomicU64 = AtomicU64::new(0);\n"),
    ("io/log.rs", "use crate::shared::a;\nfn f() { eprintln!() }\n"),
    ("io/low.rs", "use super::log;\nuse std::{fs, net::TcpStream, thread, time::Instant};\n"),
];

#[test]
fn a_good_tree_gives_no_violation() {
    let files: Vec<_> = GOOD.iter().map(|(path, source)| (*path, (*source).to_owned())).collect();
    let report = inspect(&tree("floors-good", &files));
    assert_eq!(report.violations, []);
    assert_eq!(report.files, GOOD.len(), "each file was read");
}
