//! Whole blocks on block boundaries, as direct I/O wants them.

use crate::limits::BLOCK;
use crate::memory::mapping::Mapping;
use std::fmt;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// From this size on blocks are a mapping of their own: the kernel clears its pages when they are first
/// touched, and not all of them here, before the caller may go on.
pub const MAPPED_FROM: usize = 512 << 10;

/// One block, aligned to its size.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK as usize]);

/// Zeroed whole blocks whose memory starts on a block boundary.
#[derive(Clone)]
pub struct AlignedBlocks(Memory);

#[derive(Clone)]
enum Memory {
    Heap(Box<[Block]>),
    Mapped(Mapping),
}

impl AlignedBlocks {
    /// `bytes` zero bytes, rounded up to whole blocks.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn zeroed(bytes: usize) -> AlignedBlocks {
        let blocks = bytes.div_ceil(BLOCK as usize);
        AlignedBlocks(match bytes < MAPPED_FROM {
            true => {
                Memory::Heap(<[Block]>::new_box_zeroed_with_elems(blocks).expect("blocks fit into memory"))
            }
            false => Memory::Mapped(Mapping::zeroed(blocks * BLOCK as usize)),
        })
    }

    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Memory::Heap(blocks) => blocks.as_bytes(),
            Memory::Mapped(mapping) => mapping.as_slice(),
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Heap(blocks) => blocks.as_mut_bytes(),
            Memory::Mapped(mapping) => mapping.as_mut_slice(),
        }
    }

    /// Whole length in bytes, a multiple of a block.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
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
        for (bytes, whole) in
            [(5000, 8192), (MAPPED_FROM - 1, MAPPED_FROM), (MAPPED_FROM + 1, MAPPED_FROM + 4096)]
        {
            let mut blocks = AlignedBlocks::zeroed(bytes);
            assert_eq!(blocks.len(), whole);
            assert_eq!(blocks.as_slice().as_ptr() as usize % BLOCK as usize, 0);
            assert!(blocks.as_slice().iter().all(|&byte| byte == 0));
            blocks.as_mut_slice()[whole - 1] = 7;
            let copy = blocks.clone();
            blocks.as_mut_slice()[whole - 1] = 8;
            assert_eq!((copy.as_slice()[0], copy.as_slice()[whole - 1]), (0, 7));
        }
    }
}
