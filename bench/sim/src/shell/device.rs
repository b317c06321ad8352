//! A shard's disk without time: operations are under way until somebody says that they are done.
//!
//! The bytes are the engine's own memory disk. Nothing of an operation is on the disk before it is finished; what
//! is forgotten never was.

use engine::disk::{DiskCommand, DiskDone, DiskError, DiskWork, ReadSpec};
use engine::ids::SegmentId;
use engine::limits::BLOCK;
use engine::shard::Shard;
use engine::testing::{Effect, MemoryDisk};
use std::collections::{BTreeMap, BTreeSet};

/// The error that a device gives.
pub const EIO: i32 = 5;

/// An operation under way: what it does to the disk, by stages.
pub struct Flight {
    pub op: DiskCommand,
    pub stages: Vec<Vec<Effect>>,
    pub fails: bool,
}

/// See the module.
pub struct Device {
    pub memory: MemoryDisk,
    /// Blocks (segment, offset) that cannot be read before they are written again.
    pub unreadable: BTreeSet<(SegmentId, u64)>,
    flights: BTreeMap<u64, Flight>,
    next: u64,
}

impl Device {
    /// A disk that holds this.
    pub fn new(memory: MemoryDisk) -> Device {
        Device { memory, unreadable: BTreeSet::new(), flights: BTreeMap::new(), next: 0 }
    }

    /// Takes an operation, which `fails` in the end or not. Returns its number.
    pub fn submit(&mut self, op: DiskCommand, shard: &Shard, fails: bool) -> u64 {
        let stages = self.memory.stages(&op, shard);
        self.next += 1;
        self.flights.insert(self.next, Flight { op, stages, fails });
        self.next
    }

    /// The operations that have not been answered.
    pub fn under_way(&self) -> Vec<u64> {
        self.flights.keys().copied().collect()
    }

    /// Takes an operation away without doing anything.
    pub fn take(&mut self, flight: u64) -> Option<Flight> {
        self.flights.remove(&flight)
    }

    /// Takes all of them away, oldest first.
    pub fn take_all(&mut self) -> impl Iterator<Item = Flight> + use<> {
        std::mem::take(&mut self.flights).into_values()
    }

    /// The operation is done, or fails and leaves nothing; `None` if there is no such.
    pub fn finish(&mut self, flight: u64) -> Option<DiskDone> {
        let Flight { op, stages, fails } = self.take(flight)?;
        if fails {
            return Some(DiskDone { ticket: op.ticket, result: Err(DiskError::Failed { errno: EIO }) });
        }
        if let DiskWork::WriteBlocks { segment, offset, bytes } = &op.work {
            let written = *offset..*offset + bytes.len() as u64;
            self.unreadable.retain(|(other, at)| other != segment || !written.contains(at));
        }
        Some(self.memory.finish(&op, &stages))
    }

    /// The blocks that a read asks for; `None` if one of them cannot be read.
    pub fn read(&self, spec: ReadSpec) -> Option<Vec<u8>> {
        let mut blocks = (spec.offset..spec.offset + u64::from(spec.len)).step_by(BLOCK as usize);
        let bad = blocks.any(|at| self.unreadable.contains(&(spec.segment, at)));
        (!bad).then(|| self.memory.read_blocks(spec))
    }
}
