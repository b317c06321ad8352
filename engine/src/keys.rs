//! The keys of a shard: where the newest committed frame of each lies, and how many there are in each slot.
//!
//! Promises that a slot's count is that of its keys in the index. Knows nothing of the log's order: whoever
//! applies operations does it in that order, so that the highest (epoch, LSN) wins.

use crate::index::Index;
use crate::segment::Location;
use crate::slot::SLOTS;

pub(crate) struct Keys {
    index: Index,
    in_slot: Box<[u32]>,
}

impl Keys {
    pub fn new() -> Keys {
        Keys { index: Index::new(), in_slot: vec![0; usize::from(SLOTS)].into_boxed_slice() }
    }

    /// The newest operation on the key with this hash is a put at `location`, or a delete.
    pub fn apply(&mut self, hash: u128, location: Location, slot: u16, put: bool) {
        let count = &mut self.in_slot[usize::from(slot % SLOTS)];
        if put {
            *count += u32::from(self.index.put(hash, location));
        } else if self.index.remove(hash) {
            *count = count.saturating_sub(1);
        }
    }

    pub fn get(&self, hash: u128) -> Option<Location> {
        self.index.get(hash)
    }

    pub fn count(&self) -> u64 {
        self.index.keys()
    }

    pub fn count_in_slot(&self, slot: u16) -> u64 {
        self.in_slot[usize::from(slot % SLOTS)].into()
    }

    /// Memory of the index in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
    }
}
