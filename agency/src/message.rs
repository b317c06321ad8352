//! What wardens say to each other. Types only; their bytes are `codec`'s.

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::ids::{Epoch, Incarnation, MAX_SHARDS, NodeId, NodeSet, RECENT_LIMIT, ShardId, Version};
use crate::shard::ShardProgress;
use std::time::Duration;

/// Most configurations in one [`Message::Decided`]: all that are remembered, and the newest of each shard. Every
/// other list names each shard at most once.
pub const MAX_DECIDED: usize = RECENT_LIMIT + MAX_SHARDS;

/// Why an agent need not wait for the end of a lease it granted (rule 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The warden of this node saw exactly this incarnation end.
    Died(NodeId, Incarnation),
    /// The holder gave up whatever this incarnation asked for up to and including heartbeat `seq`.
    Released { holder: NodeId, incarnation: Incarnation, seq: u64 },
}

/// A request to accept a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptItem {
    pub shard: ShardId,
    pub ballot: Ballot,
    pub value: Configuration,
    pub proof: Option<Proof>,
}

/// An agent's answer to a prepare of `ballot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromiseItem {
    pub shard: ShardId,
    pub ballot: Ballot,
    pub answer: PromiseAnswer,
}

/// See [`PromiseItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PromiseAnswer {
    /// Nothing lower will be accepted from now on; this was accepted last.
    Promised(Option<(Ballot, Configuration)>),
    /// This ballot, not lower, was promised before.
    Beaten(Ballot),
}

/// An agent's answer to an accept of `ballot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedItem {
    pub shard: ShardId,
    pub ballot: Ballot,
    pub answer: AcceptAnswer,
}

/// See [`AcceptedItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcceptAnswer {
    /// Accepted and durable.
    Accepted,
    /// This higher ballot was promised before.
    Beaten(Ballot),
    /// A lease is outstanding for this much longer; the same may be asked again then.
    Leased(Duration),
}

/// What a warden says of its node in every heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Process ids, for people.
    pub pid: u32,
    pub warden_pid: u32,
    /// The newest incarnation; 0 before the first.
    pub incarnation: Incarnation,
    /// Whether that incarnation runs.
    pub running: bool,
    /// The newest incarnation proven dead in this life of the warden; 0 if none.
    pub dead: Incarnation,
    /// Whether the warden had to kill that one.
    pub hung: bool,
    /// Identity of the node's disk; 0 for a witness.
    pub disk_id: u128,
}

/// One shard's part of a heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardBeat {
    /// The version this agent accepted last, decided or not.
    pub accepted: Version,
    /// The newest version the sender knows to be decided.
    pub decided: Version,
    /// Asks for a lease on this epoch.
    pub asks: Option<Epoch>,
    /// The sender's node leads and its warden, which could, does not ask for the lease any more: the node was
    /// killed to no effect, gets no CPU, or its disk stands still. Once the lease is over nobody leads.
    pub withheld: bool,
    /// The disk of the sender's node stands still under this shard: others lead better.
    pub waits: bool,
    /// What the shard says of itself.
    pub progress: ShardProgress,
}

/// An offer of a leader whose disk stands still ([`Message::Yield`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YieldItem {
    pub shard: ShardId,
    /// The configuration that makes the receiver's node the leader.
    pub value: Configuration,
    /// The leader gave up whatever it asked for up to and including this heartbeat.
    pub seq: u64,
}

/// What wardens say to each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first message on a link, sent and checked by the shell: who calls, in which group.
    Hello { group: u128, node: NodeId, shards: u16 },
    /// Sign of life, gossip, and the request for leases.
    Heartbeat { seq: u64, report: NodeReport, hears: NodeSet, suspects: NodeSet, shards: Vec<ShardBeat> },
    /// The leases granted of those asked for in heartbeat `seq` of this incarnation.
    Granted { seq: u64, incarnation: Incarnation, shards: Vec<(ShardId, Epoch)> },
    /// Proof that no thread of this incarnation of the sender's node will run again.
    Died { incarnation: Incarnation, hung: bool },
    /// First phase of a proposal.
    Prepare(Vec<(ShardId, Ballot)>),
    /// Its answers.
    Promised(Vec<PromiseItem>),
    /// Second phase of a proposal.
    Accept(Vec<AcceptItem>),
    /// Its answers.
    Accepted(Vec<AcceptedItem>),
    /// These configurations are decided; several of one shard come in rising order.
    Decided(Vec<(ShardId, Configuration)>),
    /// Asks for what was decided after these versions.
    Pull(Vec<(ShardId, Version)>),
    /// Leaders that yield to the receiver's node. The receiver proposes the change: the sender's own agent may lie on
    /// the very disk that stands still, and could not promise anything durably.
    Yield(Vec<YieldItem>),
}
