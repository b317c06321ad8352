//! Reading a large value from the disk in pieces, each checked as it comes in.
//!
//! Promises that [`LargeRead::finish`] gives a value only after the checksum of its whole frame held, and that no
//! call looks at more than one piece. The memory that was read into is what the value is made of. Asks for the
//! first piece alone (its header says how long the frame is), then for any number at once. Where the frame lies was
//! known when the read began; what may have become of that place since shows as corruption.

use crate::disk::ReadSpec;
use crate::frame::{self, BATCH_ENTRY_BYTES, BatchEntryHeader, FrameHeader, FrameKind, HEADER_BYTES};
use crate::ids::{Epoch, Lsn, Revision};
use crate::limits::{BLOCK, LARGE_VALUE_BYTES, MAX_KEY_BYTES, READ_PIECE_BYTES, block_ceil, block_floor};
use crate::memory::AlignedBlocks;
use crate::mend::FrameName;
use crate::parts::{Pieces, ValueParts};
use crate::segment::Location;
use crate::shard::Shard;
use thiserror::Error;
use zerocopy::FromBytes;

/// A frame that touches more blocks than this is read in pieces.
const ONE_READ_BLOCKS: u8 = (LARGE_VALUE_BYTES as u64 / BLOCK + 2) as u8;

const _: () = {
    // The first piece holds the header and the key of a single operation, wherever it begins,
    assert!(READ_PIECE_BYTES as u64 >= BLOCK + (HEADER_BYTES + MAX_KEY_BYTES) as u64);
    // and it lies inside of the file even if the length is not known before.
    assert!(READ_PIECE_BYTES as u64 <= Location::MANY as u64 * BLOCK && ONE_READ_BLOCKS < Location::MANY);
};

/// What was read is not the frame that it should be: fetch the value from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the frame is damaged")]
pub struct Corrupt;

/// How far a [`LargeRead`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadProgress {
    /// Pieces are missing; [`LargeRead::next`] may have some to ask for.
    More,
    /// All is there and the checksum holds.
    Whole,
}

/// See the head of this file.
pub struct LargeRead {
    name: FrameName,
    at: Location,
    key: Box<[u8]>,
    most: u64,
    /// Where the frame begins in the first piece.
    skip: usize,
    /// The frame's header, once the first piece is there.
    header: Option<FrameHeader>,
    asked: usize,
    taken: usize,
    checksum: crc32fast::Hasher,
    pieces: Pieces,
    /// Where in the frame the next operation begins that was not looked at.
    next_operation: usize,
    /// The last operation on the key: where in the frame its value lies, how long it is, and when it expires.
    found: Option<(usize, usize, u64)>,
}

impl Shard {
    /// The value of `key`, which [`Shard::find`] said lies at `at` on the disk, read in pieces. `None` if it is to be
    /// read at once.
    pub fn large_read(&self, at: Location, key: &[u8]) -> Option<LargeRead> {
        let name = self.name_of(at).filter(|_| at.blocks > ONE_READ_BLOCKS)?;
        Some(LargeRead {
            name,
            at,
            key: key.into(),
            most: self.options.max_frame().min(self.options.segment_bytes - at.offset),
            skip: (at.offset % BLOCK) as usize,
            header: None,
            asked: 0,
            taken: 0,
            checksum: crc32fast::Hasher::new(),
            pieces: Pieces::default(),
            next_operation: HEADER_BYTES,
            found: None,
        })
    }
}

impl LargeRead {
    /// The place of the frame, as it was asked for.
    pub fn location(&self) -> Location {
        self.at
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The next blocks to be read, if any can be asked for now.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<ReadSpec> {
        let offset = block_floor(self.at.offset) + self.asked as u64;
        let len = self.piece_at(self.asked)?;
        self.asked += len;
        Some(ReadSpec { segment: self.at.segment, offset, len: len as u32 })
    }

    /// Length of the piece that begins so many bytes behind the first block; `None` if there is none, or it is not
    /// known.
    fn piece_at(&self, done: usize) -> Option<usize> {
        match self.blocks_len() {
            Some(all) if done < all => Some((all - done).min(READ_PIECE_BYTES)),
            None if done == 0 => Some(READ_PIECE_BYTES),
            _ => None,
        }
    }

    /// All bytes to be read, once they are known.
    fn blocks_len(&self) -> Option<usize> {
        let by_location =
            (self.at.blocks < Location::MANY).then_some(usize::from(self.at.blocks) * BLOCK as usize);
        by_location.or_else(|| {
            let len = self.header.as_ref()?.len.get();
            Some(block_ceil(self.skip as u64 + u64::from(len)) as usize)
        })
    }

    /// Takes the blocks of the oldest [`LargeRead::next`] that is not answered.
    ///
    /// # Errors
    /// They are not the frame's.
    ///
    /// # Panics
    /// If nothing was asked for, or another length.
    pub fn take(&mut self, piece: AlignedBlocks) -> Result<ReadProgress, Corrupt> {
        assert!(
            self.taken < self.asked && Some(piece.len()) == self.piece_at(self.taken),
            "what was asked for"
        );
        if self.header.is_none() {
            self.header = Some(self.check_header(&piece.as_slice()[self.skip..])?);
        }
        let header = self.header.expect("the first piece holds it");
        // The frame without its first four bytes, as far as it lies in this piece.
        let (begin, end) = (self.skip + 4, self.skip + header.len.get() as usize);
        let from = begin.max(self.taken) - self.taken;
        let to = (end - self.taken).min(piece.len());
        self.checksum.update(&piece.as_slice()[from..to]);
        self.taken += piece.len();
        self.pieces.push(piece);
        self.look_for_key(&header);
        if Some(self.taken) != self.blocks_len() {
            return Ok(ReadProgress::More);
        }
        let holds = self.checksum.clone().finalize() == header.crc.get();
        if holds { Ok(ReadProgress::Whole) } else { Err(Corrupt) }
    }

    fn check_header(&self, bytes: &[u8]) -> Result<FrameHeader, Corrupt> {
        let header = *frame::peek(bytes).ok_or(Corrupt)?;
        let len = u64::from(header.len.get());
        let named = Lsn(header.lsn.get()) == self.name.lsn && Epoch(header.epoch.get()) == self.name.epoch;
        let sound = header.is_sound()
            && len <= self.most
            && Location::of_frame(self.at.segment, self.at.offset, len).blocks == self.at.blocks;
        if named && sound { Ok(header) } else { Err(Corrupt) }
    }

    /// Looks at the operations that have come in whole up to their keys.
    fn look_for_key(&mut self, header: &FrameHeader) {
        let single = match FrameKind::from_byte(header.kind) {
            Some(FrameKind::Put) => true,
            Some(FrameKind::Batch) => return self.look_through_batch(header),
            _ => return,
        };
        let key_len = usize::from(header.key_len.get());
        if single && key_len == self.key.len() && self.pieces.equal(self.skip + HEADER_BYTES, &self.key) {
            let value_len = header.value_len.get() as usize;
            self.found = Some((HEADER_BYTES + key_len, value_len, header.expiry_ms.get()));
        }
    }

    fn look_through_batch(&mut self, header: &FrameHeader) {
        let end = HEADER_BYTES + header.value_len.get() as usize;
        let here = self.taken - self.skip;
        loop {
            let at = self.next_operation;
            if at + BATCH_ENTRY_BYTES > here.min(end) {
                return;
            }
            let mut bytes = [0; BATCH_ENTRY_BYTES];
            self.pieces.copy(self.skip + at, &mut bytes);
            let entry = BatchEntryHeader::ref_from_bytes(&bytes).expect("the length is right");
            let (key_len, value_len) = (usize::from(entry.key_len.get()), entry.value_len.get() as usize);
            let (key_at, value_at) = (at + BATCH_ENTRY_BYTES, at + BATCH_ENTRY_BYTES + key_len);
            if value_at > here || value_at + value_len > end {
                return;
            }
            if key_len == self.key.len() && self.pieces.equal(self.skip + key_at, &self.key) {
                let put = FrameKind::from_byte(entry.kind) == Some(FrameKind::Put);
                self.found = put.then_some((value_at, value_len, entry.expiry_ms.get()));
            }
            self.next_operation = at + frame::batch_entry_len(key_len, value_len);
        }
    }

    /// The value; `None` if the frame's last word about the key is not one.
    ///
    /// # Panics
    /// If not all is there.
    pub fn finish(self) -> Option<ValueParts> {
        assert!(Some(self.taken) == self.blocks_len(), "a value is given out when its frame is whole");
        let revision = Revision { epoch: self.name.epoch, lsn: self.name.lsn };
        let (at, len, expiry_ms) = self.found?;
        Some(ValueParts::new(self.pieces, self.skip + at, len, expiry_ms, revision))
    }
}
