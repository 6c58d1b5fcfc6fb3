//! The part of the configuration that says how TLS is spoken with an endpoint, as Prometheus'
//! `tls_config` has it.
//!
//! The files are read while the configuration is, to name what is wrong with them among the other
//! faults, and once more when the server starts.

use std::path::PathBuf;

use super::faults::Faults;
use super::named::Named;
use super::section::{Refused, Section};
use crate::cli::Cli;
use crate::io::tls::files::{
    Belief, TlsFile, TlsFileFault, TlsFiles, certificates, client_config, key,
};
use crate::io::tls::{Tls, server_name};

/// How TLS is spoken with an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSetting {
    /// The certificates that are trusted; those of the system unless given.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with its chain.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// To whom the endpoint's certificate must be made out; to the host of the URL unless given.
    pub server_name: Option<String>,
    /// Whether anybody is believed to be the endpoint.
    pub insecure_skip_verify: bool,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettingFault {
    /// In what: the name of a field.
    pub key: &'static str,
    /// What.
    pub what: String,
}

impl TlsSetting {
    /// Reads the files, for an endpoint whose URL has this host. On failure every fault is in the list.
    pub fn client(&self, host: &str) -> Result<Tls, Vec<TlsSettingFault>> {
        let mut faults = Vec::new();
        let mut add = |key, what| faults.push(TlsSettingFault { key, what });
        let name = server_name(self.server_name.as_deref().unwrap_or(host));
        match (&name, &self.server_name) {
            (Some(_), _) => {}
            (None, Some(name)) => add("server_name", format!("'{name}' is no name and no address")),
            (None, None) => {
                add("server_name", format!("is needed: no certificate is made out to '{host}'"));
            }
        }
        // One without the other is looked at all the same, so that all its faults are told.
        let lone = match (&self.cert_file, &self.key_file) {
            (Some(file), None) => {
                add("cert_file", "has no key beside it".to_owned());
                certificates(TlsFile::Certificate, file).err()
            }
            (None, Some(file)) => {
                add("key_file", "has no certificate beside it".to_owned());
                key(file).err()
            }
            (Some(_), Some(_)) | (None, None) => None,
        };
        faults.extend(lone.map(of_file));
        let files = TlsFiles {
            authority: self.ca_file.clone(),
            certificate: self.cert_file.clone().zip(self.key_file.clone()),
            belief: if self.insecure_skip_verify { Belief::Anybody } else { Belief::Proven },
        };
        match (client_config(&files), name) {
            (Ok(config), Some(name)) if faults.is_empty() => return Ok(Tls::new(config, name)),
            (Ok(_), _) => {}
            (Err(found), _) => faults.extend(found.into_iter().map(of_file)),
        }
        Err(faults)
    }
}

fn of_file(TlsFileFault { file, what }: TlsFileFault) -> TlsSettingFault {
    let key = match file {
        TlsFile::Authority => "ca_file",
        TlsFile::Certificate => "cert_file",
        TlsFile::Key => "key_file",
    };
    TlsSettingFault { key, what }
}

/// Reads the flags, for the endpoint of the command line with this host. `None`: it is not https.
pub fn of_flags(
    cli: &Cli,
    https_host: Option<&str>,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Option<TlsSetting> {
    let Some(host) = https_host else {
        for (flag, _) in given(cli).into_iter().filter(|(_, is_given)| *is_given) {
            faults.add(flag, "is for an https:// --remote");
        }
        return None;
    };
    let path = |text: &Option<String>| text.as_ref().map(PathBuf::from);
    let setting = TlsSetting {
        ca_file: path(&cli.remote_ca_file),
        cert_file: path(&cli.remote_cert_file),
        key_file: path(&cli.remote_key_file),
        server_name: cli.remote_server_name.clone(),
        insecure_skip_verify: cli.remote_insecure_skip_verify,
    };
    for fault in setting.client(host).err().unwrap_or_default() {
        faults.add(&format!("--remote-{}", fault.key.replace('_', "-")), fault.what);
    }
    if setting.insecure_skip_verify {
        warnings.push(
            "--remote-insecure-skip-verify: whoever gets between can be the endpoint".to_owned(),
        );
    }
    Some(setting)
}

/// The flags, and which of them are given.
pub fn given(cli: &Cli) -> [(&'static str, bool); 5] {
    [
        ("--remote-ca-file", cli.remote_ca_file.is_some()),
        ("--remote-cert-file", cli.remote_cert_file.is_some()),
        ("--remote-key-file", cli.remote_key_file.is_some()),
        ("--remote-server-name", cli.remote_server_name.is_some()),
        ("--remote-insecure-skip-verify", cli.remote_insecure_skip_verify),
    ]
}

const KEYS: &[&str] = &["ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"];

const REFUSED: &[Refused] = &[
    ("ca", "is not read from here: put it into a file, and use ca_file"),
    ("cert", "is not read from here: put it into a file, and use cert_file"),
    ("key", "is not read from here: put it into a file, and use key_file"),
    ("ca_ref", "is not supported: use ca_file"),
    ("cert_ref", "is not supported: use cert_file"),
    ("key_ref", "is not supported: use key_file"),
    ("min_version", "can't be set: TLS 1.2 and 1.3 are spoken"),
    ("max_version", "can't be set: TLS 1.2 and 1.3 are spoken"),
];

/// Reads a `tls_config`. The files that it names are not looked at.
pub fn tls(section: &Section<'_>, named: &Named, faults: &mut Faults) -> TlsSetting {
    section.refuse_others(KEYS, REFUSED, faults);
    let mut file = |key: &str| section.text(key, faults).map(|text| named.path(&text));
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
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
