//! What a shard wants from its disk, as a closed list.
//!
//! *Hot* operations go through the shard's own ring; *cold* ones may block and run on a helper thread
//! (`io::cold`). Each operation is answered by one [`DiskDone`] with its ticket. The bytes an operation names
//! stay untouched until then.

use crate::ids::{Lsn, SegmentId};
use crate::io::buffers::AlignedBlocks;
use crate::log::BufferRange;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// One operation of the disk.
#[derive(Debug)]
pub struct DiskOp {
    pub ticket: u64,
    pub kind: DiskOpKind,
}

/// What is to be done.
#[derive(Debug)]
pub enum DiskOpKind {
    /// Hot, durable when done: bytes of the log buffer. Offset, start and length are block aligned.
    WriteLog { segment: SegmentId, offset: u64, range: BufferRange },
    /// Hot, durable when done: a segment's header or a piece of its footer.
    WriteBlocks { segment: SegmentId, offset: u64, bytes: AlignedBlocks },
    /// Hot, a plain write at offset 0 of the file `pulse`.
    Pulse { bytes: AlignedBlocks },
    /// Cold: create, allocate and zero the file, sync it and its directory, open it for direct I/O.
    PrepareSegment { segment: SegmentId },
    /// Cold: copy the pieces (segment, offset, length) into a file in `rewound/`, behind a header that names
    /// the LSNs, and sync it and its directory.
    SaveRewound { from: Lsn, to: Lsn, pieces: Vec<(SegmentId, u64, u64)>, wall_ms: u64 },
    /// Cold, each step durable before the next: write `pulse` (the old one may promise more than is left);
    /// delete the files `remove` in order; zero the closing block of `segment`, so that no footer vouches for
    /// what is being cut; zero the rest from its end back to `offset`. Back to front, because a crash in between
    /// must leave a log that ends at one place. Bytes before `offset` stay; the block `offset` falls into is
    /// handed back by `kept`.
    Cut { segment: SegmentId, offset: u64, remove: Vec<SegmentId>, pulse: AlignedBlocks, kept: KeptBlock },
}

impl DiskOpKind {
    /// Must this run on a helper thread?
    pub fn is_cold(&self) -> bool {
        matches!(
            self,
            DiskOpKind::PrepareSegment { .. } | DiskOpKind::SaveRewound { .. } | DiskOpKind::Cut { .. }
        )
    }
}

/// How a [`DiskOpKind::Cut`] hands back the block that holds the new end of the log: the next write rewrites
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

/// The answer to a [`DiskOp`].
#[derive(Clone, Debug)]
pub struct DiskDone {
    pub ticket: u64,
    pub result: Result<(), DiskError>,
}

/// Why an operation of the disk failed.
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
