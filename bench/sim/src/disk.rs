//! A shard's disk under the simulator: operations take time, may fail or hang, and a crash leaves any part of
//! what was on its way.
//!
//! Promises that what was reported done is on the disk, unless a fault says otherwise: a write may be lost or
//! land elsewhere, a read may fail. The bytes are the engine's own memory
//! disk.

use crate::mutants::{Mutant, lacks};
use crate::random::Dice;
use crate::shell::device::{Device, EIO, Flight};
use engine::disk::LogStorage;
use engine::disk::{DiskCommand, DiskDone, DiskError, DiskWork, ReadSpec};
use engine::ids::SegmentId;
use engine::limits::BLOCK;
use engine::memory::AlignedBlocks;
use engine::pulse::Pulse;
use engine::segment::{DATA_START, HeaderBlock, SegmentHeader};
use engine::shard::Shard;
use engine::testing::{Effect, MemoryDisk};
use std::cell::Cell;
use std::collections::VecDeque;

const HOT_LEAST: u64 = 15_000;
const HOT_SPREAD: u64 = 60_000;
const COLD_LEAST: u64 = 300_000;
const COLD_SPREAD: u64 = 3_000_000;
/// What a hung operation takes: longer than any run.
const FOR_EVER: u64 = u64::MAX / 4;
/// A read is never held longer.
const READ_STALL_MOST: u64 = 2_000_000_000;
/// Writes a lying disk keeps to itself.
const LIES_MOST: usize = 8;
/// A misdirected write lands at least this many blocks behind its place.
const MISDIRECTED_BLOCKS: u64 = 8;
/// What may still be written to a segment, in bytes, before a node whose write was harmed is dead.
const SEALS_WITHIN: u64 = 96 << 10;
/// A recovery fails with a hundred times the chance of one read, at one of its first reads.
const RECOVERY_ERROR_ODDS: u64 = 10_000;
const RECOVERY_READS: u64 = 8;

/// What becomes of one log write that is reported as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing of it is on the device.
    Lost,
    /// It is on the device in another place of the same file.
    Misdirected,
}

/// A disk as it once was.
#[derive(Clone)]
pub struct Snapshot {
    memory: MemoryDisk,
    synced_pulse: Option<Vec<u8>>,
}

/// A disk as recovery reads it: one of its reads may fail.
pub struct Opened<'a> {
    memory: &'a MemoryDisk,
    /// The read that fails, counted down; 0: none.
    fails_in: Cell<u64>,
}

/// One shard's disk.
pub struct SimDisk {
    pub device: Device,
    /// Operations submitted before this time take until then.
    pub stalled_until: u64,
    /// Chance in a million that a write fails, and that a read does.
    pub write_errors_ppm: u64,
    pub read_errors_ppm: u64,
    /// What becomes of the next log write, and whether it has become of one.
    pub harm: Option<Harm>,
    pub harmed: bool,
    /// It may hold what no log of its time would.
    pub strange: bool,
    /// Reported as done, but not yet on the device: the operations, oldest first.
    unwritten: VecDeque<Vec<Vec<Effect>>>,
    /// What a dead process had under way and is not on the device yet, and until when.
    late: Vec<Effect>,
    pub late_until: u64,
    /// The newest pulse that is surely on the device: only a cut syncs it.
    synced_pulse: Option<Vec<u8>>,
}

impl SimDisk {
    pub fn new(segment_bytes: u64) -> SimDisk {
        SimDisk {
            device: Device::new(MemoryDisk::new(segment_bytes)),
            stalled_until: 0,
            write_errors_ppm: 0,
            read_errors_ppm: 0,
            harm: None,
            harmed: false,
            strange: false,
            unwritten: VecDeque::new(),
            late: Vec::new(),
            late_until: 0,
            synced_pulse: None,
        }
    }

    /// Takes an operation. Returns its number and when it will be done.
    pub fn submit(&mut self, op: DiskCommand, shard: &Shard, now: u64, dice: &mut Dice) -> (u64, u64) {
        let takes = if op.work.is_cold() {
            COLD_LEAST + dice.below(COLD_SPREAD)
        } else {
            HOT_LEAST + dice.below(HOT_SPREAD)
        };
        let fails = dice.below(1_000_000) < self.write_errors_ppm;
        let flight = self.device.submit(op, shard, fails);
        (flight, now.max(self.stalled_until).saturating_add(takes).min(FOR_EVER))
    }

    /// Hangs whatever is submitted from now on.
    pub fn hang(&mut self) {
        self.stalled_until = FOR_EVER;
    }

    /// Whether whatever is submitted hangs.
    pub fn hangs(&self) -> bool {
        self.stalled_until == FOR_EVER
    }

    /// It hangs no more.
    pub fn heal(&mut self) {
        self.stalled_until = 0;
    }

    /// Whether no failure is set.
    pub fn works(&self, now: u64) -> bool {
        let errors = self.write_errors_ppm + self.read_errors_ppm;
        self.stalled_until <= now && errors == 0 && self.device.memory.max_segments == usize::MAX
    }

    /// It works from now on, unless it hangs: that is for the warden to notice.
    pub fn make_peace(&mut self) {
        if !self.hangs() {
            self.stalled_until = 0;
        }
        self.write_errors_ppm = 0;
        self.read_errors_ppm = 0;
        self.device.memory.max_segments = usize::MAX;
        self.harm = None;
    }

    /// When a read submitted now is done.
    pub fn read_done_at(&self, now: u64, dice: &mut Dice) -> u64 {
        let stall = self.stalled_until.min(now + READ_STALL_MOST);
        now.max(stall) + HOT_LEAST + dice.below(HOT_SPREAD)
    }

    /// The operations that have not been answered.
    pub fn under_way(&self) -> Vec<u64> {
        self.device.under_way()
    }

    /// The operation is over.
    pub fn finish(&mut self, flight: u64, dice: &mut Dice) -> Option<DiskDone> {
        let Flight { op, stages, fails } = self.device.take(flight)?;
        if lacks(Mutant::IgnoresFailedWrites) && fails {
            self.apply_part(&op, &stages, dice);
            return Some(DiskDone { ticket: op.ticket, result: Ok(()) });
        }
        if lacks(Mutant::DiskLies) && matches!(op.work, DiskWork::WriteLog { .. }) {
            self.unwritten.push_back(stages);
            if self.unwritten.len() > LIES_MOST {
                self.write_oldest();
            }
            return Some(DiskDone { ticket: op.ticket, result: Ok(()) });
        }
        while self.write_oldest() {}
        if let (Some(harm), DiskWork::WriteLog { segment, offset, range }) = (self.harm, &op.work)
            && self.stays_open(*segment, offset + range.len as u64)
        {
            self.harm = None;
            self.harmed = true;
            if harm == Harm::Misdirected {
                self.misdirect(&stages, dice);
            }
            return Some(DiskDone { ticket: op.ticket, result: Ok(()) });
        }
        if fails {
            self.apply_part(&op, &stages, dice);
            return Some(DiskDone { ticket: op.ticket, result: Err(DiskError::Failed { errno: EIO }) });
        }
        self.note_synced(&op, &stages);
        Some(self.device.memory.finish(&op, &stages))
    }

    /// Whether a segment written up to `end` is not about to be sealed: a footer would vouch for what is lost.
    fn stays_open(&self, segment: SegmentId, end: u64) -> bool {
        self.device.memory.files().any(|(id, file)| id == segment && end + SEALS_WITHIN < file.len() as u64)
    }

    /// A log write lands behind its place, where nothing has been written yet: what it destroys elsewhere
    /// would be latent damage in what the footers vouch for.
    fn misdirect(&mut self, stages: &[Vec<Effect>], dice: &mut Dice) {
        self.strange = true;
        let aside = BLOCK * (1 + dice.below(4));
        for effect in stages.iter().flatten() {
            let Effect::Write { segment, offset, bytes } = effect else { continue };
            let place = offset + aside + BLOCK * MISDIRECTED_BLOCKS;
            let room = self.device.memory.files().any(|(id, file)| {
                id == *segment && place as usize + bytes.len() <= file.len() - BLOCK as usize
            });
            if room {
                let bytes = bytes.clone();
                self.device.memory.apply(&Effect::Write { segment: *segment, offset: place, bytes });
            }
        }
    }

    /// The blocks that a read asks for; `None` if it fails.
    pub fn read(&self, spec: ReadSpec, dice: &mut Dice) -> Option<Vec<u8>> {
        (dice.below(1_000_000) >= self.read_errors_ppm).then(|| self.device.read(spec)).flatten()
    }

    /// The disk for a recovery.
    pub fn open(&self, dice: &mut Dice) -> Opened<'_> {
        let fails = dice.below(RECOVERY_ERROR_ODDS) < self.read_errors_ppm;
        let fails_in = Cell::new(if fails { 1 + dice.below(RECOVERY_READS) } else { 0 });
        Opened { memory: &self.device.memory, fails_in }
    }

    /// What is on the device now.
    pub fn copy(&self) -> Snapshot {
        Snapshot { memory: self.device.memory.clone(), synced_pulse: self.synced_pulse.clone() }
    }

    /// The device is what it once was.
    pub fn roll_back(&mut self, to: Snapshot) {
        let max_segments = self.device.memory.max_segments;
        self.strange = true;
        self.late.clear();
        self.device.memory = to.memory;
        self.device.memory.max_segments = max_segments;
        self.synced_pulse = to.synced_pulse;
    }

    fn write_oldest(&mut self) -> bool {
        let Some(stages) = self.unwritten.pop_front() else { return false };
        stages.iter().flatten().for_each(|effect| self.device.memory.apply(effect));
        true
    }

    /// Whoever waited for operations is gone: each of them happened wholly, in part, or not at all.
    pub fn abandon(&mut self, dice: &mut Dice) {
        self.abandon_until(0, dice);
    }

    /// The same, and what happens of them happens by `until`.
    pub fn abandon_until(&mut self, until: u64, dice: &mut Dice) {
        self.land();
        self.late_until = until;
        self.unwritten.clear();
        for flight in self.device.take_all() {
            let creates = matches!(flight.op.work, DiskWork::PrepareSegment { .. });
            if creates && self.device.memory.files().count() >= self.device.memory.max_segments {
                continue;
            }
            self.apply_part(&flight.op, &flight.stages, dice);
        }
        if until == 0 {
            self.land();
        }
    }

    /// What a dead process had under way is on the device.
    pub fn land(&mut self) {
        for effect in std::mem::take(&mut self.late) {
            self.device.memory.apply(&effect);
        }
        self.late_until = 0;
    }

    /// The power failed: what was never synced may be gone.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        self.abandon(dice);
        if dice.one_in(2) {
            self.device.memory.lose_pulse();
            if let Some(bytes) = self.synced_pulse.clone() {
                self.device.memory.apply(&Effect::Pulse { bytes });
            }
        }
    }

    fn note_synced(&mut self, op: &DiskCommand, done: &[Vec<Effect>]) {
        if let (DiskWork::Cut { .. }, Some([Effect::Pulse { bytes }])) =
            (&op.work, done.first().map(Vec::as_slice))
        {
            self.synced_pulse = Some(bytes.clone());
        }
    }

    fn apply_part(&mut self, op: &DiskCommand, stages: &[Vec<Effect>], dice: &mut Dice) {
        match dice.below(6) {
            0 => {}
            1 => {
                self.note_synced(op, stages);
                stages.iter().flatten().for_each(|effect| self.happen(effect));
            }
            _ => {
                let whole = dice.below(stages.len() as u64) as usize;
                self.note_synced(op, &stages[..whole]);
                stages[..whole].iter().flatten().for_each(|effect| self.happen(effect));
                for effect in stages.get(whole).into_iter().flatten() {
                    if dice.one_in(2) {
                        self.happen(effect);
                    }
                }
            }
        }
    }

    /// It is on the device, now or later.
    fn happen(&mut self, effect: &Effect) {
        if self.late_until > 0 {
            self.late.push(effect.clone());
        } else {
            self.device.memory.apply(effect);
        }
    }

    /// Flips one bit among the frames of a segment that a later one follows. Returns where.
    pub fn flip_sealed_bit(&mut self, dice: &mut Dice) -> Option<(SegmentId, u64)> {
        let headed =
            |(id, bytes): (SegmentId, &[u8])| match SegmentHeader::from_block(&bytes[..BLOCK as usize]) {
                HeaderBlock::Valid(header) => Some((header.base.0, id)),
                _ => None,
            };
        let mut all: Vec<(u64, SegmentId)> = self.device.memory.files().filter_map(headed).collect();
        all.sort_unstable();
        all.pop();
        let (_, segment) = dice.pick(&all)?;
        let file = self.device.memory.file_mut(segment)?;
        let at = DATA_START + dice.below(file.len() as u64 / 2);
        file[at as usize] ^= 1 << dice.below(8);
        Some((segment, at))
    }

    /// Flips one bit of the newest segment, in what the pulse says is durable: there the damage must be seen
    /// when the shard is opened. Returns where.
    pub fn flip_durable_bit(&mut self, dice: &mut Dice) -> Option<(SegmentId, u64)> {
        let block = self.device.memory.pulse().ok()??;
        let pulse = Pulse::from_block(block.as_slice())?;
        // What vouches for the damaged place is not lost as well: one fault at a time.
        self.synced_pulse = Some(block.as_slice().to_vec());
        let headed =
            |(id, bytes): (SegmentId, &[u8])| match SegmentHeader::from_block(&bytes[..BLOCK as usize]) {
                HeaderBlock::Valid(header) => Some((header.base.0, id)),
                _ => None,
            };
        let (base, segment) = self.device.memory.files().filter_map(headed).max()?;
        let durable = pulse.durable.0.checked_sub(base).filter(|len| *len > 0)?;
        let at = DATA_START + dice.below(durable);
        *self.device.memory.file_mut(segment)?.get_mut(at as usize)? ^= 1 << dice.below(8);
        Some((segment, at))
    }
}

impl LogStorage for Opened<'_> {
    fn segments(&self) -> Result<Vec<SegmentId>, DiskError> {
        self.memory.segments()
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let left = self.fails_in.get();
        self.fails_in.set(left.saturating_sub(1));
        if left == 1 {
            return Err(DiskError::Failed { errno: EIO });
        }
        self.memory.read(segment, offset, into)
    }

    fn pulse(&self) -> Result<Option<AlignedBlocks>, DiskError> {
        self.memory.pulse()
    }
}
