//! Frames: what is encoded is what is read, and a changed bit is noticed.

use crate::frame::{self, FrameKind, FrameView, Stamp, encode, encode_batch_entry, frame_len, whole_frames};
use crate::ids::{Epoch, Lsn};
use crate::segment::{FooterEnd, HeaderBlock, SegmentHeader};
use crate::validate::{FrameFault, check_frame};
use proptest::prelude::*;

const STAMP: Stamp = Stamp { epoch: Epoch(3), lsn: Lsn(4096), expiry_ms: 17, wall_ms: 99 };

proptest! {
    #[test]
    fn a_put_reads_as_written(key in prop::collection::vec(any::<u8>(), 0..300),
                              value in prop::collection::vec(any::<u8>(), 0..3000),
                              bit in any::<prop::sample::Index>()) {
        let mut bytes = vec![0xaa; frame_len(key.len(), value.len())];
        encode(&mut bytes, FrameKind::Put, STAMP, &key, value.len(), |place| place.copy_from_slice(&value));
        let frame = check_frame(&bytes, Lsn(4096), Epoch(3), Epoch(3)).unwrap();
        prop_assert_eq!((frame.key(), frame.value()), (&key[..], &value[..]));
        prop_assert_eq!(frame.find(&key).unwrap().expiry_ms, 17);
        prop_assert_eq!(whole_frames(&bytes), bytes.len());
        prop_assert_eq!(whole_frames(&bytes[..bytes.len() - 1]), 0);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check_frame(&bytes, Lsn(4096), Epoch(3), Epoch(3)).is_err());
    }

    #[test]
    fn a_batch_reads_as_written(ops in prop::collection::vec(
        (any::<bool>(), prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..50)), 1..20)) {
        let len = ops.iter().map(|(_, key, value)| frame::batch_entry_len(key.len(), value.len())).sum();
        let mut bytes = vec![0; frame_len(0, len)];
        encode(&mut bytes, FrameKind::Batch, STAMP, &[], len, |mut place| {
            for (put, key, value) in &ops {
                let kind = if *put { FrameKind::Put } else { FrameKind::Delete };
                let entry = encode_batch_entry(place, kind, key, value, 5);
                place = &mut place[entry..];
            }
        });
        let frame = check_frame(&bytes, Lsn(4096), Epoch(3), Epoch(3)).unwrap();
        let read: Vec<_> = frame.operations().map(|op| (op.put, op.key.to_vec(), op.value.to_vec())).collect();
        prop_assert_eq!(&read, &ops);
        let last = ops.iter().rev().find(|op| op.1 == ops[0].1).unwrap();
        prop_assert_eq!(frame.find(&ops[0].1).unwrap().value, &last.2[..]);
    }

    #[test]
    fn noise_is_no_frame(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(check_frame(&bytes, Lsn(0), Epoch(0), Epoch(u64::MAX)).is_err());
        let _ = FrameView::of(&bytes).map(|frame| frame.operations().count());
        prop_assert!(whole_frames(&bytes) <= bytes.len());
        prop_assert!(FooterEnd::from_block(&bytes).is_none());
        prop_assert!(!matches!(SegmentHeader::from_block(&bytes), HeaderBlock::Valid(_)));
    }
}

#[test]
fn a_frame_stands_only_where_it_may() {
    let mut bytes = vec![0; frame_len(1, 1)];
    encode(&mut bytes, FrameKind::Put, STAMP, b"k", 1, |place| place.fill(1));
    let fault = |at, last, limit| check_frame(&bytes, Lsn(at), Epoch(last), Epoch(limit)).err();
    assert_eq!(fault(4096, 3, 3), None);
    assert_eq!(fault(8192, 3, 3), Some(FrameFault::WrongPlace(Lsn(4096))));
    assert_eq!(fault(4096, 4, 9), Some(FrameFault::EpochFell { found: Epoch(3), last: Epoch(4) }));
    assert_eq!(fault(4096, 2, 9), Some(FrameFault::EpochRose { found: Epoch(3) }));
    assert_eq!(fault(4096, 3, 2), Some(FrameFault::EpochTooHigh { found: Epoch(3), limit: Epoch(2) }));
    assert_eq!(check_frame(&[0; 64], Lsn(0), Epoch(1), Epoch(1)).err(), Some(FrameFault::Empty));
}
