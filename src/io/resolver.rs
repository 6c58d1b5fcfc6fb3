//! The addresses of the endpoint, and of peers. A look-up blocks, so it happens on a thread of its own, again and
//! again: behind a name, addresses change.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use crossbeam::channel::{Sender, bounded};

use crate::base::limits::RESOLVE_EVERY;
use crate::io::log::Log;

/// The addresses of one host as they were last found; empty until the first look-up.
#[derive(Clone, Debug)]
pub struct Addresses {
    found: Arc<ArcSwap<Vec<SocketAddr>>>,
    nudge: Option<Sender<()>>,
}

impl Addresses {
    /// Looks `host` up now and from then on regularly. A name that can't be looked up yet is no
    /// error: requests are answered 502 until it can.
    /// `whose` says in the log what it is the host of.
    pub fn start(whose: &'static str, host: &str, port: u16, log: &Log) -> io::Result<Addresses> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let found = Arc::new(ArcSwap::from_pointee(vec![SocketAddr::new(ip, port)]));
            return Ok(Addresses { found, nudge: None });
        }
        let (nudge, nudged) = bounded(1);
        let addresses = Addresses { found: Arc::default(), nudge: Some(nudge) };
        let (host, log, found) = (host.to_owned(), log.clone(), addresses.found.clone());
        thread::Builder::new().name("resolver".into()).spawn(move || {
            let mut was_wrong = false;
            loop {
                let wrong = look_up(&host, port, &found).err();
                match (&wrong, was_wrong) {
                    (Some(error), false) => {
                        log.warn(&format!("{whose} host '{host}' can't be resolved: {error}"));
                    }
                    (None, true) => log.info(&format!("{whose} host '{host}' is resolved again")),
                    (Some(_), true) | (None, false) => {}
                }
                was_wrong = wrong.is_some();
                let wait = if was_wrong { RESOLVE_EVERY.0 / 10 } else { RESOLVE_EVERY.0 };
                let wait = std::time::Duration::from_millis(wait);
                // The server is gone when its last handle is.
                if nudged.recv_timeout(wait)
                    == Err(crossbeam::channel::RecvTimeoutError::Disconnected)
                {
                    return;
                }
                // Nudges come from every failed connect; one look-up a second is enough.
                thread::sleep(std::time::Duration::from_secs(1));
            }
        })?;
        Ok(addresses)
    }

    /// The addresses to try, in order.
    pub fn now(&self) -> Arc<Vec<SocketAddr>> {
        self.found.load_full()
    }

    /// None of them answered: they may have changed.
    pub fn on_unreachable(&self) {
        if let Some(nudge) = &self.nudge {
            let _ = nudge.try_send(());
        }
    }
}

fn look_up(host: &str, port: u16, found: &ArcSwap<Vec<SocketAddr>>) -> io::Result<()> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    if **found.load() != addresses {
        found.store(Arc::new(addresses));
    }
    Ok(())
}
