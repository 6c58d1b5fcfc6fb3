//! A file that says who may reach a listener: TLS and users, as Prometheus' exporters have it in
//! `--web.config.file`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::faults::Faults;
use super::file::File;
use super::named::Named;
use super::section::{Refused, Section, slip, text};
use super::yaml::Value;
use crate::base::limits::BCRYPT_COST_MAX;
use crate::io::access::Rules;
use crate::io::tls::badge::Badge;
use crate::io::tls::files::{TlsFile, TlsFileFault};
use crate::io::tls::server::{ClientProof, ServerFiles, ServerTls, server_tls};
use crate::io::users::Users;

const KEYS: &[&str] = &["tls_server_config", "basic_auth_users"];

const REFUSED: &[Refused] =
    &[("http_server_config", "is not read: HTTP/1.1 is spoken, and the headers are our own")];

const TLS_KEYS: &[&str] = &["cert_file", "key_file", "client_ca_file", "client_auth_type"];

const TLS_REFUSED: &[Refused] = &[
    ("cert", "is not read from here: put it into a file, and use cert_file"),
    ("key", "is not read from here: put it into a file, and use key_file"),
    ("client_ca", "is not read from here: put it into a file, and use client_ca_file"),
    ("client_allowed_sans", "is not read: sign who may come with a certificate of their own"),
    ("min_version", "can't be set: TLS 1.2 and 1.3 are spoken"),
    ("max_version", "can't be set: TLS 1.2 and 1.3 are spoken"),
    ("cipher_suites", "can't be set: only good ones are spoken"),
    ("prefer_server_cipher_suites", "can't be set: only good ones are spoken"),
    ("curve_preferences", "can't be set: only good ones are spoken"),
];

/// Reads the file at `path` and those that it names; nodes with this badge are let in too. On failure every fault is in the list, with its line.
pub fn rules(path: &str, badge: Option<&Arc<Badge>>) -> Result<Rules, Vec<String>> {
    let mut faults = Faults::of_file(path);
    let read = File::open(path, &mut faults).and_then(|file| {
        let (root, named) = file.parts();
        let root = Section::open(root, String::new(), &mut faults)?;
        Some(web(&root, named, badge, &mut faults))
    });
    let Some(Web { tls, proof, hashes, files }) = read else { return Err(faults.into_all()) };
    let asks = !hashes.is_empty() || proof == ClientProof::Needed;
    let users = match Users::new(hashes) {
        Ok(users) => users,
        Err(error) => {
            faults.add_of_file(None, error);
            return Err(faults.into_all());
        }
    };
    if !faults.are_none() {
        return Err(faults.into_all());
    }
    let files = [vec![PathBuf::from(path)], files].concat();
    Ok(Rules { tls, users, asks, files })
}

/// What stands in it.
struct Web {
    tls: Option<ServerTls>,
    /// What those have to show who come.
    proof: ClientProof,
    /// Of the users.
    hashes: HashMap<String, String>,
    /// Those that it names.
    files: Vec<PathBuf>,
}

/// Reads the whole file.
fn web(root: &Section<'_>, named: &Named, badge: Option<&Arc<Badge>>, faults: &mut Faults) -> Web {
    root.refuse_others(KEYS, REFUSED, faults);
    let mut files = Vec::new();
    let tls = root.section("tls_server_config", faults);
    let tls = tls.and_then(|section| tls_server(&section, (named, badge), &mut files, faults));
    let users = root.section("basic_auth_users", faults);
    let hashes = users.map(|section| hashes(&section, faults)).unwrap_or_default();
    let proof = tls.as_ref().map(|(_, proof)| *proof).unwrap_or_default();
    Web { tls: tls.map(|(tls, _)| tls), proof, hashes, files }
}

fn tls_server(
    section: &Section<'_>,
    (named, badge): (&Named, Option<&Arc<Badge>>),
    files: &mut Vec<PathBuf>,
    faults: &mut Faults,
) -> Option<(ServerTls, ClientProof)> {
    section.refuse_others(TLS_KEYS, TLS_REFUSED, faults);
    let mut file = |key: &str| {
        let path = named.path(&section.text(key, faults)?);
        files.push(path.clone());
        Some(path)
    };
    let (cert, key, authority) = (file("cert_file"), file("key_file"), file("client_ca_file"));
    let proof = section.text("client_auth_type", faults);
    let proof = faults.choice(
        &section.path("client_auth_type"),
        &proof,
        &[
            ("NoClientCert", ClientProof::None),
            ("VerifyClientCertIfGiven", ClientProof::IfGiven),
            ("RequireAndVerifyClientCert", ClientProof::Needed),
        ],
    );
    if authority.is_none() && proof != ClientProof::None {
        section.fault("client_auth_type", "needs a client_ca_file to verify by", faults);
        return None;
    }
    if authority.is_some() && proof == ClientProof::None {
        let what = "is for a client_auth_type that verifies: RequireAndVerifyClientCert";
        section.fault("client_ca_file", what, faults);
        return None;
    }
    for (file, name) in [(&cert, "cert_file"), (&key, "key_file")] {
        if file.is_none() {
            section.fault(name, "is needed", faults);
        }
    }
    let (certificate, key) = cert.zip(key)?;
    match server_tls(&ServerFiles { certificate, key, authority, proof }, badge) {
        Ok(tls) => Some((tls, proof)),
        Err(found) => {
            found.into_iter().for_each(|fault| of_file(section, fault, faults));
            None
        }
    }
}

fn of_file(section: &Section<'_>, TlsFileFault { file, what }: TlsFileFault, faults: &mut Faults) {
    let key = match file {
        TlsFile::Authority => "client_ca_file",
        TlsFile::Certificate => "cert_file",
        TlsFile::Key => "key_file",
    };
    section.fault(key, what, faults);
}

fn hashes(section: &Section<'_>, faults: &mut Faults) -> HashMap<String, String> {
    let mut hashes = HashMap::new();
    for (name, node) in section.pairs() {
        let path = section.path(&name.text);
        if let (Value::Null, Some(slip)) = (&node.value, slip(&name.text)) {
            faults.add(&path, slip);
            continue;
        }
        let Some(hash) = text(node, &path, faults) else { continue };
        // What stands there may be a password, so it is not shown.
        match hash.parse::<bcrypt::HashParts>() {
            Ok(parts) if parts.get_cost() > BCRYPT_COST_MAX => {
                let what = format!("costs more than {BCRYPT_COST_MAX}: nobody would wait so long");
                faults.add(&path, what);
            }
            Ok(_) if !name.text.contains(':') => _ = hashes.insert(name.text.clone(), hash),
            Ok(_) => faults.add(&path, "a name with a colon can't be said in basic auth"),
            Err(_) => faults.add(&path, "is no bcrypt hash, as htpasswd -nB makes them"),
        }
    }
    hashes
}
