//! An authority made for a test, what it signs, and endpoints that speak TLS with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use highlander::cli::Cli;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::*;

/// Signs certificates. Its own is in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// A certificate and its key.
pub struct Signed {
    pub chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    pem: String,
}

/// One end of a connection with TLS, at the endpoint.
pub type Stream = StreamOwned<ServerConnection, TcpStream>;

impl Authority {
    pub fn new() -> Authority {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let dir = std::env::temp_dir();
        let dir = dir.join(format!("highlander-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a new folder");
        let authority = Authority { issuer, dir };
        authority.file("ca.pem", &authority.issuer.pem());
        authority
    }

    /// Writes a file; its path.
    pub fn file(&self, name: &str, text: &str) -> Option<String> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).expect("a new file");
        Some(path.to_str().expect("a path of ASCII").to_owned())
    }

    pub fn ca_file(&self) -> Option<String> {
        Some(self.dir.join("ca.pem").to_str().expect("a path of ASCII").to_owned())
    }

    /// A certificate made out to `name`, a DNS name or an address.
    pub fn sign(&self, name: &str) -> Signed {
        self.sign_with(name, |_| {})
    }

    pub fn sign_expired(&self, name: &str) -> Signed {
        self.sign_with(name, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// One whose subject has this common name.
    pub fn sign_called(&self, common: &str) -> Signed {
        self.sign_with("client.example", |params| {
            params.distinguished_name.push(DnType::CommonName, common);
        })
    }

    fn sign_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new(vec![name.into()]).expect("a good name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// What an endpoint needs that shows `signed`.
    pub fn server(&self, signed: &Signed) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_no_client_auth();
        finish(config.with_single_cert(signed.chain.clone(), signed.key()))
    }

    /// The same, and it wants a certificate of ours.
    pub fn strict_server(&self, signed: &Signed) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_client_cert_verifier(clients.build().expect("there is a root"));
        finish(config.with_single_cert(signed.chain.clone(), signed.key()))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn finish(config: Result<ServerConfig, rustls::Error>) -> Arc<ServerConfig> {
    let mut config = config.expect("certificate and key belong together");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().expect("random numbers");
    Arc::new(config)
}

impl Signed {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key")
    }

    /// Certificate and key as files.
    pub fn files(&self, authority: &Authority) -> (Option<String>, Option<String>) {
        self.files_called("ours", authority)
    }

    /// The same as files of another name.
    pub fn files_called(&self, name: &str, of: &Authority) -> (Option<String>, Option<String>) {
        let key = self.key.serialize_pem();
        (of.file(&format!("{name}.pem"), &self.pem), of.file(&format!("{name}.key"), &key))
    }
}

/// An endpoint that speaks TLS.
pub struct Secure {
    pub endpoint: Endpoint,
    pub kinds: Arc<Mutex<Vec<Option<HandshakeKind>>>>,
}

impl Secure {
    /// Gives each connection that has shaken hands to `part`, with its number.
    pub fn raw(
        config: Arc<ServerConfig>,
        part: impl Fn(&mut Stream, usize) + Send + Sync + 'static,
    ) -> Secure {
        let kinds: Arc<Mutex<Vec<Option<HandshakeKind>>>> = Arc::default();
        let record = kinds.clone();
        let endpoint = Endpoint::raw(move |socket, connection| {
            let tls = ServerConnection::new(config.clone()).expect("a good configuration");
            let mut stream = StreamOwned::new(tls, socket);
            while stream.conn.is_handshaking() {
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    // The other end closes first: it is to hear what was wrong.
                    let _ = stream.sock.read(&mut [0; 100]);
                    return;
                }
            }
            let kind = stream.conn.handshake_kind();
            record.lock().expect("no test panics in here").push(kind);
            part(&mut stream, connection);
        });
        Secure { endpoint, kinds }
    }

    /// Reads requests and writes what `answer` gives for each; an empty answer closes instead.
    pub fn start(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Got) -> Vec<u8> + Send + Sync + 'static,
    ) -> Secure {
        Secure::raw(config, move |stream, connection| {
            let mut unread = Vec::new();
            while let Some(request) = read_request(stream, &mut unread, connection) {
                let bytes = answer(&request);
                if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                    break;
                }
                let _ = stream.flush();
            }
        })
    }

    /// Answers 204 to everything.
    pub fn storage(config: Arc<ServerConfig>) -> Secure {
        Secure::start(config, |_| NO_CONTENT.to_vec())
    }

    pub fn port(&self) -> u16 {
        self.endpoint.address.port()
    }

    /// The handshakes so far.
    pub fn kinds(&self) -> Vec<Option<HandshakeKind>> {
        self.kinds.lock().expect("no test panics in here").clone()
    }

    /// A proxy before it that trusts `authority`.
    pub fn proxy(&self, driver: &str, authority: &Authority) -> Proxy {
        self.proxy_with(driver, authority, |_| {})
    }

    pub fn proxy_with(
        &self,
        driver: &str,
        authority: &Authority,
        change: impl FnOnce(&mut Cli),
    ) -> Proxy {
        Proxy::with(driver, self.endpoint.address, |cli| {
            cli.remote = Some(format!("https://127.0.0.1:{}", self.port()));
            cli.remote_ca_file = authority.ca_file();
            cli.cores = Some("1".into());
            change(cli);
        })
    }
}

pub const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
