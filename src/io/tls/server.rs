//! TLS with those who come to us: what is shown to them, and what they have to show.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::io::tls::badge::{Admitted, Badge, Shown};
use crate::io::tls::files::{TlsFile, TlsFileFault, certificates, ours};

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Our certificate with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificates by which those are verified who come.
    pub authority: Option<PathBuf>,
    /// Whether they have to show one.
    pub proof: ClientProof,
}

/// What those have to show who come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientProof {
    /// Nothing.
    #[default]
    None,
    /// A certificate that is good, if they have any.
    IfGiven,
    /// A certificate that is good.
    Needed,
}

/// How TLS is spoken with those who come. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For a connection that begins.
    pub config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    proof: ClientProof,
}

impl ServerTls {
    /// Whether a connection that began under other rules, those `before`, may go on: its client was asked
    /// for the same, and is let in with what it has shown. One that was asked for less would else be another
    /// source than its next connection.
    pub fn admits(&self, before: &ServerTls, shown: &[CertificateDer<'static>]) -> bool {
        match (shown, self.proof) {
            (_, proof) if proof != before.proof => false,
            (_, ClientProof::None) | ([], ClientProof::IfGiven) => true,
            ([], ClientProof::Needed) => false,
            ([own, others @ ..], _) => {
                self.verifier.verify_client_cert(own, others, UnixTime::now()).is_ok()
            }
        }
    }
}

/// Reads all files. On failure all that is wrong is in the list.
/// Nodes with this badge are let in too.
pub fn server_tls(
    files: &ServerFiles,
    badge: Option<&Arc<Badge>>,
) -> Result<ServerTls, Vec<TlsFileFault>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(files, &provider);
    let ours = ours(&files.certificate, &files.key, &provider);
    let (verifier, ours) = match (verifier, ours) {
        (Ok(verifier), Ok(ours)) => (verifier, ours),
        (verifier, ours) => {
            let mut faults: Vec<TlsFileFault> = verifier.err().into_iter().collect();
            faults.extend(ours.err().into_iter().flatten());
            return Err(faults);
        }
    };
    let verifier = match badge.cloned() {
        Some(badge) => Arc::new(Admitted { others: verifier, badge }),
        None => verifier,
    };
    let shown: Arc<dyn ResolvesServerCert> = match badge.cloned() {
        Some(badge) => Arc::new(Shown { ours, badge }),
        None => Arc::new(ours),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for both versions")
        .with_client_cert_verifier(verifier.clone())
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerTls { config: Arc::new(config), verifier, proof: files.proof })
}

fn verifier(
    files: &ServerFiles,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsFileFault> {
    let Some(path) = files.authority.as_ref().filter(|_| files.proof != ClientProof::None) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let bad = |error: &dyn std::fmt::Display| TlsFileFault::new(TlsFile::Authority, path, error);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::Authority, path)? {
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match files.proof {
        ClientProof::IfGiven => builder.allow_unauthenticated(),
        ClientProof::None | ClientProof::Needed => builder,
    };
    builder.build().map_err(|error| bad(&error))
}
