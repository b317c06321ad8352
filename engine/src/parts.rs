//! A large value in pieces of memory: as it was read or copied, and as it is sent. It is never joined.

use crate::ids::Revision;
use crate::limits::READ_PIECE_BYTES;
use crate::memory::AlignedBlocks;
use std::fmt;

/// Pieces of memory that belong together. All but the last hold [`READ_PIECE_BYTES`].
#[derive(Default)]
pub(crate) struct Pieces(Vec<AlignedBlocks>);

impl Pieces {
    pub fn push(&mut self, piece: AlignedBlocks) {
        assert!(self.0.last().is_none_or(|last| last.len() == READ_PIECE_BYTES), "the last alone is shorter");
        assert!(!piece.is_empty() && piece.len() <= READ_PIECE_BYTES, "a piece has its bounds");
        self.0.push(piece);
    }

    /// What of the bytes from `at` on lies in one piece.
    fn from(&self, at: usize) -> &[u8] {
        let piece = self.0.get(at / READ_PIECE_BYTES).map_or(&[][..], AlignedBlocks::as_slice);
        piece.get(at % READ_PIECE_BYTES..).unwrap_or(&[])
    }

    /// Fills `out` with the bytes from `at` on, which must be there.
    pub fn copy(&self, mut at: usize, mut out: &mut [u8]) {
        while !out.is_empty() {
            let bytes = self.from(at);
            let len = bytes.len().min(out.len());
            assert!(len > 0, "only what has come is looked at");
            out[..len].copy_from_slice(&bytes[..len]);
            out = &mut out[len..];
            at += len;
        }
    }

    /// Are the bytes from `at` on `expected`? They must be there.
    pub fn equal(&self, mut at: usize, mut expected: &[u8]) -> bool {
        while !expected.is_empty() {
            let bytes = self.from(at);
            let len = bytes.len().min(expected.len());
            assert!(len > 0, "only what has come is looked at");
            if bytes[..len] != expected[..len] {
                return false;
            }
            expected = &expected[len..];
            at += len;
        }
        true
    }
}

/// A value, and what is said of it. The pieces may hold other bytes before and behind it.
pub struct ValueParts {
    pieces: Vec<AlignedBlocks>,
    /// Where the value begins in the first piece.
    skip: usize,
    len: usize,
    expiry_ms: u64,
    revision: Revision,
}

impl ValueParts {
    /// The `len` bytes from `at` on; pieces that hold none of them are given up.
    pub(crate) fn new(
        pieces: Pieces,
        at: usize,
        len: usize,
        expiry_ms: u64,
        revision: Revision,
    ) -> ValueParts {
        let mut pieces = pieces.0;
        pieces.truncate((at + len).div_ceil(READ_PIECE_BYTES));
        pieces.drain(..(at / READ_PIECE_BYTES).min(pieces.len()));
        let parts = ValueParts { pieces, skip: at % READ_PIECE_BYTES, len, expiry_ms, revision };
        assert!(parts.slices().map(<[u8]>::len).sum::<usize>() == len, "the pieces hold the value");
        parts
    }

    /// The value's length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// When it expires, in ms since the epoch of Unix; 0 for never.
    pub fn expiry_ms(&self) -> u64 {
        self.expiry_ms
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The memory that it holds.
    pub fn memory_bytes(&self) -> usize {
        self.pieces.iter().map(AlignedBlocks::len).sum()
    }

    /// The value's bytes, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.skip;
        self.pieces.iter().enumerate().map(move |(number, piece)| {
            let begin = if number == 0 { first } else { 0 };
            let end = (first + self.len).saturating_sub(number * READ_PIECE_BYTES).min(piece.len());
            &piece.as_slice()[begin.min(end)..end]
        })
    }

    /// What of the value from `from` on lies in one place; nothing at its end.
    pub fn at(&self, from: usize) -> &[u8] {
        let at = self.skip + from;
        match self.slices().nth(at / READ_PIECE_BYTES) {
            Some(slice) if at < READ_PIECE_BYTES => &slice[from.min(slice.len())..],
            Some(slice) => &slice[(at % READ_PIECE_BYTES).min(slice.len())..],
            None => &[],
        }
    }
}

impl fmt::Debug for ValueParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueParts({} bytes of {:?})", self.len, self.revision)
    }
}
