//! The closed vocabulary between the warden's pure core (`overseer`) and the world around it: what happens
//! to it, what it wants done, and what it exchanges with its node through the shared page.
//!
//! The shell (`baton-warden`) turns sockets, clocks and pages into [`Event`]s and carries out [`Command`]s; the
//! simulator does the same with virtual ones. Nothing here does I/O.

use crate::codec::Message;
use crate::configuration::{Change, Configuration};
use crate::ids::{Epoch, Incarnation, Nanos, NodeId, ShardId};

/// Something that happened to a warden.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed; comes at least every `Timing::tick`, and at the deadline the core asked for.
    Tick,
    /// A link to a peer's warden can carry messages.
    LinkUp(NodeId),
    /// That link closed, or gave no sign of life for too long.
    LinkDown(NodeId),
    /// A peer's warden sent this.
    Message(NodeId, Message),
    /// The store made the image of this ticket durable.
    Stored(u64),
    /// The node's process was started as this incarnation.
    NodeStarted(Incarnation, u32),
    /// Proof that no thread of this incarnation will ever run again.
    NodeDied(Incarnation),
    /// What the node's shards say of themselves, read from the shared page at each tick.
    Progress(Vec<ShardProgress>),
    /// A shard of the node wants its configuration changed.
    Request(ShardId, ShardRequest),
}

/// Something that a warden's core wants done. Carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Send to a peer's warden; dropped if the link is down.
    Send(NodeId, Message),
    /// Make this image of the agent's state durable, then report [`Event::Stored`] with the ticket.
    /// Replies that depend on it are sent by the core only after that.
    Store { ticket: u64, image: Vec<u8> },
    /// Tell the node's shard what is decided.
    Publish(ShardId, ShardUpdate),
    /// The shard may serve reads as leader of `epoch` until this moment (rule 9).
    Lease { shard: ShardId, epoch: Epoch, until: Nanos },
    /// Kill the node of this incarnation: it hangs.
    KillNode(Incarnation),
    /// Something a person should read in the warden's log, one line.
    Log(String),
}

/// Whether a shard can be counted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Health {
    /// Not up yet: the log is being recovered.
    #[default]
    Starting = 0,
    /// Recovered: may follow, and may lead.
    Ready = 1,
    /// The log is damaged before its durable mark, or was found wiped: may follow as a learner, never lead.
    Damaged = 2,
}

/// A shard's own account of itself, refreshed at every turn of its loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardProgress {
    /// Turns of the shard loop; stands still when the thread does.
    pub turns: u64,
    /// When the newest completed log write completed; 0 before the first.
    pub disk_ok_at: Nanos,
    /// When the oldest log write still outstanding was submitted; 0 if none is.
    pub disk_waiting_since: Nanos,
    /// The thread is runnable but gets no CPU: standing still is then no hang, up to
    /// [`STARVED_LIMIT`](crate::timing::STARVED_LIMIT). Set by the warden's shell, not by the shard.
    pub starved: bool,
    /// Whether it may lead.
    pub health: Health,
    /// The epoch of the newest frame in the log.
    pub last_epoch: Epoch,
    /// The end of the log in memory, on disk, committed, and applied to the index: LSNs.
    pub written: u64,
    pub durable: u64,
    pub committed: u64,
    pub applied: u64,
}

/// A shard asks its warden for a change. `id` rises with each request; the newest replaces the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRequest {
    /// Number of the request, from 1.
    pub id: u64,
    /// The change counts only on top of this very configuration.
    pub on_top_of: Configuration,
    /// What is wanted: `Evict`, `Admit` or `Handoff`.
    pub change: Change,
}

/// How the newest [`ShardRequest`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// No request seen in this life of the node.
    #[default]
    None = 0,
    /// Proposed; it may or may not come to be (rule 17).
    Pending = 1,
    /// Decided: the change is in the configuration published with it, or in an ancestor of that.
    Decided = 2,
    /// Will never be decided: another change was, or it was never proposed.
    Refused = 3,
}

/// What a shard knows of who leads. Published as a whole whenever a part changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardUpdate {
    /// The newest configuration known to be decided.
    pub configuration: Configuration,
    /// The request this speaks of (0: none), and how it stands.
    pub request: u64,
    /// See [`Outcome`].
    pub outcome: Outcome,
    /// The leader is believed dead or silent and a successor is being decided: requests are best parked.
    pub leader_lost: bool,
}

/// What a warden knows of the whole group: for status, `CLUSTER SLOTS` and the like; never for safety.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// Data nodes, by [`NodeId`].
    pub nodes: Vec<NodeView>,
    /// Agents, by [`NodeId`]; data nodes' wardens and witnesses.
    pub agents: Vec<AgentView>,
    /// Shards in order.
    pub shards: Vec<ShardView>,
    /// Newest last; at most [`HISTORY_LIMIT`] entries.
    pub history: Vec<(ShardId, Configuration)>,
}

/// How many decided configurations agents keep for people to read.
pub const HISTORY_LIMIT: usize = 256;

/// One data node as its group sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    pub id: NodeId,
    /// 0 while not running or not known.
    pub pid: u32,
    pub warden_pid: u32,
    pub incarnation: Incarnation,
    /// Its process runs and its warden answers.
    pub up: bool,
    /// It came back with another disk, or as an older incarnation, than it left with (rule 8): it must leave
    /// the in-sync set before it may be trusted again.
    pub suspect: bool,
    /// What its shards said last, in order of shards; empty if never heard.
    pub progress: Vec<ShardProgress>,
}

/// One agent as seen from here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgentView {
    pub id: NodeId,
    pub up: bool,
}

/// One shard as seen from here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardView {
    /// The newest configuration known to be decided; `None` before the group is founded.
    pub configuration: Option<Configuration>,
    pub leader_lost: bool,
}
