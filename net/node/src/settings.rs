//! What a node must know of its group's configuration, without where it was read from.
//!
//! Promises nothing about files or texts: `server::config` reads and checks those and makes a [`Settings`] of
//! them, the simulator makes its own. Everything here has been checked by whoever made it.

use agency::ids::{NodeId, NodeSet, ShardId};
use engine::ids::GroupId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Offset of the any-key RESP port from a member's `port_base`.
pub const PORT_ANY_KEY: u16 = 0;
/// Offset of shard 0's RESP port; shard *n* has the port *n* further on.
pub const PORT_SHARDS: u16 = 1;
/// Offset of the HTTP port.
pub const PORT_HTTP: u16 = 80;
/// Offset of the replication port.
pub const PORT_REPLICATION: u16 = 90;
/// Offset of the port of the warden's agent.
pub const PORT_AGENCY: u16 = 91;

/// Number of key slots, as in Redis Cluster.
pub const SLOTS: u32 = 16_384;

/// The part of the configuration that the shards of a node work by.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The group's identity.
    pub group: GroupId,
    /// This node's name among the members.
    pub name: String,
    /// Number of shards of the group.
    pub shards: u16,
    /// When a write counts as acknowledged, unless a request says otherwise.
    pub ack: Ack,
    /// Whether clients must say who they are.
    pub auth: bool,
    /// The first password of `root`, as the PHC string of an argon2id hash.
    pub root_password_hash: Option<String>,
    /// Largest value a client may write, in bytes.
    pub max_value_bytes: usize,
    /// Most client connections of one shard thread.
    pub max_clients: u32,
    /// What the clients of a shard thread may hold of its memory.
    pub memory: ClientMemory,
    /// A leader removes a follower of which nothing is heard from the in-sync set after this long.
    pub evict_after: Duration,
    /// When a copy is given up, and how few are enough.
    pub copies: CopySettings,
    /// The HTTP face.
    pub http: HttpSettings,
    /// Everybody in the group. A member's place in this list is its `NodeId`.
    pub members: Vec<Member>,
}

/// When a copy is given up, and how few are enough (rule 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopySettings {
    /// A follower that answers has this long to move its durable cursor; until then writers wait for it.
    pub slow_after: Duration,
    /// A leader whose log write is under way for longer has a follower take over, if the disk of one moves.
    pub yield_after: Duration,
    /// With fewer members in the in-sync set than this, writes are refused.
    pub min_in_sync: u8,
}

impl Default for CopySettings {
    fn default() -> CopySettings {
        CopySettings {
            slow_after: Duration::from_secs(1),
            yield_after: Duration::from_millis(100),
            min_in_sync: 1,
        }
    }
}

/// Bounds of what clients make a shard thread hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientMemory {
    /// A RESP client that leaves more than this unread for `output_soft_time` is reset.
    pub output_soft: usize,
    pub output_soft_time: Duration,
    /// One that leaves more than this unread is reset at once, and no single reply may be larger.
    pub output_hard: usize,
    /// What all RESP clients of a shard thread may hold, requests and replies: beyond it the one that holds most is
    /// reset, and new ones are refused.
    pub all: usize,
}

impl Default for ClientMemory {
    fn default() -> ClientMemory {
        ClientMemory {
            output_soft: 32 << 20,
            output_soft_time: Duration::from_secs(10),
            output_hard: 256 << 20,
            all: 512 << 20,
        }
    }
}

/// Limits and habits of the HTTP face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The `errorNum` of a follower's 503: 1496 as ArangoDB's, or 503 for drivers that look for that.
    pub not_leader_error: u32,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// A request's head must be whole after this.
    pub head_timeout: Duration,
    /// A request's body must be whole after this, and longer the larger it is.
    pub body_timeout: Duration,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings {
            not_leader_error: 1496,
            max_body_bytes: 16 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// A data node or a witness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Unique in the group: letters, digits, `-`, `_`, `.`; at most 64.
    pub name: String,
    /// Name or address under which other members and clients reach it.
    pub host: String,
    /// All its ports lie at fixed offsets from this one.
    pub port_base: u16,
    /// It has an agent but no data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witness: bool,
}

/// When a write is acknowledged (rule 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ack {
    /// Durable on every member of the in-sync set.
    #[default]
    Durable,
    /// Durable here and in the memory of the others.
    Received,
    /// Durable here; replication is asynchronous, a failover may lose it.
    Local,
}

impl Settings {
    /// This node's place in the group.
    ///
    /// # Panics
    /// If the members do not list its name.
    pub fn me(&self) -> NodeId {
        self.node_named(&self.name).expect("checked settings list their own name")
    }

    /// The member of this name.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        node_named(&self.members, name)
    }

    /// The member with this id; `None` if there is none.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(usize::from(node.0))
    }

    /// Members that hold data.
    pub fn data_nodes(&self) -> NodeSet {
        data_nodes(&self.members)
    }

    /// The first and the last slot of a shard.
    pub fn slots(&self, shard: ShardId) -> (u16, u16) {
        slots(self.shards, shard)
    }

    /// The shard that owns a slot (below [`SLOTS`]).
    pub fn shard_of_slot(&self, slot: u16) -> ShardId {
        shard_of_slot(self.shards, slot)
    }
}

/// The member of this name.
pub fn node_named(members: &[Member], name: &str) -> Option<NodeId> {
    members.iter().position(|m| m.name == name).map(|place| NodeId(place as u8))
}

/// Those of them that hold data.
pub fn data_nodes(members: &[Member]) -> NodeSet {
    let data = |(place, m): (usize, &Member)| (!m.witness).then_some(NodeId(place as u8));
    NodeSet::of(&members.iter().enumerate().filter_map(data).collect::<Vec<_>>())
}

/// The first and the last slot of one of `shards` shards: contiguous ranges, as equal as can be.
pub fn slots(shards: u16, shard: ShardId) -> (u16, u16) {
    assert!(shard.0 < shards, "shard {} of {shards}", shard.0);
    let edge = |n: u32| n * SLOTS / u32::from(shards);
    let shard = u32::from(shard.0);
    (edge(shard) as u16, (edge(shard + 1) - 1) as u16)
}

/// Which of `shards` shards owns a slot (below [`SLOTS`]).
pub fn shard_of_slot(shards: u16, slot: u16) -> ShardId {
    debug_assert!(u32::from(slot) < SLOTS);
    // The inverse of the floor in `slots`.
    ShardId((((u32::from(slot) + 1) * u32::from(shards) - 1) / SLOTS) as u16)
}

impl Member {
    /// The RESP port for any key.
    pub fn any_key_port(&self) -> u16 {
        self.port_base + PORT_ANY_KEY
    }
    /// The RESP port of one shard.
    pub fn shard_port(&self, shard: ShardId) -> u16 {
        self.port_base + PORT_SHARDS + shard.0
    }
    /// The HTTP port.
    pub fn http_port(&self) -> u16 {
        self.port_base + PORT_HTTP
    }
    /// The replication port.
    pub fn replication_port(&self) -> u16 {
        self.port_base + PORT_REPLICATION
    }
    /// The port of the warden's agent.
    pub fn agency_port(&self) -> u16 {
        self.port_base + PORT_AGENCY
    }
    /// Every port its node listens on, for the warden's reset of a dead node's sockets.
    pub fn node_ports(&self, shards: u16) -> Vec<u16> {
        let mut ports = vec![self.any_key_port(), self.http_port(), self.replication_port()];
        ports.extend((0..shards).map(|shard| self.shard_port(ShardId(shard))));
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_the_shards_cover_everything_once() {
        for shards in 1..=64 {
            assert_eq!(slots(shards, ShardId(0)).0, 0);
            assert_eq!(slots(shards, ShardId(shards - 1)).1, 16_383);
            for slot in 0..SLOTS as u16 {
                let (low, high) = slots(shards, shard_of_slot(shards, slot));
                assert!(low <= slot && slot <= high, "{slot} of {shards} shards");
            }
        }
    }
}
