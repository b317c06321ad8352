//! Large values in pieces: read from the disk, copied out of the log buffer, kept in the cache.

use super::settle;
use crate::disk::ReadSpec;
use crate::ids::{Epoch, GroupId, ShardId};
use crate::large_copy::CopyProgress;
use crate::large_read::{Corrupt, LargeRead, ReadProgress};
use crate::limits::{LARGE_VALUE_BYTES, READ_PIECE_BYTES};
use crate::memory::{AlignedBlocks, MirrorBuffer};
use crate::parts::ValueParts;
use crate::recover::recover;
use crate::segment::Location;
use crate::shard::{Found, Op, Shard, ShardOptions, View};
use crate::testing::MemoryDisk;
use std::sync::Arc;

/// So long that only the frame's header says how long it is.
const MANY: usize = 2 << 20;
const SOME: usize = 300_000;

fn options() -> ShardOptions {
    let mut options = ShardOptions::new(GroupId(6), ShardId(1));
    options.segment_bytes = 8 << 20;
    options.max_value_bytes = 3 << 20;
    options.cache_bytes = 4 << 20;
    options
}

fn open(disk: &MemoryDisk) -> Shard {
    recover(&options(), MirrorBuffer::new(8 << 20).unwrap(), disk).unwrap()
}

fn value(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + seed) >> 3) as u8).collect()
}

/// Frames of each shape behind a small one, so that they do not begin on a block.
fn written() -> (Shard, MemoryDisk) {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let put = |key, value| Op::Put { key, value, expiry_ms: 7 };
    let (many, some, first, last) = (value(1, MANY), value(2, SOME), value(3, 400_000), value(4, 500_000));
    shard.append(&[put(b"small", b"1")], 1).unwrap();
    shard.append(&[put(b"many", &many)], 1).unwrap();
    shard.append(&[put(b"some", &some)], 1).unwrap();
    let batch = [
        put(b"gone", &first),
        put(b"twice", &first),
        put(b"before", &first),
        put(b"twice", &last),
        put(b"tiny", b"2"),
        Op::Delete { key: b"gone" },
    ];
    shard.append(&batch, 1).unwrap();
    settle(&mut shard, &mut disk);
    shard.commit_to(shard.durable());
    super::pulse(&mut shard, &mut disk);
    settle(&mut shard, &mut disk);
    (shard, disk)
}

fn place(shard: &Shard, key: &[u8]) -> Location {
    match shard.find(key, View::Committed) {
        Found::OnDisk { at, .. } => at,
        other => panic!("{key:?} is not on the disk: {other:?}"),
    }
}

fn blocks(disk: &MemoryDisk, spec: ReadSpec) -> AlignedBlocks {
    let mut blocks = AlignedBlocks::zeroed(spec.len as usize);
    blocks.as_mut_slice().copy_from_slice(&disk.read_blocks(spec));
    blocks
}

/// Reads with as many pieces under way as there can be. Returns how many there were, too.
fn read(mut read: LargeRead, disk: &MemoryDisk) -> Result<(Option<ValueParts>, usize), Corrupt> {
    let mut taken = 0;
    loop {
        let asked: Vec<_> = std::iter::from_fn(|| read.next()).collect();
        assert!(!asked.is_empty() && asked.iter().all(|spec| spec.len as usize <= READ_PIECE_BYTES));
        for spec in asked {
            taken += 1;
            if read.take(blocks(disk, spec))? == ReadProgress::Whole {
                assert_eq!(read.next(), None);
                return Ok((read.finish(), taken));
            }
        }
    }
}

fn joined(parts: &ValueParts) -> Vec<u8> {
    let all = parts.slices().collect::<Vec<_>>().concat();
    let mut again = Vec::new();
    while !parts.at(again.len()).is_empty() {
        again.extend_from_slice(parts.at(again.len()));
    }
    assert!(all == again && all.len() == parts.len());
    all
}

#[test]
fn each_shape_is_read_in_pieces_and_is_what_was_written() {
    let (_, disk) = written();
    let shard = open(&disk);
    let expected = [
        ("many", value(1, MANY)),
        ("some", value(2, SOME)),
        ("before", value(3, 400_000)),
        ("twice", value(4, 500_000)),
    ];
    for (key, expected) in expected {
        let at = place(&shard, key.as_bytes());
        assert_eq!(at.blocks == Location::MANY, key != "some");
        let (parts, pieces) = read(shard.large_read(at, key.as_bytes()).unwrap(), &disk).unwrap();
        let parts = parts.unwrap();
        assert!(joined(&parts) == expected, "{key}");
        assert_eq!(parts.expiry_ms(), 7);
        assert_eq!(
            Some(parts.revision()),
            shard.name_of(at).map(|name| crate::ids::Revision { epoch: name.epoch, lsn: name.lsn })
        );
        assert!(
            pieces > 1 && parts.memory_bytes() < expected.len() + 2 * READ_PIECE_BYTES,
            "what is around it is given up"
        );
    }
    let tiny = place(&shard, b"tiny");
    assert_eq!(joined(&read(shard.large_read(tiny, b"tiny").unwrap(), &disk).unwrap().0.unwrap()), b"2");
    let small = place(&shard, b"small");
    assert!(shard.large_read(small, b"small").is_none(), "one read is enough");
}

#[test]
fn a_frame_of_another_key_has_no_value_for_this_one() {
    let (_, disk) = written();
    let shard = open(&disk);
    for (place_of, key) in [("many", "mony"), ("some", "many"), ("before", "behind"), ("before", "gone")] {
        let at = place(&shard, place_of.as_bytes());
        assert!(read(shard.large_read(at, key.as_bytes()).unwrap(), &disk).unwrap().0.is_none(), "{key}");
    }
}

#[test]
fn a_flipped_bit_in_any_piece_is_noticed() {
    let (_, whole) = written();
    let shard = open(&whole);
    for key in [&b"many"[..], b"some", b"twice"] {
        let at = place(&shard, key);
        let name = shard.name_of(at).unwrap();
        let len = match key {
            b"many" => MANY,
            b"some" => SOME,
            _ => 1_700_000,
        };
        let header = [0, 4, 8, 10, 12, 16, 24, 32, 40, 48];
        let inside = (0..len).step_by(READ_PIECE_BYTES / 2).map(|at| at + 60);
        for hurt in header.into_iter().chain(inside).chain([len + 40]) {
            let mut disk = whole.clone();
            disk.file_mut(at.segment).unwrap()[at.offset as usize + hurt] ^= 1;
            assert_eq!(
                read(shard.large_read(at, key).unwrap(), &disk).err(),
                Some(Corrupt),
                "{hurt} of {name:?}"
            );
        }
        let elsewhere = Location { offset: at.offset + 8, ..at };
        assert_eq!(read(shard.large_read(elsewhere, key).unwrap(), &whole).err(), Some(Corrupt));
    }
}

#[test]
fn what_was_read_is_kept_and_is_the_same_memory() {
    let (_, disk) = written();
    let mut shard = open(&disk);
    let at = place(&shard, b"many");
    assert!(shard.kept_parts(at, b"many").is_none());
    let parts = Arc::new(read(shard.large_read(at, b"many").unwrap(), &disk).unwrap().0.unwrap());
    shard.keep_parts(b"many", &parts);
    assert!(Arc::ptr_eq(&shard.kept_parts(at, b"many").unwrap(), &parts));
    assert!(shard.kept_parts(at, b"mony").is_none());
    assert_eq!(place(&shard, b"many"), at, "it is still told where it lies");
}

#[test]
fn a_value_in_the_log_buffer_is_copied_in_pieces_or_given_up() {
    let (mut shard, mut disk) = written();
    assert!(shard.large_copy(b"small", View::Newest).is_none());
    assert!(shard.large_copy(b"gone", View::Newest).is_none());
    for (key, expected) in [(&b"many"[..], value(1, MANY)), (b"twice", value(4, 500_000))] {
        let mut copy = shard.large_copy(key, View::Newest).unwrap();
        let mut steps = 1;
        while copy.step(&shard) == CopyProgress::More {
            steps += 1;
        }
        assert_eq!(steps, expected.len().div_ceil(READ_PIECE_BYTES));
        assert!(expected.len() > LARGE_VALUE_BYTES && joined(&copy.finish()) == expected);
    }

    // What is not committed says so; a rewind takes it away.
    let new = value(9, MANY);
    let end = shard.append(&[Op::Put { key: b"many", value: &new, expiry_ms: 0 }], 1).unwrap();
    let mut copy = shard.large_copy(b"many", View::Newest).unwrap();
    assert_eq!(copy.wait(), end);
    assert_eq!(shard.large_copy(b"many", View::Committed).unwrap().wait(), crate::ids::Lsn(0));
    assert_eq!(copy.step(&shard), CopyProgress::More);
    settle(&mut shard, &mut disk);
    shard.rewind_to(shard.committed(), 1).unwrap();
    assert_eq!(copy.step(&shard), CopyProgress::Gone);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(2), 1).unwrap();
    shard.append(&[Op::Put { key: b"many", value: &value(10, MANY), expiry_ms: 0 }], 1).unwrap();
    assert_eq!(copy.step(&shard), CopyProgress::Gone, "another epoch's bytes");

    // And what comes a lap later writes over it.
    let mut copy = shard.large_copy(b"some", View::Newest).unwrap();
    assert_eq!(copy.step(&shard), CopyProgress::More);
    while shard.large_copy(b"some", View::Newest).is_some() {
        settle(&mut shard, &mut disk);
        shard.commit_to(shard.durable());
        settle(&mut shard, &mut disk);
        shard.append(&[Op::Put { key: b"many", value: &new, expiry_ms: 0 }], 1).unwrap();
    }
    assert_eq!(copy.step(&shard), CopyProgress::Gone);
    place(&shard, b"some");
}
