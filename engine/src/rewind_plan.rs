//! A rewind under way: where to, what is tidied away with it, and how far it is.

use crate::disk::KeptBlock;
use crate::ids::{Lsn, SegmentId};

/// How far a rewind is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// What is appended but not yet on disk goes there first: it is saved from there.
    Draining,
    Saving {
        ticket: u64,
    },
    Saved,
    Cutting {
        ticket: u64,
        kept: KeptBlock,
    },
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Rewind {
    /// The new end of the log.
    pub to: Lsn,
    pub wall_ms: u64,
    /// Files found at opening that continue the log nowhere, to be removed in this order.
    pub orphans: Vec<SegmentId>,
    /// Save the orphans, and the rest of the last segment, too: the log was damaged, and it may hold what had
    /// been durable.
    pub save_all: bool,
    pub stage: Stage,
}

impl Rewind {
    pub fn new(to: Lsn, wall_ms: u64, orphans: Vec<SegmentId>, save_all: bool) -> Rewind {
        Rewind { to, wall_ms, orphans, save_all, stage: Stage::Draining }
    }

    /// Does the log still go to the disk as if nothing were to be cut?
    pub fn draining(&self) -> bool {
        matches!(self.stage, Stage::Draining)
    }
}
