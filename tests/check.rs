//! Configuration files, good and bad, as somebody meets them who runs the binary.
//!
//! `tests/config/good/*.yml` are good. What is said of `tests/config/bad/NAME.yml`, to the letter,
//! stands in `NAME.txt` beside it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The names of all configurations in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".yml")).collect();
    names.sort();
    names
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highlander"));
    command.current_dir(folder).args(args).output().expect("it was built")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_good_file_is_good() {
    let folder = folder("good");
    let names = names(&folder);
    for name in &names {
        let output = run(&folder, &["check", name]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{name}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.starts_with(&format!("{name} is good")), "{told}");
    }
    assert!(names.len() >= 5, "only {} files were read", names.len());
}

#[test]
fn of_every_bad_file_all_faults_are_told_with_their_lines() {
    let folder = folder("bad");
    let names = names(&folder);
    let mut wrong = Vec::new();
    for name in &names {
        let expected = fs::read_to_string(folder.join(name.replace(".yml", ".txt")));
        let output = run(&folder, &["check", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{name}");
        if expected.as_deref().unwrap_or("no .txt beside it") != stderr(&output) {
            wrong.push(format!("== {name}\n{}", stderr(&output)));
        }
        assert!(!stderr(&output).contains("geheim"), "{name} tells a secret");
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    assert!(names.len() >= 20, "only {} files were read", names.len());
}

#[test]
fn cut_or_changed_anywhere_a_file_is_read_or_refused_in_single_lines() {
    let mut count = 0;
    let mut parse = |bytes: &[u8]| {
        count += 1;
        if let Err(faults) = highlander::config::file::parse(bytes, |_| Ok("geheim".to_owned())) {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(fault.starts_with("highlander.yml:") && !fault.contains('\n'), "{fault}");
            }
        }
    };
    for folder in [folder("good"), folder("bad")] {
        for name in names(&folder) {
            let bytes = fs::read(folder.join(name)).expect("it is there");
            for at in 0..bytes.len() {
                parse(&bytes[..at]);
                for sign in b"\t\n :-[]{}*&!'\"|#,?\xff" {
                    let mut changed = bytes.clone();
                    changed[at] = *sign;
                    parse(&changed);
                }
            }
        }
    }
    assert!(count > 50_000, "only {count} were read");
}

/// A folder of its own for what a test writes.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a new folder");
    folder
}

#[test]
fn a_file_that_is_not_there_or_without_an_end_is_a_fault() {
    let folder = scratch("check-none");
    let output = run(&folder, &["check", "none.yml"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "none.yml: No such file or directory (os error 2)\n");
    let output = run(&folder, &["check", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "/dev/zero: is longer than 1024KiB\n");
    let output = run(&folder, &["check", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), ".: Is a directory (os error 21)\n");
}

#[test]
fn an_output_that_takes_nothing_is_no_success_and_no_panic() {
    let folder = scratch("check-full");
    fs::write(folder.join("a.yml"), "health_tick: 1s\n").expect("a new file");
    fs::write(folder.join("b.yml"), "health_tick: soon\n").expect("a new file");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for (args, code) in [(&["--help"][..], 1), (&["check", "a.yml"], 1), (&["check", "b.yml"], 2)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highlander"));
        command.current_dir(&folder).args(args).stdout(full()).stderr(full());
        assert_eq!(command.status().expect("it was built").code(), Some(code), "{args:?}");
    }
}

#[test]
fn flags_win_and_a_start_tells_the_same_faults() {
    let folder = scratch("check-flags");
    fs::write(folder.join("a.yml"), "health_tick: soon\nlisten: nowhere\n").expect("a new file");
    let output = run(&folder, &["--config", "a.yml"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("highlander: a.yml:1: health_tick: 'soon' is not a"), "{text}");
    assert!(text.contains("highlander: a.yml:2: listen: 'nowhere': "), "{text}");
    let output = run(&folder, &["-t", "2s", "-l", "127.0.0.1:0", "check", "a.yml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&folder, &["-t", "late", "-l", "127.0.0.1:0", "check", "a.yml"]);
    let text = stderr(&output);
    assert!(text.starts_with("--health-tick 'late' is not a duration"), "{text}");
    let written = "remote_write: [{url: 'http://a', name: file}]\n";
    fs::write(folder.join("b.yml"), written).expect("a new file");
    let output = run(&folder, &["-r", "http://b:1", "check", "b.yml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "--remote overrules remote_write of the file\n");
    assert_eq!(output.stdout, b"b.yml is good: it writes to http://b:1\n");
}

/// The head of the next request, which has a body of 3 bytes; answered with 204.
fn next_head(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a live socket");
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nabc") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the rest of the request");
        text.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").expect("it reads");
    String::from_utf8(text).expect("it is text")
}

#[test]
fn an_endpoint_of_the_file_gets_what_the_file_says() {
    let folder = scratch("check-serve");
    let storage = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = storage.local_addr().expect("a bound socket");
    fs::write(folder.join("token"), " geheim\n").expect("a new file");
    let text = format!(
        "listen: 127.0.0.1:0\ncores: 1\nremote_write:\n  - url: http://{at}/api/v1/push?k=v\n    \
         headers: {{X-Scope-OrgID: ours, X-Key: geheim}}\n    \
         authorization: {{type: Token, credentials_file: token}}\n"
    );
    fs::write(folder.join("a.yml"), text).expect("a new file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_highlander"))
        .current_dir(&folder)
        .args(["--config", "a.yml", "--log-level", "debug"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    log.read_line(&mut said).expect("a first line");
    let address = said.trim_end().rsplit("binding address: ").next().expect("a last part");
    let mut source = TcpStream::connect(address).expect("it listens");
    source
        .write_all(
            b"POST /api/v1/write?highlander_weight=1&a HTTP/1.1\r\nHost: a\r\n\
              x-scope-orgid: theirs\r\nAuthorization: Basic eA==\r\nContent-Length: 3\r\n\r\nabc",
        )
        .expect("it reads");
    let head = next_head(&storage);
    child.kill().expect("it runs");
    let _ = child.wait();
    log.read_to_string(&mut said).expect("the log is text");
    assert!(head.starts_with("POST /api/v1/push?k=v&a HTTP/1.1\r\n"), "{head}");
    for line in ["Authorization: Token geheim", "X-Scope-OrgID: ours", "X-Key: geheim"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert!(!head.contains("theirs") && !head.contains("Basic"), "{head}");
    assert!(!said.contains("geheim"), "{said}");
}
