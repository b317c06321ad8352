//! How a virtual host is set up: what its node is told, and the sizes of what lies under it.

use agency::ids::{NodeId, NodeSet};
use agency::timing::Timing;
use engine::ids::GroupId;
use node::settings::{Ack, ClientMemory, CopySettings, HttpSettings, Member, Settings};
use std::ops::{Deref, DerefMut};

/// One member of the group.
#[derive(Clone)]
pub struct HostConfig {
    pub settings: Settings,
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

impl DerefMut for HostConfig {
    fn deref_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }
}

impl HostConfig {
    /// Member `me` of these, with small bounds everywhere: what a test does not set is of no interest to it.
    pub fn new(group: GroupId, me: usize, members: Vec<Member>) -> HostConfig {
        HostConfig {
            settings: Settings {
                group,
                name: members[me].name.clone(),
                shards: 1,
                ack: Ack::Durable,
                auth: false,
                root_password_hash: None,
                max_value_bytes: 32 << 10,
                max_clients: 10_000,
                memory: ClientMemory::default(),
                evict_after: Timing::default().evict_after,
                copies: CopySettings::default(),
                http: HttpSettings::default(),
                members,
            },
            segment_bytes: 1 << 20,
            log_buffer_bytes: 1 << 20,
            cache_bytes: 64 << 10,
            active_active: false,
        }
    }

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
