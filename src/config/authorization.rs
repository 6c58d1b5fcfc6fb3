//! The `Authorization` that an endpoint wants of us.

use base64::Engine as _;

use super::faults::Faults;
use super::named::{Named, read_text};
use super::section::{Refused, Section};
use crate::base::secret::Secret;
use crate::cli::Cli;

const REFUSED_BASIC: &[Refused] = &[
    ("username_file", "is not supported: use username"),
    ("username_ref", "is not supported: use username"),
    ("password_ref", "is not supported: use password_file"),
];
const REFUSED_OTHER: &[Refused] = &[("credentials_ref", "is not supported: use credentials_file")];

/// Reads the flags.
pub fn of_flags(cli: &Cli, faults: &mut Faults, warnings: &mut Vec<String>) -> Option<Secret> {
    let password = match (&cli.remote_password, &cli.remote_password_file) {
        (Some(_), Some(_)) => {
            faults.add("--remote-password", "excludes --remote-password-file: give one of them");
            return None;
        }
        (Some(password), None) => {
            if !faults.is_in_file("--remote-password") {
                warnings.push(
                    "--remote-password is visible to everyone who may run ps: \
                     use --remote-password-file"
                        .to_owned(),
                );
            }
            Some(password.0.clone())
        }
        (None, Some(file)) => match read_text(file.as_ref()) {
            Ok(text) if text.trim().is_empty() => {
                faults.add("--remote-password-file", format_args!("'{file}' is empty"));
                return None;
            }
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                faults.add("--remote-password-file", format_args!("'{file}': {error}"));
                return None;
            }
        },
        (None, None) => None,
    };
    match (&cli.remote_user, password) {
        (None, None) => None,
        (None, Some(_)) => {
            let flag = match cli.remote_password {
                Some(_) => "--remote-password",
                None => "--remote-password-file",
            };
            faults.add(flag, "needs --remote-user");
            None
        }
        (Some(user), _) if user.contains(':') => {
            faults.add("--remote-user", COLON);
            None
        }
        (Some(user), password) => Some(basic(user, &password.unwrap_or_default())),
    }
}

/// Reads `basic_auth` and `authorization` of an endpoint.
pub fn of_stanza(section: &Section<'_>, named: &Named, faults: &mut Faults) -> Option<Secret> {
    let basic = section.section("basic_auth", faults);
    let basic = basic.map(|basic| of_basic_auth(&basic, named, faults));
    let other = section.section("authorization", faults);
    let other = other.map(|other| of_authorization(&other, named, faults));
    if basic.is_some() && other.is_some() {
        section.fault("authorization", "excludes basic_auth: give one of them", faults);
    }
    basic.or(other).flatten()
}

fn of_basic_auth(section: &Section<'_>, named: &Named, faults: &mut Faults) -> Option<Secret> {
    section.refuse_others(&["username", "password", "password_file"], REFUSED_BASIC, faults);
    let password = named.secret(section, ["password", "password_file"], faults);
    if section.node("username").is_none() {
        section.fault("username", "is missing", faults);
    }
    let user = section.text("username", faults)?;
    if user.contains(':') {
        section.fault("username", COLON, faults);
    }
    Some(basic(&user, &password.map(|password| password.0).unwrap_or_default()))
}

fn of_authorization(section: &Section<'_>, named: &Named, faults: &mut Faults) -> Option<Secret> {
    section.refuse_others(&["type", "credentials", "credentials_file"], REFUSED_OTHER, faults);
    let kind = match section.node("type") {
        Some(_) => section.text("type", faults)?,
        None => "Bearer".to_owned(),
    };
    let kind = kind.trim();
    if kind.eq_ignore_ascii_case("basic") {
        section.fault("type", "is basic: use basic_auth", faults);
    } else if !super::headers::is_name(kind) {
        section.fault("type", "is no word such as Bearer", faults);
    }
    let is_missing = ["credentials", "credentials_file"].map(|key| section.node(key).is_none());
    if is_missing == [true, true] {
        section.fault("credentials", "is missing, and credentials_file too", faults);
    }
    let key = if is_missing[0] { "credentials_file" } else { "credentials" };
    let credentials = named.secret(section, ["credentials", "credentials_file"], faults)?;
    if !super::headers::is_value(&credentials.0) {
        // It is not shown, for it is secret.
        section.fault(key, "is empty, or holds what a header can't carry", faults);
    }
    Some(Secret(format!("{kind} {}", credentials.0)))
}

const COLON: &str = "holds a colon, which basic auth can't carry";

fn basic(user: &str, password: &str) -> Secret {
    let coded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    Secret(format!("Basic {coded}"))
}
