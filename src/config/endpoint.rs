//! Where requests go.

use super::queue::{Delivery, OutOfOrder};
use super::tls::TlsSetting;
use super::url::{Scheme, Url, shown};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::wire::http::added::Added;
use crate::wire::http::rewrite::Route;
use crate::wire::http::target::{Mount, Place};

/// A remote-write receiver, and how it gets its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Told apart by this in logs and metrics; no two share one.
    pub name: String,
    /// As it was written, but for what may be secret: for the log.
    pub url: String,
    /// Name or address, without port.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they go into `Host`.
    pub authority: String,
    /// What becomes of each target.
    pub mount: Mount,
    /// The `Authorization` header, if the endpoint wants one of ours.
    pub authorization: Option<Secret>,
    /// Further headers, in place of the source's own.
    pub headers: Vec<(String, Secret)>,
    /// How TLS is spoken; `Some` if and only if the URL is https.
    pub tls: Option<TlsSetting>,
    /// The longest wait for it to connect, to take a request and to answer it, each.
    pub remote_timeout: Millis,
    /// When a request is acknowledged.
    pub delivery: Delivery,
    /// Whether it takes samples out of order.
    pub out_of_order: OutOfOrder,
}

impl Endpoint {
    /// One that is at `url` and has everything else as it is if nothing is said.
    pub fn at(text: &str, url: Url, place: Place) -> Endpoint {
        Endpoint {
            name: url.authority.clone(),
            url: shown(text),
            tls: (url.scheme == Scheme::Https).then(TlsSetting::default),
            ..Endpoint::nowhere()
        }
        .located(url, place)
    }

    /// What stands for one that could not be read.
    pub fn nowhere() -> Endpoint {
        Endpoint {
            name: String::new(),
            url: String::new(),
            host: String::new(),
            port: 0,
            authority: String::new(),
            mount: Mount::default(),
            authorization: None,
            headers: Vec::new(),
            tls: None,
            remote_timeout: TIMEOUT,
            delivery: Delivery::Direct,
            out_of_order: OutOfOrder::Refused,
        }
    }

    fn located(self, url: Url, place: Place) -> Endpoint {
        let mount = Mount { place, query: url.query.into_bytes() };
        Endpoint { host: url.host, port: url.port, authority: url.authority, mount, ..self }
    }

    /// How requests are written for it by the instance of this name.
    pub fn route(&self, instance: &str) -> Route {
        let headers = self.headers.iter();
        Route {
            mount: self.mount.clone(),
            host: self.authority.clone().into_bytes(),
            instance: instance.as_bytes().to_vec(),
            authorization: self.authorization.as_ref().map(|it| it.0.clone().into_bytes()),
            added: Added::new(headers.map(|(name, value)| (name.as_str(), value.0.as_str()))),
        }
    }
}

/// As in Prometheus.
pub const TIMEOUT: Millis = Millis(30_000);
