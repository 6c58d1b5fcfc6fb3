//! Who may reach the admin listener: users, certificates, and both read again when they change.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use highlander::base::limits::ADMIN_CONNECTIONS_MAX;
use highlander::config::web;
use highlander::io::tls::files::{Belief, TlsFiles, client_config};
use highlander::io::tls::server_name;
use rustls::{ClientConnection, StreamOwned};

use crate::admin::{admin, get, push_of, text, with_admin_and};
use crate::authority::*;
use crate::steer::command;
use crate::support::*;

fn asked(user: &str, request: &str) -> String {
    let user = BASE64_STANDARD.encode(user);
    format!("{request} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {user}\r\n\r\n")
}

#[test]
fn only_users_see_and_steer_and_what_they_steer_bears_their_name() {
    let (authority, endpoint) = (Authority::new(), Endpoint::storage());
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let web = authority.file("web.yml", &format!("basic_auth_users:\n  ann: {hash}\n"));
    let proxy = with_admin_and(&endpoint, |cli| cli.admin_web_config = web);
    assert_eq!(proxy.connect().ask(&push_of("g", "", "s")).status, 204, "sources are not asked");
    let mut client = admin(&proxy);
    for path in ["/metrics", "/status", "/", "/-/healthy", "/-/ready", "/nothing"] {
        let mut stranger = admin(&proxy);
        let answer = get(&mut stranger, path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("\r\nWWW-Authenticate: Basic realm="), "{}", answer.head);
        // Whoever has no name does not keep a place.
        stranger.assert_closed();
        let wrong = asked("ann:Secret", &format!("GET {path}"));
        assert_eq!(admin(&proxy).ask(wrong.as_bytes()).status, 401);
    }
    let metrics = client.ask(asked("ann:secret", "GET /metrics").as_bytes());
    assert!(metrics.status == 200 && text(&metrics).contains("highlander_"));
    for (user, status) in [("ann:no", 401), ("bob:secret", 401), ("ann:secret", 202)] {
        let answer = admin(&proxy).ask(asked(user, "POST /-/pin").as_bytes());
        assert_eq!(answer.status, status, "{user}");
    }
    // Somebody else now, without a restart, for connections that come now.
    let hash = bcrypt::hash("other", 4).expect("a hash");
    authority.file("web.yml", &format!("basic_auth_users:\n  bob: {hash}\n"));
    until("bob may ask", || {
        std::thread::sleep(Duration::from_millis(50));
        admin(&proxy).ask(asked("bob:other", "GET /status").as_bytes()).status == 200
    });
    assert_eq!(client.ask(asked("ann:secret", "GET /status").as_bytes()).status, 401, "as before");
    // What makes no sense leaves what was.
    authority.file("web.yml", "basic_auth_users:\n  bob: other\n");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(admin(&proxy).ask(asked("bob:other", "GET /status").as_bytes()).status, 200);
    assert_eq!(get(&mut admin(&proxy), "/status").status, 401);
    // What it names may come after it: it is tried again, though the file itself does not change.
    let (tls, hash) = ("tls_server_config:\n  cert_file: ours.pem\n  key_file: ours.key\n", hash);
    authority.file("web.yml", &format!("{tls}basic_auth_users:\n  bob: {hash}\n"));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(admin(&proxy).ask(asked("bob:other", "GET /status").as_bytes()).status, 200);
    authority.sign("admin.example").files(&authority);
    let files = trusting(&authority, None);
    until("TLS is spoken", || {
        std::thread::sleep(Duration::from_millis(50));
        ask(&proxy, &files).ok() == Some(401)
    });
    proxy.running.stop();
}

fn trusting(authority: &Authority, certificate: Option<(PathBuf, PathBuf)>) -> TlsFiles {
    let authority = authority.ca_file().map(Into::into);
    TlsFiles { authority, certificate, belief: Belief::Proven }
}

#[test]
fn who_says_nothing_or_says_it_byte_by_byte_keeps_nobody_away() {
    let (authority, endpoint) = (Authority::new(), Endpoint::storage());
    authority.sign("admin.example").files(&authority);
    let web = "tls_server_config:\n  cert_file: ours.pem\n  key_file: ours.key\n";
    let web = authority.file("web.yml", web);
    let proxy = with_admin_and(&endpoint, |cli| cli.admin_web_config = web);
    let address = proxy.running.admin_address().expect("there is one");
    let connect = || TcpStream::connect(address).expect("it listens");
    let mut many: Vec<TcpStream> = (0..ADMIN_CONNECTIONS_MAX).map(|_| connect()).collect();
    let files = trusting(&authority, None);
    until("there is a place", || ask(&proxy, &files).ok() == Some(200));
    many.clear();
    // The first bytes of a long hello, one by one: each would begin its time anew.
    let mut slow = connect();
    let begun = Instant::now();
    let hello = [&[0x16, 3, 1, 0x3f, 0xff, 1][..], &[0; 4000]].concat();
    let is_open = |slow: &mut TcpStream, byte: &u8| slow.write_all(&[*byte]).is_ok();
    for byte in &hello {
        if !is_open(&mut slow, byte) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it may drip for ever");
        std::thread::sleep(Duration::from_millis(100));
    }
    proxy.running.stop();
}

/// Asks over TLS; the status of the answer.
fn ask(proxy: &Proxy, files: &TlsFiles) -> io::Result<u16> {
    let config = client_config(files).expect("the files are good");
    let name = server_name("admin.example").expect("a name");
    let session = ClientConnection::new(config.into(), name).map_err(io::Error::other)?;
    let address = proxy.running.admin_address().expect("there is one");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // Its end is the end of TLS: nobody has cut it.
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(io::Error::other)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("no status"))
}

#[test]
fn the_listener_shows_a_certificate_and_wants_one_and_a_new_one_needs_no_restart() {
    let (authority, other, endpoint) = (Authority::new(), Authority::new(), Endpoint::storage());
    let client = |name, by: &Authority| {
        let (certificate, key) = by.sign(name).files_called(name, by);
        certificate.map(Into::into).zip(key.map(Into::into))
    };
    authority.sign("admin.example").files(&authority);
    let write = |proof: &str| {
        let web =
            format!("tls_server_config:\n  cert_file: ours.pem\n  key_file: ours.key\n{proof}");
        authority.file("web.yml", &web)
    };
    let web = write("");
    let proxy = with_admin_and(&endpoint, |cli| cli.admin_web_config = web);
    assert_eq!(ask(&proxy, &trusting(&authority, None)).ok(), Some(200));
    assert!(ask(&proxy, &trusting(&other, None)).is_err(), "another authority");
    let mut plain = admin(&proxy);
    plain.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut answer = Vec::new();
    let _ = plain.stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "without TLS there is no answer");
    write("  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n");
    let anybody = trusting(&authority, None);
    until("a certificate is wanted", || {
        std::thread::sleep(Duration::from_millis(50));
        ask(&proxy, &anybody).is_err()
    });
    let known = trusting(&authority, client("ann", &authority));
    assert_eq!(ask(&proxy, &known).ok(), Some(200));
    let stranger = trusting(&authority, client("eve", &other));
    assert!(ask(&proxy, &stranger).is_err(), "signed by nobody that we know");
    // It expires; one that is wrong is shown until the next is there.
    authority.sign_expired("admin.example").files(&authority);
    until("the new one is shown", || {
        std::thread::sleep(Duration::from_millis(50));
        ask(&proxy, &known).is_err()
    });
    authority.sign("admin.example").files(&authority);
    until("the next is shown", || {
        std::thread::sleep(Duration::from_millis(50));
        ask(&proxy, &known).ok() == Some(200)
    });
    proxy.running.stop();
}

/// It would take a day.
const SLOW: &str = "$2y$31$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

#[test]
fn what_is_wrong_with_the_file_is_said_with_its_line() {
    let authority = Authority::new();
    authority.sign("a").files(&authority);
    let good = "tls_server_config:\n  cert_file: ours.pem\n  key_file: ours.key\n";
    let with = |rest: &str| format!("{good}{rest}");
    for (written, line, part) in [
        ("basic_auth_users:\n  ann: secret\n".to_owned(), 2, "no bcrypt hash"),
        ("basic_auth_users:\n  a:b: x\n".to_owned(), 2, ""),
        (format!("basic_auth_users:\n  ann: {}\n", SLOW), 2, "costs more than 14"),
        ("basic_auth_user:\n  ann: x\n".to_owned(), 1, "did you mean basic_auth_users?"),
        ("http_server_config:\n  http2: true\n".to_owned(), 1, "HTTP/1.1"),
        ("tls_server_config:\n  cert_file: ours.pem\n".to_owned(), 1, "key_file: is needed"),
        (good.replace("ours.key", "none.key"), 3, "No such file"),
        (good.replace("ours.key", "ours.pem"), 3, "holds no key"),
        (with("  min_version: TLS10\n"), 4, "TLS 1.2 and 1.3"),
        (with("  client_auth_type: RequireAnyClientCert\n"), 4, "RequireAndVerifyClientCert"),
        (with("  client_auth_type: RequireAndVerifyClientCert\n"), 4, "needs a client_ca_file"),
        (with("  client_ca_file: ca.pem\n"), 4, "that verifies"),
    ] {
        let path = authority.file("web.yml", &written).expect("a path");
        let faults = web::rules(&path, None).expect_err(&written);
        let begin = format!("{path}:{line}: ");
        let is_told = faults.iter().any(|it| it.starts_with(&begin) && it.contains(part));
        assert!(is_told, "{written}: {faults:?}");
        assert!(!faults.iter().any(|fault| fault.contains("secret")), "{faults:?}");
    }
    let path = authority.file("web.yml", good).expect("a path");
    assert_eq!(web::rules(&path, None).map(|rules| rules.files.len()).ok(), Some(3));
}

#[test]
fn who_has_a_name_and_trusts_the_listener_steers_it_from_a_terminal() {
    let (authority, endpoint) = (Authority::new(), Endpoint::storage());
    authority.sign("127.0.0.1").files(&authority);
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let web = format!(
        "tls_server_config:\n  cert_file: ours.pem\n  key_file: ours.key\n  \
         client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n\
         basic_auth_users:\n  ann: {hash}\n"
    );
    let web = authority.file("web.yml", &web);
    let proxy = with_admin_and(&endpoint, |cli| cli.admin_web_config = web);
    assert_eq!(proxy.connect().ask(&push_of("g", "", "s")).status, 204);
    let (certificate, key) = authority.sign("ann").files_called("ann", &authority);
    let (ca, password) = (authority.ca_file(), authority.file("password", "secret\n"));
    let files = [ca, password, certificate, key].map(|file| file.expect("a path"));
    let admin = proxy.running.admin_address().expect("there is one");
    let admin = format!("https://127.0.0.1:{}", admin.port());
    let shown = ["--ca-file", "--password-file", "--cert-file", "--key-file"];
    let shown = shown.iter().zip(&files).flat_map(|(flag, file)| [*flag, file.as_str()]);
    let with = |args: &[&'static str], user: &'static str| -> Vec<String> {
        let all = args.iter().copied().chain(shown.clone()).chain(["--user", user]);
        all.map(str::to_owned).collect()
    };
    let ask =
        |args: &[String]| command(&admin, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let (code, said) = ask(&with(&["status"], "ann"));
    assert!(code == Some(0) && said.contains("group 'g'"), "{said}");
    let (code, said) = ask(&with(&["ctl", "pin"], "ann"));
    assert!(code == Some(0) && said.contains("done after"), "{said}");
    let (code, said) = ask(&with(&["status"], "bob"));
    assert!(code == Some(1) && said.contains("answers 401"), "{said}");
    let (code, said) = ask(&["status".to_owned()]);
    assert!(code == Some(1) && said.contains("no answer from the admin listener"), "{said}");
    proxy.running.stop();
}
