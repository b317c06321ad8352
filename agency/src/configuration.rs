//! What the agency stores for one shard, and the only ways in which it may change.

use crate::ids::{Epoch, Incarnation, NodeId, NodeSet, Version};
use crate::mutants::{Mutant, lacks};

/// Why a configuration came to be; kept in the history that status shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The group's first configuration.
    Founded,
    /// The leader's warden proved its process dead.
    LeaderDied,
    /// The leader hung and its warden killed it.
    LeaderHung,
    /// The leader's lease ran out and nobody answered for it.
    LeaseExpired,
    /// The leader restarted; a new incarnation may not continue the old epoch (rule 18).
    LeaderRestarted,
    /// Planned: the leader drained and passed its leadership on.
    Handoff,
    /// SOLO: a follower was lost.
    Evicted,
    /// ADMIT: a learner had caught up.
    Admitted,
}

/// The configuration of one shard: the value of its CASPaxos register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The generation of leadership.
    pub epoch: Epoch,
    /// Raised by one with each change; the "compare" of compare-and-swap.
    pub version: Version,
    /// The node that leads.
    pub leader: NodeId,
    /// The one incarnation of the leader that may write this epoch (rule 18): the proposer's own running
    /// incarnation for PROMOTE, the successor's as gossiped for HANDOFF, 1 for the founding. A node whose
    /// incarnation is another one never leads this epoch; its warden proposes PROMOTE with
    /// [`Why::LeaderRestarted`] instead. A death notice of this incarnation is proof that the lease is over.
    pub leader_incarnation: Incarnation,
    /// Nodes that hold every acknowledged write; only they may be promoted.
    pub in_sync: NodeSet,
    /// All data nodes of the shard.
    pub members: NodeSet,
    /// What made this configuration.
    pub why: Why,
    /// Wall time of the proposal in ms since the epoch of Unix; for people only.
    pub at_ms: u64,
}

/// A change that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The leader removes these from the in-sync set (SOLO when nobody but itself is left).
    Evict(NodeSet),
    /// The leader takes a caught-up learner into the in-sync set.
    Admit(NodeId),
    /// The leader, drained, passes its leadership to an in-sync follower.
    Handoff(NodeId),
    /// An in-sync member takes over; a leader other than itself leaves the in-sync set.
    Promote(NodeId, Why),
}

impl Configuration {
    /// The configuration that `change` makes of this one, or `None` if it may not follow it.
    /// `incarnation` is that of the new leader, where there is one.
    pub fn apply(&self, change: Change, incarnation: Incarnation, at_ms: u64) -> Option<Configuration> {
        let mut next = Configuration { version: Version(self.version.0 + 1), at_ms, ..*self };
        match change {
            Change::Evict(lost) => {
                next.in_sync = lost.iter().fold(self.in_sync, NodeSet::without);
                next.why = Why::Evicted;
                if next.in_sync == self.in_sync || lost.contains(self.leader) {
                    return None;
                }
            }
            Change::Admit(node) => {
                next.in_sync = self.in_sync.with(node);
                next.why = Why::Admitted;
                if next.in_sync == self.in_sync || !self.members.contains(node) {
                    return None;
                }
            }
            Change::Handoff(to) => {
                if to == self.leader || !self.in_sync.contains(to) {
                    return None;
                }
                next.lead_by(to, incarnation, Why::Handoff);
            }
            Change::Promote(node, why) => {
                if !self.may_be_led_by(node) {
                    return None;
                }
                if node != self.leader {
                    next.in_sync = self.in_sync.without(self.leader);
                }
                next.lead_by(node, incarnation, why);
            }
        }
        Some(next)
    }

    /// Rule 3: only a member of the in-sync set may be promoted.
    pub fn may_be_led_by(&self, node: NodeId) -> bool {
        self.in_sync.contains(node) || lacks(Mutant::PromotesAnyone)
    }

    fn lead_by(&mut self, node: NodeId, incarnation: Incarnation, why: Why) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.leader = node;
        self.leader_incarnation = incarnation;
        self.why = why;
    }

    /// Whether both name the same writer: leader, its incarnation, and epoch.
    pub fn same_reign(&self, other: &Configuration) -> bool {
        (self.leader, self.leader_incarnation, self.epoch)
            == (other.leader, other.leader_incarnation, other.epoch)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Nodes 0 and 1, led by 0.
    pub(crate) fn founded() -> Configuration {
        let both = NodeSet::of(&[NodeId(0), NodeId(1)]);
        Configuration {
            epoch: Epoch(1),
            version: Version(1),
            leader: NodeId(0),
            leader_incarnation: Incarnation(1),
            in_sync: both,
            members: both,
            why: Why::Founded,
            at_ms: 0,
        }
    }

    #[test]
    fn solo_keeps_the_epoch_and_shuts_the_lost_follower_out() {
        let solo = founded().apply(Change::Evict(NodeSet::of(&[NodeId(1)])), Incarnation(0), 5).unwrap();
        assert_eq!((solo.epoch, solo.version, solo.in_sync.len()), (Epoch(1), Version(2), 1));
        assert_eq!(solo.apply(Change::Promote(NodeId(1), Why::LeaderDied), Incarnation(1), 6), None);
        assert_eq!(solo.apply(Change::Handoff(NodeId(1)), Incarnation(1), 6), None);
        assert!(solo.apply(Change::Admit(NodeId(1)), Incarnation(0), 6).unwrap().in_sync.contains(NodeId(1)));
    }

    #[test]
    fn promotion_raises_the_epoch_and_drops_another_leader_only() {
        let taken = founded().apply(Change::Promote(NodeId(1), Why::LeaderDied), Incarnation(4), 0).unwrap();
        assert_eq!(
            (taken.epoch, taken.leader, taken.leader_incarnation),
            (Epoch(2), NodeId(1), Incarnation(4))
        );
        assert!(!taken.in_sync.contains(NodeId(0)));
        let again =
            founded().apply(Change::Promote(NodeId(0), Why::LeaderRestarted), Incarnation(2), 0).unwrap();
        assert_eq!((again.epoch, again.in_sync.len()), (Epoch(2), 2));
        assert!(!again.same_reign(&founded()));
    }

    #[test]
    fn changes_that_change_nothing_or_lose_the_leader_are_refused() {
        let c = founded();
        for change in [
            Change::Evict(NodeSet::of(&[NodeId(0)])),
            Change::Evict(NodeSet::default()),
            Change::Admit(NodeId(1)),
            Change::Admit(NodeId(5)),
            Change::Handoff(NodeId(0)),
        ] {
            assert_eq!(c.apply(change, Incarnation(1), 0), None, "{change:?}");
        }
    }
}
