//! The superblock: what a data directory is. Two checksummed copies in two blocks, so that one torn write
//! leaves one whole copy.

use crate::ids::{DiskId, GroupId};
use crate::limits::BLOCK;
use crate::memory::AlignedBlocks;
use crate::segment::FORMAT_VERSION;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"BatonSUP";
/// The longest node name in bytes.
pub const MAX_NODE_NAME_BYTES: usize = 64;

/// The contents of the file `superblock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub group: GroupId,
    pub disk: DiskId,
    pub node_name: String,
    pub shards: u16,
    pub segment_bytes: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    crc: U32,
    version: U32,
    group: U128,
    disk: U128,
    segment_bytes: U64,
    shards: U16,
    name_len: U16,
    reserved: U32,
    name: [u8; MAX_NODE_NAME_BYTES],
}

/// What the bytes of a superblock are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuperblockBytes {
    Valid(Superblock),
    /// Of another format version.
    Version(u32),
    /// Neither copy is whole.
    Damaged,
}

impl Superblock {
    /// Both copies.
    pub fn to_blocks(&self) -> AlignedBlocks {
        assert!(self.node_name.len() <= MAX_NODE_NAME_BYTES, "the name was checked when it was given");
        let mut raw = Raw {
            magic: MAGIC,
            crc: U32::ZERO,
            version: U32::new(FORMAT_VERSION),
            group: U128::new(self.group.0),
            disk: U128::new(self.disk.0),
            segment_bytes: U64::new(self.segment_bytes),
            shards: U16::new(self.shards),
            name_len: U16::new(self.node_name.len() as u16),
            reserved: U32::ZERO,
            name: [0; MAX_NODE_NAME_BYTES],
        };
        raw.name[..self.node_name.len()].copy_from_slice(self.node_name.as_bytes());
        raw.crc = U32::new(crc32fast::hash(&raw.as_bytes()[12..]));
        let mut blocks = AlignedBlocks::zeroed(2 * BLOCK as usize);
        for copy in blocks.as_mut_slice().chunks_exact_mut(BLOCK as usize) {
            copy[..size_of::<Raw>()].copy_from_slice(raw.as_bytes());
        }
        blocks
    }

    /// The first whole copy.
    pub fn from_blocks(bytes: &[u8]) -> SuperblockBytes {
        let mut other = SuperblockBytes::Damaged;
        for copy in bytes.chunks(BLOCK as usize) {
            let Ok((raw, _)) = Raw::ref_from_prefix(copy) else { continue };
            if raw.magic != MAGIC || raw.crc.get() != crc32fast::hash(&raw.as_bytes()[12..]) {
                continue;
            }
            if raw.version.get() != FORMAT_VERSION {
                other = SuperblockBytes::Version(raw.version.get());
                continue;
            }
            let name = raw.name.get(..raw.name_len.get() as usize).map(|name| String::from_utf8_lossy(name));
            return SuperblockBytes::Valid(Superblock {
                group: GroupId(raw.group.get()),
                disk: DiskId(raw.disk.get()),
                node_name: name.unwrap_or_default().into_owned(),
                shards: raw.shards.get(),
                segment_bytes: raw.segment_bytes.get(),
            });
        }
        other
    }
}
