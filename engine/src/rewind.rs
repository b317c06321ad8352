//! Cutting back the log's end (rules 12, 13): flush, save what will be cut, cut, go on.
//!
//! The cut part leaves memory at once; the disk follows in steps that are each safe to crash after: until the
//! cut is through, the old log or a prefix of it that still holds the new end is recovered, and the rewind is
//! done again. No new byte is written before the cut is durable, so nothing of the old end can come back.

use crate::disk::{DiskCommand, DiskError, DiskWork, KeptBlock};
use crate::error::RewindError;
use crate::ids::{Lsn, SegmentId};
use crate::limits::block_floor;
use crate::mutants::{Mutant, lacks};
use crate::rewind_plan::{Rewind, Stage};
use crate::segments::FileState;
use crate::shard::Shard;

impl Shard {
    /// Makes `lsn`, the end of a frame, the end of the log. [`Shard::tail`] is that from now on; until [`Shard::rewinding`] is
    /// false again, nothing can be appended or received. The shard no longer leads.
    ///
    /// # Errors
    /// Committed frames are never cut.
    pub fn rewind_to(&mut self, lsn: Lsn, wall_ms: u64) -> Result<(), RewindError> {
        if self.rewind.is_some() {
            return Err(RewindError::Rewinding);
        }
        if lsn < self.committed {
            return Err(RewindError::BelowCommitted { lsn, committed: self.committed });
        }
        if lsn > self.end {
            return Err(RewindError::BeyondTail { lsn, tail: self.end });
        }
        self.leading = false;
        self.give_up_begun();
        if lsn == self.end {
            return Ok(());
        }
        self.rewind = Some(Rewind::new(lsn, wall_ms, Vec::new(), false));
        self.overlay.cut(lsn);
        self.history.cut(lsn);
        self.cache.clear();
        Ok(())
    }

    /// Is a rewind being carried out? Also true at first after an opening that found files to tidy away.
    pub fn rewinding(&self) -> bool {
        self.rewind.is_some()
    }

    pub(crate) fn poll_rewind(&mut self) -> Option<DiskCommand> {
        let rewind = self.rewind.as_ref()?;
        let ready = match rewind.stage {
            Stage::Draining => self.drained(rewind.to),
            Stage::Saved => true,
            Stage::Saving { .. } | Stage::Cutting { .. } => false,
        };
        if !ready {
            return None;
        }
        let saves = rewind.draining() && !lacks(Mutant::ThrowsAwayRewound);
        let pieces = if saves { self.cut_pieces(rewind) } else { Vec::new() };
        let ticket = self.flights.ticket();
        let (work, stage) = if pieces.is_empty() {
            let (work, kept) = self.cut_work();
            (work, Stage::Cutting { ticket, kept })
        } else {
            let rewind = self.rewind.as_ref()?;
            let to = self.end.max(self.repair_until);
            let work = DiskWork::SaveRewound { from: rewind.to, to, pieces, wall_ms: rewind.wall_ms };
            (work, Stage::Saving { ticket })
        };
        self.rewind.as_mut()?.stage = stage;
        Some(DiskCommand { ticket, work })
    }

    /// Is all that was appended on disk, and nothing on its way to the files that will be cut?
    fn drained(&self, to: Lsn) -> bool {
        let first = self.segments.index_at(to);
        let cut = || self.segments.live.range(first..).map(|segment| segment.file);
        self.flights.idle()
            && self.flights.submitted() == self.end
            && self.segments.live[first].file == FileState::Ready
            && !cut().any(|file| matches!(file, FileState::Preparing { .. }))
    }

    fn cut_pieces(&self, rewind: &Rewind) -> Vec<(SegmentId, u64, u64)> {
        let first = self.segments.index_at(rewind.to);
        let mut pieces = Vec::new();
        for segment in self.segments.live.range(first..).filter(|segment| segment.headed) {
            let from = segment.offset_of(rewind.to.max(segment.base));
            let data_end = segment.offset_of(segment.end.unwrap_or(self.end));
            let end = if rewind.save_all { self.options.segment_bytes } else { data_end };
            if from < end {
                pieces.push((segment.id, from, end - from));
            }
        }
        if rewind.save_all {
            pieces.extend(rewind.orphans.iter().rev().map(|&id| (id, 0, self.options.segment_bytes)));
        }
        pieces
    }

    fn cut_work(&self) -> (DiskWork, KeptBlock) {
        let rewind = self.rewind.as_ref().expect("a cut belongs to a rewind");
        let first = self.segments.index_at(rewind.to);
        let segment = &self.segments.live[first];
        let later = self.segments.live.range(first + 1..).rev();
        let made = later.filter(|segment| segment.file == FileState::Ready).map(|segment| segment.id);
        let kept = KeptBlock::default();
        let work = DiskWork::Cut {
            segment: segment.id,
            offset: segment.offset_of(rewind.to),
            remove: rewind.orphans.iter().copied().chain(made).collect(),
            pulse: self.pulse_note().to_block(),
            kept: kept.clone(),
        };
        (work, kept)
    }

    pub(crate) fn rewind_step_done(
        &mut self,
        ticket: u64,
        result: Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let rewind = self.rewind.as_mut().expect("a completion of an operation in flight");
        match &rewind.stage {
            Stage::Saving { ticket: saving } if *saving == ticket => {
                result?;
                rewind.stage = Stage::Saved;
            }
            Stage::Cutting { ticket: cutting, kept } if *cutting == ticket => {
                result?;
                let (to, kept) = (rewind.to, kept.clone());
                self.finish_cut(to, &kept);
            }
            _ => panic!("a completion of an operation that is not in flight"),
        }
        Ok(())
    }

    fn finish_cut(&mut self, to: Lsn, kept: &KeptBlock) {
        assert!(self.committed <= to && to <= self.end, "only what is not committed is cut");
        self.segments.cut(to);
        let in_block = to.0 != block_floor(to.0);
        let block = match kept.get() {
            Some(block) => block.as_slice(),
            None if in_block => panic!("a cut inside a block must hand the block back"),
            None => &[],
        };
        self.buffer.cut(to, block);
        assert!(self.buffer.low() <= to, "the block of the new end is in the buffer");
        self.end = to;
        self.flights.cut(to);
        self.durable = to;
        self.opened_at = self.opened_at.min(to);
        self.rewind = None;
        self.note_applied();
    }
}
