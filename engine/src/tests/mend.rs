//! Writing a damaged frame back: only where nothing else writes, only what belongs there, and safe to crash in.

use super::{get, open, options, settle};
use crate::ids::{Epoch, Lsn};
use crate::limits::{BLOCK, block_floor};
use crate::mend::{Examined, FrameName, Mend};
use crate::shard::{Decoded, Found, Op, Shard, View};
use crate::testing::MemoryDisk;

const KEYS: u64 = 200;

fn value(n: u64) -> Vec<u8> {
    vec![n as u8; 3000 + n as usize]
}

/// A shard of several segments on its disk, opened anew so that its values are read from there.
fn written() -> (Shard, MemoryDisk) {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    for n in 0..KEYS {
        shard.append(&[Op::Put { key: &n.to_le_bytes(), value: &value(n), expiry_ms: 0 }], 1).unwrap();
        settle(&mut shard, &mut disk);
        shard.commit_to(shard.durable());
    }
    super::pulse(&mut shard, &mut disk);
    settle(&mut shard, &mut disk);
    (open(&disk), disk)
}

/// The name of a key's frame, and its blocks.
fn frame_of(shard: &Shard, disk: &MemoryDisk, n: u64) -> (FrameName, crate::disk::ReadSpec, Vec<u8>) {
    let Found::OnDisk { at, spec, .. } = shard.find(&n.to_le_bytes(), View::Committed) else {
        panic!("key {n} is not on the disk")
    };
    let name = shard.name_of(at).unwrap();
    assert_eq!(shard.place_of(name), Some(spec));
    (name, spec, disk.read_blocks(spec))
}

fn flip(disk: &mut MemoryDisk, spec: crate::disk::ReadSpec, at: usize) {
    disk.file_mut(spec.segment).unwrap()[spec.offset as usize + at] ^= 0x10;
}

#[test]
fn recovery_trusts_a_footer_and_a_read_does_not() {
    let (mut shard, whole) = written();
    let (name, spec, blocks) = frame_of(&shard, &whole, 7);
    let mut disk = whole.clone();
    flip(&mut disk, spec, name.lsn.0 as usize % BLOCK as usize + 100);
    let tail = shard.tail();
    shard = open(&disk);
    assert!(!shard.damaged() && shard.tail() == tail, "the segment is sealed: nothing is seen");
    let Found::OnDisk { at, .. } = shard.find(&7u64.to_le_bytes(), View::Committed) else { panic!() };
    assert_eq!(shard.decode(at, &7u64.to_le_bytes(), &disk.read_blocks(spec)), Decoded::Corrupt);
    let ours = disk.read_blocks(spec);
    assert_eq!(shard.mend(name, &blocks, Some(&ours), Lsn(0)), Mend::Writing);
    assert!(shard.mending());
    settle(&mut shard, &mut disk);
    assert!(!shard.mending() && disk.files().eq(whole.files()), "byte for byte");
    assert_eq!(shard.mend(name, &blocks, Some(&disk.read_blocks(spec)), Lsn(0)), Mend::Sound);
    assert_eq!(get(&mut shard, &disk, &7u64.to_le_bytes(), View::Newest).0.unwrap(), value(7));
}

#[test]
fn what_is_around_the_frame_stays_as_this_disk_has_it() {
    let (mut shard, whole) = written();
    let mut disk = whole.clone();
    let meet = |&n: &u64| {
        let (first, second) = (frame_of(&shard, &whole, n).0.lsn, frame_of(&shard, &whole, n + 1).0.lsn);
        first.0 < block_floor(second.0) && block_floor(second.0) < second.0
    };
    let n = (1..9).find(meet).expect("two frames that meet inside a block");
    let (first, first_spec, first_blocks) = frame_of(&shard, &whole, n);
    let (second, second_spec, second_blocks) = frame_of(&shard, &whole, n + 1);
    flip(&mut disk, first_spec, first.lsn.0 as usize % BLOCK as usize + 60);
    flip(&mut disk, second_spec, second.lsn.0 as usize % BLOCK as usize + 60);
    for (name, spec, blocks) in [(first, first_spec, first_blocks), (second, second_spec, second_blocks)] {
        // Whatever a peer has around the frame.
        let mut theirs = vec![0xbb; blocks.len()];
        let Examined::Whole(frame) = shard.examine(name, &blocks) else { panic!() };
        let from = name.lsn.0 as usize % BLOCK as usize;
        theirs[from..from + frame.len()].copy_from_slice(&blocks[from..from + frame.len()]);
        let ours = disk.read_blocks(spec);
        assert_eq!(shard.mend(name, &theirs, Some(&ours), Lsn(u64::MAX)), Mend::Writing);
        settle(&mut shard, &mut disk);
    }
    assert!(disk.files().eq(whole.files()));
}

#[test]
fn only_what_is_committed_and_durable_is_written() {
    let (mut shard, mut disk) = written();
    let (name, spec, blocks) = frame_of(&shard, &disk, 7);
    assert_eq!(
        shard.mend(name, &blocks, None, Lsn(name.lsn.0 + 8)),
        Mend::TooEarly,
        "they have not all of it"
    );
    assert_eq!(shard.mend(name, &blocks, None, shard.committed()), Mend::Writing);
    settle(&mut shard, &mut disk);
    let mut wrong = blocks.clone();
    wrong[name.lsn.0 as usize % BLOCK as usize + 200] ^= 1;
    let ours = vec![0; spec.len as usize];
    assert_eq!(shard.mend(name, &wrong, Some(&ours), Lsn(0)), Mend::TooEarly, "that is not the frame");

    // The last frame's last block will be written again by the log itself.
    let last = shard.name_at(Lsn(shard.tail().0 - frame_len(KEYS - 1))).unwrap();
    let spec = shard.place_of(last).unwrap();
    let blocks = disk.read_blocks(crate::disk::ReadSpec { len: 2 * BLOCK as u32, ..spec });
    assert!(matches!(shard.examine(last, &blocks), Examined::Whole(_)));
    assert!(!shard.tail().0.is_multiple_of(BLOCK));
    let zeros = vec![0; blocks.len()];
    assert_eq!(shard.mend(last, &blocks, Some(&zeros), Lsn(u64::MAX)), Mend::TooEarly);

    // What is durable but not committed may yet be rewound.
    shard.begin_epoch(Epoch(2), 1).unwrap();
    let from = shard.tail();
    shard.append(&[Op::Put { key: b"k", value: &[1; 15_000], expiry_ms: 0 }], 1).unwrap();
    settle(&mut shard, &mut disk);
    let name = shard.name_at(from).unwrap();
    let spec = shard.place_of(name).unwrap();
    let blocks = disk.read_blocks(crate::disk::ReadSpec { len: 5 * BLOCK as u32, ..spec });
    assert!(matches!(shard.examine(name, &blocks), Examined::Whole(_)));
    let zeros = vec![0; blocks.len()];
    assert_eq!(shard.mend(name, &blocks, Some(&zeros), Lsn(u64::MAX)), Mend::TooEarly);
}

fn frame_len(n: u64) -> u64 {
    crate::frame::frame_len(8, value(n).len()) as u64
}

#[test]
fn another_epoch_at_the_same_place_is_another_frame() {
    let (shard, disk) = written();
    let (name, _, blocks) = frame_of(&shard, &disk, 7);
    for wrong in [
        FrameName { epoch: Epoch(2), ..name },
        FrameName { lsn: name.lsn.advance(4), ..name },
        FrameName { lsn: shard.tail().advance(8), ..name },
        FrameName { blocks: u8::MAX, ..name },
    ] {
        assert_eq!(shard.place_of(wrong), None, "{wrong:?}");
        assert!(matches!(shard.examine(wrong, &blocks), Examined::Damaged));
    }
    let longer = FrameName { blocks: name.blocks + 1, ..name };
    assert!(matches!(shard.examine(longer, &blocks), Examined::Damaged));
}

#[test]
fn a_crash_inside_the_write_leaves_the_frame_damaged_or_whole_and_its_neighbours_alone() {
    let (mut shard, whole) = written();
    let mut disk = whole.clone();
    let (name, spec, blocks) = frame_of(&shard, &whole, 7);
    let (from, len) = (name.lsn.0 as usize % BLOCK as usize, frame_len(7) as usize);
    let file = disk.file_mut(spec.segment).unwrap();
    file[spec.offset as usize + from..spec.offset as usize + from + len].fill(0xdd);
    let ours = disk.read_blocks(spec);
    assert_eq!(shard.mend(name, &blocks, Some(&ours), Lsn(0)), Mend::Writing);
    let op = shard.poll_disk().unwrap();
    let stages = disk.stages(&op, &shard);
    let sectors: Vec<_> = stages.iter().flatten().collect();
    for written in 0..=sectors.len() {
        for effects in [&sectors[..written], &sectors[written..]] {
            let mut crashed = disk.clone();
            effects.iter().for_each(|effect| crashed.apply(effect));
            let mut again = open(&crashed);
            assert!(!again.damaged() && again.tail() == shard.tail());
            for n in (0..KEYS).filter(|&n| n != 7) {
                let Found::OnDisk { .. } = again.find(&n.to_le_bytes(), View::Newest) else { continue };
                assert_eq!(get(&mut again, &crashed, &n.to_le_bytes(), View::Newest).0.unwrap(), value(n));
            }
            let all = effects.len() == sectors.len();
            let is_whole = matches!(again.examine(name, &crashed.read_blocks(spec)), Examined::Whole(_));
            assert!(is_whole || !all);
        }
    }
}
