//! Whole blocks on block boundaries, as direct I/O wants them.

use crate::limits::BLOCK;
use std::fmt;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// One block, aligned to its size.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK as usize]);

/// Zeroed whole blocks whose memory starts on a block boundary.
#[derive(Clone)]
pub struct AlignedBlocks(Box<[Block]>);

impl AlignedBlocks {
    /// `bytes` zero bytes, rounded up to whole blocks.
    pub fn zeroed(bytes: usize) -> AlignedBlocks {
        let blocks = bytes.div_ceil(BLOCK as usize);
        let memory = <[Block]>::new_box_zeroed_with_elems(blocks).expect("blocks fit into memory");
        AlignedBlocks(memory)
    }

    pub fn as_slice(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
    }

    /// Whole length in bytes, a multiple of a block.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for AlignedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBlocks({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_zero() {
        let blocks = AlignedBlocks::zeroed(5000);
        assert_eq!(blocks.len(), 8192);
        assert_eq!(blocks.as_slice().as_ptr() as usize % BLOCK as usize, 0);
        assert!(blocks.as_slice().iter().all(|&byte| byte == 0));
    }
}
