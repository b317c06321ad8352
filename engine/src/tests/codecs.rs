//! What recovery believes: each block comes back as it was written, one flipped bit anywhere in what a checksum
//! covers is noticed, and arbitrary bytes are refused without a panic.

use super::{open, options, settle};
use crate::frame::{FrameKind, Stamp, batch_entry_len, encode, encode_batch_entry, frame_len};
use crate::ids::{DiskId, Epoch, GroupId, Lsn, SegmentId, ShardId};
use crate::limits::{BLOCK, MAX_EPOCHS_PER_SEGMENT, block_floor};
use crate::pulse::Pulse;
use crate::scan::Scanner;
use crate::segment::{FOOTER_ENTRY_BYTES, FooterEnd, HeaderBlock, SegmentHeader, footer_bytes};
use crate::shard::Op;
use crate::superblock::{Superblock, SuperblockBytes};
use crate::testing::MemoryDisk;
use crate::validate::check_frame;
use proptest::prelude::*;

/// Every block with one bit flipped among the first `bytes` bytes.
fn flipped(block: &[u8], bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes * 8).map(move |bit| {
        let mut bad = block.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    })
}

fn header() -> impl Strategy<Value = SegmentHeader> {
    (any::<u128>(), any::<u16>(), any::<u32>(), any::<[u64; 5]>()).prop_map(
        |(group, shard, segment, words)| SegmentHeader {
            group: GroupId(group),
            shard: ShardId(shard),
            segment: SegmentId(segment),
            segment_bytes: words[0],
            base: Lsn(block_floor(words[1])),
            epoch: Epoch(words[2]),
            epoch_start: Lsn(words[3]),
        },
    )
}

fn footer() -> impl Strategy<Value = FooterEnd> {
    let epochs = prop::collection::vec((any::<u64>(), any::<u64>()), 0..=MAX_EPOCHS_PER_SEGMENT);
    (any::<u32>(), any::<[u64; 3]>(), any::<u32>(), epochs).prop_map(
        |(segment, words, entries_crc, epochs)| FooterEnd {
            segment: SegmentId(segment),
            base: Lsn(words[0]),
            end: Lsn(words[1]),
            entries: words[2],
            entries_crc,
            epochs: epochs.into_iter().map(|(epoch, start)| (Epoch(epoch), Lsn(start))).collect(),
        },
    )
}

fn pulse() -> impl Strategy<Value = Pulse> {
    any::<[u64; 4]>().prop_map(|words| Pulse {
        epoch: Epoch(words[0]),
        durable: Lsn(words[1]),
        committed: Lsn(words[2]),
        repair_until: Lsn(words[3]),
        repair_epoch: Epoch(words[4]),
    })
}

fn superblock() -> impl Strategy<Value = Superblock> {
    (any::<u128>(), any::<u128>(), "[a-z]{0,64}", any::<u16>(), any::<u64>()).prop_map(
        |(group, disk, node_name, shards, segment_bytes)| Superblock {
            group: GroupId(group),
            disk: DiskId(disk),
            node_name,
            shards,
            segment_bytes,
        },
    )
}

/// A disk whose first segment is sealed.
fn sealed() -> MemoryDisk {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    for n in 0..40u64 {
        shard.append(&[Op::Put { key: &n.to_le_bytes(), value: &[n as u8; 8000], expiry_ms: 0 }], 1).unwrap();
        settle(&mut shard, &mut disk);
        shard.commit_to(shard.durable());
    }
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_segment_header(header in header()) {
        let block = header.to_block();
        prop_assert_eq!(SegmentHeader::from_block(block.as_slice()), HeaderBlock::Valid(header));
        for bad in flipped(block.as_slice(), 72) {
            prop_assert!(!matches!(SegmentHeader::from_block(&bad), HeaderBlock::Valid(_) | HeaderBlock::Blank));
        }
    }

    #[test]
    fn a_footer(footer in footer()) {
        let block = footer.to_block();
        prop_assert_eq!(FooterEnd::from_block(block.as_slice()), Some(footer.clone()));
        // All of the block is covered; every bit of the fields and of the epochs is tried.
        let bytes = 48 + 16 * footer.epochs.len() + 8;
        for bad in flipped(block.as_slice(), bytes) {
            prop_assert_eq!(FooterEnd::from_block(&bad), None);
        }
    }

    #[test]
    fn a_pulse(pulse in pulse()) {
        let block = pulse.to_block();
        prop_assert_eq!(Pulse::from_block(block.as_slice()), Some(pulse));
        for bad in flipped(block.as_slice(), 48) {
            prop_assert_eq!(Pulse::from_block(&bad), None);
        }
    }

    #[test]
    fn a_superblock(superblock in superblock()) {
        let blocks = superblock.to_blocks();
        let (one, two) = blocks.as_slice().split_at(BLOCK as usize);
        prop_assert_eq!(Superblock::from_blocks(blocks.as_slice()), SuperblockBytes::Valid(superblock.clone()));
        for bad in flipped(one, 128) {
            prop_assert_eq!(Superblock::from_blocks(&bad), SuperblockBytes::Damaged);
            let both = [&bad[..], two].concat();
            prop_assert_eq!(Superblock::from_blocks(&both), SuperblockBytes::Valid(superblock.clone()));
        }
    }

    #[test]
    fn a_frame_of_each_kind(key in prop::collection::vec(any::<u8>(), 0..40),
                            value in prop::collection::vec(any::<u8>(), 0..200),
                            words in any::<[u64; 4]>()) {
        let stamp = Stamp {
            epoch: Epoch(words[0].max(1)), lsn: Lsn(words[1] & !7), expiry_ms: words[2], wall_ms: words[3],
        };
        use FrameKind::{Batch, Delete, EpochStart, Pad, Put, Seal};
        for kind in [Put, Delete, Batch, EpochStart, Pad, Seal] {
            let (frame_key, len) = match kind {
                Put => (&key[..], value.len()),
                Delete => (&key[..], 0),
                Batch => (&[][..], batch_entry_len(key.len(), value.len())),
                EpochStart | Pad | Seal => (&[][..], 0),
            };
            let mut bytes = vec![0xaa; frame_len(frame_key.len(), len)];
            encode(&mut bytes, kind, stamp, frame_key, len, |place| match kind {
                Put => place.copy_from_slice(&value),
                Batch => assert_eq!(encode_batch_entry(place, Put, &key, &value, 7), len),
                Delete | EpochStart | Pad | Seal => {}
            });
            let check = |bytes: &[u8]| check_frame(bytes, stamp.lsn, stamp.epoch, stamp.epoch).is_ok();
            prop_assert!(check(&bytes));
            prop_assert!(flipped(&bytes, bytes.len()).all(|bad| !check(&bad)), "{kind:?}");
            prop_assert!((0..bytes.len()).all(|cut| !check(&bytes[..cut])));
        }
    }

    #[test]
    fn footer_entries(bit in any::<prop::sample::Index>()) {
        let disk = sealed();
        let scan = |disk: &MemoryDisk| {
            let mut tell = |_| ();
            let (options, all) = (options(), |_: &_| ());
            let mut scanner = Scanner::new(&options, disk, 1, &mut tell);
            scanner.segment(SegmentId(0), Lsn(0), Epoch(0), Lsn(0), all).unwrap()
        };
        let good = scan(&disk);
        prop_assert!(good.by_footer);
        let mut bad = disk.clone();
        let file = bad.file_mut(SegmentId(0)).unwrap();
        let entries = file.len() - footer_bytes(good.entries.len()) as usize;
        let bit = bit.index(good.entries.len() * FOOTER_ENTRY_BYTES * 8);
        file[entries + bit / 8] ^= 1 << (bit % 8);
        let scanned = scan(&bad);
        prop_assert!(!scanned.by_footer, "a footer with a flipped bit is not believed");
        prop_assert_eq!((scanned.entries, scanned.end), (good.entries, good.end));
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..5000), magic in 0usize..4) {
        let mut bytes = bytes;
        let magics: [&[u8]; 4] = [b"BatonSEG", b"BatonFTR", b"BatonPLS", b"BatonSUP"];
        bytes.splice(..bytes.len().min(8), magics[magic].iter().copied());
        prop_assert!(!matches!(SegmentHeader::from_block(&bytes), HeaderBlock::Valid(_)));
        prop_assert_eq!(FooterEnd::from_block(&bytes), None);
        prop_assert_eq!(Pulse::from_block(&bytes), None);
        prop_assert!(!matches!(Superblock::from_blocks(&bytes), SuperblockBytes::Valid(_)));
    }
}
