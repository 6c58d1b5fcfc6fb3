//! Whom a request is from: what it says of itself, as far as it is believed, and what the rules say.

use std::net::IpAddr;

use crate::base::net::Net;
use crate::logic::roster::{Roster, Ruling};
use crate::logic::source::{Identity, SourceName, Weight, Who};
use crate::wire::http::target::Parameters;

/// Whether sources choose their weights, `--trust-weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// The `highlander_weight` parameter counts.
    #[default]
    Chosen,
    /// It does not: a weight comes from a rule, or is 0.
    Ruled,
}

/// How sources are recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognition {
    /// What makes a source.
    pub identity: Identity,
    /// Who is believed about where others speak from, `--trusted-proxies`.
    pub trusted_proxies: Vec<Net>,
    /// Whether sources choose their weights.
    pub weights: Weights,
    /// The rules about them.
    pub roster: Roster,
}

/// Whom a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// Its `highlander_group`.
    pub group: Box<[u8]>,
    /// What tells the source from others of its group.
    pub name: SourceName,
    /// Its weight.
    pub weight: Weight,
    /// It says a weight that would count, and is none.
    pub says_no_weight: bool,
}

impl Recognition {
    /// Whether whoever speaks from `ip` is believed about where others speak from.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(ip))
    }

    /// Whom a request is from, with these parameters.
    pub fn judge(&self, who: &Who<'_>, parameters: &Parameters<'_>) -> Recognised {
        let said_weight = match self.weights {
            Weights::Chosen => parameters.weight.as_deref().and_then(Weight::parse),
            Weights::Ruled => None,
        };
        let said_weight = said_weight.unwrap_or_default();
        let unsaid = Who { source: None, ..*who };
        let who = if self.roster.may_be(who) { who } else { &unsaid };
        let ruling = self.roster.judge(who);
        let Ruling { weight: ruled, group } = ruling.cloned().unwrap_or_default();
        let said = || match self.weights {
            Weights::Chosen => parameters.weight.as_deref().map(Weight::parse),
            Weights::Ruled => None,
        };
        // What a rule says is not looked for elsewhere.
        let said = if ruled.is_none() { said() } else { None };
        let weight = ruled.or(said.flatten()).unwrap_or_default();
        let said_group = || parameters.group.as_deref().unwrap_or_default().into();
        Recognised {
            group: group.unwrap_or_else(said_group),
            name: self.identity.name(who, said_weight),
            weight,
            says_no_weight: said == Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::logic::roster::{Rule, Traits};

    fn judge(recognition: &Recognition, target: &str) -> Recognised {
        let parameters = Parameters::read(target.as_bytes());
        let address = "10.0.0.7:40000".parse().expect("an address");
        let source = parameters.source.as_deref();
        let who = Who { user: None, cert: None, source, address, connection: 1 };
        recognition.judge(&who, &parameters)
    }

    fn ruling(weight: Option<u64>, group: Option<&str>) -> Recognition {
        let ruling =
            Ruling { weight: weight.map(Weight), group: group.map(|it| it.as_bytes().into()) };
        let rules = vec![Rule { of: Traits::default(), ruling }];
        Recognition { roster: Roster { rules }, ..Recognition::default() }
    }

    #[test]
    fn without_rules_a_source_is_what_it_says() {
        let plain = Recognition::default();
        let found = judge(&plain, "/w?highlander_weight=5&highlander_group=g&highlander_source=a");
        let expected = Recognised {
            group: b"g"[..].into(),
            name: SourceName::Named(b"a"[..].into()),
            weight: Weight(5),
            says_no_weight: false,
        };
        assert_eq!(found, expected);
        let found = judge(&plain, "/w?highlander_weight=x");
        assert_eq!((found.weight, found.says_no_weight), (Weight(0), true));
        assert!(!judge(&plain, "/w").says_no_weight);
    }

    #[test]
    fn a_rule_wins_over_what_the_source_says_and_leaves_what_it_does_not_speak_of() {
        let said = "/w?highlander_weight=5&highlander_group=g";
        let found = judge(&ruling(Some(7), None), said);
        assert_eq!((found.weight, &*found.group), (Weight(7), &b"g"[..]));
        let found = judge(&ruling(None, Some("ruled")), said);
        assert_eq!((found.weight, &*found.group), (Weight(5), &b"ruled"[..]));
        let found = judge(&ruling(Some(0), Some("")), said);
        assert_eq!((found.weight, &*found.group), (Weight(0), &b""[..]));
    }

    #[test]
    fn a_name_that_a_rule_gives_to_others_counts_as_not_said() {
        let mut elsewhere = ruling(Some(50), None);
        let ip = "192.0.2.0/24".parse().ok();
        elsewhere.roster.rules[0].of =
            Traits { source: Some(b"a"[..].into()), ip, ..Traits::default() };
        let found = judge(&elsewhere, "/w?highlander_source=a&highlander_weight=1");
        assert_eq!((found.name.to_string().as_str(), found.weight), ("10.0.0.7/1", Weight(1)));
        assert_eq!(judge(&elsewhere, "/w?highlander_source=b").name.to_string(), "b");
    }

    #[test]
    fn a_source_keeps_its_name_whatever_the_rules_say_of_its_weight() {
        for recognition in [ruling(Some(7), None), ruling(None, None), Recognition::default()] {
            let found = judge(&recognition, "/w?highlander_weight=5");
            assert_eq!(found.name.to_string(), "10.0.0.7/5");
        }
    }

    #[test]
    fn a_weight_that_does_not_count_may_be_anything() {
        let mut distrusting = Recognition { weights: Weights::Ruled, ..Recognition::default() };
        for said in ["/w?highlander_weight=5", "/w?highlander_weight=x"] {
            let found = judge(&distrusting, said);
            assert_eq!((found.weight, found.says_no_weight), (Weight(0), false), "{said}");
            assert_eq!(found.name.to_string(), "10.0.0.7/0");
            assert!(!judge(&ruling(Some(7), None), said).says_no_weight);
        }
        distrusting.roster = ruling(Some(7), None).roster;
        assert_eq!(judge(&distrusting, "/w?highlander_weight=5").weight, Weight(7));
    }

    #[test]
    fn nobody_is_trusted_who_is_not_named() {
        let mut recognition = Recognition::default();
        let ip = "10.0.0.7".parse().expect("an address");
        assert!(!recognition.trusts(ip));
        let nets = ["192.0.2.0/24", "10.0.0.0/8"];
        recognition.trusted_proxies = nets.map(|net| net.parse().expect("a network")).into();
        assert!(recognition.trusts(ip));
        assert!(!recognition.trusts("192.0.3.7".parse().expect("an address")));
    }
}
