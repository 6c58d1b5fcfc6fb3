//! TLS between a load and a candidate: one version and one suite, whatever the candidate prefers.
//!
//! What sealing costs depends on the suite first of all. With its own choice left to each candidate a
//! ratio would be one of ciphers. So the load offers AES-128-GCM alone, which a Go client, as a
//! Prometheus is one, puts first; and it is looked at again after each handshake.

use std::fmt::Debug;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, version,
};

use crate::fault::{During, Fault};

/// What Prometheus and the proxies speak inside.
const HTTP: &[u8] = b"http/1.1";

/// A certificate for 127.0.0.1 that is its own authority, and its key (EC P-256), as PEM.
pub struct Certificate {
    certificate: String,
    key: String,
}

/// Where they were written.
pub struct Files {
    /// The certificate alone.
    pub certificate: PathBuf,
    /// The key alone.
    pub key: PathBuf,
    /// Certificate and key in one, as HAProxy takes them.
    pub both: PathBuf,
}

impl Certificate {
    /// A new one.
    pub fn make() -> Result<Self, Fault> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).during("a key")?;
        let params = rcgen::CertificateParams::new(vec![String::from("127.0.0.1")]);
        let made = params.and_then(|params| params.self_signed(&key)).during("a certificate")?;
        Ok(Self { certificate: made.pem(), key: key.serialize_pem() })
    }

    /// Writes it to where [`Files::in_folder`] says.
    pub fn write(&self, folder: &Path) -> Result<Files, Fault> {
        let files = Files::in_folder(folder);
        let both = [self.certificate.as_str(), &self.key].concat();
        let texts = [
            (&files.certificate, &self.certificate),
            (&files.key, &self.key),
            (&files.both, &both),
        ];
        for (path, text) in texts {
            fs::write(path, text).during(path.display())?;
        }
        Ok(files)
    }
}

impl Files {
    /// Where they are in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            certificate: folder.join("proxy.crt"),
            key: folder.join("proxy.key"),
            both: folder.join("proxy.pem"),
        }
    }
}

/// How to speak to whoever has the key of this certificate.
pub fn client(certificate: &Path) -> Result<Arc<ClientConfig>, Fault> {
    let shown = CertificateDer::from_pem_file(certificate).during(certificate.display())?;
    let mut roots = RootCertStore::empty();
    roots.add(shown).during(certificate.display())?;
    let suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = CryptoProvider { cipher_suites: suites, ..ring::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .during("the load's TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(Arc::new(config))
}

/// A connection to this address, before its handshake.
pub fn begin(config: &Arc<ClientConfig>, address: SocketAddr) -> Result<ClientConnection, Fault> {
    let name = ServerName::from(address.ip());
    ClientConnection::new(Arc::clone(config), name).during("the load's TLS")
}

/// After the handshake: whether it is what every candidate is measured with.
pub fn check(tls: &ClientConnection) -> Result<(), Fault> {
    let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
    same("version", tls.protocol_version(), Some(ProtocolVersion::TLSv1_3))?;
    same("suite", suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256))?;
    same("protocol", tls.alpn_protocol(), Some(HTTP))
}

fn same<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Result<(), Fault> {
    match found == wanted {
        true => Ok(()),
        false => Err(Fault(format!("TLS {what}: {found:?} instead of {wanted:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, SupportedCipherSuite};

    use super::*;

    /// Shakes hands with a server that has these suites, the best first.
    fn shake(suites: &[SupportedCipherSuite], protocol: &[u8]) -> Result<(), Fault> {
        let name = format!("highlander-perf-tls-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let files = Certificate::make()?.write(&folder)?;
        let config = client(&files.certificate);
        let shown = CertificateDer::from_pem_file(&files.both).during("certificate")?;
        let key = PrivateKeyDer::from_pem_file(&files.both).during("key")?;
        fs::remove_dir_all(&folder)?;

        let suites = suites.to_vec();
        let provider = CryptoProvider { cipher_suites: suites, ..ring::default_provider() };
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .during("server")?
            .with_no_client_auth()
            .with_single_cert(vec![shown], key)
            .during("server")?;
        server.alpn_protocols = vec![protocol.to_vec()];
        let mut server = ServerConnection::new(Arc::new(server)).during("server")?;
        let mut client = begin(&config?, SocketAddr::from((Ipv4Addr::LOCALHOST, 443)))?;
        while client.is_handshaking() {
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            client.write_tls(&mut asked)?;
            server.read_tls(&mut asked.as_slice())?;
            server.process_new_packets().during("server")?;
            server.write_tls(&mut answered)?;
            client.read_tls(&mut answered.as_slice())?;
            client.process_new_packets().during("client")?;
        }
        check(&client)
    }

    #[test]
    fn the_suite_is_the_loads_and_who_does_not_have_it_is_not_measured() {
        let (aes_256, aes_128) = (
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        );
        shake(&[aes_256, aes_128], HTTP).expect("the second is taken");
        let Fault(why) = shake(&[aes_256], HTTP).expect_err("there is none in common");
        assert!(why.contains("server: peer is incompatible"), "{why}");
        shake(&[aes_128], b"h2").expect_err("the load speaks no h2");
    }

    #[test]
    fn what_differs_is_named() {
        let Fault(why) = same("suite", Some(1), Some(2)).expect_err("they differ");
        assert_eq!(why, "TLS suite: Some(1) instead of Some(2)");
    }
}
