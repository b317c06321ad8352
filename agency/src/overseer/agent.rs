//! The agent's side: votes on proposals, makes successors wait for leases, answers pulls, and how an agent
//! without a memory comes to vote.
//!
//! Promises that no vote leaves before it is durable, and that an agent that lost its memory does not vote
//! until all others have promised it a ballot above anything it may once have voted for.

use super::Overseer;
use super::store::Answer;
use crate::configuration::Configuration;
use crate::ids::{MAX_SHARDS, NodeId, ShardId, Version};
use crate::message::{AcceptAnswer, AcceptItem, AcceptedItem, PromiseAnswer, PromiseItem, Proof};
use crate::mutants::{Mutant, lacks};
use crate::proposer::Attempt;

impl Overseer {
    /// Items about shards this group does not have come from a peer with another configuration.
    pub(super) fn has(&self, shard: ShardId) -> bool {
        usize::from(shard.0) < self.shards.len()
    }

    pub(super) fn on_prepare(&mut self, from: NodeId, items: Vec<(ShardId, crate::ballot::Ballot)>) {
        if !self.joined && from != self.options.me {
            return;
        }
        for (shard, ballot) in items.into_iter().filter(|i| self.has(i.0)).collect::<Vec<_>>() {
            match self.shard_mut(shard).acceptor.prepare(ballot) {
                Ok(accepted) => {
                    let answer = PromiseAnswer::Promised(accepted);
                    self.store.after(Answer::Promised(from, PromiseItem { shard, ballot, answer }));
                }
                Err(by) => {
                    let answer = PromiseAnswer::Beaten(by);
                    self.outbox.promised(from, PromiseItem { shard, ballot, answer });
                }
            }
        }
    }

    pub(super) fn on_accept(&mut self, from: NodeId, items: Vec<AcceptItem>) {
        if !self.joined {
            return;
        }
        for item in items.into_iter().filter(|i| self.has(i.shard)).collect::<Vec<_>>() {
            let AcceptItem { shard, ballot, value, proof } = item;
            let (now, next) = (self.now, self.store.given + 1);
            let s = self.shard_mut(shard);
            if let Some(proof) = proof {
                s.grantor.void(proof);
            }
            let answer = if ballot < s.acceptor.promised() && !lacks(Mutant::BreaksPromises) {
                AcceptAnswer::Beaten(s.acceptor.promised())
            } else if let Some(remaining) = s.grantor.remaining(now, &value) {
                AcceptAnswer::Leased(remaining)
            } else if let Err(by) = s.acceptor.accept(ballot, value) {
                AcceptAnswer::Beaten(by)
            } else {
                assert_eq!(
                    s.acceptor.accepted(),
                    Some((ballot, value)),
                    "what is answered is what is stored"
                );
                s.known_at = next;
                AcceptAnswer::Accepted
            };
            let item = AcceptedItem { shard, ballot, answer };
            if answer == AcceptAnswer::Accepted {
                self.store.after(Answer::Accepted(from, item));
            } else {
                self.outbox.accepted(from, item);
            }
        }
    }

    /// A peer's node is proven dead: its leases need not run out.
    pub(super) fn void_leases_of(&mut self, proof: Proof) {
        for shard in &mut self.shards {
            shard.grantor.void(proof);
        }
    }

    /// The newest configuration this agent knows, decided or accepted, if it knows it durably.
    pub(super) fn newest_durable(&self, shard: ShardId) -> Option<Configuration> {
        let s = self.shard(shard);
        assert!(s.known_at <= self.store.given + 1, "what is known goes with the next image at the latest");
        if s.known_at > self.store.durable { None } else { s.newest() }
    }

    /// A shard that is named more than once is answered once: what goes out stays within one message's bounds.
    pub(super) fn on_pull(&mut self, from: NodeId, items: Vec<(ShardId, Version)>) {
        let mut answered = [false; MAX_SHARDS];
        for (shard, have) in items.into_iter().filter(|i| self.has(i.0)).collect::<Vec<_>>() {
            if std::mem::replace(&mut answered[usize::from(shard.0)], true) {
                continue;
            }
            let Some(newest) = self.shard(shard).decided else { continue };
            for configuration in self.history.between(shard, have, newest.version) {
                self.outbox.decided(from, shard, configuration);
            }
            if newest.version > have {
                self.outbox.decided(from, shard, newest);
            }
        }
    }

    /// An agent that never voted before (new, or robbed of its store) finds out which of the two it is.
    pub(super) fn consider_joining(&mut self) {
        if self.joined || self.joining || !self.options.agents.contains(self.options.me) {
            return;
        }
        let others = self.options.agents.without(self.options.me);
        if !others.iter().all(|n| self.peer(n).met) {
            return;
        }
        let virgin = others.iter().all(|n| self.peer(n).accepted.iter().all(|v| *v == Version(0)));
        if virgin || self.shards.iter().all(|s| s.joined) {
            self.joining = true;
            self.store.after(Answer::Joined);
        }
    }

    /// All others promised: what they accepted is all that this agent can have had a part in.
    pub(super) fn adopt(&mut self, shard: ShardId) {
        let Attempt::Prepared { best, .. } = self.shard(shard).proposer.attempt() else { return };
        let next = self.store.next();
        let s = self.shard_mut(shard);
        s.acceptor.adopt(best);
        s.known_at = next;
        s.joined = true;
        s.proposer.spoil();
        // What this agent granted before it forgot is not known either.
        let (now, timing) = (self.now, self.options.timing);
        let newest = self.shard(shard).newest();
        self.shard_mut(shard).grantor = crate::lease::Grantor::after_restart(now, newest, &timing);
    }
}
