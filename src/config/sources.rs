//! How sources are recognised: what makes one, whose word counts, and the rules of the file.

use super::faults::Faults;
use super::section::Section;
use super::yaml::{Node, Value};
use crate::base::limits::{NAME_BYTES_MAX, SOURCE_RULES_MAX, TRUSTED_PROXIES_MAX};
use crate::base::net::Net;
use crate::cli::Cli;
use crate::logic::recognition::{Recognition, Weights};
use crate::logic::roster::{Roster, Rule, Ruling, Traits};
use crate::logic::source::{Identity, Weight};

/// The key of whom a rule is about.
const MATCH: &str = "match";

/// What the flags say, and these rules.
pub fn recognition(cli: &Cli, roster: Roster, faults: &mut Faults) -> Recognition {
    Recognition {
        identity: faults.choice(
            "--source-identity",
            &cli.source_identity,
            &[
                ("auto", Identity::Auto),
                ("user", Identity::User),
                ("connection", Identity::Connection),
            ],
        ),
        trusted_proxies: trusted_proxies(&cli.trusted_proxies, faults),
        weights: faults.choice(
            "--trust-weight",
            &cli.trust_weight,
            &[("true", Weights::Chosen), ("false", Weights::Ruled)],
        ),
        roster,
    }
}

fn trusted_proxies(texts: &[String], faults: &mut Faults) -> Vec<Net> {
    if texts.len() > TRUSTED_PROXIES_MAX {
        let what = format_args!("names more than {TRUSTED_PROXIES_MAX} networks");
        faults.add("--trusted-proxies", what);
        return Vec::new();
    }
    let mut nets = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(net) => nets.push(net),
            Err(fault) => {
                faults.add_item("--trusted-proxies", index, format_args!("'{text}' {fault}"));
            }
        }
    }
    nets
}

/// Reads all rules, which stand at `sources`.
pub fn roster(node: &Node, faults: &mut Faults) -> Roster {
    let Value::List(items) = &node.value else {
        faults.add("sources", "is not a list: put '- ' before the first match");
        return Roster::default();
    };
    if items.is_empty() {
        faults.add("sources", "is an empty list");
    }
    if items.len() > SOURCE_RULES_MAX {
        faults.add("sources", format_args!("has more than {SOURCE_RULES_MAX} rules"));
        return Roster::default();
    }
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(section) = Section::open(item, format!("sources[{index}]"), faults) else {
            continue;
        };
        section.refuse_others(&[MATCH, "weight", "group"], &[], faults);
        rules.push(Rule { of: traits(&section, faults), ruling: ruling(&section, faults) });
    }
    Roster { rules }
}

fn traits(rule: &Section<'_>, faults: &mut Faults) -> Traits {
    if rule.node(MATCH).is_none() {
        rule.fault(MATCH, "is missing", faults);
    }
    let Some(section) = rule.section(MATCH, faults) else { return Traits::default() };
    section.refuse_others(&["user", "cert", "source", "ip"], &[], faults);
    if section.pairs().is_empty() {
        rule.fault(MATCH, "fits everybody: give user, cert, source or ip", faults);
    }
    let ip = section.text("ip", faults);
    let ip = ip.and_then(|text| match text.parse::<Net>() {
        Ok(net) => Some(net),
        Err(fault) => {
            section.fault("ip", format_args!("'{text}' {fault}"), faults);
            None
        }
    });
    Traits {
        user: name(&section, "user", faults).map(Into::into),
        cert: name(&section, "cert", faults).map(Into::into),
        source: name(&section, "source", faults).map(|name| name.into_bytes().into()),
        ip,
    }
}

fn name(section: &Section<'_>, key: &str, faults: &mut Faults) -> Option<String> {
    let name = section.text(key, faults)?;
    if name.is_empty() {
        section.fault(key, "is empty", faults);
    }
    refuse_long(section, key, &name, faults);
    Some(name)
}

fn ruling(rule: &Section<'_>, faults: &mut Faults) -> Ruling {
    if rule.node("weight").is_none() && rule.node("group").is_none() {
        rule.fault("weight", "is missing, and group too: give one of them", faults);
    }
    let weight = rule.text("weight", faults).and_then(|text| {
        let weight = Weight::parse(text.as_bytes());
        if weight.is_none() {
            rule.fault("weight", format_args!("'{text}' is not a number from 0 on"), faults);
        }
        weight
    });
    // An empty one is the group of those that say none.
    let group = rule.text("group", faults);
    if let Some(group) = &group {
        refuse_long(rule, "group", group, faults);
    }
    Ruling { weight, group: group.map(|group| group.into_bytes().into()) }
}

fn refuse_long(section: &Section<'_>, key: &str, name: &str, faults: &mut Faults) {
    if name.len() > NAME_BYTES_MAX {
        section.fault(key, format_args!("is longer than {NAME_BYTES_MAX} bytes"), faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::yaml;

    fn read(text: &str) -> (Roster, Vec<String>) {
        let node = yaml::read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let mut faults = Faults::of_file("f");
        faults.stands_at("sources", 1);
        let roster = roster(&node, &mut faults);
        (roster, faults.into_all())
    }

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        let text = "- {match: {user: ann, cert: c, source: 'a b', ip: 10.0.0.0/8}, weight: 7}\n\
                    - {match: {source: a}, weight: 0, group: ''}\n";
        let (roster, faults) = read(text);
        assert_eq!(faults, Vec::<String>::new());
        let all = Traits {
            user: Some("ann".into()),
            cert: Some("c".into()),
            source: Some(b"a b"[..].into()),
            ip: "10.0.0.0/8".parse().ok(),
        };
        let first = Rule { of: all, ruling: Ruling { weight: Some(Weight(7)), group: None } };
        let of = Traits { source: Some(b"a"[..].into()), ..Traits::default() };
        let ruling = Ruling { weight: Some(Weight(0)), group: Some(b""[..].into()) };
        assert_eq!(roster.rules, [first, Rule { of, ruling }]);
    }

    #[test]
    fn so_many_rules_are_read_and_no_more() {
        let rules = |count: usize| "- {match: {user: ann}, weight: 7}\n".repeat(count);
        let (roster, faults) = read(&rules(SOURCE_RULES_MAX));
        assert_eq!((roster.rules.len(), faults.len()), (SOURCE_RULES_MAX, 0));
        let (roster, faults) = read(&rules(SOURCE_RULES_MAX + 1));
        assert_eq!(faults, ["f:1: sources: has more than 1000 rules"]);
        assert!(roster.rules.is_empty());
    }
}
