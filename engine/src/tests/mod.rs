//! Tests of the shard as a whole, against the disk in memory and against real files.

mod apply;
mod codecs;
mod crash;
mod crash_images;
mod files;
mod frames;
mod large;
mod mend;
mod recovery_memory;
mod replicate;
mod scan_keys;
mod slices;
mod torn;

use crate::ids::{GroupId, Lsn, ShardId};
use crate::limits::APPLY_STEPS;
use crate::memory::MirrorBuffer;
use crate::recover::recover;
use crate::shard::{Decoded, Found, Shard, ShardOptions, View};
use crate::testing::MemoryDisk;

#[global_allocator]
static METERED: crate::testing::meter::Metered = crate::testing::meter::Metered;

const SEGMENT_BYTES: u64 = 256 << 10;
const BUFFER_BYTES: usize = 512 << 10;

fn options() -> ShardOptions {
    let mut options = ShardOptions::new(GroupId(77), ShardId(3));
    options.segment_bytes = SEGMENT_BYTES;
    options.max_value_bytes = 20_000;
    options.cache_bytes = 1 << 20;
    options
}

fn open(disk: &MemoryDisk) -> Shard {
    recover(&options(), MirrorBuffer::new(BUFFER_BYTES).unwrap(), disk).unwrap()
}

/// Carries out all that the shard wants from its disk, and applies what is committed.
fn settle(shard: &mut Shard, disk: &mut MemoryDisk) {
    loop {
        while shard.apply_some(APPLY_STEPS) {}
        let ops: Vec<_> = std::iter::from_fn(|| shard.poll_disk()).collect();
        if ops.is_empty() {
            return;
        }
        for op in ops {
            let done = disk.run(&op, shard);
            shard.disk_done(done).unwrap();
        }
    }
}

fn pulse(shard: &mut Shard, disk: &mut MemoryDisk) {
    let op = shard.pulse().unwrap();
    let done = disk.run(&op, shard);
    shard.disk_done(done).unwrap();
}

fn get(shard: &mut Shard, disk: &MemoryDisk, key: &[u8], view: View) -> (Option<Vec<u8>>, Lsn) {
    let (at, mut spec, wait) = match shard.find(key, view) {
        Found::Missing { wait } => return (None, wait),
        Found::Here { value, wait, .. } => return (Some(value.to_vec()), wait),
        Found::OnDisk { at, spec, wait } => (at, spec, wait),
    };
    loop {
        let bytes = disk.read_blocks(spec);
        match shard.decode(at, key, &bytes) {
            Decoded::Value { value, .. } => return (Some(value.to_vec()), wait),
            Decoded::Missing => return (None, wait),
            Decoded::More(more) => spec = more,
            Decoded::Corrupt => panic!("corrupt"),
        }
    }
}

/// A small generator of test choices (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
