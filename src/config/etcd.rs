//! The part of the configuration that says where an etcd is from which leases are taken.

use std::path::PathBuf;

use super::faults::Faults;
use super::named::read_text;
use super::url::shown;
use crate::cli::Cli;
use crate::io::etcd::client::{EtcdConfig, EtcdLogin, EtcdTls};
use crate::io::tls::files::{Belief, TlsFile, TlsFileFault, TlsFiles, client_config};

/// Reads the flags. `None`: there is none.
pub fn etcd(cli: &Cli, faults: &mut Faults) -> Option<EtcdConfig> {
    let Some(url) = &cli.cluster_lease else {
        for (flag, value) in [
            ("--cluster-lease-ca-file", &cli.cluster_lease_ca_file),
            ("--cluster-lease-cert-file", &cli.cluster_lease_cert_file),
            ("--cluster-lease-key-file", &cli.cluster_lease_key_file),
            ("--cluster-lease-user", &cli.cluster_lease_user),
            ("--cluster-lease-password-file", &cli.cluster_lease_password_file),
        ] {
            if value.is_some() {
                faults.add(flag, "needs --cluster-lease");
            }
        }
        return None;
    };
    let (is_tls, hosts) = match (url.strip_prefix("etcd://"), url.strip_prefix("etcds://")) {
        (Some(hosts), _) => (false, hosts),
        (_, Some(hosts)) => (true, hosts),
        (None, None) => {
            faults.add("--cluster-lease", "does not begin with etcd:// or etcds://");
            return None;
        }
    };
    Some(EtcdConfig {
        hosts: hosts_of(hosts, faults),
        tls: tls(cli, is_tls, faults),
        login: login(cli, faults),
    })
}

fn hosts_of(text: &str, faults: &mut Faults) -> Vec<String> {
    // Before it is split: a password may hold a comma.
    let may_be_shown = shown(text);
    if may_be_shown != text {
        let what = "is no list of host:port: a user goes into --cluster-lease-user";
        faults.add("--cluster-lease", format_args!("'{may_be_shown}' {what}"));
        return Vec::new();
    }
    let mut hosts = Vec::new();
    for host in text.trim_end_matches('/').split(',').filter(|host| !host.is_empty()) {
        let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty()
                && (!name.contains(':') || name.ends_with(']'))
                && port.parse::<u16>().is_ok()
        });
        let is_host = host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/@?#".contains(&byte));
        if has_port && is_host {
            hosts.push(host.to_owned());
        } else {
            faults.add("--cluster-lease", format_args!("'{host}' is no host:port"));
        }
    }
    if hosts.is_empty() {
        faults.add("--cluster-lease", "names no host");
    }
    hosts
}

fn tls(cli: &Cli, is_tls: bool, faults: &mut Faults) -> Option<EtcdTls> {
    let path = |text: &Option<String>| text.as_ref().map(PathBuf::from);
    let pair = (path(&cli.cluster_lease_cert_file), path(&cli.cluster_lease_key_file));
    let ca_file = path(&cli.cluster_lease_ca_file);
    if !is_tls && (ca_file.is_some() || pair.0.is_some() || pair.1.is_some()) {
        faults.add("--cluster-lease", "is etcd://, but files for TLS are given: use etcds://");
    }
    let certificate = match pair {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            faults.add("--cluster-lease-cert-file", "needs --cluster-lease-key-file beside it");
            None
        }
        (None, Some(_)) => {
            faults.add("--cluster-lease-key-file", "needs --cluster-lease-cert-file beside it");
            None
        }
    };
    let tls = is_tls.then_some(EtcdTls { ca_file, certificate })?;
    judge(&tls, faults);
    Some(tls)
}

fn login(cli: &Cli, faults: &mut Faults) -> Option<EtcdLogin> {
    match (&cli.cluster_lease_user, &cli.cluster_lease_password_file) {
        (None, None) => None,
        (Some(user), Some(path)) => match read_text(path.as_ref()) {
            Ok(text) if text.trim().is_empty() => {
                faults.add("--cluster-lease-password-file", format_args!("'{path}' is empty"));
                None
            }
            Ok(text) => {
                let password = text.trim_end_matches(['\r', '\n']).to_owned();
                Some(EtcdLogin { user: user.clone(), password })
            }
            Err(error) => {
                faults.add("--cluster-lease-password-file", format_args!("'{path}': {error}"));
                None
            }
        },
        (Some(_), None) => {
            faults.add("--cluster-lease-user", "needs --cluster-lease-password-file beside it");
            None
        }
        (None, Some(_)) => {
            faults.add("--cluster-lease-password-file", "needs --cluster-lease-user beside it");
            None
        }
    }
}

/// The same files are read at the start.
fn judge(tls: &EtcdTls, faults: &mut Faults) {
    let files = TlsFiles {
        authority: tls.ca_file.clone(),
        certificate: tls.certificate.clone(),
        belief: Belief::Proven,
    };
    for TlsFileFault { file, what } in client_config(&files).err().unwrap_or_default() {
        let flag = match file {
            TlsFile::Authority => "--cluster-lease-ca-file",
            TlsFile::Certificate => "--cluster-lease-cert-file",
            TlsFile::Key => "--cluster-lease-key-file",
        };
        faults.add(flag, what);
    }
}
