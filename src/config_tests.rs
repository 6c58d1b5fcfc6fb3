//! Command lines, and what becomes of them.

use super::faults::parse_size;
use super::*;
use crate::base::secret::Secret;
use crate::io::seating::Mode;

fn faults(cli: Cli) -> Vec<String> {
    Config::from_cli(&cli).expect_err("it is faulty")
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_defaults_are_those_of_the_original() {
    let config = Config::from_cli(&Cli::default()).expect("the defaults are good");
    assert_eq!(config.listen, ["0.0.0.0:9091".parse().expect("an address")]);
    assert_eq!(config.endpoints[0].url, "http://localhost:9090");
    assert_eq!((config.endpoints[0].host.as_str(), config.endpoints[0].port), ("localhost", 9090));
    assert_eq!(config.health_tick, Millis(1000));
    assert_eq!(config.expiry.expiry, Millis(5000));
    assert_eq!(config.instance_id.len(), 16);
}

#[test]
fn every_fault_is_named_at_once() {
    let found = faults(Cli {
        listen: vec!["nowhere".into(), "127.0.0.1:1".into(), "127.0.0.1:1".into()],
        remote: some("ftp://x"),
        health_tick: some("0s"),
        health_expiry: some("soon"),
        driver: some("kqueue"),
        cores: some("1025"),
        max_groups: some("10001"),
        max_sources: some("0"),
        max_body: some("big"),
        remote_password: Some(Secret("x".into())),
        cluster_bind: some("0.0.0.0:6746"),
        instance_id: some("a\r\nb"),
        ..Cli::default()
    });
    let flags = [
        "--listen 'nowhere'",
        "--listen '127.0.0.1:1'",
        "--remote 'ftp",
        "--health-tick ",
        "--health-expiry 'soon'",
        "--driver 'kqueue'",
        "--cores '1025' is more than 1024",
        "--max-groups '10001' is more than 10000",
        "--max-sources '0' is not a number from 1 on",
        "--max-body 'big'",
        "--remote-password needs",
        "--cluster-bind '0.0.0.0:6746' is no loopback",
        "--instance-id",
    ];
    for flag in flags {
        let named = found.iter().filter(|fault| fault.starts_with(flag)).count();
        assert_eq!(named, 1, "{flag}: {found:?}");
    }
    assert_eq!(found.len(), flags.len(), "{found:?}");
}

#[test]
fn how_many_groups_and_sources_there_may_be_is_read_and_bounded() {
    let of = |groups: &str, sources: &str, bind: Option<&str>| {
        let cli = Cli {
            max_groups: some(groups),
            max_sources: some(sources),
            cluster_bind: bind.map(str::to_owned),
            ..Cli::default()
        };
        Config::from_cli(&cli).map(|config| (config.groups_max, config.sources_max))
    };
    assert_eq!(of("10000", "1000", None), Ok((10_000, 1000)));
    assert_eq!(of("1000", "1", Some("127.0.0.1")), Ok((1000, 1)));
    let config = Config::from_cli(&Cli::default()).expect("the defaults are good");
    assert_eq!((config.groups_max, config.sources_max), (1000, 64));
    let fault = |groups, sources, bind| of(groups, sources, bind).expect_err("it is faulty");
    assert_eq!(fault("1", "1001", None), ["--max-sources '1001' is more than 1000"]);
    let in_cluster = fault("1001", "1", Some("127.0.0.1"));
    assert_eq!(in_cluster, ["--max-groups is more than the 1000 that a cluster can have"]);
}

#[test]
fn a_cluster_is_read_from_its_flags() {
    let config = Config::from_cli(&Cli {
        cluster_bind: some("127.0.0.1"),
        cluster_connect: some("a:1, b ,[::1]:7,::1,"),
        cluster_size: some("3"),
        cluster_mode: some("mirror"),
        ..Cli::default()
    });
    let cluster = config.expect("good flags").cluster.expect("a cluster");
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!((cluster.bind, cluster.advertise), (local(6746), local(6746)));
    let peers: Vec<(&str, u16)> =
        cluster.peers.iter().map(|(host, port)| (host.as_str(), *port)).collect();
    assert_eq!(peers, [("a", 1), ("b", 6746), ("::1", 7), ("::1", 6746)]);
    assert_eq!((cluster.size, cluster.mode), (Some(3), Mode::Mirror));
    assert_eq!((cluster.name.as_str(), cluster.keys), ("highlander", None));
    assert_eq!(Config::from_cli(&Cli::default()).expect("no flags").cluster, None);
    let config = Config::from_cli(&Cli {
        cluster_bind: some("127.0.0.1"),
        cluster_lease: some("etcds://a:2379,[::1]:7/"),
        ..Cli::default()
    });
    let etcd = config.expect("good flags").cluster.and_then(|cluster| cluster.etcd);
    let etcd = etcd.expect("an etcd");
    assert_eq!(etcd.hosts, ["a:2379", "[::1]:7"]);
    assert!(etcd.tls.is_some() && etcd.login.is_none());
}

#[test]
fn every_fault_of_a_cluster_is_named() {
    let cluster = Cli { cluster_bind: some("127.0.0.1:0"), ..Cli::default() };
    let lease = |url: &str| Cli { cluster_lease: some(url), ..Cli::default() };
    let connect = |peers: &str| Cli { cluster_connect: some(peers), ..Cli::default() };
    let user = Cli { cluster_lease_user: some("u"), ..lease("etcd://a:1") };
    let cases: [(Cli, &str); 23] = [
        (Cli { cluster_size: some("3"), ..Cli::default() }, "--cluster-size needs"),
        (Cli { cluster_insecure: true, ..Cli::default() }, "--cluster-insecure needs"),
        (Cli { cluster_size: some("2"), ..Cli::default() }, "--cluster-size is less than 3"),
        (Cli { cluster_mode: some("both"), ..Cli::default() }, "--cluster-mode 'both'"),
        (Cli { cluster_settle: some("0s"), ..Cli::default() }, "--cluster-settle must"),
        (connect("a:b"), "--cluster-connect 'a:b'"),
        (connect("a:0"), "--cluster-connect 'a:0' has no valid port"),
        (connect("127.0.0.1:1;127.0.0.1:2"), "--cluster-connect '127.0.0.1:1;127.0.0.1:2' is no"),
        (connect("http://a:1"), "--cluster-connect 'http://a:1' is no host and port"),
        (connect("a:b:1"), "--cluster-connect 'a:b:1' is no host and port"),
        (connect("a:+1"), "--cluster-connect 'a:+1' is no host and port"),
        (connect("u:p,q@a:1"), "--cluster-connect '***@a:1' is no list of host:port"),
        (Cli { cluster_name: some("a b"), ..Cli::default() }, "--cluster-name"),
        (Cli { cluster_advertise: some("::::"), ..Cli::default() }, "--cluster-advertise '::::'"),
        (Cli { cluster_key_file: some("/nowhere"), ..Cli::default() }, "--cluster-key-file '/no"),
        (lease("http://a:1"), "--cluster-lease does not begin"),
        (lease("etcd://u:p,q@a:1"), "--cluster-lease '***@a:1' is no list"),
        (lease("etcd://u:p%40a:1"), "--cluster-lease '***%40a:1' is no list"),
        (lease("etcd://a:1?k=p,q"), "--cluster-lease 'a:1?***' is no list"),
        (lease("etcd://a"), "--cluster-lease 'a' is no"),
        (user, "--cluster-lease-user needs"),
        (Cli { cluster_size: some("3"), ..lease("etcd://a:1") }, "--cluster-size excludes"),
        (
            Cli { cluster_lease_ca_file: some("/ca"), ..lease("etcd://a:1") },
            "--cluster-lease is etcd://",
        ),
    ];
    for (number, (flags, fault)) in cases.into_iter().enumerate() {
        let bind = if number < 2 { None } else { cluster.cluster_bind.clone() };
        let found = faults(Cli { cluster_bind: bind, ..flags });
        assert!(found.iter().any(|it| it.starts_with(fault)), "{fault}: {found:?}");
        assert!(found.len() <= 2, "{fault}: {found:?}");
    }
}

#[test]
fn the_path_of_a_remote_is_a_prefix() {
    let cases = [
        ("http://a", "", ""),
        ("http://a/", "", ""),
        ("http://a/x/y/?k=v&w", "/x/y", "k=v&w"),
        ("http://[::1]:80?k", "", "k"),
    ];
    for (text, prefix, query) in cases {
        let config = Config::from_cli(&Cli { remote: some(text), ..Cli::default() }).expect(text);
        let mount = &config.endpoints[0].mount;
        assert_eq!(mount.place, Place::Under(prefix.into()), "{text}");
        assert_eq!(mount.query, query.as_bytes(), "{text}");
    }
}

#[test]
fn a_password_is_shown_nowhere() {
    let cli = Cli {
        remote_user: some("me"),
        remote_password: Some(Secret("geheim".into())),
        ..Cli::default()
    };
    assert!(!format!("{cli:?}").contains("geheim"));
    let config = Config::from_cli(&cli).expect("it is good");
    let secret = config.endpoints[0].authorization.clone().expect("there is one");
    assert_eq!(secret.0, "Basic bWU6Z2VoZWlt");
    assert!(!format!("{config:?}").contains("bWU6Z2VoZWlt"));
    assert_eq!(config.warnings.len(), 1);
    let found = faults(Cli { remote: some("http://me:geheim@a"), ..Cli::default() });
    assert!(!found.concat().contains("geheim"), "{found:?}");
}

#[test]
fn sizes_have_units() {
    assert_eq!(parse_size("32MiB"), Some(32 << 20));
    assert_eq!(parse_size("1000"), Some(1000));
    let of = |text: &str| {
        let cli = Cli { max_body: some(text), hold_memory: some("1GiB"), ..Cli::default() };
        Config::from_cli(&cli).map(|config| config.body_bytes_max)
    };
    assert_eq!((of("32B"), of("1024")), (Ok(32), Ok(1024)));
    assert_eq!(of("32"), Err(vec!["--max-body '32' has no unit: it would be bytes".into()]));
    for text in ["", "MiB", "0", "1.5MiB", "1 MiB", "99999999999999999999"] {
        assert_eq!(parse_size(text), None, "{text}");
    }
}

#[test]
fn what_is_kept_for_a_hand_over_is_bounded_by_default_and_as_it_is_said() {
    let config = Config::from_cli(&Cli::default()).expect("the defaults are good");
    assert_eq!((config.hold_window, config.hold_bytes_max), (HOLD_WINDOW, HOLD_BYTES_MAX));
    assert_eq!((config.lag_max, config.state), (None, None));
    let said = Config::from_cli(&Cli {
        hold_window: some("5m"),
        hold_memory: some("2MiB"),
        max_decoded: some("1MiB"),
        max_lag: some("90s"),
        state: some("kept"),
        ..Cli::default()
    });
    let said = said.expect("all of it is good");
    assert_eq!((said.hold_window, said.hold_bytes_max), (Millis(300_000), 2 << 20));
    assert_eq!((said.decoded_bytes_max, said.lag_max), (1 << 20, Some(Millis(90_000))));
    assert_eq!(said.state, Some(PathBuf::from("kept")));
    let found = faults(Cli {
        hold_window: some("0s"),
        hold_memory: some("much"),
        max_decoded: some(""),
        max_lag: some("late"),
        ..Cli::default()
    });
    for flag in ["--hold-window", "--hold-memory", "--max-decoded", "--max-lag"] {
        assert!(found.iter().any(|fault| fault.starts_with(flag)), "{flag}: {found:?}");
    }
}

/// A folder that goes with the test.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Files of certificates and keys, made anew, for as long as this is there.
fn pem_files(test: &str) -> impl Fn(&str) -> Option<String> {
    let dir = std::env::temp_dir().join(format!("highlander-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a new folder");
    let made = || rcgen::generate_simple_self_signed(vec!["a".into()]).expect("a good name");
    let (one, other) = (made(), made());
    for (name, text) in [
        ("certificate", one.cert.pem()),
        ("key", one.signing_key.serialize_pem()),
        ("other-key", other.signing_key.serialize_pem()),
        ("nothing", "no PEM in here".to_owned()),
        ("broken", "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n".to_owned()),
    ] {
        std::fs::write(dir.join(name), text).expect("a new file");
    }
    let folder = Folder(dir);
    move |name| folder.0.join(name).to_str().map(str::to_owned)
}

#[test]
fn tls_is_set_up_as_in_a_tls_config() {
    let file = pem_files("good");
    let config = Config::from_cli(&Cli {
        remote: some("https://a"),
        remote_ca_file: file("certificate"),
        remote_cert_file: file("certificate"),
        remote_key_file: file("key"),
        remote_server_name: some("b"),
        remote_insecure_skip_verify: true,
        ..Cli::default()
    });
    let config = config.expect("all of it is good");
    let path = |name| file(name).map(PathBuf::from);
    let expected = TlsSetting {
        ca_file: path("certificate"),
        cert_file: path("certificate"),
        key_file: path("key"),
        server_name: some("b"),
        insecure_skip_verify: true,
    };
    assert_eq!(config.endpoints[0].tls, Some(expected));
    assert!(config.warnings[0].contains("insecure"), "{:?}", config.warnings);
    let plain = Config::from_cli(&Cli::default()).expect("the defaults are good");
    assert_eq!(plain.endpoints[0].tls, None);
}

#[test]
fn every_fault_of_tls_is_named() {
    let file = pem_files("bad");
    let https = || Cli { remote: some("https://a"), ..Cli::default() };
    let pair = |certificate: &str, key: &str| Cli {
        remote_cert_file: file(certificate),
        remote_key_file: file(key),
        ..https()
    };
    let cases: [(Cli, &[&str]); 8] = [
        (Cli { remote_cert_file: file("certificate"), ..https() }, &["--remote-cert-file has no"]),
        (Cli { remote_key_file: file("key"), ..https() }, &["--remote-key-file has no"]),
        (Cli { remote_ca_file: file("nowhere"), ..https() }, &["--remote-ca-file '/"]),
        (Cli { remote_ca_file: file("nothing"), ..https() }, &["--remote-ca-file '/"]),
        (Cli { remote_ca_file: file("broken"), ..https() }, &["--remote-ca-file '/"]),
        (pair("certificate", "other-key"), &["--remote-key-file '/"]),
        (pair("key", "certificate"), &["--remote-cert-file '/", "--remote-key-file '/"]),
        (Cli { remote_server_name: some("a b"), ..https() }, &["--remote-server-name 'a b'"]),
    ];
    for (flags, expected) in cases {
        let found = faults(flags);
        assert_eq!(found.len(), expected.len(), "{expected:?}: {found:?}");
        for (fault, start) in found.iter().zip(expected) {
            assert!(fault.starts_with(start), "{start}: {found:?}");
        }
    }
    let found = faults(Cli {
        remote: some("http://a"),
        remote_insecure_skip_verify: true,
        ..pair("certificate", "key")
    });
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|fault| fault.ends_with("is for an https:// --remote")), "{found:?}");
}

#[test]
fn the_files_for_an_etcd_are_judged_as_those_for_an_endpoint() {
    let file = pem_files("etcd");
    let of = |ca: &str, certificate: &str, key: &str| Cli {
        cluster_bind: some("127.0.0.1:0"),
        cluster_lease: some("etcds://a:1"),
        cluster_lease_ca_file: file(ca),
        cluster_lease_cert_file: file(certificate),
        cluster_lease_key_file: file(key),
        ..Cli::default()
    };
    assert!(Config::from_cli(&of("certificate", "certificate", "key")).is_ok());
    let [ca, certificate, key] =
        ["ca", "cert", "key"].map(|it| format!("--cluster-lease-{it}-file '/"));
    let cases = [
        (of("nothing", "certificate", "key"), &ca),
        (of("certificate", "broken", "key"), &certificate),
        (of("certificate", "certificate", "other-key"), &key),
    ];
    for (cli, expected) in cases {
        let found = faults(cli);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:?}");
    }
}

#[test]
fn nobody_is_believed_about_others_unless_it_is_said_and_everybody_about_his_weight() {
    use crate::logic::recognition::Weights;
    use crate::logic::source::Identity;
    let config = Config::from_cli(&Cli::default()).expect("the defaults are good");
    assert_eq!(config.recognition, Recognition::default());
    assert!(config.recognition.trusted_proxies.is_empty());
    let cli = Cli {
        source_identity: some("user"),
        trusted_proxies: vec!["10.0.0.0/8".into(), "::1".into()],
        trust_weight: some("false"),
        ..Cli::default()
    };
    let recognition = Config::from_cli(&cli).expect("all of it is good").recognition;
    assert_eq!(recognition.identity, Identity::User);
    assert_eq!(recognition.weights, Weights::Ruled);
    let trusted = ["10.1.2.3", "::ffff:10.1.2.3", "::1", "11.0.0.0"];
    let trusted = trusted.map(|ip| recognition.trusts(ip.parse().expect("an address")));
    assert_eq!(trusted, [true, true, true, false]);
}

#[test]
fn networks_that_are_none_or_too_many_are_faults() {
    let cli = Cli { trusted_proxies: vec!["10.0.0.1/8".into(), "x".into()], ..Cli::default() };
    let expected = [
        "--trusted-proxies '10.0.0.1/8' has bits behind its first 8: did you mean 10.0.0.0/8?",
        "--trusted-proxies 'x' is not an address or a network such as 10.0.0.7 or 10.0.0.0/8",
    ];
    assert_eq!(faults(cli), expected);
    let most = |count| vec!["10.0.0.1".to_owned(); count];
    assert!(Config::from_cli(&Cli { trusted_proxies: most(64), ..Cli::default() }).is_ok());
    let found = faults(Cli { trusted_proxies: most(65), ..Cli::default() });
    assert_eq!(found, ["--trusted-proxies names more than 64 networks"]);
}

#[test]
fn a_cluster_without_a_key_asks_nobody_who_pushes() {
    let path = std::env::temp_dir().join(format!("highlander-web-{}.yml", std::process::id()));
    std::fs::write(&path, "basic_auth_users: {}\n").expect("a new file");
    let cli = Cli {
        web_config: Some(path.display().to_string()),
        cluster_bind: Some("127.0.0.1".into()),
        ..Cli::default()
    };
    let faults = Config::from_cli(&cli).expect_err("whoever knows the name would be a node");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("--web-config needs --cluster-key-file"), "{faults:?}");
    let _ = std::fs::remove_file(&path);
}
