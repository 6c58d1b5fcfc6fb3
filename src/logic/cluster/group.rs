//! One group, as one node knows it.

use std::net::SocketAddr;

use crate::base::time::Millis;
use crate::logic::cluster::node::Node;
use crate::logic::cluster::standing::Standing;
use crate::logic::source::GroupName;

/// Who leads a group, as this node has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// This node.
    Us,
    /// The node that takes requests here.
    At(SocketAddr),
    /// Nobody, or nobody knows.
    Nobody,
}

/// One group.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// How it stands, as far as is known.
    pub standing: Option<Standing>,
    /// What was said of it last.
    pub told: Lead,
    /// Whether this node has given it away: it does not lead it, whatever is known of it.
    pub given: Option<SocketAddr>,
    /// Until when an operator wants another node to lead it, if any takes it.
    pub goes_until: Millis,
    /// Until when this node may take it, for it was given to it: whoever gives says so again and again.
    pub ours_until: Millis,
    /// Until when this node has the lease.
    pub lease: Millis,
    /// Until when it was renewed so lately that this node is not cut off from whoever gives it.
    pub sure: Millis,
    /// Since when nobody leads it.
    pub vacant_since: Option<Millis>,
    /// Since when this node, which leads it, has no lease of it.
    pub unleased_since: Option<Millis>,
    /// Since when this node has asked for the lease to claim it, and has not got it.
    pub claims_since: Option<Millis>,
    /// Until then it does not claim it: another comes before it.
    pub yields_until: Millis,
    /// When somebody may be told or asked of it again.
    pub next_ask: Millis,
    /// When it was last told of by its leader.
    pub heard: Millis,
    /// When this node, which leads it, last told of it.
    pub told_at: Millis,
    /// Whether something has changed since.
    pub has_changed: bool,
    /// Whether a source of this node, or a seat, is interested in it.
    pub is_wanted: bool,
}

impl Group {
    /// A group of which nothing is known at `now`.
    pub fn new(name: GroupName, now: Millis) -> Group {
        Group {
            name,
            standing: None,
            told: Lead::Nobody,
            given: None,
            goes_until: Millis(0),
            ours_until: Millis(0),
            lease: Millis(0),
            sure: Millis(0),
            vacant_since: None,
            unleased_since: None,
            claims_since: None,
            yields_until: Millis(0),
            next_ask: now,
            heard: now,
            told_at: now,
            has_changed: false,
            is_wanted: false,
        }
    }

    /// Whether this node leads it, as far as is known.
    pub fn is_led_by(&self, node: Node) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.leader == node)
    }
}
