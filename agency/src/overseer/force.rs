//! A person decides that a node leads with what it has, though acknowledged writes may be missing there (rule 5).
//!
//! Promises that this happens only where nobody leads and nobody who lacks nothing could, and, where it was accepted
//! before the start, only soon after it. What it leads to is a change like any other, decided by a majority.

use super::Overseer;
use crate::configuration::{Change, Configuration};
use crate::ids::{Nanos, ShardId};
use crate::shard::{Health, RequestStatus};
use crate::timing::{ACCEPT_WITHIN, STARTUP_WAIT};

/// A loss of data that was accepted before the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acceptance {
    /// It counts until then.
    until: Nanos,
    /// Shards that have a leader, one bit each: it does not count for them any more.
    settled: u64,
}

const _: () = assert!(crate::ids::MAX_SHARDS <= 64, "one bit per shard");

impl Overseer {
    pub(super) fn on_loss_accepted(&mut self) {
        let until = self.now + ACCEPT_WITHIN;
        self.accepts_loss = Some(Acceptance { until, settled: 0 });
        self.say(
            "the loss of data is accepted: this node leads what nobody else can, with what it has".into(),
        );
    }

    /// Whether nobody leads `shard`, and nobody that holds all of it could: only then may less be accepted.
    fn is_lost(&self, shard: ShardId, c: &Configuration) -> bool {
        let unfit = self.leads(c) && !self.ready(self.options.me, shard);
        (unfit || self.leaderless(shard).is_some()) && self.best_candidate(shard, c).is_none()
    }

    /// What a `Force` of the own node amounts to; `None` where it is refused at once.
    pub(super) fn forced(&self, shard: ShardId, c: &Configuration) -> Option<Configuration> {
        let able = !self.options.witness && self.node.running && !self.node.killed;
        let allowed = able && !self.stopping(self.options.me) && self.is_lost(shard, c);
        if !allowed || self.agents_up() < self.quorum {
            return None;
        }
        c.apply(Change::Force(self.options.me), self.node.incarnation, self.wall_ms)
    }

    /// The value to propose because a person accepted the loss, if that still holds.
    pub(super) fn force_wanted(&self, shard: ShardId, c: &Configuration) -> Option<Configuration> {
        if let Some(value) = self.shard(shard).request.filter(|r| r.forced).and_then(|r| r.open()) {
            return Some(value);
        }
        let accepted = self.accepts_loss.filter(|a| a.settled & (1 << shard.0) == 0)?;
        let waited = self.shard(shard).leaderless_since.map(|since| self.now.since(since));
        let recovered = self.progress_of(self.options.me, shard).health != Health::Starting;
        let patient = waited.is_some_and(|waited| waited >= STARTUP_WAIT);
        if self.now >= accepted.until || !recovered || !patient {
            return None;
        }
        self.forced(shard, c)
    }

    /// Takes back what no longer holds: somebody leads, or could without loss.
    pub(super) fn forget_force(&mut self, shard: ShardId) {
        let Some(c) = self.shard(shard).decided else { return };
        let lost = self.is_lost(shard, &c);
        let starting = self.progress_of(self.options.me, shard).health == Health::Starting;
        let until = self.now + ACCEPT_WITHIN;
        let served = self.leads(&c) || self.heard_leader(&c);
        if let Some(accepted) = &mut self.accepts_loss {
            // A recovery takes its time.
            accepted.until = if starting { until } else { accepted.until };
            if served && !lost {
                accepted.settled |= 1 << shard.0;
            }
        }
        let s = self.shard_mut(shard);
        if let Some(request) = s.request.as_mut().filter(|r| r.forced && r.outcome == RequestStatus::Pending)
            && !lost
            && s.proposer.unsettled.is_none()
        {
            request.outcome = RequestStatus::Refused;
        }
    }

    /// Whether the very leader that `c` names runs, as far as heard.
    fn heard_leader(&self, c: &Configuration) -> bool {
        self.node_up(c.leader) && self.running_incarnation(c.leader) == Some(c.leader_incarnation)
    }
}
