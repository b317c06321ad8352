//! A leader and a follower make the same log and the same files.

use super::{Dice, get, open, options, settle};
use crate::error::{ReceiveError, RewindError};
use crate::ids::{Epoch, Lsn};
use crate::shard::{Op, Shard, View};
use crate::testing::MemoryDisk;
use crate::validate::FrameFault;

/// Sends what the follower lacks, as much as fits.
fn stream(leader: &Shard, disk: &MemoryDisk, follower: &mut Shard, limit: Epoch) -> Result<(), ReceiveError> {
    while follower.tail() < leader.tail() {
        let at = follower.tail();
        let bytes = match leader.send_range(at, 60_000) {
            Some(range) => leader.bytes(range).to_vec(),
            None => {
                let (spec, skip, len) = leader.read_log(at, 60_000);
                let blocks = disk.read_blocks(spec);
                blocks[skip..skip + crate::frame::whole_frames(&blocks[skip..skip + len])].to_vec()
            }
        };
        let place = follower.landing(at, bytes.len())?;
        follower.buffer.bytes_mut(place.start, place.len).copy_from_slice(&bytes);
        follower.landed(at, bytes.len(), limit)?;
    }
    Ok(())
}

#[test]
fn the_files_are_the_same() {
    let (mut disk_a, mut disk_b) =
        (MemoryDisk::new(options().segment_bytes), MemoryDisk::new(options().segment_bytes));
    let (mut a, mut b) = (open(&disk_a), open(&disk_b));
    settle(&mut a, &mut disk_a);
    settle(&mut b, &mut disk_b);
    let mut dice = Dice::new(5);
    for epoch in 1..4 {
        a.begin_epoch(Epoch(epoch), 1).unwrap();
        for n in 0..1500u64 {
            let len = if n % 50 == 0 { 15_000 } else { dice.below(300) as usize };
            let key = dice.below(500).to_le_bytes();
            let value = vec![n as u8; len];
            let put = Op::Put { key: &key, value: &value, expiry_ms: 0 };
            let batch =
                [put, Op::Delete { key: b"gone" }, Op::Put { key: b"both", value: &key, expiry_ms: 3 }];
            a.append(if n % 7 == 0 { &batch } else { &batch[..1] }, 1).unwrap();
            if n % 40 == 0 {
                settle(&mut a, &mut disk_a);
                // The follower falls behind at times, so that it is served from disk.
                if n % 600 == 0 {
                    stream(&a, &disk_a, &mut b, Epoch(epoch)).unwrap_or_else(|error| {
                        assert_eq!(error, ReceiveError::Full);
                    });
                }
                settle(&mut b, &mut disk_b);
                b.commit_to(b.durable());
                a.commit_to(a.durable());
            }
        }
    }
    settle(&mut a, &mut disk_a);
    a.commit_to(a.durable());
    while b.tail() < a.tail() {
        stream(&a, &disk_a, &mut b, Epoch(3)).unwrap_or_else(|error| assert_eq!(error, ReceiveError::Full));
        settle(&mut b, &mut disk_b);
        b.commit_to(b.durable());
    }
    settle(&mut b, &mut disk_b);
    assert!(a.segments.live.len() > 5);
    assert_eq!(a.history(), b.history());
    assert_eq!(a.key_count(), b.key_count());
    assert!(disk_a.files().eq(disk_b.files()), "byte for byte");
    for key in 0..500u64 {
        let key = key.to_le_bytes();
        assert_eq!(
            get(&mut a, &disk_a, &key, View::Newest),
            get(&mut b, &disk_b, &key, View::Committed),
            "key {key:?}"
        );
    }
}

#[test]
fn a_deposed_leader_rewinds_and_follows() {
    let (mut disk_a, mut disk_b) =
        (MemoryDisk::new(options().segment_bytes), MemoryDisk::new(options().segment_bytes));
    let (mut a, mut b) = (open(&disk_a), open(&disk_b));
    settle(&mut a, &mut disk_a);
    settle(&mut b, &mut disk_b);
    let put = |shard: &mut Shard, key: &[u8], value: &[u8]| {
        shard.append(&[Op::Put { key, value, expiry_ms: 0 }], 1).unwrap()
    };
    a.begin_epoch(Epoch(1), 1).unwrap();
    let shared = put(&mut a, b"x", b"shared");
    stream(&a, &disk_a, &mut b, Epoch(1)).unwrap();
    settle(&mut a, &mut disk_a);
    a.commit_to(shared);
    assert_eq!(get(&mut a, &disk_a, b"x", View::Newest), (Some(b"shared".to_vec()), Lsn(0)));
    let lost = put(&mut a, b"x", b"lost");
    assert_eq!(get(&mut a, &disk_a, b"x", View::Newest), (Some(b"lost".to_vec()), lost));
    assert_eq!(get(&mut a, &disk_a, b"x", View::Committed), (Some(b"shared".to_vec()), Lsn(0)));
    for _ in 0..25 {
        put(&mut a, b"y", &[1; 15_000]);
        settle(&mut a, &mut disk_a);
    }
    b.begin_epoch(Epoch(2), 1).unwrap();
    put(&mut b, b"x", b"new");
    settle(&mut b, &mut disk_b);
    let common = a.history().common_point(a.tail(), b.history(), b.tail());
    assert_eq!(common, shared);
    assert!(matches!(a.rewind_to(Lsn(0), 7), Err(RewindError::BelowCommitted { .. })));
    let cut = a.tail().0 - shared.0;
    a.rewind_to(common, 7).unwrap();
    assert!(a.rewinding());
    assert_eq!(a.landing(common, 8), Err(ReceiveError::Rewinding));
    assert_eq!(get(&mut a, &disk_a, b"y", View::Newest).0, None);
    settle(&mut a, &mut disk_a);
    assert!(!a.rewinding());
    assert_eq!((a.tail(), a.durable()), (shared, shared));
    assert!(disk_a.rewound()[0].bytes.len() as u64 >= cut);
    stream(&b, &disk_b, &mut a, Epoch(2)).unwrap();
    settle(&mut a, &mut disk_a);
    a.commit_to(a.tail());
    assert_eq!(a.tail(), b.tail());
    assert_eq!(get(&mut a, &disk_a, b"x", View::Newest).0.unwrap(), b"new");
    assert_eq!(open(&disk_a).tail(), b.tail());
}

#[test]
fn a_full_buffer_does_not_keep_a_follower_from_leading() {
    let (mut disk_a, mut disk_b) =
        (MemoryDisk::new(options().segment_bytes), MemoryDisk::new(options().segment_bytes));
    let (mut a, mut b) = (open(&disk_a), open(&disk_b));
    settle(&mut a, &mut disk_a);
    settle(&mut b, &mut disk_b);
    a.begin_epoch(Epoch(1), 1).unwrap();
    let full = loop {
        settle(&mut a, &mut disk_a);
        settle(&mut b, &mut disk_b);
        a.commit_to(a.durable());
        a.append(&[Op::Put { key: b"k", value: &[1; 4000], expiry_ms: 0 }], 1).unwrap();
        if let Err(error) = stream(&a, &disk_a, &mut b, Epoch(1)) {
            break error;
        }
    };
    assert_eq!(full, ReceiveError::Full);
    let end = b.begin_epoch(Epoch(2), 1).unwrap();
    settle(&mut b, &mut disk_b);
    b.commit_to(end);
    while b.apply_some(1) {}
    assert_eq!(b.applied(), end);
    assert_eq!(get(&mut b, &disk_b, b"k", View::Committed).0.unwrap(), [1; 4000]);
}

#[test]
fn a_bad_frame_is_refused_and_the_good_ones_before_it_stay() {
    let (mut disk_a, mut disk_b) =
        (MemoryDisk::new(options().segment_bytes), MemoryDisk::new(options().segment_bytes));
    let (mut a, mut b) = (open(&disk_a), open(&disk_b));
    settle(&mut a, &mut disk_a);
    settle(&mut b, &mut disk_b);
    a.begin_epoch(Epoch(1), 1).unwrap();
    let first = a.append(&[Op::Delete { key: b"a" }], 1).unwrap();
    a.append(&[Op::Delete { key: b"b" }], 1).unwrap();
    assert!(matches!(
        stream(&a, &disk_a, &mut b, Epoch(0)),
        Err(ReceiveError::BadFrame { at: Lsn(0), why: FrameFault::EpochTooHigh { .. } })
    ));
    let range = a.send_range(Lsn(0), 60_000).unwrap();
    let mut bytes = a.bytes(range).to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    b.landing(Lsn(0), bytes.len()).unwrap();
    b.buffer.bytes_mut(Lsn(0), bytes.len()).copy_from_slice(&bytes);
    assert!(matches!(
        b.landed(Lsn(0), bytes.len(), Epoch(1)),
        Err(ReceiveError::BadFrame { why: FrameFault::Checksum, .. })
    ));
    assert_eq!(b.tail(), first);
    stream(&a, &disk_a, &mut b, Epoch(1)).unwrap();
    assert_eq!(b.tail(), a.tail());
}
