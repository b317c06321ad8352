//! Reads of the disk that are under way, and who waits for each.

use crate::ids::{ConnId, Lane, LinkId};
use agency::ids::NodeId;
use engine::ids::Lsn;
use engine::mend::FrameName;
use engine::segment::Location;
use std::collections::BTreeMap;

/// Who wants a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    Client(ConnId),
    SubRequest { lane: Lane, id: u64 },
    Metadata,
}

/// What a disk read is for.
#[derive(Debug)]
pub(crate) enum ReadFor {
    /// A value that a command needs.
    Value { reader: Reader, at: Location, key: Box<[u8]> },
    /// Blocks that a scan goes through.
    Scan { lane: Lane, id: u64 },
    /// Frames for a follower that is behind the log buffer.
    CatchUp { node: NodeId, link: LinkId, from: Lsn, skip: usize, len: usize },
    /// A frame that another member found damaged.
    Fetch { link: LinkId, name: FrameName },
    /// Frames for a member that lost its log.
    Refill { link: LinkId, from: Lsn, skip: usize, len: usize },
    /// The own blocks of a frame that is about to be written back.
    Mend,
}

/// By ticket. Ordered, so that nothing here draws a random number.
pub(crate) type Reads = BTreeMap<u64, ReadFor>;
