//! The agency's identifiers, its unit of time, and how many there may be of what.

use std::fmt;
use std::time::Duration;

/// A member of the group: a data node's warden or a witness. The number is its place in the group's
/// configuration file; at most [`MAX_MEMBERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

/// A shard's number within its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// The generation of a shard's leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Counts the changes of one shard's configuration; every decided change raises it by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// One life of a node's process; its warden raises it, durably, before each start. At least the wall time in ms
/// of that moment: a store that was lost or rolled back gives no incarnation a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Nanoseconds of `CLOCK_BOOTTIME` on one host. Never compared between hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Nanos {
    type Output = Nanos;
    fn add(self, span: Duration) -> Nanos {
        Nanos(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Most members (data nodes and witnesses) one group may have.
pub const MAX_MEMBERS: usize = 8;

/// Most shards one group may have.
pub const MAX_SHARDS: usize = 64;

/// How many changes of leadership agents keep for people to read: the newest ones.
pub const HISTORY_LIMIT: usize = 128;

/// How many of the newest decided configurations a warden remembers for others that missed them.
pub const RECENT_LIMIT: usize = 256;

/// A set of members, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(pub u8);

impl NodeSet {
    /// The set of these members.
    pub fn of(nodes: &[NodeId]) -> NodeSet {
        nodes.iter().fold(NodeSet(0), |set, n| set.with(*n))
    }
    /// Whether `node` is in the set.
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }
    /// This set and `node`.
    pub fn with(self, node: NodeId) -> NodeSet {
        NodeSet(self.0 | 1 << node.0)
    }
    /// This set but for `node`.
    pub fn without(self, node: NodeId) -> NodeSet {
        NodeSet(self.0 & !(1 << node.0))
    }
    /// Members of either set.
    pub fn union(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 | other.0)
    }
    /// How many members.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// Whether it has no member.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The members in rising order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..MAX_MEMBERS as u8).map(NodeId).filter(move |n| self.contains(*n))
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|n| n.0)).finish()
    }
}
