//! What a node's shard and its warden say to each other: how the shard stands, what it wants changed, and what
//! is decided. The shell carries it through the shared page.

use crate::configuration::{Change, Configuration};
use crate::ids::{Epoch, Nanos};

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

/// What a shard's thread does while its progress word stands still, as its warden's shell sees it. A thread that
/// works is not one that hangs (rule 21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// The word moved since the look before, or nothing is known of the thread: then it is judged as if stopped.
    #[default]
    Moving = 0,
    /// Stopped by a signal or a debugger.
    Stopped = 1,
    /// Asleep, and not in its ring, where it would wake and move every few milliseconds.
    Asleep = 2,
    /// In the kernel and not to be woken: it waits for a device or a page.
    InKernel = 3,
    /// It uses a CPU.
    Working = 4,
    /// It could run, but gets no CPU.
    Starved = 5,
}

impl Standing {
    /// All of them, in the order of their numbers.
    pub const ALL: [Standing; 6] = [
        Standing::Moving,
        Standing::Stopped,
        Standing::Asleep,
        Standing::InKernel,
        Standing::Working,
        Standing::Starved,
    ];
}

/// A shard's own account of itself, refreshed at every turn of its loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardProgress {
    /// The progress word: raised with every step of the shard loop; stands still when the thread does.
    pub turns: u64,
    /// When the newest completed log write completed; 0 before the first.
    pub disk_ok_at: Nanos,
    /// When the oldest log write still outstanding was submitted; 0 if none is.
    pub disk_waiting_since: Nanos,
    /// What the thread does while `turns` stands still. Set by the warden's shell, not by the shard.
    pub standing: Standing,
    /// An orderly stop of the node has begun: it must not be promoted any more.
    pub stopping: bool,
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
    /// What is wanted. A leader asks for `Evict`, `Admit`, `Handoff` or `Yield`; `Force` is asked for by the very
    /// node that it names; `Promote` is nobody's to ask for.
    pub change: Change,
}

/// How the newest [`ShardRequest`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum RequestStatus {
    /// No request seen in this life of the node.
    #[default]
    None = 0,
    /// Proposed; it may or may not come to be (rule 17).
    Pending = 1,
    /// Decided: the change is in the configuration published with it, or in an ancestor of that.
    Decided = 2,
    /// Will never be decided: another change was, or it was never proposed. Of a `Yield` it says only that the successor
    /// did not take it up in time: it may still come, as a configuration that is published like any other.
    Refused = 3,
}

/// What a shard knows of who leads. Published as a whole whenever a part changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardUpdate {
    /// The newest configuration known to be decided.
    pub configuration: Configuration,
    /// The request this speaks of (0: none), and how it stands.
    pub request: u64,
    /// See [`RequestStatus`].
    pub outcome: RequestStatus,
    /// The leader is believed dead or silent and a successor is being decided: requests are best parked.
    pub leader_lost: bool,
}
