//! The files of TLS: whom to trust, and what to show. PEM, and read once, at the start.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::io::named_file::read;
use crate::io::tls::verify::{Anybody, Known};

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates that are trusted; those of the system unless given.
    pub authority: Option<PathBuf>,
    /// Our certificate with its chain, and the file of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who is believed.
    pub belief: Belief,
}

/// Whom the endpoint must prove to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// The owner of a certificate that is trusted and made out to its name.
    Proven,
    /// Anybody: what is said can be read and changed on the way by whoever gets there.
    Anybody,
}

/// Which file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// Of those that are trusted.
    Authority,
    /// Of our certificate.
    Certificate,
    /// Of our key.
    Key,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFileFault {
    /// Which one.
    pub file: TlsFile,
    /// What.
    pub what: String,
}

impl TlsFileFault {
    /// In the file at `path`.
    pub fn new(file: TlsFile, path: &Path, what: &dyn fmt::Display) -> TlsFileFault {
        TlsFileFault { file, what: format!("'{}': {what}", path.display()) }
    }
}

/// Reads all files. On failure all that is wrong is in the list.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig, Vec<TlsFileFault>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(files, &provider);
    let ours = match &files.certificate {
        Some((chain, key)) => ours(chain, key, &provider).map(Some),
        None => Ok(None),
    };
    let (verifier, ours) = match (verifier, ours) {
        (Ok(verifier), Ok(ours)) => (verifier, ours),
        (verifier, ours) => {
            let faults = [verifier.err().map(|fault| vec![fault]), ours.err()];
            return Err(faults.into_iter().flatten().flatten().collect());
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match ours {
        Some(ours) => builder.with_client_cert_resolver(Arc::new(ours)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsFileFault> {
    let given = match &files.authority {
        Some(path) => Some((path, certificates(TlsFile::Authority, path)?)),
        None => None,
    };
    if files.belief == Belief::Anybody {
        return Ok(Arc::new(Anybody(provider.clone())));
    }
    let mut roots = RootCertStore::empty();
    let given = match given {
        Some((path, given)) => {
            for certificate in &given {
                let bad = |error| TlsFileFault::new(TlsFile::Authority, path, &error);
                roots.add(certificate.clone()).map_err(bad)?;
            }
            given
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Vec::new()
        }
    };
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let none = |_| {
        let what = "is needed: the system has no certificates that it trusts".to_owned();
        TlsFileFault { file: TlsFile::Authority, what }
    };
    Ok(Arc::new(Known { chains: chains.build().map_err(none)?, given }))
}

/// Our certificate, if it and its key are good and belong together.
pub fn ours(
    chain_path: &Path,
    key_path: &Path,
    provider: &CryptoProvider,
) -> Result<SingleCertAndKey, Vec<TlsFileFault>> {
    let chain = certificates(TlsFile::Certificate, chain_path);
    let (chain, key) = match (chain, key(key_path)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let fault = match CertifiedKey::from_der(chain, key, provider) {
        Ok(both) => return Ok(both.into()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let what = "is not the key of the certificate";
            TlsFileFault::new(TlsFile::Key, key_path, &what)
        }
        Err(rustls::Error::InvalidCertificate(error)) => {
            TlsFileFault::new(TlsFile::Certificate, chain_path, &error)
        }
        Err(error) => TlsFileFault::new(TlsFile::Key, key_path, &error),
    };
    Err(vec![fault])
}

/// All certificates of a file, one at least.
pub fn certificates(
    file: TlsFile,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsFileFault> {
    let bytes = read(path).map_err(|error| TlsFileFault::new(file, path, &error))?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => {
            Err(TlsFileFault::new(file, path, &"holds no certificate"))
        }
        Ok(found) => Ok(found),
        Err(_) => Err(TlsFileFault::new(file, path, &NO_PEM)),
    }
}

/// The key of a file, the first one.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileFault> {
    let fault = |what: &dyn fmt::Display| TlsFileFault::new(TlsFile::Key, path, what);
    let bytes = read(path).map_err(|error| fault(&error))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => fault(&"holds no key, or an encrypted one"),
        _ => fault(&NO_PEM),
    })
}

/// What is in a file of keys is not shown, not even a line that makes no sense.
const NO_PEM: &str = "is not PEM";
