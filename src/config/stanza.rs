//! The `remote_write` of a configuration file: endpoints, written as in Prometheus.
//!
//! What Prometheus knows and this program can't do is refused with the reason: a stanza that was
//! copied over must not do less than it says.

use super::authorization;
use super::endpoint::Endpoint;
use super::faults::Faults;
use super::headers::headers;
use super::named::Named;
use super::queue::{Delivery, delivery};
use super::section::{Refused, Section};
use super::tls::{TlsSetting, tls};
use super::url::{Url, UrlFault, shown};
use super::yaml::{Node, Value};
use crate::base::limits::ENDPOINTS_MAX;
use crate::base::time::Millis;
use crate::wire::http::target::Place;

const KEYS: &[&str] = &[
    "url",
    "name",
    "headers",
    "basic_auth",
    "authorization",
    "tls_config",
    "remote_timeout",
    "delivery",
    "queue",
    "out_of_order",
];

const AS_SENT: &str = "can't be honoured: requests go on as they were sent. Set it in the \
                       Prometheus that sends";
const UNSIGNED: &str = "is not supported: put a proxy that signs requests before the endpoint";
const NO_PROXY: &str = "is not supported: endpoints are reached directly";

const REFUSED: &[Refused] = &[
    ("write_relabel_configs", AS_SENT),
    ("metadata_config", AS_SENT),
    ("protobuf_message", AS_SENT),
    ("send_exemplars", AS_SENT),
    ("send_native_histograms", AS_SENT),
    ("queue_config", "is about the queue in Prometheus: use delivery: queued and queue"),
    ("sigv4", UNSIGNED),
    ("azuread", UNSIGNED),
    ("google_iam", UNSIGNED),
    ("oauth2", "is not supported: use authorization with a credentials_file"),
    ("bearer_token", "is not supported: use authorization with credentials"),
    ("bearer_token_file", "is not supported: use authorization with a credentials_file"),
    ("http_headers", "is not supported: use headers"),
    ("proxy_url", NO_PROXY),
    ("no_proxy", NO_PROXY),
    ("proxy_from_environment", NO_PROXY),
    ("proxy_connect_header", NO_PROXY),
    ("follow_redirects", "can't be set: redirects go back to the source. Give the last url"),
    ("enable_http2", "can't be set: endpoints are spoken to in HTTP/1.1"),
    ("round_robin_dns", "can't be set: all addresses of a name are tried in turn"),
];

/// Reads all endpoints. `timeout` is for those that say none.
pub fn endpoints(
    node: &Node,
    timeout: Millis,
    named: &Named,
    faults: &mut Faults,
) -> Vec<Endpoint> {
    let Value::List(items) = &node.value else {
        faults.add("remote_write", "is not a list: put '- ' before the first url");
        return Vec::new();
    };
    if items.is_empty() {
        faults.add("remote_write", "names no endpoint");
    }
    if items.len() > ENDPOINTS_MAX {
        faults.add("remote_write", format_args!("names more than {ENDPOINTS_MAX} endpoints"));
        return Vec::new();
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("remote_write[{index}]");
        let Some(section) = Section::open(item, path, faults) else {
            // What is said of the others counts from the first on.
            endpoints.push(Endpoint::nowhere());
            continue;
        };
        let endpoint = endpoint(&section, timeout, named, faults);
        for before in &endpoints {
            refuse_shared(&section, &endpoint, before, faults);
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn endpoint(
    section: &Section<'_>,
    timeout: Millis,
    named: &Named,
    faults: &mut Faults,
) -> Endpoint {
    section.refuse_others(KEYS, REFUSED, faults);
    let at = located(section, faults);
    let (delivery, out_of_order) = delivery(section, named, faults);
    let authorization = authorization::of_stanza(section, named, faults);
    let headers = headers(section, authorization.as_ref(), faults);
    let wait = section.text("remote_timeout", faults);
    let remote_timeout = faults.duration(&section.path("remote_timeout"), &wait, timeout.0);
    if wait.is_some() {
        refuse_short(&section.path("remote_timeout"), remote_timeout, faults);
    }
    Endpoint {
        name: name(section, faults).unwrap_or_else(|| at.name.clone()),
        tls: of_tls(section, &at, named, faults),
        authorization,
        headers,
        remote_timeout,
        delivery,
        out_of_order,
        ..at
    }
}

/// As in Prometheus, a request goes to the path of the URL and nowhere else. A URL without one leaves
/// requests their own.
fn located(section: &Section<'_>, faults: &mut Faults) -> Endpoint {
    if section.node("url").is_none() {
        section.fault("url", "is missing", faults);
    }
    let Some(text) = section.text("url", faults) else { return Endpoint::nowhere() };
    let why = match Url::parse(&text) {
        Ok(url) => {
            let place = match url.path.as_str() {
                "" | "/" => Place::default(),
                path => Place::At(path.into()),
            };
            return Endpoint::at(&text, url, place);
        }
        Err(UrlFault::Credentials) => "holds credentials: use basic_auth".to_owned(),
        Err(why) => why.to_string(),
    };
    section.fault("url", format_args!("'{}' {why}", shown(&text)), faults);
    Endpoint::nowhere()
}

fn name(section: &Section<'_>, faults: &mut Faults) -> Option<String> {
    let name = section.text("name", faults)?;
    let is_shown = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if name.trim().is_empty() || name.len() > 64 || !is_shown {
        section.fault("name", "is not 1 to 64 visible ASCII characters and spaces", faults);
    }
    Some(name)
}

fn of_tls(
    section: &Section<'_>,
    at: &Endpoint,
    named: &Named,
    faults: &mut Faults,
) -> Option<TlsSetting> {
    let setting = section.section("tls_config", faults).map(|own| tls(&own, named, faults));
    if setting.is_some() && at.tls.is_none() && !at.url.is_empty() {
        section.fault("tls_config", "is of no use: the url is not https", faults);
    }
    at.tls.is_some().then(|| setting.unwrap_or_default())
}

/// Deadlines are looked at ten times a second.
pub fn refuse_short(flag: &str, timeout: Millis, faults: &mut Faults) {
    if timeout < Millis(1000) {
        faults.add(flag, "is shorter than 1s");
    }
}

/// What two endpoints may not have in common.
fn refuse_shared(
    section: &Section<'_>,
    endpoint: &Endpoint,
    before: &Endpoint,
    faults: &mut Faults,
) {
    if endpoint.name == before.name && !endpoint.name.is_empty() {
        let what = match section.node("name") {
            Some(_) => "is the name of another endpoint too",
            None => "is the host of another endpoint too: give it a name",
        };
        section.fault("name", format_args!("'{}' {what}", endpoint.name), faults);
    }
    if let (Delivery::Queued(queue), Delivery::Queued(other)) =
        (&endpoint.delivery, &before.delivery)
        && queue.dir == other.dir
    {
        let what = format_args!("'{}' is the folder of another queue too", queue.dir.display());
        section.fault("queue.dir", what, faults);
    }
}

#[cfg(test)]
#[path = "stanza_tests.rs"]
mod tests;
