//! How a virtual host is set up: what its node is told, and the sizes of what lies under it.

use agency::ids::{NodeId, NodeSet};
use node::settings::Settings;
use std::ops::Deref;
use std::sync::Arc;

/// One member of the group.
pub struct HostConfig {
    pub settings: Arc<Settings>,
    pub segment_bytes: u64,
    pub log_buffer_bytes: u64,
    pub cache_bytes: u64,
    /// The leaders of the shards are dealt out to the data nodes in turn.
    pub active_active: bool,
}

impl Deref for HostConfig {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl HostConfig {
    /// Everybody with an agent: all members.
    pub fn agents(&self) -> NodeSet {
        NodeSet::of(&(0..self.members.len() as u8).map(NodeId).collect::<Vec<_>>())
    }

    /// The leader of each shard when the group is founded.
    pub fn initial_leaders(&self) -> Vec<NodeId> {
        let data: Vec<NodeId> = self.data_nodes().iter().collect();
        let leader = |shard: usize| data[if self.active_active { shard % data.len() } else { 0 }];
        (0..usize::from(self.shards)).map(leader).collect()
    }
}
