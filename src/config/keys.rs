//! The keys of a configuration file that are flags too.

use super::faults::{Faults, key_of};
use super::named::Named;
use super::section::{Refused, Section, text, text_of};
use super::yaml::{Node, Value};
use crate::base::secret::Secret;
use crate::cli::Cli;

/// Where the value of a key goes.
pub enum Slot {
    /// A value.
    Text(fn(&mut Cli) -> &mut Option<String>),
    /// A file, which is looked for beside the configuration.
    Path(fn(&mut Cli) -> &mut Option<String>),
    /// A value that is shown nowhere.
    Secret(fn(&mut Cli) -> &mut Option<Secret>),
    /// Values with commas between them, or a list.
    Commas(fn(&mut Cli) -> &mut Option<String>),
    /// A value, or a list.
    List(fn(&mut Cli) -> &mut Vec<String>),
    /// true or false.
    Switch(fn(&mut Cli) -> &mut bool),
}

use Slot::{Commas, List, Path, Switch, Text};

/// Every flag, but for those that make no sense in a file.
pub const KEYS: &[(&str, Slot)] = &[
    ("listen", List(|cli| &mut cli.listen)),
    ("web_config", Path(|cli| &mut cli.web_config)),
    ("admin", Text(|cli| &mut cli.admin)),
    ("admin_web_config", Path(|cli| &mut cli.admin_web_config)),
    ("remote", Text(|cli| &mut cli.remote)),
    ("remote_user", Text(|cli| &mut cli.remote_user)),
    ("remote_password", Slot::Secret(|cli| &mut cli.remote_password)),
    ("remote_password_file", Path(|cli| &mut cli.remote_password_file)),
    ("remote_ca_file", Path(|cli| &mut cli.remote_ca_file)),
    ("remote_cert_file", Path(|cli| &mut cli.remote_cert_file)),
    ("remote_key_file", Path(|cli| &mut cli.remote_key_file)),
    ("remote_server_name", Text(|cli| &mut cli.remote_server_name)),
    ("remote_insecure_skip_verify", Switch(|cli| &mut cli.remote_insecure_skip_verify)),
    ("remote_timeout", Text(|cli| &mut cli.remote_timeout)),
    ("health_tick", Text(|cli| &mut cli.health_tick)),
    ("health_expiry", Text(|cli| &mut cli.health_expiry)),
    ("health_expiry_max", Text(|cli| &mut cli.health_expiry_max)),
    ("instance_id", Text(|cli| &mut cli.instance_id)),
    ("source_identity", Text(|cli| &mut cli.source_identity)),
    ("trusted_proxies", List(|cli| &mut cli.trusted_proxies)),
    ("trust_weight", Text(|cli| &mut cli.trust_weight)),
    ("max_body", Text(|cli| &mut cli.max_body)),
    ("hold_window", Text(|cli| &mut cli.hold_window)),
    ("hold_memory", Text(|cli| &mut cli.hold_memory)),
    ("max_decoded", Text(|cli| &mut cli.max_decoded)),
    ("max_lag", Text(|cli| &mut cli.max_lag)),
    ("state", Path(|cli| &mut cli.state)),
    ("max_connections", Text(|cli| &mut cli.max_connections)),
    ("max_groups", Text(|cli| &mut cli.max_groups)),
    ("max_sources", Text(|cli| &mut cli.max_sources)),
    ("cores", Text(|cli| &mut cli.cores)),
    ("driver", Text(|cli| &mut cli.driver)),
    ("shutdown_timeout", Text(|cli| &mut cli.shutdown_timeout)),
    ("log_format", Text(|cli| &mut cli.log_format)),
    ("log_level", Text(|cli| &mut cli.log_level)),
    ("cluster_bind", Text(|cli| &mut cli.cluster_bind)),
    ("cluster_connect", Commas(|cli| &mut cli.cluster_connect)),
    ("cluster_advertise", Text(|cli| &mut cli.cluster_advertise)),
    ("cluster_name", Text(|cli| &mut cli.cluster_name)),
    ("cluster_key_file", Path(|cli| &mut cli.cluster_key_file)),
    ("cluster_insecure", Switch(|cli| &mut cli.cluster_insecure)),
    ("cluster_size", Text(|cli| &mut cli.cluster_size)),
    ("cluster_lease", Text(|cli| &mut cli.cluster_lease)),
    ("cluster_lease_ca_file", Path(|cli| &mut cli.cluster_lease_ca_file)),
    ("cluster_lease_cert_file", Path(|cli| &mut cli.cluster_lease_cert_file)),
    ("cluster_lease_key_file", Path(|cli| &mut cli.cluster_lease_key_file)),
    ("cluster_lease_user", Text(|cli| &mut cli.cluster_lease_user)),
    ("cluster_lease_password_file", Path(|cli| &mut cli.cluster_lease_password_file)),
    ("cluster_mode", Text(|cli| &mut cli.cluster_mode)),
    ("cluster_settle", Text(|cli| &mut cli.cluster_settle)),
];

/// The key of the endpoints.
pub const REMOTE_WRITE: &str = "remote_write";
/// The key of the rules about sources.
pub const SOURCES: &str = "sources";

const OF_PROMETHEUS: &str = "is Prometheus's own: copy remote_write only";

const REFUSED: &[Refused] = &[
    ("config", "is a flag only: a file can't name another one"),
    ("global", OF_PROMETHEUS),
    ("runtime", OF_PROMETHEUS),
    ("scrape_configs", OF_PROMETHEUS),
    ("scrape_config_files", OF_PROMETHEUS),
    ("rule_files", OF_PROMETHEUS),
    ("alerting", OF_PROMETHEUS),
    ("remote_read", OF_PROMETHEUS),
    ("storage", OF_PROMETHEUS),
    ("tracing", OF_PROMETHEUS),
    ("otlp", OF_PROMETHEUS),
];

/// Gives `cli` all values of the file that no flag gave it, and notes where they stand. What a flag
/// overrules is not looked at.
pub fn fill(cli: &mut Cli, root: &Section<'_>, named: &Named, faults: &mut Faults) {
    let mut known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    known.extend([REMOTE_WRITE, SOURCES]);
    root.refuse_others(&known, REFUSED, faults);
    for (key, slot) in KEYS {
        if let Some((name, node)) = root.pairs().iter().find(|(name, _)| name.text == *key) {
            let flag = format!("--{}", key.replace('_', "-"));
            if !is_given(cli, slot) {
                faults.items_stand_at(&flag, lines(slot, name.line, node));
                put(cli, slot, &flag, node, named, faults);
            }
        }
    }
}

fn is_given(cli: &mut Cli, slot: &Slot) -> bool {
    match slot {
        Slot::Text(field) | Slot::Path(field) | Slot::Commas(field) => field(cli).is_some(),
        Slot::Secret(field) => field(cli).is_some(),
        Slot::List(field) => !field(cli).is_empty(),
        Slot::Switch(field) => *field(cli),
    }
}

fn lines(slot: &Slot, line: usize, node: &Node) -> Vec<(usize, usize)> {
    let lines: Vec<(usize, usize)> = match (slot, &node.value) {
        (Slot::List(_), Value::List(items)) => {
            let texts = items.iter().enumerate().filter(|(_, item)| text_of(item).is_ok());
            texts.map(|(index, item)| (index, item.line)).collect()
        }
        _ => Vec::new(),
    };
    if lines.is_empty() { vec![(0, line)] } else { lines }
}

fn put(cli: &mut Cli, slot: &Slot, flag: &str, node: &Node, named: &Named, faults: &mut Faults) {
    match slot {
        Slot::Text(field) => *field(cli) = text(node, flag, faults),
        Slot::Path(field) => {
            let path = text(node, flag, faults).map(|text| named.path(&text));
            // Both parts of it were text.
            *field(cli) = path.map(|path| path.to_string_lossy().into_owned());
        }
        Slot::Secret(field) => *field(cli) = text(node, flag, faults).map(Secret),
        Slot::Commas(field) => *field(cli) = Some(texts(node, flag, faults).join(",")),
        Slot::List(field) => *field(cli) = texts(node, flag, faults),
        Slot::Switch(field) => {
            let text = text(node, flag, faults);
            *field(cli) = faults.choice(flag, &text, &[("false", false), ("true", true)]);
        }
    }
}

fn texts(node: &Node, flag: &str, faults: &mut Faults) -> Vec<String> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            faults.add(flag, "is an empty list");
            Vec::new()
        }
        Value::List(items) => {
            let mut texts = Vec::new();
            for (index, item) in items.iter().enumerate() {
                match text_of(item) {
                    Ok(text) => texts.push(text.to_owned()),
                    Err(why) => {
                        let what = format_args!("{}[{index}]: {why}", key_of(flag));
                        faults.add_of_file(Some(item.line), what);
                    }
                }
            }
            texts
        }
        _ => text(node, flag, faults).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    #[test]
    fn every_flag_has_a_key_and_every_key_a_flag() {
        let Err(Exit::Help(help)) = Cli::parse(&["--help".to_owned()]) else {
            panic!("help was asked for");
        };
        let of_line = |line: &str| {
            let mut words = line.trim_start().split([' ', ',']).take(3);
            words.find(|word| word.starts_with("--")).map(|flag| flag[2..].replace('-', "_"))
        };
        let mut flags: Vec<String> = help
            .lines()
            .filter(|line| line.trim_start().starts_with('-'))
            .filter_map(of_line)
            .filter(|flag| !["help", "version", "config"].contains(&flag.as_str()))
            .collect();
        let mut keys: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        flags.sort();
        keys.sort_unstable();
        assert_eq!(flags, keys);
        assert!(keys.len() > 30, "the table was read");
    }

    #[test]
    fn every_key_goes_where_its_flag_goes() {
        for (key, slot) in KEYS {
            let flag = format!("--{}", key.replace('_', "-"));
            let (args, value) = match slot {
                Slot::Switch(_) => (vec![flag], "true"),
                _ => (vec![flag, "7".to_owned()], "7"),
            };
            let by_flag = Cli::parse(&args).unwrap_or_else(|exit| panic!("{key}: {exit:?}"));
            let node = super::super::yaml::read(format!("{key}: {value}\n").as_bytes());
            let node = node.unwrap_or_else(|fault| panic!("{key}: {fault:?}"));
            let mut faults = Faults::of_file("f");
            let root = Section::open(&node, String::new(), &mut faults).expect("a map");
            let named = Named::in_file("f".as_ref(), super::super::named::read_text);
            let mut by_key = Cli::default();
            fill(&mut by_key, &root, &named, &mut faults);
            assert_eq!(format!("{by_key:?}"), format!("{by_flag:?}"), "{key}");
            assert_eq!(faults.into_all(), Vec::<String>::new(), "{key}");
        }
    }
}
