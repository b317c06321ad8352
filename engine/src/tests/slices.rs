//! Frames that come piece by piece: received as a follower, appended as a leader.

use super::{get, open, options, settle};
use crate::error::{AppendError, ReceiveError};
use crate::ids::{Epoch, Lsn};
use crate::receive::Landed;
use crate::shard::{Op, Shard, View};
use crate::testing::MemoryDisk;
use crate::validate::FrameFault;

/// A leader whose log holds small and large frames and batches, and that log.
fn leader() -> (Shard, MemoryDisk, Vec<u8>) {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    for n in 0..9u8 {
        let (key, value) = ([n], vec![n + 1; if n % 3 == 0 { 19_000 } else { 90 }]);
        let put = Op::Put { key: &key, value: &value, expiry_ms: 0 };
        let ops = [put, Op::Delete { key: b"x" }];
        shard.append(&ops[..1 + usize::from(n % 2)], 1).unwrap();
    }
    let range = shard.send_range(Lsn(0), 1 << 20).unwrap();
    let log = shard.bytes(range).to_vec();
    (shard, disk, log)
}

fn follower() -> (Shard, MemoryDisk) {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    (shard, disk)
}

/// The log arrives in stretches of `stretch` bytes, of which `most` are checked at once.
fn receive(
    shard: &mut Shard,
    disk: &mut MemoryDisk,
    log: &[u8],
    stretch: usize,
    most: usize,
) -> Result<(), ReceiveError> {
    let range = shard.landing(shard.tail(), log.len())?;
    let (mut last, mut arrived) = (Landed::Awaited, 0);
    for part in log.chunks(stretch) {
        assert_eq!(last, Landed::Awaited);
        shard.buffer.bytes_mut(range.start.advance(arrived as u64), part.len()).copy_from_slice(part);
        shard.arrived(part.len());
        arrived += part.len();
        loop {
            let before = shard.tail();
            last = shard.check_landed(Epoch(1), most)?;
            shard.check_invariants();
            assert!(shard.tail() >= before);
            if last != Landed::Unchecked {
                break;
            }
        }
        settle(shard, disk);
        let whole = crate::frame::whole_frames(&log[..arrived]) as u64;
        assert_eq!(shard.tail(), range.start.advance(whole), "the log ends with its last whole frame");
        // A crash here drops what is not whole.
        let again = open(disk);
        assert_eq!((again.tail(), again.damaged()), (shard.tail(), false), "{arrived} of {stretch}");
    }
    assert_eq!(last, Landed::Whole);
    Ok(())
}

#[test]
fn what_arrives_is_checked_as_it_arrives() {
    let (mut leader, mut disk, log) = leader();
    settle(&mut leader, &mut disk);
    for (stretch, most) in [(7000, 1000), (4096, usize::MAX), (40_000, 4096), (log.len(), 3), (56, 8)] {
        let (mut shard, mut own) = follower();
        receive(&mut shard, &mut own, &log, stretch, most).unwrap();
        assert_eq!(shard.tail(), leader.tail());
        shard.commit_to(shard.durable());
        settle(&mut shard, &mut own);
        assert!(own.files().eq(disk.files()), "byte for byte");
        for n in 0..9u8 {
            assert_eq!(get(&mut shard, &own, &[n], View::Committed).0.unwrap()[0], n + 1);
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_however_it_arrives() {
    let (_, _, log) = leader();
    for at in (0..log.len()).step_by(331) {
        let mut bad = log.clone();
        bad[at] ^= 4;
        let (mut shard, mut own) = follower();
        let error = receive(&mut shard, &mut own, &bad, 5000, 1000).unwrap_err();
        let ReceiveError::BadFrame { at: lsn, .. } = error else { panic!("{error}") };
        assert!(shard.tail() == lsn && lsn.0 <= at as u64, "the log ends before it");
        let good = &log[lsn.0 as usize..];
        receive(&mut shard, &mut own, good, 5000, 1000).unwrap();
    }
    let (mut shard, mut own) = follower();
    let error = receive(&mut shard, &mut own, &log[..log.len() - 8], 5000, 1000).unwrap_err();
    assert!(matches!(error, ReceiveError::BadFrame { why: FrameFault::Short, .. }), "{error}");
}

#[test]
fn half_a_frame_of_a_leader_that_died_is_written_over() {
    let (_, _, log) = leader();
    let (mut shard, mut disk) = follower();
    let range = shard.landing(Lsn(0), log.len()).unwrap();
    shard.buffer.bytes_mut(range.start, 9000).copy_from_slice(&log[..9000]);
    shard.arrived(9000);
    assert_eq!(shard.check_landed(Epoch(1), usize::MAX).unwrap(), Landed::Awaited);
    settle(&mut shard, &mut disk);
    let end = shard.tail();
    assert!(end < Lsn(9000));
    shard.begin_epoch(Epoch(2), 1).unwrap();
    settle(&mut shard, &mut disk);
    let tail = shard.tail();
    let rest = shard.buffer.bytes(tail, 4096 - (tail.0 % 4096) as usize);
    assert!(rest.iter().all(|&byte| byte == 0), "nothing of it is left in the block");
    let again = open(&disk);
    assert_eq!((again.tail(), again.last_epoch()), (tail, Epoch(2)));
}

#[test]
fn a_value_that_is_appended_in_slices_is_the_same_frame() {
    let value: Vec<u8> = (0..19_000u32).map(|n| (n >> 3) as u8).collect();
    let put = Op::Put { key: b"large", value: &value, expiry_ms: 5 };
    let (mut whole, mut whole_disk) = follower();
    let (mut sliced, mut sliced_disk) = follower();
    for shard in [&mut whole, &mut sliced] {
        shard.begin_epoch(Epoch(1), 1).unwrap();
    }
    for round in 0..30 {
        let end = whole.append(&[put], 9).unwrap();
        let before = sliced.tail();
        sliced.append_begin(b"large", value.len(), 5, 9).unwrap();
        for part in value.chunks(1 + 700 * (round % 9)) {
            sliced.append_more(part);
            if part.len() > 4000 {
                settle(&mut sliced, &mut sliced_disk);
                assert!(sliced.tail() <= before.advance(4096), "it is not of the log yet (a seal may be)");
                assert!(!open(&sliced_disk).damaged());
            }
            assert!(sliced.appending() && sliced.append(&[put], 9) == Err(AppendError::Busy));
        }
        assert_eq!(sliced.append_finish(), end);
        for (shard, disk) in [(&mut whole, &mut whole_disk), (&mut sliced, &mut sliced_disk)] {
            settle(shard, disk);
            shard.commit_to(shard.durable());
            settle(shard, disk);
        }
    }
    assert!(whole.segments.live.len() > 2 && whole_disk.files().eq(sliced_disk.files()), "byte for byte");
    assert_eq!(get(&mut sliced, &sliced_disk, b"large", View::Newest).0.unwrap(), value);

    // Given up: by the caller, and by the end of the lead.
    let end = sliced.tail();
    sliced.append_begin(b"large", value.len(), 5, 9).unwrap();
    sliced.append_more(&value[..5000]);
    settle(&mut sliced, &mut sliced_disk);
    sliced.append_cancel();
    assert!(!sliced.appending() && sliced.tail() == end);
    let small = sliced.append(&[Op::Delete { key: b"large" }], 9).unwrap();
    settle(&mut sliced, &mut sliced_disk);
    assert_eq!(open(&sliced_disk).tail(), small);
    sliced.append_begin(b"large", value.len(), 5, 9).unwrap();
    sliced.append_more(&value[..5000]);
    sliced.landing(small, 48).unwrap();
    assert!(!sliced.appending());
    sliced.begin_epoch(Epoch(2), 1).unwrap();
    settle(&mut sliced, &mut sliced_disk);
    assert_eq!(open(&sliced_disk).tail(), sliced.tail());
    let limit = options().max_value_bytes;
    assert_eq!(sliced.append_begin(b"k", limit + 1, 0, 1), Err(AppendError::ValueTooLarge { limit }));
}
