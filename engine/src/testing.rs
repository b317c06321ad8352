//! A disk in memory for tests and the simulator: carries out a shard's operations, wholly or, as a crash
//! leaves them, in part.
//!
//! An operation is a list of stages, each durable before the next; a stage is a set of effects, any of which a
//! crash may keep or lose. Writes fall into sectors: a sector is written or not, never half.

pub mod meter;

use crate::disk::{DiskCommand, DiskDone, DiskError, DiskWork, LogStorage, ReadSpec};
use crate::ids::{Lsn, SegmentId};
use crate::limits::{BLOCK, block_floor};
use crate::memory::AlignedBlocks;
use crate::shard::Shard;
use std::collections::BTreeMap;

/// What a crash leaves whole.
pub const SECTOR: usize = 512;
/// What a cut zeroes at once.
const CUT_CHUNK_BYTES: u64 = 64 << 10;

/// One indivisible change of the disk.
#[derive(Clone, Debug)]
pub enum Effect {
    Write { segment: SegmentId, offset: u64, bytes: Vec<u8> },
    Pulse { bytes: Vec<u8> },
    Create { segment: SegmentId },
    Remove { segment: SegmentId },
    Rewound(RewoundBytes),
}

/// What a rewind saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewoundBytes {
    pub from: Lsn,
    pub to: Lsn,
    pub wall_ms: u64,
    pub bytes: Vec<u8>,
}

/// The files of one shard.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    segment_bytes: u64,
    /// The segment files that may exist; a further one does not fit.
    pub max_segments: usize,
    files: BTreeMap<SegmentId, Vec<u8>>,
    pulse: Option<Vec<u8>>,
    rewound: Vec<RewoundBytes>,
}

fn sectors(segment: SegmentId, offset: u64, bytes: &[u8]) -> Vec<Effect> {
    let at = (0u64..).step_by(SECTOR);
    at.zip(bytes.chunks(SECTOR))
        .map(|(at, bytes)| Effect::Write { segment, offset: offset + at, bytes: bytes.to_vec() })
        .collect()
}

impl MemoryDisk {
    pub fn new(segment_bytes: u64) -> MemoryDisk {
        MemoryDisk {
            segment_bytes,
            max_segments: usize::MAX,
            files: BTreeMap::new(),
            pulse: None,
            rewound: Vec::new(),
        }
    }

    /// What rewinds have saved, oldest first.
    pub fn rewound(&self) -> &[RewoundBytes] {
        &self.rewound
    }

    /// The bytes of a segment file, for damaging them.
    pub fn file_mut(&mut self, segment: SegmentId) -> Option<&mut Vec<u8>> {
        self.files.get_mut(&segment)
    }

    /// The bytes of all segment files.
    pub fn files(&self) -> impl Iterator<Item = (SegmentId, &[u8])> {
        self.files.iter().map(|(&id, bytes)| (id, bytes.as_slice()))
    }

    /// Forgets the pulse, as if the machine had lost its power before it reached the device.
    pub fn lose_pulse(&mut self) {
        self.pulse = None;
    }

    /// What the operation does, in stages, with the log buffer's bytes as they are now.
    pub fn stages(&self, command: &DiskCommand, shard: &Shard) -> Vec<Vec<Effect>> {
        match &command.work {
            DiskWork::WriteLog { segment, offset, range } => {
                vec![sectors(*segment, *offset, shard.bytes(*range))]
            }
            DiskWork::WriteBlocks { segment, offset, bytes } => {
                vec![sectors(*segment, *offset, bytes.as_slice())]
            }
            DiskWork::Pulse { bytes } => vec![vec![Effect::Pulse { bytes: bytes.as_slice().to_vec() }]],
            DiskWork::PrepareSegment { segment } => vec![vec![Effect::Create { segment: *segment }]],
            DiskWork::SaveRewound { from, to, pieces, wall_ms } => {
                let read = |&(segment, offset, len): &(SegmentId, u64, u64)| {
                    self.files[&segment][offset as usize..(offset + len) as usize].to_vec()
                };
                let bytes = pieces.iter().flat_map(read).collect();
                vec![vec![Effect::Rewound(RewoundBytes { from: *from, to: *to, wall_ms: *wall_ms, bytes })]]
            }
            DiskWork::Cut { segment, offset, remove, pulse, .. } => {
                let mut stages = vec![vec![Effect::Pulse { bytes: pulse.as_slice().to_vec() }]];
                stages.extend(remove.iter().map(|&segment| vec![Effect::Remove { segment }]));
                let mut end = self.segment_bytes - BLOCK;
                stages.push(sectors(*segment, end, &[0; BLOCK as usize]));
                while end > *offset {
                    let start = end.saturating_sub(CUT_CHUNK_BYTES).max(*offset);
                    let first = start / SECTOR as u64 * SECTOR as u64;
                    let mut bytes = self.files[segment][first as usize..end as usize].to_vec();
                    bytes[(start - first) as usize..].fill(0);
                    stages.push(sectors(*segment, first, &bytes));
                    end = start;
                }
                stages
            }
        }
    }

    /// Makes one change. Writes to a file that is gone are lost, as they are to a removed file.
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Write { segment, offset, bytes } => {
                if let Some(file) = self.files.get_mut(segment) {
                    file[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
                }
            }
            Effect::Pulse { bytes } => self.pulse = Some(bytes.clone()),
            Effect::Create { segment } => {
                self.files.insert(*segment, vec![0; self.segment_bytes as usize]);
            }
            Effect::Remove { segment } => {
                self.files.remove(segment);
            }
            Effect::Rewound(saved) => self.rewound.push(saved.clone()),
        }
    }

    /// Carries out the whole operation.
    pub fn run(&mut self, command: &DiskCommand, shard: &Shard) -> DiskDone {
        let stages = self.stages(command, shard);
        self.finish(command, &stages)
    }

    /// Carries out the stages of an operation that were taken earlier.
    pub fn finish(&mut self, command: &DiskCommand, stages: &[Vec<Effect>]) -> DiskDone {
        let creates = matches!(command.work, DiskWork::PrepareSegment { .. });
        if creates && self.files.len() >= self.max_segments {
            return DiskDone { ticket: command.ticket, result: Err(DiskError::NoSpace) };
        }
        stages.iter().flatten().for_each(|effect| self.apply(effect));
        if let DiskWork::Cut { segment, offset, kept, .. } = &command.work
            && !offset.is_multiple_of(BLOCK)
        {
            let start = block_floor(*offset) as usize;
            let mut block = AlignedBlocks::zeroed(BLOCK as usize);
            block.as_mut_slice().copy_from_slice(&self.files[segment][start..start + BLOCK as usize]);
            kept.put(block);
        }
        DiskDone { ticket: command.ticket, result: Ok(()) }
    }

    /// The blocks that a read asks for.
    pub fn read_blocks(&self, spec: ReadSpec) -> Vec<u8> {
        self.files[&spec.segment][spec.offset as usize..][..spec.len as usize].to_vec()
    }
}

impl LogStorage for MemoryDisk {
    fn segments(&self) -> Result<Vec<SegmentId>, DiskError> {
        Ok(self.files.keys().copied().collect())
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        into.copy_from_slice(&self.files[&segment][offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn pulse(&self) -> Result<Option<AlignedBlocks>, DiskError> {
        Ok(self.pulse.as_ref().map(|bytes| {
            let mut block = AlignedBlocks::zeroed(bytes.len());
            block.as_mut_slice().copy_from_slice(bytes);
            block
        }))
    }
}
