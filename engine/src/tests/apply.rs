//! Applying in slices: no reader can tell how far it is.

use super::{get, open, options, settle};
use crate::ids::{Epoch, Lsn};
use crate::shard::{Op, Shard, View};
use crate::testing::MemoryDisk;

const KEYS: u64 = 50;

fn look(shard: &mut Shard, disk: &MemoryDisk, view: View) -> Vec<(Option<Vec<u8>>, Lsn)> {
    (0..KEYS).map(|key| get(shard, disk, &key.to_le_bytes(), view)).collect()
}

#[test]
fn readers_see_what_is_committed_however_much_of_it_is_applied() {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let keys: Vec<_> = (0..KEYS).map(u64::to_le_bytes).collect();
    let put = |n: usize, value| Op::Put { key: &keys[n], value, expiry_ms: 0 };
    let old: Vec<_> = (0..keys.len()).map(|n| put(n, b"old")).collect();
    shard.append(&old, 1).unwrap();
    settle(&mut shard, &mut disk);
    shard.commit_to(shard.durable());
    settle(&mut shard, &mut disk);

    // One batch, and then frames of their own: deletes, and puts of which only a part is committed.
    let before = shard.applied();
    let new: Vec<_> = (0..20).map(|n| put(n, b"new")).collect();
    let batch = shard.append(&new, 1).unwrap();
    for key in &keys[20..30] {
        shard.append(&[Op::Delete { key }], 1).unwrap();
    }
    let committed = shard.append(&[put(30, b"new")], 1).unwrap();
    let end = shard.append(&[put(31, b"later")], 1).unwrap();
    while shard.durable() < end {
        let commands: Vec<_> = std::iter::from_fn(|| shard.poll_disk()).collect();
        for command in commands {
            let done = disk.run(&command, &shard);
            shard.disk_done(done).unwrap();
        }
    }
    shard.commit_to(committed);
    assert_eq!((shard.committed(), shard.applied()), (committed, before), "the commit waits for nothing");
    let newest = look(&mut shard, &disk, View::Newest);
    let shown = look(&mut shard, &disk, View::Committed);
    assert_eq!((&newest[31], &shown[31].0), (&(Some(b"later".to_vec()), end), &Some(b"old".to_vec())));
    let mut slices = 1;
    while shard.apply_some(7) {
        shard.check_invariants();
        let inside = 7 * slices < 20;
        slices += 1;
        assert!(!inside || shard.applied() == before, "half a batch is not applied");
        assert!(inside || shard.applied() >= batch);
        assert_eq!(look(&mut shard, &disk, View::Newest), newest);
        assert_eq!(look(&mut shard, &disk, View::Committed), shown);
    }
    assert_eq!(slices, (20 + 10 + 1_usize).div_ceil(7), "seven operations at a time");
    assert_eq!((shard.applied(), shard.unapplied()), (committed, false));
    assert_eq!(look(&mut shard, &disk, View::Committed), shown);
    assert_eq!(shard.key_count(), KEYS - 10);
}

#[test]
fn what_is_not_applied_stays_in_the_log_buffer() {
    let mut disk = MemoryDisk::new(options().segment_bytes);
    let mut shard = open(&disk);
    settle(&mut shard, &mut disk);
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let mut appended = 0;
    loop {
        match shard.append(&[Op::Put { key: b"k", value: &[1; 9000], expiry_ms: 0 }], 1) {
            Ok(_) => appended += 1,
            Err(error) => break assert_eq!(error, crate::error::AppendError::BufferFull),
        }
        while let Some(command) = shard.poll_disk() {
            let done = disk.run(&command, &shard);
            shard.disk_done(done).unwrap();
        }
        shard.commit_to(shard.durable());
    }
    assert!(appended > 10 && shard.unapplied());
    while shard.apply_some(1) {}
    shard.append(&[Op::Put { key: b"k", value: &[1; 9000], expiry_ms: 0 }], 1).unwrap();
}
