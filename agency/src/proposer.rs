//! One warden's attempts to change one shard's register: the proposer's half of CASPaxos.
//!
//! Promises that a ballot is asked of others only after the own agent has durably promised it (so that no
//! later life of this warden can use it again), and that it carries at most one value. A ballot can be kept
//! prepared, so that the change itself is a single round trip. Which change to make is the overseer's.

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::ids::{MAX_MEMBERS, Nanos, NodeId, NodeSet};
use crate::message::Proof;
use crate::mutants::{Mutant, lacks};
use std::time::Duration;

/// How long a prepare may stay without a quorum before a higher ballot is tried.
pub const PREPARE_RETRY: Duration = Duration::from_millis(50);
/// How often an accept is repeated to agents that have not answered.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// The first wait of a proposer that was beaten twice; doubles with each further defeat.
pub const BACKOFF: Duration = Duration::from_millis(5);
/// How often that wait doubles at most.
pub const BACKOFF_DOUBLINGS: u32 = 4;
/// Times the proposer's own number: two that beat each other do not try again at the same time.
pub const JITTER: Duration = Duration::from_millis(3);

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    Idle,
    /// Waiting for the own agent's durable promise.
    Home {
        ballot: Ballot,
    },
    /// Waiting for a quorum of promises.
    Preparing {
        ballot: Ballot,
        promised: NodeSet,
        best: Option<(Ballot, Configuration)>,
        since: Nanos,
    },
    /// A quorum promised; `best` is what it accepted last.
    Prepared {
        ballot: Ballot,
        best: Option<(Ballot, Configuration)>,
    },
    /// Waiting for a quorum to accept.
    Accepting {
        ballot: Ballot,
        value: Configuration,
        accepted: NodeSet,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer {
    me: NodeId,
    agents: NodeSet,
    /// How many promises and acceptances are needed.
    needed: usize,
    attempt: Attempt,
    highest: Ballot,
    /// Agents that will not take part in the present attempt.
    refused: NodeSet,
    /// Since when one of them has refused the value being proposed.
    refused_since: Option<Nanos>,
    defeats: u32,
    /// No new attempt before this moment.
    pub not_before: Nanos,
    proof: Option<Proof>,
    /// The own agent accepts only when all that is missing is its vote.
    home_last: bool,
    send_at: [Nanos; MAX_MEMBERS],
    /// A value was sent for acceptance and it is not known what became of it.
    pub unsettled: Option<Configuration>,
}

/// More than half of these agents.
///
/// # Panics
/// If there is no agent (our own bug: the configuration is checked when it is parsed).
pub fn majority(agents: NodeSet) -> usize {
    assert!(!agents.is_empty(), "a group has agents");
    if lacks(Mutant::QuorumOfOne) {
        return 1;
    }
    let majority = agents.len() / 2 + 1;
    assert!(majority <= agents.len() && 2 * majority > agents.len(), "any two majorities share an agent");
    majority
}

impl Proposer {
    /// A proposer of warden `me` that has yet to propose.
    pub fn new(me: NodeId, agents: NodeSet) -> Proposer {
        Proposer {
            me,
            agents,
            needed: majority(agents),
            attempt: Attempt::Idle,
            highest: Ballot::ZERO,
            refused: NodeSet::default(),
            refused_since: None,
            defeats: 0,
            not_before: Nanos(0),
            proof: None,
            home_last: false,
            send_at: [Nanos(0); MAX_MEMBERS],
            unsettled: None,
        }
    }

    /// Where it stands.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// What travels with the value being proposed.
    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }

    /// What holds after each step: who answered is an agent, and what was asked of a quorum was asked of one.
    fn assert_sound(&self) {
        assert!(self.needed >= majority(self.agents) && self.needed <= self.agents.len());
        let answered = match self.attempt {
            Attempt::Preparing { promised, .. } => promised,
            Attempt::Accepting { accepted, .. } => accepted,
            _ => NodeSet::default(),
        };
        assert_eq!(answered.union(self.refused).union(self.agents), self.agents, "only agents answer");
        if let Attempt::Accepting { value, .. } = self.attempt {
            assert_eq!(self.unsettled, Some(value), "a ballot carries one value, which is not settled yet");
        }
    }

    /// Takes a new ballot, above everything seen and above `home`, the own agent's promise. It is to be put
    /// to the own agent alone. `everybody` asks for all agents' promises instead of a quorum's.
    ///
    /// # Panics
    /// If an attempt is under way.
    pub fn start(&mut self, home: Ballot, everybody: bool) -> Ballot {
        assert_eq!(self.attempt, Attempt::Idle, "one attempt at a time");
        self.needed = if everybody { self.agents.len() } else { majority(self.agents) };
        let ballot = Ballot::above(self.highest.max(home), self.me);
        assert!(ballot > self.highest && ballot > home, "a ballot is used once");
        self.highest = ballot;
        self.refused = NodeSet::default();
        self.attempt = Attempt::Home { ballot };
        ballot
    }

    /// An agent promised. Returns the ballot if the others are to be asked now. Who is no agent has no vote, and
    /// who accepted `of` or above before promising it broke its promise and is not counted.
    pub fn promised(
        &mut self,
        now: Nanos,
        from: NodeId,
        of: Ballot,
        seen: Option<(Ballot, Configuration)>,
    ) -> Option<Ballot> {
        if !self.agents.contains(from) || seen.is_some_and(|(by, _)| by >= of) {
            return None;
        }
        let (ballot, promised, best, since, first) = match self.attempt {
            Attempt::Home { ballot } if ballot == of && from == self.me => {
                (ballot, NodeSet::of(&[from]), seen, now, true)
            }
            Attempt::Preparing { ballot, promised, best, since } if ballot == of => {
                let newer = seen.map(|s| s.0) > best.map(|b| b.0);
                (ballot, promised.with(from), if newer { seen } else { best }, since, false)
            }
            _ => return None,
        };
        self.attempt = if promised.len() >= self.needed {
            Attempt::Prepared { ballot, best }
        } else {
            Attempt::Preparing { ballot, promised, best, since }
        };
        assert!(promised.contains(self.me), "the own agent promises first");
        assert!(
            best.is_none_or(|(by, _)| by < ballot),
            "nobody accepts above a ballot that it then promises"
        );
        self.assert_sound();
        first.then_some(ballot)
    }

    /// An agent knows a higher ballot. The attempt is over if it was with `of` and too few others are left.
    pub fn beaten(&mut self, now: Nanos, from: NodeId, of: Ballot, by: Ballot) {
        if !self.agents.contains(from) {
            return;
        }
        self.highest = self.highest.max(by);
        let ours = match self.attempt {
            Attempt::Home { ballot }
            | Attempt::Preparing { ballot, .. }
            | Attempt::Accepting { ballot, .. } => ballot == of,
            Attempt::Prepared { ballot, .. } => ballot == of && by > ballot,
            Attempt::Idle => false,
        };
        if !ours {
            return;
        }
        self.refused = self.refused.with(from);
        self.refused_since.get_or_insert(now);
        let home = matches!(self.attempt, Attempt::Home { .. });
        if home || self.agents.len() - self.refused.len() < self.needed {
            // The first defeat is most often a stale ballot, not a rival: try again at once.
            if self.defeats > 0 {
                let doublings = (self.defeats - 1).min(BACKOFF_DOUBLINGS);
                self.not_before = now + (BACKOFF * (1 << doublings) + JITTER * u32::from(self.me.0));
            }
            self.defeats = self.defeats.saturating_add(1);
            self.attempt = Attempt::Idle;
        }
        self.assert_sound();
    }

    /// Proposes `value` with the prepared ballot.
    ///
    /// # Panics
    /// If none is prepared.
    pub fn propose(&mut self, now: Nanos, value: Configuration, proof: Option<Proof>, home_last: bool) {
        let Attempt::Prepared { ballot, .. } = self.attempt else { panic!("no ballot is prepared") };
        self.attempt = Attempt::Accepting { ballot, value, accepted: NodeSet::default() };
        self.proof = proof;
        self.home_last = home_last && self.needed > 1;
        self.send_at = [now; MAX_MEMBERS];
        self.refused = NodeSet::default();
        self.refused_since = None;
        self.unsettled = Some(value);
        self.assert_sound();
    }

    /// Agents to whom the accept is to be sent (again) now; they are not named again for a while.
    pub fn to_send(&mut self, now: Nanos) -> NodeSet {
        let Attempt::Accepting { accepted, .. } = self.attempt else { return NodeSet::default() };
        let mut to = NodeSet::default();
        for agent in self.agents.iter().filter(|a| !accepted.contains(*a)) {
            if agent == self.me && self.home_last && accepted.len() + 1 < self.needed {
                continue;
            }
            let at = &mut self.send_at[usize::from(agent.0)];
            if *at <= now {
                *at = now + ACCEPT_RETRY;
                to = to.with(agent);
            }
        }
        to
    }

    /// An agent accepted. Returns the value if it is thereby chosen.
    pub fn accepted(&mut self, from: NodeId, of: Ballot) -> Option<Configuration> {
        let Attempt::Accepting { ballot, value, accepted } = &mut self.attempt else { return None };
        if *ballot != of || !self.agents.contains(from) {
            return None;
        }
        *accepted = accepted.with(from);
        let (value, votes) = (*value, accepted.len());
        self.assert_sound();
        if votes < self.needed {
            return None;
        }
        let chosen = 2 * votes > self.agents.len() || lacks(Mutant::QuorumOfOne);
        assert!(chosen, "{votes} of {:?} are no majority", self.agents);
        Some(value)
    }

    /// An agent may accept only after `until`.
    pub fn leased(&mut self, from: NodeId, of: Ballot, until: Nanos) {
        if self.agents.contains(from)
            && matches!(self.attempt, Attempt::Accepting { ballot, .. } if ballot == of)
        {
            self.send_at[usize::from(from.0)] = until;
        }
    }

    /// A link to this agent came up: what it may have missed is sent at once.
    pub fn reachable(&mut self, agent: NodeId) {
        self.send_at[usize::from(agent.0)] = Nanos(0);
    }

    /// `decided` is known; an attempt at the same or an older version is over.
    pub fn learned(&mut self, decided: &Configuration) {
        if self.unsettled.is_some_and(|value| value.version <= decided.version) {
            self.unsettled = None;
        }
        self.defeats = 0;
        self.not_before = Nanos(0);
        match self.attempt {
            Attempt::Accepting { value, .. } if value.version > decided.version => {}
            Attempt::Home { .. } | Attempt::Preparing { .. } | Attempt::Idle => {}
            Attempt::Accepting { .. } | Attempt::Prepared { .. } => self.attempt = Attempt::Idle,
        }
    }

    /// Ends the attempt, whatever becomes of it. Always safe; somebody else may have to settle it.
    pub fn abandon(&mut self) {
        self.attempt = Attempt::Idle;
        self.unsettled = None;
    }

    /// Whether the value being proposed was refused by one agent, and others that could still carry it have been
    /// silent since: a higher ballot may find a quorum among those that answer.
    pub fn stuck(&self, now: Nanos) -> bool {
        matches!(self.attempt, Attempt::Accepting { .. })
            && self.refused_since.is_some_and(|since| now.since(since) >= PREPARE_RETRY)
    }

    /// The prepared ballot is of no use (any more).
    pub fn spoil(&mut self) {
        self.attempt = Attempt::Idle;
    }

    /// When this wants to be looked at again; `None` if only an answer can move it.
    pub fn deadline(&self) -> Option<Nanos> {
        match self.attempt {
            Attempt::Accepting { accepted, .. } => self
                .agents
                .iter()
                .filter(|a| !accepted.contains(*a))
                .filter(|a| !(*a == self.me && self.home_last && accepted.len() + 1 < self.needed))
                .map(|a| self.send_at[usize::from(a.0)])
                .min(),
            Attempt::Preparing { since, .. } => Some(since + PREPARE_RETRY),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::tests::founded;

    const NOW: Nanos = Nanos(1_000);

    fn prepared() -> (Proposer, Ballot) {
        let mut p = Proposer::new(NodeId(1), NodeSet(0b111));
        let ballot = p.start(Ballot::ZERO, false);
        assert_eq!(p.promised(NOW, NodeId(0), ballot, None), None, "home promises first");
        assert_eq!(p.promised(NOW, NodeId(1), ballot, None), Some(ballot));
        assert_eq!(p.promised(NOW, NodeId(2), ballot, None), None);
        (p, ballot)
    }

    #[test]
    fn a_quorum_prepares_and_a_quorum_chooses() {
        let (mut p, ballot) = prepared();
        p.propose(NOW, founded(), None, false);
        assert_eq!(p.to_send(NOW), NodeSet(0b111));
        assert!(p.to_send(NOW).is_empty());
        assert_eq!(p.to_send(NOW + ACCEPT_RETRY), NodeSet(0b111));
        assert_eq!(p.accepted(NodeId(2), ballot), None);
        assert_eq!(p.accepted(NodeId(2), ballot), None, "the same agent twice is one agent");
        assert_eq!(p.accepted(NodeId(0), ballot), Some(founded()));
    }

    #[test]
    fn the_own_vote_comes_last_where_nothing_proves_the_death() {
        let (mut p, ballot) = prepared();
        p.propose(NOW, founded(), None, true);
        assert_eq!(p.to_send(NOW), NodeSet(0b101));
        assert_eq!(p.accepted(NodeId(0), ballot), None);
        assert_eq!(p.to_send(NOW), NodeSet(0b010));
    }

    #[test]
    fn who_is_refused_by_one_and_unheard_by_another_tries_again() {
        let (mut p, ballot) = prepared();
        p.propose(NOW, founded(), None, false);
        assert_eq!(p.accepted(NodeId(1), ballot), None);
        assert!(!p.stuck(NOW + PREPARE_RETRY), "the others may yet answer");
        p.beaten(NOW, NodeId(2), ballot, Ballot { round: 9, node: NodeId(0) });
        assert!(matches!(p.attempt(), Attempt::Accepting { .. }), "agent 0 could still carry it");
        assert!(!p.stuck(NOW));
        assert!(p.stuck(NOW + PREPARE_RETRY), "but it never says anything");
        p.spoil();
        assert_eq!(p.unsettled, Some(founded()));
        assert!(p.start(Ballot::ZERO, false).round > 9);
    }

    #[test]
    fn the_newest_accepted_value_is_kept() {
        let mut p = Proposer::new(NodeId(0), NodeSet(0b111));
        let ballot = p.start(Ballot { round: 1, node: NodeId(1) }, false);
        p.promised(NOW, NodeId(0), ballot, None);
        let older = (Ballot { round: 1, node: NodeId(1) }, founded());
        p.promised(NOW, NodeId(2), ballot, Some(older));
        assert_eq!(p.attempt(), Attempt::Prepared { ballot, best: Some(older) });
    }

    #[test]
    fn strangers_have_no_vote_and_broken_promises_do_not_count() {
        let stranger = NodeId(5);
        let mut p = Proposer::new(NodeId(0), NodeSet(0b111));
        let ballot = p.start(Ballot::ZERO, false);
        p.promised(NOW, NodeId(0), ballot, None);
        p.promised(NOW, stranger, ballot, None);
        p.promised(NOW, NodeId(1), ballot, Some((ballot, founded())));
        assert!(matches!(p.attempt(), Attempt::Preparing { .. }), "neither makes a quorum");
        p.promised(NOW, NodeId(2), ballot, None);
        p.propose(NOW, founded(), None, false);
        let by = Ballot { round: 40, node: stranger };
        (5..8).for_each(|n| p.beaten(NOW, NodeId(n), ballot, by));
        assert!(matches!(p.attempt(), Attempt::Accepting { .. }), "strangers do not refuse either");
        assert_eq!(p.accepted(stranger, ballot), None);
        assert_eq!(p.accepted(NodeId(0), ballot), None);
        assert_eq!(p.accepted(NodeId(1), ballot), Some(founded()));
    }

    #[test]
    fn the_beaten_back_off_at_different_times() {
        let mut waits = Vec::new();
        for me in [0, 1] {
            let mut p = Proposer::new(NodeId(me), NodeSet(0b111));
            for round in 0..3 {
                let ballot = p.start(Ballot::ZERO, false);
                let by = Ballot { round: 10 + round, node: NodeId(2) };
                p.beaten(NOW, NodeId(me), ballot, by);
                assert_eq!(p.attempt(), Attempt::Idle);
                assert!(p.start(Ballot::ZERO, false).round > 10 + round);
                p.spoil();
            }
            waits.push(p.not_before);
        }
        assert_eq!(waits[1].since(waits[0]), JITTER);
    }

    #[test]
    fn a_late_answer_to_an_old_ballot_changes_nothing() {
        let (mut p, ballot) = prepared();
        let old = Ballot { round: 0, node: NodeId(1) };
        p.beaten(NOW, NodeId(2), old, Ballot { round: 9, node: NodeId(0) });
        assert!(matches!(p.attempt(), Attempt::Prepared { ballot: b, .. } if b == ballot));
        p.propose(NOW, founded(), None, false);
        assert_eq!(p.accepted(NodeId(0), old), None);
    }
}
