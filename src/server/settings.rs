//! What the cores are told, of what was configured.

use super::fault::StartError;
use super::queues::Opened;
use crate::config::{self, Config};
use crate::io::core::{Relaying, Settings};
use crate::io::endpoint::Endpoint;
use crate::io::link::EndpointId;
use crate::io::log::Log;
use crate::io::resolver::Addresses;
use crate::wire::http::rewrite::{PASS_LINE_BYTES_MAX, Route};

/// The settings of all cores. An error: a thread can't be started, or a file of TLS not be used any more.
pub fn settings(
    config: &Config,
    relaying: Option<Relaying>,
    queues: &[Opened],
    log: &Log,
) -> Result<Settings, StartError> {
    let endpoints = config.endpoints.iter();
    let endpoints = endpoints.map(|setting| endpoint(setting, &config.instance_id, log));
    let queued = queues.iter().map(|it| (it.endpoint, it.running.queue.clone()));
    let is_queued = |id: &EndpointId| queues.iter().any(|it| it.endpoint == *id);
    let direct = (0..config.endpoints.len()).map(EndpointId).filter(|id| !is_queued(id));
    let is_one_direct = config.endpoints.len() == 1 && queues.is_empty();
    Ok(Settings {
        endpoints: endpoints.collect::<Result<_, _>>()?,
        direct: direct.collect(),
        queued: queued.collect(),
        common: (!is_one_direct).then(Route::common),
        recognition: config.recognition.clone(),
        body_bytes_max: config.body_bytes_max,
        decoded_bytes_max: config.decoded_bytes_max,
        budget: Default::default(),
        relaying,
    })
}

fn endpoint(
    setting: &config::endpoint::Endpoint,
    instance: &str,
    log: &Log,
) -> Result<Endpoint, StartError> {
    let tls = setting.tls.as_ref().map(|tls| tls.client(&setting.host)).transpose();
    let addresses = Addresses::start("endpoint", &setting.host, setting.port, log);
    Ok(Endpoint {
        name: setting.name.clone(),
        route: setting.route(instance),
        addresses: addresses.map_err(StartError::Thread)?,
        // There is a fault in what failed.
        tls: tls.map_err(|mut faults| StartError::Tls(faults.swap_remove(0)))?,
        remote_timeout: setting.remote_timeout,
    })
}

/// By how much the head for the endpoint can be longer than the source's.
pub fn headroom(settings: &Settings) -> usize {
    let pass = settings.relaying.as_ref().map_or(0, |_| PASS_LINE_BYTES_MAX);
    let routes = settings.endpoints.iter().map(|endpoint| &endpoint.route);
    let added = routes.chain(&settings.common).map(Route::added_bytes_max).max();
    added.unwrap_or_default() + pass
}
