//! Opening takes memory for the index and a fixed amount besides, however many operations were ever logged, and
//! says how far it is.

use super::settle;
use crate::ids::{Epoch, GroupId, ShardId};
use crate::limits::{BLOCK, OWED_FOOTER_BYTES};
use crate::memory::MirrorBuffer;
use crate::recover::{RecoveryProgress, recover_telling};
use crate::segment::FOOTER_ENTRY_BYTES;
use crate::segments::FooterState;
use crate::shard::{Op, Shard, ShardOptions, View};
use crate::testing::MemoryDisk;
use crate::testing::meter::within;

const KEYS: u8 = 10;
const BATCHES: usize = 3000;
const BATCH: usize = 1000;
/// The index's partitions, one segment's list of operations as it is read and as it is kept, and to spare.
const FIXED_BYTES: usize = 10 << 20;

fn options() -> ShardOptions {
    let mut options = ShardOptions::new(GroupId(9), ShardId(1));
    options.segment_bytes = 4 << 20;
    options.max_value_bytes = 64 << 10;
    options.cache_bytes = 1 << 20;
    options
}

/// Opens the shard, which may take `bound` bytes.
fn open(disk: &MemoryDisk, bound: usize) -> (Shard, Vec<RecoveryProgress>) {
    let (options, buffer) = (options(), MirrorBuffer::new(16 << 20).unwrap());
    let mut told = Vec::with_capacity(100_000);
    let shard = within(bound, || recover_telling(&options, buffer, disk, &mut |now| told.push(now)));
    (shard.unwrap(), told)
}

/// Many operations on few keys, all committed.
fn written() -> MemoryDisk {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk, FIXED_BYTES).0;
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let keys: Vec<[u8; 1]> = (0..KEYS).map(|key| [key]).collect();
    for batch in 0..BATCHES {
        let value = [batch as u8];
        let op = |n: usize| Op::Put { key: &keys[n % keys.len()], value: &value, expiry_ms: 0 };
        let ops: Vec<_> = (0..BATCH).map(op).collect();
        shard.append(&ops, 1).unwrap();
        settle(&mut shard, &mut disk);
        shard.commit_to(shard.durable());
    }
    super::pulse(&mut shard, &mut disk);
    settle(&mut shard, &mut disk);
    disk
}

fn check(shard: &Shard) {
    assert_eq!(shard.key_count(), KEYS.into());
    for key in 0..KEYS {
        let found = shard.find(&[key], View::Committed);
        assert!(!matches!(found, crate::shard::Found::Missing { .. }), "key {key} is lost");
    }
}

fn footers(shard: &Shard, state: FooterState) -> usize {
    shard.segments.live.iter().filter(|segment| segment.footer == state).count()
}

#[test]
fn memory_does_not_grow_with_the_operations_ever_logged() {
    let mut disk = written();
    const { assert!(BATCHES * BATCH * FOOTER_ENTRY_BYTES > OWED_FOOTER_BYTES + 2 * FIXED_BYTES) };
    let (shard, told) = open(&disk, FIXED_BYTES);
    check(&shard);
    let segments = shard.segments.live.len();
    assert!(told.len() > segments && told.is_sorted_by_key(|now| now.bytes_done));
    let last = told.last().unwrap();
    assert!(last.bytes_done <= last.bytes_total && last.bytes_done >= shard.tail().0);

    // Without footers the frames are read, and what is kept to write the footers anew is bounded.
    for id in disk.files().map(|(id, _)| id).collect::<Vec<_>>() {
        let file = disk.file_mut(id).unwrap();
        let end = file.len();
        file[end - BLOCK as usize..].fill(0);
    }
    let (mut shard, _) = open(&disk, OWED_FOOTER_BYTES + FIXED_BYTES);
    check(&shard);
    let left = footers(&shard, FooterState::Left);
    assert!(left > 0 && left < segments / 2);
    settle(&mut shard, &mut disk);
    assert_eq!(footers(&shard, FooterState::Written), segments - 1 - left);
    let (mut shard, _) = open(&disk, OWED_FOOTER_BYTES);
    settle(&mut shard, &mut disk);
    assert_eq!(footers(&shard, FooterState::Written), segments - 1, "the next opening sees to the rest");
    check(&shard);
}
