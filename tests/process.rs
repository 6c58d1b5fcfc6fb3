//! The program as a process: its exit codes, its log, its signals, its memory.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with the test.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts it on a port of its own before `remote`.
    fn start(remote: &str, args: &[&str]) -> (Program, SocketAddr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_highlander"))
            .args(["-l", "127.0.0.1:0", "-r", remote])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let program = Program { child, lines };
        let first = program.line();
        let address = first.rsplit("binding address: ").next().expect("a last part");
        let address = address.parse().expect("the first line tells the address");
        (program, address)
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes in time")
    }

    /// Reads the log until a line that holds `what`.
    fn line_with(&self, what: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(what) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill is there").success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => return status.code(),
                None => assert!(start.elapsed() < PATIENCE, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in MiB.
    fn memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("digits");
        kib / 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_highlander")).args(args).output().expect("it was built")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An endpoint that answers 204 to everything.
fn storage() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 64 * 1024];
                // The requests of these tests come in one piece.
                while stream.read(&mut bytes).is_ok_and(|bytes| bytes > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                }
            });
        }
    });
    address
}

fn push(stream: &mut TcpStream, query: &str) -> String {
    let request = format!("POST /w{query} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    let mut answer = [0; 1000];
    let bytes = stream.read(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}

#[test]
fn every_bad_value_is_named_at_once_and_nothing_is_bound() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let listen = port.to_string();
    let args = ["-l", &listen, "-r", "ftp://x", "-t", "0", "-e", "soon", "--driver", "kqueue"];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    for flag in ["--remote", "--health-tick", "--health-expiry", "--driver"] {
        assert!(text.contains(flag), "{flag} in {text}");
    }
    assert!(TcpStream::connect(port).is_err());
    assert_eq!(run(&["--nonsense"]).status.code(), Some(2));
}

/// A file of this text that goes with the test.
struct File(std::path::PathBuf);

impl File {
    fn new(text: &str) -> File {
        let name = format!("highlander-process-{}.yml", std::process::id());
        let file = File(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the file is ours");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn sighup_has_the_configuration_read_again_and_ends_nothing() {
    let (storage, file) = (storage(), File::new("max_body: 2B\n"));
    let path = file.0.display().to_string();
    let (mut program, address) =
        Program::start(&format!("http://{storage}"), &["--config", &path, "--health-tick", "2s"]);
    let mut stream = TcpStream::connect(address).expect("it listens");
    assert!(push(&mut stream, "").starts_with("HTTP/1.1 413"));
    // What the command line says wins, as at the start.
    file.write("max_body: 3B\nhealth_tick: 7s\n");
    program.signal("HUP");
    let line = program.line_with("read again");
    assert!(line.ends_with("configuration read again for SIGHUP: --max-body changed"), "{line}");
    let mut stream = TcpStream::connect(address).expect("it listens");
    assert!(push(&mut stream, "").starts_with("HTTP/1.1 204"));
    file.write("max_body: 4B\ncores: many\ndriver: none\n");
    program.signal("HUP");
    program.line_with("the configuration read again for SIGHUP is refused:");
    for (line, key) in [(2, "cores"), (3, "driver")] {
        assert!(program.line().contains(&format!("{path}:{line}: {key}: ")));
    }
    file.write("max_body: 4B\nlog_format: json\nlog_level: error\n");
    program.signal("HUP");
    program.line_with("--log-format can't change while it runs: restart");
    // On the connection that was there before all of that.
    assert!(push(&mut stream, "").starts_with("HTTP/1.1 204"));
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
}

#[test]
fn a_file_that_does_not_come_holds_up_neither_requests_nor_the_end() {
    let (storage, file) = (storage(), File::new("max_body: 2B\n"));
    let path = file.0.display().to_string();
    let flags = ["--config", &path, "--shutdown-timeout", "1s"];
    let (mut program, address) = Program::start(&format!("http://{storage}"), &flags);
    // Whoever opens it to read waits for somebody who writes.
    std::fs::remove_file(&file.0).expect("it is there");
    assert!(Command::new("mkfifo").arg(&file.0).status().expect("it is there").success());
    for _ in 0..3 {
        program.signal("HUP");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut stream = TcpStream::connect(address).expect("it listens");
    assert!(push(&mut stream, "").starts_with("HTTP/1.1 413"));
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
}

#[test]
fn a_cluster_without_a_key_is_refused_beyond_loopback() {
    let output = run(&["-b", "0.0.0.0:6746"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--cluster-insecure"), "{}", stderr(&output));
}

#[test]
fn a_node_that_the_others_could_not_relay_to_does_not_start() {
    let bind = ["-b", "0.0.0.0:0", "--cluster-insecure", "--cluster-advertise", "10.0.0.1"];
    let output = run(&[&["-l", "127.0.0.1:0"], &bind[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("all are loopback"), "{}", stderr(&output));
}

#[test]
fn an_address_for_the_cluster_that_is_taken_is_an_error() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let output = run(&["-l", "127.0.0.1:0", "-b", &address]);
    assert_eq!(output.status.code(), Some(1));
    let told = format!("can't bind --cluster-bind {address}");
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
}

#[test]
fn a_taken_port_is_an_error_and_never_a_second_listener() {
    let (_first, address) = Program::start("http://127.0.0.1:1", &[]);
    let output = run(&["-l", &address.to_string(), "-r", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("can't listen on {address}")), "{}", stderr(&output));
}

#[test]
fn version_and_help_are_answers_and_no_errors() {
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = format!("highlander {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn the_log_begins_and_goes_on_as_the_originals() {
    let remote = format!("http://{}", storage());
    let args = ["-i", "1", "-t", "200ms", "-e", "1s"];
    let (program, address) = Program::start(&remote, &args);
    let mut lines: Vec<String> = (0..4).map(|_| program.line()).collect();
    let mut first = TcpStream::connect(address).expect("it listens");
    push(&mut first, "?highlander_weight=50");
    let first_address = first.local_addr().expect("a live socket");
    lines.push(program.line_with("source"));
    drop(first);
    lines.push(program.line_with("source"));
    let mut second = TcpStream::connect(address).expect("it listens");
    let second_address = second.local_addr().expect("a live socket");
    push(&mut second, "");
    lines.push(program.line_with("source"));

    let expected = [
        format!("remote address: {remote}"),
        "health tick: 200ms".to_owned(),
        "health expiry: 1s".to_owned(),
        "instance ID: 1".to_owned(),
        format!("new source : '{first_address}' (bigger Highlander Weight) (0 -> 50)"),
        format!("lost source : '{first_address}' (no data for 1s)"),
        format!("new source : '{second_address}' (no current promoted source) (0)"),
    ];
    for (line, expected) in lines.iter().zip(&expected) {
        let (time, text) = line.split_at("2019/08/29 17:03:43 ".len());
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!((shape.as_str(), text), ("0000/00/00 00:00:00 ", expected.as_str()));
    }
    assert_eq!(lines.len(), expected.len());
}

#[test]
fn a_log_in_json_is_json() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_highlander"))
        .args(["-l", "127.0.0.1:0", "--log-format", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut line = String::new();
    let stderr = child.stderr.take().expect("it is piped");
    BufReader::new(stderr).read_line(&mut line).expect("a line");
    let _ = child.kill();
    let _ = child.wait();
    assert!(line.starts_with("{\"ts\":\"") && line.ends_with("\"}\n"), "{line}");
    assert!(line.contains("\"level\":\"info\",\"msg\":\"binding address: 127.0.0.1:"), "{line}");
}

#[test]
fn a_password_on_the_command_line_is_warned_of_and_never_logged() {
    let args = ["-u", "me", "-p", "geheim"];
    let (program, _) = Program::start("http://127.0.0.1:1", &args);
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.contains("cores:")) {
        lines.push(program.line());
    }
    let all = lines.concat();
    assert!(all.contains("--remote-password is visible"), "{all}");
    assert!(!all.contains("geheim") && !all.contains("bWU6Z2VoZWlt"), "{all}");
}

#[test]
fn an_endpoint_that_nobody_vouches_for_is_logged_once() {
    let made = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("an address");
    let (shown, trusted) = (made(), made());
    let ca_file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("ca.pem");
    std::fs::write(&ca_file, trusted.cert.pem()).expect("a new file");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = shown.signing_key.serialize_der();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("both versions")
        .with_no_client_auth()
        .with_single_cert(vec![shown.cert.der().clone()], key.try_into().expect("a key"));
    let config = Arc::new(config.expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let remote = format!("https://{}", listener.local_addr().expect("a bound socket"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut tls = rustls::ServerConnection::new(config.clone()).expect("it is good");
            let _ = tls.complete_io(&mut stream);
        }
    });
    let ca_file = ca_file.to_str().expect("a path of ASCII");
    let args = ["--remote-ca-file", ca_file, "--cores", "1"];
    let (mut program, address) = Program::start(&remote, &args);
    let mut stream = TcpStream::connect(address).expect("it listens");
    for _ in 0..3 {
        assert!(push(&mut stream, "").starts_with("HTTP/1.1 502"));
    }
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
    let lines: Vec<String> = program.lines.iter().collect();
    let told = lines.iter().filter(|line| line.contains("endpoint"));
    let told: Vec<&str> = told.map(String::as_str).collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    let expected = "endpoint's certificate is not trusted: nobody known has signed it (core 0)";
    assert!(told[0].ends_with(expected), "{told:?}");
}

#[test]
fn a_signal_ends_it_with_0_and_a_second_one_at_once() {
    for name in ["TERM", "INT"] {
        let (mut program, address) = Program::start(&format!("http://{}", storage()), &[]);
        let mut stream = TcpStream::connect(address).expect("it listens");
        assert!(push(&mut stream, "").starts_with("HTTP/1.1 204"));
        program.signal(name);
        assert_eq!(program.exit_code(), Some(0), "{name}");
    }

    // An endpoint that never answers keeps the first signal waiting.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let remote = format!("http://{}", hanging.local_addr().expect("a bound socket"));
    let (mut program, address) = Program::start(&remote, &[]);
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    program.line_with("new source");
    program.signal("TERM");
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still listens");
    }
    assert!(program.child.try_wait().expect("it is our child").is_none(), "it waits");
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_state_file_that_cannot_be_written_is_logged_once_and_when_it_can_again() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let state = dir.join(format!("state-{}", std::process::id()));
    // Where it is written first there is what is no file.
    let beside = state.with_extension("new");
    std::fs::create_dir(&beside).expect("a new folder");
    let file = state.to_str().expect("a path of ASCII");
    let args = ["--state", file, "--health-tick", "50ms"];
    let (program, address) = Program::start(&format!("http://{}", storage()), &args);
    let mut stream = TcpStream::connect(address).expect("it listens");
    push(&mut stream, "");
    program.line_with("who is promoted can't be written down: ");
    std::thread::sleep(Duration::from_millis(500)); // Ten ticks more.
    std::fs::remove_dir(&beside).expect("it is empty");
    let line = program.line();
    assert!(line.ends_with("who is promoted is written down again"), "{line}");
    assert!(std::fs::read_to_string(&state).expect("it is written").contains("127.0.0.1"));
    drop(program);
    std::fs::remove_file(&state).expect("it is there");
}

#[test]
fn a_pause_of_our_own_is_not_a_silence_of_the_sources() {
    let args = ["-t", "200ms", "-e", "1s", "--health-expiry-max", "1s"];
    let (program, address) = Program::start(&format!("http://{}", storage()), &args);
    let (mut first, mut second) = (
        TcpStream::connect(address).expect("it listens"),
        TcpStream::connect(address).expect("it listens"),
    );
    push(&mut first, "?highlander_source=first");
    push(&mut second, "?highlander_source=second");
    program.line_with("new source");
    for _ in 0..3 {
        program.signal("STOP");
        std::thread::sleep(Duration::from_millis(1500));
        // What a source sends meanwhile is read after the pause; the second one's comes first.
        let request = |name: &str| {
            format!("GET /?highlander_source={name} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
        };
        second.write_all(&request("second")).expect("the kernel takes it");
        first.write_all(&request("first")).expect("the kernel takes it");
        program.signal("CONT");
        for stream in [&mut first, &mut second] {
            let mut answer = [0; 1000];
            assert!(stream.read(&mut answer).expect("it answers") > 0);
        }
        push(&mut first, "?highlander_source=first");
        push(&mut second, "?highlander_source=second");
    }
    let lines: Vec<String> = program.lines.try_iter().collect();
    assert!(lines.iter().all(|line| !line.contains("lost source")), "{lines:?}");
}

#[test]
fn silent_connections_do_not_use_up_the_descriptors() {
    // As much as the program itself takes and room for some 30 connections.
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 128; exec \"$0\" -l 127.0.0.1:0 -r \"$1\""])
        .args([env!("CARGO_BIN_EXE_highlander"), &format!("http://{}", storage())])
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = || {
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        line
    };
    let first = line();
    let address = first.trim_end().rsplit("binding address: ").next().expect("a last part");
    let address: SocketAddr = address.parse().expect("the first line tells the address");
    while !line().contains("the limit of open files is low") {}
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let mut refused = TcpStream::connect(address).expect("it listens");
    assert!(push(&mut refused, "").starts_with("HTTP/1.1 503"), "refused, but answered");
    drop(silent);
    let start = Instant::now();
    loop {
        let mut good = TcpStream::connect(address).expect("it listens");
        if push(&mut good, "").starts_with("HTTP/1.1 204") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "there is no room again");
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn four_hundred_half_sent_requests_cost_little_and_disturb_nobody() {
    let (program, address) = Program::start(&format!("http://{}", storage()), &[]);
    let mut good = TcpStream::connect(address).expect("it listens");
    push(&mut good, "?highlander_weight=5");
    let head =
        "POST /w?highlander_weight=99 HTTP/1.1\r\nHost: a\r\nContent-Length: 31457280\r\n\r\n";
    let half: Vec<TcpStream> = (0..400)
        .map(|number| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            let text = if number % 2 == 0 { &head[..40] } else { head };
            stream.write_all(text.as_bytes()).expect("it reads");
            if number % 2 == 1 {
                stream.write_all(&vec![7; 30_000]).expect("it reads");
            }
            stream
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let start = Instant::now();
        assert!(push(&mut good, "?highlander_weight=5").starts_with("HTTP/1.1 204"));
        slowest = slowest.max(start.elapsed());
    }
    assert!(program.memory_mib() < 300, "{} MiB", program.memory_mib());
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(half.len(), 400);
}
