//! Making the log durable: which disk operations are due, and what their completion means.
//!
//! Group commit by itself: each write takes everything appended so far. Several writes may be in flight but
//! never two that touch one block, so that an older one cannot overwrite a newer. `durable` advances only over
//! the contiguous prefix of completed writes.

use crate::disk::{DiskDone, DiskError, DiskOp, DiskOpKind};
use crate::frame::FrameKind;
use crate::ids::{Lsn, SegmentId};
use crate::io::buffers::AlignedBlocks;
use crate::limits::{
    BLOCK, FOOTER_PIECE_BYTES, MAX_WRITE_BYTES, MAX_WRITES_IN_FLIGHT, PAD_THRESHOLD, block_ceil, block_floor,
};
use crate::log::BufferRange;
use crate::pulse::Pulse;
use crate::segment::{FOOTER_ENTRY_BYTES, FooterEnd, SegmentHeader, footer_bytes};
use crate::segments::{FileState, FooterState};
use crate::shard::Shard;
use std::collections::VecDeque;
use zerocopy::IntoBytes;

#[derive(Debug)]
struct Write {
    ticket: u64,
    done: bool,
    /// Where its bytes end.
    end: Lsn,
    /// The log is durable up to here when this and all writes before it are done: the end of the last frame
    /// that they complete.
    whole: Lsn,
}

#[derive(Debug)]
struct FooterPiece {
    ticket: u64,
    segment: SegmentId,
    next: FooterState,
}

/// The operations on their way, and how far the log has been handed to the disk.
#[derive(Debug)]
pub(crate) struct Flights {
    last_ticket: u64,
    /// The log below is written or on its way.
    pub submitted: Lsn,
    /// The end of the last whole frame below `submitted`.
    pub whole: Lsn,
    writes: VecDeque<Write>,
    footer: Option<FooterPiece>,
    pulse: Option<u64>,
}

impl Flights {
    pub fn new(submitted: Lsn) -> Flights {
        let writes = VecDeque::with_capacity(2 * MAX_WRITES_IN_FLIGHT);
        Flights { last_ticket: 0, submitted, whole: submitted, writes, footer: None, pulse: None }
    }

    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Is nothing on its way but the preparation of segments?
    pub fn idle(&self) -> bool {
        self.writes.is_empty() && self.footer.is_none() && self.pulse.is_none()
    }
}

impl Shard {
    /// The next disk operation that is due. Call until `None` at each turn's end.
    pub fn poll_disk(&mut self) -> Option<DiskOp> {
        self.poll_prepare()
            .or_else(|| self.poll_log_write())
            .or_else(|| self.poll_rewind())
            .or_else(|| self.poll_footer())
            .or_else(|| self.poll_mend())
    }

    /// Takes the completion of an operation.
    ///
    /// # Errors
    /// The operation failed and what it was for is in doubt: the node must give up this shard (rule 14). A full
    /// disk at [`DiskOpKind::PrepareSegment`] is no such failure, see [`Shard::disk_full`].
    ///
    /// # Panics
    /// At a ticket that is not in flight.
    pub fn disk_done(&mut self, done: DiskDone) -> Result<(), DiskError> {
        let DiskDone { ticket, result } = done;
        if let Some(write) = self.flights.writes.iter_mut().find(|write| write.ticket == ticket) {
            result?;
            write.done = true;
            while let Some(write) = self.flights.writes.front().filter(|write| write.done) {
                self.durable = self.durable.max(write.whole);
                self.flights.writes.pop_front();
            }
            self.apply();
            return Ok(());
        }
        if self.flights.pulse == Some(ticket) {
            self.flights.pulse = None;
            return result;
        }
        if let Some(piece) = self.flights.footer.take_if(|piece| piece.ticket == ticket) {
            result?;
            self.footer_piece_done(piece);
            return Ok(());
        }
        if self.mending.take_if(|mending| mending.is(ticket)).is_some() {
            return result;
        }
        let preparing = FileState::Preparing { ticket };
        if let Some((_, file)) = self.segments.files_mut().find(|(_, file)| **file == preparing) {
            *file = match result {
                Ok(()) => FileState::Ready,
                Err(DiskError::NoSpace) => FileState::NoSpace,
                Err(error) => return Err(error),
            };
            return Ok(());
        }
        self.rewind_step_done(ticket, result)
    }

    /// Asks again for the segment that the disk had no space for.
    pub fn retry_prepare(&mut self) {
        for (_, file) in self.segments.files_mut() {
            if *file == FileState::NoSpace {
                *file = FileState::Wanted;
            }
        }
    }

    /// Is the disk too full for a segment that is needed? A later one may already have found room.
    pub fn disk_full(&self) -> bool {
        let first = self.segments.index_at(self.flights.submitted);
        let unwritten = self.segments.live.range(first..).map(|segment| segment.file);
        let spares = self.segments.spares.iter().map(|spare| spare.file);
        unwritten.chain(spares).any(|file| file == FileState::NoSpace)
    }

    /// A write of the shard's pulse; `None` while one is in flight.
    pub fn pulse(&mut self) -> Option<DiskOp> {
        if self.flights.pulse.is_some() || self.rewind.is_some() {
            return None;
        }
        let ticket = self.flights.ticket();
        self.flights.pulse = Some(ticket);
        Some(DiskOp { ticket, kind: DiskOpKind::Pulse { bytes: self.pulse_note().to_block() } })
    }

    /// What the pulse says now.
    pub(crate) fn pulse_note(&self) -> Pulse {
        Pulse {
            epoch: self.last_epoch(),
            durable: self.durable(),
            committed: self.committed.min(self.durable()),
            repair_until: if self.damaged() { self.repair_until } else { Lsn(0) },
        }
    }

    pub(crate) fn poll_prepare(&mut self) -> Option<DiskOp> {
        self.segments.want_spare();
        let ticket = self.flights.last_ticket + 1;
        let (segment, file) = self.segments.files_mut().find(|(_, file)| **file == FileState::Wanted)?;
        *file = FileState::Preparing { ticket };
        self.flights.last_ticket = ticket;
        Some(DiskOp { ticket, kind: DiskOpKind::PrepareSegment { segment } })
    }

    fn poll_log_write(&mut self) -> Option<DiskOp> {
        let submitted = self.flights.submitted;
        if submitted == self.end || self.rewind.as_ref().is_some_and(|rewind| !rewind.draining()) {
            return None;
        }
        let at = self.segments.index_at(submitted);
        let segment = &mut self.segments.live[at];
        if segment.file != FileState::Ready {
            return None;
        }
        if !segment.headed {
            segment.headed = true;
            let header = SegmentHeader {
                group: self.options.group,
                shard: self.options.shard,
                segment: segment.id,
                segment_bytes: self.options.segment_bytes,
                base: segment.base,
                epoch: segment.epoch.0,
                epoch_start: segment.epoch.1,
            };
            let kind = DiskOpKind::WriteBlocks { segment: segment.id, offset: 0, bytes: header.to_block() };
            return Some(self.launch(submitted, kind));
        }
        let most = if self.options.pipeline_writes { MAX_WRITES_IN_FLIGHT } else { 1 };
        let start = block_floor(submitted.0);
        let touches = self.flights.writes.back().is_some_and(|write| write.end.0 > start);
        if self.flights.writes.len() >= most || touches {
            return None;
        }
        if at + 1 == self.segments.live.len() {
            self.pad_for_overlap();
        }
        let segment = &self.segments.live[at];
        let end = segment.end.unwrap_or(self.end).0.min(self.end.0).min(start + MAX_WRITE_BYTES);
        let range = BufferRange { start: Lsn(start), len: (block_ceil(end) - start) as usize };
        let offset = segment.offset_of(range.start);
        let kind = DiskOpKind::WriteLog { segment: segment.id, offset, range };
        self.flights.whole = if segment.end.unwrap_or(self.end) == Lsn(end) {
            Lsn(end)
        } else {
            let from = self.flights.whole;
            let written = self.buffer.bytes(from, (end - from.0) as usize);
            from.advance(crate::frame::whole_frames(written) as u64)
        };
        self.flights.submitted = Lsn(end);
        Some(self.launch(Lsn(end), kind))
    }

    fn launch(&mut self, end: Lsn, kind: DiskOpKind) -> DiskOp {
        let ticket = self.flights.ticket();
        self.flights.writes.push_back(Write { ticket, done: false, end, whole: self.flights.whole });
        DiskOp { ticket, kind }
    }

    /// Ends a large gathering on a block boundary, so that the next write need not wait for this one. Only a
    /// leader may add to the log.
    fn pad_for_overlap(&mut self) {
        let gathered = self.end.0 - self.flights.submitted.0;
        let worth = self.leading && self.options.pipeline_writes && gathered >= PAD_THRESHOLD;
        if !worth || self.end.0.is_multiple_of(BLOCK) || self.rewind.is_some() {
            return;
        }
        let fill = self.segments.current().fill(self.end, self.options.segment_bytes);
        let len = fill.filler_len();
        if fill.fits(len, 0, false) && self.buffer.has_room(self.keep_from(), self.end.advance(len)) {
            self.push_filler(FrameKind::Pad, self.last_epoch(), 0);
        }
    }

    /// The next piece of the oldest unwritten footer. It follows the data: a footer on disk promises that all
    /// it lists is there.
    fn poll_footer(&mut self) -> Option<DiskOp> {
        if self.flights.footer.is_some() || self.rewind.is_some() {
            return None;
        }
        let durable = self.durable;
        let due = |end: Option<Lsn>| end.is_some_and(|end| end <= durable);
        self.forget_entries();
        let segment = self
            .segments
            .live
            .iter()
            .rev()
            .take_while(|segment| !segment.entries.is_empty() || segment.footer != FooterState::Written)
            .filter(|segment| due(segment.end) && segment.footer != FooterState::Written)
            .last()?;
        let FooterState::Pending { written, crc } = segment.footer else { return None };
        let start = self.options.segment_bytes - footer_bytes(segment.entry_count);
        let entries = segment.entries.as_bytes();
        let rest = &entries[written as usize..];
        let (offset, bytes, next) = if rest.is_empty() {
            let end = FooterEnd {
                segment: segment.id,
                base: segment.base,
                end: segment.end?,
                entries: segment.entry_count as u64,
                entries_crc: crc,
                epochs: segment.epochs.clone(),
            };
            (self.options.segment_bytes - BLOCK, end.to_block(), FooterState::Written)
        } else {
            let piece = &rest[..rest.len().min(FOOTER_PIECE_BYTES as usize)];
            let mut bytes = AlignedBlocks::zeroed(piece.len());
            bytes.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            let mut hasher = crc32fast::Hasher::new_with_initial(crc);
            hasher.update(piece);
            let next = FooterState::Pending { written: written + piece.len() as u64, crc: hasher.finalize() };
            (start + written, bytes, next)
        };
        let segment = segment.id;
        let ticket = self.flights.ticket();
        self.flights.footer = Some(FooterPiece { ticket, segment, next });
        Some(DiskOp { ticket, kind: DiskOpKind::WriteBlocks { segment, offset, bytes } })
    }

    fn footer_piece_done(&mut self, piece: FooterPiece) {
        let found = self.segments.live.iter_mut().rev().find(|segment| segment.id == piece.segment);
        if let Some(segment) = found {
            segment.footer = piece.next;
        }
    }

    /// Drops the entries of segments whose footer is written and which no rewind can cut into any more.
    fn forget_entries(&mut self) {
        let committed = self.committed;
        for segment in self.segments.live.iter_mut().rev() {
            let settled = segment.end.is_some_and(|end| end <= committed);
            if settled && segment.footer == FooterState::Written {
                if segment.entries.capacity() == 0 {
                    break;
                }
                segment.entries = Vec::new();
            }
        }
    }
}

const _: () = assert!(FOOTER_PIECE_BYTES.is_multiple_of(BLOCK));
const _: () = assert!(BLOCK.is_multiple_of(FOOTER_ENTRY_BYTES as u64));
