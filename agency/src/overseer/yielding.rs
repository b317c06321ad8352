//! A leader whose disk stands still makes way for a follower whose disk moves.
//!
//! The leader's warden gives the lease up and offers the leadership; the follower's warden proposes the change, with
//! the release as proof. It is not the leader's warden that proposes, because its own agent may lie on the very disk
//! that stands still and could not promise anything durably. Promises that an offer that is not taken up costs no
//! more than [`YIELD_PATIENCE`] without a lease: what was released is only what was asked for before.

use super::Overseer;
use crate::configuration::{Change, Configuration};
use crate::ids::{Nanos, NodeId, ShardId};
use crate::message::{Proof, YieldItem};
use crate::shard::RequestStatus;
use crate::timing::YIELD_PATIENCE;

/// A leader's side: to whom it yields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yielding {
    pub to: NodeId,
    /// The lease was released up to this heartbeat.
    pub seq: u64,
    pub since: Nanos,
}

/// A follower's side: the offer as it was made last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub value: Configuration,
    pub seq: u64,
    pub at: Nanos,
}

impl Overseer {
    /// The own node's shard asked to yield to `to`: from now on it holds no lease.
    pub(super) fn begin_yield(&mut self, shard: ShardId, to: NodeId) {
        let (now, seq) = (self.now, self.beat);
        let (agents, quorum) = (self.options.agents, self.quorum);
        let s = self.shard_mut(shard);
        let Some(request) = &mut s.request else { return };
        let Some(value) = request.value else { return };
        request.yielding = Some(Yielding { to, seq, since: now });
        s.holder.release(seq);
        s.released = true;
        let epoch = s.decided.map_or(value.epoch, |c| c.epoch);
        assert_eq!(s.holder.until(epoch, agents, quorum), Nanos(0), "released is released");
        self.offer_yield(shard);
    }

    /// Makes the offer, again at every heartbeat while it is open.
    pub(super) fn offer_yield(&mut self, shard: ShardId) {
        let open = self.shard(shard).request.and_then(|r| r.open().zip(r.yielding));
        if let Some((value, Yielding { to, seq, .. })) = open {
            self.outbox.yields(to, YieldItem { shard, value, seq });
        }
    }

    /// An offer that nobody took up is withdrawn. It may still come to be: then as a change like any other.
    pub(super) fn withdraw_late_yield(&mut self, shard: ShardId) {
        let now = self.now;
        let s = self.shard_mut(shard);
        let Some(request) = &mut s.request else { return };
        let late = request.yielding.is_some_and(|y| now.since(y.since) >= YIELD_PATIENCE);
        if late && request.outcome == RequestStatus::Pending {
            request.outcome = RequestStatus::Refused;
            s.released = false;
        }
    }

    /// Only the leader itself offers what it leads, and only what follows from what is decided here (rule 24).
    pub(super) fn on_yield(&mut self, from: NodeId, items: Vec<YieldItem>) {
        let (now, me) = (self.now, self.options.me);
        for YieldItem { shard, value, seq } in items {
            let Some(c) = self.has(shard).then(|| self.shard(shard).decided).flatten() else { continue };
            let wanted = c.apply(Change::Yield(me), self.node.incarnation, value.at_ms);
            if c.leader == from && self.node.running && wanted == Some(value) {
                self.shard_mut(shard).offer = Some(Offer { value, seq, at: now });
            }
        }
    }

    /// The offer that stands, if one does: it is repeated with every heartbeat while it does.
    pub(super) fn offered(&self, shard: ShardId) -> Option<Offer> {
        let fresh = |o: &Offer| self.now.since(o.at) < self.options.timing.lease;
        self.shard(shard).offer.filter(fresh).filter(|_| self.node.running)
    }

    /// What proves that the leader of `c`, which yields, holds no lease any more.
    pub(super) fn release_by(&self, shard: ShardId, c: &Configuration) -> Option<Proof> {
        let Offer { seq, .. } = self.shard(shard).offer?;
        Some(Proof::Released { holder: c.leader, incarnation: c.leader_incarnation, seq })
    }
}
