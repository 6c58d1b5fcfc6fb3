//! The command line, as it is written: every value still a string.
//!
//! `config` turns it into what the program runs with. Parsing is kept out of here on purpose, so
//! that every fault of a command line is named at once and not only the first one.

use argh::FromArgs;

use crate::base::secret::Secret;

/// Highly available reverse proxy for Prometheus remote_write. Several Prometheus servers that
/// scrape the same targets push to it; one of them, the promoted source, reaches the storage.
#[derive(FromArgs, Clone, Debug, Default)]
pub struct Cli {
    /// file with the configuration; what a flag says wins over what it says
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,

    /// address to listen on, repeatable (default 0.0.0.0:9091)
    #[argh(option, short = 'l', arg_name = "address")]
    pub listen: Vec<String>,

    /// file that says who may push, in the format of Prometheus' web.config.file: TLS and users; read again
    /// when it changes
    #[argh(option, arg_name = "file")]
    pub web_config: Option<String>,

    /// address for metrics and health, never for data (default: none)
    #[argh(option, arg_name = "address")]
    pub admin: Option<String>,

    /// file that says who may reach the admin listener, in the format of Prometheus' web.config.file:
    /// TLS and users; read again when it changes
    #[argh(option, arg_name = "file")]
    pub admin_web_config: Option<String>,

    /// endpoint; its path is put before the request's, its query is joined to it
    /// (default http://localhost:9090)
    #[argh(option, short = 'r', arg_name = "url")]
    pub remote: Option<String>,

    /// user name for the endpoint's basic auth
    #[argh(option, short = 'u', arg_name = "name")]
    pub remote_user: Option<String>,

    /// password for the endpoint's basic auth; visible to everyone who may run ps
    #[argh(option, short = 'p', arg_name = "password")]
    pub remote_password: Option<Secret>,

    /// file that holds the password for the endpoint's basic auth
    #[argh(option, arg_name = "file")]
    pub remote_password_file: Option<String>,

    /// certificates to trust an https endpoint by, if not the system's
    #[argh(option, arg_name = "file")]
    pub remote_ca_file: Option<String>,

    /// certificate to show an https endpoint
    #[argh(option, arg_name = "file")]
    pub remote_cert_file: Option<String>,

    /// key of that certificate
    #[argh(option, arg_name = "file")]
    pub remote_key_file: Option<String>,

    /// to whom the endpoint's certificate must be made out, if not to the host of its URL
    #[argh(option, arg_name = "name")]
    pub remote_server_name: Option<String>,

    /// believe anybody to be the https endpoint
    #[argh(switch)]
    pub remote_insecure_skip_verify: bool,

    /// longest wait for the endpoint to connect, to take a request and to answer it, each
    /// (default 30s)
    #[argh(option, arg_name = "duration")]
    pub remote_timeout: Option<String>,

    /// how often silence is looked at (default 1s)
    #[argh(option, short = 't', arg_name = "duration")]
    pub health_tick: Option<String>,

    /// a source without a connection is lost after this silence (default 5s)
    #[argh(option, short = 'e', arg_name = "duration")]
    pub health_expiry: Option<String>,

    /// a source with an open connection is lost at the latest after this silence (default 90s)
    #[argh(option, arg_name = "duration")]
    pub health_expiry_max: Option<String>,

    /// name of this instance, sent as X-Highlander-Instance (default a random one)
    #[argh(option, short = 'i', arg_name = "id")]
    pub instance_id: Option<String>,

    /// what makes a source: auto, user (the authenticated user), or connection (one connection, one
    /// source) (default auto)
    #[argh(option, arg_name = "how")]
    pub source_identity: Option<String>,

    /// address or network of balancers whose word counts on where a source speaks from, by the PROXY
    /// protocol or X-Forwarded-For; repeatable (default none)
    #[argh(option, arg_name = "network")]
    pub trusted_proxies: Vec<String>,

    /// whether highlander_weight counts: true, or false (only rules give weights) (default true)
    #[argh(option, arg_name = "choice")]
    pub trust_weight: Option<String>,

    /// largest request body (default 32MiB)
    #[argh(option, arg_name = "size")]
    pub max_body: Option<String>,

    /// how far back what was delivered and held is kept for a hand-over (default 2m)
    #[argh(option, arg_name = "duration")]
    pub hold_window: Option<String>,

    /// memory for what is kept for hand-overs, over all sources (default 512MiB)
    #[argh(option, arg_name = "size")]
    pub hold_memory: Option<String>,

    /// largest message that a body may decode to where it has to be read (default 64MiB)
    #[argh(option, arg_name = "size")]
    pub max_decoded: Option<String>,

    /// a promoted source whose newest sample is older gives the seat to a fresher one (default never)
    #[argh(option, arg_name = "duration")]
    pub max_lag: Option<String>,

    /// file that keeps who is promoted: after a restart the seat waits for it
    #[argh(option, arg_name = "file")]
    pub state: Option<String>,

    /// most connections at a time, further ones are answered 503 (default 10000)
    #[argh(option, arg_name = "number")]
    pub max_connections: Option<String>,

    /// most groups, 10000 at most, in a cluster 1000; further ones are answered 503 (default 1000)
    #[argh(option, arg_name = "number")]
    pub max_groups: Option<String>,

    /// most sources of one group, 1000 at most, further ones are answered 503 (default 64)
    #[argh(option, arg_name = "number")]
    pub max_sources: Option<String>,

    /// how many cores to run on (default all)
    #[argh(option, arg_name = "number")]
    pub cores: Option<String>,

    /// auto, uring or epoll (default auto)
    #[argh(option, arg_name = "driver")]
    pub driver: Option<String>,

    /// longest wait for requests in flight at the end (default 30s)
    #[argh(option, arg_name = "duration")]
    pub shutdown_timeout: Option<String>,

    /// text or json (default text)
    #[argh(option, arg_name = "format")]
    pub log_format: Option<String>,

    /// error, warn, info or debug (default info)
    #[argh(option, arg_name = "level")]
    pub log_level: Option<String>,

    /// print the version and exit
    #[argh(switch)]
    pub version: bool,

    /// address for the datagrams of a cluster of nodes (default port 6746)
    #[argh(option, short = 'b', arg_name = "address")]
    pub cluster_bind: Option<String>,

    /// peers of the cluster, host:port, with commas between them
    #[argh(option, short = 'c', arg_name = "peers")]
    pub cluster_connect: Option<String>,

    /// where the other nodes reach this one, if not at the bound address
    #[argh(option, arg_name = "address")]
    pub cluster_advertise: Option<String>,

    /// name of the cluster: nodes of another one are not heard (default highlander)
    #[argh(option, arg_name = "name")]
    pub cluster_name: Option<String>,

    /// file with the keys of the cluster, 32 bytes in base64 a line, the one to seal with first
    #[argh(option, arg_name = "file")]
    pub cluster_key_file: Option<String>,

    /// let the cluster speak without a key on addresses other than loopback
    #[argh(switch)]
    pub cluster_insecure: bool,

    /// how many nodes the cluster has, 3 or more: one leads only with the leases of a majority
    #[argh(option, arg_name = "number")]
    pub cluster_size: Option<String>,

    /// take the leases from an etcd instead: etcd://host:2379,host:2379, or etcds:// with TLS
    #[argh(option, arg_name = "url")]
    pub cluster_lease: Option<String>,

    /// certificates to trust the etcd by, if not the system's
    #[argh(option, arg_name = "file")]
    pub cluster_lease_ca_file: Option<String>,

    /// certificate to show the etcd
    #[argh(option, arg_name = "file")]
    pub cluster_lease_cert_file: Option<String>,

    /// key of that certificate
    #[argh(option, arg_name = "file")]
    pub cluster_lease_key_file: Option<String>,

    /// user of the etcd
    #[argh(option, arg_name = "name")]
    pub cluster_lease_user: Option<String>,

    /// file with the password of that user
    #[argh(option, arg_name = "file")]
    pub cluster_lease_password_file: Option<String>,

    /// relay (a source reaches any node) or mirror (it pushes to every node) (default relay)
    #[argh(option, arg_name = "mode")]
    pub cluster_mode: Option<String>,

    /// longest wait for the peers at the start (default 5s)
    #[argh(option, arg_name = "duration")]
    pub cluster_settle: Option<String>,

    /// what to do instead of serving
    #[argh(subcommand)]
    pub command: Option<Command>,
}

/// What the program does when it does not serve.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand)]
pub enum Command {
    /// A configuration file, checked.
    Check(Check),
    /// A node, steered.
    Ctl(Ctl),
    /// The failover, shown.
    Demo(Demo),
    /// A node, looked at.
    Status(Status),
}

/// How the admin listener of a node is reached, and what is shown to it.
#[derive(Clone, Copy, Debug)]
pub struct Door<'o> {
    /// A host and a port, or `https://` and these.
    pub admin: &'o str,
    /// Who asks.
    pub user: Option<&'o str>,
    /// The file of the password.
    pub password_file: Option<&'o str>,
    /// The certificates by which the listener is trusted.
    pub ca_file: Option<&'o str>,
    /// The certificate that is shown, and its key.
    pub certificate: Option<(&'o str, &'o str)>,
}

/// A command that asks a node that runs: the flags that say how come first, then its own.
macro_rules! asking {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(FromArgs, Clone, Debug, Default)]
        $(#[$about])*
        pub struct $name {
            /// the node's admin listener, https://HOST:PORT if it speaks TLS (default 127.0.0.1:9092)
            #[argh(option, arg_name = "address", default = "ADMIN.into()")]
            pub admin: String,

            /// who asks, if the listener wants to know
            #[argh(option, arg_name = "name")]
            pub user: Option<String>,

            /// file that holds the password
            #[argh(option, arg_name = "file")]
            pub password_file: Option<String>,

            /// certificates to trust the listener by, if not the system's
            #[argh(option, arg_name = "file")]
            pub ca_file: Option<String>,

            /// certificate to show the listener
            #[argh(option, arg_name = "file")]
            pub cert_file: Option<String>,

            /// key of that certificate
            #[argh(option, arg_name = "file")]
            pub key_file: Option<String>,

            $($own)*
        }

        impl $name {
            /// Where and how it asks.
            pub fn door(&self) -> Door<'_> {
                Door {
                    admin: &self.admin,
                    user: self.user.as_deref(),
                    password_file: self.password_file.as_deref(),
                    ca_file: self.ca_file.as_deref(),
                    certificate: self.cert_file.as_deref().zip(self.key_file.as_deref()),
                }
            }
        }
    };
}

asking! {
    /// Have a node that runs put a source into a seat (promote), keep it there whatever others weigh (pin,
    /// unpin), or give away all that it sits in (drain); or have another node lead its groups (handover);
    /// or have a node read its configuration again (reload). Waits until that is done without losing a sample; exits 0 if it is.
    #[argh(subcommand, name = "ctl")]
    Ctl {
        /// promote, pin, unpin, drain, handover or reload
        #[argh(positional)]
        pub act: String,

        /// the group, if there are several
        #[argh(option, arg_name = "name")]
        pub group: Option<String>,

        /// the tenant of the group, if it has one
        #[argh(option, arg_name = "name")]
        pub tenant: Option<String>,

        /// the source, as the status calls it
        #[argh(option, arg_name = "name")]
        pub source: Option<String>,

        /// do not wait until it is done
        #[argh(switch)]
        pub no_wait: bool,
    }
}

asking! {
    /// Print how a node that runs stands: groups, sources and why they are not promoted, endpoints, the
    /// last hand-overs. Exits 0 if it is ready.
    #[argh(subcommand, name = "status")]
    Status {}
}

/// Where an admin listener is looked for.
const ADMIN: &str = "127.0.0.1:9092";

/// Say what is wrong with a configuration file, all of it, each with its line. Exits 0 if it is good,
/// 2 if it is not. Flags before it count as they would without it.
#[derive(FromArgs, Clone, Debug, Default)]
#[argh(subcommand, name = "check")]
pub struct Check {
    /// the file
    #[argh(positional)]
    pub file: String,
}

/// Show a failover in under 30 seconds: three senders, the proxy and an endpoint, all built in.
/// Exits 0 only when nothing overlaps.
#[derive(FromArgs, Clone, Debug, Default)]
#[argh(subcommand, name = "demo")]
pub struct Demo {}

/// How reading the command line ended when it did not end in a [`Cli`].
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// Help was asked for: print this, exit 0.
    Help(String),
    /// The command line makes no sense: print this, exit 2.
    Fault(String),
}

impl Cli {
    /// Reads the arguments, the program's name not among them.
    pub fn parse(args: &[String]) -> Result<Cli, Exit> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Cli::from_args(&["highlander"], &args).map_err(|early| match early.status {
            Ok(()) => Exit::Help(early.output),
            Err(()) => Exit::Fault(fault(&early.output, &args)),
        })
    }
}

/// What the parser says, without a value in it that may be secret.
fn fault(output: &str, args: &[&str]) -> String {
    // It is a text all of them: only one that is given twice can't be read.
    if let Some(rest) = output.strip_prefix("Error parsing option '") {
        return format!("{} is given twice", rest.split('\'').next().unwrap_or_default());
    }
    let Some(told) = output.strip_prefix("Unrecognized argument: ").map(str::trim_end) else {
        return output.to_owned();
    };
    let at = args.iter().position(|arg| told.trim_matches('"') == *arg).unwrap_or(args.len());
    let glued = match told.split_once('=') {
        Some((flag, _)) if flag.starts_with("--") => Some(flag),
        _ => ["-p", "-r", "-u"].into_iter().find(|flag| told != *flag && told.starts_with(flag)),
    };
    if let Some(flag) = glued {
        return format!("{flag}***: a flag and its value are two arguments");
    }
    let is_password = |arg: &&str| matches!(*arg, "-p" | "--remote-password");
    if !told.starts_with("--") && args[..at].iter().any(is_password) {
        return "an argument behind the password is none: a value with a blank needs quotes".into();
    }
    output.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, Exit> {
        Cli::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_originals_short_letters_are_understood() {
        let cli = parse(&[
            "-l", "a:1", "-l", "b:2", "-r", "http://c", "-t", "2s", "-e", "9s", "-i", "7", "-u",
            "me", "-p", "secret",
        ])
        .expect("all of these are flags");
        assert_eq!(cli.listen, ["a:1", "b:2"]);
        assert_eq!(cli.remote.as_deref(), Some("http://c"));
        assert_eq!(cli.health_tick.as_deref(), Some("2s"));
        assert_eq!(cli.health_expiry.as_deref(), Some("9s"));
        assert_eq!(cli.instance_id.as_deref(), Some("7"));
        assert_eq!(cli.remote_user.as_deref(), Some("me"));
        assert_eq!(cli.remote_password, Some(Secret("secret".into())));
    }

    #[test]
    fn no_fault_of_a_command_line_tells_a_password() {
        let cases: [(&[&str], &str); 7] = [
            (&["--remote-password=geheim"], "--remote-password***: a flag and its value are two"),
            (&["--remote=http://me:geheim@a"], "--remote***: a flag and"),
            (&["-pgeheim"], "-p***: a flag and"),
            (&["-p", "geheim", "-p", "geheim"], "-p is given twice"),
            (&["--remote-password", "a", "geheim"], "an argument behind the password is none"),
            (&["-p", "a", "-geheim"], "an argument behind the password is none"),
            (&["-p", "a", "check", "a.yml", "geheim"], "an argument behind the password is none"),
        ];
        for (args, expected) in cases {
            let Err(Exit::Fault(found)) = parse(args) else { panic!("{args:?} is no fault") };
            assert!(found.starts_with(expected) && !found.contains("geheim"), "{args:?}: {found}");
        }
        for (args, told) in [(["check", "a.yml", "b.yml"], "b.yml"), (["check", "-p", "a"], "-p")] {
            let expected = Exit::Fault(format!("Unrecognized argument: {told}\n"));
            assert_eq!(parse(&args).err(), Some(expected));
        }
    }

    #[test]
    fn help_is_no_fault_and_an_unknown_flag_is() {
        assert!(matches!(parse(&["--help"]), Err(Exit::Help(text)) if text.contains("--listen")));
        assert!(
            matches!(parse(&["--nonsense"]), Err(Exit::Fault(text)) if text.contains("nonsense"))
        );
    }
}
