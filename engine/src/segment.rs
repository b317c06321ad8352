//! Segment files: where things lie in one, its header block, and its footer (`docs/FORMAT.md`).
//!
//! Pure arithmetic and bytes. A segment's *data* begins one block into the file, and a byte's LSN and its file
//! offset are equal modulo a block, so that the log buffer is written as it lies.

use crate::ids::{Epoch, GroupId, Lsn, SegmentId, ShardId};
use crate::limits::{BLOCK, MAX_EPOCHS_PER_SEGMENT, block_ceil};
use crate::memory::AlignedBlocks;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The format that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Where the log's bytes begin in a segment file.
pub const DATA_START: u64 = BLOCK;
const HEADER_MAGIC: [u8; 8] = *b"BatonSEG";
const FOOTER_MAGIC: [u8; 8] = *b"BatonFTR";

/// The name of a segment's file.
pub fn file_name(segment: SegmentId) -> String {
    format!("seg-{:08}.log", segment.0)
}

/// The segment that a file of this name holds.
pub fn parse_file_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    let id = SegmentId(digits.parse().ok()?);
    (file_name(id) == name).then_some(id)
}

/// Where a frame lies on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub segment: SegmentId,
    /// In the file, in bytes; a multiple of 8.
    pub offset: u64,
    /// How many blocks the frame touches, or [`Location::MANY`].
    pub blocks: u8,
}

impl Location {
    /// So many blocks that only the frame's header says how many.
    pub const MANY: u8 = 127;

    pub(crate) fn of_frame(segment: SegmentId, offset: u64, len: u64) -> Location {
        debug_assert!(offset >= DATA_START, "no frame lies in the header's block");
        let blocks = (block_ceil(offset + len) - offset / BLOCK * BLOCK) / BLOCK;
        Location { segment, offset, blocks: blocks.min(u64::from(Location::MANY)) as u8 }
    }

    /// The bytes to read first: the whole frame, or the first block or two of a very long one.
    pub(crate) fn first_read_len(&self) -> u32 {
        let header_end = self.offset % BLOCK + crate::frame::HEADER_BYTES as u64;
        match self.blocks {
            Location::MANY => block_ceil(header_end) as u32,
            blocks => u32::from(blocks) * BLOCK as u32,
        }
    }
}

/// The first block of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub group: GroupId,
    pub shard: ShardId,
    pub segment: SegmentId,
    pub segment_bytes: u64,
    pub base: Lsn,
    /// The epoch of the frame before `base` and where it began: a log whose beginning is gone still knows it.
    pub epoch: Epoch,
    pub epoch_start: Lsn,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    crc: U32,
    version: U32,
    group: U128,
    shard: U32,
    segment: U32,
    segment_bytes: U64,
    base: U64,
    epoch: U64,
    epoch_start: U64,
}

/// What a block that should be a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderBlock {
    /// Never used: a prepared segment.
    Blank,
    Valid(SegmentHeader),
    /// Of another format version.
    Version(u32),
    /// Anything else.
    Damaged,
}

impl SegmentHeader {
    /// The header as a block to write.
    pub fn to_block(&self) -> AlignedBlocks {
        let mut block = AlignedBlocks::zeroed(BLOCK as usize);
        let mut raw = RawHeader {
            magic: HEADER_MAGIC,
            crc: U32::ZERO,
            version: U32::new(FORMAT_VERSION),
            group: U128::new(self.group.0),
            shard: U32::new(self.shard.0.into()),
            segment: U32::new(self.segment.0),
            segment_bytes: U64::new(self.segment_bytes),
            base: U64::new(self.base.0),
            epoch: U64::new(self.epoch.0),
            epoch_start: U64::new(self.epoch_start.0),
        };
        raw.crc = U32::new(crc32fast::hash(&raw.as_bytes()[12..]));
        block.as_mut_slice()[..size_of::<RawHeader>()].copy_from_slice(raw.as_bytes());
        block
    }

    /// Reads a header block.
    pub fn from_block(block: &[u8]) -> HeaderBlock {
        let Ok((raw, _)) = RawHeader::ref_from_prefix(block) else { return HeaderBlock::Damaged };
        if raw.magic != HEADER_MAGIC {
            let blank = block.iter().all(|&byte| byte == 0);
            return if blank { HeaderBlock::Blank } else { HeaderBlock::Damaged };
        }
        if raw.crc.get() != crc32fast::hash(&raw.as_bytes()[12..]) {
            return HeaderBlock::Damaged;
        }
        if raw.version.get() != FORMAT_VERSION {
            return HeaderBlock::Version(raw.version.get());
        }
        if !raw.base.get().is_multiple_of(BLOCK) {
            return HeaderBlock::Damaged;
        }
        HeaderBlock::Valid(SegmentHeader {
            group: GroupId(raw.group.get()),
            shard: ShardId(raw.shard.get() as u16),
            segment: SegmentId(raw.segment.get()),
            segment_bytes: raw.segment_bytes.get(),
            base: Lsn(raw.base.get()),
            epoch: Epoch(raw.epoch.get()),
            epoch_start: Lsn(raw.epoch_start.get()),
        })
    }
}

/// One operation of a data frame, as the footer lists it: all that rebuilding the index needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FooterEntry {
    pub hash: U128,
    /// The frame's LSN less the segment's base, in units of 8 bytes.
    pub offset: U32,
    /// The frame's length in units of 8 bytes.
    pub len: U32,
    /// The key's slot.
    pub slot: U32,
    /// 1 for a put, 2 for a delete.
    pub kind: U32,
}

/// Length of one [`FooterEntry`].
pub const FOOTER_ENTRY_BYTES: usize = size_of::<FooterEntry>();

impl FooterEntry {
    /// The frame's distance from the segment's base in bytes.
    pub fn data_offset(&self) -> u64 {
        u64::from(self.offset.get()) * 8
    }

    /// The frame's length in bytes.
    pub fn frame_len(&self) -> u64 {
        u64::from(self.len.get()) * 8
    }

    pub fn is_put(&self) -> bool {
        self.kind.get() == crate::frame::FrameKind::Put as u32
    }
}

/// Bytes that a footer with this many entries takes: whole blocks of entries and the closing block.
pub const fn footer_bytes(entries: usize) -> u64 {
    block_ceil((entries * FOOTER_ENTRY_BYTES) as u64) + BLOCK
}

/// The last block of a sealed segment's file. The entries lie in the blocks before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterEnd {
    pub segment: SegmentId,
    pub base: Lsn,
    /// The end of the seal frame: the base of the next segment.
    pub end: Lsn,
    pub entries: u64,
    /// CRC-32 of the entries' blocks.
    pub entries_crc: u32,
    /// The epochs that begin in this segment.
    pub epochs: Vec<(Epoch, Lsn)>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooterEnd {
    magic: [u8; 8],
    crc: U32,
    entries_crc: U32,
    segment: U32,
    epochs: U32,
    base: U64,
    end: U64,
    entries: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEpoch {
    epoch: U64,
    start: U64,
}

const _: () =
    assert!(size_of::<RawFooterEnd>() + MAX_EPOCHS_PER_SEGMENT * size_of::<RawEpoch>() <= BLOCK as usize);
const _: () = assert!(FOOTER_ENTRY_BYTES == 32);

impl FooterEnd {
    /// The closing block as bytes to write.
    pub fn to_block(&self) -> AlignedBlocks {
        assert!(self.epochs.len() <= MAX_EPOCHS_PER_SEGMENT, "the epochs fit into the block");
        let mut block = AlignedBlocks::zeroed(BLOCK as usize);
        let raw = RawFooterEnd {
            magic: FOOTER_MAGIC,
            crc: U32::ZERO,
            entries_crc: U32::new(self.entries_crc),
            segment: U32::new(self.segment.0),
            epochs: U32::new(self.epochs.len() as u32),
            base: U64::new(self.base.0),
            end: U64::new(self.end.0),
            entries: U64::new(self.entries),
        };
        let bytes = block.as_mut_slice();
        bytes[..size_of::<RawFooterEnd>()].copy_from_slice(raw.as_bytes());
        for (at, &(epoch, start)) in self.epochs.iter().enumerate() {
            let raw = RawEpoch { epoch: U64::new(epoch.0), start: U64::new(start.0) };
            let at = size_of::<RawFooterEnd>() + at * size_of::<RawEpoch>();
            bytes[at..at + size_of::<RawEpoch>()].copy_from_slice(raw.as_bytes());
        }
        let crc = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Where the entries begin in the file of segment `id` with base `base`; `None` if this footer is another
    /// segment's, or does not fit into a file of `segment_bytes` with the data it speaks of.
    pub fn entries_start(&self, id: SegmentId, base: Lsn, segment_bytes: u64) -> Option<u64> {
        let most = segment_bytes / FOOTER_ENTRY_BYTES as u64;
        let aligned = self.end.0.is_multiple_of(BLOCK);
        if self.segment != id || self.base != base || self.end <= base || !aligned || self.entries > most {
            return None;
        }
        let start = segment_bytes.checked_sub(footer_bytes(self.entries as usize))?;
        let data_end = DATA_START + (self.end.0 - base.0);
        (data_end <= start).then_some(start)
    }

    /// Reads a closing block; `None` if it is not one.
    pub fn from_block(block: &[u8]) -> Option<FooterEnd> {
        let (raw, rest) = RawFooterEnd::ref_from_prefix(block).ok()?;
        if raw.magic != FOOTER_MAGIC || raw.crc.get() != crc32fast::hash(&block[12..]) {
            return None;
        }
        let (epochs, _) = <[RawEpoch]>::ref_from_prefix_with_elems(rest, raw.epochs.get() as usize).ok()?;
        Some(FooterEnd {
            segment: SegmentId(raw.segment.get()),
            base: Lsn(raw.base.get()),
            end: Lsn(raw.end.get()),
            entries: raw.entries.get(),
            entries_crc: raw.entries_crc.get(),
            epochs: epochs.iter().map(|raw| (Epoch(raw.epoch.get()), Lsn(raw.start.get()))).collect(),
        })
    }
}

/// What is appended to a segment, in advance of being written: enough to tell whether a further frame fits.
///
/// A segment is sealed when the next frame, a seal after it and the footer for both would not fit. That
/// depends on the log alone, so a leader and its followers make the same files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub segment_bytes: u64,
    /// File offset of the next frame.
    pub offset: u64,
    pub entries: usize,
    pub epochs: usize,
}

impl Fill {
    /// Does a frame of `len` bytes with this many operations fit, and a seal and the footer after it?
    pub fn fits(&self, len: u64, entries: usize, starts_epoch: bool) -> bool {
        let sealed = block_ceil(self.offset + len + crate::frame::HEADER_BYTES as u64);
        sealed + footer_bytes(self.entries + entries) <= self.segment_bytes
            && self.epochs + usize::from(starts_epoch) < MAX_EPOCHS_PER_SEGMENT
    }

    /// Length of a seal or pad frame at this place.
    pub fn filler_len(&self) -> u64 {
        block_ceil(self.offset + crate::frame::HEADER_BYTES as u64) - self.offset
    }
}
