//! What commands may know of the node around them: plain data that the node fills in for each turn.
//!
//! Promises: cheap to make (references and numbers). A command reads it and never changes it.

use crate::auth::Users;
use crate::resp::parse::Limits;
use crate::resp::permission::Verdict;
use crate::resp::session::Ack;
use crate::resp::topology::Topology;

/// What this node is to the shard that runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardRole {
    Leader,
    Follower,
    Learner,
}

/// How far another node's copy of this shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Index into [`Topology::nodes`].
    pub node: usize,
    /// It has durably everything below this LSN.
    pub durable_lsn: u64,
    /// It is in the in-sync set.
    pub in_sync: bool,
}

/// Numbers for `INFO`, of this shard unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub connected_clients: u64,
    pub blocked_clients: u64,
    pub max_clients: u64,
    pub connections_received: u64,
    pub commands_processed: u64,
    pub ops_per_second: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub rejected_connections: u64,
    /// Calls into the kernel that took more than 1 ms longer than they had to wait, and the longest of them.
    pub submission_stalls: u64,
    pub submission_stall_max_us: u64,
    /// Reply bytes that no client has taken yet, of all clients and the most of one.
    pub client_memory_bytes: u64,
    pub max_output_bytes: u64,
    /// Clients that were reset because they read too slowly, and because all clients together held too much.
    pub output_limit_disconnections: u64,
    pub evicted_clients: u64,
    /// Memory of the whole node in bytes.
    pub used_memory_bytes: u64,
    /// Memory of the host in bytes.
    pub total_system_memory_bytes: u64,
    /// CPU time of the whole node in microseconds.
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    /// Bytes on disk.
    pub disk_used_bytes: u64,
    pub disk_total_bytes: u64,
    /// For how long this shard's writes have been acknowledged on fewer nodes than the group has; 0 if they are not.
    pub exposed_ms: u64,
    /// How often a frame was found damaged, and how many were rewritten with a peer's copy.
    pub damaged_frames: u64,
    pub repaired_frames: u64,
}

/// Everything a command may know but its request, its session and the data.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    pub limits: &'c Limits,
    /// `GET` and `MGET` whose answers are larger, in bytes, are carried out in slices.
    pub large_bytes: usize,
    /// Everybody who may connect; `None`: nobody is asked for a password.
    pub users: Option<&'c Users>,
    /// On the password in the request, once somebody has judged it.
    pub verdict: Option<&'c Verdict>,
    pub topology: &'c Topology,
    /// The shard that runs the command: index into [`Topology::shards`].
    pub shard: usize,
    /// What this node is to that shard.
    pub role: ShardRole,
    /// Whether this node, as a follower, hears its leader.
    pub leader_link_up: bool,
    /// The other copies of that shard, as its leader sees them; empty elsewhere.
    pub replicas: &'c [Replica],
    /// The end of that shard's log on this node.
    pub written_lsn: u64,
    /// Everything below is committed.
    pub committed_lsn: u64,
    /// How writes are acknowledged where the connection has not chosen.
    pub default_ack: Ack,
    /// The port the client came in by.
    pub port: u16,
    /// The node's process.
    pub pid: u32,
    pub uptime_s: u64,
    /// Baton's own version.
    pub version: &'c str,
    /// Keys of this node's other shards: what `DBSIZE` counts besides, on the port for any key; 0 on a
    /// shard's port.
    pub other_keys: u64,
    pub stats: &'c Stats,
    /// Appends the `CLIENT LIST` lines of the other clients of this shard
    /// ([`Session::describe`](crate::resp::session::Session::describe)).
    pub clients: &'c dyn Fn(&mut String),
}
