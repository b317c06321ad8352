//! Ballots: the order in which proposals for one register beat each other.
//!
//! Promises total order and uniqueness per proposer; that a proposer never uses a ballot twice is promised
//! by `proposer` together with the durable promise of its own agent.

use crate::ids::NodeId;

/// The number of a proposal: first the round, then who proposes. No two wardens ever share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Rises with every attempt.
    pub round: u64,
    /// The warden that proposes; breaks ties between equal rounds.
    pub node: NodeId,
}

impl Ballot {
    /// Lower than every ballot that is ever proposed.
    pub const ZERO: Ballot = Ballot { round: 0, node: NodeId(0) };

    /// Highest round that is taken from a peer, far beyond what any group reaches: counting on from what a peer
    /// said never overflows.
    pub const LAST_ROUND: u64 = 1 << 62;

    /// The lowest ballot of `node` that beats `other`.
    pub fn above(other: Ballot, node: NodeId) -> Ballot {
        let ballot = Ballot { round: other.round + 1, node };
        assert!(ballot > other, "{ballot:?} does not beat {other:?}");
        ballot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_ballot_beats_the_one_before_whoever_proposes() {
        let high = Ballot { round: 7, node: NodeId(7) };
        assert!(Ballot::above(high, NodeId(0)) > high);
        assert!(Ballot::ZERO < Ballot::above(Ballot::ZERO, NodeId(0)));
    }
}
