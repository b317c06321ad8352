//! One agent's vote on one shard: a CASPaxos acceptor (Rystsov, "CASPaxos: Replicated State Machines
//! without logs", 2018).
//!
//! Promises that it never goes back on a promise. Durability is the caller's: an answer may leave only when
//! the state that it speaks of is stored. Leases are none of its business (`lease`).

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::mutants::{Mutant, lacks};

/// What an agent remembers of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Acceptor {
    promised: Ballot,
    accepted: Option<(Ballot, Configuration)>,
}

impl Default for Acceptor {
    fn default() -> Acceptor {
        Acceptor { promised: Ballot::ZERO, accepted: None }
    }
}

impl Acceptor {
    /// The acceptor as it was stored.
    pub fn restore(promised: Ballot, accepted: Option<(Ballot, Configuration)>) -> Acceptor {
        Acceptor { promised, accepted }
    }

    /// Nothing below this is accepted any more.
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// What was accepted last, and by which ballot.
    pub fn accepted(&self) -> Option<(Ballot, Configuration)> {
        self.accepted
    }

    /// First phase. A repeated ballot is refused: a proposer that lost the answer takes a higher one.
    ///
    /// # Errors
    /// The ballot, not lower, that was promised before.
    pub fn prepare(&mut self, ballot: Ballot) -> Result<Option<(Ballot, Configuration)>, Ballot> {
        if ballot <= self.promised {
            return Err(self.promised);
        }
        self.promised = ballot;
        Ok(self.accepted)
    }

    /// Second phase. Repeating it changes nothing.
    ///
    /// # Errors
    /// The higher ballot that was promised before.
    pub fn accept(&mut self, ballot: Ballot, value: Configuration) -> Result<(), Ballot> {
        if ballot < self.promised && !lacks(Mutant::BreaksPromises) {
            return Err(self.promised);
        }
        self.promised = ballot;
        self.accepted = Some((ballot, value));
        Ok(())
    }

    /// Takes over what *all* other agents together remember, after this one lost its own memory. They must
    /// have promised `ballot`, which this acceptor has promised as well.
    pub fn adopt(&mut self, accepted: Option<(Ballot, Configuration)>) {
        self.accepted = accepted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::tests::founded;
    use crate::ids::NodeId;

    fn ballot(round: u64, node: u8) -> Ballot {
        Ballot { round, node: NodeId(node) }
    }

    #[test]
    fn a_promise_binds() {
        let mut a = Acceptor::default();
        assert_eq!(a.prepare(ballot(2, 0)), Ok(None));
        assert_eq!(a.accept(ballot(1, 1), founded()), Err(ballot(2, 0)));
        assert_eq!(a.prepare(ballot(2, 0)), Err(ballot(2, 0)), "a ballot is prepared once");
        assert_eq!(a.accepted(), None);
    }

    #[test]
    fn accepting_answers_the_next_prepare_and_may_be_repeated() {
        let mut a = Acceptor::default();
        a.prepare(ballot(1, 0)).unwrap();
        a.accept(ballot(1, 0), founded()).unwrap();
        let once = a;
        a.accept(ballot(1, 0), founded()).unwrap();
        assert_eq!(a, once);
        assert_eq!(a.prepare(ballot(1, 1)), Ok(Some((ballot(1, 0), founded()))));
        assert_eq!(a.accept(ballot(1, 0), founded()), Err(ballot(1, 1)));
    }
}
