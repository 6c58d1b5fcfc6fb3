//! The proxies that are compared: how each is started, and with what configuration.
//!
//! The peers are set up as well as their manuals allow: bodies stay in memory, connections to the
//! receiver are kept, nothing is logged per request. A peer that loses by a default would prove
//! nothing.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::child::Recipe;
use crate::fault::{During, Fault};
use crate::tls::Files;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The proxy on the event loop it picks itself.
    Highlander,
    /// The proxy on epoll.
    HighlanderEpoll,
    /// Another build of the proxy, such as the one before a change.
    HighlanderBefore,
    /// Two nodes of a cluster: the load reaches the one that relays to the other.
    HighlanderPair,
    /// The proxy, pushed to over TLS.
    HighlanderTls,
    /// The other build, pushed to over TLS.
    HighlanderTlsBefore,
    /// HAProxy as a reverse proxy.
    Haproxy,
    /// The same, pushed to over TLS.
    HaproxyTls,
    /// HAProxy that reads the body and answers 204 itself: the peer of a standby.
    Haproxy204,
    /// nginx as a reverse proxy.
    Nginx,
    /// The bare relay: the floor.
    Relay,
}

/// Where a candidate is to be started.
pub struct Site<'a> {
    /// For generated configuration and logs; the [`Files`] of a certificate are in it.
    pub folder: &'a Path,
    /// The port it shall listen on.
    pub port: u16,
    /// The receiver's port.
    pub sink_port: u16,
    /// The largest body that will be sent.
    pub body_bytes: usize,
    /// How many cores it shall use.
    pub cores: usize,
    /// Which ones, as `taskset` takes them.
    pub cpu_list: String,
}

/// How the programs themselves are found and tuned.
pub struct Programs {
    /// The proxy's binary.
    pub highlander: PathBuf,
    /// That of another build.
    pub before: Option<PathBuf>,
    /// Further arguments for it.
    pub highlander_args: Vec<String>,
    /// HAProxy's `tune.bufsize` when it forwards.
    pub haproxy_bufsize: usize,
    /// This program.
    pub own: PathBuf,
}

const NAMES: [(&str, Candidate); 11] = [
    ("highlander", Candidate::Highlander),
    ("highlander-epoll", Candidate::HighlanderEpoll),
    ("highlander-before", Candidate::HighlanderBefore),
    ("highlander-pair", Candidate::HighlanderPair),
    ("highlander-tls", Candidate::HighlanderTls),
    ("highlander-tls-before", Candidate::HighlanderTlsBefore),
    ("haproxy", Candidate::Haproxy),
    ("haproxy-tls", Candidate::HaproxyTls),
    ("haproxy-204", Candidate::Haproxy204),
    ("nginx", Candidate::Nginx),
    ("relay", Candidate::Relay),
];

impl Candidate {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        let entry = NAMES.iter().find(|(_, candidate)| *candidate == self);
        entry.expect("every candidate has a name").0
    }

    /// True for the proxy itself, whatever its driver.
    pub fn is_highlander(self) -> bool {
        matches!(
            self,
            Self::Highlander
                | Self::HighlanderEpoll
                | Self::HighlanderBefore
                | Self::HighlanderPair
                | Self::HighlanderTls
                | Self::HighlanderTlsBefore
        )
    }

    /// True for those that are pushed to over TLS.
    pub fn is_over_tls(self) -> bool {
        matches!(self, Self::HighlanderTls | Self::HighlanderTlsBefore | Self::HaproxyTls)
    }

    /// Writes the configuration it needs and says how to start it.
    pub fn recipe(self, programs: &Programs, site: &Site) -> Result<Recipe, Fault> {
        let argv = match self {
            Self::Highlander => highlander(programs, &programs.highlander, site, &[])?,
            Self::HighlanderEpoll => {
                highlander(programs, &programs.highlander, site, &["--driver", "epoll"])?
            }
            Self::HighlanderBefore => highlander(programs, self.before(programs)?, site, &[])?,
            Self::HighlanderPair => pair(programs, site)?,
            Self::HighlanderTls => highlander_tls(programs, &programs.highlander, site)?,
            Self::HighlanderTlsBefore => highlander_tls(programs, self.before(programs)?, site)?,
            Self::Haproxy => haproxy(site, programs.haproxy_bufsize, "", &forward(site))?,
            Self::HaproxyTls => {
                let both = Files::in_folder(site.folder).both;
                let tls = format!(
                    " ssl crt {} alpn http/1.1 ssl-min-ver TLSv1.3",
                    both.to_string_lossy()
                );
                haproxy(site, programs.haproxy_bufsize, &tls, &forward(site))?
            }
            Self::Haproxy204 => {
                // It can only wait for what fits its buffer: the whole body must.
                let bufsize =
                    programs.haproxy_bufsize.max((site.body_bytes * 5 / 4).next_power_of_two());
                let answer =
                    "  http-request wait-for-body time 10s\n  http-request return status 204\n";
                haproxy(site, bufsize, "", answer)?
            }
            Self::Nginx => nginx(site)?,
            Self::Relay => {
                let listen = format!("127.0.0.1:{}", site.port);
                let target = format!("127.0.0.1:{}", site.sink_port);
                let own = programs.own.to_string_lossy().into_owned();
                words(&[&own, "relay", "--listen", &listen, "--target", &target])
            }
        };
        Ok(Recipe { name: self.name().to_owned(), argv, cores: site.cpu_list.clone() })
    }

    fn before(self, programs: &Programs) -> Result<&Path, Fault> {
        let none = || Fault(format!("{self}: --before PATH is missing"));
        programs.before.as_deref().ok_or_else(none)
    }
}

impl Display for Candidate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Candidate {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let entry = NAMES.iter().find(|(name, _)| *name == word);
        let known = || NAMES.map(|(name, _)| name).join(", ");
        entry.map(|(_, candidate)| *candidate).ok_or_else(|| format!("{word}: none of {}", known()))
    }
}

fn highlander(
    programs: &Programs,
    path: &Path,
    site: &Site,
    more: &[&str],
) -> Result<Vec<String>, Fault> {
    if !path.is_file() {
        let path = path.display();
        return Err(Fault(format!("{path}: not there; build it with cargo build --release")));
    }
    let binary = path.to_string_lossy().into_owned();
    let remote = format!("http://127.0.0.1:{}", site.sink_port);
    let listen = format!("127.0.0.1:{}", site.port);
    let cores = site.cores.to_string();
    let mut argv = words(&[&binary, "-r", &remote, "-l", &listen, "--cores", &cores, "-i", "perf"]);
    argv.extend(words(more));
    argv.extend(programs.highlander_args.iter().cloned());
    Ok(argv)
}

fn highlander_tls(programs: &Programs, path: &Path, site: &Site) -> Result<Vec<String>, Fault> {
    let Files { certificate, key, .. } = Files::in_folder(site.folder);
    let text = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
        certificate.display(),
        key.display()
    );
    let web_config = site.folder.join("web.yml");
    fs::write(&web_config, text).during("web.yml")?;
    highlander(programs, path, site, &["--web-config", &web_config.to_string_lossy()])
}

/// The leader begins alone and is asked once, so that it leads; then the other joins it.
fn pair(programs: &Programs, site: &Site) -> Result<Vec<String>, Fault> {
    let node = |port: u16, more: &[&str]| {
        let site = Site { folder: site.folder, cpu_list: String::new(), port, ..*site };
        let argv = highlander(programs, &programs.highlander, &site, more)?;
        Ok::<String, Fault>(argv.join(" "))
    };
    let (leader, datagrams) = (free_port()?, [free_port()?, free_port()?]);
    let binds = datagrams.map(|port| format!("127.0.0.1:{port}"));
    let first = node(leader, &["-b", &binds[0]])?;
    let second = node(site.port, &["-b", &binds[1], "-c", &binds[0]])?;
    let script = format!(
        "trap 'kill $(jobs -p)' TERM\n{first} &\n\
         until (exec 3<>/dev/tcp/127.0.0.1/{leader}\n\
         printf 'POST {PROBED} HTTP/1.1\\r\\nHost: a\\r\\nContent-Encoding: snappy\\r\\n\
         Content-Type: application/x-protobuf\\r\\nContent-Length: 1\\r\\n\\r\\n\\0' >&3\n\
         read -r line <&3 && [[ $line == *' 2'* ]]) 2>/dev/null; do sleep 0.1; done\n\
         {second} &\nwait\nwait\n"
    );
    Ok(vec!["bash".to_owned(), "-c".to_owned(), script])
}

/// It is the load's source: so there is no hand-over when that comes.
const PROBED: &str = "/api/v1/write?highlander_weight=50";

fn free_port() -> Result<u16, Fault> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").during("a free port")?;
    Ok(listener.local_addr().during("a free port")?.port())
}

/// The rules by which HAProxy forwards.
fn forward(site: &Site) -> String {
    format!("  http-reuse always\n  server sink 127.0.0.1:{} maxconn 2000\n", site.sink_port)
}

fn haproxy(site: &Site, bufsize: usize, tls: &str, rules: &str) -> Result<Vec<String>, Fault> {
    let config = format!(
        "global\n  nbthread {}\n  maxconn 4000\n  tune.bufsize {bufsize}\n\
         defaults\n  mode http\n  option http-keep-alive\n  timeout connect 5s\n  \
         timeout client 60s\n  timeout server 60s\n  timeout http-keep-alive 60s\n\
         listen push\n  bind 127.0.0.1:{}{tls}\n{rules}",
        site.cores, site.port
    );
    let path = site.folder.join("haproxy.cfg");
    fs::write(&path, config).during("haproxy.cfg")?;
    Ok(words(&["haproxy", "-db", "-f", &path.to_string_lossy()]))
}

fn nginx(site: &Site) -> Result<Vec<String>, Fault> {
    let folder = site.folder.display();
    // The limits on requests per connection are lifted: the other candidates have none.
    let config = format!(
        "daemon off;\nworker_processes {};\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off;\n\
         client_max_body_size 64m;\n\
         client_body_buffer_size 512k;\n\
         client_body_temp_path {folder}/body;\n\
         proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n\
         keepalive_requests 1000000000;\n\
         keepalive_timeout 60s;\n\
         upstream sink {{\n  server 127.0.0.1:{};\n  keepalive 128;\n  \
         keepalive_requests 1000000000;\n}}\n\
         server {{\n  listen 127.0.0.1:{};\n  location / {{\n    proxy_pass http://sink;\n    \
         proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n    \
         proxy_request_buffering on;\n  }}\n}}\n}}\n",
        site.cores, site.sink_port, site.port
    );
    let path = site.folder.join("nginx.conf");
    fs::write(&path, config).during("nginx.conf")?;
    let folder = site.folder.to_string_lossy();
    Ok(words(&["nginx", "-p", &folder, "-c", &path.to_string_lossy()]))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
