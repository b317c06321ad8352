//! The closed vocabulary between the warden's pure core (`overseer`) and the world around it: what happens
//! to it, and what it wants done.
//!
//! The shell (`baton-warden`) turns sockets, clocks and pages into [`Event`]s and carries out [`Command`]s; the
//! simulator does the same with virtual ones. Nothing here does I/O.

use crate::ids::{Epoch, Incarnation, Nanos, NodeId, ShardId};
use crate::message::Message;
use crate::shard::{ShardProgress, ShardRequest, ShardUpdate};

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
    /// The node's process was started as this incarnation, on the disk that was found at that moment.
    NodeStarted { incarnation: Incarnation, pid: u32, disk_id: u128 },
    /// Proof that no thread of this incarnation will ever run again.
    NodeDied(Incarnation),
    /// What the node's shards say of themselves, read from the shared page at each tick.
    Progress(Vec<ShardProgress>),
    /// A shard of the node wants its configuration changed.
    Request(ShardId, ShardRequest),
    /// A person accepted, for this life of the warden, that its node leads what nobody leads, though acknowledged
    /// writes may be missing there (rule 5).
    DataLossAccepted,
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
