//! Blocks of a segment that are being written back to their place.

use crate::disk::{DiskCommand, DiskWork};
use crate::ids::SegmentId;
use crate::limits::BLOCK;
use crate::memory::AlignedBlocks;

#[derive(Debug)]
enum Stage {
    Due(AlignedBlocks),
    Writing { ticket: u64 },
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Rewrite {
    segment: SegmentId,
    offset: u64,
    stage: Stage,
}

impl Rewrite {
    /// `bytes` are to be written at `offset`, both whole blocks.
    pub fn new(segment: SegmentId, offset: u64, bytes: AlignedBlocks) -> Rewrite {
        assert!(offset.is_multiple_of(BLOCK) && !bytes.is_empty(), "whole blocks are written back");
        Rewrite { segment, offset, stage: Stage::Due(bytes) }
    }

    /// Has the write not been given out yet?
    pub fn due(&self) -> bool {
        matches!(self.stage, Stage::Due(_))
    }

    /// The write, to be answered with this ticket.
    ///
    /// # Panics
    /// If it is not due.
    pub fn command(&mut self, ticket: u64) -> DiskCommand {
        let Stage::Due(bytes) = std::mem::replace(&mut self.stage, Stage::Writing { ticket }) else {
            panic!("a rewrite is given out once")
        };
        let work = DiskWork::WriteBlocks { segment: self.segment, offset: self.offset, bytes };
        DiskCommand { ticket, work }
    }

    /// Is this the ticket of its write?
    pub fn is(&self, answered: u64) -> bool {
        matches!(self.stage, Stage::Writing { ticket } if ticket == answered)
    }
}
