//! The headers that an endpoint gets added.

use super::faults::Faults;
use super::section::{Section, slip, text};
use crate::base::limits::ADDED_BYTES_MAX;
use crate::base::secret::Secret;
use crate::wire::http::rewrite::{PASS, is_hop_by_hop};

/// What the request needs as it is, or what is said elsewhere; in Prometheus they are reserved too.
const RESERVED: &[(&str, &str)] = &[
    ("authorization", "can't be set here: use authorization or basic_auth"),
    ("host", "can't be set: it is the host of the url"),
    ("content-encoding", FRAMING),
    ("content-length", FRAMING),
    ("content-type", FRAMING),
    ("expect", FRAMING),
    ("user-agent", "can't be set: the source says who it is"),
    ("accept-encoding", "can't be set: the source reads the answer"),
    ("www-authenticate", "can't be set: it belongs to answers"),
    ("x-prometheus-remote-write-version", "can't be set: the source knows what it sends"),
    ("x-prometheus-remote-read-version", "can't be set: this is remote write"),
    ("x-highlander-instance", "can't be set here: use --instance-id"),
];
const FRAMING: &str = "can't be set: it describes the body that the source sends";

/// Reads `headers` of an endpoint; `credentials` go into the same bound.
pub fn headers(
    section: &Section<'_>,
    credentials: Option<&Secret>,
    faults: &mut Faults,
) -> Vec<(String, Secret)> {
    let mut found: Vec<(String, Secret)> = Vec::new();
    let mut bytes = credentials.map_or(0, |secret| secret.0.len());
    let pairs = section.section("headers", faults);
    for (name, node) in pairs.iter().flat_map(|pairs| pairs.pairs()) {
        let path = section.path(&format!("headers.{}", name.text));
        if found.iter().any(|(before, _)| before.eq_ignore_ascii_case(&name.text)) {
            // The same spelling twice was named already.
            if !found.iter().any(|(before, _)| *before == name.text) {
                faults.add(&path, "stands there already, in another spelling");
            }
            continue;
        }
        if let Some(why) = reason_against(&name.text) {
            faults.add(&path, why);
            continue;
        }
        let Some(value) = text(node, &path, faults) else { continue };
        if !is_value(&value) {
            // It is not shown, for it may be secret.
            faults.add(&path, "is empty, or holds what a header can't carry");
        }
        bytes += name.text.len() + value.len() + b": \r\n".len();
        found.push((name.text.clone(), Secret(value)));
        if bytes > ADDED_BYTES_MAX {
            break;
        }
    }
    if bytes > ADDED_BYTES_MAX {
        let what = format_args!("take more than {ADDED_BYTES_MAX} bytes, with the credentials");
        section.fault("headers", what, faults);
    }
    found
}

fn reason_against(name: &str) -> Option<&'static str> {
    if !is_name(name) {
        let slip = slip(name).filter(|_| name.contains(':'));
        return slip.or(Some("is no name of a header"));
    }
    if is_hop_by_hop(name) || name.eq_ignore_ascii_case(PASS) {
        return Some("can't be set: it speaks of one connection");
    }
    let reserved = RESERVED.iter().find(|(reserved, _)| reserved.eq_ignore_ascii_case(name));
    reserved.map(|(_, why)| *why)
}

/// Whether `text` is a token of HTTP.
pub fn is_name(text: &str) -> bool {
    let is_sign = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
}

/// Whether `text` is a value that goes into one line and stays as it is: servers cut white space off.
pub fn is_value(text: &str) -> bool {
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
    !text.is_empty() && text.trim() == text && text.bytes().all(is_visible)
}
