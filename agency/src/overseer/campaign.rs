//! Which change of a shard's configuration this warden wants, and the steps of its proposer towards it.
//!
//! Promises that a warden proposes leadership only for its own node, only if that is in sync and ready, and
//! never changes a register in which it saw a value that it does not know to be decided before it has driven
//! that value to a decision.

use super::Overseer;
use crate::configuration::{Change, Configuration, Why};
use crate::ids::{Epoch, Incarnation, Nanos, NodeId, ShardId, Version};
use crate::message::{AcceptAnswer, AcceptItem, AcceptedItem, PromiseAnswer, PromiseItem, Proof};
use crate::mutants::{Mutant, lacks};
use crate::proposer::{Attempt, JITTER};
use crate::shard::Health;
use crate::timing::{CANDIDATE_PATIENCE, COURTESY, SETTLE_AFTER, STARTUP_WAIT};
use std::cmp::Reverse;

/// What this warden wants of one shard's register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Nothing,
    /// A memory, after the own one was lost.
    Join,
    /// A decision on what was accepted but is not known to be decided.
    Settle,
    Found,
    /// What the node's shard asked for.
    Request,
    Promote(Why),
    /// What the leader, whose disk stands still, offered.
    Succeed,
    /// What a person decided.
    Force,
    /// A ballot prepared ahead of the leader's death.
    KeepReady,
}

impl Overseer {
    fn want(&self, shard: ShardId) -> Want {
        let s = self.shard(shard);
        if !self.joined {
            let all_met = self.others().iter().all(|n| self.peer(n).met);
            return if !self.joining && !s.joined && all_met { Want::Join } else { Want::Nothing };
        }
        if self.options.witness {
            return Want::Nothing;
        }
        let me = self.options.me;
        let late = s.undecided_since.is_some_and(|since| self.now.since(since) >= SETTLE_AFTER);
        let unsettled = s.proposer.unsettled.is_some() || late;
        let Some(c) = s.decided else {
            return if unsettled {
                Want::Settle
            } else if self.options.initial_leaders[usize::from(shard.0)] == me && self.may_found(shard) {
                Want::Found
            } else {
                Want::Nothing
            };
        };
        if self.force_wanted(shard, &c).is_some() {
            return Want::Force;
        }
        if self.leads(&c) {
            // What is yielded is proposed by who gets it.
            let pending = s.request.is_some_and(|r| r.open().is_some() && r.yielding.is_none());
            return match (unsettled, pending) {
                (_, true) => Want::Request,
                (true, false) => Want::Settle,
                (false, false) => Want::Nothing,
            };
        }
        if self.offered(shard).is_some() && self.is_known() && self.may_follow_on(me, shard) {
            return Want::Succeed;
        }
        match self.leaderless(shard) {
            Some(why) if self.may_lead(shard, &c) && !self.may_be_a_shared_stall(shard, why) => {
                Want::Promote(why)
            }
            _ if unsettled => Want::Settle,
            _ if self.standby(&c) == Some(me) => Want::KeepReady,
            _ => Want::Nothing,
        }
    }

    fn may_found(&self, shard: ShardId) -> bool {
        let all_up = self.options.data_nodes.iter().all(|n| self.node_up(n));
        // An agent that comes to know all others only after something was accepted takes itself for one that
        // lost its memory. Two such would wait for each other for ever.
        let agents = self.options.agents;
        let acquainted = agents.without(self.options.me).iter().all(|n| {
            let hears = self.peer(n).hears;
            agents.without(n).iter().all(|other| hears.contains(other))
        });
        acquainted
            && self.ready(self.options.me, shard)
            && (all_up || self.node.up_since.is_some_and(|since| self.now.since(since) >= STARTUP_WAIT))
    }

    /// Who keeps a ballot prepared: one warden only, or they would beat each other's for ever.
    fn standby(&self, c: &Configuration) -> Option<NodeId> {
        c.in_sync.without(c.leader).iter().find(|n| self.node_up(*n))
    }

    /// Why the shard needs a new leader, if it does as far as seen from here. A hint: the agents' leases and
    /// the register decide.
    pub(super) fn leaderless(&self, shard: ShardId) -> Option<Why> {
        let s = self.shard(shard);
        let c = s.decided?;
        if c.leader == self.options.me {
            return (!self.leads(&c)).then_some(Why::LeaderRestarted);
        }
        let peer = self.peer(c.leader);
        if c.leader_incarnation != Incarnation(0) && peer.report.dead == c.leader_incarnation {
            let last = self.progress_of(c.leader, shard);
            let left = last.stopping && last.committed >= last.written;
            return Some(match peer.report.hung {
                true => Why::LeaderHung,
                false if left => Why::Left,
                false => Why::LeaderDied,
            });
        }
        // Rule 8: who came back as a stranger is not who was entrusted with this reign, and will not lead it.
        if self.suspect(c.leader) {
            return Some(Why::LeaderDied);
        }
        let report = peer.report;
        if peer.met && (report.incarnation > c.leader_incarnation || !report.running) {
            return Some(Why::LeaderDied);
        }
        if peer.met && self.progress_of(c.leader, shard).health == Health::Damaged {
            return Some(Why::LeaderDied);
        }
        let lease_over = s.grantor.until().is_none_or(|until| until <= self.now);
        let silent = self.silence(c.leader) >= self.options.timing.grantor_lease();
        ((silent || self.is_withheld(shard, &c)) && lease_over).then_some(Why::LeaseExpired)
    }

    /// Nothing proves that the leader is gone, and the own node stands still as well.
    fn may_be_a_shared_stall(&self, shard: ShardId, why: Why) -> bool {
        why == Why::LeaseExpired && self.hampered(shard)
    }

    /// Rule 8: whoever might know this node as a stranger must have looked at it and had its say.
    fn is_known(&self) -> bool {
        let me = self.options.me;
        self.options.agents.iter().filter(|n| *n == me || self.peer(*n).knows_us).count() >= self.quorum
    }

    fn may_lead(&self, shard: ShardId, c: &Configuration) -> bool {
        let deferring_since = self.shard(shard).deferring_since.unwrap_or(self.now);
        let patient = self.now.since(deferring_since) < CANDIDATE_PATIENCE;
        self.could_lead(shard, c) && (self.best_candidate(shard, c) == Some(self.options.me) || !patient)
    }

    /// Whether the own node can be made leader, and who else could is known as far as it is worth waiting for.
    fn could_lead(&self, shard: ShardId, c: &Configuration) -> bool {
        let me = self.options.me;
        if !c.may_be_led_by(me) || !self.may_follow_on(me, shard) || !self.is_known() {
            return false;
        }
        // Only where a whole group starts is it worth waiting for others: who has heard the very leader that is
        // now gone knows how things stood.
        let heard = self.peer(c.leader);
        let reign_was_heard = heard.met && heard.report.incarnation == c.leader_incarnation;
        let settling = self.node.up_since.is_none_or(|since| self.now.since(since) < STARTUP_WAIT);
        !settling
            || reign_was_heard
            || !c.in_sync.without(me).iter().any(|n| self.undecided_about(n, shard, c))
    }

    /// Whether nobody leads and the own node could, but a better candidate is known.
    fn defers(&self, shard: ShardId) -> bool {
        let led = self.leaderless(shard).is_none();
        self.shard(shard).decided.filter(|_| !led && !self.options.witness).is_some_and(|c| {
            self.could_lead(shard, &c) && self.best_candidate(shard, &c) != Some(self.options.me)
        })
    }

    /// Whether an in-sync member may yet turn out to be the better candidate.
    fn undecided_about(&self, node: NodeId, shard: ShardId, c: &Configuration) -> bool {
        let dead = node == c.leader && self.proven_dead(node) == c.leader_incarnation;
        let starting = self.node_up(node) && self.progress_of(node, shard).health == Health::Starting;
        !dead && (!self.node_up(node) || starting)
    }

    /// The in-sync member whose log reaches farthest, of those known to be able to lead; one whose disk stands still only
    /// where every other's does. Among equals, and where none is preferred, who led before: its in-sync set stays as it is.
    pub(super) fn best_candidate(&self, shard: ShardId, c: &Configuration) -> Option<NodeId> {
        let reign_over = |n: NodeId| {
            n != c.leader || self.running_incarnation(n).is_some_and(|i| i != c.leader_incarnation)
        };
        c.in_sync.iter().filter(|n| self.may_follow_on(*n, shard) && reign_over(*n)).max_by_key(|n| {
            let p = self.progress_of(*n, shard);
            let preferred = self.options.prefer_leader == Some(*n);
            (!self.waits(*n, shard), p.last_epoch, p.written, preferred, *n == c.leader, Reverse(*n))
        })
    }

    /// Lets the shard's proposer take whatever step it can.
    pub(super) fn campaign(&mut self, shard: ShardId) {
        let now = self.now;
        let (leaderless, defers) = (self.leaderless(shard).is_some(), self.defers(shard));
        let s = self.shard_mut(shard);
        s.deferring_since = if defers { s.deferring_since.or(Some(now)) } else { None };
        s.leaderless_since = if leaderless { s.leaderless_since.or(Some(now)) } else { None };
        let decided = s.decided.map_or(Version(0), |c| c.version);
        let undecided = s.acceptor.accepted().is_some_and(|a| a.1.version > decided);
        s.undecided_since = if undecided { s.undecided_since.or(Some(now)) } else { None };
        self.withdraw_late_yield(shard);
        self.forget_force(shard);
        let want = self.want(shard);
        self.forget_what_is_moot(shard, want);
        if matches!(self.shard(shard).proposer.attempt(), Attempt::Prepared { .. }) {
            self.use_prepared(shard, want);
        }
        let home = self.shard(shard).acceptor.promised();
        let me = self.options.me;
        // Rule 16: who hears no quorum gets no answers either, and would only beat a successor's ballots.
        let lease = self.options.timing.lease;
        let heard = |n: &NodeId| *n == me || (self.peer(*n).linked && self.silence(*n) < lease);
        let linked = self.options.agents.iter().filter(heard).count();
        let everybody = want == Want::Join;
        let enough = linked >= if everybody { self.options.agents.len() } else { self.quorum };
        let s = self.shard_mut(shard);
        // Who is in no hurry does not cut in on a rival whose ballot has just passed.
        let patient = matches!(want, Want::KeepReady | Want::Settle | Want::Nothing);
        let not_before =
            if patient { s.proposer.not_before.max(s.courtesy_until) } else { s.proposer.not_before };
        if s.proposer.attempt() == Attempt::Idle && want != Want::Nothing && enough && not_before <= now {
            let ballot = s.proposer.start(home, everybody);
            self.outbox.prepare(me, shard, ballot);
        }
        self.send_accepts(shard);
    }

    /// Drops an attempt that is of no use any more.
    fn forget_what_is_moot(&mut self, shard: ShardId, want: Want) {
        let now = self.now;
        let me = self.options.me;
        let s = self.shard_mut(shard);
        match s.proposer.attempt() {
            // Another's ballot passed this one by at home.
            Attempt::Prepared { ballot, .. } if ballot < s.acceptor.promised() => {
                s.courtesy_until = now + COURTESY + JITTER * u32::from(me.0);
                s.proposer.spoil();
            }
            Attempt::Prepared { .. } if want == Want::Nothing => s.proposer.spoil(),
            Attempt::Preparing { since, .. } if now.since(since) >= crate::proposer::PREPARE_RETRY => {
                s.proposer.spoil();
            }
            Attempt::Accepting { .. } if s.proposer.stuck(now) => s.proposer.spoil(),
            // A leader that was only slow is back before anybody accepted its successor.
            Attempt::Accepting { value, accepted, .. }
                if accepted.is_empty()
                    && value.leader == me
                    && matches!(value.why, Why::LeaseExpired | Why::DataLossAccepted)
                    && !matches!(want, Want::Promote(_) | Want::Force) =>
            {
                let decided = s.decided.map_or(Version(0), |c| c.version);
                if value.version > decided && s.acceptor.accepted().is_none_or(|a| a.1 != value) {
                    s.proposer.abandon();
                }
            }
            _ => {}
        }
    }

    /// A ballot is prepared: settle what it found, make the wanted change, or keep it.
    fn use_prepared(&mut self, shard: ShardId, want: Want) {
        let Attempt::Prepared { best, .. } = self.shard(shard).proposer.attempt() else { return };
        if want == Want::Join {
            return self.adopt_when_all(shard);
        }
        let decided = self.shard(shard).decided;
        let version = decided.map_or(Version(0), |c| c.version);
        let seen = best.map(|b| b.1);
        if let Some(seen) = seen.filter(|seen| seen.version > version && !lacks(Mutant::ForgetsUndecided)) {
            // It may have been chosen: nothing else may take its place before that is known.
            return self.propose(shard, seen, want);
        }
        if seen != decided && seen.map_or(Version(0), |s| s.version) < version {
            // The quorum's view is older than what is decided: the decided value was chosen by a higher ballot.
            return self.shard_mut(shard).proposer.spoil();
        }
        let value = match want {
            Want::Nothing | Want::Join | Want::KeepReady => None,
            Want::Settle => {
                // Nobody of a quorum holds what was unsettled: it was not, and now cannot be, chosen.
                // What this agent accepted meanwhile is overwritten with what is decided.
                let s = self.shard_mut(shard);
                s.proposer.unsettled = None;
                s.undecided_since.and(decided)
            }
            Want::Found => Some(self.founding(shard)),
            Want::Request => self.shard(shard).request.and_then(|r| r.value),
            Want::Succeed => self.offered(shard).map(|offer| offer.value),
            Want::Force => decided.and_then(|c| self.force_wanted(shard, &c)),
            Want::Promote(why) => decided.and_then(|c| {
                c.apply(Change::Promote(self.options.me, why), self.node.incarnation, self.wall_ms)
            }),
        };
        if let Some(value) = value {
            self.assert_own(&value, decided, want);
            self.propose(shard, value, want);
        }
    }

    /// What holds for every configuration that this warden makes by itself: it is a valid one, the next after what
    /// is decided (or that once more, to settle it), and it makes nobody leader but by the rules.
    fn assert_own(&self, value: &Configuration, decided: Option<Configuration>, want: Want) {
        assert_eq!(value.check(), Ok(()), "{want:?} proposes {value:?}");
        if want == Want::Settle {
            return assert_eq!(Some(*value), decided, "what is settled is what is decided");
        }
        let version = decided.map_or(Version(0), |c| c.version);
        assert_eq!(value.version.0, version.0 + 1, "{want:?} proposes {value:?} after {decided:?}");
        assert!(
            decided.is_none_or(|c| value.may_follow(&c)),
            "{want:?} proposes {value:?} after {decided:?}"
        );
        if matches!(want, Want::Found | Want::Promote(_) | Want::Succeed | Want::Force) {
            let writer = (value.leader, value.leader_incarnation);
            assert_eq!(
                writer,
                (self.options.me, self.node.incarnation),
                "a warden proposes its own node only"
            );
        }
    }

    fn adopt_when_all(&mut self, shard: ShardId) {
        self.adopt(shard);
        self.consider_joining();
    }

    fn founding(&self, shard: ShardId) -> Configuration {
        Configuration {
            epoch: Epoch(1),
            version: Version(1),
            leader: self.options.initial_leaders[usize::from(shard.0)],
            // Only the first leader's own warden founds.
            leader_incarnation: self.node.incarnation,
            in_sync: self.options.data_nodes,
            members: self.options.data_nodes,
            why: Why::Founded,
            at_ms: self.wall_ms,
        }
    }

    /// Proposes `value` with the prepared ballot, with what proves that the present reign is over.
    fn propose(&mut self, shard: ShardId, value: Configuration, want: Want) {
        let now = self.now;
        let me = self.options.me;
        let mut proof = None;
        let mut home_last = false;
        if let Some(c) = self.shard(shard).decided.filter(|c| !c.same_reign(&value)) {
            if self.leads(&c) {
                // Whatever this reign was granted ends here, before anybody hears of the next one.
                let (beat, incarnation) = (self.beat, self.node.incarnation);
                let (agents, quorum) = (self.options.agents, self.quorum);
                let s = self.shard_mut(shard);
                s.holder.release(beat);
                s.released = true;
                assert_eq!(s.holder.until(c.epoch, agents, quorum), Nanos(0), "released is released");
                proof = Some(Proof::Released { holder: me, incarnation, seq: beat });
            } else if self.proven_dead(c.leader) == c.leader_incarnation {
                proof = Some(Proof::Died(c.leader, c.leader_incarnation));
            } else if want == Want::Succeed {
                proof = self.release_by(shard, &c);
            } else {
                // Without proof the lease may still be renewed elsewhere. The own vote, once given, would
                // have to be settled in this value's favour, so the others are asked first.
                home_last = matches!(want, Want::Promote(_) | Want::Force);
            }
        }
        self.shard_mut(shard).proposer.propose(now, value, proof, home_last);
    }

    fn send_accepts(&mut self, shard: ShardId) {
        let now = self.now;
        let s = self.shard_mut(shard);
        let Attempt::Accepting { ballot, value, .. } = s.proposer.attempt() else { return };
        let item = AcceptItem { shard, ballot, value, proof: s.proposer.proof() };
        for agent in s.proposer.to_send(now).iter() {
            self.outbox.accept(agent, item);
        }
    }

    pub(super) fn on_promised(&mut self, from: NodeId, items: Vec<PromiseItem>) {
        let now = self.now;
        for PromiseItem { shard, ballot, answer } in items {
            if !self.has(shard) {
                continue;
            }
            let proposer = &mut self.shard_mut(shard).proposer;
            match answer {
                PromiseAnswer::Beaten(by) => proposer.beaten(now, from, ballot, by),
                PromiseAnswer::Promised(accepted) => {
                    if let Some(ballot) = proposer.promised(now, from, ballot, accepted) {
                        let others = self.options.agents.without(self.options.me);
                        for agent in others.iter() {
                            self.outbox.prepare(agent, shard, ballot);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn on_accepted(&mut self, from: NodeId, items: Vec<AcceptedItem>) {
        // No honest agent counts longer; who says so does not keep the question from being asked again.
        let (now, longest) = (self.now, self.options.timing.grantor_lease());
        for AcceptedItem { shard, ballot, answer } in items {
            if !self.has(shard) {
                continue;
            }
            let proposer = &mut self.shard_mut(shard).proposer;
            match answer {
                AcceptAnswer::Beaten(by) => proposer.beaten(now, from, ballot, by),
                AcceptAnswer::Leased(remaining) => {
                    proposer.leased(from, ballot, now + remaining.min(longest))
                }
                AcceptAnswer::Accepted => {
                    if let Some(chosen) = proposer.accepted(from, ballot) {
                        proposer.learned(&chosen);
                        self.learn(shard, chosen);
                        for node in self.others().iter() {
                            self.outbox.decided(node, shard, chosen);
                        }
                    }
                }
            }
        }
    }
}
