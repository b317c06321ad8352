//! Long frames at the end of a log that a crash left: they span more writes than are in flight at once.

use super::settle;
use crate::ids::{Epoch, GroupId, ShardId};
use crate::memory::MirrorBuffer;
use crate::recover::recover;
use crate::shard::{Op, Shard, ShardOptions};
use crate::testing::MemoryDisk;

const LONG: usize = 6 << 20;
const SHORT: usize = 9 << 10;

fn options() -> ShardOptions {
    let mut options = ShardOptions::new(GroupId(5), ShardId(1));
    options.segment_bytes = 16 << 20;
    options.max_value_bytes = LONG;
    options
}

fn open(disk: &MemoryDisk) -> Shard {
    recover(&options(), MirrorBuffer::new(16 << 20).unwrap(), disk).unwrap()
}

/// A long frame with short ones behind it; the writes up to `lost` are done, that one is lost, those behind it
/// are done again.
fn crashed(lost: u64) -> Option<(Shard, MemoryDisk)> {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    settle(&mut shard, &mut disk);
    shard.append(&[Op::Put { key: b"long", value: &vec![7; LONG], expiry_ms: 0 }], 1).unwrap();
    for _ in 0..200 {
        shard.append(&[Op::Put { key: b"short", value: &[8; SHORT], expiry_ms: 0 }], 1).unwrap();
    }
    let mut given = 0;
    let mut hole = None;
    loop {
        let commands: Vec<_> = std::iter::from_fn(|| shard.poll_disk()).collect();
        if commands.is_empty() {
            return hole.map(|_: u64| (shard, disk));
        }
        for command in commands {
            if given == lost {
                hole = Some(command.ticket);
            } else {
                let done = disk.run(&command, &shard);
                shard.disk_done(done).unwrap();
            }
            given += 1;
        }
    }
}

#[test]
fn a_write_that_is_lost_behind_the_beginning_of_a_long_frame_is_no_damage() {
    let mut crashes = 0;
    while let Some((shard, disk)) = crashed(crashes) {
        let again = open(&disk);
        assert!(again.tail() >= shard.durable());
        assert!(!again.damaged(), "write {crashes} was in flight, nothing behind it was durable");
        crashes += 1;
    }
    assert!(crashes > 6, "a long frame takes several writes");
}
