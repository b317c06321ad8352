//! Configurations form one chain: one per version, versions and epochs rise together, and the leader and the
//! in-sync set are members.

use agency::configuration::Configuration;
use agency::ids::{ShardId, Version};
use std::collections::BTreeMap;

/// What was published of each shard.
pub struct Configurations {
    shards: Vec<BTreeMap<Version, Configuration>>,
}

impl Configurations {
    pub fn new(shards: u16) -> Configurations {
        Configurations { shards: (0..shards).map(|_| BTreeMap::new()).collect() }
    }

    /// A warden told its node that this is decided.
    pub fn published(&mut self, shard: ShardId, c: &Configuration) -> Result<(), String> {
        let decided = &mut self.shards[usize::from(shard.0)];
        if let Some(known) = decided.get(&c.version) {
            return if known == c { Ok(()) } else { Err(format!("two of one version: {known:?} and {c:?}")) };
        }
        if !c.in_sync.contains(c.leader) || c.in_sync.union(c.members) != c.members {
            return Err(format!("the leader is not in sync, or a stranger is: {c:?}"));
        }
        decided.insert(c.version, *c);
        let older = decided.range(..c.version).next_back().map(|(_, c)| *c);
        let newer = decided.range(Version(c.version.0 + 1)..).next().map(|(_, c)| *c);
        for (old, new) in older.map(|o| (o, *c)).into_iter().chain(newer.map(|n| (*c, n))) {
            follows(&old, &new)?;
        }
        Ok(())
    }

    /// The newest one known.
    pub fn newest(&self, shard: u16) -> Option<&Configuration> {
        self.shards[usize::from(shard)].values().next_back()
    }

    /// This configuration with the one before it, if that is known.
    pub fn successor_of(&self, shard: u16, c: &Configuration) -> Option<(Configuration, Configuration)> {
        let before = Version(c.version.0.checked_sub(1)?);
        Some((*self.shards[usize::from(shard)].get(&before)?, *c))
    }
}

fn follows(old: &Configuration, new: &Configuration) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {old:?} before {new:?}"));
    if new.epoch < old.epoch {
        return wrong("the epoch fell");
    }
    if new.version.0 == old.version.0 + 1 && new.epoch.0 > old.epoch.0 + 1 {
        return wrong("an epoch was left out");
    }
    Ok(())
}
