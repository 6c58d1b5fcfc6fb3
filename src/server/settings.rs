//! What the cores are told, of what was configured.

use super::fault::StartError;
use crate::config::Config;
use crate::io::core::{Relaying, Settings};
use crate::io::log::Log;
use crate::io::resolver::Addresses;
use crate::wire::http::rewrite::PASS_LINE_BYTES_MAX;

/// The settings of all cores. An error: a thread can't be started, or a file of TLS not be used any more.
pub fn settings(
    config: &Config,
    relaying: Option<Relaying>,
    log: &Log,
) -> Result<Settings, StartError> {
    let endpoint = config.endpoint();
    let tls = endpoint.tls.as_ref().map(|tls| tls.client(&endpoint.host)).transpose();
    let addresses = Addresses::start("endpoint", &endpoint.host, endpoint.port, log);
    Ok(Settings {
        route: endpoint.route(&config.instance_id),
        addresses: addresses.map_err(StartError::Thread)?,
        // There is a fault in what failed.
        tls: tls.map_err(|mut faults| StartError::Tls(faults.swap_remove(0)))?,
        remote_timeout: endpoint.remote_timeout,
        identity: config.identity,
        body_bytes_max: config.body_bytes_max,
        decoded_bytes_max: config.decoded_bytes_max,
        budget: Default::default(),
        relaying,
    })
}

/// By how much the head for the endpoint can be longer than the source's.
pub fn headroom(settings: &Settings) -> usize {
    let pass = settings.relaying.as_ref().map_or(0, |_| PASS_LINE_BYTES_MAX);
    settings.route.added_bytes_max() + pass
}
