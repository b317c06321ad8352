//! The log buffer: the newest stretch of the log in memory, from which it is written to disk and sent.
//!
//! Promises that a byte between [`LogBuffer::low`] and the end of the log is the log's, and that the rest of
//! the last block is zero when it is written. Knows positions only, no frames.

use crate::ids::Lsn;
use crate::limits::{BLOCK, block_ceil, block_floor};
use crate::memory::MirrorBuffer;

/// A stretch of the log that lies in the log buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferRange {
    pub start: Lsn,
    pub len: usize,
}

impl BufferRange {
    /// The first LSN after the range.
    pub fn end(&self) -> Lsn {
        self.start.advance(self.len as u64)
    }
}

/// The mirrored ring with the two marks that say which log bytes it still holds.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    ring: MirrorBuffer,
    /// Below this, the ring never held the log (it was opened or rewound here).
    first: Lsn,
    /// Everything below `high - capacity` has been overwritten.
    high: Lsn,
}

impl LogBuffer {
    /// A buffer for a log that goes on at `tail`; `block` is the log from the last block boundary to there.
    pub fn new(ring: MirrorBuffer, tail: Lsn, block: &[u8]) -> LogBuffer {
        let mut buffer = LogBuffer { ring, first: tail, high: tail };
        buffer.restart(tail, block);
        buffer
    }

    /// Forgets everything; as [`LogBuffer::new`].
    pub fn restart(&mut self, tail: Lsn, block: &[u8]) {
        assert!(block.len() as u64 >= tail.0 - block_floor(tail.0), "the bytes before the tail come along");
        self.first = Lsn(block_floor(tail.0));
        self.high = self.first;
        self.claim(tail);
        let kept = (tail.0 - self.first.0) as usize;
        self.ring.slice_mut(self.first.0, kept).copy_from_slice(&block[..kept]);
        self.zero_block_rest(tail);
    }

    /// The log now ends at `tail`, which lies in the buffer: what came after is gone.
    pub fn cut(&mut self, tail: Lsn, block: &[u8]) {
        if self.low() > Lsn(block_floor(tail.0)) {
            return self.restart(tail, block);
        }
        self.first = self.low();
        self.high = Lsn(block_ceil(tail.0));
        self.zero_block_rest(tail);
    }

    pub fn ring(&self) -> &MirrorBuffer {
        &self.ring
    }

    pub fn capacity(&self) -> u64 {
        self.ring.capacity() as u64
    }

    /// The lowest LSN whose byte is still here.
    pub fn low(&self) -> Lsn {
        self.first.max(Lsn(self.high.0.saturating_sub(self.capacity())))
    }

    /// Would claiming up to `end` leave the bytes from `keep` on alone?
    pub fn has_room(&self, keep: Lsn, end: Lsn) -> bool {
        block_ceil(end.0) <= block_floor(keep.0) + self.capacity()
    }

    /// Takes the space up to the end of the block of `end`; what lay there a lap ago is gone.
    pub fn claim(&mut self, end: Lsn) {
        self.high = self.high.max(Lsn(block_ceil(end.0)));
    }

    /// Zeroes from `tail` to the end of its block.
    pub fn zero_block_rest(&mut self, tail: Lsn) {
        assert!(block_ceil(tail.0) <= self.high.0, "only claimed space is zeroed");
        let rest = (block_ceil(tail.0) - tail.0) as usize;
        self.ring.slice_mut(tail.0, rest).fill(0);
    }

    /// # Panics
    /// If the marks contradict each other, or the log's `end` is not inside them.
    pub fn check(&self, end: Lsn) {
        assert!(self.first <= self.high && self.high.0.is_multiple_of(BLOCK), "the marks are in order");
        assert!(self.low() <= end && block_ceil(end.0) <= self.high.0, "the log ends in the buffer");
        assert!(self.high.0 - self.low().0 <= self.capacity(), "no byte is there twice");
    }

    pub fn bytes(&self, start: Lsn, len: usize) -> &[u8] {
        self.assert_held(start, len);
        self.ring.slice(start.0, len)
    }

    fn assert_held(&self, start: Lsn, len: usize) {
        assert!(start >= self.low(), "bytes at {start} are no longer in the buffer");
        assert!(start.0 + len as u64 <= self.high.0, "{len} bytes at {start} are not in the buffer yet");
    }

    pub fn bytes_mut(&mut self, start: Lsn, len: usize) -> &mut [u8] {
        self.assert_held(start, len);
        self.ring.slice_mut(start.0, len)
    }
}
