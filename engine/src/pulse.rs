//! The pulse: a running shard's small, unsynced note of how far it surely was (rule 12).
//!
//! What it says was true when it was written, so recovery may take it as a lower bound; it may be old or
//! missing.

use crate::ids::{Epoch, Lsn};
use crate::limits::BLOCK;
use crate::memory::AlignedBlocks;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"BatonPLS";

/// The contents of the file `pulse`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    pub epoch: Epoch,
    pub durable: Lsn,
    pub committed: Lsn,
    /// The shard was found damaged and is not whole before its log reaches this; 0 if it is whole.
    pub repair_until: Lsn,
    /// The epoch of an LSN of the lost log at or beyond that; 0 if it is whole, or if that is not known.
    pub repair_epoch: Epoch,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    crc: U32,
    reserved: U32,
    epoch: U64,
    durable: U64,
    committed: U64,
    repair_until: U64,
    repair_epoch: U64,
}

/// What the checksum covers begins here.
const CHECKED_FROM: usize = 12;
/// Length of a note without the last field, as earlier versions wrote it.
const OLDER_BYTES: usize = size_of::<Raw>() - 8;

impl Pulse {
    /// The note as a block to write. All of it lies in one sector.
    pub fn to_block(&self) -> AlignedBlocks {
        let mut raw = Raw {
            magic: MAGIC,
            crc: U32::ZERO,
            reserved: U32::ZERO,
            epoch: U64::new(self.epoch.0),
            durable: U64::new(self.durable.0),
            committed: U64::new(self.committed.0),
            repair_until: U64::new(self.repair_until.0),
            repair_epoch: U64::new(self.repair_epoch.0),
        };
        raw.crc = U32::new(crc32fast::hash(&raw.as_bytes()[CHECKED_FROM..]));
        let mut block = AlignedBlocks::zeroed(BLOCK as usize);
        block.as_mut_slice()[..size_of::<Raw>()].copy_from_slice(raw.as_bytes());
        block
    }

    /// Reads the note; `None` if there is none.
    pub fn from_block(block: &[u8]) -> Option<Pulse> {
        let (raw, _) = Raw::ref_from_prefix(block).ok()?;
        let sums = |len: usize| raw.crc.get() == crc32fast::hash(&raw.as_bytes()[CHECKED_FROM..len]);
        let older = raw.repair_epoch.get() == 0 && sums(OLDER_BYTES);
        let good = raw.magic == MAGIC && (older || sums(size_of::<Raw>()));
        good.then(|| Pulse {
            epoch: Epoch(raw.epoch.get()),
            durable: Lsn(raw.durable.get()),
            committed: Lsn(raw.committed.get()),
            repair_until: Lsn(raw.repair_until.get()),
            repair_epoch: Epoch(raw.repair_epoch.get()),
        })
    }
}
