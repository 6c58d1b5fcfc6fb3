//! A real etcd, alone or one of several, with a login or TLS.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use highlander::base::limits::LEASE_KEYS_PER_REQUEST;
use highlander::wire::cluster::etcd::{Key, LeaseId, Names, TXN};
use serde_json::{Value, json};

use crate::program::{Program, free_port, fresh_dir};

/// Where Debian puts it.
const BINARY: &str = "/usr/bin/etcd";

/// One etcd.
pub struct Server {
    dir: PathBuf,
    args: Vec<String>,
    host: String,
    program: Program,
}

impl Server {
    /// One alone.
    pub fn start(test: &str) -> Server {
        Server::start_cluster(test, 1).remove(0)
    }

    /// So many that form one etcd.
    pub fn start_cluster(test: &str, count: usize) -> Vec<Server> {
        let peers: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let member = |(index, port): (usize, &u16)| format!("m{index}=http://127.0.0.1:{port}");
        let all: Vec<String> = peers.iter().enumerate().map(member).collect();
        let mut servers: Vec<Server> = (0..count)
            .map(|index| {
                let dir = fresh_dir(&format!("etcd-{test}-{index}"));
                let mut args = vec!["--name".into(), format!("m{index}")];
                args.extend(["--initial-cluster".into(), all.join(",")]);
                Server::spawn(dir, peers[index], "http", args)
            })
            .collect();
        for server in &mut servers {
            server.await_health();
        }
        servers
    }

    /// One alone that speaks TLS, and wants a certificate of its callers.
    pub fn start_with_tls(test: &str) -> (Server, Certificates) {
        let dir = fresh_dir(&format!("etcd-{test}"));
        let files = Certificates::make(&dir);
        let peer = free_port();
        let mut args = vec!["--name".into(), "m0".into(), "--client-cert-auth".into()];
        args.extend(["--initial-cluster".into(), format!("m0=http://127.0.0.1:{peer}")]);
        for (flag, file) in [
            ("--trusted-ca-file", files.certificate("ca")),
            ("--cert-file", files.certificate("server")),
            ("--key-file", files.key("server")),
        ] {
            args.extend([flag.into(), file.display().to_string()]);
        }
        let mut server = Server::spawn(dir, peer, "https", args);
        let host = server.host();
        server.program.await_ready(|| TcpStream::connect(&host).is_ok());
        (server, files)
    }

    fn spawn(dir: PathBuf, peer: u16, scheme: &str, mut args: Vec<String>) -> Server {
        let host = format!("127.0.0.1:{}", free_port());
        let (url, peer_url) = (format!("{scheme}://{host}"), format!("http://127.0.0.1:{peer}"));
        for (flag, value) in [
            ("--data-dir", dir.join("data").display().to_string()),
            ("--listen-client-urls", url.clone()),
            ("--advertise-client-urls", url),
            ("--listen-peer-urls", peer_url.clone()),
            ("--initial-advertise-peer-urls", peer_url),
        ] {
            args.extend([flag.into(), value]);
        }
        let program = Program::start(&dir, "etcd", Path::new(BINARY), &args);
        Server { dir, args, host, program }
    }

    /// Where it is reached.
    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        self.program.signal(signal);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it on what it had written.
    pub fn start_again(&mut self) {
        self.program = Program::start(&self.dir, "etcd", Path::new(BINARY), &self.args);
        self.await_health();
    }

    /// From now on only `user` may read and write what begins with `prefix`, and root everything.
    pub fn enable_login(&self, user: &str, password: &str, prefix: &str) {
        use base64::Engine as _;
        let coded = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        let after = format!("{}0", prefix.trim_end_matches('/'));
        let range = json!({
            "permType": "READWRITE", "key": coded(prefix), "range_end": coded(&after),
        });
        for (path, body) in [
            ("user/add", json!({"name": "root", "password": "root"})),
            ("user/add", json!({"name": user, "password": password})),
            ("role/add", json!({"name": "root"})),
            ("role/add", json!({"name": "lessee"})),
            ("role/grant", json!({"name": "lessee", "perm": range})),
            ("user/grant", json!({"user": "root", "role": "root"})),
            ("user/grant", json!({"user": user, "role": "lessee"})),
            ("enable", json!({})),
        ] {
            self.post(&format!("/v3/auth/{path}"), &body);
        }
    }

    /// Has keys of the nodes' cluster be held by somebody else, without an end.
    pub fn hold(&self, keys: &[Key], holder: &str) {
        let no_lease = LeaseId(0);
        for some in keys.chunks(LEASE_KEYS_PER_REQUEST) {
            let take = Names::of("cluster").take(some, holder.as_bytes(), no_lease);
            self.post(TXN, &serde_json::from_slice(&take).expect("it is JSON"));
        }
    }

    fn post(&self, path: &str, body: &Value) {
        let url = format!("http://{}{path}", self.host);
        let answer = ureq::post(url).send(body.to_string());
        assert!(answer.is_ok(), "{path}: {answer:?}");
    }

    fn await_health(&mut self) {
        let url = format!("http://{}/health", self.host);
        self.program.await_ready(|| {
            let answer = ureq::get(&url).call();
            let body = answer.and_then(|mut answer| answer.body_mut().read_to_string());
            body.is_ok_and(|body| body.contains("\"true\""))
        });
    }
}

/// Certificates and keys in a directory.
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// The authority `ca` with `server` and `client`, and the authority `other` with `forged`.
    fn make(dir: &Path) -> Certificates {
        let files = Certificates { dir: dir.to_owned() };
        for name in ["ca", "other"] {
            files.certify(name, &["-addext", "keyUsage=critical,keyCertSign"]);
        }
        for (name, by) in [("server", "ca"), ("client", "ca"), ("forged", "other")] {
            let (certificate, key) = (files.certificate(by), files.key(by));
            let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
            let mut args = vec!["-CA", &certificate, "-CAkey", &key];
            args.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
            args.extend(["-addext", "subjectAltName=IP:127.0.0.1"]);
            args.extend(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
            files.certify(name, &args);
        }
        files
    }

    /// The file of a certificate.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pem"))
    }

    /// The file of its key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    fn certify(&self, name: &str, args: &[&str]) {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .arg("-keyout")
            .arg(self.key(name))
            .arg("-out")
            .arg(self.certificate(name))
            .args(args)
            .output()
            .expect("openssl: tests/run installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(fs::metadata(self.key(name)).is_ok());
    }
}
