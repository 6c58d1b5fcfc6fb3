//! What differs between two configurations: what a reload takes over, and what it can't, by name.

use crate::config::endpoint::Endpoint;
use crate::config::queue::{Delivery, OnRemoved, QueueSetting};
use crate::config::{Admin, Cluster, Config};
use crate::logic::recognition::Recognition;
use crate::logic::roster::{Roster, Traits};

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is taken over, in words.
    pub taken: Vec<String>,
    /// What can't be changed while the program runs, in words.
    pub faults: Vec<String>,
}

/// What there is to do to come from one configuration to the other.
pub fn between(before: &Config, now: &Config) -> Changes {
    // All of them by name: what is new has to be decided about here.
    let Config {
        listen,
        web: of_sources,
        admin,
        endpoints,
        health_tick,
        expiry,
        instance_id,
        recognition,
        body_bytes_max,
        hold_window,
        hold_bytes_max,
        decoded_bytes_max,
        lag_max,
        state,
        connections_max,
        groups_max,
        sources_max,
        cores,
        driver,
        shutdown_timeout,
        log_format,
        log_level,
        cluster,
        warnings: _,
    } = before;
    let address = |admin: &Option<Admin>| admin.as_ref().map(|it| it.address);
    let web = |admin: &Option<Admin>| admin.as_ref().and_then(|it| it.web.clone());
    let fixed = [
        ("--listen", *listen != now.listen),
        ("--web-config", *of_sources != now.web),
        ("--admin", address(admin) != address(&now.admin)),
        ("--admin-web-config", web(admin) != web(&now.admin)),
        ("--instance-id", *instance_id != now.instance_id),
        ("--source-identity", recognition.identity != now.recognition.identity),
        ("--trust-weight", recognition.weights != now.recognition.weights),
        ("--state", *state != now.state),
        ("--cores", *cores != now.cores),
        ("--driver", *driver != now.driver),
        ("--log-format", *log_format != now.log_format),
    ];
    let Recognition { identity: _, trusted_proxies, weights: _, roster } = recognition;
    let free = [
        ("--trusted-proxies", *trusted_proxies != now.recognition.trusted_proxies),
        ("sources", *roster != now.recognition.roster),
        ("--health-tick", *health_tick != now.health_tick),
        ("--health-expiry", expiry.expiry != now.expiry.expiry),
        ("--health-expiry-max", expiry.expiry_max != now.expiry.expiry_max),
        ("--max-body", *body_bytes_max != now.body_bytes_max),
        ("--hold-window", *hold_window != now.hold_window),
        ("--hold-memory", *hold_bytes_max != now.hold_bytes_max),
        ("--max-decoded", *decoded_bytes_max != now.decoded_bytes_max),
        ("--max-lag", *lag_max != now.lag_max),
        ("--max-connections", *connections_max != now.connections_max),
        ("--max-groups", *groups_max != now.groups_max),
        ("--max-sources", *sources_max != now.sources_max),
        ("--shutdown-timeout", *shutdown_timeout != now.shutdown_timeout),
        ("--log-level", *log_level != now.log_level),
    ];
    let mut changes = Changes::default();
    if moves_groups(roster, &now.recognition.roster) {
        let what =
            "which rules give a group, and what stands before them, can't change while it runs";
        changes.faults.push(format!("sources: {what}: restart"));
    }
    let fixed = fixed.into_iter().chain(of_cluster(cluster.as_ref(), now.cluster.as_ref()));
    for (flag, _) in fixed.filter(|(_, differs)| *differs) {
        changes.faults.push(format!("{flag} can't change while it runs: restart"));
    }
    of_endpoints(endpoints, &now.endpoints, &mut changes);
    let free = free.into_iter().filter(|(_, differs)| *differs);
    changes.taken.extend(free.map(|(flag, _)| format!("{flag} changed")));
    changes
}

/// Whether a source could come into another group, and what is held of it stay behind: but for the weights,
/// rules stay as they are where one of them gives a group.
fn moves_groups(before: &Roster, now: &Roster) -> bool {
    let without_weights = |roster: &Roster| -> Vec<(Traits, Option<Box<[u8]>>)> {
        roster.rules.iter().map(|rule| (rule.of.clone(), rule.ruling.group.clone())).collect()
    };
    let gives_groups = |roster: &Roster| roster.rules.iter().any(|it| it.ruling.group.is_some());
    (gives_groups(before) || gives_groups(now)) && without_weights(before) != without_weights(now)
}

fn of_cluster(
    before: Option<&Cluster>,
    now: Option<&Cluster>,
) -> impl Iterator<Item = (&'static str, bool)> {
    let differs = match (before, now) {
        (Some(before), Some(now)) => {
            let Cluster { bind, advertise, peers, name, keys, size, etcd, mode, settle_max } =
                before;
            vec![
                ("--cluster-bind", *bind != now.bind),
                ("--cluster-advertise", *advertise != now.advertise),
                ("--cluster-connect", *peers != now.peers),
                ("--cluster-name", *name != now.name),
                ("--cluster-key-file", *keys != now.keys),
                ("--cluster-size", *size != now.size),
                ("--cluster-lease", *etcd != now.etcd),
                ("--cluster-mode", *mode != now.mode),
                ("--cluster-settle", *settle_max != now.settle_max),
            ]
        }
        (before, now) => vec![("--cluster-bind", before.is_some() != now.is_some())],
    };
    differs.into_iter()
}

fn of_endpoints(before: &[Endpoint], now: &[Endpoint], changes: &mut Changes) {
    for is in now {
        let name = &is.name;
        let Some(was) = before.iter().find(|was| was.name == *name) else {
            changes.taken.push(format!("endpoint '{name}' added"));
            changes.faults.extend(of_others_queue(is, before));
            continue;
        };
        changes.faults.extend(of_delivery(was, is));
        if without_tls(was) != without_tls(is) || was.tls != is.tls {
            changes.taken.push(format!("endpoint '{name}' changed"));
        } else if is.tls.is_some() {
            changes.taken.push(format!("endpoint '{name}': its TLS files read again"));
        }
    }
    for was in before.iter().filter(|was| now.iter().all(|is| is.name != was.name)) {
        let queue = match &was.delivery {
            Delivery::Direct => "",
            Delivery::Queued(QueueSetting { on_removed: OnRemoved::Keep, .. }) => {
                ", what is in its queue stays there"
            }
            Delivery::Queued(QueueSetting { on_removed: OnRemoved::Drain, .. }) => {
                ", what is in its queue is still sent"
            }
        };
        changes.taken.push(format!("endpoint '{}' removed{queue}", was.name));
    }
}

fn without_tls(endpoint: &Endpoint) -> Endpoint {
    Endpoint { tls: None, ..endpoint.clone() }
}

/// What can't change of how an endpoint gets its requests.
fn of_delivery(was: &Endpoint, is: &Endpoint) -> Option<String> {
    let name = &is.name;
    let fault = |what: &str| Some(format!("endpoint '{name}': {what}"));
    match (&was.delivery, &is.delivery) {
        (Delivery::Direct, Delivery::Direct | Delivery::Queued(_)) => None,
        // What is new would overtake what is still in the queue.
        (Delivery::Queued(_), Delivery::Direct) => fault(
            "delivery can't change from queued to direct while it runs: remove it, let its queue \
             drain, and add it under another name; or restart",
        ),
        (Delivery::Queued(queue), Delivery::Queued(other)) => {
            if was.out_of_order != is.out_of_order {
                return fault("out_of_order can't change while it has a queue: restart");
            }
            let key = queue_key(queue, other)?;
            fault(&format!("queue.{key} can't change while it runs: restart"))
        }
    }
}

/// The first key in which two queues differ, but for what becomes of them at their end.
pub fn queue_key(queue: &QueueSetting, other: &QueueSetting) -> Option<&'static str> {
    let QueueSetting {
        dir,
        bytes_max,
        sync,
        in_flight_max,
        backoff_min,
        backoff_max,
        on_full,
        on_removed: _,
    } = queue;
    let differs = [
        ("dir", *dir != other.dir),
        ("max_size", *bytes_max != other.bytes_max),
        ("sync", *sync != other.sync),
        ("max_in_flight", *in_flight_max != other.in_flight_max),
        ("min_backoff", *backoff_min != other.backoff_min),
        ("max_backoff", *backoff_max != other.backoff_max),
        ("on_full", *on_full != other.on_full),
    ];
    differs.into_iter().find_map(|(key, differs)| differs.then_some(key))
}

/// An endpoint without a name is called by its URL, so that another URL makes another one of it.
fn of_others_queue(is: &Endpoint, before: &[Endpoint]) -> Option<String> {
    let Delivery::Queued(queue) = &is.delivery else { return None };
    let has_it = |was: &&Endpoint| matches!(&was.delivery, Delivery::Queued(other) if other.dir == queue.dir);
    let was = before.iter().find(has_it)?;
    Some(format!(
        "endpoint '{}': the queue in {} is that of endpoint '{}': give it that name, or another queue",
        is.name,
        queue.dir.display(),
        was.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Millis;
    use crate::cli::Cli;
    use crate::config::queue::{OutOfOrder, Sync};

    fn config(change: impl FnOnce(&mut Cli)) -> Config {
        let mut cli = Cli { instance_id: Some("i".into()), ..Cli::default() };
        change(&mut cli);
        Config::from_cli(&cli).expect("good flags")
    }

    #[test]
    fn what_cannot_change_is_named_all_at_once_and_what_can_is_told() {
        let before = config(|_| {});
        assert_eq!(between(&before, &before.clone()), Changes::default());
        let now = config(|cli| {
            cli.listen = vec!["127.0.0.1:1".into()];
            cli.admin = Some("127.0.0.1:2".into());
            cli.instance_id = Some("j".into());
            cli.source_identity = Some("connection".into());
            cli.state = Some("state".into());
            cli.cores = Some("3".into());
            cli.driver = Some("epoll".into());
            cli.log_format = Some("json".into());
            cli.cluster_bind = Some("127.0.0.1:3".into());
            cli.max_body = Some("1MiB".into());
            cli.log_level = Some("warn".into());
        });
        let changes = between(&before, &now);
        let flags = [
            "--listen",
            "--admin",
            "--instance-id",
            "--source-identity",
            "--state",
            "--cores",
            "--driver",
            "--log-format",
            "--cluster-bind",
        ];
        let expected = flags.map(|flag| format!("{flag} can't change while it runs: restart"));
        assert_eq!(changes.faults, expected);
        assert_eq!(changes.taken, ["--max-body changed", "--log-level changed"]);
    }

    #[test]
    fn rules_change_but_not_who_is_in_which_group() {
        use crate::logic::roster::{Rule, Ruling};
        use crate::logic::source::Weight;
        let rule = |source: &str, weight, group: Option<&str>| Rule {
            of: Traits { source: Some(source.as_bytes().into()), ..Traits::default() },
            ruling: Ruling {
                weight: Some(Weight(weight)),
                group: group.map(|it| it.as_bytes().into()),
            },
        };
        let with = |rules: &[Rule]| {
            let recognition =
                Recognition { roster: Roster { rules: rules.to_vec() }, ..Recognition::default() };
            Config { recognition, ..config(|_| {}) }
        };
        let faults = |before: &[Rule], now: &[Rule]| {
            let changes = between(&with(before), &with(now));
            assert!(!changes.faults.is_empty() || changes.taken == ["sources changed"]);
            changes.faults.len()
        };
        let (a, g) = (rule("a", 1, None), rule("b", 1, Some("g")));
        assert_eq!(faults(std::slice::from_ref(&a), &[rule("a", 2, None), rule("c", 1, None)]), 0);
        assert_eq!(
            faults(&[a.clone(), g.clone()], &[rule("a", 2, None), rule("b", 3, Some("g"))]),
            0
        );
        for now in
            [&[a.clone()][..], &[g.clone(), a.clone()], &[a.clone(), rule("b", 1, Some("h"))]]
        {
            assert_eq!(faults(&[a.clone(), g.clone()], now), 1, "{now:?}");
        }
        assert_eq!(faults(std::slice::from_ref(&a), &[a.clone(), g]), 1);
    }

    #[test]
    fn endpoints_come_go_and_change_but_a_queue_stays_as_it_is() {
        let at = |name: &str, port: u16, delivery: Delivery| {
            let config = config(|cli| cli.remote = Some(format!("http://127.0.0.1:{port}")));
            Endpoint { name: name.into(), delivery, ..config.endpoints[0].clone() }
        };
        let queue = |dir: &str| QueueSetting {
            dir: dir.into(),
            bytes_max: 1,
            sync: Sync::Always,
            in_flight_max: 1,
            backoff_min: Millis(1),
            backoff_max: Millis(1),
            on_full: crate::config::queue::OnFull::Refuse,
            on_removed: OnRemoved::Drain,
        };
        let queued = |dir: &str| Delivery::Queued(queue(dir));
        let with = |endpoints: Vec<Endpoint>| Config { endpoints, ..config(|_| {}) };
        let before = with(vec![at("a", 1, Delivery::Direct), at("b", 2, queued("b"))]);
        let now = with(vec![at("a", 3, queued("a")), at("c", 4, Delivery::Direct)]);
        let changes = between(&before, &now);
        assert!(changes.faults.is_empty(), "{changes:?}");
        let taken = [
            "endpoint 'a' changed",
            "endpoint 'c' added",
            "endpoint 'b' removed, what is in its queue is still sent",
        ];
        assert_eq!(changes.taken, taken);
        let keep = Delivery::Queued(QueueSetting { on_removed: OnRemoved::Keep, ..queue("b") });
        let others = [
            (at("b", 2, keep), None),
            (at("b", 2, queued("x")), Some("queue.dir can't change")),
            (at("b", 2, Delivery::Direct), Some("from queued to direct")),
            (
                Endpoint { out_of_order: OutOfOrder::Allowed, ..at("b", 2, queued("b")) },
                Some("out_of_order can't change"),
            ),
            (at("d", 2, queued("b")), Some("is that of endpoint 'b': give it that name")),
        ];
        for (other, part) in others {
            let changes = between(&before, &with(vec![before.endpoints[0].clone(), other]));
            match part {
                None => assert!(changes.faults.is_empty(), "{changes:?}"),
                Some(part) => {
                    assert!(changes.faults.len() == 1 && changes.faults[0].contains(part));
                }
            }
        }
    }
}
