//! What the agency stores for one shard, and the only ways in which it may change.

use crate::error::ConfigurationError;
use crate::ids::{Epoch, Incarnation, NodeId, NodeSet, Version};
use crate::mutants::{Mutant, lacks};

/// Highest version there can be, far beyond what any group reaches: whoever names a higher one is refused, so
/// that counting on from what somebody else said never overflows.
pub const LAST_VERSION: Version = Version(1 << 62);

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
    /// A follower that answers kept everybody waiting for too long.
    Slow,
    /// Somebody stopped in order: a follower whose leader let it go, or a leader with all of its log confirmed.
    Left,
    /// The leader's disk stood still, and a follower whose disk moves took over at its bidding.
    DiskStalled,
    /// A person accepted that acknowledged writes may be lost (rule 5). Kept in the history for ever.
    DataLossAccepted,
}

impl Why {
    /// All of them, in the order of their numbers on disk and on the wire.
    pub const ALL: [Why; 12] = [
        Why::Founded,
        Why::LeaderDied,
        Why::LeaderHung,
        Why::LeaseExpired,
        Why::LeaderRestarted,
        Why::Handoff,
        Why::Evicted,
        Why::Admitted,
        Why::Slow,
        Why::Left,
        Why::DiskStalled,
        Why::DataLossAccepted,
    ];
}

/// Why a leader lets a follower go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EvictReason {
    /// Its node died or is not heard of.
    Gone = 0,
    /// It answers, but does not keep up.
    Slow = 1,
    /// It stops in order, and holds everything written.
    Leaving = 2,
}

impl EvictReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [EvictReason; 3] = [EvictReason::Gone, EvictReason::Slow, EvictReason::Leaving];

    /// What the configuration says of it.
    pub fn why(self) -> Why {
        match self {
            EvictReason::Gone => Why::Evicted,
            EvictReason::Slow => Why::Slow,
            EvictReason::Leaving => Why::Left,
        }
    }
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
    Evict(NodeSet, EvictReason),
    /// The leader takes a caught-up learner into the in-sync set.
    Admit(NodeId),
    /// The leader, drained, passes its leadership to an in-sync follower.
    Handoff(NodeId),
    /// The leader's disk stands still: an in-sync follower whose disk moves takes over, and the leader leaves the
    /// in-sync set in the same change, as its disk would hold up every commit otherwise.
    Yield(NodeId),
    /// An in-sync member takes over; a leader other than itself leaves the in-sync set.
    Promote(NodeId, Why),
    /// A person decided that this member leads with what it has, in sync or not, and that what it lacks is lost.
    /// It is alone in the in-sync set then.
    Force(NodeId),
}

impl Configuration {
    /// The configuration that `change` makes of this one, or `None` if it may not follow it.
    /// `incarnation` is that of the new leader, where there is one.
    ///
    /// # Panics
    /// If the change turned a valid configuration into one that is not, or that does not follow (our own bug).
    pub fn apply(&self, change: Change, incarnation: Incarnation, at_ms: u64) -> Option<Configuration> {
        if self.version >= LAST_VERSION {
            return None;
        }
        let mut next = Configuration { version: Version(self.version.0 + 1), at_ms, ..*self };
        match change {
            Change::Evict(lost, reason) => {
                next.in_sync = lost.iter().fold(self.in_sync, NodeSet::without);
                next.why = reason.why();
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
            Change::Yield(to) => {
                if to == self.leader || !self.in_sync.contains(to) {
                    return None;
                }
                next.in_sync = self.in_sync.without(self.leader);
                next.lead_by(to, incarnation, Why::DiskStalled);
            }
            Change::Force(node) => {
                if !self.members.contains(node) {
                    return None;
                }
                next.in_sync = NodeSet::of(&[node]);
                next.lead_by(node, incarnation, Why::DataLossAccepted);
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
        assert!(next.may_follow(self), "{change:?} of {self:?} gives {next:?}");
        assert!(self.check().is_err() || next.check().is_ok(), "{change:?} of {self:?} gives {next:?}");
        Some(next)
    }

    /// Whether the agency could have decided this: leader ∈ in-sync ⊆ members, and numbers that can be reached.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        if self.in_sync.is_empty() {
            return Err(ConfigurationError::NobodyInSync);
        }
        if !self.may_be_led_by(self.leader) {
            return Err(ConfigurationError::LeaderNotInSync);
        }
        if self.in_sync.union(self.members) != self.members {
            return Err(ConfigurationError::StrangerInSync);
        }
        let (epoch, version) = (self.epoch.0, self.version.0);
        if epoch == 0 || epoch > version || self.version > LAST_VERSION {
            return Err(ConfigurationError::Numbers { epoch, version });
        }
        Ok(())
    }

    /// Whether changes can have led from `older` to this: version and epoch only rise, the epoch no faster than
    /// the version, one epoch has one reign, and members stay who they are.
    pub fn may_follow(&self, older: &Configuration) -> bool {
        let changes = self.version.0.saturating_sub(older.version.0);
        let reigns = self.epoch.0.saturating_sub(older.epoch.0);
        changes > 0
            && self.epoch >= older.epoch
            && reigns <= changes
            && (reigns > 0 || self.same_reign(older))
            && self.members == older.members
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
        let solo = founded()
            .apply(Change::Evict(NodeSet::of(&[NodeId(1)]), EvictReason::Gone), Incarnation(0), 5)
            .unwrap();
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
    fn who_yields_leaves_the_in_sync_set_in_the_same_change() {
        let yielded = founded().apply(Change::Yield(NodeId(1)), Incarnation(4), 0).unwrap();
        assert_eq!((yielded.epoch, yielded.leader, yielded.why), (Epoch(2), NodeId(1), Why::DiskStalled));
        assert_eq!(
            (yielded.leader_incarnation, yielded.in_sync),
            (Incarnation(4), NodeSet::of(&[NodeId(1)]))
        );
        let taken = founded().apply(Change::Promote(NodeId(1), Why::DiskStalled), Incarnation(4), 0);
        assert_eq!(taken, Some(yielded), "whoever of the two proposes it");
        let solo =
            founded().apply(Change::Evict(NodeSet(0b10), EvictReason::Slow), Incarnation(0), 0).unwrap();
        assert_eq!((solo.why, solo.apply(Change::Yield(NodeId(1)), Incarnation(4), 0)), (Why::Slow, None));
    }

    #[test]
    fn only_a_person_makes_a_leader_of_who_is_not_in_sync_and_then_it_is_alone() {
        let left =
            founded().apply(Change::Evict(NodeSet(0b10), EvictReason::Leaving), Incarnation(0), 0).unwrap();
        assert_eq!(left.why, Why::Left);
        let forced = left.apply(Change::Force(NodeId(1)), Incarnation(9), 0).unwrap();
        assert_eq!((forced.epoch, forced.leader, forced.in_sync), (Epoch(2), NodeId(1), NodeSet(0b10)));
        assert_eq!((forced.leader_incarnation, forced.why), (Incarnation(9), Why::DataLossAccepted));
        let among_many = founded().apply(Change::Force(NodeId(1)), Incarnation(9), 0).unwrap();
        assert_eq!(among_many.in_sync, NodeSet(0b10), "nobody else is known to hold the same");
    }

    #[test]
    fn what_no_agency_decides_is_told_apart() {
        let good = founded();
        assert_eq!(good.check(), Ok(()));
        let none = NodeSet::default();
        for (bad, error) in [
            (Configuration { in_sync: none, ..good }, ConfigurationError::NobodyInSync),
            (Configuration { leader: NodeId(2), ..good }, ConfigurationError::LeaderNotInSync),
            (
                Configuration { members: NodeSet::of(&[NodeId(0)]), ..good },
                ConfigurationError::StrangerInSync,
            ),
            (Configuration { epoch: Epoch(0), ..good }, ConfigurationError::Numbers { epoch: 0, version: 1 }),
            (Configuration { epoch: Epoch(2), ..good }, ConfigurationError::Numbers { epoch: 2, version: 1 }),
        ] {
            assert_eq!(bad.check(), Err(error));
        }
        let last = Configuration { version: LAST_VERSION, ..good };
        assert_eq!(last.check(), Ok(()));
        assert_eq!(
            last.apply(Change::Handoff(NodeId(1)), Incarnation(1), 0),
            None,
            "there is no version left"
        );
        assert!(Configuration { version: Version(LAST_VERSION.0 + 1), ..good }.check().is_err());
    }

    #[test]
    fn a_version_above_with_an_epoch_below_does_not_follow() {
        let c = founded();
        let solo =
            c.apply(Change::Evict(NodeSet::of(&[NodeId(1)]), EvictReason::Gone), Incarnation(0), 0).unwrap();
        let taken = c.apply(Change::Promote(NodeId(1), Why::LeaderDied), Incarnation(4), 0).unwrap();
        assert!(solo.may_follow(&c) && taken.may_follow(&c));
        assert!(!c.may_follow(&c) && !c.may_follow(&solo));
        let later = |c: Configuration| Configuration { version: Version(9), ..c };
        assert!(later(taken).may_follow(&solo), "what came between is not known here");
        assert!(!later(solo).may_follow(&taken), "an epoch never comes back");
        let usurped = Configuration { leader_incarnation: Incarnation(5), ..later(taken) };
        assert!(!usurped.may_follow(&taken), "an epoch has one writer");
        assert!(!Configuration { epoch: Epoch(10), ..later(c) }.may_follow(&taken), "epochs outran versions");
        assert!(!Configuration { members: NodeSet(7), ..later(c) }.may_follow(&c));
    }

    #[test]
    fn changes_that_change_nothing_or_lose_the_leader_are_refused() {
        let c = founded();
        for change in [
            Change::Evict(NodeSet::of(&[NodeId(0)]), EvictReason::Gone),
            Change::Evict(NodeSet::default(), EvictReason::Gone),
            Change::Admit(NodeId(1)),
            Change::Admit(NodeId(5)),
            Change::Handoff(NodeId(0)),
            Change::Yield(NodeId(0)),
            Change::Yield(NodeId(5)),
            Change::Force(NodeId(5)),
        ] {
            assert_eq!(c.apply(change, Incarnation(1), 0), None, "{change:?}");
        }
    }
}
