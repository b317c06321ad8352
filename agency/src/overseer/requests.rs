//! What the node's shards ask for, how it stands, and what they are told.

use super::Overseer;
use super::yielding::Yielding;
use crate::configuration::{Change, Configuration};
use crate::events::Command;
use crate::ids::{Incarnation, Nanos, ShardId};
use crate::shard::{RequestStatus, ShardRequest, ShardUpdate};

/// The newest request of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub id: u64,
    /// What it asks for, as a configuration; `None` if it was never proposed.
    pub value: Option<Configuration>,
    pub outcome: RequestStatus,
    /// To whom it yields, if it does.
    pub yielding: Option<Yielding>,
    /// A person decided it (rule 5).
    pub forced: bool,
}

impl Pending {
    /// What is asked for, while that is neither decided nor refused.
    pub fn open(&self) -> Option<Configuration> {
        self.value.filter(|_| self.outcome == RequestStatus::Pending)
    }

    /// A newer configuration is decided: is it the one asked for?
    pub fn learned(&mut self, decided: &Configuration) {
        if self.outcome != RequestStatus::Pending {
            return;
        }
        match self.value {
            Some(value) if value == *decided => self.outcome = RequestStatus::Decided,
            Some(value) if value.version > decided.version => {}
            _ => self.outcome = RequestStatus::Refused,
        }
    }
}

impl Overseer {
    pub(super) fn on_request(&mut self, shard: ShardId, request: ShardRequest) {
        if self.shard(shard).request.is_some_and(|r| r.id >= request.id) {
            return;
        }
        // A value that is already on its way stays `unsettled` in the proposer, and is settled first.
        let value = self.requested(shard, &request);
        let outcome = if value.is_some() { RequestStatus::Pending } else { RequestStatus::Refused };
        let forced = matches!(request.change, Change::Force(_));
        let s = self.shard_mut(shard);
        // Whoever asks for something else yields no more.
        s.released &= s.request.is_none_or(|r| r.yielding.is_none());
        s.request = Some(Pending { id: request.id, value, outcome, yielding: None, forced });
        if let (Some(_), Change::Yield(to)) = (value, request.change) {
            self.begin_yield(shard, to);
        }
    }

    /// The configuration a request amounts to; `None` where it is refused at once.
    fn requested(&self, shard: ShardId, request: &ShardRequest) -> Option<Configuration> {
        let decided = self.shard(shard).decided?;
        if decided != request.on_top_of {
            return None;
        }
        if let Change::Force(node) = request.change {
            return (node == self.options.me).then(|| self.forced(shard, &decided)).flatten();
        }
        if !self.leads(&decided) {
            return None;
        }
        let incarnation = match request.change {
            Change::Handoff(to) | Change::Yield(to) => {
                // Giving up the lease for an outcome that cannot be known would only cost service.
                if !self.may_follow_on(to, shard) || self.agents_up() < self.quorum {
                    return None;
                }
                self.running_incarnation(to)?
            }
            Change::Admit(node) if self.suspect(node) => return None,
            Change::Promote(..) | Change::Force(_) => return None,
            Change::Admit(_) | Change::Evict(..) => Incarnation(0),
        };
        decided.apply(request.change, incarnation, self.wall_ms)
    }

    /// See [`ShardUpdate::leader_lost`].
    pub(super) fn leader_lost(&self, shard: ShardId) -> bool {
        let Some(c) = self.shard(shard).decided else { return false };
        if c.leader == self.options.me {
            return !self.leads(&c);
        }
        self.leaderless(shard).is_some() || self.silence(c.leader) >= self.options.timing.link_silent_after
    }

    /// Tells the node's shards what is new to them.
    pub(super) fn publish(&mut self, out: &mut Vec<Command>) {
        for shard in self.shard_ids() {
            let Some(configuration) = self.shard(shard).decided else { continue };
            let leader_lost = self.leader_lost(shard);
            let (request, outcome) =
                self.shard(shard).request.map_or((0, RequestStatus::None), |r| (r.id, r.outcome));
            let update = ShardUpdate { configuration, request, outcome, leader_lost };
            let s = self.shard_mut(shard);
            if s.published == Some(update) {
                continue;
            }
            let rises = |p: ShardUpdate| {
                let (old, new) = (p.configuration, configuration);
                new == old || (new.version > old.version && new.epoch >= old.epoch)
            };
            assert!(s.published.is_none_or(rises), "{:?}, then {update:?}", s.published);
            if s.published.is_none_or(|p| p.leader_lost != leader_lost) {
                self.view_dirty = true;
            }
            self.shard_mut(shard).published = Some(update);
            if self.node.running {
                out.push(Command::Publish(shard, update));
            }
        }
    }

    /// Tells the node's shards how long they may serve reads; a lost lease at once.
    pub(super) fn tell_leases(&mut self, out: &mut Vec<Command>) {
        for shard in self.shard_ids() {
            let s = self.shard(shard);
            let lease = match s.decided {
                Some(c) if self.leads(&c) && !s.released => {
                    (c.epoch, s.holder.until(c.epoch, self.options.agents, self.quorum))
                }
                _ => (s.told.0, Nanos(0)),
            };
            let longest = self.now + self.options.timing.holder_lease();
            assert!(lease.1 <= longest, "no lease outlasts one that was asked for now: {lease:?}");
            if lease != s.told && !(lease.1 == Nanos(0) && s.told.1 == Nanos(0)) {
                self.shard_mut(shard).told = lease;
                out.push(Command::Lease { shard, epoch: lease.0, until: lease.1 });
            }
        }
    }
}
