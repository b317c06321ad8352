//! What a node is made with.

use crate::settings::Settings;
use agency::ids::{Incarnation, NodeId};
use engine::ids::ShardId;
use std::sync::Arc;

/// See the head of this file.
pub struct NodeOptions {
    /// This node's number among the members.
    pub me: NodeId,
    /// The shard.
    pub shard: ShardId,
    /// What it knows of its configuration.
    pub settings: Arc<Settings>,
    /// This life of the process; an epoch bound to another is never led (rule 18).
    pub incarnation: Incarnation,
    /// The process's number, for people.
    pub pid: u32,
    /// Wall time at start, ms since the epoch of Unix.
    pub started_ms: u64,
    /// Random and different in each life of each shard's process.
    pub secret: [u8; 32],
}
