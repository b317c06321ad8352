//! The group as one warden sees it: for people, and for clients that ask where to go. Never for safety.

use crate::configuration::Configuration;
use crate::history::Tally;
use crate::ids::{Incarnation, Nanos, NodeId, ShardId};
use crate::shard::ShardProgress;

/// What a warden knows of the whole group: for status, `CLUSTER SLOTS` and the like; never for safety.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// When the warden saw it so, by its clock.
    pub told_at: Nanos,
    /// It heard, and was heard by, a majority of the agents, itself among them. Without one, what it says of others may
    /// be old.
    pub majority: bool,
    /// Data nodes, by [`NodeId`].
    pub nodes: Vec<NodeView>,
    /// Agents, by [`NodeId`]; data nodes' wardens and witnesses.
    pub agents: Vec<AgentView>,
    /// Shards in order.
    pub shards: Vec<ShardView>,
    /// The changes of leadership, newest last; at most [`HISTORY_LIMIT`](crate::ids::HISTORY_LIMIT) entries.
    pub history: Vec<(ShardId, Configuration)>,
    /// Evictions and admissions, counted.
    pub tallies: Vec<Tally>,
}

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
    /// This incarnation said that it stops in order; it stays so after its end, until the next one starts.
    pub stopping: bool,
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
