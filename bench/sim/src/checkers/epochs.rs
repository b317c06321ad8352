//! An epoch has one writer: one node in one incarnation of it (rule 18).

use agency::configuration::Configuration;
use agency::ids::{Epoch, Incarnation, NodeId, ShardId};
use std::collections::BTreeMap;

/// The writer of each epoch of each shard.
#[derive(Default)]
pub struct Epochs(BTreeMap<(ShardId, Epoch), (NodeId, Incarnation)>);

impl Epochs {
    /// A warden told its node that this is decided.
    pub fn published(&mut self, shard: ShardId, c: &Configuration) -> Result<(), String> {
        let writer = (c.leader, c.leader_incarnation);
        let first = *self.0.entry((shard, c.epoch)).or_insert(writer);
        if first == writer {
            return Ok(());
        }
        Err(format!("two writers of epoch {} of shard {}: {first:?} and {writer:?}", c.epoch.0, shard.0))
    }
}
