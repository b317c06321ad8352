//! The errors of the shard's operations, one narrow list each.

use crate::disk::DiskError;
use crate::ids::{Epoch, GroupId, Lsn, SegmentId, ShardId};
use crate::limits::SizeError;
use crate::validate::FrameFault;
use std::fmt;
use thiserror::Error;

/// Why a frame was not appended. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    #[error("the value is longer than {limit} bytes")]
    ValueTooLarge { limit: usize },
    #[error("the key is longer than {limit} bytes")]
    KeyTooLarge { limit: usize },
    #[error("the batch is larger than {limit} bytes, or has too many operations")]
    BatchTooLarge { limit: usize },
    /// Backpressure: try again when the disk or the followers have moved on.
    #[error("the log buffer is full")]
    BufferFull,
    /// Try again when the large value that is being appended is through or was given up.
    #[error("a large value is being appended")]
    Busy,
    /// The next segment's file is still being prepared.
    #[error("the next segment is not ready yet")]
    NoSegment,
    #[error("the disk is full")]
    DiskFull,
    /// A rewind is being carried out.
    #[error("the log is being rewound")]
    Rewinding,
    /// The shard has not begun an epoch since it was opened or last followed.
    #[error("the shard does not lead an epoch")]
    NotLeading,
    /// Not higher than the epoch of the newest frame.
    #[error("the epoch {epoch} is not above the log's {last}")]
    OldEpoch { epoch: Epoch, last: Epoch },
}

/// Why bytes of a leader were not taken into the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReceiveError {
    /// Backpressure: try again when the disk has moved on.
    #[error("the log buffer is full")]
    Full,
    #[error("a rewind is being carried out")]
    Rewinding,
    #[error("the bytes are for LSN {at}, the log ends at {tail}")]
    NotAtTail { at: Lsn, tail: Lsn },
    #[error("{len} bytes are more than the log buffer takes at once, or not whole frames")]
    BadLength { len: usize },
    /// The frames before it were accepted.
    #[error("bad frame at LSN {at}: {why}")]
    BadFrame { at: Lsn, why: FrameFault },
}

/// Why a rewind was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RewindError {
    #[error("LSN {lsn} is below the committed {committed}")]
    BelowCommitted { lsn: Lsn, committed: Lsn },
    #[error("LSN {lsn} is beyond the end of the log {tail}")]
    BeyondTail { lsn: Lsn, tail: Lsn },
    #[error("another rewind is being carried out")]
    Rewinding,
}

/// Why a shard could not be recovered from its files.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecoverError {
    #[error("segment {segment}: {why}", segment = segment.0)]
    Segment { segment: SegmentId, why: SegmentFault },
    #[error("the sizes do not fit together: {0}")]
    Sizes(#[from] SizeError),
    #[error("reading {what} failed: {source}")]
    Read { what: Unreadable, source: DiskError },
}

/// What is wrong with a segment file that is whole: it is not this shard's, or not for this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SegmentFault {
    #[error("format version {0} is not known")]
    Version(u32),
    #[error("it belongs to group {found}, not {expected}")]
    Group { found: GroupId, expected: GroupId },
    #[error("it is segment {} of shard {}", segment.0, shard.0)]
    Name { segment: SegmentId, shard: ShardId },
    #[error("it has {found} bytes, not {expected}")]
    HeaderSize { found: u64, expected: u64 },
    #[error("the file has {found} bytes, not {expected}")]
    FileSize { found: u64, expected: u64 },
}

/// What recovery could not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Directory,
    Pulse,
    Segment(SegmentId),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Directory => f.write_str("the directory"),
            Unreadable::Pulse => f.write_str("the pulse"),
            Unreadable::Segment(segment) => write!(f, "segment {}", segment.0),
        }
    }
}
