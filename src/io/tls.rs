//! TLS: to the endpoints, and of those who come. What all connections to one endpoint share.
//!
//! rustls is driven directly, by [`session`]: bytes in, bytes out, no socket. There is one
//! configuration for the process, and with it one store of tickets: a core's next connection resumes
//! what any core's last one began.

pub mod badge;
pub mod fault;
pub mod files;
pub mod name;
pub mod server;
pub mod session;
pub mod verify;

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::io::tls::fault::TlsFault;
use crate::io::tls::session::Session;

/// How TLS is spoken with the endpoint. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// With what was read from the files, to whoever has `name`.
    pub fn new(config: ClientConfig, name: ServerName<'static>) -> Tls {
        Tls { config: Arc::new(config), name }
    }

    /// The beginning of a connection.
    pub fn session(&self) -> Result<Session, TlsFault> {
        Session::start(&self.config, &self.name)
    }
}

/// What a certificate must be made out to: a DNS name, or an address, with brackets or without.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_what_a_certificate_may_be_made_out_to() {
        for host in ["storage", "a.example.org", "127.0.0.1", "::1", "[::1]"] {
            assert!(server_name(host).is_some(), "{host}");
        }
        assert!(matches!(server_name("[::1]"), Some(ServerName::IpAddress(_))));
        for host in ["", "a b", "[a", "a/b", "ä"] {
            assert!(server_name(host).is_none(), "{host}");
        }
    }
}
