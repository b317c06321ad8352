//! Where the newest committed frame of each key lies: at most 16 bytes of memory per key, all included.
//!
//! 2^14 partitions by the first bits of the key's hash; in each, entries of 13 bytes (a tag of the next 56
//! bits, a packed location) in one array, ordered by tag. An entry's *home* is `tag * capacity >> 56`, which
//! rises with the tag, so order and homes agree (ordered linear probing, Amble and Knuth 1974), growing is one
//! linear pass, and there is no wrap-around: where the array's end is in the way, entries move left instead.
//! The invariant: no empty place lies between an entry and its home.
//!
//! Keys themselves are not here: two keys with the same 70 bits are one to the index, and whoever reads the
//! frame compares the key (`docs/decisions/0002-index-key-identity.md`).

use crate::ids::SegmentId;
use crate::limits::{FRAME_ALIGN, MAX_LIVE_SEGMENTS, MAX_SEGMENT_BYTES};
use crate::meter;
use crate::segment::Location;

const PARTITION_BITS: u32 = 14;
const TAG_BITS: u32 = 56;
const ENTRY_BYTES: usize = 13;
const MIN_CAPACITY: usize = 4;
/// Maximal load: 9 of 10.
const LOAD: (usize, usize) = (9, 10);
/// A full partition grows by 8 %.
const GROWTH: (usize, usize) = (108, 100);

type Entry = [u8; ENTRY_BYTES];
const EMPTY: Entry = [0; ENTRY_BYTES];

fn entry(tag: u64, location: u64) -> Entry {
    let mut entry = EMPTY;
    entry[..7].copy_from_slice(&tag.to_le_bytes()[..7]);
    entry[7..].copy_from_slice(&location.to_le_bytes()[..6]);
    entry
}

fn tag_of(entry: &Entry) -> u64 {
    u64::from_le_bytes(*entry.first_chunk().expect("13 bytes")) & ((1 << TAG_BITS) - 1)
}

/// The packed location; never 0 in a used entry, because a frame touches at least one block.
fn location_of(entry: &Entry) -> u64 {
    u64::from_le_bytes(*entry.last_chunk().expect("13 bytes")) >> 16
}

/// 16 bits of segment, 25 bits of offset in units of 8 bytes, 7 bits of blocks.
fn pack(at: Location) -> u64 {
    assert!(at.offset < MAX_SEGMENT_BYTES && at.offset.is_multiple_of(FRAME_ALIGN), "an offset has 25 bits");
    assert!((1..=Location::MANY).contains(&at.blocks), "a frame touches a block");
    u64::from(at.segment.0 as u16) << 32 | (at.offset / 8) << 7 | u64::from(at.blocks)
}

#[derive(Default)]
struct Partition {
    entries: Box<[Entry]>,
    used: u32,
}

impl Partition {
    /// `tag * capacity >> 56` without overflow: the lower bits of the tag hardly matter.
    fn home(tag: u64, capacity: usize) -> usize {
        (((tag >> 24) * capacity as u64) >> 32) as usize
    }

    fn is_free(&self, at: usize) -> bool {
        location_of(&self.entries[at]) == 0
    }

    /// Where the tag is (`Ok`), or the place of the first greater tag in the run of entries around its home
    /// (`Err`; the home itself if that is free).
    fn search(&self, tag: u64) -> Result<usize, usize> {
        let mut at = Self::home(tag, self.entries.len());
        if self.is_free(at) {
            return Err(at);
        }
        let found = tag_of(&self.entries[at]);
        if found >= tag {
            while at > 0 && !self.is_free(at - 1) && tag_of(&self.entries[at - 1]) >= tag {
                at -= 1;
            }
        } else {
            at += 1;
            while at < self.entries.len() && !self.is_free(at) && tag_of(&self.entries[at]) < tag {
                at += 1;
            }
        }
        let hit = at < self.entries.len() && !self.is_free(at) && tag_of(&self.entries[at]) == tag;
        if hit { Ok(at) } else { Err(at) }
    }

    fn insert(&mut self, at: usize, new: Entry) {
        let free = |entry: &Entry| location_of(entry) == 0;
        if let Some(gap) = self.entries[at..].iter().position(free).map(|gap| at + gap) {
            self.entries.copy_within(at..gap, at + 1);
            self.entries[at] = new;
        } else {
            let gap = (0..at).rev().find(|&place| self.is_free(place)).expect("the load is below one");
            self.entries.copy_within(gap + 1..at, gap);
            self.entries[at - 1] = new;
        }
        self.used += 1;
    }

    fn remove(&mut self, at: usize) {
        let len = self.entries.len();
        let home = |entry: &Entry| Self::home(tag_of(entry), len);
        let mut gap = at;
        while gap + 1 < len && !self.is_free(gap + 1) && home(&self.entries[gap + 1]) <= gap {
            self.entries[gap] = self.entries[gap + 1];
            gap += 1;
        }
        if gap == at {
            while gap > 0 && !self.is_free(gap - 1) && home(&self.entries[gap - 1]) >= gap {
                self.entries[gap] = self.entries[gap - 1];
                gap -= 1;
            }
        }
        self.entries[gap] = EMPTY;
        self.used -= 1;
    }

    fn must_grow(&self) -> bool {
        (self.used as usize + 1) * LOAD.1 > self.entries.len() * LOAD.0
    }

    fn grow(&mut self) {
        let used = self.used as usize;
        let wanted = (used + 1) * LOAD.1 * GROWTH.0 / (LOAD.0 * GROWTH.1) + 1;
        let capacity = wanted.max(MIN_CAPACITY);
        let mut grown = vec![EMPTY; capacity].into_boxed_slice();
        let mut next = 0;
        for (done, old) in self.entries.iter().filter(|old| location_of(old) != 0).enumerate() {
            let place = Self::home(tag_of(old), capacity).max(next).min(capacity - (used - done));
            grown[place] = *old;
            next = place + 1;
        }
        assert!(next <= capacity && used < capacity, "growing loses no entry and leaves a gap");
        self.entries = grown;
    }
}

/// The index of one shard.
pub(crate) struct Index {
    partitions: Box<[Partition]>,
    keys: u64,
    /// The newest segment: stored segment numbers are its nearest lower ones with the same 16 bits.
    newest: SegmentId,
}

impl Index {
    pub fn new() -> Index {
        let partitions = (0..1 << PARTITION_BITS).map(|_| Partition::default()).collect();
        Index { partitions, keys: 0, newest: SegmentId(0) }
    }

    fn split(hash: u128) -> (usize, u64) {
        let partition = (hash >> (128 - PARTITION_BITS)) as usize;
        let tag = (hash >> (128 - PARTITION_BITS - TAG_BITS)) as u64 & ((1 << TAG_BITS) - 1);
        (partition, tag)
    }

    pub fn get(&self, hash: u128) -> Option<Location> {
        meter::key();
        let (partition, tag) = Self::split(hash);
        let partition = &self.partitions[partition];
        if partition.used == 0 {
            return None;
        }
        partition.search(tag).ok().map(|at| self.unpack(location_of(&partition.entries[at])))
    }

    /// Sets the key's location; true if the key is new.
    pub fn put(&mut self, hash: u128, location: Location) -> bool {
        meter::key();
        self.newest = self.newest.max(location.segment);
        assert!(self.newest.0 - location.segment.0 <= MAX_LIVE_SEGMENTS, "a segment's number has 16 bits");
        let (partition, tag) = Self::split(hash);
        let partition = &mut self.partitions[partition];
        let new = entry(tag, pack(location));
        if partition.must_grow() {
            partition.grow();
        }
        match partition.search(tag) {
            Ok(at) => {
                partition.entries[at] = new;
                false
            }
            Err(at) => {
                partition.insert(at, new);
                self.keys += 1;
                true
            }
        }
    }

    /// Forgets the key; true if it was there.
    pub fn remove(&mut self, hash: u128) -> bool {
        meter::key();
        let (partition, tag) = Self::split(hash);
        let partition = &mut self.partitions[partition];
        if partition.used == 0 {
            return false;
        }
        let Ok(at) = partition.search(tag) else { return false };
        partition.remove(at);
        self.keys -= 1;
        true
    }

    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// All memory of the index in bytes.
    pub fn memory_bytes(&self) -> usize {
        let entries: usize = self.partitions.iter().map(|partition| partition.entries.len()).sum();
        entries * ENTRY_BYTES + self.partitions.len() * size_of::<Partition>() + size_of::<Index>()
    }

    fn unpack(&self, packed: u64) -> Location {
        let behind = (self.newest.0 as u16).wrapping_sub((packed >> 32) as u16);
        Location {
            segment: SegmentId(self.newest.0 - u32::from(behind)),
            offset: (packed >> 7 & ((1 << 25) - 1)) * 8,
            blocks: (packed & 0x7f) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn place(n: u64) -> Location {
        Location { segment: SegmentId((n % 7) as u32), offset: 4096 + n * 8, blocks: 1 }
    }

    /// Few partitions and crowded tags, so that runs touch both ends of an array.
    fn crowded(key: u16) -> u128 {
        let tag = match key % 3 {
            0 => u128::from(key),
            1 => (1 << TAG_BITS) - 1 - u128::from(key),
            _ => u128::from(key) << 40,
        };
        u128::from(key % 2) << (128 - PARTITION_BITS) | tag << (128 - PARTITION_BITS - TAG_BITS)
    }

    impl Partition {
        fn check(&self) {
            let mut last = None;
            for at in (0..self.entries.len()).filter(|&at| !self.is_free(at)) {
                let tag = tag_of(&self.entries[at]);
                assert!(last < Some(tag), "ordered by tag");
                last = Some(tag);
                let home = Self::home(tag, self.entries.len());
                assert!(
                    (at.min(home)..=at.max(home)).all(|place| !self.is_free(place)),
                    "no gap to the home"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec((any::<bool>(), 0u16..400), 1..1200)) {
            let mut index = Index::new();
            let mut model = HashMap::new();
            for (n, (put, key)) in steps.into_iter().enumerate() {
                let hash = crowded(key);
                if put || n % 3 == 0 {
                    prop_assert_eq!(index.put(hash, place(n as u64)), model.insert(hash, place(n as u64)).is_none());
                } else {
                    prop_assert_eq!(index.remove(hash), model.remove(&hash).is_some());
                }
                index.partitions[..2].iter().for_each(Partition::check);
                prop_assert_eq!(index.keys(), model.len() as u64);
            }
            for key in 0..400 {
                prop_assert_eq!(index.get(crowded(key)), model.get(&crowded(key)).copied());
            }
        }
    }

    #[test]
    fn a_key_costs_at_most_sixteen_bytes() {
        let mut index = Index::new();
        let hash = |n: u64| crate::key::KeyHasher::new(crate::ids::GroupId(7)).hash(&n.to_le_bytes());
        let keys = 1_000_000;
        for n in 0..keys {
            index.put(hash(n), place(n));
        }
        assert_eq!(index.keys(), keys);
        let per_key = index.memory_bytes() as f64 / keys as f64;
        assert!(per_key <= 16.0, "{per_key} bytes per key");
        assert!((0..keys).step_by(997).all(|n| index.get(hash(n)) == Some(place(n))));
    }

    #[test]
    fn segment_numbers_beyond_sixteen_bits_come_back() {
        let mut index = Index::new();
        let at = |segment| Location { segment: SegmentId(segment), offset: (256 << 20) - 8, blocks: 127 };
        index.put(1 << 100, at(60_000));
        index.put(2 << 100, at(70_000));
        assert_eq!(index.get(1 << 100), Some(at(60_000)));
        assert_eq!(index.get(2 << 100), Some(at(70_000)));
    }
}
