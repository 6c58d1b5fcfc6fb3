//! What the cores are told, made of what was configured, and what has to stay the same from one reload to
//! the next: the numbers of endpoints, and the routes that kept requests were written under.

use std::sync::Arc;

use super::fault::StartError;
use crate::base::limits::ENDPOINTS_EVER_MAX;
use crate::config::endpoint::Endpoint as Setting;
use crate::config::queue::Delivery;
use crate::config::{Config, TlsSettingFault};
use crate::io::buffers::Budget;
use crate::io::endpoint::{Endpoint, Endpoints};
use crate::io::link::{Edition, EndpointId};
use crate::io::log::Log;
use crate::io::queue::thread::Queue;
use crate::io::resolver::Addresses;
use crate::io::settings::{Relaying, Routes, Settings};
use crate::wire::http::rewrite::{PASS_LINE_BYTES_MAX, Route};

/// What there has been since the start.
#[derive(Clone, Default)]
pub struct Ledger {
    /// By the number of the endpoint.
    names: Vec<String>,
    /// How many endpoints have been made.
    editions: u32,
    /// Those of the first that answers itself, by their numbers.
    routes: Routes,
    /// The endpoints of now, in the order of the configuration.
    made: Vec<(Setting, Arc<Endpoint>)>,
}

/// What all settings of one process have in common.
#[derive(Clone)]
pub struct Common {
    /// The memory for large bodies.
    pub budget: Budget,
    /// How requests go to other nodes.
    pub relaying: Option<Arc<Relaying>>,
}

/// Why there are no endpoints as they are configured.
pub enum Unmade {
    /// A thread can't be started.
    Thread(std::io::Error),
    /// A file of TLS can't be used any more.
    Tls(TlsSettingFault),
    /// So many names, or routes, are not kept apart.
    Full(String),
}

impl From<Unmade> for StartError {
    fn from(unmade: Unmade) -> StartError {
        match unmade {
            Unmade::Thread(error) => StartError::Thread(error),
            Unmade::Tls(fault) => StartError::Tls(fault),
            Unmade::Full(what) => StartError::Thread(std::io::Error::other(what)),
        }
    }
}

impl Ledger {
    /// What there is when the endpoints are as `config` has them. Those that are the same stay as they
    /// are, with their connections; but one with TLS is made anew, because its files may have changed.
    pub fn with(&self, config: &Config, log: &Log) -> Result<Ledger, Unmade> {
        let mut next = Ledger { made: Vec::new(), ..self.clone() };
        for setting in &config.endpoints {
            let before = self.made.iter().find(|(_, it)| it.name == setting.name);
            let endpoint = match before {
                Some((was, endpoint)) if is_same(was, setting) => endpoint.clone(),
                before => Arc::new(next.make(setting, config, before, log)?),
            };
            next.made.push((setting.clone(), endpoint));
        }
        let first = next.direct().next();
        let has_room = first.is_none_or(|it| self.routes.find(&it.route).is_some());
        match has_room || self.routes.have_room() {
            true => Ok(next),
            false => {
                Err(Unmade::Full("the first endpoint has changed too often since the start".into()))
            }
        }
    }

    /// The endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.made.iter().map(|(_, endpoint)| endpoint)
    }

    /// What the cores are to be told, with the queues of the endpoints that have one. From now on heads may
    /// be written under the route of the first that answers itself.
    pub fn settings(
        &self,
        config: &Config,
        common: &Common,
        queued: Vec<(EndpointId, Queue)>,
    ) -> Settings {
        let direct = self.direct().map(|endpoint| endpoint.id).collect();
        let first = self.direct().next();
        Settings {
            endpoints: Endpoints::new(self.endpoints().cloned().collect()),
            direct,
            queued,
            first: first.and_then(|it| Some((it.id, self.routes.add(&it.route)?))),
            routes: self.routes.clone(),
            common: Route::common(),
            recognition: Arc::new(config.recognition.clone()),
            body_bytes_max: config.body_bytes_max,
            decoded_bytes_max: config.decoded_bytes_max,
            budget: common.budget.clone(),
            relaying: common.relaying.clone(),
        }
    }

    fn direct(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let direct = self.made.iter().filter(|(it, _)| it.delivery == Delivery::Direct);
        direct.map(|(_, endpoint)| endpoint)
    }

    fn make(
        &mut self,
        setting: &Setting,
        config: &Config,
        before: Option<&(Setting, Arc<Endpoint>)>,
        log: &Log,
    ) -> Result<Endpoint, Unmade> {
        let tls = setting.tls.as_ref().map(|tls| tls.client(&setting.host)).transpose();
        // There is a fault in what failed.
        let tls = tls.map_err(|mut faults| Unmade::Tls(faults.swap_remove(0)))?;
        let place = |it: &Setting| (it.host.clone(), it.port);
        let addresses = match before {
            // Somebody looks them up already.
            Some((was, it)) if place(was) == place(setting) => Ok(it.addresses.clone()),
            _ => Addresses::start("endpoint", &setting.host, setting.port, log),
        };
        self.editions += 1;
        Ok(Endpoint {
            id: self.number(&setting.name)?,
            edition: Edition(self.editions),
            name: setting.name.clone(),
            route: Arc::new(setting.route(&config.instance_id)),
            addresses: addresses.map_err(Unmade::Thread)?,
            tls,
            remote_timeout: setting.remote_timeout,
        })
    }

    fn number(&mut self, name: &str) -> Result<EndpointId, Unmade> {
        if let Some(place) = self.names.iter().position(|known| known == name) {
            return Ok(EndpointId(place));
        }
        if self.names.len() >= ENDPOINTS_EVER_MAX {
            let what =
                format!("is the name of one too many since the start: of {ENDPOINTS_EVER_MAX}");
            return Err(Unmade::Full(format!(
                "endpoint '{name}' {what} the process can tell apart"
            )));
        }
        self.names.push(name.to_owned());
        Ok(EndpointId(self.names.len() - 1))
    }
}

/// Whether nothing has changed for whoever sends to it.
fn is_same(was: &Setting, now: &Setting) -> bool {
    let sent = |it: &Setting| Setting { delivery: Delivery::Direct, ..it.clone() };
    now.tls.is_none() && sent(was) == sent(now)
}

/// By how much the head for the endpoint can be longer than the source's. One that is longer, for a
/// reload has changed the endpoint, is written apart from the body.
pub fn headroom(settings: &Settings) -> usize {
    let pass = settings.relaying.as_ref().map_or(0, |_| PASS_LINE_BYTES_MAX);
    let routes = settings.endpoints.all().iter().map(|endpoint| &*endpoint.route);
    let added = routes.chain([&settings.common]).map(Route::added_bytes_max).max();
    added.unwrap_or_default() + pass
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::ROUTES_EVER_MAX;
    use crate::cli::Cli;
    use crate::io::log::{Format, Level};

    fn config(urls: &[(&str, &str)]) -> Config {
        let config = Config::from_cli(&Cli::default()).expect("it needs nothing");
        let endpoints = urls.iter().map(|(name, remote)| {
            let cli = Cli { remote: Some((*remote).to_owned()), ..Cli::default() };
            let one = Config::from_cli(&cli).expect("a good url").endpoints.swap_remove(0);
            Setting { name: (*name).to_owned(), ..one }
        });
        Config { endpoints: endpoints.collect(), instance_id: "i".into(), ..config }
    }

    #[test]
    fn a_name_keeps_its_number_and_what_has_not_changed_its_connections() {
        let log = Log::start(Level::Error, Format::Text).expect("a thread");
        let of = |ledger: &Ledger| -> Vec<(usize, u32)> {
            ledger.endpoints().map(|it| (it.id.0, it.edition.0)).collect()
        };
        let with = |ledger: &Ledger, urls: &[(&str, &str)]| {
            ledger.with(&config(urls), &log).ok().expect("there is room")
        };
        let (one, two) = (("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2"));
        let start = with(&Ledger::default(), &[one, two]);
        assert_eq!(of(&start), [(0, 1), (1, 2)]);
        let moved = with(&start, &[("b", "http://127.0.0.1:3"), one]);
        assert_eq!(of(&moved), [(1, 3), (0, 1)]);
        let removed = with(&moved, &[one, ("c", "http://127.0.0.1:2")]);
        assert_eq!(of(&removed), [(0, 1), (2, 4)]);
        let back = with(&removed, &[one, two]);
        assert_eq!(
            of(&back),
            [(0, 1), (1, 5)],
            "the number of its name, and none of its connections"
        );
        let names: Vec<String> = (0..ENDPOINTS_EVER_MAX).map(|at| format!("n{at}")).collect();
        let mut ledger = Ledger::default();
        for name in &names {
            ledger = with(&ledger, &[(name, "http://127.0.0.1:1")]);
        }
        assert!(ledger.with(&config(&[("one more", "http://127.0.0.1:1")]), &log).is_err());
        assert_eq!(of(&with(&ledger, &[(&names[7], "http://127.0.0.1:1")]))[0].0, 7);
    }

    #[test]
    fn a_route_has_one_number_and_there_is_an_end_of_them() {
        let routes = Routes::default();
        let of =
            |host: usize| Arc::new(Route { host: host.to_string().into(), ..Route::default() });
        assert_eq!(routes.find(&of(0)), None);
        for _ in 0..2 {
            assert_eq!(
                (0..3).map(|at| routes.add(&of(at)).map(|id| id.0)).collect::<Vec<_>>(),
                [Some(0), Some(1), Some(2)]
            );
        }
        assert!(routes.have_room());
        for host in 3..ROUTES_EVER_MAX {
            routes.add(&of(host));
        }
        assert!(!routes.have_room() && routes.add(&of(ROUTES_EVER_MAX)).is_none());
        assert_eq!(routes.add(&of(5)).map(|id| id.0), Some(5));
    }
}
