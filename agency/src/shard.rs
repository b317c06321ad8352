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
pub enum RequestStatus {
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
    /// See [`RequestStatus`].
    pub outcome: RequestStatus,
    /// The leader is believed dead or silent and a successor is being decided: requests are best parked.
    pub leader_lost: bool,
}
