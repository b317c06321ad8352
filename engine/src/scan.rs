//! Reading one segment: by its footer if it has one, else frame by frame.

use crate::disk::{DiskError, LogStorage};
use crate::error::{RecoverError, Unreadable};
use crate::frame::{self, FrameKind};
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::key::KeyHasher;
use crate::limits::{BLOCK, FRAME_ALIGN, block_ceil, block_floor};
use crate::memory::AlignedBlocks;

use crate::segment::{DATA_START, FooterEnd, FooterEntry};
use crate::shard::ShardOptions;
use crate::slot::{SLOTS, slot_of};
use crate::validate::check_frame;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U128};

/// What is read at once while going through a segment.
const WINDOW_BYTES: u64 = 1 << 20;

/// How far the opening of a shard is. Told whenever a stretch of its files has been read, so that whoever waits
/// can tell long from stuck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// Bytes of segment files that are behind: never falls, never above the total.
    pub bytes_done: u64,
    /// Bytes of all segment files.
    pub bytes_total: u64,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Its operations in log order, unless a footer lists them and nobody will want them again.
    pub entries: Vec<FooterEntry>,
    pub entry_count: usize,
    pub epochs: Vec<(Epoch, Lsn)>,
    /// The end of its last valid frame.
    pub end: Lsn,
    pub sealed: bool,
    pub by_footer: bool,
    /// The newest wall time seen.
    pub wall_ms: u64,
}

/// Reads segments through one reused window.
pub(crate) struct Scanner<'a> {
    options: &'a ShardOptions,
    storage: &'a dyn LogStorage,
    hasher: KeyHasher,
    window: AlignedBlocks,
    /// What the window holds: segment, offset and length.
    held: (SegmentId, u64, u64),
    progress: RecoveryProgress,
    /// The segments that are behind, in bytes of their files.
    behind: u64,
    tell: &'a mut dyn FnMut(RecoveryProgress),
}

impl<'a> Scanner<'a> {
    /// Reads some of `segments` segments, and tells how far it is.
    pub fn new(
        options: &'a ShardOptions,
        storage: &'a dyn LogStorage,
        segments: usize,
        tell: &'a mut dyn FnMut(RecoveryProgress),
    ) -> Scanner<'a> {
        Scanner {
            options,
            storage,
            hasher: KeyHasher::new(options.group),
            window: AlignedBlocks::zeroed(WINDOW_BYTES as usize),
            held: (SegmentId(0), 0, 0),
            progress: RecoveryProgress {
                bytes_done: 0,
                bytes_total: segments as u64 * options.segment_bytes,
            },
            behind: 0,
            tell,
        }
    }

    /// One segment more is behind.
    pub fn pass(&mut self) {
        self.behind += self.options.segment_bytes;
        assert!(self.behind <= self.progress.bytes_total, "no more segments than were announced");
        self.advance(0);
    }

    /// Tells that the segment under way was read up to `offset`, as far as that is news.
    fn advance(&mut self, offset: u64) {
        let done = (self.behind + offset).min(self.progress.bytes_total);
        self.progress.bytes_done = self.progress.bytes_done.max(done);
        (self.tell)(self.progress);
    }

    /// `len` bytes at `offset`, or fewer at the segment's end.
    pub fn read(&mut self, segment: SegmentId, offset: u64, len: u64) -> Result<&[u8], RecoverError> {
        let end = (offset + len).min(self.options.segment_bytes);
        let (held, start, held_len) = self.held;
        if held != segment || offset < start || end > start + held_len {
            let start = block_floor(offset);
            let wanted = block_ceil(end) - start;
            let ahead = if len > BLOCK { wanted.max(WINDOW_BYTES) } else { wanted };
            let len = ahead.min(self.options.segment_bytes - start);
            if self.window.len() < len as usize {
                self.window = AlignedBlocks::zeroed(len as usize);
            }
            let into = &mut self.window.as_mut_slice()[..len as usize];
            let what = Unreadable::Segment(segment);
            let failed = |source: DiskError| RecoverError::Read { what, source };
            self.held = (segment, 0, 0);
            self.storage.read(segment, start, into).map_err(failed)?;
            self.held = (segment, start, len);
            (self.tell)(self.progress);
        }
        let from = (offset - self.held.1) as usize;
        Ok(&self.window.as_slice()[from..from + (end - offset) as usize])
    }

    /// What the segment that begins at `base` after epoch `last` holds: `each` is shown its operations in log
    /// order. If the segment ends at or before `settled` and has its footer, they are not kept.
    pub fn segment(
        &mut self,
        id: SegmentId,
        base: Lsn,
        last: Epoch,
        settled: Lsn,
        mut each: impl FnMut(&FooterEntry),
    ) -> Result<Scanned, RecoverError> {
        if let Some(scanned) = self.footer(id, base, last, settled, &mut each)? {
            return Ok(scanned);
        }
        let scanned = self.frames(id, base, last)?;
        scanned.entries.iter().for_each(each);
        Ok(scanned)
    }

    /// By the footer; `None`, and nothing was shown, if there is no sound one.
    fn footer(
        &mut self,
        id: SegmentId,
        base: Lsn,
        last: Epoch,
        settled: Lsn,
        each: impl FnMut(&FooterEntry),
    ) -> Result<Option<Scanned>, RecoverError> {
        let segment_bytes = self.options.segment_bytes;
        let block = self.read(id, segment_bytes - BLOCK, BLOCK)?;
        let Some(footer) = FooterEnd::from_block(block) else { return Ok(None) };
        let Some(start) = footer.entries_start(id, base, segment_bytes) else { return Ok(None) };
        let len = footer.entries * size_of::<FooterEntry>() as u64;
        let bytes = self.read(id, start, len.max(1))?;
        let bytes = &bytes[..len as usize];
        if crc32fast::hash(bytes) != footer.entries_crc {
            return Ok(None);
        }
        // The first frame of a log begins an epoch.
        if last == Epoch(0) && footer.epochs.first().is_none_or(|&(_, start)| start != base) {
            return Ok(None);
        }
        let (mut before, mut least) = (last, base);
        for &(epoch, start) in &footer.epochs {
            if epoch <= before || start < least || start >= footer.end {
                return Ok(None);
            }
            (before, least) = (epoch, start.advance(FRAME_ALIGN));
        }
        let listed = <[FooterEntry]>::ref_from_bytes(bytes).expect("whole unaligned entries");
        if !are_of_a_log(listed, footer.end.0 - base.0) {
            return Ok(None);
        }
        listed.iter().for_each(each);
        Ok(Some(Scanned {
            entries: if footer.end <= settled { Vec::new() } else { listed.to_vec() },
            entry_count: listed.len(),
            epochs: footer.epochs,
            end: footer.end,
            sealed: true,
            by_footer: true,
            wall_ms: 0,
        }))
    }

    /// Frame by frame up to the first place where no valid frame stands.
    fn frames(&mut self, id: SegmentId, base: Lsn, mut last: Epoch) -> Result<Scanned, RecoverError> {
        let hasher = self.hasher;
        let mut scanned = Scanned { end: base, ..Scanned::default() };
        while !scanned.sealed {
            let lsn = scanned.end;
            let offset = DATA_START + (lsn.0 - base.0);
            let Some(len) = self.frame_len_at(id, offset)? else { break };
            let bytes = self.read(id, offset, len.max(WINDOW_BYTES / 4))?;
            let Ok(frame) = check_frame(bytes, lsn, last, Epoch(u64::MAX)) else { break };
            // A segment ends, and the next begins, on a block.
            if frame.kind() == FrameKind::Seal && !(lsn.0 + len).is_multiple_of(BLOCK) {
                break;
            }
            let header = frame.header();
            let epoch = Epoch(header.epoch.get());
            if epoch > last {
                scanned.epochs.push((epoch, lsn));
                last = epoch;
            }
            for operation in frame.operations() {
                let kind = if operation.put { FrameKind::Put } else { FrameKind::Delete };
                scanned.entries.push(FooterEntry {
                    hash: U128::new(hasher.hash(operation.key)),
                    offset: U32::new(((lsn.0 - base.0) / FRAME_ALIGN) as u32),
                    len: U32::new((len / FRAME_ALIGN) as u32),
                    slot: U32::new(slot_of(operation.key).into()),
                    kind: U32::new(kind as u32),
                });
            }
            scanned.wall_ms = scanned.wall_ms.max(header.wall_ms.get());
            scanned.sealed = frame.kind() == FrameKind::Seal;
            scanned.end = lsn.advance(len);
            if offset / WINDOW_BYTES < (offset + len) / WINDOW_BYTES {
                self.advance(offset + len);
            }
        }
        if scanned.sealed {
            // What is kept for a while takes no more than it must.
            scanned.entries.shrink_to_fit();
        }
        scanned.entry_count = scanned.entries.len();
        Ok(scanned)
    }

    /// The length that the header at `offset` gives, if it can be one.
    fn frame_len_at(&mut self, id: SegmentId, offset: u64) -> Result<Option<u64>, RecoverError> {
        if offset + frame::HEADER_BYTES as u64 > self.options.segment_bytes {
            return Ok(None);
        }
        let bytes = self.read(id, offset, frame::HEADER_BYTES as u64)?;
        let len = frame::peek(bytes).map_or(0, |header| u64::from(header.len.get()));
        let fits = len >= frame::HEADER_BYTES as u64
            && len <= self.options.max_frame()
            && offset + len <= self.options.segment_bytes;
        Ok(fits.then_some(len))
    }

    /// The length of the frame whose header stands at its place `lsn`, whole or not; 0 if none does.
    pub fn begun_frame_len(&mut self, id: SegmentId, base: Lsn, lsn: Lsn) -> Result<u64, RecoverError> {
        let offset = DATA_START + (lsn.0 - base.0);
        let Some(len) = self.frame_len_at(id, offset)? else { return Ok(0) };
        let bytes = self.read(id, offset, frame::HEADER_BYTES as u64)?;
        let in_place = frame::peek(bytes).is_some_and(|header| header.lsn.get() == lsn.0);
        Ok(if in_place { len } else { 0 })
    }

    /// Is there nothing but zeros in the file from `offset` on?
    pub fn blank_from(&mut self, id: SegmentId, mut offset: u64) -> Result<bool, RecoverError> {
        while offset < self.options.segment_bytes {
            let bytes = self.read(id, offset, WINDOW_BYTES)?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
        Ok(true)
    }

    /// The first valid frame in its place at or after `from`, and its epoch.
    pub fn find_frame(
        &mut self,
        id: SegmentId,
        base: Lsn,
        from: Lsn,
    ) -> Result<Option<(Lsn, Epoch)>, RecoverError> {
        let mut lsn = Lsn(from.0.next_multiple_of(FRAME_ALIGN));
        loop {
            let offset = DATA_START + (lsn.0 - base.0);
            if offset + frame::HEADER_BYTES as u64 > self.options.segment_bytes {
                return Ok(None);
            }
            // Whole blocks at a time: most of what is looked at is zeros.
            let bytes = self.read(id, offset, WINDOW_BYTES)?;
            let mut candidates = (0..bytes.len().saturating_sub(frame::HEADER_BYTES) + 1).step_by(8);
            let candidate = candidates.find(|&at| {
                frame::peek(&bytes[at..]).is_some_and(|header| header.lsn.get() == lsn.0 + at as u64)
            });
            let Some(at) = candidate else {
                let passed = (bytes.len() - frame::HEADER_BYTES) as u64 / FRAME_ALIGN * FRAME_ALIGN;
                lsn = lsn.advance(passed + FRAME_ALIGN);
                continue;
            };
            lsn = lsn.advance(at as u64);
            let offset = offset + at as u64;
            if let Some(len) = self.frame_len_at(id, offset)? {
                let bytes = self.read(id, offset, len)?;
                if let Some(epoch) = intact_frame(bytes, lsn) {
                    return Ok(Some((lsn, epoch)));
                }
            }
            lsn = lsn.advance(FRAME_ALIGN);
        }
    }
}

/// The epoch of the frame that is here, if there is one.
fn intact_frame(bytes: &[u8], lsn: Lsn) -> Option<Epoch> {
    let frame = frame::FrameView::of(bytes).filter(|frame| frame.intact())?;
    (frame.header().lsn.get() == lsn.0).then(|| Epoch(frame.header().epoch.get()))
}
/// Whether these may be the operations of a segment that holds so many bytes: in the order of the log, each in a frame
/// of its own or in the one before (a batch), with a slot that there is. A sound checksum does not say so: whoever
/// forges one gets no panic for it.
fn are_of_a_log(entries: &[FooterEntry], data_bytes: u64) -> bool {
    let mut frame = (0, 0);
    entries.iter().all(|entry| {
        let next = (entry.data_offset(), entry.data_offset() + entry.frame_len());
        let in_order = next == frame || next.0 >= frame.1;
        frame = next;
        in_order && next.0 < next.1 && next.1 <= data_bytes && entry.slot.get() < u32::from(SLOTS)
    })
}
