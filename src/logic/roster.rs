//! The rules about sources: whoever fits one has the weight and the group that it says.
//!
//! The operator's word, so it wins over what a source says of itself. The first rule that fits is the
//! only one: several that add up can't be read from top to bottom.

use crate::base::net::Net;
use crate::logic::source::{Weight, Who};

/// Whom a rule is about. What it names must all be so; what it does not name is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// The user who has shown a password.
    pub user: Option<Box<str>>,
    /// The name in the certificate that was shown.
    pub cert: Option<Box<str>>,
    /// The `highlander_source` parameter.
    pub source: Option<Box<[u8]>>,
    /// Where it speaks from.
    pub ip: Option<Net>,
}

impl Traits {
    fn fit(&self, who: &Who<'_>) -> bool {
        let is = |wanted: &Option<Box<str>>, there: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == there
        };
        is(&self.user, who.user)
            && is(&self.cert, who.cert)
            && (self.source.is_none() || self.source.as_deref() == who.source)
            && self.ip.is_none_or(|net| net.contains(who.address.ip()))
    }
}

/// What holds for a source, whatever it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// Its weight.
    pub weight: Option<Weight>,
    /// Its `highlander_group`; its tenant stays its own.
    pub group: Option<Box<[u8]>>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub of: Traits,
    /// What holds for them.
    pub ruling: Ruling,
}

/// All rules, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The first that fits counts.
    pub rules: Vec<Rule>,
}

impl Roster {
    /// Whether whoever sends a request may be the source that it says. A name that a rule gives to those with
    /// further traits is nobody else's: with it another would get their voice, and take their weight away.
    pub fn may_be(&self, who: &Who<'_>) -> bool {
        let asks_more = |Traits { user, cert, source: _, ip }: &Traits| {
            user.is_some() || cert.is_some() || ip.is_some()
        };
        let naming = || {
            let all = self.rules.iter().map(|rule| &rule.of);
            all.filter(|of| of.source.is_some() && of.source.as_deref() == who.source)
        };
        !naming().any(asks_more) || naming().any(|of| of.fit(who))
    }

    /// What holds for whoever sends a request. `None`: what it says itself.
    pub fn judge(&self, who: &Who<'_>) -> Option<&Ruling> {
        self.rules.iter().find(|rule| rule.of.fit(who)).map(|rule| &rule.ruling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Who<'static> {
        let address = "10.0.0.7:40000".parse().expect("an address");
        Who { user: Some("ann"), cert: Some("c"), source: Some(b"a"), address, connection: 1 }
    }

    fn user(name: &str) -> Traits {
        Traits { user: Some(name.into()), ..Traits::default() }
    }

    fn source(name: &str) -> Traits {
        Traits { source: Some(name.as_bytes().into()), ..Traits::default() }
    }

    fn ip(text: &str) -> Traits {
        Traits { ip: text.parse().ok(), ..Traits::default() }
    }

    /// The weight that these rules give, whose weights are their places.
    fn judged(all: &[Traits], who: &Who<'_>) -> Option<u64> {
        let rules = (0..).zip(all).map(|(weight, of)| {
            let ruling = Ruling { weight: Some(Weight(weight)), group: None };
            Rule { of: of.clone(), ruling }
        });
        let roster = Roster { rules: rules.collect() };
        roster.judge(who).and_then(|ruling| ruling.weight).map(|weight| weight.0)
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_without_one_none() {
        let rules = [user("bob"), ip("10.0.0.0/8"), user("ann"), ip("0.0.0.0/0")];
        assert_eq!(judged(&rules, &ann()), Some(1));
        assert_eq!(judged(&rules[..1], &ann()), None);
        assert_eq!(judged(&[], &ann()), None);
        let elsewhere = Who { address: "192.0.2.7:1".parse().expect("an address"), ..ann() };
        assert_eq!(judged(&rules, &elsewhere), Some(2));
        let bob = Who { user: Some("bob"), ..ann() };
        assert_eq!(judged(&rules, &bob), Some(0));
    }

    #[test]
    fn a_name_that_a_rule_gives_to_some_is_nobody_elses() {
        let rule = |of| Rule { of, ruling: Ruling::default() };
        let here = Traits { source: Some(b"a"[..].into()), ..ip("10.0.0.0/8") };
        let there = Traits { source: Some(b"a"[..].into()), ..user("bob") };
        let roster = |rules: &[Traits]| Roster { rules: rules.iter().cloned().map(rule).collect() };
        let elsewhere = Who { address: "192.0.2.7:1".parse().expect("an address"), ..ann() };
        assert!(roster(std::slice::from_ref(&here)).may_be(&ann()));
        assert!(!roster(std::slice::from_ref(&here)).may_be(&elsewhere));
        assert!(roster(&[there.clone(), source("a")]).may_be(&elsewhere), "one more for all");
        assert!(roster(&[there.clone(), here.clone()]).may_be(&ann()), "by any of them");
        // Names of others, and names alone, are for everybody.
        assert!(roster(&[source("a")]).may_be(&elsewhere));
        assert!(roster(&[here]).may_be(&Who { source: Some(b"b"), ..elsewhere }));
        assert!(roster(&[there]).may_be(&Who { source: None, ..elsewhere }));
    }

    #[test]
    fn all_that_a_rule_names_must_be_so() {
        let all = Traits {
            cert: Some("c".into()),
            source: Some(b"a"[..].into()),
            ip: "10.0.0.7".parse().ok(),
            ..user("ann")
        };
        let fits = |who: Who<'_>| judged(std::slice::from_ref(&all), &who).is_some();
        assert!(fits(ann()));
        assert!(!fits(Who { user: Some("bob"), ..ann() }));
        assert!(!fits(Who { user: None, ..ann() }));
        assert!(!fits(Who { cert: Some("d"), ..ann() }));
        assert!(!fits(Who { cert: None, ..ann() }));
        assert!(!fits(Who { source: Some(b"b"), ..ann() }));
        assert!(!fits(Who { source: None, ..ann() }));
        assert!(!fits(Who { address: "10.0.0.8:1".parse().expect("an address"), ..ann() }));
    }

    #[test]
    fn a_name_counts_where_it_was_shown_and_nowhere_else() {
        let says_ann = Who { user: None, cert: None, source: Some(b"ann"), ..ann() };
        assert_eq!(judged(&[user("ann")], &says_ann), None);
        assert_eq!(judged(&[source("ann")], &says_ann), Some(0));
        assert_eq!(judged(&[source("ann")], &ann()), None);
    }
}
