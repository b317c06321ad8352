//! Opens a node over what its disk holds, as the shard loop does when its process starts.

use crate::host_config::HostConfig;
use agency::ids::{Incarnation, NodeId};
use engine::disk::LogStorage;
use engine::error::RecoverError;
use engine::ids::{GroupId, ShardId};
use engine::memory::MirrorBuffer;
use engine::recover::recover;
use engine::shard::{Shard, ShardOptions};
use node::settings::Member;
use node::{Node, NodeOptions};
use std::sync::Arc;

/// The configuration of the first of two data nodes on the loopback, with ports from 7400 and from 7500 on.
pub fn config_of_two(group: GroupId) -> HostConfig {
    let member = |name: &str, port_base| Member {
        name: name.into(),
        host: "127.0.0.1".into(),
        port_base,
        witness: false,
    };
    HostConfig::new(group, 0, vec![member("a", 7400), member("b", 7500)])
}

/// Recovers a shard's engine from its disk.
///
/// # Errors
/// As of the engine's recovery.
///
/// # Panics
/// If there is no memory for the log buffer.
pub fn engine(config: &HostConfig, shard: ShardId, storage: &dyn LogStorage) -> Result<Shard, RecoverError> {
    let options = ShardOptions {
        segment_bytes: config.segment_bytes,
        max_value_bytes: config.max_value_bytes,
        cache_bytes: config.cache_bytes as usize,
        ..ShardOptions::new(config.group, shard)
    };
    let buffer = MirrorBuffer::new(config.log_buffer_bytes as usize).expect("memory for a log buffer");
    recover(&options, buffer, storage)
}

/// The node that leads or follows with this engine.
pub fn node(
    config: &HostConfig,
    me: NodeId,
    incarnation: Incarnation,
    started_ms: u64,
    engine: Shard,
) -> Node {
    let options = NodeOptions {
        me,
        shard: engine.options().shard,
        settings: Arc::new(config.settings.clone()),
        incarnation,
        pid: 1,
        started_ms,
        secret: [0; 32],
    };
    Node::new(options, engine)
}
