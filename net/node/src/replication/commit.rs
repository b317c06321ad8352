//! What counts as committed: the one place that turns cursors into permission to acknowledge.
//!
//! A write is committed when it is durable on every member of the in-sync set (rule 2), and, while a
//! change of the set is pending or its outcome unknown, on every member of both sets (rule 17).

use crate::mutants::{Mutant, lacks};
use crate::replication::peer::Cursors;
use agency::configuration::{Change, Configuration};
use agency::ids::{NodeId, NodeSet};
use agency::shard::ShardRequest;
use engine::ids::Lsn;

/// Whose copies an acknowledgement needs.
///
/// A pending eviction takes nobody out: it counts only once decided. A pending admission adds the learner
/// at once.
pub fn needed(configuration: &Configuration, pending: Option<&ShardRequest>) -> NodeSet {
    match pending.map(|request| request.change) {
        Some(Change::Admit(learner)) if !lacks(Mutant::IgnoresPendingAdmission) => {
            configuration.in_sync.with(learner)
        }
        Some(Change::Evict(lost, _)) if lacks(Mutant::CountsPendingEviction) => {
            lost.iter().fold(configuration.in_sync, NodeSet::without)
        }
        _ => configuration.in_sync,
    }
}

/// The end of what every needed node holds, by `cursor` of its cursors; 0 as soon as one is not heard of.
pub fn least(
    needed: NodeSet,
    me: NodeId,
    mine: Lsn,
    cursors: impl Fn(NodeId) -> Option<Cursors>,
    cursor: impl Fn(Cursors) -> Lsn,
) -> Lsn {
    let needed = if lacks(Mutant::CommitsAlone) { NodeSet::of(&[me]) } else { needed };
    needed
        .iter()
        .map(|node| if node == me { mine } else { cursors(node).map_or(Lsn(0), &cursor) })
        .min()
        .unwrap_or(Lsn(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agency::configuration::{EvictReason, Why};
    use agency::ids::{Epoch, Incarnation, Version};

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);
    const C: NodeId = NodeId(2);

    fn configuration(in_sync: &[NodeId]) -> Configuration {
        Configuration {
            epoch: Epoch(1),
            version: Version(1),
            leader: A,
            leader_incarnation: Incarnation(1),
            in_sync: NodeSet::of(in_sync),
            members: NodeSet::of(&[A, B, C]),
            why: Why::Founded,
            at_ms: 0,
        }
    }

    fn request(on_top_of: Configuration, change: Change) -> ShardRequest {
        ShardRequest { id: 1, on_top_of, change }
    }

    #[test]
    fn a_pending_eviction_takes_nobody_out() {
        let now = configuration(&[A, B]);
        let evict = request(now, Change::Evict(NodeSet::of(&[B]), EvictReason::Gone));
        assert_eq!(needed(&now, Some(&evict)), NodeSet::of(&[A, B]));
    }

    #[test]
    fn a_learner_counts_from_the_proposal_of_its_admission() {
        let now = configuration(&[A]);
        let admit = request(now, Change::Admit(B));
        assert_eq!(needed(&now, Some(&admit)), NodeSet::of(&[A, B]));
    }

    #[test]
    fn one_silent_member_holds_everything_back() {
        let b = Cursors { received: Lsn(300), durable: Lsn(200), applied: Lsn(0) };
        let known = |node| (node == B).then_some(b);
        assert_eq!(least(NodeSet::of(&[A, B]), A, Lsn(250), known, |c| c.durable), Lsn(200));
        assert_eq!(least(NodeSet::of(&[A, B]), A, Lsn(250), known, |c| c.received), Lsn(250));
        assert_eq!(least(NodeSet::of(&[A, B, C]), A, Lsn(250), known, |c| c.durable), Lsn(0));
    }
}
