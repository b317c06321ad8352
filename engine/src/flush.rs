//! Making the log durable: log writes, the files that they go to, and the footers behind them.
//!
//! Group commit by itself: each write takes everything appended so far. Several writes may be in flight but
//! never two that touch one block, so that an older one cannot overwrite a newer. `durable` advances only over
//! the contiguous prefix of completed writes.

use crate::disk::{DiskCommand, DiskWork};
use crate::flights::FooterPiece;
use crate::frame::FrameKind;
use crate::ids::Lsn;
use crate::limits::{
    BLOCK, FOOTER_PIECE_BYTES, MAX_WRITE_BYTES, MAX_WRITES_IN_FLIGHT, PAD_THRESHOLD, block_ceil, block_floor,
};
use crate::log::BufferRange;
use crate::memory::AlignedBlocks;
use crate::segment::{FOOTER_ENTRY_BYTES, FooterEnd, SegmentHeader, footer_bytes};
use crate::segments::{FileState, FooterState};
use crate::shard::Shard;
use zerocopy::IntoBytes;

impl Shard {
    /// A write of the log is on disk.
    pub(crate) fn log_write_done(&mut self, ticket: u64) {
        if let Some(durable) = self.flights.write_done(ticket) {
            assert!(self.durable <= durable && durable <= self.end, "durable moves inside the log");
            self.durable = durable;
            self.note_applied();
        }
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
        let first = self.segments.index_at(self.flights.submitted());
        let unwritten = self.segments.live.range(first..).map(|segment| segment.file);
        let spares = self.segments.spares.iter().map(|spare| spare.file);
        unwritten.chain(spares).any(|file| file == FileState::NoSpace)
    }

    /// A write of the shard's pulse; `None` while one is in flight.
    pub fn pulse(&mut self) -> Option<DiskCommand> {
        if self.flights.pulse_in_flight() || self.rewind.is_some() {
            return None;
        }
        let ticket = self.flights.begin_pulse();
        Some(DiskCommand { ticket, work: DiskWork::Pulse { bytes: self.pulse_note().to_block() } })
    }

    pub(crate) fn poll_prepare(&mut self) -> Option<DiskCommand> {
        self.segments.want_spare();
        let (segment, file) = self.segments.files_mut().find(|(_, file)| **file == FileState::Wanted)?;
        let ticket = self.flights.ticket();
        *file = FileState::Preparing { ticket };
        Some(DiskCommand { ticket, work: DiskWork::PrepareSegment { segment } })
    }

    pub(crate) fn poll_log_write(&mut self) -> Option<DiskCommand> {
        let submitted = self.flights.submitted();
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
            let work = DiskWork::WriteBlocks { segment: segment.id, offset: 0, bytes: header.to_block() };
            return Some(DiskCommand { ticket: self.flights.begin_header(), work });
        }
        let most = if self.options.pipeline_writes { MAX_WRITES_IN_FLIGHT } else { 1 };
        let start = block_floor(submitted.0);
        if self.flights.writes() >= most || self.flights.touches(Lsn(start)) {
            return None;
        }
        if at + 1 == self.segments.live.len() {
            self.pad_for_overlap();
        }
        let segment = &self.segments.live[at];
        let end = segment.end.unwrap_or(self.end).0.min(self.end.0).min(start + MAX_WRITE_BYTES);
        let range = BufferRange { start: Lsn(start), len: (block_ceil(end) - start) as usize };
        let offset = segment.offset_of(range.start);
        let work = DiskWork::WriteLog { segment: segment.id, offset, range };
        let whole = if segment.end.unwrap_or(self.end) == Lsn(end) {
            Lsn(end)
        } else {
            let from = self.flights.whole();
            let written = self.buffer.bytes(from, (end - from.0) as usize);
            from.advance(crate::frame::whole_frames(written) as u64)
        };
        assert!(offset + range.len as u64 <= self.options.segment_bytes, "a write stays inside its file");
        assert!(range.start >= self.buffer.low(), "what is written is still in the buffer");
        Some(DiskCommand { ticket: self.flights.begin_write(Lsn(end), whole), work })
    }

    /// Ends a large gathering on a block boundary, so that the next write need not wait for this one. Only a
    /// leader may add to the log.
    fn pad_for_overlap(&mut self) {
        let gathered = self.end.0 - self.flights.submitted().0;
        let free = self.leading && self.growing.is_none();
        let worth = free && self.options.pipeline_writes && gathered >= PAD_THRESHOLD;
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
    pub(crate) fn poll_footer(&mut self) -> Option<DiskCommand> {
        if self.flights.footer_in_flight() || self.rewind.is_some() {
            return None;
        }
        let durable = self.durable;
        self.segments.drop_entries(self.committed);
        let due = |end: Option<Lsn>| end.is_some_and(|end| end <= durable);
        let segment = self.segments.oldest_without_footer().filter(|segment| due(segment.end))?;
        let FooterState::Pending { written, crc } = segment.footer else { return None };
        assert!(segment.entries.len() == segment.entry_count, "the list is kept until its footer is written");
        let start = self.options.segment_bytes - footer_bytes(segment.entry_count);
        let data_end = segment.offset_of(segment.end?);
        assert!(data_end.is_multiple_of(BLOCK) && data_end <= start, "the footer lies behind the seal");
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
        let ticket = self.flights.begin_footer(segment, next);
        Some(DiskCommand { ticket, work: DiskWork::WriteBlocks { segment, offset, bytes } })
    }

    pub(crate) fn footer_piece_done(&mut self, piece: &FooterPiece) {
        let found = self.segments.live.iter_mut().rev().find(|segment| segment.id == piece.segment);
        if let Some(segment) = found {
            segment.footer = piece.next;
        }
    }
}

const _: () = assert!(FOOTER_PIECE_BYTES.is_multiple_of(BLOCK));
const _: () = assert!(BLOCK.is_multiple_of(FOOTER_ENTRY_BYTES as u64));
