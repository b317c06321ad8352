//! The seam between the pure node and everything that does I/O: the closed lists of what can happen to a
//! shard of a node ([`Event`]) and of what it can want ([`Action`]).
//!
//! The shard loop (`shard_loop`) drives it with an io_uring ring, the simulator with virtual devices. The
//! driving contract: hand over any number of events with `Node::handle`, then call `Node::finish_turn`
//! once; carry out the actions of both in order. Ranges of the log buffer named by an action stay
//! untouched until the event that answers it. All times are `Nanos` of `CLOCK_BOOTTIME` unless they say
//! wall time.

use crate::job::{Job, JobDone};
use agency::ids::{Epoch, Nanos, NodeId};
use agency::shard::{ShardRequest, ShardUpdate};
use agency::view::ClusterView;
use engine::disk::{DiskCommand, DiskDone, ReadSpec};
use engine::log::BufferRange;
use std::sync::Arc;

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

/// The lease as read from the shared page: reads may be served as leader of `epoch` until `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    pub epoch: Epoch,
    pub until: Nanos,
}

/// What the process and its host have and use, as the shell found it lately: for `INFO`, and for nobody's
/// decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory of the process that is resident, in bytes.
    pub resident_bytes: u64,
    /// Memory of the host in bytes.
    pub system_memory_bytes: u64,
    /// CPU time of the process, in microseconds.
    pub cpu_user_us: u64,
    pub cpu_sys_us: u64,
    /// Bytes of the medium that holds the data, and how many of them are free.
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
    /// Connections that were refused because there were too many.
    pub rejected_connections: u64,
    /// Calls of `io_uring_enter` that took more than 1 ms longer than they had to wait, and the longest of
    /// them, over all shards of the process.
    pub submission_stalls: u64,
    pub submission_stall_max_us: u64,
}

/// Something that happened.
pub enum Event<'a> {
    /// A client connected. `peer` is its address for `CLIENT LIST`.
    ClientOpened { conn: ConnId, face: Face, peer: String, local: String },
    /// Bytes from a client.
    ClientBytes { conn: ConnId, bytes: &'a [u8] },
    /// All bytes of the newest [`Action::ClientSend`] were taken by the kernel.
    ClientSent { conn: ConnId },
    /// The client is gone (or its socket failed). No event for it follows.
    ClientClosed { conn: ConnId },
    /// A client that is paused closed its side of the connection: what it still wants nobody may be waiting
    /// for. Only for paused ones, once per pause: of the others this is said by `ClientClosed`, which comes
    /// for this one, too, when it is no longer paused and what it sent before is read.
    ClientHalfClosed { conn: ConnId },

    /// Another node connected to this shard and said this first (a whole header of `replication::message`).
    LinkAccepted { link: LinkId, header: &'a [u8] },
    /// The answer to [`Action::LinkConnect`].
    LinkConnected { link: LinkId },
    /// The answer to [`Action::LinkReceive`] into memory of the shell: all the bytes asked for.
    LinkBytes { link: LinkId, bytes: &'a [u8] },
    /// The answer to [`Action::LinkReceive`] into the log buffer: it is filled.
    LinkLanded { link: LinkId },
    /// An earlier [`Action::LinkSendLog`] no longer needs its range of the log buffer.
    LinkSentLog { link: LinkId, range: BufferRange },
    /// The connection is gone, or could not be made. No event for it follows but pending `LinkSentLog`s,
    /// all of which come before this.
    LinkClosed { link: LinkId },

    /// A disk operation ended.
    Disk(DiskDone),
    /// The answer to [`Action::Read`]: the bytes, or `None` if the device failed.
    ReadDone { ticket: u64, bytes: Option<&'a [u8]> },

    /// The warden published something new for this shard.
    Update(ShardUpdate),
    /// The warden published a new view of the group.
    View(Arc<ClusterView>),
    /// A request or reply from another shard of this node.
    Mail(Box<crate::mail::Mail>),
    /// The answer to [`Action::Control`].
    ControlDone { ticket: u64, done: Box<JobDone> },
    /// The shell looked at what the process uses; about once a second.
    Resources(Resources),
    /// An administrator asks to hand leadership to this node (`None`: to the best one).
    HandoffWanted(Option<NodeId>),
    /// An orderly stop was asked for: hand over if leading, then [`Action::Stopped`].
    StopWanted,
}

/// Where the next bytes of a replication connection go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// Exactly this many bytes into memory of the shell.
    Memory(usize),
    /// Exactly this range of the log buffer (no copy between socket and disk).
    Log(BufferRange),
}

/// Something to be done.
#[derive(Debug)]
pub enum Action {
    /// Send these bytes; at most one is outstanding per connection (answered by `ClientSent`).
    ClientSend { conn: ConnId, bytes: Vec<u8> },
    /// Stop or go on receiving from this client (backpressure).
    ClientPause { conn: ConnId, paused: bool },
    /// Close after what was handed over for sending is out. No event for it follows.
    ClientClose { conn: ConnId },
    /// Close at once; what is not out yet is thrown away. No event for it follows.
    ClientReset { conn: ConnId },

    /// Connect to another node's replication address.
    LinkConnect { link: LinkId, to: NodeId },
    /// Receive; one is outstanding per link.
    LinkReceive { link: LinkId, into: Landing },
    /// Send bytes in order with everything else on the link.
    LinkSend { link: LinkId, bytes: Vec<u8> },
    /// Send a header, then a range of the log buffer, zero-copy if large.
    LinkSendLog { link: LinkId, header: Vec<u8>, range: BufferRange },
    /// Close at once. `LinkSentLog` still comes for each outstanding range, then `LinkClosed`.
    LinkClose { link: LinkId },

    /// A disk operation; answered by [`Event::Disk`].
    Disk(DiskCommand),
    /// Read blocks of a segment; answered by [`Event::ReadDone`].
    Read { ticket: u64, spec: ReadSpec },

    /// Write this request into the shared page and wake the warden.
    Request(ShardRequest),
    /// Give this to another shard of this node.
    Mail { to: engine::ids::ShardId, mail: Box<crate::mail::Mail> },
    /// Have the control threads do this; answered by [`Event::ControlDone`].
    Control { ticket: u64, job: Box<Job> },
    /// Write this to the log: somebody should know.
    Warn { text: String },
    /// The shard stopped in order: everything is durable and the leadership handed over if it could be.
    Stopped,
    /// Ask every shard of this node to stop in order (a client said `SHUTDOWN`, or asked for it by HTTP).
    StopNode,
    /// The disk failed (rule 14): say so and end the process, so that the warden reports it dead.
    Fail { reason: String },
}
