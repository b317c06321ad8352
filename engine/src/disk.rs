//! What a shard tells its disk to do, as a closed list, and what it is told in return.
//!
//! *Hot* commands go through the shard's own ring; *cold* ones may block and run on a helper thread
//! (`io::cold`). Each is answered by one [`DiskDone`] with its ticket, in any order. The bytes that a command
//! names stay untouched until then.

use crate::ids::{Lsn, SegmentId};
use crate::log::BufferRange;
use crate::memory::AlignedBlocks;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// One command.
#[derive(Debug)]
pub struct DiskCommand {
    /// Names the command in its answer; never given twice by one shard.
    pub ticket: u64,
    pub work: DiskWork,
}

/// What is to be done.
#[derive(Debug)]
pub enum DiskWork {
    /// Hot, durable when done: bytes of the log buffer. Offset, start and length are block aligned.
    ///
    /// Forced by every turn in which something was appended or received: what was gathered becomes durable in
    /// one write. A write that begins in a block that an earlier one wrote waits for that one.
    WriteLog { segment: SegmentId, offset: u64, range: BufferRange },
    /// Hot, durable when done: blocks of a segment besides the log's own write.
    ///
    /// Forced when the log reaches a new segment (its header, before the first byte of log), when a sealed
    /// segment is durable (its footer, in pieces, the closing block last), and when a frame that was found
    /// damaged was fetched from a peer.
    WriteBlocks { segment: SegmentId, offset: u64, bytes: AlignedBlocks },
    /// Hot, a plain write at offset 0 of the file `pulse`. Nothing waits for it.
    ///
    /// Forced by the clock of whoever drives the shard: without it, a log whose durable end was damaged would
    /// look like one with a torn tail.
    Pulse { bytes: AlignedBlocks },
    /// Cold: create, allocate and zero the file, sync it and its directory, open it for direct I/O.
    ///
    /// Forced when there is no spare behind the last segment: the log must find its next file ready. The only
    /// command that may fail for want of space; it is given again after `Shard::retry_prepare`.
    PrepareSegment { segment: SegmentId },
    /// Cold: copy the pieces (segment, offset, length) into a file in `rewound/`, behind a header that names
    /// the LSNs, and sync it and its directory.
    ///
    /// Forced when a rejoining node holds what its leader does not (rule 13), or when an opening found a
    /// damaged end: before anything is cut, it is kept.
    SaveRewound { from: Lsn, to: Lsn, pieces: Vec<(SegmentId, u64, u64)>, wall_ms: u64 },
    /// Cold, each step durable before the next: write `pulse` (the old one may promise more than is left);
    /// delete the files `remove` in order; zero the closing block of `segment`, so that no footer vouches for
    /// what is being cut; zero the rest from its end back to `offset`. Back to front, because a crash in between
    /// must leave a log that ends at one place. Bytes before `offset` stay; the block `offset` falls into is
    /// handed back by `kept`.
    ///
    /// Forced by the same rewind once the cut part is saved: a frame that stayed on disk behind the new end
    /// would come back when the log grows up to it (rule 20).
    Cut { segment: SegmentId, offset: u64, remove: Vec<SegmentId>, pulse: AlignedBlocks, kept: KeptBlock },
}

impl DiskWork {
    /// Must this run on a helper thread?
    pub fn is_cold(&self) -> bool {
        matches!(self, DiskWork::PrepareSegment { .. } | DiskWork::SaveRewound { .. } | DiskWork::Cut { .. })
    }
}

/// How a [`DiskWork::Cut`] hands back the block that holds the new end of the log: the next write rewrites
/// that block and may no longer have its beginning in the log buffer.
#[derive(Clone, Debug, Default)]
pub struct KeptBlock(Arc<OnceLock<AlignedBlocks>>);

impl KeptBlock {
    /// Called once by whoever carries out the cut, before it reports success.
    pub fn put(&self, block: AlignedBlocks) {
        // A second call would bring the same block.
        let _ = self.0.set(block);
    }

    pub fn get(&self) -> Option<&AlignedBlocks> {
        self.0.get()
    }
}

/// The answer to a [`DiskCommand`].
#[derive(Clone, Debug)]
pub struct DiskDone {
    pub ticket: u64,
    pub result: Result<(), DiskError>,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    #[error("no space left on the device")]
    NoSpace,
    #[error("the device failed: {}", std::io::Error::from_raw_os_error(*errno))]
    Failed { errno: i32 },
}

/// Blocks of a segment to be read. Offset and length are block aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSpec {
    pub segment: SegmentId,
    pub offset: u64,
    pub len: u32,
}

/// The files of one shard, as recovery reads them.
pub trait LogStorage {
    /// All segment files of the right size, in any order.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn segments(&self) -> Result<Vec<SegmentId>, DiskError>;
    /// Fills `into`, whose memory and length are block aligned.
    ///
    /// # Errors
    /// The device failed.
    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<(), DiskError>;
    /// The file `pulse`; `None` if there is none.
    ///
    /// # Errors
    /// The device failed.
    fn pulse(&self) -> Result<Option<AlignedBlocks>, DiskError>;
}
