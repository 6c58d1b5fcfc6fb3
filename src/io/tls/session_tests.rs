//! A session against rustls' own server, in memory.

use std::io::{Read as _, Write as _};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::io::tls::verify::{Anybody, Known};

/// A server for "storage", and a client that trusts it.
fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["storage".into()]).expect("a good name");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let chain = vec![made.cert.der().clone()];
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .expect("a version of ring")
        .with_no_client_auth();
    let mut server = server.with_single_cert(chain.clone(), key).expect("they belong together");
    server.session_storage = ServerSessionMemoryCache::new(8);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(client), Arc::new(server))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn start(config: &Arc<ClientConfig>, name: &str) -> Session {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    Session::start(config, &name).expect("a good configuration")
}

/// Both ends of one connection, and what came at the client.
struct Pair {
    client: Session,
    server: ServerConnection,
    plain: Vec<u8>,
    /// And at the server.
    served: Vec<u8>,
    /// The client gets its bytes in pieces of this size.
    cut: usize,
}

impl Pair {
    fn new(client: Session, server: &Arc<ServerConfig>, cut: usize) -> Pair {
        let server = ServerConnection::new(server.clone()).expect("a good configuration");
        Pair { client, server, plain: Vec::new(), served: Vec::new(), cut }
    }

    /// A pair that has shaken hands.
    fn established(version: &'static SupportedProtocolVersion, cut: usize) -> Pair {
        let (client, server) = configs(version);
        let mut pair = Pair::new(start(&client, "storage"), &server, cut);
        pair.shake_hands();
        assert_eq!((pair.client.is_handshaking(), pair.client.end()), (false, None));
        pair
    }

    fn shake_hands(&mut self) {
        for _ in 0..4 {
            let mut sealed = Vec::new();
            self.client.due(&mut sealed);
            self.serve(&sealed);
            self.answer();
        }
    }

    /// Brings bytes to the server.
    fn serve(&mut self, mut sealed: &[u8]) {
        while !sealed.is_empty() {
            self.server.read_tls(&mut sealed).expect("a slice can be read");
            // What is wrong it says in an alert.
            let _ = self.server.process_new_packets();
            let _ = self.server.reader().read_to_end(&mut self.served);
        }
    }

    /// Brings to the client what the server has to say.
    fn answer(&mut self) {
        let sealed = self.said();
        for piece in sealed.chunks(self.cut) {
            self.client.open(piece, &mut self.plain);
        }
    }

    fn said(&mut self) -> Vec<u8> {
        let mut sealed = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut sealed).expect("a vector takes everything");
        }
        sealed
    }
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn data_goes_both_ways_however_it_is_cut() {
    for version in VERSIONS {
        for cut in [1, 7, 4096, usize::MAX] {
            let mut pair = Pair::established(version, cut);
            let (asked, answered) = (body(3000), body(40_000));
            let mut sealed = Vec::new();
            pair.client.seal(&asked, &mut sealed);
            pair.serve(&sealed);
            assert!(pair.served == asked);
            pair.server.writer().write_all(&answered).expect("it fits");
            pair.answer();
            assert!(pair.plain == answered, "cut {cut}");
            assert_eq!(pair.client.end(), None);
        }
    }
}

#[test]
fn a_long_body_is_sealed_in_pieces_that_fit_their_room() {
    for version in VERSIONS {
        let mut pair = Pair::established(version, usize::MAX);
        let whole = body(1_000_000);
        let mut sealed = Vec::new();
        for piece in whole.chunks(SEALED_AT_ONCE_BYTES) {
            sealed.clear();
            pair.client.seal(piece, &mut sealed);
            assert!(sealed.len() <= sealed_bytes(SEALED_AT_ONCE_BYTES), "{}", sealed.len());
            pair.serve(&sealed);
        }
        assert!(pair.served == whole);
    }
}

#[test]
fn only_behind_a_close_notify_the_end_of_the_socket_is_an_end() {
    for version in VERSIONS {
        let mut pair = Pair::established(version, usize::MAX);
        pair.server.writer().write_all(b"answer").expect("it fits");
        pair.server.send_close_notify();
        pair.answer();
        assert_eq!((pair.plain.as_slice(), pair.client.end()), (&b"answer"[..], Some(Ok(()))));
        pair.client.on_end();
        assert_eq!(pair.client.end(), Some(Ok(())));

        let mut pair = Pair::established(version, usize::MAX);
        pair.server.writer().write_all(b"answer").expect("it fits");
        pair.answer();
        pair.client.on_end();
        assert_eq!(pair.plain, b"answer");
        assert_eq!(pair.client.end(), Some(Err(TlsFault::Truncated)));
    }
    let (client, _) = configs(VERSIONS[0]);
    let mut client = start(&client, "storage");
    client.on_end();
    assert_eq!(client.end(), Some(Err(TlsFault::Closed)));
}

#[test]
fn what_is_not_tls_is_told_from_tls_that_breaks() {
    let (config, _) = configs(VERSIONS[0]);
    let not_tls: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"\x16\x03\x03\xff\xff garbage",
    ];
    for bytes in not_tls {
        let mut client = start(&config, "storage");
        client.open(bytes, &mut Vec::new());
        assert_eq!(client.end(), Some(Err(TlsFault::NotTls)), "{bytes:?}");
    }
    let mut pair = Pair::established(VERSIONS[0], usize::MAX);
    pair.server.writer().write_all(b"answer").expect("it fits");
    let mut sealed = pair.said();
    sealed.extend_from_slice(b"\x17\x03\x03\x00\x20 this was sealed with another key.");
    assert_eq!(pair.client.open(&sealed, &mut pair.plain), 6);
    assert_eq!(pair.plain, b"answer", "what came whole before is good");
    assert_eq!(pair.client.end(), Some(Err(TlsFault::Broken)));
    assert_eq!(pair.client.open(b"more", &mut pair.plain), 0, "it has ended");
}

#[test]
fn who_says_nothing_without_end_is_not_listened_to_without_end() {
    let mut pair = Pair::established(VERSIONS[0], usize::MAX);
    let mut said_bytes = 0;
    while pair.client.end().is_none() {
        pair.server.refresh_traffic_keys().expect("TLS 1.3 can");
        let sealed = pair.said();
        said_bytes += sealed.len();
        pair.client.open(&sealed, &mut pair.plain);
        assert!(said_bytes < 2 * BABBLE_BYTES_MAX, "{said_bytes}");
    }
    assert_eq!(pair.client.end(), Some(Err(TlsFault::Broken)));
}

#[test]
fn the_next_connection_resumes_the_last() {
    for version in VERSIONS {
        let (client, server) = configs(version);
        for is_resumed in [false, true, true] {
            let mut pair = Pair::new(start(&client, "storage"), &server, 100);
            pair.shake_hands();
            assert_eq!((pair.client.is_resumed(), pair.client.end()), (is_resumed, None));
        }
    }
}

#[test]
fn a_certificate_for_another_name_is_refused_and_the_server_is_told() {
    for version in VERSIONS {
        let (client, server) = configs(version);
        let mut pair = Pair::new(start(&client, "other"), &server, 100);
        pair.shake_hands();
        assert_eq!(pair.client.end(), Some(Err(TlsFault::WrongName)));
        let told = pair.server.process_new_packets().expect_err("it was told");
        assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told}");
    }
}

#[test]
fn a_certificate_that_was_given_itself_may_be_its_own_authority() {
    use rustls::client::danger::ServerCertVerifier as _;

    let mut params = rcgen::CertificateParams::new(vec!["storage".into()]).expect("a good name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate").der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.clone()).expect("a certificate");
    let chains = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let chains = chains.build().expect("there is a root");
    let verify = |given: &[CertificateDer<'static>], name: &str, now: UnixTime| {
        let known = Known { chains: chains.clone(), given: given.to_vec() };
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let verdict = known.verify_server_cert(&made, &[], &name, &[], now);
        verdict.map(drop).map_err(|error| TlsFault::of(&error, true))
    };
    let given = [made.clone()];
    assert_eq!(verify(&given, "storage", UnixTime::now()), Ok(()));
    let refused = verify(&[], "storage", UnixTime::now());
    assert!(matches!(refused, Err(TlsFault::BadCertificate(_))), "{refused:?}");
    assert_eq!(verify(&given, "other", UnixTime::now()), Err(TlsFault::WrongName));
    // It is made for the years from 1975 to 4096.
    let early = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
    assert_eq!(verify(&given, "storage", early), Err(TlsFault::NotYetValid));
    let name = ServerName::try_from("other").expect("a name");
    let anybody = Anybody(provider).verify_server_cert(&made, &[], &name, &[], early);
    assert!(anybody.is_ok());
}

#[test]
fn a_record_that_has_come_in_part_is_seen_wherever_it_is_cut() {
    let records = [&[23, 3, 3, 0, 2, 8, 9][..], &[22, 3, 3, 1, 0], &[7; 256], &[21, 3, 3, 0, 0]];
    let bytes = records.concat();
    for cut in 0..=bytes.len() {
        let mut border = Border::default();
        border.pass(&bytes[..cut]);
        assert_eq!(border.is_between_records(), [0, 7, 268, 273].contains(&cut), "{cut}");
        border.pass(&bytes[cut..]);
        assert!(border.is_between_records());
    }
}
