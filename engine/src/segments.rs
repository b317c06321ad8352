//! The shard's live segments in log order, and the prepared spares: which file a stretch of the log is in.

use crate::disk::DiskError;
use crate::frame::FrameKind;
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::limits::{BLOCK, MAX_EPOCHS_PER_SEGMENT, MAX_LIVE_SEGMENTS};
use crate::segment::{DATA_START, Fill, FooterEntry, Location};
use std::collections::VecDeque;
use zerocopy::little_endian::{U32, U128};

/// How far a segment's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    Wanted,
    Preparing {
        ticket: u64,
    },
    Ready,
    /// The disk is full; asked for again by `retry_prepare`.
    NoSpace,
}

impl FileState {
    /// The file's preparation was answered.
    ///
    /// # Errors
    /// The device failed; that it is full is no failure.
    pub fn prepared(&mut self, result: Result<(), DiskError>) -> Result<(), DiskError> {
        assert!(matches!(self, FileState::Preparing { .. }), "an answer to a preparation");
        *self = match result {
            Ok(()) => FileState::Ready,
            Err(DiskError::NoSpace) => FileState::NoSpace,
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// How far a sealed segment's footer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FooterState {
    /// Unsealed, or this many entries' bytes written with this CRC so far.
    Pending {
        written: u64,
        crc: u32,
    },
    Written,
    /// Not written before the next opening: too many were missing to keep what they list.
    Left,
}

impl FooterState {
    /// Is there nothing left to be done for it?
    pub fn settled(&self) -> bool {
        matches!(self, FooterState::Written | FooterState::Left)
    }
}

pub(crate) const FOOTER_PENDING: FooterState = FooterState::Pending { written: 0, crc: 0 };

#[derive(Debug)]
pub(crate) struct Spare {
    pub id: SegmentId,
    pub file: FileState,
}

#[derive(Debug)]
pub(crate) struct LiveSegment {
    pub id: SegmentId,
    pub base: Lsn,
    /// The end of the seal frame.
    pub end: Option<Lsn>,
    /// The epoch of the frame before `base` and where it began.
    pub epoch: (Epoch, Lsn),
    pub file: FileState,
    /// Is the header block on its way to the disk, or there?
    pub headed: bool,
    pub footer: FooterState,
    /// Kept until the footer is written and no rewind can cut in here.
    pub entries: Vec<FooterEntry>,
    pub entry_count: usize,
    pub epochs: Vec<(Epoch, Lsn)>,
}

impl LiveSegment {
    pub fn offset_of(&self, lsn: Lsn) -> u64 {
        assert!(lsn >= self.base, "LSN {lsn} is before the segment that begins at {}", self.base);
        DATA_START + (lsn.0 - self.base.0)
    }

    pub fn fill(&self, tail: Lsn, segment_bytes: u64) -> Fill {
        Fill {
            segment_bytes,
            offset: self.offset_of(tail),
            entries: self.entry_count,
            epochs: self.epochs.len(),
        }
    }

    pub fn add_entry(&mut self, hash: u128, lsn: Lsn, len: u64, slot: u16, put: bool) {
        assert!(self.end.is_none(), "a sealed segment takes no more");
        let kind = if put { FrameKind::Put } else { FrameKind::Delete };
        self.entries.push(FooterEntry {
            hash: U128::new(hash),
            offset: U32::new(((lsn.0 - self.base.0) / 8) as u32),
            len: U32::new((len / 8) as u32),
            slot: U32::new(slot.into()),
            kind: U32::new(kind as u32),
        });
        self.entry_count += 1;
    }

    /// The segment ends at `lsn` again, unsealed.
    pub fn cut(&mut self, lsn: Lsn) {
        assert!(self.end.is_none_or(|end| lsn < end), "a cut shortens the segment");
        let keep = lsn.0 - self.base.0;
        self.entries.truncate(self.entries.partition_point(|entry| entry.data_offset() < keep));
        self.entry_count = self.entries.len();
        self.epochs.retain(|&(_, start)| start < lsn);
        self.end = None;
        self.footer = FOOTER_PENDING;
    }
}

#[derive(Debug)]
pub(crate) struct Segments {
    pub live: VecDeque<LiveSegment>,
    pub spares: VecDeque<Spare>,
    pub next_id: SegmentId,
    /// Segments before this one have their footers.
    footers_from: SegmentId,
    /// Segments before this one have dropped their entries.
    entries_from: SegmentId,
}

impl Segments {
    pub fn new(live: VecDeque<LiveSegment>, spares: VecDeque<Spare>, next_id: SegmentId) -> Segments {
        Segments { live, spares, next_id, footers_from: SegmentId(0), entries_from: SegmentId(0) }
    }

    /// The oldest segment whose footer is not written.
    pub fn oldest_without_footer(&mut self) -> Option<&LiveSegment> {
        let from = self.footers_from;
        let first = self.live.partition_point(|segment| segment.id < from);
        let segment = self.live.range(first..).find(|segment| !segment.footer.settled())?;
        self.footers_from = segment.id;
        Some(segment)
    }

    /// Drops the entries of segments whose footer is written and which end at or before `committed`: no rewind
    /// can cut into them any more.
    pub fn drop_entries(&mut self, committed: Lsn) {
        let from = self.entries_from;
        let first = self.live.partition_point(|segment| segment.id < from);
        for segment in self.live.range_mut(first..) {
            self.entries_from = segment.id;
            if !segment.footer.settled() || segment.end.is_none_or(|end| end > committed) {
                return;
            }
            segment.entries = Vec::new();
        }
    }

    /// The log ends at `lsn` again, and the segment there is unsealed.
    pub fn cut(&mut self, lsn: Lsn) {
        let at = self.index_at(lsn);
        self.live.truncate(at + 1);
        self.live[at].cut(lsn);
        let last = self.live[at].id;
        self.footers_from = self.footers_from.min(last);
        self.entries_from = self.entries_from.min(last);
    }

    /// The segment that a byte at `lsn` belongs to: the last that begins at or before it.
    pub fn index_at(&self, lsn: Lsn) -> usize {
        let last = self.live.len() - 1;
        if self.live[last].base <= lsn {
            return last;
        }
        self.live.partition_point(|segment| segment.base <= lsn).saturating_sub(1)
    }

    pub fn current(&self) -> &LiveSegment {
        self.live.back().expect("there is always a current segment")
    }

    pub fn current_mut(&mut self) -> &mut LiveSegment {
        self.live.back_mut().expect("there is always a current segment")
    }

    pub fn by_id(&self, id: SegmentId) -> Option<&LiveSegment> {
        let at = self.live.partition_point(|segment| segment.id < id);
        self.live.get(at).filter(|segment| segment.id == id)
    }

    pub fn lsn_of(&self, at: Location) -> Option<Lsn> {
        let segment = self.by_id(at.segment)?;
        Some(segment.base.advance(at.offset.checked_sub(DATA_START)?))
    }

    /// Begins the next segment at `base`, in a spare if there is one.
    pub fn open_next(&mut self, base: Lsn, epoch: (Epoch, Lsn)) {
        let before = self.live.back().map_or(Some(base), |segment| segment.end);
        assert!(before == Some(base), "a segment begins where the one before was sealed");
        assert!(base.0.is_multiple_of(BLOCK), "and on a block");
        let spare = self.spares.pop_front().unwrap_or_else(|| self.new_spare());
        self.live.push_back(LiveSegment {
            id: spare.id,
            base,
            end: None,
            epoch,
            file: spare.file,
            headed: false,
            footer: FOOTER_PENDING,
            entries: Vec::new(),
            entry_count: 0,
            epochs: Vec::new(),
        });
    }

    /// Makes sure that there is a spare or one wanted, unless the most segments are alive already.
    pub fn want_spare(&mut self) {
        let oldest = self.live.front().map_or(self.next_id.0, |segment| segment.id.0);
        if self.spares.is_empty() && self.next_id.0 - oldest < MAX_LIVE_SEGMENTS {
            let spare = self.new_spare();
            self.spares.push_back(spare);
        }
    }

    /// # Panics
    /// If the ends of the list contradict themselves. Looks at a few segments only, however many are live.
    pub fn check(&self) {
        let current = self.current();
        assert!(current.end.is_none() && !current.footer.settled(), "the last takes frames");
        assert!(current.entries.len() == current.entry_count, "and keeps their list");
        assert!(current.epochs.len() <= MAX_EPOCHS_PER_SEGMENT, "with few epochs");
        assert!(current.id < self.next_id, "numbers are given once");
        if let Some(before) = self.live.iter().rev().nth(1) {
            assert!(
                before.end == Some(current.base) && before.id < current.id,
                "segments follow one another"
            );
            assert!(before.file != FileState::Wanted || current.file != FileState::Ready, "files in order");
        }
        let mut last = current.id;
        for spare in self.spares.iter().take(2) {
            assert!(last < spare.id && spare.id < self.next_id, "spares come after the log's segments");
            last = spare.id;
        }
    }

    fn new_spare(&mut self) -> Spare {
        let id = self.next_id;
        self.next_id = SegmentId(id.0 + 1);
        Spare { id, file: FileState::Wanted }
    }

    /// The file whose preparation has this ticket.
    pub fn preparing(&mut self, ticket: u64) -> Option<&mut FileState> {
        let wanted = FileState::Preparing { ticket };
        self.files_mut().map(|(_, file)| file).find(|file| **file == wanted)
    }

    /// The states of all files that are needed, the most urgent first.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (SegmentId, &mut FileState)> {
        let live = self.live.iter_mut().map(|segment| (segment.id, &mut segment.file));
        live.chain(self.spares.iter_mut().map(|spare| (spare.id, &mut spare.file)))
    }
}
