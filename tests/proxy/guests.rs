//! Who may push: TLS on the listeners of sources, client certificates, users, and all of it read again when
//! it changes.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use highlander::base::limits::STRANGERS_OF_ONE_MAX;
use highlander::base::time::UnixMillis;
use highlander::io::tls::files::{Belief, TlsFiles, client_config};
use highlander::io::tls::server_name;
use highlander::shared::metrics::Counter;
use highlander::wire::cluster::seal::Seal;
use highlander::wire::remote_write::protocol::Protocol;
use rustls::{ClientConnection, StreamOwned};

use crate::arrival::connect_from;
use crate::authority::*;
use crate::cluster::{forged_pass, node, ports};
use crate::handover::{now_ms, stored, write};
use crate::support::*;

const TLS: &str = "tls_server_config:\n  cert_file: ours.pem\n  key_file: ours.key\n";
const STRICT: &str = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n";

type Sealed = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A proxy that asks who comes, as `written` says, and shows a certificate for "proxy.example".
fn asking(driver: &str, authority: &Authority, endpoint: &Endpoint, written: &str) -> Proxy {
    authority.sign("proxy.example").files(authority);
    let web = authority.file("web.yml", written);
    Proxy::with(driver, endpoint.address, |cli| {
        cli.web_config = web;
        cli.cores = Some("1".into());
    })
}

fn trusting(authority: &Authority, certificate: Option<(PathBuf, PathBuf)>) -> TlsFiles {
    let authority = authority.ca_file().map(Into::into);
    TlsFiles { authority, certificate, belief: Belief::Proven }
}

fn files(signed: &Signed, name: &str, authority: &Authority) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = signed.files_called(name, authority);
    certificate.map(Into::into).zip(key.map(Into::into))
}

/// A connection that has shaken hands, as far as this end can tell.
fn connect(proxy: &Proxy, files: &TlsFiles, name: &str) -> io::Result<Sealed> {
    let config = client_config(files).expect("the files are good");
    let name = server_name(name).expect("a name");
    let mut session = ClientConnection::new(config.into(), name).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(proxy.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(Client::over(StreamOwned::new(session, stream)))
}

/// The status of the answer to one request over a connection of its own.
fn status(proxy: &Proxy, files: &TlsFiles) -> io::Result<u16> {
    let mut client = connect(proxy, files, "proxy.example")?;
    // What is wrong with our certificate is said behind the handshake.
    client.stream.write_all(&push(1, b"body"))?;
    let mut answer = [0; 12];
    client.stream.read_exact(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    text[9..].parse().map_err(io::Error::other)
}

fn with_user(request: &[u8], user: &str) -> Vec<u8> {
    let at = find(request, b"\r\n").expect("a request line") + 2;
    let line = format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user));
    [&request[..at], line.as_bytes(), &request[at..]].concat()
}

#[test]
fn what_comes_over_tls_goes_out_as_it_came_and_is_answered_whole() {
    on_both_drivers(|driver| {
        let authority = Authority::new();
        let endpoint = Endpoint::start(|request| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            [head.as_bytes(), &request.body].concat()
        });
        let proxy = asking(driver, &authority, &endpoint, TLS);
        let files = trusting(&authority, None);
        let mut client = connect(&proxy, &files, "proxy.example").expect("a connection");
        let sizes = [0, 1, 2000, 16_384, 33_000, 65_536, 65_537, 200_000, 5_000_000];
        for bytes in sizes {
            let answer = client.ask(&push(1, &body(bytes)));
            assert!(answer.status == 200 && answer.body == body(bytes), "{bytes}");
        }
        // In pieces that are records of their own, and several requests in one.
        for piece in push(1, &body(9000)).chunks(700) {
            client.send(piece);
        }
        assert!(client.answer().body == body(9000));
        let three: Vec<u8> = [100, 40_000, 3].iter().flat_map(|it| push(1, &body(*it))).collect();
        client.send(&three);
        for bytes in [100, 40_000, 3] {
            assert!(client.answer().body == body(bytes));
        }
        let chunked = b"POST /w?highlander_weight=1 HTTP/1.1\r\nHost: a\r\n\
                        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(client.ask(chunked).body, b"abc");
        // A standby's is read away and answered.
        let standby = push(0, &body(100_000));
        assert_eq!(
            connect(&proxy, &files, "proxy.example").expect("one").ask(&standby).status,
            204
        );
        client
            .send(b"POST /w?highlander_weight=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        // Its end is the end of TLS: nobody has cut it.
        client.assert_closed();
        proxy.running.stop();
    });
}

#[test]
fn a_certificate_is_wanted_and_only_a_good_one_lets_in() {
    on_both_drivers(|driver| {
        let (authority, other) = (Authority::new(), Authority::new());
        let endpoint = Endpoint::storage();
        let proxy = asking(driver, &authority, &endpoint, &format!("{TLS}{STRICT}"));
        let known = files(&authority.sign("ann"), "ann", &authority);
        assert_eq!(status(&proxy, &trusting(&authority, known.clone())).ok(), Some(204));
        let expired = files(&authority.sign_expired("ann"), "old", &authority);
        let foreign = files(&other.sign("ann"), "foreign", &other);
        for (what, files) in [
            ("none", trusting(&authority, None)),
            ("expired", trusting(&authority, expired)),
            ("of another authority", trusting(&authority, foreign)),
            ("and who trusts another does not come", trusting(&other, known.clone())),
        ] {
            assert!(status(&proxy, &files).is_err(), "{what}");
        }
        let files = trusting(&authority, known);
        assert!(connect(&proxy, &files, "other.example").is_err(), "made out to another name");
        let mut plain = proxy.connect();
        plain.send(&push(1, b"body"));
        let mut answer = Vec::new();
        let _ = plain.stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "without TLS there is no answer");
        until("all are counted", || proxy.running.count(Counter::HandshakesFailed) == 6);
        assert_eq!(endpoint.got().len(), 1, "nothing of those came through");
        assert_eq!(status(&proxy, &files).ok(), Some(204), "and the good one is not disturbed");
        proxy.running.stop();
    });
}

#[test]
fn users_push_and_nobody_else_and_their_name_goes_no_further_than_before() {
    on_both_drivers(|driver| {
        let (authority, endpoint) = (Authority::new(), Endpoint::storage());
        let hash = bcrypt::hash("secret", 4).expect("a hash");
        let users = format!("basic_auth_users:\n  ann: {hash}\n");
        let proxy = asking(driver, &authority, &endpoint, &users);
        let request = push(1, b"body");
        let mut client = proxy.connect();
        for _ in 0..3 {
            assert_eq!(client.ask(&with_user(&request, "ann:secret")).status, 204);
        }
        for wrong in [request.clone(), with_user(&request, "ann:no"), with_user(&request, "bob:x")]
        {
            let mut stranger = proxy.connect();
            let answer = stranger.ask(&wrong);
            assert_eq!(answer.status, 401);
            assert!(answer.head.contains("\r\nWWW-Authenticate: Basic"), "{}", answer.head);
            stranger.assert_closed();
        }
        // What was right does not make the next one right, nor do two at once.
        let twice = with_user(&with_user(&request, "ann:secret"), "ann:secret");
        assert_eq!(proxy.connect().ask(&twice).status, 401);
        assert_eq!(client.ask(&with_user(&request, "ann:Secret")).status, 401);
        assert_eq!(endpoint.got().len(), 3);
        assert_eq!(proxy.running.count(Counter::Unauthorized), 5);
        proxy.running.stop();
    });
}

#[test]
fn a_slow_hash_holds_up_nobody_who_is_known() {
    on_both_drivers(|driver| {
        let (authority, endpoint) = (Authority::new(), Endpoint::storage());
        let hash = bcrypt::hash("secret", 11).expect("a hash");
        let users = format!("basic_auth_users:\n  ann: {hash}\n");
        let proxy = asking(driver, &authority, &endpoint, &users);
        let request = with_user(&push(1, b"body"), "ann:secret");
        let mut known = proxy.connect();
        assert_eq!(known.ask(&request).status, 204);
        // A shard's new connection is not checked again, though others are.
        let refused = Arc::new(AtomicUsize::new(0));
        let (guessing, guesses) = (AtomicBool::new(true), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while guessing.load(Ordering::Relaxed) {
                        let guess = guesses.fetch_add(1, Ordering::Relaxed);
                        let wrong = with_user(&push(1, b"body"), &format!("ann:{guess}"));
                        assert_eq!(proxy.connect().ask(&wrong).status, 401);
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            until("they guess", || refused.load(Ordering::Relaxed) > 0);
            let before = refused.load(Ordering::Relaxed);
            for _ in 0..50 {
                let mut shard = proxy.connect();
                for _ in 0..20 {
                    assert_eq!(shard.ask(&request).status, 204);
                    assert_eq!(known.ask(&request).status, 204);
                }
            }
            // Two thousand answers in the time of a few guesses: had each waited for one, it would have
            // been as many.
            let after = refused.load(Ordering::Relaxed);
            assert!(after - before < 200, "{before} to {after}");
            guessing.store(false, Ordering::Relaxed);
        });
        proxy.running.stop();
    });
}

#[test]
fn more_passwords_from_one_place_than_there_is_room_for_are_turned_away_and_the_rest_is_checked() {
    let (authority, endpoint) = (Authority::new(), Endpoint::storage());
    let hash = |cost| bcrypt::hash("secret", cost).expect("a hash");
    // The first is slow to check, and meanwhile the others stand in line; they are quick, so that the line is
    // gone soon after it however busy the machine is.
    let users = format!("basic_auth_users:\n  ann: {}\n  bob: {}\n", hash(4), hash(11));
    let proxy = asking("uring", &authority, &endpoint, &users);
    let ask = |user: String| with_user(&push(1, b"body"), &user);
    let crowd = |attempt: usize| {
        let mut all: Vec<Client> =
            (0..STRANGERS_OF_ONE_MAX + 20).map(|_| proxy.connect()).collect();
        all[0].send(&ask(format!("bob:{attempt}")));
        for (number, client) in all.iter_mut().enumerate().skip(1) {
            client.send(&ask(format!("ann:{attempt}-{number}")));
        }
        let answer = all.last_mut().expect("there are many").answer();
        // The last of them find no room, at once. Unless the first was read too late to hold them up: then
        // each is answered, and once more.
        if answer.status != 503 {
            all.iter_mut().rev().skip(1).for_each(|client| drop(client.answer()));
            return None;
        }
        Some((all, answer))
    };
    let (mut all, answer) = (0..5).find_map(crowd).expect("the last find no room");
    assert!(answer.head.contains("\r\nRetry-After: "), "{}", answer.head);
    // Somebody elsewhere does, and waits for those before him.
    let mut other = connect_from("127.0.0.3", proxy.address);
    assert_eq!(other.ask(&ask("ann:secret".into())).status, 204);
    assert_eq!(all[0].answer().status, 401);
    drop(all);
    // One that was wrong is known to be: that costs nobody a check.
    let wrong = || proxy.connect().ask(&ask("bob:wrong".into())).status;
    let begun = std::time::Instant::now();
    assert_eq!(wrong(), 401);
    let one = begun.elapsed();
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(wrong(), 401);
    }
    assert!(begun.elapsed() < one * 50, "each is checked: {:?}, one {one:?}", begun.elapsed());
    proxy.running.stop();
}

#[test]
fn a_connection_that_was_asked_for_less_makes_way_for_one_that_is_asked_for_all() {
    on_both_drivers(|driver| {
        let (authority, endpoint) = (Authority::new(), Endpoint::storage());
        let proxy = asking(driver, &authority, &endpoint, TLS);
        let shown = files(&authority.sign("ann"), "ann", &authority);
        let files = trusting(&authority, shown);
        let mut old = connect(&proxy, &files, "proxy.example").expect("a connection");
        assert_eq!(old.ask(&push(1, b"x")).status, 204);
        let may = "  client_ca_file: ca.pem\n  client_auth_type: VerifyClientCertIfGiven\n";
        authority.file("web.yml", &format!("{TLS}{may}"));
        // It has shown nothing, though it may: on a new connection it is who it is.
        until("it is closed", || {
            std::thread::sleep(Duration::from_millis(50));
            let written = old.stream.write_all(&push(1, b"x")).and_then(|()| old.stream.flush());
            let mut answer = [0; 27];
            written.and_then(|()| old.stream.read_exact(&mut answer)).is_err()
        });
        assert_eq!(status(&proxy, &files).ok(), Some(204));
        // Part of a file that is being written does not open the door.
        let hash = bcrypt::hash("x", 4).expect("a hash");
        let users = format!("{TLS}basic_auth_users:\n  ann: {hash}\n");
        authority.file("web.yml", &users);
        until("users are asked for", || {
            std::thread::sleep(Duration::from_millis(50));
            status(&proxy, &files).ok() == Some(401)
        });
        authority.file("web.yml", TLS);
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(900) {
            assert_eq!(status(&proxy, &files).ok(), Some(401), "after {:?}", begun.elapsed());
        }
        until("nobody is asked any more", || status(&proxy, &files).ok() == Some(204));
        proxy.running.stop();
    });
}

#[test]
fn who_may_not_come_any_more_may_not_on_an_old_connection_either() {
    on_both_drivers(|driver| {
        let (authority, endpoint) = (Authority::new(), Endpoint::storage());
        let hash = |password: &str| bcrypt::hash(password, 4).expect("a hash");
        let written = |user: &str, password: &str, strict: &str| {
            format!("{TLS}{strict}basic_auth_users:\n  {user}: {}\n", hash(password))
        };
        let proxy = asking(driver, &authority, &endpoint, &written("ann", "a", STRICT));
        let shown = files(&authority.sign("ann"), "ann", &authority);
        let files = trusting(&authority, shown);
        let connect = || connect(&proxy, &files, "proxy.example");
        let (ann, bob) = (with_user(&push(1, b"x"), "ann:a"), with_user(&push(1, b"x"), "bob:b"));
        let mut old = connect().expect("a connection");
        let mut older = connect().expect("a connection");
        assert_eq!((old.ask(&ann).status, older.ask(&ann).status), (204, 204));
        // A new certificate of our own, and another user: connections go on, and ask anew who is there.
        authority.sign("proxy.example").files(&authority);
        authority.file("web.yml", &written("bob", "b", STRICT));
        until("bob may come", || {
            std::thread::sleep(Duration::from_millis(50));
            connect().is_ok_and(|mut client| client.ask(&bob).status == 204)
        });
        assert_eq!(old.ask(&bob).status, 204, "the same connection");
        assert_eq!(older.ask(&ann).status, 401);
        // The authority is another: who has shown a certificate of the old one is not known any more.
        let other = Authority::new();
        let theirs = std::fs::read_to_string(other.ca_file().expect("a path")).expect("a file");
        authority.file("clients.pem", &theirs);
        let strict = STRICT.replace("ca.pem", "clients.pem");
        authority.file("web.yml", &written("bob", "b", &strict));
        until("the old one is closed", || {
            std::thread::sleep(Duration::from_millis(50));
            let written = old.stream.write_all(&bob).and_then(|()| old.stream.flush());
            let mut answer = [0; 12];
            written.and_then(|()| old.stream.read_exact(&mut answer)).is_err() || {
                assert_eq!(&answer[9..], b"204");
                // The rest of the answer.
                let mut rest = [0; 15];
                old.stream.read_exact(&mut rest).expect("an empty answer");
                false
            }
        });
        proxy.running.stop();
    });
}

#[test]
fn nodes_relay_over_tls_to_one_another_whom_they_have_let_in() {
    on_both_drivers(|driver| {
        let (authority, endpoint) = (Authority::new(), Endpoint::storage());
        authority.sign("proxy.example").files(&authority);
        let hash = bcrypt::hash("secret", 4).expect("a hash");
        let written = format!("{TLS}{STRICT}basic_auth_users:\n  ann: {hash}\n");
        let web = authority.file("web.yml", &written);
        let key = BASE64_STANDARD.encode([7; 32]) + "\n";
        let keys = authority.file("keys", &key);
        let pass = forged_pass();
        let ports = ports(2);
        let nodes = [0, 1].map(|place| {
            Proxy::with(driver, endpoint.address, |cli| {
                node(&ports, place)(cli);
                cli.cluster_key_file = keys.clone();
                cli.web_config = web.clone();
            })
        });
        let shown = files(&authority.sign("ann"), "ann", &authority);
        let files = trusting(&authority, shown);
        let mut clients = [&nodes[0], &nodes[1]]
            .map(|node| connect(node, &files, "proxy.example").expect("a connection"));
        let start = now_ms() - 60_000;
        for scrape in 0..20 {
            let request = write("a", 5, Protocol::V1, start + scrape * 1000, 1.0);
            let request = with_user(&request, "ann:secret");
            let client = &mut clients[scrape as usize % 2];
            // A node that has just begun answers 503.
            until("it is taken", || {
                let answer = client.ask(&request);
                assert!([204, 503].contains(&answer.status), "{answer:?}");
                answer.status == 204
            });
        }
        assert_eq!(stored(&endpoint).len(), 20);
        let relayed = nodes.iter().map(|node| node.running.count(Counter::Relayed));
        let relayed: Vec<u64> = relayed.collect();
        assert!(relayed.contains(&0) && relayed.contains(&10), "{relayed:?}");
        // Whoever is no node and not known is asked on every node.
        for node in &nodes {
            let mut client = connect(node, &files, "proxy.example").expect("a connection");
            assert_eq!(client.ask(&push(5, b"x")).status, 401);
            let mut client = connect(node, &files, "proxy.example").expect("a connection");
            let forged = push(5, b"x");
            let at = find(&forged, b"\r\n").expect("a line") + 2;
            let foreign = b"X-Highlander-Pass: AAAA\r\n";
            // What a node whose clock is slow has relayed, and kept the password of.
            let seal = Seal::of_file(&key, "highlander").expect("a good key").of_passes();
            let old = pass.seal(&seal, [1; 24], UnixMillis(now_ms() - 3_600_000)).expect("it fits");
            let mut late = connect(node, &files, "proxy.example").expect("a connection");
            let old = [b"X-Highlander-Pass: ", &old[..], b"\r\n"].concat();
            let answer = late.ask(&[&forged[..at], &old, &forged[at..]].concat());
            assert_eq!(answer.status, 503);
            assert!(String::from_utf8_lossy(&answer.body).contains("clocks"), "{answer:?}");
            // A 401 would have a source drop what a node with another key has relayed for it.
            assert_eq!(client.ask(&[&forged[..at], foreign, &forged[at..]].concat()).status, 503);
        }
        for node in nodes {
            node.running.stop();
        }
    });
}

#[test]
fn a_user_or_a_certificate_makes_a_source_and_has_the_weight_that_a_rule_gives() {
    on_both_drivers(|driver| {
        let (authority, endpoint) = (Authority::new(), Endpoint::storage());
        authority.sign("proxy.example").files(&authority);
        let hash = bcrypt::hash("x", 4).expect("a hash");
        let users = format!("basic_auth_users:\n  ann: {hash}\n  bob: {hash}\n");
        authority.file("web.yml", &format!("{TLS}{STRICT}{users}"));
        let rules = "web_config: web.yml\ntrust_weight: false\nsource_identity: user\nsources:\n\
                     - match: {user: ann}\n  weight: 10\n\
                     - match: {cert: second}\n  weight: 20\n  group: g\n";
        let config = authority.file("highlander.yml", rules);
        let proxy = Proxy::with(driver, endpoint.address, |cli| cli.config = config);
        let first = files(&authority.sign_called("first"), "first", &authority);
        let second = files(&authority.sign_called("second"), "second", &authority);
        let start = now_ms() - 60_000;
        let ask = |shown: &Option<(PathBuf, PathBuf)>, user: &str, at: i64, value: f64| {
            let files = trusting(&authority, shown.clone());
            let mut client = connect(&proxy, &files, "proxy.example").expect("a connection");
            // What it says of its weight is not believed.
            let request = write("", 99, Protocol::V1, start + at * 1000, value);
            client.ask(&with_user(&request, user)).status
        };
        // Two users with one certificate, from one address: two sources, the second one without a weight.
        assert_eq!(ask(&first, "ann:x", 0, 1.0), 204);
        assert_eq!(ask(&first, "bob:x", 1, 2.0), 204);
        assert_eq!(ask(&first, "ann:x", 2, 3.0), 204);
        assert_eq!(stored(&endpoint).iter().map(|it| it.1).collect::<Vec<_>>(), [1.0, 3.0]);
        // The first rule that fits is the one; by the other it is in a group of its own.
        assert_eq!(ask(&second, "bob:x", 3, 4.0), 204);
        assert_eq!(ask(&second, "ann:x", 4, 5.0), 204);
        let values: Vec<f64> = stored(&endpoint).iter().map(|it| it.1).collect();
        assert_eq!(values, [1.0, 3.0, 4.0, 5.0]);
        proxy.running.stop();
    });
}
