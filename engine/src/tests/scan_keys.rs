//! Going through the keys, against a model that knows every operation.

use super::{Dice, SEGMENT_BYTES, open, settle};
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::key_scan::{KeyScan, ScanError, ScanNeed, ScanPosition, Seen as Met};
use crate::shard::{Found, Op, Shard, View};
use crate::testing::MemoryDisk;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// A value and when it expires.
type Put = (Vec<u8>, u64);
type Keys = BTreeMap<Vec<u8>, Put>;
type Seen = Vec<(Vec<u8>, Put)>;

/// A shard, and every operation that was appended to it with the end of its frame.
struct World {
    shard: Shard,
    disk: MemoryDisk,
    dice: Dice,
    said: Vec<(Lsn, Vec<u8>, Option<Put>)>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut disk = MemoryDisk::new(SEGMENT_BYTES);
        let mut shard = open(&disk);
        settle(&mut shard, &mut disk);
        shard.begin_epoch(Epoch(1), 1).unwrap();
        World { shard, disk, dice: Dice::new(seed), said: Vec::new() }
    }

    /// One frame: a put, a delete, or a batch that may name a key several times.
    fn write(&mut self, keys: u64) {
        let count = if self.dice.below(4) == 0 { 1 + self.dice.below(5) } else { 1 };
        let ops: Vec<_> = (0..count)
            .map(|_| {
                let key = format!("key-{}", self.dice.below(keys)).into_bytes();
                let len = if self.dice.below(8) == 0 { 15_000 } else { self.dice.below(300) };
                let value = vec![self.dice.below(256) as u8; len as usize];
                let expiry_ms = if self.dice.below(5) == 0 { 1 + self.dice.below(9) } else { 0 };
                (key, (self.dice.below(4) > 0).then_some((value, expiry_ms)))
            })
            .collect();
        let frame: Vec<_> = ops
            .iter()
            .map(|(key, put)| match put {
                Some((value, expiry_ms)) => Op::Put { key, value, expiry_ms: *expiry_ms },
                None => Op::Delete { key },
            })
            .collect();
        if let Ok(end) = self.shard.append(&frame, 1) {
            self.said.extend(ops.into_iter().map(|(key, put)| (end, key, put)));
        } else {
            self.settle(true);
        }
    }

    fn settle(&mut self, commit: bool) {
        settle(&mut self.shard, &mut self.disk);
        if commit {
            self.shard.commit_to(self.shard.durable());
        }
    }

    fn churn(&mut self, frames: u64, keys: u64) {
        for _ in 0..frames {
            self.write(keys);
            if self.dice.below(16) == 0 {
                let commit = self.dice.below(3) > 0;
                self.settle(commit);
            }
        }
    }

    /// What the log says up to `bound`.
    fn keys(&self, bound: Lsn) -> Keys {
        let mut keys = Keys::new();
        for (_, key, put) in self.said.iter().filter(|(end, ..)| *end <= bound) {
            match put {
                Some(put) => keys.insert(key.clone(), put.clone()),
                None => keys.remove(key),
            };
        }
        keys
    }

    /// The next keys, up to `limit` and the place of the one after them.
    fn page(&self, scan: &mut KeyScan, limit: usize) -> (Seen, Option<ScanPosition>) {
        let mut seen = Vec::new();
        let mut next = None;
        loop {
            let take = |met: Met<'_>| {
                let Met::Live(live) = met else { panic!("nobody writes meanwhile") };
                if seen.len() == limit {
                    next = Some(live.at);
                    return ControlFlow::Break(());
                }
                let found = self.shard.find(live.key, View::Newest);
                if let Found::Here { revision, .. } = found {
                    assert!(revision >= live.revision);
                }
                seen.push((live.key.to_vec(), (live.value.to_vec(), live.expiry_ms)));
                ControlFlow::Continue(())
            };
            match scan.next(&self.shard) {
                ScanNeed::End => return (seen, None),
                ScanNeed::Walk => scan.walk(&self.shard, take).unwrap(),
                ScanNeed::Read(spec) => {
                    scan.read(&self.shard, spec, &self.disk.read_blocks(spec), take).unwrap()
                }
            }
            if next.is_some() {
                return (seen, next);
            }
        }
    }
}

fn as_keys(seen: Seen) -> Keys {
    let count = seen.len();
    let keys: Keys = seen.into_iter().collect();
    assert_eq!(keys.len(), count, "each key once");
    keys
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_still_shard_shows_exactly_its_keys(seed: u64, keys in 1u64..200, frames in 1u64..1500, limit in 1usize..40) {
        let mut world = World::new(seed);
        world.churn(frames, keys);
        for (view, bound) in [(View::Newest, world.shard.tail()), (View::Committed, world.shard.committed())] {
            let expected = world.keys(bound);
            let mut scan = KeyScan::new(ScanPosition::default(), view, &world.shard);
            let (seen, _) = world.page(&mut scan, usize::MAX);
            prop_assert_eq!(as_keys(seen), expected.clone());
            let uncommitted = view == View::Newest && world.shard.tail() > world.shard.committed();
            prop_assert_eq!(scan.wait(), if uncommitted { world.shard.tail() } else { Lsn(0) });
            // Page by page, each taken up from its position alone.
            let (mut paged, mut from) = (Vec::new(), Some(ScanPosition::default()));
            while let Some(at) = from {
                let mut scan = KeyScan::new(at, view, &world.shard);
                let (seen, next) = world.page(&mut scan, limit);
                prop_assert!(next.is_none() || seen.len() == limit);
                paged.extend(seen);
                from = next;
            }
            prop_assert_eq!(as_keys(paged), expected);
        }
    }

    #[test]
    fn writes_between_pages_hide_nothing_that_stays(seed: u64, keys in 1u64..300, limit in 1usize..30) {
        let mut world = World::new(seed);
        world.churn(600, keys);
        let before = world.keys(world.shard.tail());
        let first = world.said.len();
        let (mut seen, mut from) = (Vec::new(), Some(ScanPosition::default()));
        let mut pages = 0;
        while let Some(at) = from {
            let mut scan = KeyScan::new(at, View::Newest, &world.shard);
            let now = world.keys(world.shard.tail());
            let (page, next) = world.page(&mut scan, limit);
            for (key, put) in page {
                prop_assert_eq!(now.get(&key), Some(&put), "shown as it is now");
                seen.push(key);
            }
            pages += 1;
            if pages < 20 {
                world.churn(12, keys);
            }
            from = next;
        }
        let after = &world.said[first..];
        let touched: BTreeSet<_> = after.iter().map(|(_, key, _)| key.clone()).collect();
        let deleted: BTreeSet<_> =
            after.iter().filter(|(.., put)| put.is_none()).map(|(_, key, _)| key.clone()).collect();
        for key in before.keys() {
            let times = seen.iter().filter(|seen| *seen == key).count();
            if !touched.contains(key) {
                prop_assert_eq!(times, 1, "an untouched key is seen once");
            } else if !deleted.contains(key) {
                prop_assert!(times >= 1, "a key that stays is seen");
            }
        }
    }

    #[test]
    fn a_scan_ends_where_the_log_ended_and_tells_what_was_written_since(seed: u64, keys in 1u64..300) {
        let mut world = World::new(seed);
        world.churn(600, keys);
        let (before, first, end) = (world.keys(world.shard.tail()), world.said.len(), world.shard.tail());
        let (mut live, mut moved) = (Vec::new(), BTreeSet::new());
        let mut scan = KeyScan::new(ScanPosition::default(), View::Newest, &world.shard);
        loop {
            let take = |met: Met<'_>| {
                match met {
                    Met::Live(one) => live.push(one.key.to_vec()),
                    Met::Moved(key) => {
                        moved.insert(key.to_vec());
                    }
                }
                ControlFlow::Continue(())
            };
            match scan.next(&world.shard) {
                ScanNeed::End => break,
                ScanNeed::Walk => scan.walk(&world.shard, take).unwrap(),
                ScanNeed::Read(spec) => {
                    scan.read(&world.shard, spec, &world.disk.read_blocks(spec), take).unwrap()
                }
            }
            // Faster than the scan.
            world.churn(200, keys);
        }
        prop_assert_eq!(scan.position().frame, end);
        let seen: BTreeSet<_> = live.iter().cloned().collect();
        prop_assert_eq!(seen.len(), live.len(), "each key once");
        let after = &world.said[first..];
        let deleted: BTreeSet<_> =
            after.iter().filter(|(.., put)| put.is_none()).map(|(_, key, _)| key.clone()).collect();
        for key in before.keys().filter(|key| !deleted.contains(*key)) {
            prop_assert!(seen.contains(key) || moved.contains(key), "a key that stays is told");
        }
        for key in &moved {
            prop_assert!(after.iter().any(|(_, written, _)| written == key), "only what was written since");
        }
    }

    #[test]
    fn a_made_up_position_is_found_out(seed: u64, frame in 0u64..400_000, operation: u32) {
        let mut world = World::new(seed);
        world.churn(300, 50);
        let mut scan = KeyScan::new(ScanPosition { frame: Lsn(frame), operation }, View::Newest, &world.shard);
        let ignore = |_: Met<'_>| ControlFlow::Continue(());
        loop {
            let done = match scan.next(&world.shard) {
                ScanNeed::End => break,
                ScanNeed::Walk => scan.walk(&world.shard, ignore),
                ScanNeed::Read(spec) => scan.read(&world.shard, spec, &world.disk.read_blocks(spec), ignore),
            };
            if let Err(error) = done {
                prop_assert_eq!(error, ScanError::NoFrame(Lsn(frame)));
                break;
            }
        }
    }
}

#[test]
fn a_damaged_frame_ends_the_scan() {
    let mut world = World::new(1);
    while world.shard.buffer.low() < Lsn(8 * 4096) {
        world.write(50);
        world.settle(true);
    }
    let mut scan = KeyScan::new(ScanPosition::default(), View::Newest, &world.shard);
    let file = world.disk.file_mut(SegmentId(0)).unwrap();
    file[4096 + 48 + 60] ^= 1;
    let ScanNeed::Read(spec) = scan.next(&world.shard) else { panic!("the log's beginning is on the disk") };
    let blocks = world.disk.read_blocks(spec);
    let result = scan.read(&world.shard, spec, &blocks, |_| ControlFlow::Continue(()));
    assert!(matches!(result, Err(ScanError::NoFrame(_))), "{result:?}");
}
