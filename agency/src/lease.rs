//! Leases (rule 9): the agent's side, which makes successors wait, and the holder's, which knows until when
//! it may serve.
//!
//! Promises that while a majority's grants let a holder serve, no agent of that majority accepts another
//! reign. That rests on two counts: the holder's from *sending*, shortened; the agent's from *receipt*,
//! lengthened ([`Timing::check`](crate::timing::Timing::check) enforces which is shorter).

use crate::configuration::Configuration;
use crate::ids::{Epoch, Incarnation, MAX_MEMBERS, Nanos, NodeId, NodeSet};
use crate::message::Proof;
use crate::timing::Timing;
use std::time::Duration;

/// A lease an agent granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    pub holder: NodeId,
    pub incarnation: Incarnation,
    pub epoch: Epoch,
    /// The newest heartbeat that asked for it.
    pub seq: u64,
    /// By the agent's clock.
    pub until: Nanos,
}

impl Grant {
    /// Whether it is `configuration`'s reign that was granted.
    fn reigns(&self, configuration: &Configuration) -> bool {
        (self.holder, self.incarnation, self.epoch)
            == (configuration.leader, configuration.leader_incarnation, configuration.epoch)
    }
}

/// The leases of one shard that one agent granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grantor {
    grant: Option<Grant>,
}

impl Grantor {
    /// After a restart of the agent, which forgot its grants: as if it had granted a full one just now.
    /// No release fits it, as it is not known what was asked for.
    pub fn after_restart(now: Nanos, newest: Option<Configuration>, timing: &Timing) -> Grantor {
        let grant = newest.map(|c| Grant {
            holder: c.leader,
            incarnation: c.leader_incarnation,
            epoch: c.epoch,
            seq: u64::MAX,
            until: now + timing.grantor_lease(),
        });
        Grantor { grant }
    }

    /// Grants the reign of `newest`, the newest configuration this agent durably knows.
    pub fn grant(&mut self, now: Nanos, newest: &Configuration, seq: u64, timing: &Timing) -> bool {
        let until = now + timing.grantor_lease();
        if self.remaining(now, newest).is_some() {
            return false;
        }
        let (old_until, old_seq) = match self.grant {
            Some(g) if g.epoch == newest.epoch && g.holder == newest.leader => (g.until, g.seq),
            _ => (Nanos(0), 0),
        };
        let fits = |g: Grant| g.reigns(newest) || g.until <= now;
        assert!(self.grant.is_none_or(fits), "one reign's grant never ends by another's");
        assert!(until.max(old_until) >= now + timing.lease, "an agent counts a full lease from receipt");
        self.grant = Some(Grant {
            holder: newest.leader,
            incarnation: newest.leader_incarnation,
            epoch: newest.epoch,
            seq: seq.max(old_seq),
            until: until.max(old_until),
        });
        true
    }

    /// Ends the grant if `proof` is about it.
    pub fn void(&mut self, proof: Proof) {
        let fits = |g: Grant| match proof {
            Proof::Died(node, incarnation) => g.holder == node && g.incarnation == incarnation,
            Proof::Released { holder, incarnation, seq } => {
                g.holder == holder && g.incarnation == incarnation && g.seq <= seq
            }
        };
        if self.grant.is_some_and(fits) {
            self.grant = None;
        }
    }

    /// How much longer `value` must not be accepted; `None` if it may be.
    pub fn remaining(&self, now: Nanos, value: &Configuration) -> Option<Duration> {
        let g = self.grant?;
        if g.reigns(value) || g.until <= now { None } else { Some(g.until.since(now)) }
    }

    /// When the outstanding grant ends, if there is one.
    pub fn until(&self) -> Option<Nanos> {
        self.grant.map(|g| g.until)
    }
}

/// The lease of one shard as its holder counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holder {
    epoch: Epoch,
    until: [Nanos; MAX_MEMBERS],
    /// Grants asked for up to this heartbeat do not count.
    barrier: u64,
}

impl Holder {
    /// Forgets every grant, and those still to come that were asked for up to heartbeat `seq`.
    pub fn release(&mut self, seq: u64) {
        *self = Holder { barrier: seq, ..Holder::default() };
    }

    /// An agent granted `epoch`, asked for in heartbeat `seq` that was sent at `sent`.
    pub fn granted(&mut self, from: NodeId, epoch: Epoch, seq: u64, sent: Nanos, timing: &Timing) {
        if seq <= self.barrier || epoch < self.epoch {
            return;
        }
        if epoch > self.epoch {
            *self = Holder { epoch, barrier: self.barrier, ..Holder::default() };
        }
        let (until, asked) = (&mut self.until[usize::from(from.0)], sent + timing.holder_lease());
        assert!(asked < sent + timing.grantor_lease(), "a holder stops before those that granted do");
        *until = (*until).max(asked);
    }

    /// Until when a majority of `agents` lets the holder of `epoch` serve.
    pub fn until(&self, epoch: Epoch, agents: NodeSet, majority: usize) -> Nanos {
        if epoch != self.epoch {
            return Nanos(0);
        }
        let mut untils: Vec<Nanos> = agents.iter().map(|a| self.until[usize::from(a.0)]).collect();
        untils.sort_unstable();
        assert!(majority >= 1 && majority <= untils.len(), "{majority} of {} agents", untils.len());
        let until = untils[untils.len() - majority];
        assert!(untils.iter().filter(|u| **u >= until).count() >= majority, "a majority grants that long");
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::tests::founded;
    use crate::configuration::{Change, Why};

    fn successor() -> Configuration {
        founded().apply(Change::Promote(NodeId(1), Why::LeaderDied), Incarnation(1), 0).unwrap()
    }

    #[test]
    fn a_grant_makes_a_successor_wait_longer_than_the_holder_serves() {
        let timing = Timing::default();
        let (sent, received) = (Nanos(1_000), Nanos(1_000));
        let mut grantor = Grantor::default();
        assert!(grantor.grant(received, &founded(), 1, &timing));
        let mut holder = Holder::default();
        for agent in [0, 2] {
            holder.granted(NodeId(agent), Epoch(1), 1, sent, &timing);
        }
        let serves_until = holder.until(Epoch(1), NodeSet(0b111), 2);
        let waits = grantor.remaining(received, &successor()).unwrap();
        assert!(received + waits > serves_until);
        assert_eq!(grantor.remaining(received, &founded()), None, "its own reign never waits");
        assert_eq!(grantor.remaining(received + timing.grantor_lease(), &successor()), None);
    }

    #[test]
    fn only_the_right_proof_ends_a_grant_early() {
        let timing = Timing::default();
        let now = Nanos(5);
        let mut g = Grantor::default();
        g.grant(now, &founded(), 7, &timing);
        let released = |seq| Proof::Released { holder: NodeId(0), incarnation: Incarnation(1), seq };
        for wrong in
            [Proof::Died(NodeId(0), Incarnation(2)), Proof::Died(NodeId(1), Incarnation(1)), released(6)]
        {
            g.void(wrong);
            assert!(g.remaining(now, &successor()).is_some(), "{wrong:?}");
        }
        let mut other = g;
        g.void(released(7));
        other.void(Proof::Died(NodeId(0), Incarnation(1)));
        assert_eq!((g.until(), other.until()), (None, None));
    }

    #[test]
    fn a_restarted_agent_waits_and_believes_no_release() {
        let timing = Timing::default();
        let mut g = Grantor::after_restart(Nanos(9), Some(founded()), &timing);
        g.void(Proof::Released { holder: NodeId(0), incarnation: Incarnation(1), seq: 1 << 40 });
        assert_eq!(g.remaining(Nanos(9), &successor()), Some(timing.grantor_lease()));
        g.void(Proof::Died(NodeId(0), Incarnation(1)));
        assert_eq!(g.remaining(Nanos(9), &successor()), None);
    }

    #[test]
    fn a_minority_holds_nothing_and_a_released_lease_does_not_come_back() {
        let timing = Timing::default();
        let mut h = Holder::default();
        h.granted(NodeId(0), Epoch(1), 4, Nanos(100), &timing);
        assert_eq!(h.until(Epoch(1), NodeSet(0b111), 2), Nanos(0));
        h.granted(NodeId(1), Epoch(1), 4, Nanos(100), &timing);
        assert_eq!(h.until(Epoch(1), NodeSet(0b111), 2), Nanos(100) + timing.holder_lease());
        assert_eq!(h.until(Epoch(2), NodeSet(0b111), 2), Nanos(0));
        h.release(5);
        h.granted(NodeId(0), Epoch(1), 5, Nanos(200), &timing);
        h.granted(NodeId(1), Epoch(1), 5, Nanos(200), &timing);
        assert_eq!(h.until(Epoch(1), NodeSet(0b111), 2), Nanos(0));
    }
}
