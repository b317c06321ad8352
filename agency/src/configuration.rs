//! What the agency stores for one shard, and the only ways in which it may change.

use crate::ids::{Epoch, Incarnation, NodeId, NodeSet, Version};

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
