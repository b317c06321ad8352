//! What a group remembers of its past, for people: who led when and why, and how often whom was evicted and admitted.
//!
//! Promises that evictions and admissions, however many, push no change of leadership out, and that what a person
//! decided (`Why::DataLossAccepted`) goes last. Also remembers the newest configurations as they were decided, for
//! wardens that missed them; those are not stored.

use crate::configuration::{Configuration, Why};
use crate::ids::{HISTORY_LIMIT, MAX_MEMBERS, MAX_SHARDS, NodeId, NodeSet, RECENT_LIMIT, ShardId, Version};
use std::collections::VecDeque;

/// The reasons for a change of the in-sync set alone.
const REASONS: usize = 4;

/// Most tallies there can be: one per shard, member and reason.
pub const MAX_TALLIES: usize = MAX_SHARDS * MAX_MEMBERS * REASONS;

/// How often a member left or joined a shard's in-sync set for one reason, which is that of `newest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub shard: ShardId,
    /// Who was evicted or admitted.
    pub member: NodeId,
    pub count: u64,
    /// Wall time of the first time, in ms since the epoch of Unix.
    pub first_ms: u64,
    /// What the last time made of the configuration.
    pub newest: Configuration,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    leaderships: VecDeque<(ShardId, Configuration)>,
    tallies: Vec<Tally>,
    recent: VecDeque<(ShardId, Configuration)>,
}

impl History {
    /// The history as it was stored.
    pub fn restore(leaderships: &[(ShardId, Configuration)], tallies: &[Tally]) -> History {
        let leaderships: VecDeque<_> = leaderships.iter().copied().collect();
        History { recent: leaderships.clone(), leaderships, tallies: tallies.to_vec() }
    }

    /// `decided` came after `before`, as far as known here.
    pub fn push(&mut self, shard: ShardId, before: Option<&Configuration>, decided: Configuration) {
        if self.recent.len() == RECENT_LIMIT {
            self.recent.pop_front();
        }
        self.recent.push_back((shard, decided));
        match before {
            Some(before) if before.same_reign(&decided) => self.count(shard, before, decided),
            _ => self.remember(shard, decided),
        }
        assert!(
            self.leaderships.len() <= HISTORY_LIMIT && self.recent.len() <= RECENT_LIMIT,
            "it is bounded"
        );
        assert!(self.tallies.len() <= MAX_TALLIES, "one per shard, member and reason");
    }

    fn remember(&mut self, shard: ShardId, decided: Configuration) {
        if self.leaderships.len() == HISTORY_LIMIT {
            let forgettable = |entry: &(ShardId, Configuration)| entry.1.why != Why::DataLossAccepted;
            let oldest = self.leaderships.iter().position(forgettable).unwrap_or(0);
            self.leaderships.remove(oldest);
        }
        self.leaderships.push_back((shard, decided));
    }

    fn count(&mut self, shard: ShardId, before: &Configuration, decided: Configuration) {
        let (old, new) = (before.in_sync, decided.in_sync);
        let changed = if decided.why == Why::Admitted { less(new, old) } else { less(old, new) };
        // What somebody else says may hold a reason that does not fit; that is not worth a tally.
        if !matches!(decided.why, Why::Admitted | Why::Evicted | Why::Slow | Why::Left) {
            return;
        }
        for member in changed.iter() {
            let same = |t: &&mut Tally| (t.shard, t.member, t.newest.why) == (shard, member, decided.why);
            match self.tallies.iter_mut().find(same) {
                Some(tally) => (tally.count, tally.newest) = (tally.count.saturating_add(1), decided),
                None => {
                    let first_ms = decided.at_ms;
                    self.tallies.push(Tally { shard, member, count: 1, first_ms, newest: decided });
                }
            }
        }
    }

    /// The changes of leadership, newest last.
    pub fn leaderships(&self) -> Vec<(ShardId, Configuration)> {
        self.leaderships.iter().copied().collect()
    }

    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// What is remembered of `shard` above `have` and below `newest`, in rising order.
    pub fn between(&self, shard: ShardId, have: Version, newest: Version) -> Vec<Configuration> {
        let missed =
            |(s, c): &&(ShardId, Configuration)| *s == shard && c.version > have && c.version < newest;
        self.recent.iter().filter(missed).map(|entry| entry.1).collect()
    }
}

/// Those of `all` that are not among `others`.
fn less(all: NodeSet, others: NodeSet) -> NodeSet {
    others.iter().fold(all, NodeSet::without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::tests::founded;
    use crate::configuration::{Change, EvictReason};
    use crate::ids::Incarnation;

    const S: ShardId = ShardId(3);
    const B: NodeId = NodeId(1);

    /// Applies `change` and remembers it.
    fn next(h: &mut History, c: Configuration, change: Change, at_ms: u64) -> Configuration {
        let new = c.apply(change, Incarnation(1), at_ms).unwrap();
        h.push(S, Some(&c), new);
        new
    }

    #[test]
    fn what_flaps_is_counted_and_pushes_no_leader_out() {
        let mut h = History::default();
        h.push(S, None, founded());
        let mut c = founded();
        for n in 0..1_000 {
            let reason = if n < 600 { EvictReason::Gone } else { EvictReason::Slow };
            c = next(&mut h, c, Change::Evict(NodeSet::of(&[B]), reason), 2 * n);
            c = next(&mut h, c, Change::Admit(B), 2 * n + 1);
        }
        assert_eq!(h.leaderships(), [(S, founded())]);
        let told: Vec<_> =
            h.tallies().iter().map(|t| (t.newest.why, t.count, t.first_ms, t.newest.at_ms)).collect();
        let wanted =
            [(Why::Evicted, 600, 0, 1_198), (Why::Admitted, 1_000, 1, 1_999), (Why::Slow, 400, 1_200, 1_998)];
        assert_eq!(told, wanted);
        assert!(h.tallies().iter().all(|t| (t.shard, t.member) == (S, B)));
        let restored = History::restore(&h.leaderships(), h.tallies());
        assert_eq!((restored.leaderships(), restored.tallies()), (h.leaderships(), h.tallies()));
        assert_eq!(
            h.between(S, Version(1_990), c.version).len(),
            10,
            "the newest are told to who missed them"
        );
    }

    #[test]
    fn the_newest_leaderships_are_kept_and_what_a_person_decided_for_ever() {
        let mut h = History::default();
        let mut c = next(&mut h, founded(), Change::Force(B), 7);
        for n in 0..500 {
            c = next(&mut h, c, Change::Promote(B, Why::LeaderRestarted), 100 + n);
        }
        let kept = h.leaderships();
        assert_eq!(kept.len(), HISTORY_LIMIT);
        assert_eq!((kept[0].1.why, kept[0].1.at_ms), (Why::DataLossAccepted, 7));
        assert_eq!((kept[1].1.at_ms, kept[HISTORY_LIMIT - 1].1.at_ms), (473, 599));
        for n in 0..500 {
            c = next(&mut h, c, Change::Force(B), 1_000 + n);
        }
        assert_eq!(h.leaderships().len(), HISTORY_LIMIT, "bounded all the same");
    }
}
