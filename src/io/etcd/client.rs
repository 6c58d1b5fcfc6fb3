//! Requests to one of several etcds, with a login and TLS where they are wanted.
//!
//! Whichever answered last is asked first, for who holds a lease cares for no other balance. Each may
//! take its time, but only so long that the last one is still asked before a lease has ended.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::base::limits::{LEASE_ANSWER_BYTES_MAX, LEASE_REQUEST_MAX};
use crate::base::time::Millis;
use crate::io::clock::Clock;
use crate::wire::cluster::etcd::{Answer, AnswerError, LOGIN, login};

/// Where the etcds are, and how to speak with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `host:port` of each, in the order in which they are tried; one at least.
    pub hosts: Vec<String>,
    /// Without it, what is said is readable on the way, the password too.
    pub tls: Option<EtcdTls>,
    /// Whom to log in as, where etcd wants that.
    pub login: Option<EtcdLogin>,
}

/// How TLS is spoken. The files are PEM, and read once, at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdTls {
    /// The certificates that are trusted; those of the system unless given.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, and the file of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdLogin {
    /// Its name.
    pub user: String,
    /// Its password; never shown.
    pub password: String,
}

impl fmt::Debug for EtcdLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdLogin").field("user", &self.user).field("password", &"***").finish()
    }
}

/// Why nothing came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The lease that it was for is gone.
    LeaseGone,
    /// No etcd did it: for each, why not.
    Failed(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::LeaseGone => f.write_str("the lease is gone"),
            ClientError::Failed(reasons) => f.write_str(reasons),
        }
    }
}

impl std::error::Error for ClientError {}

/// The connections to all etcds.
pub struct Client {
    agent: Agent,
    scheme: &'static str,
    hosts: Vec<String>,
    /// The one that answered last.
    first: usize,
    login: Option<EtcdLogin>,
    /// What a login has brought. It is good for every member.
    token: Option<String>,
    clock: Clock,
}

impl Client {
    /// Reads the files of `config`; connects with the first request only.
    pub fn new(config: &EtcdConfig, clock: Clock) -> io::Result<Client> {
        if config.hosts.is_empty() {
            return Err(io::Error::other("no etcd is named"));
        }
        let mut agent = Agent::config_builder()
            .timeout_global(Some(LEASE_REQUEST_MAX.into()))
            .http_status_as_error(false)
            .max_redirects(0)
            // Whatever the environment says: a lease is no page of the web.
            .proxy(None)
            .user_agent("highlander");
        if let Some(tls) = &config.tls {
            agent = agent.tls_config(tls_config(tls)?);
        }
        Ok(Client {
            agent: agent.build().new_agent(),
            scheme: if config.tls.is_some() { "https" } else { "http" },
            hosts: config.hosts.clone(),
            first: 0,
            login: config.login.clone(),
            token: None,
            clock,
        })
    }

    /// Posts `body` to one etcd after the other, as long as `go_on`, until one does what it is asked.
    /// With its answer comes a moment before that etcd was asked. After an error it may have been
    /// done all the same, even later.
    pub fn ask(
        &mut self,
        path: &str,
        body: &[u8],
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Millis, Answer), ClientError> {
        let mut reasons = Vec::new();
        for step in 0..self.hosts.len() {
            if !go_on() {
                break;
            }
            let host = (self.first + step) % self.hosts.len();
            match self.ask_host(host, path, body) {
                Ok(answered) => {
                    self.first = host;
                    return Ok(answered);
                }
                Err(HostError::Answer(AnswerError::LeaseGone)) => {
                    return Err(ClientError::LeaseGone);
                }
                Err(error) => reasons.push(format!("{}: {error}", self.hosts[host])),
            }
        }
        Err(ClientError::Failed(reasons.join("; ")))
    }

    /// Asks one etcd, with a new login if the old one is not good any more.
    fn ask_host(
        &mut self,
        host: usize,
        path: &str,
        body: &[u8],
    ) -> Result<(Millis, Answer), HostError> {
        let had_token = self.token.is_some();
        if let (None, Some(user)) = (&self.token, &self.login) {
            self.token = Some(self.log_in(host, user)?);
        }
        let sent = self.clock.now();
        match self.post(host, path, body, self.token.as_deref()) {
            Err(HostError::Answer(AnswerError::LoginNeeded)) if had_token => {}
            Err(HostError::Answer(AnswerError::LoginNeeded)) => {
                self.token = None;
                return Err(HostError::Answer(AnswerError::LoginNeeded));
            }
            done => return Ok((sent, done?)),
        }
        self.token = None;
        if let Some(user) = &self.login {
            self.token = Some(self.log_in(host, user)?);
        }
        let sent = self.clock.now();
        Ok((sent, self.post(host, path, body, self.token.as_deref())?))
    }

    fn log_in(&self, host: usize, user: &EtcdLogin) -> Result<String, HostError> {
        let answer = self.post(host, LOGIN, &login(&user.user, &user.password), None)?;
        Ok(answer.token()?.to_owned())
    }

    fn post(
        &self,
        host: usize,
        path: &str,
        body: &[u8],
        token: Option<&str>,
    ) -> Result<Answer, HostError> {
        let url = format!("{}://{}{path}", self.scheme, self.hosts[host]);
        let mut request = self.agent.post(url).content_type("application/json");
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let mut answer = request.send(body)?;
        let status = answer.status().as_u16();
        let limit = LEASE_ANSWER_BYTES_MAX as u64;
        let body = answer.body_mut().with_config().limit(limit).read_to_vec()?;
        Ok(Answer::read(status, &body)?)
    }
}

/// Why one etcd did not do it.
enum HostError {
    Way(ureq::Error),
    Answer(AnswerError),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Way(error) => error.fmt(f),
            HostError::Answer(error) => error.fmt(f),
        }
    }
}

impl From<ureq::Error> for HostError {
    fn from(error: ureq::Error) -> HostError {
        HostError::Way(error)
    }
}

impl From<AnswerError> for HostError {
    fn from(error: AnswerError) -> HostError {
        HostError::Answer(error)
    }
}

fn tls_config(tls: &EtcdTls) -> io::Result<TlsConfig> {
    let roots = match &tls.ca_file {
        Some(file) => certificates(file)?,
        None => system_certificates()?,
    };
    let ours = match &tls.certificate {
        Some((chain, key)) => {
            let key = PrivateKey::from_pem(&read(key)?).map_err(|error| fault(key, &error))?;
            Some(ClientCert::new_with_certs(&certificates(chain)?, key))
        }
        None => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .client_cert(ours)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// All certificates of a file, one at least.
fn certificates(file: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for item in parse_pem(&read(file)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| fault(file, &error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(fault(file, &"holds no certificate"));
    }
    Ok(found)
}

fn system_certificates() -> io::Result<Vec<Certificate<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(io::Error::other("the system has no certificates that it trusts"));
    }
    Ok(found.certs.iter().map(|found| Certificate::from_der(found).to_owned()).collect())
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    fs::read(file).map_err(|error| fault(file, &error))
}

fn fault(file: &Path, what: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {what}", file.display()))
}
