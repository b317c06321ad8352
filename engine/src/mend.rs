//! Damaged frames: what one is called on every node, what a peer's blocks must hold to replace it, and
//! writing it back to its place.
//!
//! An epoch has one writer (rule 18), so an epoch and an LSN name the same bytes wherever they are found.
//! Promises that only blocks that are wholly committed and durable are written: no log write and no rewind ever
//! touches those, and since every byte written is the one that belongs there, a crash in between leaves each
//! sector as it was or as it should be. Asks nobody: fetching is the node's business.

use crate::disk::{DiskCommand, ReadSpec};
use crate::frame::{self, FrameView, HEADER_BYTES};
use crate::ids::{Epoch, Lsn};
use crate::limits::{BLOCK, FRAME_ALIGN, block_ceil, block_floor};
use crate::memory::AlignedBlocks;
use crate::rewrite::Rewrite;
use crate::segment::Location;
use crate::shard::Shard;
use crate::validate::check_frame;

/// One frame of the log, as every node that holds it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameName {
    pub lsn: Lsn,
    pub epoch: Epoch,
    /// How many blocks it touches, [`Location::MANY`] for that many and more; 0 if that is not known.
    pub blocks: u8,
}

/// What blocks that should hold a frame do hold.
#[derive(Clone, Copy)]
pub enum Examined<'b> {
    Whole(FrameView<'b>),
    /// The frame is longer than what was read: read this (it begins at the same place), then look again.
    More(ReadSpec),
    Damaged,
}

/// What became of [`Shard::mend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// The write is due; [`Shard::mending`] until it is durable.
    Writing,
    /// The frame on this disk is whole (again): there is nothing to write.
    Sound,
    /// Its blocks may not be written yet.
    TooEarly,
}

impl Shard {
    /// The name of the frame at `at`; `None` if no log is there.
    pub fn name_of(&self, at: Location) -> Option<FrameName> {
        let name = self.name_at(self.segments.lsn_of(at)?)?;
        Some(FrameName { blocks: at.blocks, ..name })
    }

    /// The name of the frame at `lsn`, whose length is not known; `None` if the log does not reach it.
    pub fn name_at(&self, lsn: Lsn) -> Option<FrameName> {
        let (epoch, _) = self.history.epoch_at(lsn).filter(|_| lsn < self.end)?;
        Some(FrameName { lsn, epoch, blocks: 0 })
    }

    /// Where to read the frame of this name first; `None` if this log holds another epoch there, or nothing
    /// durable.
    pub fn place_of(&self, name: FrameName) -> Option<ReadSpec> {
        let at = self.locate(name)?;
        let known = self.name_at(name.lsn).is_some_and(|own| own.epoch == name.epoch);
        let len = at.first_read_len();
        let offset = block_floor(at.offset);
        let fits = offset + u64::from(len) <= self.options.segment_bytes;
        (known && fits && name.lsn < self.durable()).then_some(ReadSpec { segment: at.segment, offset, len })
    }

    fn locate(&self, name: FrameName) -> Option<Location> {
        let segment = &self.segments.live[self.segments.index_at(name.lsn)];
        let inside = name.lsn >= segment.base && segment.end.is_none_or(|end| name.lsn < end);
        if !inside || !name.lsn.0.is_multiple_of(FRAME_ALIGN) || name.blocks > Location::MANY {
            return None;
        }
        let blocks = if name.blocks == 0 { Location::MANY } else { name.blocks };
        Some(Location { segment: segment.id, offset: segment.offset_of(name.lsn), blocks })
    }

    /// Looks at `bytes`, blocks that begin with the one in which the frame begins.
    pub fn examine<'b>(&self, name: FrameName, bytes: &'b [u8]) -> Examined<'b> {
        let (Some(at), skip) = (self.locate(name), (name.lsn.0 % BLOCK) as usize) else {
            return Examined::Damaged;
        };
        let Some(rest) = bytes.get(skip..).filter(|rest| rest.len() >= HEADER_BYTES) else {
            return Examined::Damaged;
        };
        let header = frame::peek(rest).expect("the length was checked");
        let len = u64::from(header.len.get());
        let blocks = Location::of_frame(at.segment, at.offset, len).blocks;
        let named = header.lsn.get() == name.lsn.0 && header.epoch.get() == name.epoch.0;
        if !named || (name.blocks != 0 && name.blocks != blocks) {
            return Examined::Damaged;
        }
        if len as usize > rest.len() {
            let fits = len <= self.options.max_frame() && at.offset + len <= self.options.segment_bytes;
            let offset = block_floor(at.offset);
            let len = (block_ceil(at.offset + len) - offset) as u32;
            return if fits {
                Examined::More(ReadSpec { segment: at.segment, offset, len })
            } else {
                Examined::Damaged
            };
        }
        match FrameView::of(rest).filter(FrameView::intact) {
            Some(frame) => Examined::Whole(frame),
            None => Examined::Damaged,
        }
    }

    /// Length of the longest prefix of `bytes` that consists of sound frames in their place, where the first
    /// should be the one at `from`.
    pub fn sound_frames(&self, from: Lsn, bytes: &[u8]) -> usize {
        let Some(mut last) = self.name_at(from).map(|name| name.epoch) else { return 0 };
        let mut at = 0;
        while let Ok(frame) =
            check_frame(&bytes[at..], from.advance(at as u64), last, self.history.last_epoch())
        {
            last = Epoch(frame.header().epoch.get());
            at += frame.len();
        }
        at
    }

    /// Puts the frame of this name back to its place. `theirs` are the blocks that hold it on a node which has
    /// committed everything below `their_committed`; `ours` are the same blocks as this disk has them, `None`
    /// if it cannot read them. Besides the frame's bytes those of this disk are kept, as far as there are any.
    ///
    /// # Panics
    /// If another frame is [being mended](Shard::mending).
    pub fn mend(
        &mut self,
        name: FrameName,
        theirs: &[u8],
        ours: Option<&[u8]>,
        their_committed: Lsn,
    ) -> Mend {
        assert!(self.mending.is_none(), "one frame is mended at a time");
        if ours.is_some_and(|ours| matches!(self.examine(name, ours), Examined::Whole(_))) {
            return Mend::Sound;
        }
        let (Some(at), Examined::Whole(frame)) = (self.locate(name), self.examine(name, theirs)) else {
            return Mend::TooEarly;
        };
        let start = Lsn(block_floor(name.lsn.0));
        let end = Lsn(block_ceil(name.lsn.0 + frame.len() as u64));
        let (skip, len) = ((name.lsn.0 - start.0) as usize, (end.0 - start.0) as usize);
        let settled = self.committed.min(self.durable());
        let around = ours.or((end <= their_committed).then_some(theirs)).filter(|bytes| bytes.len() >= len);
        let Some(around) = around.filter(|_| end <= settled) else { return Mend::TooEarly };
        let mut blocks = around[..len].to_vec();
        blocks[skip..skip + frame.len()].copy_from_slice(&theirs[skip..skip + frame.len()]);
        // Only what differs is written: blocks that are well are left alone.
        let differs = |at: &usize| {
            ours.is_none_or(|ours| ours[*at..*at + BLOCK as usize] != blocks[*at..*at + BLOCK as usize])
        };
        let mut bad = (0..len).step_by(BLOCK as usize).filter(differs);
        let Some(first) = bad.next() else { return Mend::Sound };
        let last = bad.next_back().unwrap_or(first);
        let mut bytes = AlignedBlocks::zeroed(last + BLOCK as usize - first);
        bytes.as_mut_slice().copy_from_slice(&blocks[first..last + BLOCK as usize]);
        let offset = block_floor(at.offset) + first as u64;
        assert!(end <= self.committed.min(self.durable()), "only what no write will touch is rewritten");
        self.mending = Some(Rewrite::new(at.segment, offset, bytes));
        Mend::Writing
    }

    /// Is a frame being written back?
    pub fn mending(&self) -> bool {
        self.mending.is_some()
    }

    pub(crate) fn poll_mend(&mut self) -> Option<DiskCommand> {
        let rewrite = self.mending.as_mut().filter(|rewrite| rewrite.due())?;
        Some(rewrite.command(self.flights.ticket()))
    }
}
