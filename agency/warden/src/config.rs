//! What a warden is told once, at its start.

use super::page::ChildFds;
use agency::ids::{Incarnation, NodeId};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Another warden of the group.
#[derive(Clone, Debug)]
pub struct Peer {
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// Where its agency port is.
    pub address: SocketAddr,
}

/// What a warden needs to know of its own node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where the node listens (any key, shards, HTTP, replication): sockets with these local addresses are
    /// reset when it dies. An unspecified IP address stands for every address with that port.
    pub listens: Vec<SocketAddr>,
    /// How long after its end the node is started again; `None`: never. A node that keeps dying young waits
    /// longer each time, up to 10 s.
    pub respawn_after: Option<Duration>,
    /// How long an orderly stop may take before the node is killed.
    pub stop_timeout: Duration,
}

/// What a warden is told once, at its start.
#[derive(Clone, Debug)]
pub struct WardenConfig {
    /// For people.
    pub name: String,
    pub me: NodeId,
    /// Identity of the group; wardens of another one are refused.
    pub group: u128,
    pub shards: u16,
    /// Where this warden's agency port is.
    pub listen: SocketAddr,
    pub peers: Vec<Peer>,
    /// Directory of the agent's durable state; made if missing.
    pub dir: PathBuf,
    /// As in `Timing`.
    pub tick: Duration,
    /// As in `Timing`; ticks later than half of it are worth a line in the log.
    pub hang_after: Duration,
    /// `None`: a witness.
    pub node: Option<NodeOptions>,
}

/// How one incarnation of the node is started.
pub struct Start {
    /// The warden adds the environment variable of [`ChildFds`] and what ties the child's life to its own.
    pub command: std::process::Command,
    /// Reads the identity of the node's disk (rule 8): before each start, as a directory may be wiped or replaced
    /// under a living warden. Called on a thread of its own; it may wait for the disk.
    pub disk_id: Box<dyn FnOnce() -> io::Result<u128> + Send>,
}

/// What makes a [`Start`]. It is called on the warden's loop and must not block.
pub type Spawn = Box<dyn FnMut(Incarnation, &ChildFds) -> io::Result<Start>>;
