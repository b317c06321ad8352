//! Crashes at any moment, with any part of what was in flight on the disk: nothing durable is lost, nothing
//! that was never written appears, and nothing that was rewound comes back (rules 12, 13, 20).

use super::crash_images::Images;
use super::{BUFFER_BYTES, Dice, get, open, options, pulse, settle};
use crate::disk::{DiskCommand, DiskWork};
use crate::error::AppendError;
use crate::ids::{Epoch, Lsn};
use crate::limits::BLOCK;
use crate::segment::DATA_START;
use crate::shard::{Op, Shard, View};
use crate::testing::{Effect, MemoryDisk};
use std::collections::BTreeMap;

const SEEDS: u64 = 120;
const STEPS: u64 = 400;
const KEYS: u64 = 40;

struct Append {
    end: Lsn,
    ops: Vec<(u64, Option<Vec<u8>>)>,
}

/// A shard on its disk, with what a reader of the design would expect of it.
pub(super) struct World {
    pub dice: Dice,
    pub disk: MemoryDisk,
    pub shard: Shard,
    pub in_flight: Vec<(DiskCommand, Vec<Vec<Effect>>)>,
    appends: Vec<Append>,
    /// All bytes of the log ever appended; a rewind shortens it when it is through.
    log: Vec<u8>,
    rewinding_to: Option<Lsn>,
    epoch: u64,
    crashes: usize,
    /// Values are large, so that many segments are filled.
    bulky: bool,
    /// If every sync point is to be checked (`crash_images`): how many images were.
    pub images: Option<Images>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let disk = MemoryDisk::new(options().segment_bytes);
        let shard = open(&disk);
        World {
            dice: Dice::new(seed),
            disk,
            shard,
            in_flight: Vec::new(),
            appends: Vec::new(),
            log: Vec::new(),
            rewinding_to: None,
            epoch: 0,
            crashes: 0,
            bulky: seed % 2 == 1,
            images: None,
        }
    }

    pub fn step(&mut self) {
        match self.dice.below(100) {
            0..40 => self.append(),
            40..65 => self.poll(),
            65..90 => self.complete(),
            90..93 => self.in_flight_pulse(),
            93..96 => self.commit(),
            96..98 => self.rewind(),
            _ => self.crash(),
        }
        let steps = self.dice.below(4) as usize;
        self.shard.apply_some(steps);
        self.note_progress();
    }

    /// The cursors keep their order, and the model follows a rewind that is through.
    fn note_progress(&mut self) {
        let shard = &self.shard;
        assert!(shard.applied() <= shard.durable() && shard.durable() <= shard.tail());
        assert!(shard.applied() <= shard.committed() && shard.committed() <= shard.tail());
        if let Some(to) = self.rewinding_to
            && !shard.rewinding()
        {
            self.rewinding_to = None;
            self.forget_beyond(to);
        }
    }

    fn forget_beyond(&mut self, to: Lsn) {
        self.log.truncate(to.0 as usize);
        self.appends.retain(|append| append.end <= to);
    }

    fn append(&mut self) {
        let before = self.shard.tail();
        let count = if self.dice.below(5) == 0 { 1 + self.dice.below(6) } else { 1 };
        let mut ops = Vec::new();
        for _ in 0..count {
            let len = match self.dice.below(10) {
                0 => self.dice.below(20_000),
                1..6 if self.bulky => self.dice.below(20_000),
                1 => 3900 + self.dice.below(300),
                _ => self.dice.below(200),
            };
            let fill = self.dice.below(256) as u8;
            let value = (self.dice.below(6) > 0).then(|| vec![fill; len as usize]);
            ops.push((self.dice.below(KEYS), value));
        }
        let keys: Vec<_> = ops.iter().map(|(key, _)| key.to_le_bytes()).collect();
        let wanted: Vec<_> = keys
            .iter()
            .zip(&ops)
            .map(|(key, (_, value))| match value {
                Some(value) => Op::Put { key, value, expiry_ms: 0 },
                None => Op::Delete { key },
            })
            .collect();
        let appended = match self.shard.append(&wanted, 5) {
            Err(AppendError::NotLeading) => {
                ops.clear();
                self.epoch += 1;
                self.shard.begin_epoch(Epoch(self.epoch), 5)
            }
            other => other,
        };
        match appended {
            Ok(end) => {
                self.appends.push(Append { end, ops });
                self.copy_log(before);
            }
            Err(AppendError::NoSegment | AppendError::BufferFull | AppendError::Rewinding) => {}
            Err(AppendError::BatchTooLarge { .. }) => assert!(count > 1),
            Err(other) => panic!("{other}"),
        }
    }

    fn copy_log(&mut self, from: Lsn) {
        let range = crate::log::BufferRange { start: from, len: (self.shard.tail().0 - from.0) as usize };
        self.log.extend_from_slice(self.shard.bytes(range));
        assert_eq!(self.log.len() as u64, self.shard.tail().0);
    }

    fn poll(&mut self) {
        let before = self.shard.tail();
        while let Some(op) = self.shard.poll_disk() {
            if !self.shard.rewinding() {
                self.log.truncate(before.0 as usize);
                self.copy_log(before);
            }
            if let DiskWork::WriteBlocks { segment, offset, .. } = &op.work
                && *offset > 0
            {
                let sealed = self.shard.segments.by_id(*segment).unwrap().end.unwrap();
                assert!(sealed <= self.shard.durable(), "a footer before what it lists");
            }
            let stages = self.disk.stages(&op, &self.shard);
            self.in_flight.push((op, stages));
        }
    }

    fn complete(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = self.dice.below(self.in_flight.len() as u64) as usize;
        let (op, mut stages) = self.in_flight.swap_remove(at);
        // The device reads the memory at some moment until now.
        if self.dice.below(2) == 0 {
            stages = self.disk.stages(&op, &self.shard);
        }
        if self.images.is_some() {
            self.check_images(&stages);
        }
        let done = self.disk.finish(&op, &stages);
        self.shard.disk_done(done).unwrap();
    }

    fn in_flight_pulse(&mut self) {
        if let Some(op) = self.shard.pulse() {
            let stages = self.disk.stages(&op, &self.shard);
            self.in_flight.push((op, stages));
        }
    }

    fn commit(&mut self) {
        let durable = self.shard.durable();
        let ends: Vec<_> =
            self.appends.iter().map(|append| append.end).filter(|&end| end <= durable).collect();
        if !ends.is_empty() {
            let at = self.dice.below(ends.len() as u64);
            self.shard.commit_to(ends[at as usize]);
        }
    }

    fn rewind(&mut self) {
        let committed = self.shard.committed();
        let ends: Vec<_> =
            self.appends.iter().map(|append| append.end).filter(|&end| end >= committed).collect();
        if self.shard.rewinding() || ends.is_empty() {
            return;
        }
        let to = ends[self.dice.below(ends.len() as u64) as usize];
        self.shard.rewind_to(to, 9).unwrap();
        assert_eq!(self.shard.tail(), to);
        self.rewinding_to = Some(to);
    }

    fn crash(&mut self) {
        self.crashes += 1;
        for (_, stages) in std::mem::take(&mut self.in_flight) {
            let whole = self.dice.below(stages.len() as u64 + 1) as usize;
            stages[..whole].iter().flatten().for_each(|effect| self.disk.apply(effect));
            for effect in stages.get(whole).into_iter().flatten() {
                if self.dice.below(2) == 0 {
                    self.disk.apply(effect);
                }
            }
        }
        if self.dice.below(4) == 0 {
            self.disk.lose_pulse();
        }
        self.shard = self.recovered(&self.disk);
        self.rewinding_to = None;
        self.forget_beyond(self.shard.tail());
    }

    /// Opens what a crash left, which must be what was written, up to at least the durable mark.
    pub(super) fn recovered(&self, disk: &MemoryDisk) -> Shard {
        let (durable, committed) = (self.shard.durable(), self.shard.committed());
        let mut shard = open(disk);
        let tail = shard.tail();
        assert!(!shard.damaged(), "a crash is no damage");
        assert!(tail >= durable, "durable up to {durable}, recovered up to {tail}");
        assert!(tail.0 <= self.log.len() as u64, "more than was ever written");
        assert!(shard.committed() <= committed);
        self.check(&mut shard, disk);
        shard
    }

    /// The shard over this disk holds what the model says, as far as its log reaches.
    pub(super) fn check(&self, shard: &mut Shard, disk: &MemoryDisk) {
        let mut from = Lsn(0);
        while from < shard.durable() {
            let (spec, skip, len) = shard.read_log(from, 100_000);
            assert!(len > 0 && spec.offset >= DATA_START && u64::from(spec.len).is_multiple_of(BLOCK));
            let blocks = disk.read_blocks(spec);
            let expected = &self.log[from.0 as usize..from.0 as usize + len];
            assert!(blocks[skip..skip + len] == *expected, "other bytes than were appended at {from}");
            from = from.advance(len as u64);
        }
        for (view, until) in [(View::Newest, shard.tail()), (View::Committed, shard.committed())] {
            let mut expected = BTreeMap::new();
            for append in self.appends.iter().filter(|append| append.end <= until) {
                expected.extend(append.ops.iter().cloned());
            }
            for key in 0..KEYS {
                let (found, wait) = get(shard, disk, &key.to_le_bytes(), view);
                assert!(found == expected.get(&key).cloned().flatten(), "key {key} as {view:?}");
                assert!(view == View::Newest || wait == Lsn(0));
            }
        }
    }
}

#[test]
fn nothing_durable_is_lost_and_nothing_unwritten_appears() {
    let mut crashes = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.crash();
        settle(&mut world.shard, &mut world.disk);
        world.note_progress();
        let shard = world.recovered(&world.disk);
        world.shard = shard;
        settle(&mut world.shard, &mut world.disk);
        let live = world.shard.segments.live.iter().map(|segment| segment.id);
        let known: Vec<_> = live.chain(world.shard.segments.spares.iter().map(|spare| spare.id)).collect();
        assert!(
            world.disk.files().all(|(id, _)| known.contains(&id)),
            "a file that continues the log nowhere"
        );
        crashes += world.crashes;
    }
    assert!(crashes as u64 > SEEDS);
}

/// A shard with a few segments, all durable and noted by the pulse.
fn written(disk: &mut MemoryDisk) -> Shard {
    let mut shard = open(disk);
    settle(&mut shard, disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    for n in 0..6000u64 {
        shard.append(&[Op::Put { key: &n.to_le_bytes(), value: &[n as u8; 100], expiry_ms: 0 }], 2).unwrap();
        if n % 100 == 0 {
            settle(&mut shard, disk);
            shard.commit_to(shard.durable());
        }
    }
    settle(&mut shard, disk);
    shard.commit_to(shard.durable());
    pulse(&mut shard, disk);
    settle(&mut shard, disk);
    assert!(shard.segments.live.len() > 3);
    shard
}

#[test]
fn corruption_before_the_durable_mark_is_damage_and_not_a_torn_tail() {
    for with_pulse in [true, false] {
        let mut disk = MemoryDisk::new(options().segment_bytes);
        let shard = written(&mut disk);
        let (last, tail) = (shard.segments.current().id, shard.tail());
        let kept = shard.segments.current().base;
        if !with_pulse {
            disk.lose_pulse();
        }
        // Frames in place behind the hole are proof only beyond what may be in flight, so without the pulse
        // this looks like a torn tail.
        disk.file_mut(last).unwrap()[DATA_START as usize + 60] ^= 1;
        let mut shard = open(&disk);
        assert_eq!(shard.tail(), kept);
        assert_eq!(shard.damaged(), with_pulse);
        if with_pulse {
            assert!(shard.rewinding(), "what is left is saved first");
            settle(&mut shard, &mut disk);
            assert!(!shard.rewinding() && shard.damaged());
            assert_eq!(disk.rewound().len(), 1);
            assert!(disk.rewound()[0].bytes.len() as u64 > tail.0 - kept.0);
            pulse(&mut shard, &mut disk);
            assert!(open(&disk).damaged(), "and it is not forgotten");
            shard.repaired();
            pulse(&mut shard, &mut disk);
            assert!(!open(&disk).damaged());
        }
    }
}

#[test]
fn a_frame_far_behind_a_hole_is_proof_of_damage() {
    let mut options = options();
    options.segment_bytes = 8 << 20;
    let mut disk = MemoryDisk::new(options.segment_bytes);
    let reopen = |disk: &MemoryDisk| {
        crate::recover::recover(&options, crate::memory::MirrorBuffer::new(BUFFER_BYTES).unwrap(), disk)
    };
    let mut shard = reopen(&disk).unwrap();
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    for n in 0..300u64 {
        shard.append(&[Op::Put { key: &n.to_le_bytes(), value: &[1; 18_000], expiry_ms: 0 }], 1).unwrap();
        settle(&mut shard, &mut disk);
        shard.commit_to(shard.durable());
    }
    assert!(!reopen(&disk).unwrap().damaged());
    let hole = |at: usize| {
        let mut disk = disk.clone();
        disk.file_mut(crate::ids::SegmentId(0)).unwrap()[at] ^= 1;
        reopen(&disk).unwrap()
    };
    let near = hole((5 << 20) + 11);
    assert!(!near.damaged() && near.tail() < shard.tail(), "this may be a torn tail");
    let far = hole((1 << 20) + 11);
    assert!(far.damaged() && far.rewinding());
}

#[test]
fn half_a_frame_is_not_durable() {
    let mut options = options();
    options.segment_bytes = 8 << 20;
    options.max_value_bytes = 3 << 20;
    let mut disk = MemoryDisk::new(options.segment_bytes);
    let reopen = |disk: &MemoryDisk| {
        crate::recover::recover(&options, crate::memory::MirrorBuffer::new(8 << 20).unwrap(), disk).unwrap()
    };
    let mut shard = reopen(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let first = shard.append(&[Op::Put { key: b"a", value: b"1", expiry_ms: 0 }], 1).unwrap();
    let second = shard.append(&[Op::Put { key: b"b", value: &vec![1; 3 << 20], expiry_ms: 0 }], 1).unwrap();
    let mut ops: Vec<_> = std::iter::from_fn(|| shard.poll_disk()).collect();
    assert!(ops.len() > 3, "a header and several writes");
    let last = ops.pop().unwrap();
    for op in &ops {
        let done = disk.run(op, &shard);
        shard.disk_done(done).unwrap();
    }
    assert_eq!(shard.durable(), first);
    pulse(&mut shard, &mut disk);
    let again = reopen(&disk);
    assert!(!again.damaged() && again.tail() == first);
    let done = disk.run(&last, &shard);
    shard.disk_done(done).unwrap();
    settle(&mut shard, &mut disk);
    assert_eq!(shard.durable().max(second), shard.tail());
    assert_eq!(reopen(&disk).tail(), shard.tail());
}

#[test]
fn a_missing_first_segment_is_damage() {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    written(&mut disk);
    disk.file_mut(crate::ids::SegmentId(0)).unwrap()[..8].fill(0xff);
    let mut shard = open(&disk);
    assert!(shard.damaged());
    assert_eq!(shard.tail(), Lsn(0));
    settle(&mut shard, &mut disk);
    assert!(shard.damaged() && !shard.rewinding());
}

#[test]
fn footers_say_what_a_scan_finds() {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let shard = written(&mut disk);
    let by_footers = open(&disk);
    for id in disk.files().map(|(id, _)| id).collect::<Vec<_>>() {
        let file = disk.file_mut(id).unwrap();
        let end = file.len();
        file[end - BLOCK as usize..].fill(0);
    }
    let mut by_scan = open(&disk);
    assert_eq!(by_footers.history(), by_scan.history());
    for other in [&by_footers, &by_scan] {
        assert_eq!((other.tail(), other.key_count()), (shard.tail(), shard.key_count()));
        assert!((0..16384).all(|slot| other.key_count_in_slot(slot) == shard.key_count_in_slot(slot)));
    }
    settle(&mut by_scan, &mut disk);
    for n in 0..6000u64 {
        let at = by_scan.find(&n.to_le_bytes(), View::Newest);
        assert_eq!(at, by_footers.find(&n.to_le_bytes(), View::Newest));
    }
    for segment in by_scan.segments.live.iter().filter(|segment| segment.end.is_some()) {
        let mut tell = |_| ();
        let (options, last) = (options(), segment.epoch.0);
        let mut scanner = crate::scan::Scanner::new(&options, &disk, 1, &mut tell);
        let again = scanner.segment(segment.id, segment.base, last, Lsn(0), |_| ());
        assert!(again.unwrap().by_footer, "a footer that was missing is written");
        assert!(segment.entries.is_empty(), "and what it lists is not kept");
    }
}

#[test]
fn a_full_disk_stops_appends_until_there_is_space() {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    disk.max_segments = 2;
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let put = |shard: &mut Shard, disk: &mut MemoryDisk| {
        settle(shard, disk);
        shard.commit_to(shard.durable());
        shard.append(&[Op::Put { key: b"k", value: &[7; 15_000], expiry_ms: 0 }], 1)
    };
    let error = loop {
        if let Err(error) = put(&mut shard, &mut disk) {
            break error;
        }
    };
    assert_eq!(error, AppendError::DiskFull);
    assert!(shard.disk_full());
    assert_eq!(get(&mut shard, &disk, b"k", View::Committed).0.unwrap().len(), 15_000);
    disk.max_segments = 3;
    shard.retry_prepare();
    put(&mut shard, &mut disk).unwrap();
    assert!(!shard.disk_full() && BUFFER_BYTES > 0);
}

#[test]
fn a_turn_that_fills_two_segments_waits_for_the_next() {
    let mut disk = MemoryDisk::new(SEGMENT_BYTES);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    settle(&mut shard, &mut disk);
    let put = |shard: &mut Shard| shard.append(&[Op::Put { key: b"k", value: &[7; 1_000], expiry_ms: 0 }], 1);
    let error = loop {
        if let Err(error) = put(&mut shard) {
            break error;
        }
    };
    assert_eq!(error, AppendError::NoSegment);
    settle(&mut shard, &mut disk);
    put(&mut shard).unwrap();
}
