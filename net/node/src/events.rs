//! The seam between the pure node and everything that does I/O: the closed lists of what can happen to a
//! shard of a node ([`Event`]) and of what it can want ([`Command`]).
//!
//! The shard loop (`shard_loop`) drives it with an io_uring ring, the simulator with virtual devices. The
//! driving contract: hand over any number of events with `Node::handle`, then call `Node::finish_turn`
//! once; carry out the commands of both in order. Ranges of the log buffer named by a command stay
//! untouched until the event that answers it. All times are `Nanos` of `CLOCK_BOOTTIME` unless they say
//! wall time.

use crate::failure::Failure;
use crate::job::{Job, JobDone};
use agency::ids::{Epoch, Nanos, NodeId};
use agency::shard::{ShardRequest, ShardUpdate};
use agency::view::ClusterView;
use engine::disk::{DiskCommand, DiskDone, ReadSpec};
use engine::log::BufferRange;
use faces::resp::Stats;
use std::sync::Arc;

pub use crate::ids::{ConnId, Face, LinkId};
pub use crate::part::Part;

/// The lease as read from the shared page: reads may be served as leader of `epoch` until `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    pub epoch: Epoch,
    pub until: Nanos,
}

/// What the process and its host have and use, as the shell found it lately: for `INFO`, and for nobody's decisions.
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
    /// Calls of `io_uring_enter` that took more than 1 ms longer than they had to wait, and the longest of them, over
    /// all shards of the process.
    pub submission_stalls: u64,
    pub submission_stall_max_us: u64,
}

impl Resources {
    pub(crate) fn tell(self, stats: &mut Stats) {
        stats.used_memory_bytes = self.resident_bytes;
        stats.total_system_memory_bytes = self.system_memory_bytes;
        stats.cpu_user_us = self.cpu_user_us;
        stats.cpu_system_us = self.cpu_sys_us;
        stats.disk_total_bytes = self.disk_total_bytes;
        stats.disk_used_bytes = self.disk_total_bytes.saturating_sub(self.disk_free_bytes);
        stats.rejected_connections = self.rejected_connections;
        stats.submission_stalls = self.submission_stalls;
        stats.submission_stall_max_us = self.submission_stall_max_us;
    }
}

/// Something that happened.
pub enum Event<'a> {
    /// A client connected. `peer` is its address for `CLIENT LIST`.
    ClientOpened { conn: ConnId, face: Face, peer: String, local: String },
    /// Bytes from a client.
    ClientBytes { conn: ConnId, bytes: &'a [u8] },
    /// All bytes of the newest [`Command::ClientSend`] were taken by the kernel.
    ClientSent { conn: ConnId },
    /// The client is gone (or its socket failed). No event for it follows.
    ClientClosed { conn: ConnId },
    /// The client of a connection that is paused ([`Command::ClientPause`]) has closed its side. What it sent before and
    /// was not received yet is of no interest any more.
    ClientHalfClosed { conn: ConnId },

    /// Another node connected to this shard and said this first (a whole header of `replication::message`).
    LinkAccepted { link: LinkId, header: &'a [u8] },
    /// The answer to [`Command::LinkConnect`].
    LinkConnected { link: LinkId },
    /// The answer to [`Command::LinkReceive`] into memory of the shell: all the bytes asked for.
    LinkBytes { link: LinkId, bytes: &'a [u8] },
    /// The answer to [`Command::LinkReceive`] into the log buffer: it is filled.
    LinkLanded { link: LinkId },
    /// An earlier [`Command::LinkSendLog`] no longer needs its range of the log buffer.
    LinkSentLog { link: LinkId, range: BufferRange },
    /// The connection is gone, or could not be made. No event for it follows but pending `LinkSentLog`s,
    /// all of which come before this.
    LinkClosed { link: LinkId },

    /// A disk operation ended.
    Disk(DiskDone),
    /// The answer to [`Command::Read`]: the bytes, or `None` if the device failed.
    ReadDone { ticket: u64, bytes: Option<&'a [u8]> },

    /// The warden published something new for this shard.
    Update(ShardUpdate),
    /// The warden published a new view of the group.
    View(Arc<ClusterView>),
    /// A request or reply from another shard of this node.
    Mail(Box<crate::mail::Mail>),
    /// The answer to [`Command::Control`].
    ControlDone { ticket: u64, done: Box<JobDone> },
    /// The shell looked at what the process uses; about once a second.
    Resources(Resources),
    /// An administrator asks to hand leadership to this node (`None`: to the best one).
    HandoffWanted(Option<NodeId>),
    /// An administrator accepts that acknowledged writes may be lost: lead with what is here. Whether nobody leads, and
    /// nobody better could, is the agency's to decide.
    PromoteWanted,
    /// An orderly stop was asked for: hand over if leading, then [`Command::Stopped`].
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

/// Most parts of one [`Command::ClientSend`]: the kernel takes no more than 1,024 pieces of memory at once.
pub const MAX_PARTS: usize = 512;

/// Something to be done.
#[derive(Debug)]
pub enum Command {
    /// Replies may leave: what they depend on holds. At most [`MAX_PARTS`], in their order. At most one is outstanding per connection (answered by
    /// `ClientSent`), so that a client that does not read is seen.
    ClientSend { conn: ConnId, parts: Vec<Part> },
    /// A client sends more than can be executed now, or it reads its replies too slowly: stop receiving from it, or go
    /// on. While nothing is received its end is not seen by receiving: that it closed its side is told by
    /// [`Event::ClientHalfClosed`].
    ClientPause { conn: ConnId, paused: bool },
    /// The last reply is handed over (`QUIT`, an error of the protocol, a lost leadership): close when it is out. No
    /// event for it follows.
    ClientClose { conn: ConnId },
    /// A client does not read what was sent to it: close at once; what is not out yet is thrown away. No event for it
    /// follows.
    ClientReset { conn: ConnId },

    /// A follower calls its leader, or a node that found damage another member: connect to its replication address.
    LinkConnect { link: LinkId, to: NodeId },
    /// The next header or body of a message is expected; one receive is outstanding per link. Frames go into the log
    /// buffer itself, and only when that has room: TCP holds the leader back until then.
    LinkReceive { link: LinkId, into: Landing },
    /// A message without frames of the log buffer (hello, welcome, acknowledgement, a sign of life, what was read from
    /// the disk): send it in order with everything else on the link.
    LinkSend { link: LinkId, bytes: Vec<u8> },
    /// A wave of frames for a follower: send a header, then a range of the log buffer, zero-copy if large.
    LinkSendLog { link: LinkId, header: Vec<u8>, range: BufferRange },
    /// What came is no message of this epoch, or nothing came for too long: close at once. `LinkSentLog` still comes
    /// for each outstanding range, then `LinkClosed`.
    LinkClose { link: LinkId },

    /// A turn gathered frames, a segment is to be prepared, a tail is to be cut: a disk operation; answered by
    /// [`Event::Disk`].
    Disk(DiskCommand),
    /// A value, a scan, a follower that is behind or a repair needs blocks of a segment; answered by
    /// [`Event::ReadDone`].
    Read { ticket: u64, spec: ReadSpec },

    /// A follower is lost, has caught up, or is to take over: write this request into the shared page and wake the
    /// warden. The answer comes with an [`Event::Update`].
    Request(ShardRequest),
    /// A client's request, or a part of one, is for another shard of this node, or its reply is: give it to that.
    Mail { to: engine::ids::ShardId, mail: Box<crate::mail::Mail> },
    /// A password is to be judged, a large request planned, the group asked: have the control threads do this;
    /// answered by [`Event::ControlDone`].
    Control { ticket: u64, job: Box<Job> },
    /// A browser was made to attack: write this to the log, somebody should know.
    Warn { text: String },
    /// The shard stopped in order: everything is durable and the leadership handed over if it could be.
    Stopped,
    /// A client said `SHUTDOWN`, or asked for it by HTTP: ask every shard of this node to stop in order.
    StopNode,
    /// The node gives up (rule 14): say so and end the process, so that the warden reports it dead. Nothing that
    /// was asked for before is sure to happen.
    Fail { failure: Failure },
}
