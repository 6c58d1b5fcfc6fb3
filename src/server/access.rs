//! Who may reach which listener, as it was configured.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::fault::StartError;
use crate::config::{Admin, Config, web};
use crate::io::access::{Access, ReadRules, Rules};
use crate::io::gate::Gate;
use crate::io::log::Log;
use crate::io::tls::Tls;
use crate::io::tls::badge::Badge;

/// Who may reach the admin listener.
pub fn of_admin(admin: Option<&Admin>, log: &Log) -> Result<Access, StartError> {
    let read: ReadRules = match admin.and_then(|admin| admin.web.clone()) {
        Some(path) => read_rules(path, None),
        None => Box::new(|| Rules::for_all().map_err(|error| vec![error.to_string()])),
    };
    let fault = |faults| StartError::Access("--admin-web-config", faults);
    Access::new("admin listener", read, log).map_err(fault)
}

/// The way in for sources.
#[derive(Default)]
pub struct Way {
    /// `None`: everybody may come.
    pub gate: Option<Arc<Gate>>,
    /// The thread behind it, which ends when nobody holds it any more.
    pub door: Option<JoinHandle<()>>,
    /// How TLS is spoken with other nodes, which have the same way in.
    pub nodes_tls: Option<Tls>,
}

/// Who may push.
pub fn of_sources(config: &Config, log: &Log) -> Result<Way, StartError> {
    let Some(path) = config.web.clone() else { return Ok(Way::default()) };
    let badge = match &config.cluster {
        Some(cluster) => {
            let fault = |error| StartError::Cluster(cluster.bind, io::Error::other(error));
            Some(Badge::new(&cluster.seal()).map_err(fault)?)
        }
        None => None,
    };
    let read = read_rules(path, badge.clone());
    let fault = |faults| StartError::Access("--web-config", faults);
    let access = Access::new("listener of sources", read, log).map_err(fault)?;
    let nodes_tls = badge.map(|badge| badge.client());
    let (gate, door) = Gate::start(access).map_err(StartError::Thread)?;
    Ok(Way { gate: Some(gate), door: Some(door), nodes_tls })
}

fn read_rules(path: PathBuf, badge: Option<Arc<Badge>>) -> ReadRules {
    Box::new(move || web::rules(&path.display().to_string(), badge.as_ref()))
}
