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
    ///
    /// # Panics
    /// If it accepted above its promise; bytes from a disk are checked for that where they are decoded.
    pub fn restore(promised: Ballot, accepted: Option<(Ballot, Configuration)>) -> Acceptor {
        let acceptor = Acceptor { promised, accepted };
        acceptor.assert_sound(Ballot::ZERO);
        acceptor
    }

    /// What holds after each step: the promise is not below what it was, nor below what was accepted.
    fn assert_sound(&self, promised_before: Ballot) {
        let kept = self.promised >= promised_before || lacks(Mutant::BreaksPromises);
        assert!(kept, "promised {promised_before:?}, then {:?}", self.promised);
        assert!(
            self.accepted.is_none_or(|(by, _)| by <= self.promised),
            "accepted above its promise: {self:?}"
        );
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
        let before = std::mem::replace(&mut self.promised, ballot);
        self.assert_sound(before);
        assert!(
            self.accepted.is_none_or(|(by, _)| by < ballot),
            "a ballot was accepted before it was prepared"
        );
        Ok(self.accepted)
    }

    /// Second phase. Repeating it changes nothing.
    ///
    /// # Errors
    /// The ballot that was promised before: a higher one, or this one if it was accepted with another value,
    /// which no proposer that keeps the rules asks for.
    pub fn accept(&mut self, ballot: Ballot, value: Configuration) -> Result<(), Ballot> {
        if ballot < self.promised && !lacks(Mutant::BreaksPromises) {
            return Err(self.promised);
        }
        if self.accepted.is_some_and(|(by, other)| by == ballot && other != value) {
            return Err(self.promised);
        }
        let before = std::mem::replace(&mut self.promised, ballot);
        self.accepted = Some((ballot, value));
        self.assert_sound(before);
        Ok(())
    }

    /// Takes over what *all* other agents together remember, after this one lost its own memory. They must
    /// have promised `ballot`, which this acceptor has promised as well.
    pub fn adopt(&mut self, accepted: Option<(Ballot, Configuration)>) {
        self.accepted = accepted;
        self.assert_sound(self.promised);
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
    fn a_ballot_has_one_value() {
        let mut a = Acceptor::default();
        a.accept(ballot(1, 0), founded()).unwrap();
        let other = Configuration { at_ms: 9, ..founded() };
        assert_eq!(a.accept(ballot(1, 0), other), Err(ballot(1, 0)));
        assert_eq!(a.accepted(), Some((ballot(1, 0), founded())));
    }

    #[test]
    #[should_panic(expected = "accepted above its promise")]
    fn an_acceptance_above_the_promise_is_a_bug_of_ours() {
        Acceptor::default().adopt(Some((ballot(1, 0), founded())));
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
