//! The names of connections, and of who asks on them.

use engine::ids::ShardId;

/// A client connection of this shard; never reused in a process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A replication connection of this shard; never reused in a process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Which port a client came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The port for any key: requests for other shards are forwarded between cores.
    AnyKey,
    /// The port of this shard: a node of a Redis Cluster that owns the shard's slots.
    Shard,
    /// The HTTP port: documents, and administration.
    Http,
}

/// A connection of a shard of this node: who sends sub-requests, or requests for another shard.
pub type Lane = (ShardId, ConnId);
