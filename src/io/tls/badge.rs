//! What the nodes of one cluster show each other where their listeners speak TLS.
//!
//! A node knows another by an address alone, to which no authority would sign anything. So each makes a key
//! out of the cluster's, the same on all of them, and shows a certificate of that when it is asked by a name
//! that no host has. Whoever has the cluster's key is a node; nobody else can show it.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::io::tls::Tls;
use crate::wire::cluster::seal::Seal;

/// A node is asked for by this.
const NAME: &str = "node.highlander.internal";
/// What the keys are made out of the cluster's with. It is used once with each.
const LABEL: &[u8; 24] = b"certificates of nodes 1\0";
/// PKCS #8 of a key of Ed25519, up to the key (RFC 8410, 7).
const KEY_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What a node shows, and by what it knows others.
#[derive(Debug)]
pub struct Badge {
    certified: Arc<CertifiedKey>,
    /// Of each of the cluster's keys.
    known: Vec<SubjectPublicKeyInfoDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Badge {
    /// That of the cluster with this seal.
    pub fn new(seal: &Seal) -> Result<Arc<Badge>, String> {
        let provider = Arc::new(provider::default_provider());
        let secrets = seal.derived(LABEL);
        let made = secrets.iter().map(|secret| certified(secret, &provider));
        let made = made.collect::<Result<Vec<_>, _>>()?;
        let known = made.iter().map(|certified| key_of(certified.end_entity_cert().ok()?));
        let known = known.collect::<Option<Vec<_>>>().ok_or("a certificate without a key")?;
        let first = made.into_iter().next().ok_or("a cluster without a key")?;
        Ok(Arc::new(Badge { certified: Arc::new(first), known, provider }))
    }

    /// How TLS is spoken with another node.
    pub fn client(self: &Arc<Badge>) -> Tls {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for both versions")
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Tls::new(config, ServerName::try_from(NAME).expect("a name"))
    }

    fn is_of_a_node(&self, certificate: &CertificateDer<'_>) -> bool {
        key_of(certificate).is_some_and(|key| self.known.contains(&key))
    }
}

fn certified(secret: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let seed = digest::digest(&digest::SHA256, secret);
    let key = PrivatePkcs8KeyDer::from([&KEY_HEAD, seed.as_ref()].concat());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519);
    let certificate = pair.and_then(|pair| {
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.self_signed(&pair)
    });
    let chain = vec![certificate.map_err(|error| error.to_string())?.der().clone()];
    CertifiedKey::from_der(chain, key.into(), provider).map_err(|error| error.to_string())
}

fn key_of(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    Some(ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info())
}

impl ServerCertVerifier for Badge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.is_of_a_node(certificate) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Shows our own certificate, and to a node the badge.
#[derive(Debug)]
pub struct Shown {
    /// Our own.
    pub ours: SingleCertAndKey,
    /// The badge.
    pub badge: Arc<Badge>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(NAME) => Some(self.badge.certified.clone()),
            _ => self.ours.resolve(hello),
        }
    }
}

/// Lets nodes in beside those who have a certificate of an authority.
#[derive(Debug)]
pub struct Admitted {
    /// Knows the authorities.
    pub others: Arc<dyn ClientCertVerifier>,
    /// The badge.
    pub badge: Arc<Badge>,
}

impl ClientCertVerifier for Admitted {
    fn offer_client_auth(&self) -> bool {
        self.others.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.others.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        self.others.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.badge.is_of_a_node(certificate) {
            true => Ok(ClientCertVerified::assertion()),
            false => self.others.verify_client_cert(certificate, chain, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};

    use super::*;
    use crate::io::tls::fault::TlsFault;
    use crate::io::tls::session::Session;

    fn badge(keys: &[u8], name: &str) -> Arc<Badge> {
        use base64::Engine as _;
        let key = |byte: &u8| base64::prelude::BASE64_STANDARD.encode([*byte; 32]) + "\n";
        let file: String = keys.iter().map(key).collect();
        Badge::new(&Seal::of_file(&file, name).expect("good keys")).expect("a badge")
    }

    /// A listener that wants a certificate of an authority that has signed nobody.
    fn listener(badge: &Arc<Badge>) -> Arc<ServerConfig> {
        let provider = badge.provider.clone();
        let made = rcgen::generate_simple_self_signed(vec!["storage".into()]).expect("a name");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let ours = CertifiedKey::from_der(vec![made.cert.der().clone()], key.into(), &provider);
        let ours = ours.expect("they belong together").into();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let others = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let others = others.build().expect("there is a root");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_client_cert_verifier(Arc::new(Admitted { others, badge: badge.clone() }))
            .with_cert_resolver(Arc::new(Shown { ours, badge: badge.clone() }));
        Arc::new(config)
    }

    /// How a handshake ends at the node that comes, and at the listener.
    fn meet(comes: &Tls, listens: &Arc<ServerConfig>) -> [Option<TlsFault>; 2] {
        let mut ends = [comes.session().expect("good"), Session::accept(listens).expect("good")];
        for turn in 0..8 {
            let mut said = Vec::new();
            ends[turn % 2].due(&mut said);
            ends[(turn + 1) % 2].open(&said, &mut Vec::new());
        }
        assert!(ends.iter().all(|end| end.end().is_some() || !end.is_handshaking()));
        ends.map(|end| end.end().and_then(Result::err))
    }

    #[test]
    fn nodes_of_one_cluster_let_each_other_in_and_nobody_else() {
        let ours = badge(&[1], "a");
        let listens = listener(&ours);
        assert_eq!(meet(&ours.client(), &listens), [None, None]);
        assert_eq!(meet(&badge(&[1], "a").client(), &listens), [None, None], "another process");
        // While keys are changed the next one is known already, and the last one still.
        assert_eq!(meet(&badge(&[1, 2], "a").client(), &listens), [None, None]);
        let both = listener(&badge(&[1, 2], "a"));
        assert_eq!(meet(&badge(&[2, 1], "a").client(), &both), [None, None]);
        for (other, why) in [(badge(&[2], "a"), "another key"), (badge(&[1], "b"), "another name")]
        {
            let [comes, _] = meet(&other.client(), &listens);
            assert_eq!(comes, Some(TlsFault::UnknownIssuer), "{why}: it is not believed");
            // One that believes everybody is not let in.
            let mut config = rustls::ClientConfig::builder_with_provider(ours.provider.clone())
                .with_safe_default_protocol_versions()
                .expect("both versions")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(crate::io::tls::verify::Anybody(
                    ours.provider.clone(),
                )))
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                    other.certified.clone(),
                )));
            config.alpn_protocols = Vec::new();
            let believes = Tls::new(config, ServerName::try_from(NAME).expect("a name"));
            let [_, listens] = meet(&believes, &listens);
            assert!(listens.is_some(), "{why}: it is not let in");
        }
    }
}
