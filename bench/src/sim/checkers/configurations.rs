//! Configurations form one chain: one per version, one writer per epoch, only in-sync members are promoted,
//! versions and epochs rise together.

use agency::configuration::Configuration;
use agency::ids::{Epoch, Incarnation, NodeId, ShardId, Version};
use std::collections::BTreeMap;

#[derive(Default)]
struct Chain {
    decided: BTreeMap<Version, Configuration>,
    reigns: BTreeMap<Epoch, (NodeId, Incarnation)>,
}

/// What was published of each shard.
pub struct Configurations {
    shards: Vec<Chain>,
}

impl Configurations {
    pub fn new(shards: u16) -> Configurations {
        Configurations { shards: (0..shards).map(|_| Chain::default()).collect() }
    }

    /// A warden told its node that this is decided.
    pub fn published(&mut self, shard: ShardId, c: &Configuration) -> Result<(), String> {
        let chain = &mut self.shards[usize::from(shard.0)];
        if let Some(known) = chain.decided.get(&c.version) {
            return if known == c { Ok(()) } else { Err(format!("two of one version: {known:?} and {c:?}")) };
        }
        let reign = (c.leader, c.leader_incarnation);
        let first = *chain.reigns.entry(c.epoch).or_insert(reign);
        if first != reign {
            return Err(format!("two writers of epoch {}: {first:?} and {reign:?}", c.epoch.0));
        }
        if !c.in_sync.contains(c.leader) || c.in_sync.union(c.members) != c.members {
            return Err(format!("the leader is not in sync, or a stranger is: {c:?}"));
        }
        chain.decided.insert(c.version, *c);
        let older = chain.decided.range(..c.version).next_back().map(|(_, c)| *c);
        let newer = chain.decided.range(Version(c.version.0 + 1)..).next().map(|(_, c)| *c);
        for (old, new) in older.map(|o| (o, *c)).into_iter().chain(newer.map(|n| (*c, n))) {
            follows(&old, &new)?;
        }
        Ok(())
    }

    /// The newest one known.
    pub fn newest(&self, shard: u16) -> Option<&Configuration> {
        self.shards[usize::from(shard)].decided.values().next_back()
    }
}

fn follows(old: &Configuration, new: &Configuration) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {old:?} before {new:?}"));
    if new.epoch < old.epoch {
        return wrong("the epoch fell");
    }
    if new.version.0 != old.version.0 + 1 {
        return Ok(());
    }
    if new.epoch == old.epoch && !new.same_reign(old) {
        return wrong("the writer changed within an epoch");
    }
    if new.leader != old.leader && !old.in_sync.contains(new.leader) {
        return wrong("a node outside the in-sync set was promoted");
    }
    if new.epoch.0 > old.epoch.0 + 1 {
        return wrong("an epoch was left out");
    }
    Ok(())
}
