//! Copying a large value out of the log buffer in slices.
//!
//! Promises that no call copies more than one piece, and that what [`LargeCopy::finish`] gives was the value's all the
//! time: the place in the log buffer is not held, since a reader must not hold up writers; if it is written over or
//! cut before the copy is through, the copy is given up, and the value is looked for anew (it is on the disk).

use crate::frame::FrameView;
use crate::ids::{Lsn, Revision};
use crate::limits::{LARGE_VALUE_BYTES, READ_PIECE_BYTES};
use crate::memory::AlignedBlocks;
use crate::parts::{Pieces, ValueParts};
use crate::shard::{Shard, View};

/// How far a [`LargeCopy`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyProgress {
    More,
    Whole,
    /// The log buffer no longer holds the value: [`Shard::find`] it again.
    Gone,
}

/// See the head of this file.
pub struct LargeCopy {
    revision: Revision,
    /// Where the frame ends.
    end: Lsn,
    /// Where the value begins.
    from: Lsn,
    len: usize,
    expiry_ms: u64,
    wait: Lsn,
    done: usize,
    pieces: Pieces,
}

impl Shard {
    /// The value that [`Shard::find`] shows under `key`, copied in slices; `None` if it is not in the log buffer, or not
    /// large.
    pub fn large_copy(&self, key: &[u8], view: View) -> Option<LargeCopy> {
        let newest = self.newest(self.hasher.hash(key), view).filter(|newest| newest.put)?;
        if !self.in_buffer(newest.lsn) || newest.lsn >= self.end {
            return None;
        }
        let bytes = self.buffer.bytes(newest.lsn, (self.end.0 - newest.lsn.0) as usize);
        let frame = FrameView::of(bytes)?;
        let operation = frame.find(key).filter(|operation| operation.put)?;
        if operation.value.len() <= LARGE_VALUE_BYTES {
            return None;
        }
        let distance = operation.value.as_ptr() as usize - bytes.as_ptr() as usize;
        Some(LargeCopy {
            revision: frame.revision(),
            end: newest.lsn.advance(frame.len() as u64),
            from: newest.lsn.advance(distance as u64),
            len: operation.value.len(),
            expiry_ms: operation.expiry_ms,
            wait: newest.wait,
            done: 0,
            pieces: Pieces::default(),
        })
    }
}

impl LargeCopy {
    /// The value's length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// When it expires, in ms since the epoch of Unix; 0 for never.
    pub fn expiry_ms(&self) -> u64 {
        self.expiry_ms
    }

    /// What must be committed before a reply may leave (rule 10); `Lsn(0)` if nothing.
    pub fn wait(&self) -> Lsn {
        self.wait
    }

    /// Copies the next piece.
    pub fn step(&mut self, shard: &Shard) -> CopyProgress {
        let Revision { epoch, lsn } = self.revision;
        let still = shard.name_at(lsn).is_some_and(|name| name.epoch == epoch);
        if !still || !shard.in_buffer(lsn) || self.end > shard.tail() {
            return CopyProgress::Gone;
        }
        let len = (self.len - self.done).min(READ_PIECE_BYTES);
        if len > 0 {
            let bytes = shard.buffer.bytes(self.from.advance(self.done as u64), len);
            let mut piece = AlignedBlocks::zeroed(len);
            piece.as_mut_slice()[..len].copy_from_slice(bytes);
            self.pieces.push(piece);
            self.done += len;
        }
        if self.done == self.len { CopyProgress::Whole } else { CopyProgress::More }
    }

    /// The value.
    ///
    /// # Panics
    /// If the copy is not through.
    pub fn finish(self) -> ValueParts {
        assert!(self.done == self.len, "a value is given out whole");
        ValueParts::new(self.pieces, 0, self.len, self.expiry_ms, self.revision)
    }
}
