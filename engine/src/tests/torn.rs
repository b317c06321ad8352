//! Long frames at the end of a log that a crash left: they span more writes than are in flight at once.

use super::{Dice, settle};
use crate::disk::DiskCommand;
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

/// Any of the writes in flight may have reached the disk, wholly or torn, whatever became of those before them: what
/// is missing is a torn tail, wherever frames longer than all that is in flight begin and end.
#[test]
fn any_part_of_what_is_in_flight_around_long_frames_is_no_damage() {
    let mut dice = Dice::new(11);
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    settle(&mut shard, &mut disk);
    for key in [&b"one"[..], b"two"] {
        shard.append(&[Op::Put { key, value: &vec![7; LONG - 1000], expiry_ms: 0 }], 1).unwrap();
        for _ in 0..70 {
            shard.append(&[Op::Put { key: b"short", value: &[8; SHORT], expiry_ms: 0 }], 1).unwrap();
        }
    }
    let mut in_flight: Vec<DiskCommand> = Vec::new();
    let (mut images, mut behind) = (0, 0);
    loop {
        in_flight.extend(std::iter::from_fn(|| shard.poll_disk()));
        if in_flight.is_empty() {
            break;
        }
        for kept in 1..1_u64 << in_flight.len() {
            let mut image = disk.clone();
            for (number, command) in
                in_flight.iter().enumerate().filter(|(number, _)| kept >> number & 1 == 1)
            {
                let torn = dice.below(3) == 0;
                for effect in disk.stages(command, &shard).iter().flatten() {
                    if !torn || dice.below(2) == 0 {
                        image.apply(effect);
                    }
                }
                behind += usize::from(number > 0 && kept & 1 == 0);
            }
            let again = open(&image);
            assert!(again.tail() >= shard.durable());
            assert!(!again.damaged(), "writes {kept:b} of {} in flight", in_flight.len());
            images += 1;
        }
        let command = in_flight.swap_remove(dice.below(in_flight.len() as u64) as usize);
        let done = disk.run(&command, &shard);
        shard.disk_done(done).unwrap();
    }
    assert!(images > 80 && behind > 50, "{images} images, {behind} later writes without an earlier");
    assert_eq!(open(&disk).tail(), shard.tail());
}
