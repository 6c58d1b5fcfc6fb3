//! How an endpoint is spoken to in TLS.

use std::path::PathBuf;

use super::faults::Faults;
use super::named::Named;
use super::section::{Refused, Section};

/// How an endpoint is spoken to in TLS; the files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSetting {
    /// The certificates that are trusted; those of the system unless given.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub key_file: Option<PathBuf>,
    /// What the endpoint's certificate must be made out to, if not to the URL's host.
    pub server_name: Option<String>,
    /// Trusts whoever answers.
    pub insecure_skip_verify: bool,
}

const KEYS: &[&str] = &["ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"];

const REFUSED: &[Refused] = &[
    ("ca", "is not read from here: put it into a file, and use ca_file"),
    ("cert", "is not read from here: put it into a file, and use cert_file"),
    ("key", "is not read from here: put it into a file, and use key_file"),
    ("min_version", "can't be set: TLS 1.2 and 1.3 are spoken"),
    ("max_version", "can't be set: TLS 1.2 and 1.3 are spoken"),
];

/// Reads a `tls_config`.
pub fn tls(section: &Section<'_>, named: &Named, faults: &mut Faults) -> TlsSetting {
    section.refuse_others(KEYS, REFUSED, faults);
    let mut file = |key: &str| {
        let path = section.text(key, faults).map(|text| named.path(&text))?;
        // What it holds is judged when it is used; that it can be read is known now.
        let _ = named.read(&path, &section.path(key), faults);
        Some(path)
    };
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    if section.node("cert_file").is_some() != section.node("key_file").is_some() {
        let (given, missing) = match section.node("cert_file") {
            Some(_) => ("cert_file", "key_file"),
            None => ("key_file", "cert_file"),
        };
        section.fault(given, format_args!("needs {missing} beside it"), faults);
    }
    let skips = section.text("insecure_skip_verify", faults);
    TlsSetting {
        ca_file,
        cert_file,
        key_file,
        server_name: section.text("server_name", faults),
        insecure_skip_verify: faults.choice(
            &section.path("insecure_skip_verify"),
            &skips,
            &[("false", false), ("true", true)],
        ),
    }
}
