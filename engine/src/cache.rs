//! Values read from disk, kept within a byte budget.
//!
//! The key is the frame's place and the key's hash, and frames never change: nothing has to be invalidated but
//! by a rewind.

use crate::ids::{Epoch, Lsn, Revision};
use crate::key::BuildAlreadyHashed;
use crate::parts::ValueParts;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use std::sync::Arc;

/// What an entry costs besides its value.
const ENTRY_OVERHEAD: u64 = 96;
/// The cache's own guess of an entry's size, for sizing its tables.
const TYPICAL_VALUE_BYTES: usize = 512;

pub(crate) struct WholeValue {
    pub value: Box<[u8]>,
    pub expiry_ms: u64,
    pub epoch: Epoch,
}

enum CachedValue {
    Whole(WholeValue),
    /// The same memory that replies are sent from.
    Parts(Arc<ValueParts>),
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u64, u128), CachedValue> for ByBytes {
    fn weight(&self, _key: &(u64, u128), cached: &CachedValue) -> u64 {
        let bytes = match cached {
            CachedValue::Whole(whole) => whole.value.len(),
            CachedValue::Parts(parts) => parts.memory_bytes(),
        };
        bytes as u64 + ENTRY_OVERHEAD
    }
}

pub(crate) struct ValueCache(Cache<(u64, u128), CachedValue, ByBytes, BuildAlreadyHashed>);

impl ValueCache {
    pub fn new(bytes: usize) -> ValueCache {
        let items = bytes / TYPICAL_VALUE_BYTES + 1;
        ValueCache(Cache::with(
            items,
            bytes as u64,
            ByBytes,
            BuildAlreadyHashed::default(),
            Default::default(),
        ))
    }

    pub fn get(&self, lsn: Lsn, hash: u128) -> Option<&WholeValue> {
        match self.0.get(&(lsn.0, hash))? {
            CachedValue::Whole(whole) => Some(whole),
            CachedValue::Parts(_) => None,
        }
    }

    pub fn parts(&self, lsn: Lsn, hash: u128) -> Option<Arc<ValueParts>> {
        match self.0.get(&(lsn.0, hash))? {
            CachedValue::Whole(_) => None,
            CachedValue::Parts(parts) => Some(Arc::clone(parts)),
        }
    }

    pub fn put_parts(&mut self, hash: u128, parts: &Arc<ValueParts>) {
        if parts.memory_bytes() as u64 + ENTRY_OVERHEAD <= self.0.capacity() {
            self.0.insert((parts.revision().lsn.0, hash), CachedValue::Parts(Arc::clone(parts)));
        }
    }

    pub fn put(&mut self, revision: Revision, hash: u128, value: &[u8], expiry_ms: u64) {
        if value.len() as u64 + ENTRY_OVERHEAD <= self.0.capacity() {
            let Revision { epoch, lsn } = revision;
            let whole = WholeValue { value: value.into(), expiry_ms, epoch };
            self.0.insert((lsn.0, hash), CachedValue::Whole(whole));
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
