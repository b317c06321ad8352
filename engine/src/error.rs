//! The errors of the shard's operations, one narrow list each.

use crate::ids::{Epoch, Lsn};
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
    BadFrame { at: Lsn, why: crate::validate::FrameFault },
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
    Segment { segment: crate::ids::SegmentId, why: String },
    #[error("the {what} of {found} is outside {min}..={max}")]
    Limit { what: &'static str, found: u64, min: u64, max: u64 },
    #[error("reading segment {segment} failed: {source}", segment = segment.0)]
    Read { segment: crate::ids::SegmentId, source: crate::disk::DiskError },
}
